"""Labels of pixels from a network's logits."""

from __future__ import annotations

import numpy as np
from PIL import Image

from obic.masks import OBJECT


def label_map(is_object: np.ndarray, classes: np.ndarray | None, stride: int = 1) -> np.ndarray:
    """uint8 [H, W]: 0 background, 1..C classes, or 254 (an object of no class) where none are
    given.

    is_object: bool [H, W]. classes: float32 [h, w, C], larger where a class is likelier. stride: a
    place of that map is so many pixels of the picture the network saw: of which class an object is,
    is decided at that size, or at the picture's if that is smaller.
    """
    if classes is None:
        return np.where(is_object, np.uint8(OBJECT), np.uint8(0))
    height, width = is_object.shape
    seen = [min(stride * count, side) for count, side in zip(classes.shape[:2], (height, width), strict=True)]
    labels, best = np.zeros(seen, np.uint8), np.full(seen, -np.inf, np.float32)
    for number, plane in enumerate(np.moveaxis(classes, 2, 0), 1):
        likely = resized(plane, *seen)
        labels[likely > best] = number
        np.maximum(best, likely, out=best)
    image = Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST)
    return np.where(is_object, np.asarray(image), np.uint8(0))


def resized(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """float32 [h, w] -> [height, width], bilinear."""
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
