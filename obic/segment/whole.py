"""An object is whole, or there is none: holes are filled, crumbs go, and what is next to nothing in all is nothing."""

from __future__ import annotations

import numpy as np

from obic.connected import connected_cells

# Shares of the picture.
LEAST = 0.005  # what is seen of all objects together: less is none
CRUMB = 0.005  # a connected piece, if it is not the largest
HOLE = 0.002  # background with object all round it


def whole(logits: np.ndarray, threshold: float, least: float = LEAST, crumb: float = CRUMB, hole: float = HOLE):
    """Logits of "an object is here", float32 [h, w], without crumbs and holes: what changes sides is reflected at the
    threshold, so that the map stays smooth enough to be enlarged. Pieces and holes are cells that touch, corners too.
    """
    seen = logits > threshold
    if seen.sum() < least * seen.size:
        return _reflected(logits, seen, threshold)
    pieces = connected_cells(seen)
    sizes = np.bincount(pieces.ravel(), minlength=pieces.size + 1)
    sizes[0] = 0
    crumbs = seen & (sizes[pieces] < min(crumb * seen.size, sizes.max()))
    gaps = connected_cells(~seen)
    sizes = np.bincount(gaps.ravel(), minlength=gaps.size + 1)
    for border in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        sizes[border] = gaps.size
    holes = ~seen & (sizes[gaps] < hole * seen.size)
    return _reflected(logits, crumbs | holes, threshold)


def _reflected(logits: np.ndarray, where: np.ndarray, threshold: float) -> np.ndarray:
    return np.where(where, np.float32(2 * threshold) - logits, logits)
