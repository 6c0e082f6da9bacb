"""`python -m obic.bench.codec.bilevel`: bytes of the pixel mask beside other coders of bi-level
pictures.

Written to `docs/alpha.md`. The masks: VOC's, drawn by hand, all objects as one, and the segmenter's
of Kodak pictures.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from math import lgamma, log
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from obic import codec
from obic.bench.common.markdown import prose
from obic.bench.common.pictures import PictureError, read_folder, read_voc
from obic.bench.common.script import command, number, page
from obic.masks import encode_label_map, encode_pixel_mask, grid_labels

HEAD = """# The pixel mask

Made by `python -m obic.bench.codec.bilevel`: bytes of a mask with one object, mean over the pictures, and their
number. "obic" is the optional part, plus what the label map takes beyond that of the default alpha. JBIG2 is the ideal
length of its generic region (template 0 of 16 pixels, an adaptive probability for each context), G4 the strips of a
TIFF; PNG and WebP are whole files.

"""
TEMPLATE = [(-2, dx) for dx in range(-1, 2)] + [(-1, dx) for dx in range(-2, 3)] + [(0, dx) for dx in range(-4, 0)]
TEMPLATE += [(-1, 3), (-1, -3), (-2, 2), (-2, -2)]  # the four adaptive pixels, where JBIG2 (T.88, 6.2.5.3) has them


def obic_bytes(mask: np.ndarray) -> int:
    """The bytes that `--alpha pixel` adds to a file for a mask, bool [H, W]."""
    labels = mask.astype(np.uint8)
    fine, coarse = grid_labels(labels, 2, coverage=0), grid_labels(labels, 2)
    part = encode_pixel_mask(labels, fine)
    beyond = len(encode_label_map(fine, 2) or b"") - len(encode_label_map(coarse, 2) or b"")
    return len(part) + 2 + beyond  # 2: its checksum


def jbig2_bytes(mask: np.ndarray) -> int:
    """The ideal length of an adaptive code (Krichevsky-Trofimov) over the contexts of JBIG2's
    template."""
    padded = np.pad(mask.astype(np.int64), ((2, 0), (4, 4)))
    height, width = mask.shape
    context = np.zeros(mask.shape, np.int64)
    for place, (dy, dx) in enumerate(TEMPLATE):
        context += padded[2 + dy : 2 + dy + height, 4 + dx : 4 + dx + width] << place
    counts = (np.bincount(context[mask == bit], minlength=1 << len(TEMPLATE)).tolist() for bit in (0, 1))
    return round(sum(_nats(zeros, ones) for zeros, ones in zip(*counts, strict=True) if zeros or ones) / log(256))


def _nats(zeros: int, ones: int) -> float:
    """The length of an adaptive code depends on the counts alone, not on the order."""
    return 2 * lgamma(0.5) + lgamma(zeros + ones + 1) - lgamma(zeros + 0.5) - lgamma(ones + 0.5)


def _pillow(format: str, **options: Any) -> Callable[[np.ndarray], int]:
    def size(mask: np.ndarray) -> int:
        buffer = io.BytesIO()
        Image.fromarray(mask).save(buffer, format, **options)
        if format == "TIFF":
            buffer.seek(0)
            return sum(TiffImageFile(buffer).tag_v2[279])  # StripByteCounts
        return buffer.tell()

    return size


CODERS: dict[str, Callable[[np.ndarray], int]] = {
    "obic": obic_bytes,
    "JBIG2": jbig2_bytes,
    "G4": _pillow("TIFF", compression="group4"),
    "PNG": _pillow("PNG", optimize=True),
    "WebP": _pillow("WEBP", lossless=True, method=6),
}


def masks(data: Path, every: int) -> dict[str, list[np.ndarray]]:
    """The masks, bool [H, W], of each set by its name. Raises PictureError where a set has no
    object."""
    drawn = [picture.region(1) for picture in read_voc(data / "voc-eval.zip")[::every]]
    pictures, segment = read_folder(data / "kodak")[::every], codec.load_segmenter("auto")
    every_mask = {"VOC, drawn by hand": drawn, "Kodak, the segmenter's": [segment(each.rgb) > 0 for each in pictures]}
    sets = {name: [mask for mask in found if mask.any()] for name, found in every_mask.items()}
    for name, found in sets.items():
        if not found:
            raise PictureError(f"{data}: no picture with an object ({name})")
    return sets


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.bench.codec.bilevel", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds kodak/ and voc-eval.zip")
    parser.add_argument("--every", type=number(), default=1, metavar="N", help="every Nth one; no file but with --out")
    parser.add_argument("--out", type=Path, help="folder for alpha.md (default: docs)")
    args = parser.parse_args()
    sets = masks(args.data, args.every)
    path = page(args.out, "alpha.md", whole=args.every == 1)
    lines = ["| masks | " + " | ".join(CODERS) + " | pictures |", "|---" * (len(CODERS) + 2) + "|"]
    for name, found in sets.items():
        means = [f"{np.mean([size(mask) for mask in found]):.0f}" for size in CODERS.values()]
        lines.append(f"| {name} | " + " | ".join(means) + f" | {len(found)} |")
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if path:
        path.write_text(prose(HEAD + text), "utf-8")


if __name__ == "__main__":
    main()
