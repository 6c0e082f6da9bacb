"""Trains the codec network: `python -m obic.train --help`."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from obic.constants import CELL
from obic.nn.blocks import Block
from obic.nn.model import CodecNetwork
from obic.shape import Shape
from obic.train.codec.checkpoint import Places, averaged_network, new_network, read_codec
from obic.train.codec.course import Course, Log, train
from obic.train.codec.crops import Batches
from obic.train.codec.growth import grown
from obic.train.codec.revive import revive_channels, revive_units
from obic.train.common import parallel
from obic.train.common.command import add_machine, cells, count, join_processes, output, plain_errors, positive, share
from obic.train.common.curves import say
from obic.train.common.data import described, shared_samples

HELP = """Trains the codec network: a course of as many sittings as it takes.

  python -m obic.train --data pictures/ --minutes 600                        # begins one, in runs/course.pt
  python -m obic.train --data pictures/ --minutes 600 --resume               # goes on where it stands
  python -m obic.train --data pictures/ --minutes 600 --init runs/course.pt --decay 50000 --out runs/decayed.pt
  python -m obic.train --data pictures/ --minutes 600 --init weights --decay 50000 --out runs/own.pt
  torchrun --nproc-per-node 4 -m obic.train --data pictures/ --threads 1     # in several processes

The rate of learning is held, so the weights of a course are never at their best: --decay makes a branch of it, in which
the rate falls to nothing within so many crops, and leaves the course as it is. What a branch ends with becomes usable
with `python -m obic.train.pack`. The first 40,000 crops of a course from scratch have one layer.

A checkpoint holds all that going on needs. It is saved every five minutes, and with --copy in a second place: --resume
takes the one that is further on. Beside it go the curves (.csv, a line a minute) and the averaged weights of every
50,000 crops (course-050k.pt), for `python -m obic.train.codec.estimate`. `python -m obic.train.pack --small-copy` makes
one of a twelfth of the size, from which --init goes on. A minute that runs away (ten times the usual loss) is undone,
and the course goes on at 0.7 of its rate of learning.

Folders and zips hold pictures (WebP, PNG, JPEG), alone or with masks: NAME.png or NAME-mask.png of the same size beside
NAME.jpg, 0 for the background, 255 for what does not count (where it stands alone, as `obic mask` writes it, for the
object), anything else for an object. Without masks, layers are random shapes. All pictures are held in memory, once for
all processes. docs/log/training-log.md has figures. The segmenter: `python -m obic.train.segmenter --help`."""


def _begin(args: argparse.Namespace, places: Places) -> dict[str, Any] | None:
    """What the course goes on from, in the form of `read_codec`; None where it begins from scratch.

    Raises OSError, and ValueError where a file does not fit or would be overwritten.
    """
    if args.resume:
        content = places.newest()
        if Log.of(content["log"]).decayed >= 1:
            raise ValueError(f"the decay of {args.out} is at its end: make weights of it with obic.train.pack")
        return content
    places.refuse_to_overwrite()
    if not args.init:
        return None
    content = read_codec(args.init)
    shape = Shape.of(content["shape"])
    wanted = replace(shape, damped=True, scale_hidden=shape.scale_hidden or Shape.scale_hidden,
                     levels=max(shape.levels, Shape.levels), **_blocks(args))
    if wanted != shape or args.revive:
        network = grown(averaged_network(content), wanted)
        if args.revive:
            say(f"{int(revive_channels(network).any(0).sum())} channels are raised at low qualities, "
                f"{revive_units(network)} units begin anew")
        content = {"shape": wanted.as_dict(), "state": network.state_dict(), "log": content["log"]}
    log = Log.of(content["log"])
    return {**content, "log": asdict(replace(log, decay_from=log.crops, decay_crops=args.decay or 0))}


def _blocks(args: argparse.Namespace) -> dict[str, Any]:
    return dict(zip(("fine_blocks", "coarse_blocks"), args.blocks or (), strict=False))


def _course(content: dict[str, Any] | None, args: argparse.Namespace, batches: Batches) -> Course:
    """The course that goes on from `content`; rates that are given replace those it had."""
    log = Log.of(content["log"]) if content else Log(decay_crops=args.decay or 0)
    given = {name: getattr(args, name) for name in ("muon_lr", "adam_lr", "weight_decay", "emphasis")}
    log = replace(log, **{name: value for name, value in given.items() if value is not None})
    network = CodecNetwork(Shape.of(content["shape"])) if content else new_network(Shape(**_blocks(args)))
    if args.compile:
        for block in filter(lambda each: isinstance(each, Block), network.modules()):
            block.compile(dynamic=True)
    course = Course(network, batches, log)
    if content:
        course.restore({**content, "log": asdict(log)})
    return course


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m obic.train", formatter_class=argparse.RawDescriptionHelpFormatter, description=HELP)
    add = parser.add_argument
    add("--data", nargs="+", required=True, metavar="PATH", help="folders or zips of pictures, with or without masks")
    add("--minutes", type=positive, default=60, help="how long this sitting lasts (default 60)")
    add("--out", type=output, default=Path("runs/course.pt"),
        help="checkpoint, saved every five minutes and when interrupted (default runs/course.pt)")
    add("--copy", type=Path, metavar="PATH", help="a second place for the checkpoint, best on another disk: a file, or "
        "a folder that is there")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--resume", action="store_true", help="go on with what --out or --copy has")
    start.add_argument("--init", metavar="PATH", help="go on from a checkpoint, a small copy of one, or a folder of "
                       "packed weights, in another --out; damping, hidden units, levels and --blocks that they lack "
                       "start as next to nothing")
    add("--decay", type=count, metavar="CROPS", help="the rate of learning falls to 1 %% within so many crops, which "
        "ends the run (default: it is held). 1,600 were too few to bring much")
    add("--revive", action="store_true", help="with --init: first raise channels of the latent that have died at low "
        "qualities, and draw new weights for units of the blocks that have died")
    add("--compile", action="store_true", help="compile the blocks: needs a C++ compiler, saves a sixth of the time")
    add("--blocks", type=count, nargs=2, metavar=("FINE", "COARSE"), help="blocks at 1/8 and at 1/16 in either "
        f"transform of a new network; with --init at least what is there (default {Shape.fine_blocks} "
        f"{Shape.coarse_blocks})")
    add("--batch", type=count, default=8, help="crops a step and process (default 8)")
    add("--crop", type=cells, default=256, help=f"side of the crops in pixels, a multiple of {CELL} (default 256)")
    add("--muon-lr", type=positive, help=f"rate of learning of the matrices (default {Log.muon_lr}, or what the course "
        "had)")
    add("--adam-lr", type=positive, help=f"and of gains, biases and the like (default {Log.adam_lr}, or what it had)")
    add("--weight-decay", type=share, help="share of the matrices that a step takes off, times their rate of learning "
        f"(default {Log.weight_decay}, or what it had)")
    add("--emphasis", type=share, help="the power of lambda that layers weigh with: 0 for every quality the same, 0.5 "
        f"for eq. 4 as it stands, in which high ones count most (default {Log.emphasis}, or what it had)")
    add_machine(parser)
    args = parser.parse_args()
    if args.resume and (args.blocks or args.decay):
        parser.error("--resume goes on as the course was: --blocks and --decay are for --init, with another --out")
    if args.revive and not args.init:
        parser.error("--revive is for --init")
    with plain_errors():
        device = join_processes(args)
        places = Places.of(args.out, args.copy)
        content = _begin(args, places)
        samples = shared_samples(args.data, limit=args.limit)
        batches = Batches(samples, args.crop, args.batch, device, args.seed + parallel.rank())
        course = _course(content, args, batches)
        parameters = sum(p.numel() for p in course.network.parameters())
        say(f"{described(samples)}, {parameters / 1e6:.2f} M parameters, {parallel.count()} process(es) on {device}, "
            f"{course.log.crops} crops so far")
        train(course, places, args.minutes)
    say(f"{args.out}: {course.log.crops} crops")


if __name__ == "__main__":
    main()
