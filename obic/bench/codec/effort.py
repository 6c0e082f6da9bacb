"""Gain and cost of `--effort`: `python -m obic.bench.codec.effort --data data`. Writes
docs/effort.md.

Centre crops of Kodak pictures in one layer. The saving is the share of bytes by which a file is
smaller than one of effort 0 with the same MS-SSIM, interpolated in the means between its qualities
(log rate over dB).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from obic import codec
from obic.bench.common.markdown import prose, table
from obic.bench.common.measure import compare
from obic.bench.common.pictures import SMALLEST_SIDE, TestPicture, centre_crop, read_folder
from obic.bench.common.script import command, number, writable
from obic.constants import MAX_QUALITY, MIN_QUALITY
from obic.container import open_container
from obic.metrics import decibels
from obic.rate import EFFORT_STEPS
from obic.weights import CodecModel

AROUND = 12  # qualities below and above those measured, for the curve of effort 0

PAGE = """# What more effort gives

`make bench-effort`: centre crops of {side}x{side} of {count} Kodak pictures, one layer, {threads} threads, means.
Saving: of bytes, at the MS-SSIM of the file, against effort 0. Seconds: to encode one such picture; they grow with the
pixels. Decoding takes no longer.

{table}
"""

Point = tuple[float, float, float, float]  # bits a pixel, MS-SSIM, PSNR, seconds to encode


def measured(pictures: list[TestPicture], quality: int, effort: int, model: CodecModel) -> Point:
    """The means of files of one layer."""
    points = []
    for picture in pictures:
        start = perf_counter()
        encoder = codec.PictureEncoder(picture.rgb, None, 1, model=model)
        if effort:
            encoder = encoder.refined((quality,), EFFORT_STEPS[effort])
        data = encoder.encode((quality,))
        seconds = perf_counter() - start
        figures = compare(codec.decode_picture(open_container(data), model).rgb, picture.rgb, None)
        points.append((8 * len(data) / picture.pixels, figures["ms_ssim"], figures["psnr"], seconds))
    return tuple(np.mean(points, 0))


def saving(point: Point, plain: list[Point]) -> float:
    """The share of bytes saved against the curve of effort 0, ascending."""
    places = [decibels(each[1]) for each in plain]
    same = np.exp(np.interp(decibels(point[1]), places, [np.log(each[0]) for each in plain]))
    return 1 - point[0] / same


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.bench.codec.effort", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with kodak/")
    parser.add_argument("--every", type=number(), default=6, help="use every n-th picture")
    most, within = len(EFFORT_STEPS) - 1, number(MIN_QUALITY + AROUND, MAX_QUALITY - AROUND)
    parser.add_argument("--side", type=number(SMALLEST_SIDE), default=256, help="of the crops, in pixels")
    parser.add_argument("--qualities", type=within, nargs="+", default=[50])
    parser.add_argument("--most", type=number(0, most), default=most, help="the highest effort to try")
    parser.add_argument("--out", type=Path, default=Path("docs/effort.md"))
    args = parser.parse_args()
    crops = [centre_crop(each, args.side) for each in read_folder(args.data / "kodak")[:: args.every]]
    pictures = [each for each in crops if each is not None]
    if len(pictures) < len(crops):
        parser.error(f"argument --side: there are pictures smaller than {args.side} pixels")
    writable(args.out)
    model = codec.load_model(encoder=True, backend="torch")
    rows = []
    for quality in args.qualities:
        around = (quality - AROUND, quality, quality + AROUND)
        plain = [measured(pictures, each, 0, model) for each in around]
        points = [plain[1], *(measured(pictures, quality, effort, model) for effort in range(1, args.most + 1))]
        for effort, point in enumerate(points):
            bpp, similarity, psnr, seconds = point
            rows.append([str(quality), str(effort), str(EFFORT_STEPS[effort]), f"{bpp:.4f}", f"{similarity:.4f}",
                         f"{psnr:.2f}", f"{saving(point, plain):.1%}" if effort else "", f"{seconds:.1f}"])
    headings = ["quality", "effort", "steps", "bpp", "MS-SSIM", "PSNR", "saving", "seconds"]
    threads = torch.get_num_threads()
    text = PAGE.format(side=args.side, count=len(pictures), threads=threads, table=table(headings, rows))
    args.out.write_text(prose(text))


if __name__ == "__main__":
    main()
