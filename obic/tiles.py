"""Large pictures in tiles: where a network is to run, and what it must be given there.

The networks are local. A tile that is evaluated with as much round it as the network sees comes out
as it does in the whole picture, up to the rounding of floats, so no seam shows; and a tile at the
border of the picture ends there, where the networks see zeros.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Area = tuple[slice, slice]  # rows and columns


class Tile(NamedTuple):
    """A part of a grid. inner: what is to be known; outer: what a network must see for that; crop:
    inner in outer."""

    inner: Area
    outer: Area
    crop: Area


def tiles(wanted: np.ndarray, reach: int, most: int) -> list[Tile]:
    """Tiles of at most `most` places (or 2x2) that cover all that is wanted of a grid, bool [h, w].

    Each is the smallest box round what is wanted of an even share of the grid. `outer` has `reach`
    places more on every side, as far as the grid has them, and starts at an even row and column, as
    the passes of the context ask.
    """
    heights, widths = _shares(wanted.shape, most)
    found = []
    for rows in heights:
        for columns in widths:
            part = wanted[rows, columns]
            if part.any():
                inner = _box(np.any(part, 1), rows.start), _box(np.any(part, 0), columns.start)
                found.append(_with_surroundings(inner, wanted.shape, reach))
    return found


def times(area: Area, factor: int) -> Area:
    """The same area on a grid `factor` times as fine."""
    rows, columns = (slice(span.start * factor, span.stop * factor) for span in area)
    return rows, columns


def _shares(size: tuple[int, ...], most: int) -> list[list[slice]]:
    """Rows and columns of tiles; the longer side is cut first, for the shortest borders."""
    counts = [1, 1]
    while max(lengths := [_even(length, count) for length, count in zip(size, counts, strict=True)]) > 2:
        if lengths[0] * lengths[1] <= most:
            break
        counts[lengths[1] >= lengths[0]] += 1
    return [
        [slice(start, min(start + length, end)) for start in range(0, end, length)]
        for end, length in zip(size, lengths, strict=True)
    ]


def _even(length: int, count: int) -> int:
    """The even length of each of so many parts."""
    return -(-length // (2 * count)) * 2


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
