"""Room 2. From a hyper-latent to table rows, in integers (spec 6).

The only thing that decides which table codes a residual. It is pointwise on the hyper-latent grid
and exact: no device, thread count or library can change it, so a file decodes everywhere to the
same symbols.
"""

from dataclasses import astuple, dataclass

import numpy as np

from obic.constants import HIDDEN_BITS, HIDDEN_SHIFT, HYPER, HYPER_CLAMP, MAX_HIDDEN, MAX_QUALITY, TABLE_ROWS

Dims = tuple[int, ...]  # of an array

PLACES_AT_ONCE = 2048  # places at a time: 2048 sums each of 8 bytes make 32 MB


@dataclass(frozen=True, eq=False)
class Hidden:
    """The hidden units of a scale map: h = clip((A z + a[quality]) >> 4, 0, 65535), which add (V h)
    >> 8 to W z.

    into: A, integers [H, Cz]. bias: a, integers [100, H]. out: V, integers [M * 16, H].
    """

    into: np.ndarray
    bias: np.ndarray
    out: np.ndarray


class ScaleMap:
    """row = clip((W z + ((V h) >> 8) + b[quality]) >> shift, 0, 63), then a pixel shuffle by 4.

    weight: integers [M * 16, Cz]; row c * 16 + dy * 4 + dx gives channel c at cell (4 i + dy, 4 j +
    dx), the order of torch.nn.functional.pixel_shuffle. bias: integers [100, M], row quality - 1.
    shift: 0..62. hidden: V and h; None: there are none, and the map is linear. Raises ValueError if
    the shapes do not fit, or if a sum could leave the integers that float64 holds exactly. Source:
    Koyuncu et al. 2024 and JPEG AI (integer scale decoders); the linear part as in PULSE.
    """

    def __init__(self, weight: np.ndarray, bias: np.ndarray, shift: int, hidden: Hidden | None = None):
        self.channels, self.hyper_channels, self.shift = bias.shape[1], weight.shape[1], shift
        parts = (weight, bias) if hidden is None else (weight, bias, *astuple(hidden))
        if not _fits(*(part.shape for part in parts)) or not 0 <= shift <= 62:
            shapes = ", ".join(str(part.shape) for part in parts)
            raise ValueError(f"a scale map of {shapes} and shift {shift} does not fit together")
        if any(part.dtype.kind not in "iu" for part in parts):
            raise ValueError("a scale map is made of integers")
        self._weight, self._bias, self._hidden = weight.astype(np.float64), bias.astype(np.int64), None
        largest = _largest(self._weight, HYPER_CLAMP) + np.abs(self._bias).max()
        if hidden is not None:
            into, out = hidden.into.astype(np.float64), hidden.out.astype(np.float64)
            self._hidden = Hidden(into, hidden.bias.astype(np.int64), out)
            largest = max(largest + _largest(out, MAX_HIDDEN), _largest(into, HYPER_CLAMP) + np.abs(hidden.bias).max())
        if largest >= 2**53:
            raise ValueError("the sums of a scale map must stay below 2**53")

    def table_rows(self, z: np.ndarray, quality: int) -> np.ndarray:
        """The table row of each residual, uint8 [M, 4 h4, 4 w4] in 0..63. z: integers [Cz, h4, w4];
        quality: 1..100."""
        _, h4, w4 = z.shape
        places = z.reshape(self.hyper_channels, h4 * w4)
        rows = np.empty((self.channels, HYPER**2, h4 * w4), np.uint8)
        for start in range(0, h4 * w4, PLACES_AT_ONCE):
            block = slice(start, start + PLACES_AT_ONCE)
            sums = self._sums(np.clip(places[:, block], -HYPER_CLAMP, HYPER_CLAMP).astype(np.float64), quality)
            sums = sums.reshape(self.channels, HYPER**2, -1) + self._bias[quality - 1][:, None, None]
            rows[..., block] = np.clip(sums >> self.shift, 0, TABLE_ROWS - 1)
        rows = rows.reshape(self.channels, HYPER, HYPER, h4, w4).transpose(0, 3, 1, 4, 2)
        return rows.reshape(self.channels, HYPER * h4, HYPER * w4)

    def _sums(self, z: np.ndarray, quality: int) -> np.ndarray:
        """W z + ((V h) >> 8) for z: float64 [Cz, n] -> int64 [M * 16, n]."""
        # Every product and partial sum is an integer below 2**53: float64 BLAS is exact in any
        # order of summation.
        sums = (self._weight @ z).astype(np.int64)
        if self._hidden is not None:
            hidden = (self._hidden.into @ z).astype(np.int64) + self._hidden.bias[quality - 1][:, None]
            hidden = np.clip(hidden >> HIDDEN_SHIFT, 0, MAX_HIDDEN)
            sums += (self._hidden.out @ hidden.astype(np.float64)).astype(np.int64) >> HIDDEN_BITS
        return sums


def _fits(weight: Dims, bias: Dims, into: Dims | None = None, hidden_bias: Dims = (), out: Dims = ()) -> bool:
    """Whether the shapes of a scale map's arrays belong together."""
    rows, channels = weight
    fits = bias == (MAX_QUALITY, rows // HYPER**2) and rows % HYPER**2 == 0
    return fits and (into is None or (into[1], hidden_bias, out) == (channels, (MAX_QUALITY, into[0]), (rows, into[0])))


def _largest(matrix: np.ndarray, limit: int) -> float:
    """The largest magnitude that a row can make of inputs up to `limit`."""
    return np.abs(matrix).sum(1).max() * limit
