"""Gain and cost of the vivid look: `python -m obic.bench.vivid --data data`. Writes docs/looks.md
and looks.webp.

Kodak pictures at low rates, one file each, decoded with every look. Detail: the mean difference of
neighbouring pixels, as a share of the original's. Dots: what repeats from cell to cell where the
original is smooth. Patches: the Fréchet distance of the patches decoded from those of the originals
(all three in `obic.bench.vivid.patches`). It is low where patches look like parts of photographs,
whatever they show.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from obic import codec
from obic.bench.common.captions import captioned
from obic.bench.common.coders import ObicCoder
from obic.bench.common.markdown import prose, table
from obic.bench.common.measure import compare, nearest_file
from obic.bench.common.pictures import TestPicture, read_folder
from obic.bench.common.script import command, number, writable
from obic.bench.vivid.patches import PATCH, PatchFeatures, detail, dots, frechet
from obic.container import open_container
from obic.looks import LOOKS
from obic.segment.torch_deeplab import load_network
from obic.weights import CodecModel, segmenter_bytes

LOW_RATES = (0.02, 0.03, 0.05, 0.1)
SHOWN, SHOWN_AT, SHOWN_SIDE = ("kodim04", "kodim07", "kodim13", "kodim19"), 0.03, 288  # of the sheet

PAGE = """# Looks

`make bench-looks`: {count} Kodak pictures in one layer, one file for all looks. Detail: differences of neighbouring
pixels, as a share of the original's. Dots: what repeats every 16 pixels in the smoothest tenth of a picture, in grey
levels; the originals have {dots}. Patches: Fréchet distance of patches of {patch} pixels in features of the segmenter,
lower is more like a photograph. MS-SSIM, PSNR and HaarPSI compare with the original place by place, which is what the
vivid look gives up.

{table}

![Kodak pictures at about {shown} bits per pixel: original, faithful, vivid](looks.webp)
"""


def coded(picture: TestPicture, model: CodecModel) -> list[bytes]:
    """The files of a picture that are nearest to the rates."""
    coder = ObicCoder(codec.PictureEncoder(picture.rgb, None, 1, model=model), 1, 0, model)
    return [nearest_file(coder, rate * picture.pixels / 8) for rate in LOW_RATES]


def measured(pictures: Sequence[TestPicture], decoded: Sequence[np.ndarray], features: PatchFeatures) -> list[str]:
    """The cells of a line: MS-SSIM, PSNR, HaarPSI, detail, dots and patches of decoded pictures,
    uint8 [H, W, 3]."""
    originals = [picture.rgb for picture in pictures]
    pairs = list(zip(decoded, originals, strict=True))
    figures = [compare(*pair, None) for pair in pairs]
    means = [np.mean([each[name] for each in figures]) for name in ("ms_ssim", "psnr", "haarpsi")]
    share = np.mean([detail(made) / detail(true) for made, true in pairs])
    made, true = (np.concatenate([features(rgb) for rgb in group]) for group in (decoded, originals))
    return [f"{means[0]:.4f}", f"{means[1]:.2f}", f"{means[2]:.3f}", f"{share:.2f}", typical_dots(pairs),
            f"{frechet(made, true):.3f}"]


def typical_dots(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> str:
    """The amplitude of dots in grey levels, of pairs of a decoded and a true picture: the median,
    as some originals are smooth nowhere."""
    return f"{max(0.0, np.median([dots(*pair) for pair in pairs])) ** 0.5:.1f}"


def middle(rgb: np.ndarray) -> np.ndarray:
    """The square of SHOWN_SIDE pixels in the middle of a picture."""
    top, left = (max(0, length - SHOWN_SIDE) // 2 for length in rgb.shape[:2])
    return rgb[top : top + SHOWN_SIDE, left : left + SHOWN_SIDE]


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.bench.vivid", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with kodak/")
    parser.add_argument("--every", type=number(), default=1, help="use every n-th picture")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder (default docs)")
    args = parser.parse_args()
    pictures = read_folder(args.data / "kodak")[:: args.every]
    page, sheet_file = (writable(args.out / name) for name in ("looks.md", "looks.webp"))
    model = codec.load_model(encoder=True)
    files = dict(zip(LOW_RATES, zip(*(coded(picture, model) for picture in pictures), strict=True), strict=True))
    features = PatchFeatures(load_network(segmenter_bytes()))
    shown = [place for place, picture in enumerate(pictures) if picture.name in SHOWN] or [0]
    rows, sheet = [], [[(f"original {pictures[place].name}", middle(pictures[place].rgb))] for place in shown]
    for look in LOOKS:
        model = codec.load_model(look=look)
        for rate, group in files.items():
            decoded = [codec.decode_picture(open_container(data), model).rgb for data in group]
            bpp = np.mean([8 * len(data) / picture.pixels for data, picture in zip(group, pictures, strict=True)])
            rows.append([f"{bpp:.4f}", look, *measured(pictures, decoded, features)])
            if rate == SHOWN_AT:
                for cells, place in zip(sheet, shown, strict=True):
                    cells.append((look, middle(decoded[place])))
    rows.sort(key=lambda each: each[0])
    captioned(sheet, sheet_file)
    headings = ["bpp", "look", "MS-SSIM", "PSNR", "HaarPSI", "detail", "dots", "patches"]
    of_originals = typical_dots([(picture.rgb, picture.rgb) for picture in pictures])
    text = PAGE.format(count=len(pictures), dots=of_originals, patch=PATCH, shown=SHOWN_AT, table=table(headings, rows))
    page.write_text(prose(text))


if __name__ == "__main__":
    main()
