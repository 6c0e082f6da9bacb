"""The headline of the README, between its markers: six rows of what `docs/results.md` holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from obic.bench.common.markdown import prose, table
from obic.bench.common.rate_curves import Curve
from obic.bench.common.sets import CROPS, KODAK
from obic.bench.rivals.plan import DEFAULT
from obic.bench.rivals.published import ON_KODAK
from obic.bench.rivals.results_page import Figure, curve_of, rate_cell
from obic.bench.rivals.summary import RATE, SERIES, over_hevc

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
HEADLINE_RATES = (0.05, RATE, 0.10, 0.25)
MEASURED = ("obic, object and background", "HEVC intra, boxes not counted", "AVIF, boxes not counted", "WebP")
OTHERS = ("VTM", "cheng2020 checkerboard 6M, MS-SSIM")  # of those published: a classical codec, and a learned one
SIMILARITY: list[Figure] = [("ms_ssim", "{:.3f}".format)]
PSNR: list[Figure] = [("psnr", "{:.1f} dB".format)]

SECTION = """{begin}

![A cat: the original, the picture from {example:,} bytes, the object from that file](docs/example.webp)

{intro}

{rows}

{notes}

{end}"""


def write(readme: Path, result: Mapping[str, Any]) -> None:
    """Replaces what stands between the markers. Raises as `around`."""
    head, tail = around(readme)
    readme.write_text(head + section(result) + tail, "utf-8")


def around(readme: Path) -> tuple[str, str]:
    """The text before and after the section. Raises ValueError if its markers are not there."""
    head, begin, rest = readme.read_text("utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme} lacks the lines {BEGIN} and {END}")
    return head, tail


def section(result: Mapping[str, Any]) -> str:
    """The section with its markers. result: as `results.summarise` gives it, with
    "example_bytes"."""
    intro = (
        f"MS-SSIM of the 24 Kodak pictures, and PSNR at {RATE:g} bits per pixel; every codec codes each picture at "
        "the rate, and every byte of an obic file counts. [n]: n pictures have no file as small as that."
    )
    return SECTION.format(
        begin=BEGIN,
        end=END,
        example=result["example_bytes"],
        intro=prose(intro),
        rows=_rows(result["curves"][KODAK]),
        notes=prose(_notes(result)),
    )


def _rows(of_set: Mapping[str, Curve]) -> str:
    """obic as it comes in bold, what it is measured beside, and what others published."""
    rows = []
    for series in (series for series in SERIES if series.title in MEASURED and series.codec in of_set):
        cells = [series.title, *_cells(of_set[series.codec], series.rate)]
        rows.append([f"**{cell}**" if series.codec == DEFAULT else cell for cell in cells])
    for entry in (entry for entry in ON_KODAK if entry.name in OTHERS):
        rows.append([f"{entry.name} (published)", *_cells(curve_of(entry), "bpp")])
    return table(["", *(f"{rate:g} bpp" for rate in HEADLINE_RATES), "PSNR"], rows)


def _cells(curve: Curve, rate: str) -> list[str]:
    cells = [rate_cell(curve, each, rate, SIMILARITY) for each in HEADLINE_RATES]
    return [*cells, rate_cell(curve, RATE, rate, PSNR) if "psnr" in curve[0] else "-"]


def _notes(result: Mapping[str, Any]) -> str:
    targets = result["targets"]
    met = sum(line["met"] for line in targets)
    gain = over_hevc(result["curves"][CROPS], "object_ms_ssim")
    return (
        ("" if gain is None else
         f"In the objects of PASCAL VOC crops obic is {gain:.1f} dB of MS-SSIM above HEVC intra at the same bytes. ")
        + "It is trained for MS-SSIM, not for PSNR. Published figures were not measured here. "
        f"Of {len(targets)} [targets](docs/results.md#targets) {met} are met; [results](docs/results.md) has all "
        "curves, other codecs, objects and background. `make bench DATA=folder` makes all of this."
    )
