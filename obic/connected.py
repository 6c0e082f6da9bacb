"""Room 2. The connected parts of a map of labels."""

from collections.abc import Iterator

import numpy as np


def connected_cells(labels: np.ndarray) -> np.ndarray:
    """The connected component (of eight neighbours) that each cell belongs to, int64 [h, w].

    labels: integers [h, w]; cells are connected where neighbours have the same label. A component's
    number is 1 + the position of its first cell in raster order; where the label is 0 it is 0.

    Source: hooking and pointer jumping (Shiloach and Vishkin 1982): a few rounds of whole arrays.
    """
    root = np.arange(labels.size)
    place = root.reshape(labels.shape).copy()
    pairs = []
    for (label, other), places in zip(neighbours(labels), neighbours(place), strict=True):
        joined = (label == other) & (label > 0)
        pairs.append([side[joined] for side in places])
    a, b = (np.concatenate(side) for side in zip(*pairs, strict=True))
    while (root[a] != root[b]).any():
        low = np.minimum(root[a], root[b])
        np.minimum.at(root, root[a], low)
        np.minimum.at(root, root[b], low)
        while (root[root] != root).any():
            root = root[root]
    return np.where(labels > 0, 1 + root.reshape(labels.shape), 0)


def neighbours(plane: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The values of all pairs of cells that lie side by side or corner to corner: each pair
    once."""
    height, width = plane.shape
    for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
        yield plane[: height - dy, max(0, -dx) : width - max(0, dx)], plane[dy:, max(0, dx) : width - max(0, -dx)]
