"""Room 2. Label maps: from pixels to cells, and from cells to the alpha of one layer (spec 4).

Their coders are `encode_label_map` and `encode_pixel_mask`, with `decode_...`.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from obic.constants import CELL, OBJECT_COVERAGE
from obic.entropy.mask_coder import decode_label_map, encode_label_map
from obic.entropy.pixel_mask import decode_pixel_mask, encode_pixel_mask, spread_cells
from obic.errors import UsageError

__all__ = [
    "OBJECT",
    "VOID",
    "alpha_from_cells",
    "by_grid",
    "decode_label_map",
    "decode_pixel_mask",
    "encode_label_map",
    "encode_pixel_mask",
    "grid_labels",
    "grid_size",
    "join_parts",
    "spread_cells",
]

OBJECT = 254  # a segmenter's label for an object of no class
VOID = 255  # the label of pixels that nobody labelled; they go with the background
BAND_PIXELS = 1 << 20  # as floats at a time


def grid_size(height: int, width: int) -> tuple[int, int]:
    """Cells down and across for a picture of height x width pixels."""
    return -(-height // CELL), -(-width // CELL)


def by_grid(sizes: Sequence[tuple[int, int]]) -> Iterable[list[int]]:
    """Groups the indices of (height, width) pairs, in pixels, by the size of their grids in
    cells."""
    groups = defaultdict(list)
    for place, size in enumerate(sizes):
        groups[grid_size(*size)].append(place)
    return groups.values()


def grid_labels(label_pixels: np.ndarray, n_layers: int, *, coverage: float = OBJECT_COVERAGE) -> np.ndarray:
    """uint8 [ceil(H/16), ceil(W/16)]: the layer that owns each cell, for a label map of pixels,
    uint8 [H, W].

    A cell goes to the object with the largest share of its pixels, if that share is at least
    `coverage` of the pixels inside the picture, and a pixel at least (ties: the smaller label);
    else to the background, 0. Void (255) is background.
    Raises UsageError if a label is not below n_layers.
    """
    height, width = label_pixels.shape
    labels = np.where(label_pixels == VOID, 0, label_pixels)
    if labels.max() >= n_layers:
        raise UsageError(f"the mask has the label {labels.max()}, but there are {n_layers} layers")
    inside = _cell_sums(np.ones((height, width), bool))
    owner = np.zeros(inside.shape, np.uint8)
    most = np.maximum(np.ceil(coverage * inside), 1) - 1
    for label in range(1, n_layers):
        share = _cell_sums(labels == label)
        owner[share > most] = label
        most = np.maximum(most, share)
    return owner


def alpha_from_cells(labels: np.ndarray, index: int, height: int, width: int) -> np.ndarray:
    """uint8 [height, width]: the alpha of layer `index`, 0..255, from a label map of cells, uint8
    [h, w].

    The layer's cells are interpolated between cell centres and the slope is smoothed (3 t^2 - 2
    t^3), so that the edge of a cutout does not show the grid. A layer that owns every cell is
    opaque everywhere.
    """
    tall = _interpolate((labels == index).astype(np.float32), height)
    alpha = np.empty((height, width), np.uint8)
    rows = max(1, BAND_PIXELS // width)
    for start in range(0, height, rows):
        slope = _interpolate(tall[start : start + rows].T, width).T
        alpha[start : start + rows] = np.rint(255 * slope * slope * (3 - 2 * slope))
    return alpha


def join_parts(part: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """The union of several objects, bool [H, W], with the seams between them filled.

    part: bool [H, W], whether a pixel is part of the object that owns its cell; owner: uint8 [H,
    W], that object, 0 where it is none of them. The seams: a pixel mask does not keep what one
    object has in the cells of another. They are the runs in a row or column between two objects, at
    most a cell long and outside of the background's cells.
    """
    joined = part.copy()
    for axis in (0, 1):
        known, owners, result = (np.moveaxis(plane, axis, 1) for plane in (part, owner, joined))
        place = np.arange(known.shape[1])
        before = np.maximum.accumulate(np.where(known, place, -1), axis=1)
        after = np.minimum.accumulate(np.where(known, place, len(place))[:, ::-1], axis=1)[:, ::-1]
        short = (before >= 0) & (after < len(place)) & (after - before <= CELL + 1) & (owners > 0)
        sides = (np.take_along_axis(owners, side.clip(0, len(place) - 1), axis=1) for side in (before, after))
        result |= short & np.not_equal(*sides)
    return joined


def _interpolate(rows: np.ndarray, n_pixels: int) -> np.ndarray:
    """Linear interpolation along axis 0 from cell centres to pixel centres; constant beyond the
    outer centres."""
    place = np.clip((np.arange(n_pixels) + 0.5) / CELL - 0.5, 0, len(rows) - 1)
    lower = np.floor(place).astype(int)
    upper = np.minimum(lower + 1, len(rows) - 1)
    weight = (place - lower).astype(np.float32)[:, None]
    return rows[lower] * (1 - weight) + rows[upper] * weight


def _cell_sums(pixels: np.ndarray) -> np.ndarray:
    """How many pixels of each cell are set: int [ceil(H/16), ceil(W/16)] for bool [H, W]."""
    padded = np.pad(pixels, [(0, -side % CELL) for side in pixels.shape])
    return padded.reshape(padded.shape[0] // CELL, CELL, -1, CELL).sum(axis=(1, 3))
