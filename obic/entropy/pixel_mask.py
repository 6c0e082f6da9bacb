"""Room 2. The pixel mask <-> bytes (spec 4.4): which pixels of an object's cells are the object.

A cell of an object is full, or mixed: then each of its pixels has a bit. All bits are coded by
their contexts with adaptive probabilities that start from the label map's table, so that no table
of its own is needed.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from obic.constants import CELL, MAX_MASK_PIXELS, PRECISION
from obic.entropy.coder import Decoder, Encoder, distribution
from obic.entropy.context_walk import CONTEXTS, walk_plane
from obic.entropy.mask_contexts import ONE_IN_256
from obic.errors import FormatError, UsageError

if TYPE_CHECKING:
    from obic.entropy.coder import Categorical

CODING = b"\0"  # the first byte: how the rest is coded
MIXED_IN_256 = (18, 61, 228)  # start values of "mixed": deep inside a label, a corner to another one, a side to it
STEP = 32  # what one bit adds to its context's count, which starts at 256
PROBABILITY_BITS = 12


def encode_pixel_mask(labels: np.ndarray, cells: np.ndarray) -> bytes:
    """The bytes for labels of pixels, uint8 [H, W], and the owner of each cell, uint8 [ceil(H/16),
    ceil(W/16)].

    Of a pixel only this is kept: whether it has the label of the object that owns its cell. Raises
    UsageError where more than 2**22 pixels lie in mixed cells.
    """
    bits, encoder = _AdaptiveBits(), Encoder()

    def write(bit: bool, context: int) -> int:
        encoder.encode_one(int(bit), bits.distribution(context))
        bits.learn(context, bit)
        return bit

    owner = spread_cells(cells, *labels.shape)
    mask = np.where(labels == owner, owner, 0)
    mixed = _any_in_cell((mask == 0) & (owner > 0))
    for bit, context in zip(mixed[cells > 0], _mixed_contexts(cells), strict=True):
        write(bit, context)
    coded = np.where(spread_cells(mixed, *labels.shape), owner, 0)
    if np.count_nonzero(coded) > MAX_MASK_PIXELS:
        raise UsageError("the mask is too ragged to be kept to the pixel; use the grid's alpha")
    walk_plane(mask, coded, write)
    return CODING + encoder.finish()


def decode_pixel_mask(data: bytes, cells: np.ndarray, height: int, width: int) -> np.ndarray:
    """bool [height, width]: whether a pixel is part of the object that owns its cell; False in
    background cells.

    Raises FormatError unless `data` is exactly what `encode_pixel_mask` gives for the result.
    """
    if data[:1] != CODING:
        raise FormatError("the pixel mask is coded in a way this build does not know", section="pixel mask")
    bits, decoder = _AdaptiveBits(), Decoder(data[1:])

    def read(_: bool, context: int) -> int:
        bit = decoder.decode_one(bits.distribution(context))
        bits.learn(context, bit)
        return bit

    owner = spread_cells(cells, height, width)
    mixed = np.zeros(cells.shape, bool)
    mixed[cells > 0] = [read(False, context) for context in _mixed_contexts(cells)]
    coded = np.where(spread_cells(mixed, height, width), owner, 0)
    if np.count_nonzero(coded) > MAX_MASK_PIXELS:
        raise FormatError("the pixel mask has too many mixed cells", section="pixel mask")
    mask = walk_plane(np.where(coded, 0, owner), coded, read)
    if encode_pixel_mask(mask, cells) != data:
        raise FormatError("the pixel mask is damaged", section="pixel mask")
    return mask > 0


class _AdaptiveBits:
    """The probability of a 1 in each context: its share among the bits seen, and a start value
    worth eight bits."""

    def __init__(self) -> None:
        self._ones = [*ONE_IN_256, *MIXED_IN_256]
        self._seen = [256] * len(self._ones)

    def distribution(self, context: int) -> Categorical:
        seen = self._seen[context]
        share = ((self._ones[context] << PROBABILITY_BITS) + seen // 2) // seen
        return _bit_distribution(min(max(share, 1), (1 << PROBABILITY_BITS) - 1))

    def learn(self, context: int, bit: int) -> None:
        self._seen[context] += STEP
        if bit:
            self._ones[context] += STEP


@cache
def _bit_distribution(share: int) -> Categorical:
    one = share << (PRECISION - PROBABILITY_BITS)
    return distribution(np.array([(1 << PRECISION) - one, one]))


def _mixed_contexts(cells: np.ndarray) -> list[int]:
    """For each cell of an object the context of its "mixed": the last where one of the cell's four
    neighbours has another label, the last but one where a diagonal one has, else the first. Beyond
    the grid each label goes on."""
    around = np.pad(cells, 1, mode="edge")
    height, width = cells.shape
    nine = [around[dy : dy + height, dx : dx + width] != cells for dy in range(3) for dx in range(3)]
    corner, side = (np.any(nine[first::2], axis=0) for first in (0, 1))
    return (CONTEXTS + np.where(side, 2, corner))[cells > 0].tolist()


def spread_cells(cells: np.ndarray, height: int, width: int) -> np.ndarray:
    """What each pixel's cell has: [height, width] from [h, w]."""
    return cells.repeat(CELL, 0).repeat(CELL, 1)[:height, :width]


def _any_in_cell(pixels: np.ndarray) -> np.ndarray:
    """bool [h, w]: whether one of a cell's pixels is set."""
    padded = np.pad(pixels, [(0, -side % CELL) for side in pixels.shape])
    return np.any(padded.reshape(padded.shape[0] // CELL, CELL, -1, CELL), axis=(1, 3))
