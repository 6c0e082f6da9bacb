"""`docs/results.md`: the report as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from obic.bench.common.markdown import prose, table
from obic.bench.common.measure import REGIONS
from obic.bench.common.rate_curves import Curve, at_rate
from obic.bench.common.sets import CROPS, KODAK, VOC
from obic.bench.rivals import published
from obic.bench.rivals.plan import BOOST_RATE, DEFAULT, ONE_QUALITY, RATES
from obic.bench.rivals.summary import ANCHORS, FIELDS, MOST_BACKGROUND_LOST, RATE, best_boost, over_hevc, present
from obic.metrics import decibels

Figure = tuple[str, Callable[[float], str]]  # a field, and how it is written

FAR = 5 / 3  # the largest step from one rate to the next
NAMES = {"ms_ssim": "MS-SSIM", "psnr": "PSNR", "haarpsi": "HaarPSI"}
BYTE_FIELDS = (
    "header_bytes",
    "mask_bytes",
    "object_z_bytes",
    "object_residual_bytes",
    "background_z_bytes",
    "background_residual_bytes",
)
BOOST_COLUMNS = (
    "boost",
    "object PSNR",
    "background PSNR",
    "object MS-SSIM",
    "background MS-SSIM",
    "object gains",
    "background gains",
    "whole",
    "shift",
)

HEAD = """# Results

Made by `make bench` from files. Means over the pictures of MS-SSIM (RGB, five scales; dB is -10 log10(1 - x) of the
mean), PSNR (RGB) and HaarPSI (Reisenhofer and others 2018: 1 is equal, near to what people see). A region's figures are
those of its pixels; its MS-SSIM is the map of every scale weighted by the mask: the true one of VOC, void left out; for
Kodak what the segmenter sees. obic uses the segmenter's own masks everywhere, and every byte of its files counts.

Every codec is driven to the rate picture by picture: the file nearest to it in size. The means are then interpolated to
the rate itself, linearly in its logarithm. Where the means do not get so low, or so high, the cell shows the
smallest or the largest files and their rate, or "-" where even that is two thirds away; [n] says that n pictures have
no file as small as that. "Boxes not counted": the coded picture without the boxes of HEIF or AVIF round it, which
stands for BPG, whose own header is tiny.

Every second picture of VOC is used at its native size, every one as a centre crop of 320x320.
"""

ONE_QUALITY_NOTE = (
    "These are means at one setting for all pictures: easy pictures have smaller files than hard ones, which is worth "
    "something at the same mean rate. Above, every picture goes to the rate. With one quality for all pictures (object "
    "and background, default boost), obic has:"
)

PAPER_HEAD = """## Published, VOC 2012 at 320x320

By the LearntOBIC paper. Its pictures are not ours, and its bits are estimates without mask and container.

"""


def report(result: Mapping[str, Any]) -> str:
    """All of `docs/results.md`."""
    parts = [HEAD, f"obic: model {result['model']}, {result['machine']}. Beside it:"]
    parts.append("\n".join(f"- {name}: {settings}" for name, settings in result["settings"].items()))
    parts.append("## Targets\n\n" + targets(result["targets"]))
    parts.append("What would close the gaps: see the [training log](log/training-log.md#what-would-close-the-gaps).")
    if KODAK in result["curves"] and CROPS in result["boost"]:
        parts.append("## In short\n\n" + "\n".join(f"- {note}" for note in notes(result)))
    for name, of_set in result["curves"].items():
        parts.append(f"## {name}, {of_set[DEFAULT][0]['pictures']} pictures")
        parts.append(f"![MS-SSIM, PSNR and HaarPSI over the rate](rate-{slug(name)}.svg)")
        parts.append("### MS-SSIM\n\n" + rates(of_set, [("ms_ssim", "{:.4f}".format)]))
        for region in REGIONS:
            title = region.removesuffix("_").capitalize() or "Whole picture"
            parts.append(f"### {title}: MS-SSIM in dB · PSNR in dB · HaarPSI\n\n" + rates(of_set, triple(region)))
        parts.append("### Bits for the same quality\n\n" + bd_rates(result["bd_rates"][name]))
    one_quality = result["curves"].get(KODAK, {}).get(ONE_QUALITY)
    parts.append("## Published, Kodak\n\nNot measured here.\n\n" + others(published.ON_KODAK))
    parts.append("The same at our rates, MS-SSIM, interpolated between the points:\n\n" + at_our_rates(one_quality))
    if one_quality:
        parts.append(ONE_QUALITY_NOTE + "\n\n" + one_setting(one_quality))
    parts.append(PAPER_HEAD + others(published.IN_PAPER))
    parts.append("## The cost of the split\n\n" + split(result))
    parts.append("## Object boost\n\n" + boost(result))
    parts.append("## Pictures\n\n![Kodak pictures in obic and other codecs at the same bytes](sheet.webp)")
    parts.append("## Time\n\n" + seconds(result))
    return "\n\n".join(prose(part.strip()) for part in parts) + "\n"


def notes(result: Mapping[str, Any]) -> list[str]:
    """The few figures that a reader of the tables should know first."""
    kodak, times, segmenter = result["curves"][KODAK], result["seconds"], result["segmenter"]
    point = next(each for each in kodak[DEFAULT] if each["target"] == RATE)
    gains = next(line for line in result["boost"][CROPS] if line["boost"] == result["default_boost"])
    against = over_hevc(kodak, "psnr")
    found = [
        f"At {RATE:g} bpp a Kodak file has {point['bytes']:,.0f} bytes, {point['header_bytes']:.0f} of them header and "
        f"checksums, {point['mask_bytes']:.0f} mask.",
        f"The codec is trained for MS-SSIM; its PSNR is {point['psnr']:.1f} dB there"
        + ("." if against is None else f", HEVC intra's {point['psnr'] - against:.1f} dB."),
        f"The default object boost, {result['default_boost']}, changes the MS-SSIM of the VOC crops by "
        f"{gains['object_gain']:+.2f} dB in the object and {gains['background_gain']:+.2f} dB in the background, at "
        f"the same bytes; the best by measurement would be {best_boost(result['boost'][CROPS])}.",
        f"A picture of 768x512 takes {times['segment']:.2f} s to segment, {times['encode']:.2f} s to encode and "
        f"{times['decode']:.2f} s to decode, models loaded ({result['machine']}).",
    ]
    if segmenter:
        found.append(
            f"The segmenter has a foreground IoU of {segmenter['fg_iou']:.3f} and an mIoU over 21 classes of "
            f"{segmenter['miou']:.3f} on {segmenter['pictures']} VOC pictures."
        )
    return found


def slug(name: str) -> str:
    """A set's name in names of files."""
    return {KODAK: "kodak", VOC: "voc", CROPS: "voc-320"}[name]


def rates(of_set: Mapping[str, Curve], figures: Sequence[Figure]) -> str:
    """A line for each codec, a column for each rate."""
    shown_series = present(of_set)
    targets = sorted({point["target"] for series in shown_series for point in of_set[series.codec]})
    lines = [
        [series.title, *(rate_cell(of_set[series.codec], target, series.rate, figures) for target in targets)]
        for series in shown_series
    ]
    return table(["", *(f"{target:g} bpp" for target in targets)], lines)


def rate_cell(curve: Curve, target: float, rate: str, figures: Sequence[Figure]) -> str:
    """The figures at a rate; those of the smallest or the largest files, with their rate, where
    that is not far off."""
    reached = {field: at_rate(curve, target, field, rate) for field, _ in figures}
    values = {field: value for field, value in reached.items() if value is not None}
    if len(values) == len(reached):
        floor = sum(point["floor"] for point in curve if point["target"] == target)
        return shown(values, figures) + (f" [{floor}]" if floor else "")
    smallest, largest = curve[0], curve[-1]
    near = smallest if target < smallest[rate] else largest if largest["target"] == target else None
    if near and 1 / FAR < near[rate] / target < FAR and all(field in near for field in reached):
        return f"{shown(near, figures)} (at {near[rate]:.3f})"
    return "-"


def one_setting(curve: Curve) -> str:
    """Means at one quality for all pictures, at the usual mean rates."""
    figures: list[Figure] = [("ms_ssim", "{:.4f}".format), ("psnr", "{:.2f} dB".format)]
    cells = [rate_cell(curve, rate, "bpp", figures) for rate in RATES]
    return table([f"{rate:g} bpp" for rate in RATES], [cells])


def shown(values: Mapping[str, float], figures: Sequence[Figure]) -> str:
    """Several figures in one cell."""
    return " · ".join(form(values[field]) for field, form in figures)


def triple(region: str = "") -> list[Figure]:
    """The three figures of a region (a prefix of `measure.REGIONS`), as they are written."""
    return [
        (f"{region}ms_ssim", in_decibels),
        (f"{region}psnr", "{:.2f}".format),
        (f"{region}haarpsi", "{:.3f}".format),
    ]


def in_decibels(similarity: float) -> str:
    """MS-SSIM in 0..1 as text in dB."""
    return f"{decibels(similarity):.2f}"


def targets(lines: Sequence[Mapping[str, Any]]) -> str:
    """The table of targets: goal, value, and whether it is met."""
    rows = []
    for line in lines:
        sign = "at most" if line["at_most"] else "at least"
        value, verdict = "no such rate", "-"
        if line["value"] is not None:
            value, verdict = f"{line['value']:.4f}", "met" if line["met"] else "**not met**"
        rows.append([line["what"], f"{sign} {line['goal']:g}", value, verdict])
    return table(["", "target", "measured", ""], rows)


def bd_rates(of_set: Mapping[str, Mapping[str, float | None]]) -> str:
    """Per cent more bits for the same quality; negative is better."""
    columns = [(anchor.title, field) for anchor in ANCHORS for field in FIELDS]
    columns = [(title, field) for title, field in columns if f"{title} {field}" in next(iter(of_set.values()))]
    rows = [
        [title, *(percent(values[f"{anchor} {field}"]) for anchor, field in columns)]
        for title, values in of_set.items()
    ]
    note = (
        "Bjontegaard's difference of rate (Akima) over the qualities that both reach; negative: fewer bits. "
        '"-": they share less than a third of what either covers.'
    )
    return note + "\n\n" + table(["", *(f"{NAMES[field]}, {anchor}" for anchor, field in columns)], rows)


def percent(value: float | None) -> str:
    """A difference as text, "-" where there is none."""
    return "-" if value is None else f"{value:+.1f} %"


def others(entries: Sequence[published.Published]) -> str:
    """The table of published figures."""
    rows = []
    for entry in entries:
        points = ", ".join(
            f"{bpp:.4f}: {similarity:.4f}" + ("" if psnr is None else f" ({psnr:.2f} dB)")
            for bpp, similarity, psnr in entry.points
        )
        rows.append([entry.name, points, entry.source])
    return table(["", "bpp: MS-SSIM (PSNR)", "source"], rows)


def curve_of(entry: published.Published) -> Curve:
    """Published points as a curve that `rate_cell` takes. "psnr" is there where all points have
    it."""
    named = [{"bpp": bpp, "ms_ssim": similarity, "target": bpp, "floor": 0} for bpp, similarity, _ in entry.points]
    known = [psnr for _, _, psnr in entry.points if psnr is not None]
    if len(known) == len(named):
        named = [point | {"psnr": psnr} for point, psnr in zip(named, known, strict=True)]
    return named


def at_our_rates(one_quality: Curve | None) -> str:
    """Published curves, and obic's with one quality for all pictures, at the rates of the other
    tables."""
    figures: list[Figure] = [("ms_ssim", "{:.3f}".format)]
    curves = {entry.name: curve_of(entry) for entry in published.ON_KODAK}
    if one_quality:
        curves = {"obic, one quality for all pictures": one_quality} | curves
    lines = [[name, *(rate_cell(curve, rate, "bpp", figures) for rate in RATES)] for name, curve in curves.items()]
    return table(["", *(f"{rate:g} bpp" for rate in RATES)], lines)


def split(result: Mapping[str, Any]) -> str:
    """Two layers of equal qualities against one layer, and where the bytes of both went."""
    parts = ["Two layers of equal qualities against one layer at the same bytes, MS-SSIM."]
    rows = [
        [name, *(f"{line[key]:.4f}" for key in ("rate", "one_layer", "two_layers", "loss"))]
        for name, lines in result["split"].items()
        for line in lines
    ]
    parts.append(table(["", "bpp", "one layer", "two layers", "loss"], rows))
    parts.append(
        f"Where the bytes of a file went, at {RATE} bpp: means; z is the hyper-latent. Where the segmenter sees no "
        "object, there is one layer, counted as background:"
    )
    rows = []
    for name in result["split"]:
        for series in present(result["curves"][name])[:3]:
            point = next(each for each in result["curves"][name][series.codec] if each["target"] == RATE)
            where = (f"{point.get(key, 0):.0f}" for key in BYTE_FIELDS)
            rows.append([f"{name}, {series.title}", f"{point['bytes']:.0f}", *where])
    parts.append(table(["", "file", *(key.removesuffix("_bytes").replace("_", " ") for key in BYTE_FIELDS)], rows))
    return "\n\n".join(parts)


def boost(result: Mapping[str, Any]) -> str:
    """Object against background at one rate, and what that says of the default."""
    parts = [
        f"Bits move between object and background at {BOOST_RATE:g} bpp; gains are over equal qualities, in dB of "
        "MS-SSIM. The best boost is the largest at which the background loses no more than "
        f"{MOST_BACKGROUND_LOST:g} dB: a small difference, for all that the object can gain by it. Shift: how far the "
        f"mean colour of the background moves, in grey levels. The default boost is {result['default_boost']}.",
        "![PSNR of object and background for several boosts](boost.svg)",
    ]
    for name, lines in result["boost"].items():
        rows = [
            [
                f"{line['boost']}",
                *(f"{line[key]:.2f}" for key in ("object_psnr", "background_psnr")),
                *(f"{line[key]:.2f}" for key in ("object_ms_ssim_db", "background_ms_ssim_db")),
                *(f"{line[key]:+.2f}" for key in ("object_gain", "background_gain")),
                f"{line['ms_ssim']:.4f}",
                f"{line['shift']:.2f}",
            ]
            for line in lines
        ]
        parts.append(f"{name}: best boost {best_boost(lines)}.")
        parts.append(table(BOOST_COLUMNS, rows))
    return "\n\n".join(parts)


def seconds(result: Mapping[str, Any]) -> str:
    """The table of times for one picture."""
    stages = result["seconds"]
    note = f"Median of a few Kodak pictures (768x512), default quality, two layers, models loaded. {result['machine']}."
    return note + "\n\n" + table(list(stages), [[f"{value:.2f} s" for value in stages.values()]])
