"""Plots as SVG, and pictures side by side as WebP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from obic import api
from obic.bench.common.captions import GAP, captioned
from obic.bench.common.coders import Coder
from obic.bench.common.measure import compare, nearest_file
from obic.bench.common.pictures import TestPicture
from obic.bench.common.rate_curves import Curve, scaled
from obic.bench.common.script import extra
from obic.bench.rivals.plan import EQUAL
from obic.bench.rivals.published import ON_KODAK
from obic.bench.rivals.summary import FIELDS, present
from obic.container import open_container
from obic.metrics import decibels

pyplot = extra("matplotlib.pyplot")

LABELS = {"ms_ssim": "MS-SSIM, dB", "psnr": "PSNR, dB", "haarpsi": "HaarPSI"}
STYLE = {"svg.hashsalt": "obic", "svg.fonttype": "none", "font.size": 9, "axes.grid": True}
MARKERS = "x+1234*.|_"  # of published codecs


def plot_rates(of_set: Mapping[str, Curve], title: str, path: Path, published: bool = False) -> None:
    """The three figures over the rate, one line a codec; published points without a line."""
    figure, axes = _axes(len(FIELDS), (13, 5))
    for axis, field in zip(axes, FIELDS, strict=True):
        for series in (each for each in present(of_set) if each.codec != EQUAL):  # hardly apart from one layer
            points = [(point[series.rate], scaled(point, field)) for point in of_set[series.codec]]
            own = series.codec.startswith("obic")
            axis.plot(*zip(*points, strict=True), marker="o", markersize=3, lw=2 if own else 1, label=series.title)
        for marker, entry in zip(MARKERS, ON_KODAK if published else (), strict=False):
            values = [(bpp, {"ms_ssim": decibels(similarity), "psnr": psnr}) for bpp, similarity, psnr in entry.points]
            points = [(bpp, value) for bpp, each in values if (value := each.get(field)) is not None]
            if points:
                label = f"{entry.name} (published)"
                axis.scatter(*zip(*points, strict=True), marker=marker, s=24, color="gray", label=label)
        axis.set(xlabel="bits a pixel", ylabel=LABELS[field], xlim=(0.02, 0.3))
    figure.suptitle(title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=5, fontsize=7, frameon=False)
    figure.tight_layout(rect=(0, 0.13, 1, 1))
    _save(figure, path)


def plot_boost(boosts: Mapping[str, Sequence[Mapping[str, float]]], default: int, path: Path) -> None:
    """PSNR of the object over PSNR of the background, one point a boost, all at the same bytes."""
    figure, axes = _axes(len(boosts), (5 * len(boosts), 4))
    for axis, (name, lines) in zip(axes, boosts.items(), strict=True):
        places = [(line["background_psnr"], line["object_psnr"]) for line in lines]
        axis.plot(*zip(*places, strict=True), marker="o")
        for line, place in zip(lines, places, strict=True):
            mark = f"{line['boost']}" + (" (default)" if line["boost"] == default else "")
            axis.annotate(mark, place, textcoords="offset points", xytext=(6, 4))
        axis.set(title=name, xlabel="PSNR of the background, dB", ylabel="PSNR of the object, dB")
    figure.tight_layout()
    _save(figure, path)


def _axes(columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(1, columns, figsize=size, squeeze=False)
    return figure, axes[0]


def _save(figure: Any, path: Path) -> None:
    with pyplot.rc_context(STYLE):
        figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def sheet(
    pictures: Sequence[TestPicture], coders: Mapping[str, Sequence[Coder]], bpp: float, side: int, path: Path
) -> None:
    """A row for each picture, a column for the original and each codec at the same bytes; squares
    round the object.

    coders: by the column's title, one for each picture. Under each stand the file's bytes and
    MS-SSIM in dB, of the whole picture.
    """
    rows = []
    for number, picture in enumerate(pictures):
        window = _round_object(picture, side)
        cells = [(f"original {picture.name}", picture.rgb[window])]
        for title, each in coders.items():
            data = nearest_file(each[number], bpp * picture.pixels / 8)
            decoded = each[number].decode(data)
            similarity = compare(decoded, picture.rgb, None)["ms_ssim"]
            caption = f"{title}\n{len(data):,} bytes, {decibels(similarity):.1f} dB"
            cells.append((caption, decoded[window]))
        rows.append(cells)
    captioned(rows, path)


def _round_object(picture: TestPicture, side: int) -> tuple[slice, slice]:
    """A square round the middle of the object, inside the picture."""
    def span(places: np.ndarray, length: int) -> slice:
        middle = int(places.mean()) if len(places) else length // 2
        start = min(max(middle - side // 2, 0), length - side)
        return slice(start, start + side)

    rows, columns = np.nonzero(picture.region(1))
    return span(rows, picture.rgb.shape[0]), span(columns, picture.rgb.shape[1])


def example(source: Path, target: Path) -> int:
    """A picture, what its file gives, and the object cut out of the same file on grey. Returns the
    file's bytes."""
    original = Image.open(source).convert("RGB")
    data = api.encode(original)
    cells = [original, api.decode(data)]
    if "object" in open_container(data).header.layer_names:
        cells.append(api.extract(data, "object"))
    canvas = Image.new("RGB", (len(cells) * (original.width + GAP) - GAP, original.height), "gray")
    for column, cell in enumerate(cells):
        canvas.paste(cell, (column * (original.width + GAP), 0), cell if cell.mode == "RGBA" else None)
    canvas.save(target, quality=90, method=6)
    return len(data)


def cutouts(source: Path, target: Path) -> None:
    """A picture, and the object of its files on green: along the cells, and with the mask to the
    pixel."""
    original = Image.open(source).convert("RGB")
    cells = [("original", np.asarray(original))]
    for alpha, title in (("grid", "along the cells"), ("pixel", "to the pixel")):
        data = api.encode(original, alpha=alpha)
        over = Image.new("RGB", original.size, "seagreen")
        cut_out = api.extract(data, "object")
        over.paste(cut_out, mask=cut_out)
        cells.append((f"{title}: {len(data):,} bytes", np.asarray(over)))
    captioned([cells], target)
