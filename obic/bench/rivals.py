"""`python -m obic.bench.rivals`: other codecs at the same bytes, picture by picture, through Pillow: what a user would
reach for today. Writes `docs/rivals.md`."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, features

from obic.bench.codec import TestPicture, read_sets
from obic.metrics import ms_ssim, psnr

TARGETS = (0.0648, 0.10, 0.25)  # bits a pixel
Save = Callable[[Image.Image, int], bytes]


def _saver(name: str, **options) -> Save:
    def save(image: Image.Image, quality: int) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, name, quality=quality, **options)
        return buffer.getvalue()

    return save


def _jpeg2000(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()  # quality 0..100 -> compression 1000:1..10:1, log-spaced
    image.save(buffer, "JPEG2000", quality_mode="rates", quality_layers=[10 ** (3 - quality / 50)], irreversible=True)
    return buffer.getvalue()


def available() -> dict[str, Save]:
    """The codecs this Pillow has, by name; each saves at a quality of 0..100."""
    codecs = {"JPEG": _saver("JPEG", optimize=True, progressive=True)}
    if features.check("jpg_2000"):
        codecs["JPEG 2000"] = _jpeg2000
    if features.check("webp"):
        codecs["WebP"] = _saver("WEBP", method=6)
    if features.check("avif"):
        codecs["AVIF"] = _saver("AVIF", speed=4, subsampling="4:2:0")
    return codecs


@dataclass(frozen=True)
class RivalPoint:
    """One codec at one target, means over the pictures. above: pictures whose smallest file is larger than asked."""

    name: str
    target: float
    bpp: float
    ms_ssim: float
    psnr: float
    above: int


def measure_rivals(pictures: Sequence[TestPicture], targets: Sequence[float]) -> list[RivalPoint]:
    """Every codec at every target: each picture's largest file that does not exceed it, else its smallest."""
    return [_point(name, save, pictures, target) for name, save in available().items() for target in targets]


def _point(name: str, save: Save, pictures: Sequence[TestPicture], target: float) -> RivalPoint:
    rates, similarities, errors, above = [], [], [], 0
    for picture in pictures:
        image = Image.fromarray(picture.rgb)
        pixels = image.width * image.height
        data = _largest_within(save, image, target * pixels / 8)
        above += 8 * len(data) > target * pixels
        decoded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        a, b = (torch.tensor(rgb).permute(2, 0, 1)[None].float() / 255 for rgb in (decoded, picture.rgb))
        rates.append(8 * len(data) / pixels)
        similarities.append(ms_ssim(a, b).item())
        errors.append(psnr(a, b).item())
    means = (float(np.mean(values)) for values in (rates, similarities, errors))
    return RivalPoint(name, target, *means, above)


def _largest_within(save: Save, image: Image.Image, limit: float) -> bytes:
    low, high = 0, 100
    best = save(image, low)
    while low < high:
        middle = (low + high + 1) // 2
        data = save(image, middle)
        if len(data) <= limit:
            low, best = middle, data
        else:
            high = middle - 1
    return best


def table(points: Sequence[RivalPoint], title: str) -> str:
    lines = [
        f"### {title}: other codecs at the same bytes",
        "",
        "The largest file of each picture within the target; where even the smallest is above it, that one, and the",
        "number of such pictures stands behind.",
        "",
        "| | target bpp | bpp | MS-SSIM | PSNR dB | above the target |",
        "|---|---|---|---|---|---|",
    ]
    for point in points:
        lines.append(
            f"| {point.name} | {point.target} | {point.bpp:.4f} | {point.ms_ssim:.4f} | {point.psnr:.2f} | "
            f"{point.above or ''} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.bench.rivals", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds kodak/ or voc-eval.zip, or both")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder for rivals.md")
    args = parser.parse_args()
    sets = read_sets(args.data, None, None, every=1)
    if not sets:
        parser.error(f"{args.data} holds neither kodak/ nor voc-eval.zip")
    parts = [name for name in ("pil", "jpg", "jpg_2000", "webp", "avif") if features.check(name)]
    versions = [f"{name} {features.version(name)}" for name in parts]
    tables = [table(measure_rivals(pictures, TARGETS), name) for name, pictures in sets.items()]
    head = f"# Other codecs\n\nMade by `make bench-rivals` through Pillow ({', '.join(versions)})."
    text = "\n\n".join([head, *tables])
    print(text)
    (args.out / "rivals.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
