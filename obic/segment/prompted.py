"""What a segmenter finds where the user points: in a box, or at a point."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from obic.connected import connected_cells
from obic.errors import UsageError
from obic.masks import OBJECT
from obic.prompts import Box, Point, Prompts
from obic.segment import Segmenter

BOX_MARGIN = 0.2  # of a box's sides, that the segmenter sees round it
LEAST_FOUND = 0.1  # of a box: where less of it is found, the box itself is the object
NEAR = 0.05  # of the picture's long side: how far from an object a point may be
MOST = 253  # prompts: labels are 8 bits, and 254 and 255 mean something
GRID = 1024  # on the long side, at most: connected parts are looked for on so many pixels


class Found(NamedTuple):
    """classes: labels as a segmenter gives them, uint8 [H, W]. parts: uint8 [H, W], the number,
    from 1, of the box or the point that each pixel of an object was found by; None where nobody
    pointed. notes: for the user, a line each."""

    classes: np.ndarray
    parts: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def find(segment: Segmenter, rgb: np.ndarray, asked: Prompts) -> Found:
    """The objects in a picture, uint8 [H, W, 3]: all, or those in the boxes and at the points.

    Each box and each point is one object, the boxes first; where two overlap the later one has the
    pixels. The segmenter sees a box with 20 % round it, and what it finds in there is the object;
    points are those of the whole picture. Raises UsageError where a place is not in the picture, or
    nothing near a point is an object.
    """
    if not asked.boxes and not asked.points:
        return Found(segment(rgb))
    if len(asked.boxes) + len(asked.points) > MOST:
        raise UsageError(f"there can be {MOST} boxes and points, not more")
    height, width = rgb.shape[:2]
    windows = [each.on(height, width) for each in asked.boxes]  # what is wrong is said before the work begins
    pixels = [each.on(height, width) for each in asked.points]
    classes, parts = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    notes: list[str] = []
    for number, (box, window) in enumerate(zip(asked.boxes, windows, strict=True), 1):
        top, left, bottom, right = window
        place = np.s_[top:bottom, left:right]
        labels = _in_box(segment, rgb, window, box, notes)
        classes[place][labels > 0] = labels[labels > 0]
        parts[place][labels > 0] = number
    if pixels:
        everywhere = segment(rgb)
        for number, (point, pixel) in enumerate(zip(asked.points, pixels, strict=True), 1 + len(windows)):
            part = _at(everywhere, pixel, point)
            classes[part] = everywhere[part]
            parts[part] = number
    return Found(classes, parts, tuple(notes))


def _in_box(
    segment: Segmenter, rgb: np.ndarray, window: tuple[int, int, int, int], box: Box, notes: list[str]
) -> np.ndarray:
    """The labels in the box, uint8 [bottom - top, right - left]."""
    top, left, bottom, right = window
    above, beside = round(BOX_MARGIN * (bottom - top)), round(BOX_MARGIN * (right - left))
    first_row, first_column = max(0, top - above), max(0, left - beside)
    seen = np.ascontiguousarray(rgb[first_row : bottom + above, first_column : right + beside])
    labels = segment(seen)[top - first_row : bottom - first_row, left - first_column : right - first_column]
    if np.count_nonzero(labels) >= LEAST_FOUND * labels.size:
        return labels
    notes.append(f"next to nothing is found in the box {box.text}; the box itself is the object")
    return np.full(labels.shape, OBJECT, np.uint8)


def _at(labels: np.ndarray, pixel: tuple[int, int], point: Point) -> np.ndarray:
    """bool [H, W]: the connected part of one class at a pixel, or nearest to it."""
    step = -(-max(labels.shape) // GRID)
    coarse = labels[::step, ::step]
    rows, columns = np.nonzero(coarse)
    distances = np.hypot(rows * step - pixel[0], columns * step - pixel[1])
    if not distances.size or distances.min() > max(step, NEAR * max(labels.shape)):
        raise UsageError(f"no object is found within {NEAR:.0%} of the point {point.text}; say where it is with --box")
    nearest = distances.argmin()
    own = coarse[rows[nearest], columns[nearest]]
    connected = connected_cells(coarse)
    part = connected == connected[rows[nearest], columns[nearest]]
    large = part.repeat(step, 0).repeat(step, 1)[: labels.shape[0], : labels.shape[1]]
    return large & (labels == own)
