"""From rows to curves: means over pictures, values at a rate, and Bjontegaard's difference of
rate."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from obic.bench.common.script import extra
from obic.metrics import decibels

REACH = 0.03  # how far beyond its ends a curve is drawn on: files are not exactly as large as asked for

Row = Mapping[str, Any]  # numbers, texts and truth values
Point = dict[str, float]
Curve = list[Point]  # by rising target


def curves(rows: Iterable[Row]) -> dict[str, dict[str, Curve]]:
    """By set and codec: the means over the pictures at each target.

    A region's mean is over the pictures that have one. pictures: how many there are; floor: how
    many of them have no file as small as the target; file_bpp: with all boxes.
    """
    groups = defaultdict(list)
    for row in rows:
        groups[row["set"], row["codec"], row["target"]].append(row)
    result: dict[str, dict[str, Curve]] = defaultdict(lambda: defaultdict(list))
    for name, codec, target in sorted(groups):
        result[name][codec].append({**_means(groups[name, codec, target]), "target": target})
    return {name: dict(codecs) for name, codecs in result.items()}


def _means(rows: Sequence[Row]) -> Point:
    numbers = defaultdict(list)
    for row in rows:
        for key, value in row.items():
            if isinstance(value, int | float):
                numbers[key].append(float(value))
        numbers["file_bpp"].append(row["bpp"] * row["bytes"] / row["payload"])
    point = {key: round(float(np.mean(values)), 6) for key, values in numbers.items()}
    return point | {"pictures": len(rows), "floor": sum(row["floor"] for row in rows)}


def at_rate(curve: Curve, bpp: float, field: str, rate: str = "bpp") -> float | None:
    """A mean figure at a mean rate: linear in the logarithm of the rate, MS-SSIM in dB. None if the
    rate lies more than 3 % outside the curve."""
    points = [(math.log(bits), value) for bits, value in _ascending(curve, field, rate)]
    wanted = math.log(bpp)
    if len(points) < 2 or not points[0][0] - REACH <= wanted <= points[-1][0] + REACH:
        return None
    after = min(max(sum(place < wanted for place, _ in points), 1), len(points) - 1)
    (left, low), (right, high) = points[after - 1 : after + 1]
    value = low + (high - low) * (wanted - left) / (right - left)
    return 1 - 10 ** (-value / 10) if field.endswith("ms_ssim") else value


def scaled(point: Point, field: str) -> float:
    """A figure on the scale on which it is interpolated and drawn: MS-SSIM in dB."""
    return decibels(point[field]) if field.endswith("ms_ssim") else point[field]


def bd_rate(anchor: Curve, test: Curve, field: str, anchor_rate: str = "bpp", test_rate: str = "bpp") -> float | None:
    """How many per cent more bits `test` needs than `anchor` for the same quality, on average over
    the qualities that both reach (Akima interpolation). None where these are less than a third of
    those of either."""
    reference, other = _ascending(anchor, field, anchor_rate), _ascending(test, field, test_rate)
    if min(len(reference), len(other)) < 3:
        return None
    spans = [(curve[0][1], curve[-1][1]) for curve in (reference, other)]
    common = min(high for _, high in spans) - max(low for low, _ in spans)
    if common < max(high - low for low, high in spans) / 3:
        return None
    columns = [list(column) for curve in (reference, other) for column in zip(*curve, strict=True)]
    bjontegaard = extra("bjontegaard")  # here, as training reads curves too
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a small overlap
        return float(bjontegaard.bd_rate(*columns, method="akima", require_matching_points=False, min_overlap=0))


def _ascending(curve: Curve, field: str, rate: str) -> list[tuple[float, float]]:
    """(rate, value) with both rising: where several targets gave the smallest file, one point
    remains."""
    points: list[tuple[float, float]] = []
    for point in curve:
        if field in point and (not points or (point[rate] > points[-1][0] and scaled(point, field) > points[-1][1])):
            points.append((point[rate], scaled(point, field)))
    return points
