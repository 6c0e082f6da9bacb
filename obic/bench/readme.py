"""The results section of the README, between its markers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from obic.bench.plan import CROPS, DEFAULT, EQUAL, KODAK, ONE_LAYER, ONE_QUALITY
from obic.bench.published import KODAK as PUBLISHED
from obic.bench.results import RATE, Series, best_boost, over_hevc, present
from obic.bench.tables import Figure, in_decibels, rate_cell, table, targets

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
RATES = (0.05, RATE, 0.10, 0.25)
PLAIN: list[Figure] = [("ms_ssim", "{:.3f}".format)]
OBJECT: list[Figure] = [("object_ms_ssim", in_decibels), ("object_psnr", "{:.2f}".format)]

SECTION = """{begin}

![A cat: the original, the picture from {example:,} bytes, the object from that file](docs/example.webp)

`make bench` makes all of this and [`docs/results.md`](docs/results.md) from files; every byte of obic's counts. Each
codec codes each picture at the rate; [n]: n pictures have no file as small as that. Published figures are means at one
setting for all pictures, which is worth something; obic has a line of that kind. The 24 Kodak pictures:

{kodak}

Parts of Kodak pictures from files of the same size ({rate:g} bits a pixel; the MS-SSIM is that of the whole picture):

![Kodak pictures in obic and other codecs](docs/sheet.webp)

Centre crops of 320x320 of {crops} pictures of PASCAL VOC 2012 validation, in the region of the true object: MS-SSIM in
dB · PSNR in dB.

{objects}

What is aimed at, and what is reached ([`docs/training-log.md`](docs/training-log.md) says what would close the gaps):

{targets}

{notes}

{end}"""


def write(readme: Path, result: Mapping) -> None:
    """Replaces what stands between the markers. Raises as `around`."""
    head, tail = around(readme)
    readme.write_text(head + section(result) + tail)


def around(readme: Path) -> tuple[str, str]:
    """What stands before and after the section. Raises ValueError if its markers are not there."""
    head, begin, rest = readme.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme} lacks the lines {BEGIN} and {END}")
    return head, tail


def section(result: Mapping) -> str:
    kodak, crops = (result["curves"][name] for name in (KODAK, CROPS))
    return SECTION.format(
        begin=BEGIN,
        end=END,
        example=result["example_bytes"],
        kodak=_kodak(kodak),
        rate=RATE,
        crops=crops[DEFAULT][0]["pictures"],
        objects=_objects(crops),
        targets=targets(result["targets"]),
        notes="\n".join(f"- {note}" for note in _notes(result)),
    )


def _kodak(of_set: Mapping) -> str:
    rows = _rows(of_set, PLAIN, present(of_set))
    if ONE_QUALITY in of_set:
        cells = [rate_cell(of_set[ONE_QUALITY], rate, "bpp", PLAIN) for rate in RATES]
        rows.append(["obic, one quality for all pictures, as those below", *cells])
    for entry in PUBLISHED:
        curve = [{"bpp": bpp, "ms_ssim": similarity, "target": bpp, "floor": 0} for bpp, similarity, _ in entry.points]
        rows.append([f"{entry.name} (published)", *(rate_cell(curve, rate, "bpp", PLAIN) for rate in RATES)])
    return table(["MS-SSIM at", *(f"{rate:g} bpp" for rate in RATES)], rows)


def _objects(of_set: Mapping) -> str:
    near = [series for series in present(of_set) if series.codec in (DEFAULT, EQUAL, ONE_LAYER, "HEVC intra", "AVIF")]
    return table(["", *(f"{rate:g} bpp" for rate in RATES)], _rows(of_set, OBJECT, near))


def _rows(of_set: Mapping, figures: list[Figure], lines: list[Series]) -> list[list[str]]:
    """A line for each codec; obic as it comes in bold."""
    rows = []
    for series in lines:
        cells = [series.title, *(rate_cell(of_set[series.codec], rate, series.rate, figures) for rate in RATES)]
        rows.append([f"**{cell}**" if series.codec == DEFAULT else cell for cell in cells])
    return rows


def _notes(result: Mapping) -> list[str]:
    kodak, seconds, segmenter = result["curves"][KODAK], result["seconds"], result["segmenter"]
    point = next(each for each in kodak[DEFAULT] if each["target"] == RATE)
    gains = next(line for line in result["boost"][CROPS] if line["boost"] == result["default_boost"])
    against = over_hevc(kodak, "psnr")
    return [
        f"At {RATE:g} bpp a Kodak file has {point['bytes']:,.0f} bytes, {point['header_bytes']:.0f} of them header and "
        f"checksums, {point['mask_bytes']:.0f} mask.",
        f"The codec is trained for MS-SSIM; its PSNR is {point['psnr']:.1f} dB there"
        + ("." if against is None else f", HEVC intra's {point['psnr'] - against:.1f} dB."),
        f"The default object boost, {result['default_boost']}, changes the MS-SSIM of the VOC crops by "
        f"{gains['object_gain']:+.2f} dB in the object and {gains['background_gain']:+.2f} dB in the background, at "
        f"the same bytes; the best by measurement would be {best_boost(result['boost'][CROPS])}.",
        f"A picture of 768x512 takes {seconds['segment']:.2f} s to segment, {seconds['encode']:.2f} s to encode and "
        f"{seconds['decode']:.2f} s to decode, models loaded ({result['machine']}).",
        "The segmenter, a DeepLab on EfficientNet-Lite2 that begins with ImageNet's weights: foreground IoU "
        f"{segmenter['fg_iou']:.3f}, mIoU over 21 classes {segmenter['miou']:.3f} on {segmenter['pictures']} VOC "
        "pictures.",
    ]
