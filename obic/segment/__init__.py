"""Segmentation: a picture in, a label map out. Any segmenter that follows `Segmenter` can take the
place of ours; `obic.segment.adapters` knows some by name."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from obic.masks import OBJECT
from obic.segment.builtin import read_segmenter

__all__ = ["CLASS_NAMES", "OBJECT", "Segmenter", "read_segmenter"]

CLASS_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class Segmenter(Protocol):
    """What the codec asks of a segmenter; `read_segmenter` reads the one we ship.

    It may have an attribute `class_names`: a sequence of the classes' names by label, the
    background's first. Without it they are `CLASS_NAMES`. With several workers it is called from
    several threads.
    """

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """rgb: uint8 [H, W, 3], sRGB, upright, any size from 1x1. Returns labels, uint8 [H, W]: 0
        is background, 254 (`OBJECT`) an object of no class, 255 void, which counts as background,
        any other an object of that class."""
        ...
