"""Room 4. The opacity of layers that are shown without the others (spec 9)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from obic.constants import PART_PIXEL_MASK
from obic.container import Container
from obic.masks import alpha_from_cells, decode_pixel_mask, join_parts, spread_cells


def layer_alpha(container: Container, labels: np.ndarray, indices: Sequence[int]) -> np.ndarray:
    """Opacity of the union of layers, uint8 [H, W]: of objects to the pixel, where the file has a
    pixel mask.

    labels: uint8 [h, w], the layer of each cell. Raises FormatError if the pixel mask is damaged.
    """
    data = None if 0 in indices else container.read_part(PART_PIXEL_MASK)
    if data is None:
        return cell_alpha(container, labels, indices)
    size = container.header.height, container.header.width
    owner = spread_cells(np.where(np.isin(labels, indices), labels, 0), *size)
    visible = join_parts(decode_pixel_mask(data, labels, *size) & (owner > 0), owner)
    return np.where(visible, np.uint8(255), np.uint8(0))


def cell_alpha(container: Container, labels: np.ndarray, indices: Sequence[int]) -> np.ndarray:
    """The same from the cells alone."""
    union = np.isin(labels, indices).astype(np.uint8)
    return alpha_from_cells(union, 1, container.header.height, container.header.width)
