"""`python -m obic.bench.segmenter`: foreground IoU and mIoU over labelled pictures, and false
alarms.

    python -m obic.bench.segmenter --data data/voc-eval.zip --empty data/train-*.zip --weights weights/segmenter.npz
    python -m obic.bench.segmenter --data data/voc-eval.zip --segmenter torchvision:deeplabv3_resnet101 --every 6
"""

from __future__ import annotations

import argparse
import json
from itertools import islice
from pathlib import Path

from obic.bench.common.script import command, number
from obic.bench.segmenter.scores import empty_pictures, labelled_pictures, presence, score
from obic.segment import read_segmenter
from obic.segment.adapters import resolve


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.bench.segmenter", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="zip of NAME.jpg and NAME.png")
    parser.add_argument("--empty", type=Path, nargs="+", default=[], help="zips with the pictures without an object "
                        "that are held out of training (obic/train/segmenter/no_object.csv)")
    parser.add_argument("--weights", type=Path, default=Path("weights/segmenter.npz"))
    parser.add_argument("--segmenter", metavar="NAME", help="another one instead, as obic mask --segmenter takes it")
    parser.add_argument("--every", type=number(), default=1, metavar="N", help="every Nth labelled picture alone")
    parser.add_argument("--backend", choices=["numpy", "torch"], default="torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--long-side", type=int, help="instead of the one in the weights")
    args = parser.parse_args()
    if args.segmenter:
        segmenter = resolve(args.segmenter, args.device)
    else:
        segmenter = read_segmenter(args.weights, args.backend, args.device)
        segmenter.long_side = args.long_side or segmenter.long_side
    result = score(segmenter, islice(labelled_pictures(args.data), 0, None, args.every))
    if args.empty:
        result |= presence(segmenter, empty_pictures(args.empty))
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))


if __name__ == "__main__":
    main()
