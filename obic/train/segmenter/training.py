"""A run of the segmenter's training: where it begins, its steps, and what it writes.

The resolution grows with the time spent, so that most of the steps are cheap.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from obic.segment.deeplab import DeepLab
from obic.segment.shapes import LITE
from obic.train.common import parallel
from obic.train.common.bfloat16 import mixed_precision
from obic.train.common.command import Budget, join_processes, plain_errors
from obic.train.common.curves import say
from obic.train.common.optim import Average, Optimisers
from obic.train.common.whole_file import read_whole, save_whole
from obic.train.segmenter.fine_tune import FineTuning, dilate_by_phases, hold
from obic.train.segmenter.held_out import held_out_scores, masked_samples, split
from obic.train.segmenter.imagenet import pretrained
from obic.train.segmenter.int8_file import CHECKPOINT, packed
from obic.train.segmenter.mask_loss import LOSS_WEIGHTS, LOSSES, loss_terms
from obic.train.segmenter.masked_crops import Batch, batches
from obic.train.segmenter.unfold import unfold_norms

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
    """Write a checkpoint atomically: weights, their average, and how far the run was; no optimiser
    state.

    Of several processes the first one writes.
    """
    if parallel.rank() == 0:
        save_whole(path, {"backbone": model.backbone, "model": model.state_dict(), "average": average.state,
                          "progress": progress})


class Start(NamedTuple):
    """What a run begins with: the network, the share of the schedule that lies behind, and where
    there is one, the average of the weights."""

    network: DeepLab
    done: float
    average: dict[str, Tensor] | None = None


def start(args: argparse.Namespace, draw: Callable[[int, int], Batch]) -> Start:
    """From ImageNet's weights or from scratch, from packed weights, or from a checkpoint. draw: of
    `batches`.

    Raises OSError, and ValueError where a file is something else or does not fit.
    """
    path = args.resume or args.init
    if not path:
        return Start(pretrained() if args.backbone == LITE else DeepLab(args.backbone), args.done)
    if args.init and path.suffix == ".npz":
        pictures = [draw(SCRATCH_STAGES[1][1], 64).rgb.cpu() for _ in range(8)]
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


def train(args: argparse.Namespace) -> None:
    """A run for a time budget: losses, figures of held-out pictures and checkpoints go to the
    folder --out."""
    with plain_errors():
        device = torch.device(join_processes(args))
        training, held_out = split(masked_samples(args), args.held_out)
        say(f"{len(training)} pictures to train on, {sum(map(len, held_out))} held out")
        draw = batches(training, device)
        model, done, averaged = start(args, draw)
        args.out.mkdir(parents=True, exist_ok=True)
    tuned = model.backbone == LITE
    stages = PRETRAINED_STAGES if tuned else SCRATCH_STAGES
    model = model.to(device).to(memory_format=torch.channels_last).train()
    parallel.start_equal(model)
    average = Average(model, args.average)
    if averaged:
        average.state, average.updates = {name: value.to(device) for name, value in averaged.items()}, 10_000
    if tuned:
        dilate_by_phases(model)
        of_backbone, of_head = FINE_TUNING_RATES
        optimisers: Optimisers = FineTuning(model, (args.rate * of_backbone, args.rate * of_head))
    else:
        optimisers = Optimisers(model, args.rate * 0.005, args.rate * 1e-3, weight_decay=0.1)
    shadow = DeepLab(model.backbone).to(device).to(memory_format=torch.channels_last)

    step, seen, losses, next_save, next_report = 0, 0, [], args.save * 60, args.report * 60
    with Budget(args.minutes) as budget:
        while not budget.over:
            spent = budget.spent()
            progress = min(1.0, done + (1 - done) * spent / budget.seconds)
            _, side, number = next(stage for stage in stages if progress <= stage[0])
            number = max(2, round(number * args.batch_scale))
            if tuned:
                hold(model, progress > LATE)
            rgb, labels, weights = draw(side, number)
            with mixed_precision(device):
                logits = model(rgb.contiguous(memory_format=torch.channels_last))
            terms = loss_terms(logits, labels, weights)
            foreground, overlap, classes = (weight * term for weight, term in zip(LOSS_WEIGHTS, terms, strict=True))
            (foreground + overlap + classes).backward()
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
