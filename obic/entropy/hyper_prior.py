"""Room 2. How the hyper-latent z is predicted and coded, in integers (spec 5.4)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from obic.constants import HYPER_CLAMP, HYPER_ORDER, MAX_HYPER_SHIFT, MAX_QUALITY, TABLE_ROWS

Places = tuple[np.ndarray, np.ndarray]  # rows and columns of n positions


@dataclass(frozen=True, eq=False)
class HyperPrior:
    """How z is coded, pass by pass: in P = 1 pass, or in 4 over 2x2 positions, each predicted from
    those before.

    In a pass behind the first the mean of z is offset + ((weight @ d + 2**(shift - 1)) >> shift).
    d: how far the nine positions round it (channel-major, then raster over 3x3) are from their own
    offsets, within +-127; 0 where nothing is coded yet. In the first pass, and in the only one, the
    mean is the offset.

    table_rows: integers [P, 100, Cz] in 0..63 (or [100, Cz] for one pass), row quality - 1. With
    table row 0 a channel is not coded: it holds its mean. offset: integers [100, Cz] in -127..127.
    weight: integers [3, Cz, Cz * 9], or None for one pass. shift: 1..30.
    Raises ValueError if the arrays break one of these rules, or if a mean could be off its offset
    by more than 2**16.
    """

    table_rows: np.ndarray
    offset: np.ndarray
    weight: np.ndarray | None = None
    shift: int = 0

    def __post_init__(self) -> None:
        rows, offset = self.table_rows.astype(np.int32), self.offset.astype(np.int32)
        rows = rows[None] if rows.ndim == 2 else rows
        n_passes, channels = 1 if self.weight is None else len(HYPER_ORDER), offset.shape[-1]
        if offset.shape != (MAX_QUALITY, channels) or rows.shape != (n_passes, *offset.shape):
            raise ValueError(f"a hyper prior of {self.table_rows.shape} and {offset.shape} does not fit together")
        if rows.min() < 0 or rows.max() >= TABLE_ROWS or np.abs(offset).max() > HYPER_CLAMP:
            raise ValueError("a hyper prior has rows in 0..63 and offsets in -127..127")
        object.__setattr__(self, "table_rows", rows)
        object.__setattr__(self, "offset", offset)
        if self.weight is not None:
            object.__setattr__(self, "weight", self._checked(self.weight, channels))

    def _checked(self, weight: np.ndarray, channels: int) -> np.ndarray:
        if weight.shape != (len(HYPER_ORDER) - 1, channels, channels * 9) or weight.dtype.kind not in "iu":
            raise ValueError(f"the weights of a hyper prior are integers, not {weight.dtype} {weight.shape}")
        weight = weight.astype(np.float64)
        if not 1 <= self.shift <= 30 or np.abs(weight).sum(2).max() * HYPER_CLAMP > MAX_HYPER_SHIFT * 2.0**self.shift:
            raise ValueError("the means of a hyper prior must stay within 2**16 of its offsets")
        return weight

    def passes(
        self, z: np.ndarray, touched: np.ndarray, quality: int
    ) -> Iterator[tuple[Places, np.ndarray, np.ndarray]]:
        """Pass after pass: its positions, the mean int32 [Cz, n] of z there and the table row [Cz]
        of each channel.

        z: integers [Cz, h, w], of which a pass reads what the passes before it coded, so a decoder
        fills it in as it goes. touched: bool [h, w], where the layer has positions. quality:
        1..100.
        """
        offset = self.offset[quality - 1][:, None]
        deviation = np.zeros((len(z), touched.shape[0] + 2, touched.shape[1] + 2))  # with a border of zeros
        for number, rows in enumerate(self.table_rows[:, quality - 1]):
            down, across = np.nonzero(touched) if self.weight is None else pass_places(touched, number)
            places = down, across
            mean = np.broadcast_to(offset, (len(z), len(places[0])))
            if self.weight is not None and number:
                mean = mean + self._prediction(self.weight[number - 1], neighbours(deviation, places))
            yield places, mean, rows
            record_deviations(deviation, places, z[:, *places] - offset)

    def codable(self, z: np.ndarray, touched: np.ndarray, quality: int) -> np.ndarray:
        """The nearest z, int32 [Cz, h, w], that can be coded: channels that are not coded hold
        their mean, positions that are not touched hold 0. touched: bool [h, w]. quality: 1..100."""
        result = np.zeros_like(z)
        for places, mean, rows in self.passes(result, touched, quality):
            result[:, *places] = np.where(rows[:, None] > 0, z[:, *places], mean)
        return result

    def _prediction(self, weight: np.ndarray, around: np.ndarray) -> np.ndarray:
        """int32 [Cz, n]. Every product and partial sum is an integer below 2**53: float64 is exact
        in any order."""
        sums = (weight @ around).astype(np.int64)
        return (sums + (1 << self.shift - 1) >> self.shift).astype(np.int32)


def pass_places(touched: np.ndarray, number: int) -> Places:
    """The positions of `touched`, bool [h, w], that pass 0..3 of four codes."""
    row, column = HYPER_ORDER[number]
    rows, columns = np.nonzero(touched[row::2, column::2])
    return 2 * rows + row, 2 * columns + column


def neighbours(deviation: np.ndarray, places: Places) -> np.ndarray:
    """The 3x3 values round n positions, channel-major, then raster: [Cz * 9, n] of a map [Cz, h +
    2, w + 2]."""
    around = np.stack([deviation[:, places[0] + dy, places[1] + dx] for dy in range(3) for dx in range(3)], 1)
    return around.reshape(9 * len(deviation), len(places[0]))


def record_deviations(deviation: np.ndarray, places: Places, values: np.ndarray) -> None:
    """Writes what a pass coded, [Cz, n], into the map of deviations [Cz, h + 2, w + 2], within
    +-127."""
    deviation[:, places[0] + 1, places[1] + 1] = np.clip(values, -HYPER_CLAMP, HYPER_CLAMP)
