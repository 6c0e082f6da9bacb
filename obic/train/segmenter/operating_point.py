"""The operating point of a segmenter: the long side of what it sees, and its threshold."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from obic.masks import VOID
from obic.segment.builtin import STRIDE, DeepLabSegmenter, foreground
from obic.segment.deeplab import DeepLab
from obic.segment.torch_deeplab import TorchDeepLab
from obic.train.common.curves import say
from obic.train.segmenter.held_out import HeldOut

# To choose from.
LONG_SIDES, THRESHOLDS = (256, 320, 352, 384, 416, 448, 480, 512), (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
# What a choice has to keep to: the area taken for an object, and shares of pictures.
MOST_AREA, LEAST_FOUND_NONE, MOST_LOST = 0.01, 0.9, 0.02


class Point(NamedTuple):
    """A long side and a threshold, with figures of held-out pictures: pooled foreground IoU; the
    share of pictures with an object in which none is found; without one, the mean share taken for
    an object and that where none is found."""

    long_side: int
    threshold: float
    fg_iou: float
    lost: float
    empty_area: float
    empty_found_none: float

    def fits(self) -> bool:
        """Whether it knows pictures without an object (or there were none to ask), and keeps the
        others'."""
        false_alarms = self.empty_area > MOST_AREA or self.empty_found_none < LEAST_FOUND_NONE
        return self.lost <= MOST_LOST and not false_alarms


@torch.inference_mode()
def points(network: DeepLab, held_out: HeldOut, long_side: int) -> list[Point]:
    """One for each of `THRESHOLDS`."""
    segmenter = DeepLabSegmenter(TorchDeepLab(network), long_side)
    both, either, lost = np.zeros((3, len(THRESHOLDS)))
    for sample in held_out.objects:
        logits = segmenter.logits(sample.rgb)
        counted, target = sample.labels != VOID, sample.labels > 0
        for i, threshold in enumerate(THRESHOLDS):
            guess = foreground(logits, threshold, *sample.labels.shape)
            both[i] += (guess & target & counted).sum()
            either[i] += ((guess | target) & counted).sum()
            lost[i] += not guess.any()
    seen = [segmenter.logits(sample.rgb) for sample in held_out.empty]
    areas = np.array([[foreground(each, t, STRIDE * len(each), STRIDE * each.shape[1]).mean() for t in THRESHOLDS]
                      for each in seen]).reshape(-1, len(THRESHOLDS))
    none = np.full(len(THRESHOLDS), math.nan)
    area, found_none = (areas.mean(0), (areas == 0).mean(0)) if seen else (none, none)
    columns = (THRESHOLDS, both / either, lost / len(held_out.objects), area, found_none)
    return [Point(long_side, *map(float, row)) for row in zip(*columns, strict=True)]


def choose_operating_point(network: DeepLab, held_out: HeldOut, long_sides: Sequence[int]) -> Point:
    """The one with the best foreground IoU of those that fit, or where none does, of all. Says what
    there was."""
    every = []
    for long_side in long_sides:
        found = points(network, held_out, long_side)
        for point in found:
            say(json.dumps(point._asdict() | {"fits": point.fits()}))
        every += found
    return max(every, key=lambda point: (point.fits(), point.fg_iou))
