"""Trains the codec network: `python -m obic.train --data pictures/ --minutes 60 --out runs/codec.pt`.

Loss (LearntOBIC, eq. 4, with the weights of the layers chosen by quality): the sum over layers of
lambda(quality) * area * D(layer), plus the rate of every layer in bits per pixel. D is the mean squared error at
first, then 1 - MS-SSIM with a little of it and the error of the cells' mean colour. Pictures have one layer at first,
later layers of their masks or of random shapes.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from obic.constants import CELL
from obic.nn.blocks import Block
from obic.nn.model import CodecNetwork
from obic.nn.rate_distortion import COLOUR_WEIGHT, code_layers, distortion, distortion_weight
from obic.shape import Shape
from obic.train import parallel
from obic.train.checkpoint import checkpoint_log, grown, load_checkpoint, new_network, save_checkpoint
from obic.train.command import Budget, add_machine, cells, count, output, plain_errors, positive, settle, share
from obic.train.crops import Batches, Rows, any_quality, draw_rows, middle_quality
from obic.train.curves import Curves, say
from obic.train.data import described, load_samples
from obic.train.optim import Average, Optimisers
from obic.train.precision import mixed_precision
from obic.train.revive import revive

MSE_UNTIL, MSE_FADED = 0.02, 0.05  # of the schedule
LOSS_BOUND = 1.0  # of a row; 0.3 is usual
WHOLE_UNTIL = 0.4  # of the schedule: pictures of one layer at middle rates, which learn faster and cost less

HELP = """Trains the codec network within a time budget.

  python -m obic.train --data pictures/ --minutes 600
  python -m obic.train --data pictures/ --init weights --done 0.4 --minutes 600
  python -m obic.train --data pictures/ --resume runs/codec.pt --minutes 120
  torchrun --nproc-per-node 4 -m obic.train --data pictures/ --minutes 60

Folders and zips hold pictures (WebP, PNG, JPEG), alone or with masks: NAME.png or NAME-mask.png of the same size beside
NAME.jpg, 0 for the background, 255 for what does not count (where it stands alone, as `obic mask` writes it, for the
object), anything else for an object. Without masks, layers are random shapes. All pictures are held in memory. On the
CPU an hour of two cores gives a first codec; docs/training-log.md has figures. The result becomes usable with
`python -m obic.train.pack`. The segmenter: `python -m obic.train.segmenter --help`."""


def draw_layers(labels: Tensor, progress: float, generator: random.Random) -> tuple[Tensor, Rows]:
    """The layers of a batch [B, 2, h, w] and their rows. Early in the schedule the first layer has all the cells."""
    whole = progress < WHOLE_UNTIL
    if whole:
        labels = torch.zeros_like(labels)
    layers = torch.stack([1 - labels, labels], 1)
    return layers, draw_rows(layers, generator, middle_quality if whole else any_quality)


def bounded(losses: Tensor) -> Tensor:
    """Losses >= 0 of rows, with a logarithm beyond LOSS_BOUND: a row that runs away pulls no harder than others."""
    return losses.clamp(max=LOSS_BOUND) + LOSS_BOUND * (losses / LOSS_BOUND).clamp(min=1).log()


def training_loss(network: CodecNetwork, pixels: Tensor, labels: Tensor, progress: float, generator: random.Random):
    """-> loss, and bits per pixel and distortion for the log."""
    layers, rows = draw_layers(labels, progress, generator)
    features = network.analysis(pixels - 0.5)[rows.pictures].float()
    decoded, conditions, rates = code_layers(network, features, rows.cells, rows.quality)

    kept = torch.ones_like(rows.quality)
    if len(kept) > len(pixels) and generator.random() < 0.1:  # a layer alone must look right inside its mask
        kept = (torch.rand_like(kept) < 0.5).float()
        kept[int(generator.random() * len(kept))] = 1
    output = network.synthesis(rows.joined(decoded, kept), rows.joined(conditions, kept)).float() + 0.5

    regions = F.interpolate(layers, scale_factor=CELL)
    area = rows.cells.mean((1, 2, 3))
    fade = min(max((progress - MSE_UNTIL) / (MSE_FADED - MSE_UNTIL), 0.0), 1.0)
    lost = distortion(output, pixels, regions, fade, COLOUR_WEIGHT * fade)[rows.pictures, rows.numbers]
    per_pixel = (rates.hyper + rates.residual) / (pixels.shape[-1] * pixels.shape[-2])
    weight = distortion_weight(rows.quality)
    # Divided by the root of lambda, about as the rate grows with it, a row counts the same at every quality.
    loss = bounded(kept * (weight * area * lost + per_pixel) / weight.sqrt()).sum() / len(pixels)
    hyper_share = (rates.hyper.sum() / (rates.hyper + rates.residual).sum()).item()
    return loss, (per_pixel.sum() / len(pixels)).item(), (lost * area * kept).sum().item() / len(pixels), hyper_share


def train(network: CodecNetwork, batches: Batches, minutes: float, out: Path, *, muon_lr: float, adam_lr: float,
          weight_decay: float = 0.0, done: float = 0.0, log: Mapping | None = None, save_every: float = 5.0) -> None:
    """Trains for a time budget; `done`: the share of the schedule that lies behind already; `log`: what the checkpoint
    says that this goes on with.

    Saves the averaged weights as it goes (`out`) and a line of the curves every minute (`out` with .csv). Raises
    SystemExit when it was interrupted, after saving.
    """
    device = batches.device
    network.to(device, memory_format=torch.channels_last).train()
    parallel.start_equal(network)
    optimisers = Optimisers(network, muon_lr, adam_lr, weight_decay=weight_decay)
    average = Average(network)
    curves = Curves(out.with_suffix(".csv"), ("loss", "bpp", "distortion", "hyper_share"), go_on=log is not None)
    earlier = {"steps": 0, "minutes": 0.0, **(log or {})}
    saved = reported = 0.0
    with Budget(minutes) as budget:
        while not budget.over:
            now = budget.spent() / 60
            progress = min(1.0, done + (1 - done) * now / minutes)
            pixels, labels = batches.draw()
            with mixed_precision(device):
                loss, *figures = training_loss(network, pixels, labels, progress, batches.random)
            loss.backward()
            parallel.average_gradients(network)
            optimisers.step(progress)
            average.update(network)
            curves.add(loss.item(), *figures)
            state = {"steps": earlier["steps"] + optimisers.steps, "minutes": earlier["minutes"] + now,
                     "progress": progress}
            if now - reported > 1 or budget.over:
                curves.report(state["minutes"], state["steps"], progress, max(0.0, minutes - now))
                reported = now
            if now - saved > save_every or budget.over:
                save_checkpoint(out, network, average, state)
                saved = now
    budget.end(f"go on with --resume {out}")


def _start(args: argparse.Namespace, shape: Shape) -> CodecNetwork:
    """Raises ValueError where what --init names is no network, or has more blocks than the shape."""
    if args.resume:
        return load_checkpoint(args.resume)
    return grown(load_checkpoint(args.init), shape) if args.init else new_network(shape)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m obic.train", formatter_class=argparse.RawDescriptionHelpFormatter, description=HELP)
    add = parser.add_argument
    add("--data", nargs="+", required=True, metavar="PATH", help="folders or zips of pictures, with or without masks")
    add("--minutes", type=positive, default=60, help="time budget; the schedule fits into it (default 60)")
    add("--out", type=output, default=Path("runs/codec.pt"),
        help="checkpoint, saved every five minutes and when interrupted; the curves go beside it, as .csv (default "
        "runs/codec.pt)")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--init", metavar="PATH", help="start from a checkpoint, or from a folder of packed "
                       "weights; blocks and damping that they lack start as next to nothing")
    start.add_argument("--resume", metavar="PATH", help="go on with a checkpoint where its schedule stood")
    add("--done", type=share, metavar="SHARE", help="share of the schedule already behind, 0..1; with --init, 0.4 "
        "skips the phases of squared error and of one layer and starts at a lower rate of learning (default 0)")
    add("--revive", action="store_true", help="first raise channels of the latent that have died at low qualities")
    add("--compile", action="store_true", help="compile the blocks: needs a C++ compiler, saves a sixth of the time")
    add("--blocks", type=count, nargs=2, metavar=("FINE", "COARSE"), help="blocks at 1/8 and at 1/16 in either "
        f"transform of a new network; with --init at least what is there (default {Shape.fine_blocks} "
        f"{Shape.coarse_blocks})")
    add("--batch", type=count, default=8, help="crops a step and process (default 8; short runs learn more from 4)")
    add("--crop", type=cells, default=256, help=f"side of the crops in pixels, a multiple of {CELL} (default 256)")
    add("--muon-lr", type=positive, default=0.005, help="rate of learning of the matrices (default 0.005; up to 0.01 a "
        "run of some minutes learns faster, a longer one runs away)")
    add("--adam-lr", type=positive, default=0.001, help="and of gains, biases and the like (default 0.001; likewise up "
        "to 0.004)")
    add("--weight-decay", type=share, default=0.1, help="share of the matrices that a step takes off, times their rate "
        "of learning (default 0.1)")
    add_machine(parser)
    args = parser.parse_args()
    if args.resume and (args.blocks or args.done is not None):
        parser.error("--resume goes on as the run was: --blocks and --done are for new ones")
    with plain_errors():
        log = checkpoint_log(args.resume) if args.resume else None
        done = log["progress"] if log else args.done or 0.0
        if log and done >= 1:
            parser.error(f"the schedule of {args.resume} is at its end: start another with --init")
        device = settle(args)
        fine, coarse = args.blocks or (Shape.fine_blocks, Shape.coarse_blocks)
        try:
            network = _start(args, Shape(fine_blocks=fine, coarse_blocks=coarse))
        except ValueError as error:
            parser.error(str(error))
        samples = load_samples(args.data, limit=args.limit)
    parameters = sum(p.numel() for p in network.parameters())
    say(f"{described(samples)}, {parameters / 1e6:.2f} M parameters, {parallel.count()} process(es) on {device}")
    batches = Batches(samples, args.crop, args.batch, device, args.seed + parallel.rank())
    if args.compile:
        for block in filter(lambda each: isinstance(each, Block), network.modules()):
            block.compile(dynamic=True)
    if args.revive:
        say(f"{int(revive(network).any(0).sum())} channels are raised at low qualities")
    train(network, batches, args.minutes, args.out, muon_lr=args.muon_lr, adam_lr=args.adam_lr,
          weight_decay=args.weight_decay, done=done, log=log)
    say(f"{args.out}: done; make weights of it: python -m obic.train.pack {args.out} --data ... --out FOLDER")


if __name__ == "__main__":
    main()
