"""Turns a checkpoint into weights for `weights/`: `python -m obic.train.pack runs/decayed.pt --data
train-0.zip`.

The map to table indices becomes integer, the prior of z and the tables are fitted to what is really
coded, the rest becomes float16. A folder of weights in place of the checkpoint is fitted anew and
keeps its looks. With `--look vivid` the synthesis alone is packed, beside the codec it was trained
for. With `--small-copy course.npz` nothing is fitted: it is what a course goes on from.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from obic.looks import LOOKS
from obic.train.codec.checkpoint import checkpoint_log, read_codec
from obic.train.codec.small_copy import write_small_copy
from obic.train.codec.weights_file import packed_codec
from obic.train.common.command import count, output, plain_errors, share
from obic.train.common.data import load_samples
from obic.train.common.manifest import default_entry, sha256, write_codec, write_look
from obic.train.common.whole_file import read_whole
from obic.train.vivid.look_file import look_bytes, looks_of, mixed_with_own

LOOK_NAMES = ("codec", "synthesis", "log")  # in what `obic.train.vivid` saves


def pack_look(args: argparse.Namespace, about: Mapping[str, Any]) -> None:
    """Raises ValueError if the look was trained for another codec than the folder's."""
    checkpoint, codec = read_whole(args.checkpoint, *LOOK_NAMES), default_entry(args.out)["fingerprint"]
    if checkpoint["codec"] != codec:
        raise ValueError(f"the look was trained for codec {checkpoint['codec']}, {args.out} has {codec}")
    checkpoint = mixed_with_own(args.out, checkpoint, args.share)
    path = write_look(args.out, args.look, look_bytes(checkpoint), {**checkpoint["log"], **about})
    print(f"{path}: {path.stat().st_size} bytes")


def pack_codec(args: argparse.Namespace, about: Mapping[str, Any]) -> None:
    """Packs what `obic.train` saved, or a folder of weights anew. Raises as `packed_codec`."""
    if args.checkpoint.is_dir():
        training, looks = default_entry(args.checkpoint)["training"], looks_of(args.checkpoint)
    else:
        training, looks = {**checkpoint_log(args.checkpoint), **about}, {}
    data, model, sizes = packed_codec(args.checkpoint, load_samples(args.data, limit=args.limit), args.crops)
    name = f"{model.fingerprint:08x}"
    write_codec(args.out, data, {
        "fingerprint": name,
        "file": f"codec-{name}.npz",
        "sha256": sha256(data),
        "shape": model.backend.shape.as_dict(),
        "parameters": sizes,
        "training": training,
    }, args.keep)
    for look, checkpoint in looks.items():
        write_look(args.out, look, look_bytes(checkpoint), checkpoint["log"])
    print(f"{args.out / f'codec-{name}.npz'}: {len(data)} bytes, {sizes['encoder']} + {sizes['decoder']} parameters")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.train.pack", description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint", type=Path, help="what `obic.train` saved, or a folder of weights")
    parser.add_argument("--data", nargs="+", help="training pictures, to fit the tables to (not for a look)")
    parser.add_argument("--look", choices=LOOKS[1:], help="pack the synthesis alone, as a look of the folder's codec")
    parser.add_argument("--share", type=share, default=1.0, help="with --look: of its weights; the rest are those of "
                        "the codec's own synthesis, which is calmer (default 1)")
    parser.add_argument("--crops", type=count, default=400)
    parser.add_argument("--limit", type=count, default=1200, help="use only the first pictures (default 1200)")
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--out", type=Path, help="folder of weights, made where there is none; a codec in it is "
                      "replaced. OBIC_WEIGHTS=FOLDER uses it")
    goal.add_argument("--small-copy", type=output, metavar="FILE.npz", help="a copy of the checkpoint of a twelfth of "
                      "its size, for version control: `obic.train --init` goes on from it")
    parser.add_argument("--keep", action="store_true", help="with --out: the decoder of the codec that is replaced "
                        "stays, for the files that were made with it (its looks go)")
    parser.add_argument("--trained-on", default="", help="data and hardware, for the manifest")
    args = parser.parse_args()
    if args.keep and (args.look or args.small_copy):
        parser.error("--keep is for a codec that goes to --out")
    if args.small_copy:
        with plain_errors():
            write_small_copy(args.small_copy, read_codec(args.checkpoint))
        return print(f"{args.small_copy}: {args.small_copy.stat().st_size} bytes")
    if not (args.data or args.look):
        parser.error("the tables are fitted to pictures: name some with --data")
    about = {"on": args.trained_on, "torch": torch.__version__, "machine": platform.machine()}
    with plain_errors():
        (pack_look if args.look else pack_codec)(args, about)


if __name__ == "__main__":
    main()
