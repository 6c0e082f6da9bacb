"""Large pictures in tiles: where a network is to run, and what it must be given there.

The networks are local. A tile that is evaluated with as much round it as the network sees comes out
as it does in the whole picture, up to the rounding of floats, so no seam shows; and a tile at the
border of the picture ends there, where the networks see zeros. Pictures of up to SIDE x SIDE cells
are one tile.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SIDE = 128  # cells along a side of a tile, 2048 pixels; even. 0.4 GB at work in the analysis transform

Area = tuple[slice, slice]  # rows and columns


class Tile(NamedTuple):
    """A part of a grid. inner: what is to be known; outer: what a network must see for that; crop:
    inner in outer."""

    inner: Area
    outer: Area
    crop: Area


def tiles(wanted: np.ndarray, reach: int, side: int) -> list[Tile]:
    """Tiles of at most `side` x `side` places that cover all that is wanted of a grid, bool [h, w].

    Each is the smallest box round what is wanted of an even share of the grid. `outer` has `reach`
    places more on every side, as far as the grid has them, and starts at an even row and column, as
    the passes of the context ask.
    """
    found = []
    for rows in _shares(wanted.shape[0], side):
        for columns in _shares(wanted.shape[1], side):
            part = wanted[rows, columns]
            if part.any():
                inner = _box(np.any(part, 1), rows.start), _box(np.any(part, 0), columns.start)
                found.append(_with_surroundings(inner, wanted.shape, reach))
    return found


def times(area: Area, factor: int) -> Area:
    """The same area on a grid `factor` times as fine."""
    rows, columns = (slice(span.start * factor, span.stop * factor) for span in area)
    return rows, columns


def _shares(size: int, side: int) -> list[slice]:
    length = -(-size // -(-size // side))
    length += length % 2
    return [slice(start, min(start + length, size)) for start in range(0, size, length)]


def _box(wanted: np.ndarray, start: int) -> slice:
    places = np.flatnonzero(wanted)
    return slice(start + int(places[0]), start + int(places[-1]) + 1)


def _with_surroundings(inner: Area, size: tuple[int, ...], reach: int) -> Tile:
    rows, columns = (
        slice(max(0, span.start - reach) // 2 * 2, min(span.stop + reach, end))
        for span, end in zip(inner, size, strict=True)
    )
    down, across = (
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, (rows, columns), strict=True)
    )
    return Tile(inner, (rows, columns), (down, across))
