"""Room 2. The label map <-> bytes (spec 4.3): which layer owns each cell.

There are four ways to write it, all through the range coder, and the writer takes the shortest.
"Coded" goes label by label: one binary plane each, over the cells that no earlier label has
claimed, with a causal context of ten cells and a trained table that does not adapt.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from obic.constants import MAX_PLANE_CELLS, PRECISION
from obic.entropy.coder import Decoder, Encoder, distribution, uniform
from obic.entropy.context_walk import walk_plane
from obic.entropy.mask_contexts import ONE_IN_256
from obic.errors import FormatError

if TYPE_CHECKING:
    from obic.entropy.coder import Categorical

CODED, RAW, FULL, RECTANGLE = range(4)
MODE_COUNTS = np.array([253, 1, 1, 1], np.int32) << (PRECISION - 8)


def encode_label_map(labels: np.ndarray, n_layers: int) -> bytes | None:
    """The shortest bytes for a label map: uint8 [h, w] with values below n_layers. None for one
    layer.

    n_layers: 1..255. Raises ValueError where a label is none of theirs.
    """
    if labels.max() >= n_layers:
        raise ValueError(f"label {labels.max()} in a map of {n_layers} layers")
    if n_layers == 1:
        return None
    modes = [RAW]
    if labels.size * (n_layers - 1) <= MAX_PLANE_CELLS:
        modes.append(CODED)
    if (labels == labels[0, 0]).all():
        modes.append(FULL)
    elif _rectangle(labels) is not None:
        modes.append(RECTANGLE)
    return min((_write(mode, labels, n_layers) for mode in modes), key=len)


def decode_label_map(data: bytes | None, height: int, width: int, n_layers: int) -> np.ndarray:
    """The label map, uint8 [height, width], from the bytes that `encode_label_map` gave; height,
    width in cells.

    Raises FormatError where the bytes are no label map of this size, or not what a writer gives for
    it.
    """
    if n_layers == 1:
        return np.zeros((height, width), np.uint8)
    if data is None:
        raise FormatError("the label map is missing", section="header")
    decoder = Decoder(data)
    mode = decoder.decode_one(distribution(MODE_COUNTS))
    labels = _READERS[mode](decoder, height, width, n_layers)
    if labels.max() >= n_layers or _write(mode, labels, n_layers) != data:
        raise FormatError("the label map is damaged", section="header")
    return labels


@cache
def _context_distributions() -> list[Categorical]:
    one = [int(share) << (PRECISION - 8) for share in ONE_IN_256]
    return [distribution(np.array([(1 << PRECISION) - count, count])) for count in one]


def _write(mode: int, labels: np.ndarray, n_layers: int) -> bytes:
    encoder = Encoder()
    encoder.encode_one(mode, distribution(MODE_COUNTS))
    _WRITERS[mode](encoder, labels, n_layers)
    return encoder.finish()


def _write_coded(encoder: Encoder, labels: np.ndarray, n_layers: int) -> None:
    distributions = _context_distributions()

    def write(bit: bool, context: int) -> int:
        encoder.encode_one(int(bit), distributions[context])
        return bit

    for label in range(1, n_layers):
        unclaimed = (labels == 0) | (labels >= label)
        walk_plane((labels == label).astype(np.uint8), unclaimed.astype(np.uint8), write)


def _read_coded(decoder: Decoder, height: int, width: int, n_layers: int) -> np.ndarray:
    if height * width * (n_layers - 1) > MAX_PLANE_CELLS:
        raise FormatError("the label map is too large to be coded in planes", section="header")
    distributions = _context_distributions()
    labels = np.zeros((height, width), np.uint8)

    def read(_: bool, context: int) -> int:
        return decoder.decode_one(distributions[context])

    for label in range(1, n_layers):
        unclaimed = (labels == 0).astype(np.uint8)
        plane = walk_plane(np.zeros_like(labels), unclaimed, read)
        labels[plane > 0] = label
    return labels


def _write_raw(encoder: Encoder, labels: np.ndarray, n_layers: int) -> None:
    size = _bits_for(n_layers)
    bits = labels.reshape(-1, 1) >> np.arange(size)[::-1] & 1
    encoder.encode(bits.ravel(), uniform(2))


def _read_raw(decoder: Decoder, height: int, width: int, n_layers: int) -> np.ndarray:
    size = _bits_for(n_layers)
    bits = decoder.decode(height * width * size, uniform(2)).reshape(height, width, size)
    return (bits << np.arange(size)[::-1]).sum(2).astype(np.uint8)


def _write_full(encoder: Encoder, labels: np.ndarray, n_layers: int) -> None:
    _write_number(encoder, int(labels[0, 0]), n_layers)


def _read_full(decoder: Decoder, height: int, width: int, n_layers: int) -> np.ndarray:
    return np.full((height, width), _read_number(decoder, n_layers), np.uint8)


def _write_rectangle(encoder: Encoder, labels: np.ndarray, n_layers: int) -> None:
    rectangle = _rectangle(labels)
    if rectangle is None:
        raise FormatError("the label map's rectangle is empty", section="header")
    height, width = labels.shape
    for value, size in zip(rectangle, _rectangle_sizes(height, width, n_layers), strict=True):
        _write_number(encoder, value, size)


def _read_rectangle(decoder: Decoder, height: int, width: int, n_layers: int) -> np.ndarray:
    sizes = _rectangle_sizes(height, width, n_layers)
    label, top, left, bottom, right = (_read_number(decoder, size) for size in sizes)
    labels = np.zeros((height, width), np.uint8)
    labels[top : bottom + 1, left : right + 1] = label
    return labels


def _rectangle_sizes(height: int, width: int, n_layers: int) -> tuple[int, ...]:
    return n_layers, height, width, height, width


def _rectangle(labels: np.ndarray) -> tuple[int, ...] | None:
    """(label, top, left, bottom, right), both ends inclusive, if one rectangle holds all that is
    not background."""
    rows, columns = np.flatnonzero(labels.any(1)), np.flatnonzero(labels.any(0))
    if not len(rows):
        return None
    top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    label = int(labels[top, left])
    if label == 0 or (labels[top : bottom + 1, left : right + 1] != label).any():
        return None
    return label, top, left, bottom, right


def _write_number(encoder: Encoder, value: int, size: int) -> None:
    """A number below `size`, in as few equally likely bits as hold all of them, the highest
    first."""
    for place in reversed(range(_bits_for(size))):
        encoder.encode_one(value >> place & 1, uniform(2))


def _read_number(decoder: Decoder, size: int) -> int:
    value = 0
    for _ in range(_bits_for(size)):
        value = value << 1 | decoder.decode_one(uniform(2))
    return value


def _bits_for(size: int) -> int:
    return (size - 1).bit_length()


_WRITERS = {CODED: _write_coded, RAW: _write_raw, FULL: _write_full, RECTANGLE: _write_rectangle}
_READERS = {CODED: _read_coded, RAW: _read_raw, FULL: _read_full, RECTANGLE: _read_rectangle}
