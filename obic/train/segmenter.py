"""Training of the segmenter, from scratch or from earlier weights, on a GPU or on CPU cores.

    python -m obic.train.segmenter data/train-*.zip --out runs/segmenter --minutes 100
    torchrun --nproc-per-node 2 -m obic.train.segmenter data/train-*.zip --out runs/segmenter --threads 1 \\
        --init weights/segmenter.npz --done 0.3
    python -m obic.train.segmenter data/train-*.zip --pack runs/segmenter/last.pt --out weights/segmenter.npz

The resolution grows with the time spent, so that most of the steps are cheap. With `--teacher` it also learns from a
network that has seen more pictures, which `obic.train.teacher` makes.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obic.bench.segmentation import score
from obic.segment.builtin import DeepLabSegmenter
from obic.segment.deeplab import BACKBONES, CLASSES, DeepLab
from obic.segment.segmenter import TorchDeepLab, fold_norms, load_network, pack
from obic.train import parallel
from obic.train.checkpoint import read_whole, save_whole
from obic.train.command import Budget, add_machine, count, plain_errors, positive, settle, share
from obic.train.curves import say
from obic.train.data import VOID, Sample, described, load_samples
from obic.train.distil import Distillation, load_teacher, teacher_side
from obic.train.manifest import write_segmenter
from obic.train.optim import Average, Optimisers
from obic.train.precision import mixed_precision
from obic.train.segment_crops import batches
from obic.train.unfold import unfold_norms

# Of the masks' foreground, overlap and classes; of the teacher's features, foreground and classes.
LOSS_WEIGHTS = (1.0, 0.5, 0.4, 1.0, 1.0, 0.5)
HELD_OUT_AT_MOST = 0.5  # of the pictures that may be held out
CHECKPOINT = ("backbone", "model", "average", "progress")
# To choose from when packing.
LONG_SIDES, THRESHOLDS = (192, 208, 224, 240, 256, 288), (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5)
# (share of the time at which a stage ends, side of the crop, pictures a step)
STAGES = ((0.18, 96, 96), (0.50, 128, 64), (0.80, 160, 40), (1.0, 208, 24))


def loss_terms(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Foreground cross-entropy, foreground 1 - soft IoU (each picture's, where it has an object), class cross-entropy.

    logits: float [B, 21, h, w], the network's; labels: int64 [B, H, W], as `Sample` has them; weights: float [B].
    """
    logits = F.interpolate(logits.float(), labels.shape[1:], mode="bilinear", align_corners=False)
    valid = (labels != VOID).float() * weights[:, None, None]
    target = ((labels > 0) & (labels != VOID)).float()
    foreground = logits[:, 0]
    entropy = F.binary_cross_entropy_with_logits(foreground, target, reduction="none")
    entropy = (entropy * valid).sum() / valid.sum().clamp(min=1)
    chance = foreground.sigmoid()
    both = (chance * target * valid).sum((1, 2))
    either = ((chance + target - chance * target) * valid).sum((1, 2))
    has_object = ((target * valid).sum((1, 2)) > 0).float()
    overlap = ((1 - both / either.clamp(min=1)) * has_object).sum() / has_object.sum().clamp(min=1)
    known = torch.where((labels > 0) & (labels <= CLASSES), labels - 1, -1)
    classes = F.cross_entropy(logits[:, 1:], known, ignore_index=-1, reduction="sum") / (known >= 0).sum().clamp(min=1)
    return entropy, overlap, classes


def scaled(rgb: Tensor, side: int) -> Tensor:
    """Crops [B, 3, S, S] at another size, [B, 3, side, side]."""
    return rgb if rgb.shape[-1] == side else F.interpolate(rgb, (side, side), mode="bilinear", antialias=True)


def held_out_scores(model: nn.Module, samples: list[Sample], long_side: int) -> dict[str, float]:
    """The figures of `obic.bench.segmentation.score` over whole pictures, in the precision of training."""
    segmenter = DeepLabSegmenter(TorchDeepLab(model.eval()), long_side)
    with mixed_precision(model.mean.device):
        return score(segmenter, ((sample.rgb, sample.mask) for sample in samples))


def save(path: Path, model: DeepLab, average: Average, distillation: Distillation | None, progress: float,
         score: float) -> None:
    """Write a checkpoint atomically: weights, their average, what turns them into a teacher's, and how far the run was;
    no optimiser state.

    Of several processes the first one writes.
    """
    if parallel.rank():
        return
    match = distillation.learned() if distillation else None
    save_whole(path, {"backbone": model.backbone, "model": model.state_dict(), "average": average.state,
                      "match": match, "progress": progress, "held_out_iou": score})


def split(samples: list[Sample], held_out: int) -> tuple[list[Sample], list[Sample]]:
    """Training samples and, for choices, `held_out` others, the same ones every time: of VOC, or where there are none,
    of all with exact masks; half of them at most.

    Raises ValueError when that leaves none: without held-out pictures no figure of a run means anything.
    """
    exact = [s for s in samples if s.mask_kind == "exact"]
    known = [s for s in exact if s.source == "voc"] or exact
    order = sorted(known, key=lambda s: random.Random(s.name).random())
    held_out = min(held_out, round(HELD_OUT_AT_MOST * len(known)))
    if not order[:held_out]:
        raise ValueError(f"nothing to hold out: {len(known)} pictures with masks are too few, or --held-out is 0")
    kept = {id(s) for s in order[:held_out]}
    return [s for s in samples if id(s) not in kept], order[:held_out]


def masked_samples(args: argparse.Namespace) -> list[Sample]:
    """Those of the data that have masks, their long side at most --memory-side. Raises as `load_samples` does, and
    ValueError where there are none."""
    samples = load_samples(args.data, args.memory_side, args.limit)
    say(described(samples))
    with_masks = [s for s in samples if s.mask is not None]
    if not with_masks:
        data = ", ".join(map(str, args.data))
        raise ValueError(f"no masks in {data}: python -m obic.train --help says what they are called")
    return with_masks


class Start(NamedTuple):
    """What a run begins with: the network, the share of the schedule that lies behind, and where there are any, the
    average of the weights and what a `Distillation` had learned."""

    network: DeepLab
    done: float
    average: dict[str, Tensor] | None = None
    match: dict[str, Tensor] | None = None


def start(args: argparse.Namespace, source: Iterator) -> Start:
    """From scratch, from packed weights, or from a checkpoint. source: `batches`.

    Raises OSError, and ValueError where a file is something else or does not fit.
    """
    path = args.resume or args.init
    if not path:
        return Start(DeepLab(args.backbone), args.done)
    if args.init and path.suffix == ".npz":
        pictures = [source.send((STAGES[1][1], 64))[0].cpu() for _ in range(8)]
        begun = Start(unfold_norms(packed(path), pictures), args.done)
    else:
        state = read_whole(path, *CHECKPOINT)
        done = state["progress"] if args.resume else args.done
        begun = Start(DeepLab(state["backbone"]), done, state["average"], state.get("match"))
        begun.network.load_state_dict(state["model"])
    if begun.network.backbone != args.backbone:
        raise ValueError(f"{path} has another backbone: say --backbone {begun.network.backbone}")
    if begun.done >= 1:
        raise ValueError(f"the schedule of {path} is at its end: start another with --init")
    return begun


def packed(path: Path) -> DeepLab:
    """The network of a segmenter's weights file. Raises OSError, and ValueError if it is something else."""
    try:
        return load_network(path)
    except (KeyError, RuntimeError, ValueError, BadZipFile):
        raise ValueError(f"{path} is not a segmenter's weights file") from None


def train(args: argparse.Namespace) -> None:
    with plain_errors():
        device = torch.device(settle(args))
        training, held_out = split(masked_samples(args), args.held_out)
        say(f"{len(training)} pictures to train on, {len(held_out)} held out")
        source = batches(training, device)
        next(source)
        model, done, averaged, match = start(args, source)
        teacher = load_teacher(args.teacher) if args.teacher else None
        args.out.mkdir(parents=True, exist_ok=True)
    model = model.to(device, memory_format=torch.channels_last).train()
    distillation = Distillation(teacher, model, match).to(device).train() if teacher else None
    trained = nn.ModuleList([model, distillation] if distillation else [model])
    parallel.start_equal(trained)
    average = Average(model, args.average)
    if averaged:
        average.state, average.updates = {name: value.to(device) for name, value in averaged.items()}, 10_000
    optimisers = Optimisers(trained, args.muon_lr, args.adam_lr, weight_decay=args.weight_decay)
    shadow = DeepLab(args.backbone).to(device, memory_format=torch.channels_last)

    step, seen, losses, iou, best, next_report = 0, 0, [], 0.0, 0.0, args.report * 60
    with Budget(args.minutes) as budget:
        while not budget.over:
            spent = budget.spent()
            progress = min(1.0, done + (1 - done) * spent / budget.seconds)
            _, side, number = next(stage for stage in STAGES if progress <= stage[0])
            number = max(2, round(number * args.batch_scale))
            rgb, labels, weights = source.send((teacher_side(side) if distillation else side, number))
            rgb = rgb.contiguous(memory_format=torch.channels_last)
            with mixed_precision(device):
                logits = model(scaled(rgb, side))
                taught = distillation(rgb, logits) if distillation else ()
            terms = (*loss_terms(logits, labels, weights), *taught)
            loss = sum(weight * term for weight, term in zip(LOSS_WEIGHTS, terms, strict=False))
            loss.backward()
            parallel.average_gradients(trained)
            optimisers.step(progress)
            average.update(model)
            losses.append([float(term.detach()) for term in terms])
            step, seen = step + 1, seen + number * parallel.count()
            if budget.interrupted:
                save(args.out / "last.pt", model, average, distillation, progress, iou)
            elif spent > next_report or budget.over:
                next_report = spent + args.report * 60
                shadow.load_state_dict(average.state)
                result = held_out_scores(shadow, held_out, round(side * 1.2))
                iou = result["fg_iou"]
                terms = " ".join(f"{value:.3f}" for value in np.mean(losses, axis=0))
                left = max(budget.seconds - spent, 0) / 60
                say(f"step {step} {progress:6.1%} side {side} loss {terms} | held-out fg IoU {iou:.4f} mIoU "
                    f"{result['miou']:.3f} | {seen / spent:.1f} pictures/s, {left:.0f} min left")
                losses = []
                save(args.out / "last.pt", model, average, distillation, progress, iou)
                if iou >= best:
                    best = iou
                    save(args.out / "best.pt", model, average, distillation, progress, iou)
    budget.end(f"go on with --resume {args.out / 'last.pt'}")
    say(json.dumps({"steps": step, "pictures": seen, "held_out_fg_iou": round(iou, 4)}))


@torch.inference_mode()
def choose_operating_point(network: DeepLab, samples: list[Sample]) -> tuple[int, float, float]:
    """The long side and the threshold on the foreground logit with the best pooled foreground IoU, and that IoU."""
    best = (0, 0.0, -1.0)
    for long_side in LONG_SIDES:
        segmenter = DeepLabSegmenter(TorchDeepLab(network), long_side)
        both, either = np.zeros(len(THRESHOLDS)), np.zeros(len(THRESHOLDS))
        for sample in samples:
            foreground = segmenter.foreground(sample.rgb)
            counted, target = sample.mask != VOID, sample.mask > 0
            for i, threshold in enumerate(THRESHOLDS):
                guess = foreground > threshold
                both[i] += (guess & target & counted).sum()
                either[i] += ((guess | target) & counted).sum()
        i = int(np.argmax(both / either))
        iou = both[i] / either[i]
        print(f"long side {long_side}: held-out fg IoU {iou:.4f} at threshold {THRESHOLDS[i]}", flush=True)
        best = max(best, (long_side, THRESHOLDS[i], iou), key=lambda point: point[2])
    return best


def mixture(old: nn.Module, new: nn.Module, share: float) -> dict[str, Tensor]:
    """Between the folded weights of a network and those of a run that began with them: share 0..1, of the new ones
    (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models")."""
    before = old.state_dict()
    return {name: before[name].lerp(value, share) for name, value in new.state_dict().items()}


def pack_checkpoint(args: argparse.Namespace) -> None:
    """Put the averaged weights of a checkpoint, mixed with earlier ones or not, into a folder of weights as int8, with
    the operating point that suits the held-out pictures."""
    with plain_errors():
        if args.out.suffix != ".npz":
            raise ValueError(f"--out {args.out}: with --pack a file NAME.npz in a folder of weights")
        settle(args)
        state = read_whole(args.pack, *CHECKPOINT)
        network = DeepLab(state["backbone"])
        network.load_state_dict(state["average"])
        network = fold_norms(network)
        if args.mix:
            old = packed(args.mix)
            if old.backbone != network.backbone:
                raise ValueError(f"{args.mix} has another backbone: {old.backbone}, {args.pack} {network.backbone}")
            network.load_state_dict(mixture(old, network, args.share))
        _, held_out = split(masked_samples(args), args.held_out)
    long_side, threshold, iou = choose_operating_point(network, held_out)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **pack(network, state["backbone"], long_side, threshold))
    about = {"on": args.trained_on, "held-out foreground IoU": round(iou, 4)}
    with plain_errors():
        write_segmenter(args.out, buffer.getvalue(), about)
    size = args.out.stat().st_size
    print(json.dumps({"file": str(args.out), "bytes": size, "long_side": long_side, "threshold": threshold}))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.train.segmenter", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path, help="zips or folders of pictures with masks: see "
                        "python -m obic.train --help; 1 to 20 are the classes of PASCAL VOC")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run, or with --pack the file to write: "
                        "the manifest of its folder then names it, so OBIC_WEIGHTS=FOLDER uses it")
    parser.add_argument("--minutes", type=positive, default=100, help="time budget")
    parser.add_argument("--backbone", choices=sorted(BACKBONES), default="resnet34")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--init", type=Path, help="start from a checkpoint, or from packed weights (.npz)")
    begin.add_argument("--resume", type=Path, help="go on with a checkpoint (.pt) where its schedule stood")
    parser.add_argument("--done", type=share, default=0.0, help="share of the schedule already behind, 0..1")
    parser.add_argument("--teacher", type=Path, help="what obic.train.teacher wrote: learn from that network as well")
    parser.add_argument("--muon-lr", type=positive, default=0.005)
    parser.add_argument("--adam-lr", type=positive, default=1e-3)
    parser.add_argument("--weight-decay", type=share, default=0.1)
    parser.add_argument("--average", type=share, default=0.998, help="decay of the weights' moving average")
    parser.add_argument("--batch-scale", type=positive, default=1.0, help="multiplies the pictures a step")
    parser.add_argument("--memory-side", type=count, default=320, help="long side of the pictures in memory")
    parser.add_argument("--held-out", type=count, default=150, help="pictures kept for choices, of the set 'voc' where "
                        "there is one; half of them at most")
    parser.add_argument("--report", type=positive, default=4, help="minutes between reports")
    parser.add_argument("--pack", type=Path, metavar="CHECKPOINT", help="do not train: write its weights as int8")
    parser.add_argument("--mix", type=Path, help="with --pack: packed weights that the run began with, to mix with")
    parser.add_argument("--share", type=share, default=0.7, help="with --mix: of the new weights, 0..1")
    parser.add_argument("--trained-on", default="", help="with --pack: data and hardware, for the manifest")
    add_machine(parser)
    args = parser.parse_args()
    if args.mix and not args.pack:
        parser.error("--mix goes with --pack")
    (pack_checkpoint if args.pack else train)(args)


if __name__ == "__main__":
    main()
