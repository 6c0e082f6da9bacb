"""Cleans masks: fills small holes, drops small pieces, and drops all where hardly anything is seen,
and nothing surely."""

from __future__ import annotations

import numpy as np

from obic.connected import connected_cells
from obic.segment.labels import resized

# Shares of the picture.
LEAST_SEEN = 0.005  # of all objects together: less is none, unless the network is sure of it somewhere
CRUMB = 0.005  # a connected piece, if it is not the largest
HOLE = 0.002  # background with object all round it
SURE = 1.0  # a logit: a probability of 0.73


def whole(
    logits: np.ndarray, threshold: float, least: float = LEAST_SEEN, crumb: float = CRUMB, hole: float = HOLE
) -> np.ndarray:
    """Logits of "an object is here", float32 [h, w], without crumbs and holes: what changes sides
    is reflected at the threshold, so that the map stays smooth enough to be enlarged.

    Pieces and holes are places that touch, corners too. least, crumb, hole: shares of the picture,
    0..1.
    """
    seen = logits > threshold
    if seen.sum() < least * seen.size and logits.max() < SURE:
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


def whole_mask(found: np.ndarray, logits: np.ndarray, coarse: int = 192) -> np.ndarray:
    """A mask of pixels, bool [H, W], without crumbs and holes, nor pieces and holes that logits
    have nothing of.

    logits: float32 [h, w], above 0 is an object. Pieces are looked for on so many places of the
    long side at most, and what lies within a place of the edge of what remains is left as it is.
    """
    step = -(-max(found.shape) // coarse)
    clean = whole(np.where(found[::step, ::step], np.float32(1), np.float32(-1)), 0.0, least=0.0) > 0
    before = resized(logits, *clean.shape) > 0
    clean = _known(clean, before)
    clean = ~_known(~clean, ~before)
    may_be, must_be = (
        each.repeat(step, 0).repeat(step, 1)[: found.shape[0], : found.shape[1]]
        for each in (_grown(clean), ~_grown(~clean))
    )
    return found & may_be | must_be


def _known(mask: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The connected parts of a mask that an earlier one has something of."""
    parts = connected_cells(mask)
    known = np.zeros(parts.size + 1, bool)
    known[parts[mask & before]] = True
    return mask & known[parts]


def _grown(mask: np.ndarray) -> np.ndarray:
    """With all eight neighbours of what is set."""
    for axis, side in enumerate(mask.shape):
        padded = np.pad(mask, [(1, 1) if each == axis else (0, 0) for each in (0, 1)])
        mask = mask | padded.take(range(side), axis) | padded.take(range(2, side + 2), axis)
    return mask


def _reflected(logits: np.ndarray, where: np.ndarray, threshold: float) -> np.ndarray:
    return np.where(where, np.float32(2 * threshold) - logits, logits)
