"""Measured rows summarised into one dictionary, which is `results.json`."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from obic.bench.common.coders import RIVALS
from obic.bench.common.rate_curves import Curve, Row, at_rate, bd_rate, curves
from obic.bench.common.script import extra
from obic.bench.common.sets import CROPS, KODAK, VOC
from obic.bench.rivals.plan import BOOST_RATE, BOOSTS, DEFAULT, EQUAL, ONE_LAYER, boosted
from obic.metrics import decibels
from obic.rate import OBJECT_BOOST

extra("bjontegaard")  # or its want would show after all is measured

RATE = 0.0648  # bits a pixel: where the paper states its figures
FIELDS = ("ms_ssim", "psnr", "haarpsi")
MOST_BACKGROUND_LOST = 0.5  # dB of MS-SSIM that the background may lose to the default boost


class Series(NamedTuple):
    """A line of a table: a codec, and which of its bytes count ("bpp" is without the boxes of HEIF
    and AVIF)."""

    title: str
    codec: str
    rate: str


SERIES = (
    Series("obic, object and background", DEFAULT, "bpp"),
    Series("obic, equal qualities", EQUAL, "bpp"),
    Series("obic, one layer", ONE_LAYER, "bpp"),
    Series("HEVC intra, boxes not counted", "HEVC intra", "bpp"),
    Series("HEVC intra as HEIC", "HEVC intra", "file_bpp"),
    Series("AVIF, boxes not counted", "AVIF", "bpp"),
    Series("AVIF", "AVIF", "file_bpp"),
    *(Series(name, name, "bpp") for name in RIVALS if name not in ("HEVC intra", "AVIF")),
)
ANCHORS = tuple(series for series in SERIES if series.title in ("HEVC intra, boxes not counted", "AVIF"))


def summarise(
    rows: Iterable[Row], fingerprint: str, segmenter: Mapping[str, float] | None, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """All figures of the report. segmenter: as `segmentation.score` gives it, and
    `presence`; seconds: as `speed.measure_speed`."""
    means = curves(rows)
    result = {
        "model": fingerprint,
        "machine": f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}, "
                   f"{torch.get_num_threads()} threads",
        "default_boost": OBJECT_BOOST,
        "settings": {rival.name: rival.settings for rival in RIVALS.values()},
        "curves": means,
        "bd_rates": {name: bd_rates(of_set) for name, of_set in means.items()},
        "split": {name: split(of_set) for name, of_set in means.items() if ONE_LAYER in of_set},
        "boost": {name: boosts(of_set) for name, of_set in means.items() if EQUAL in of_set},
        "segmenter": segmenter,
        "seconds": dict(seconds),
    }
    return result | {"targets": [target._asdict() for target in targets(result)]}


def present(of_set: Mapping[str, Curve]) -> list[Series]:
    """The lines of a table for a set, of the codecs that were measured on it."""
    return [series for series in SERIES if series.codec in of_set]


def bd_rates(of_set: Mapping[str, Curve]) -> dict[str, dict[str, float | None]]:
    """By title, then "anchor field": per cent more bits than the anchor."""
    anchors = [anchor for anchor in ANCHORS if anchor.codec in of_set]
    return {
        series.title: {
            f"{anchor.title} {field}": bd_rate(
                of_set[anchor.codec], of_set[series.codec], field, anchor.rate, series.rate
            )
            for anchor in anchors
            for field in FIELDS
        }
        for series in present(of_set)
    }


def split(of_set: Mapping[str, Curve]) -> list[dict[str, float]]:
    """The loss of two layers of equal qualities against one layer, at the same bytes, at each rate
    that both reach."""
    lines = []
    for rate in (point["target"] for point in of_set[ONE_LAYER]):
        two, one = (at_rate(of_set[name], rate, "ms_ssim") for name in (EQUAL, ONE_LAYER))
        if two is not None and one is not None:
            lines.append({"rate": rate, "two_layers": two, "one_layer": one, "loss": one - two})
    return lines


def boosts(of_set: Mapping[str, Curve]) -> list[dict[str, float]]:
    """Every boost at BOOST_RATE, with the gains of object and background over equal qualities, in
    dB."""
    every = {boost: _point(of_set.get(boosted(boost), []), BOOST_RATE) for boost in BOOSTS}
    found = {boost: point for boost, point in every.items() if point and "object_psnr" in point}
    lines = []
    for boost, point in found.items():
        line = {"boost": boost, "bpp": point["bpp"], "ms_ssim": point["ms_ssim"], "shift": point["background_shift"]}
        for side in ("object", "background"):
            line[f"{side}_psnr"] = point[f"{side}_psnr"]
            line[f"{side}_ms_ssim_db"] = decibels(point[f"{side}_ms_ssim"])
            line[f"{side}_gain"] = line[f"{side}_ms_ssim_db"] - decibels(found[0][f"{side}_ms_ssim"])
        lines.append(line)
    return lines


def best_boost(lines: list[dict[str, float]]) -> int | None:
    """The largest boost at which the background loses at most MOST_BACKGROUND_LOST, interpolated
    between them."""
    rising = [line for line in lines if line["boost"] >= 0]
    for low, high in pairwise(rising):
        if high["background_gain"] < -MOST_BACKGROUND_LOST:
            share = (MOST_BACKGROUND_LOST + low["background_gain"]) / (low["background_gain"] - high["background_gain"])
            return int(low["boost"] + share * (high["boost"] - low["boost"]))
    return int(rising[-1]["boost"]) if rising else None


class Target(NamedTuple):
    """A goal, the value measured, and whether it is met: value >= goal, or <= goal where
    `at_most`."""

    what: str
    goal: float
    value: float | None
    at_most: bool
    met: bool


def targets(result: Mapping[str, Any]) -> list[Target]:
    """The targets for the sets that were measured."""
    found = []

    def add(what: str, goal: float, value: float | None, at_most: bool = False) -> None:
        met = value is not None and (value <= goal if at_most else value >= goal)
        found.append(Target(what, goal, value, at_most, met))

    means = result["curves"]
    if KODAK in means:
        for rate, goal in ((RATE, 0.92), (0.10, 0.944)):
            value = at_rate(means[KODAK][DEFAULT], rate, "ms_ssim")
            add(f"Kodak, MS-SSIM at {rate} bpp, two layers", goal, value)
    for name in (VOC, CROPS):
        if name in means:
            add(f"{name}, MS-SSIM over HEVC intra at {RATE} bpp, dB", 2.0, over_hevc(means[name], "ms_ssim"))
            add(f"{name}, the same in the object, dB", 3.0, over_hevc(means[name], "object_ms_ssim"))
            add(f"{name}, PSNR over HEVC intra in the object, dB", 0.0, over_hevc(means[name], "object_psnr"))
    for name, goal in ((KODAK, 0.002), (CROPS, 0.005)):
        losses = [line["loss"] for line in result["split"].get(name, []) if line["rate"] == RATE]
        if name in means:
            add(f"{name}, MS-SSIM lost to the split at {RATE} bpp", goal, losses[0] if losses else None, at_most=True)
    if result["segmenter"]:
        segmenter = result["segmenter"]
        add("foreground IoU of the segmenter, VOC 2012 val", 0.80, segmenter["fg_iou"])
        add("mIoU of the segmenter, VOC 2012 val", 0.65, segmenter["miou"])
        add("share of VOC's pictures whose object is lost", 0.02, segmenter.get("lost"), at_most=True)
        if "empty_pictures" in segmenter:
            count = segmenter["empty_pictures"]
            add(f"area taken for an object, {count} pictures without one", 0.01, segmenter["empty_area"], at_most=True)
            add("share of them in which none is found", 0.9, segmenter["empty_found_none"])
    return found


def over_hevc(of_set: Mapping[str, Curve], field: str, rate: float = RATE) -> float | None:
    """obic with two layers minus HEVC intra without its boxes, at the same bytes; MS-SSIM in dB."""
    own, other = (at_rate(of_set[name], rate, field) for name in (DEFAULT, "HEVC intra"))
    if own is None or other is None:
        return None
    return decibels(own) - decibels(other) if field.endswith("ms_ssim") else own - other


def _point(curve: Curve, target: float) -> dict[str, float] | None:
    return next((point for point in curve if point["target"] == target), None)
