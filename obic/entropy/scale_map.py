"""Room 2. From a hyper-latent to table indices, in integers (spec 6).

The only thing that decides which table codes a residual. It is linear, pointwise on the hyper-latent grid, and
exact: no device, thread count or library can change it, so a file decodes everywhere to the same symbols.
"""

import numpy as np

from obic.constants import HYPER, HYPER_CLAMP, MAX_QUALITY, TABLE_ROWS

BLOCK = 2048  # places at a time: 2048 sums each of 8 bytes make 32 MB


class ScaleMap:
    """index = clip((W z + b[quality]) >> shift, 0, 63), then a pixel shuffle by 4.

    weight: integers [M * 16, Cz]; row c * 16 + dy * 4 + dx gives channel c at cell (4 i + dy, 4 j + dx), the order
    of torch.nn.functional.pixel_shuffle. bias: integers [100, M], row quality - 1. shift: 0..62.
    Raises ValueError if the shapes do not fit, or if a sum could leave the integers that float64 holds exactly.
    Source: Koyuncu et al. 2024 and JPEG AI (integer scale decoders); one linear step as in PULSE.
    """

    def __init__(self, weight: np.ndarray, bias: np.ndarray, shift: int):
        self.channels = bias.shape[1]
        if weight.shape[0] != self.channels * HYPER**2 or bias.shape[0] != MAX_QUALITY or not 0 <= shift <= 62:
            raise ValueError(f"a scale map of {weight.shape}, {bias.shape} and shift {shift} does not fit together")
        if weight.dtype.kind not in "iu" or bias.dtype.kind not in "iu":
            raise ValueError("a scale map is made of integers")
        self.hyper_channels = weight.shape[1]
        self.shift = shift
        self._weight = weight.astype(np.float64)
        self._bias = bias.astype(np.int64)
        largest = np.abs(self._weight).sum(1).max() * HYPER_CLAMP + np.abs(self._bias).max()
        if largest >= 2**53:
            raise ValueError("the sums of a scale map must stay below 2**53")

    def index(self, z: np.ndarray, quality: int) -> np.ndarray:
        """uint8 [M, 4 h4, 4 w4] in 0..63 for z: integers [Cz, h4, w4], and a quality in 1..100."""
        _, h4, w4 = z.shape
        places = z.reshape(self.hyper_channels, h4 * w4)
        index = np.empty((self.channels, HYPER**2, h4 * w4), np.uint8)
        for start in range(0, h4 * w4, BLOCK):
            block = slice(start, start + BLOCK)
            clamped = np.clip(places[:, block], -HYPER_CLAMP, HYPER_CLAMP)
            # Every product and partial sum is an integer below 2**53: float64 BLAS is exact in any order of summation.
            sums = (self._weight @ clamped.astype(np.float64)).astype(np.int64)
            sums = sums.reshape(self.channels, HYPER**2, -1) + self._bias[quality - 1][:, None, None]
            index[..., block] = np.clip(sums >> self.shift, 0, TABLE_ROWS - 1)
        index = index.reshape(self.channels, HYPER, HYPER, h4, w4).transpose(0, 3, 1, 4, 2)
        return index.reshape(self.channels, HYPER * h4, HYPER * w4)
