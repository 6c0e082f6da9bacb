"""Segmentation: a picture in, a label map out. Any segmenter that follows `Segmenter` can take the place of ours."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from obic.segment.builtin import load_segmenter

__all__ = ["CLASS_NAMES", "Segmenter", "load_segmenter"]

CLASS_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class Segmenter(Protocol):
    """What the codec asks of a segmenter; `load_segmenter` gives the one we ship."""

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """rgb: uint8 [H, W, 3], sRGB, any size from 1x1. Returns labels, uint8 [H, W]: 0 is background,
        1..20 an object, named by `CLASS_NAMES`. Every object has one of these labels: one that is none of
        them gets the nearest."""
        ...
