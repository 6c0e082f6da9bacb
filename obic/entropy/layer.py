"""Room 2. The sub-stream of one layer: its hyper-latent and its residuals through one range coder
(spec 5.3, 5.4).

Order: each pass over z, grouped by table row, then its escapes; then r grouped by table row, the
escapes of r. Within a row, channel-major, then raster over the positions that belong to the layer.
Nothing is coded for any other position.
"""

from dataclasses import dataclass

import numpy as np

from obic.constants import ESCAPE, ESCAPE_LENGTHS, HYPER, MAX_ESCAPE_BITS, MAX_MAGNITUDE, MAX_SYMBOL, TABLE_ROWS
from obic.entropy.coder import Decoder, Encoder, distribution, uniform
from obic.entropy.hyper_prior import HyperPrior
from obic.entropy.scale_map import ScaleMap
from obic.entropy.tables import Tables
from obic.errors import FormatError

SORTED_AT_ONCE = 1 << 22  # positions sorted at a time, or a large picture would need much memory


@dataclass(frozen=True, eq=False)
class EntropyModel:
    """All that decides how integers are coded.

    scale_map: z and quality -> table rows of r. hyper_prior: means and table rows of z. tables:
    symbol counts.
    """

    scale_map: ScaleMap
    hyper_prior: HyperPrior
    tables: Tables


class LayerCoder:
    """One layer's integers to its sub-stream and back.

    z: int32 [Cz, h4, w4], the hyper-latent; r: int32 [M, h, w], the residual. cells: bool [h, w],
    those of the layer; touched: bool [h4, w4], the hyper-latent positions that they touch. quality:
    1..100.
    """

    def __init__(self, model: EntropyModel, cells: np.ndarray, quality: int):
        self.cells, self.quality, self.touched = cells, quality, hyper_cells(cells)
        self._scale_map, self._prior, self._tables = model.scale_map, model.hyper_prior, model.tables
        self._rows_of_z: tuple[np.ndarray, np.ndarray] | None = None

    def codable(self, z: np.ndarray) -> np.ndarray:
        """The nearest z that can be coded: channels that are not coded hold their mean, untouched
        positions 0."""
        return self._prior.codable(z, self.touched, self.quality)

    def table_rows(self, z: np.ndarray) -> np.ndarray:
        """The table row of each residual, uint8 [M, h, w] in 0..63. With row 0 a residual is not
        coded and is 0."""
        if self._rows_of_z is None or self._rows_of_z[0] is not z:
            height, width = self.cells.shape
            self._rows_of_z = z, self._scale_map.table_rows(z, self.quality)[:, :height, :width]
        return self._rows_of_z[1]

    def encode(self, z: np.ndarray, r: np.ndarray) -> bytes:
        """The sub-stream; b"" for a layer without cells. z and r are read where the layer has
        positions only.

        Raises ValueError where a skipped position is not 0 (of z: not its mean) or a magnitude is
        above 2**20 + 63: the caller's own bug.
        """
        encoder = Encoder()
        for places, mean, rows in self._prior.passes(z, self.touched, self.quality):
            _encode_values(encoder, (z[:, *places] - mean).ravel(), np.repeat(rows, mean.shape[1]), self._tables)
        _encode_values(encoder, r[:, self.cells].ravel(), self._rows(z), self._tables)
        return encoder.finish()

    def decode(self, data: bytes) -> tuple[np.ndarray, np.ndarray]:
        """(z, r) of a sub-stream, 0 at every position the layer does not have.

        Raises FormatError unless `data` is exactly what `encode` writes for the result.
        """
        decoder = Decoder(data)
        z = np.zeros((self._scale_map.hyper_channels, *self.touched.shape), np.int32)
        r = np.zeros((self._scale_map.channels, *self.cells.shape), np.int32)
        for places, mean, rows in self._prior.passes(z, self.touched, self.quality):
            values = _decode_values(decoder, np.repeat(rows, mean.shape[1]), self._tables)
            z[:, *places] = mean + values.reshape(mean.shape)
        r[:, self.cells] = _decode_values(decoder, self._rows(z), self._tables).reshape(len(r), -1)
        decoder.finish()
        return z, r

    def _rows(self, z: np.ndarray) -> np.ndarray:
        return self.table_rows(z)[:, self.cells].ravel()


def hyper_cells(cells: np.ndarray) -> np.ndarray:
    """bool [ceil(h/4), ceil(w/4)]: the hyper-latent positions that a cell of `cells`, bool [h, w],
    touches."""
    padded = np.pad(cells, [(0, -side % HYPER) for side in cells.shape])
    return np.any(padded.reshape(padded.shape[0] // HYPER, HYPER, -1, HYPER), axis=(1, 3))


def _coded_order(rows: np.ndarray) -> tuple[np.ndarray, list[tuple[int, slice]]]:
    """The positions with a row above 0, by row and then in order; and each row's slice of them."""
    starts = range(0, len(rows), SORTED_AT_ONCE)
    counted = [np.bincount(rows[start : start + SORTED_AT_ONCE], minlength=TABLE_ROWS) for start in starts]
    sizes = np.reshape(counted, (-1, TABLE_ROWS)).astype(np.int64).T  # of each row in each block
    skipped, sizes[0] = sizes[0].copy(), 0
    ends = np.cumsum(sizes).reshape(sizes.shape)
    order = np.empty(sizes.sum(), np.int64)
    for block, start in enumerate(starts):
        found = start + np.argsort(rows[start : start + SORTED_AT_ONCE], kind="stable")[skipped[block] :]
        for row, part in _slices(sizes[:, block]):
            order[ends[row, block] - sizes[row, block] : ends[row, block]] = found[part]
    return order, _slices(sizes.sum(1))


def _slices(sizes: np.ndarray) -> list[tuple[int, slice]]:
    """The places of each row that has any, when so many of row 0, of row 1 and so on follow one
    another."""
    ends = np.cumsum(sizes)
    return [(row, slice(ends[row] - sizes[row], ends[row])) for row in np.flatnonzero(sizes).tolist()]


def _encode_values(encoder: Encoder, values: np.ndarray, rows: np.ndarray, tables: Tables) -> None:
    if ((values != 0) & (rows == 0)).any():
        raise ValueError("a position that is skipped (table row 0) must hold 0")
    order, groups = _coded_order(rows)
    values = values[order]
    escaped = (values > MAX_SYMBOL) | (values < -MAX_SYMBOL)
    escapes, values[escaped] = values[escaped], ESCAPE
    for row, group in groups:
        encoder.encode(values[group] + MAX_SYMBOL, distribution(tables.counts[row]))
    _encode_escapes(encoder, escapes)


def _decode_values(decoder: Decoder, rows: np.ndarray, tables: Tables) -> np.ndarray:
    order, groups = _coded_order(rows)
    symbols = np.empty(len(order), np.int32)
    for row, group in groups:
        symbols[group] = decoder.decode(group.stop - group.start, distribution(tables.counts[row]))
    symbols -= MAX_SYMBOL
    escaped = np.flatnonzero(symbols == ESCAPE)
    symbols[escaped] = _decode_escapes(decoder, len(escaped))
    values = np.zeros(len(rows), np.int32)
    values[order] = symbols
    return values


def _encode_escapes(encoder: Encoder, values: np.ndarray) -> None:
    """Elias-gamma, part by part: the bit counts of all, then all signs, then all bits (spec
    5.3)."""
    if not len(values):
        return
    excess = np.abs(values.astype(np.int64)) - MAX_SYMBOL  # >= 1
    if excess.max() > MAX_MAGNITUDE - MAX_SYMBOL:
        raise ValueError(f"a magnitude is above {MAX_MAGNITUDE}")
    lengths = np.frexp(excess.astype(np.float64))[1] - 1
    owner, shift = _bit_places(lengths)
    encoder.encode(lengths, uniform(ESCAPE_LENGTHS))
    encoder.encode(values < 0, uniform(2))
    encoder.encode(excess[owner] >> shift & 1, uniform(2))


def _decode_escapes(decoder: Decoder, n: int) -> np.ndarray:
    if not n:
        return np.empty(0, np.int32)
    lengths = decoder.decode(n, uniform(ESCAPE_LENGTHS))
    if lengths.max() > MAX_ESCAPE_BITS:
        raise FormatError(f"an escape has {lengths.max()} bits; {MAX_ESCAPE_BITS} are the most")
    owner, shift = _bit_places(lengths)
    signs = 1 - 2 * decoder.decode(n, uniform(2))
    bits = decoder.decode(len(owner), uniform(2))
    excess = (1 << lengths) + np.bincount(owner, bits << shift, n).astype(np.int32)
    return signs * (excess + MAX_SYMBOL)


def _bit_places(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For all the bits of numbers with these lengths, highest bit first: whose bit it is, and its
    power of two."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    last = np.repeat(np.cumsum(lengths), lengths) - 1
    return owner, last - np.arange(len(owner))
