"""A small entropy model with random integers."""

import numpy as np

from obic.entropy import EntropyModel, HyperPrior, LayerCoder, ScaleMap, gaussian_tables
from obic.entropy.scale_map import Hidden

TABLES = gaussian_tables()
CHANNELS, HYPER_CHANNELS = 3, 2


class Toy:
    """A small entropy model with random integers: scales from skipped to wide at every quality. One
    with an odd seed codes z in one pass, others in four; one in three has hidden units in its scale
    map."""

    def __init__(self, seed=0):
        random = np.random.default_rng(seed)
        self.weight = random.integers(-400, 400, (CHANNELS * 16, HYPER_CHANNELS)).astype(np.int16)
        self.bias = random.integers(-5000, 40000, (100, CHANNELS)).astype(np.int32)
        self.shift = 9
        passes = 1 if seed % 2 else 4
        self.z_index = random.integers(0, 40, (passes, 100, HYPER_CHANNELS)).astype(np.uint8)
        self.z_offset = random.integers(-5, 6, (100, HYPER_CHANNELS)).astype(np.int8)
        self.z_context = ()
        if passes > 1:
            self.z_context = random.integers(-90, 90, (3, HYPER_CHANNELS, 9 * HYPER_CHANNELS)).astype(np.int16), 8
        self.hidden = None
        if seed % 3 == 2:
            into = random.integers(-9000, 9000, (5, HYPER_CHANNELS)).astype(np.int16)
            bias = random.integers(-20000, 20000, (100, 5)).astype(np.int32)
            self.hidden = into, bias, random.integers(-900, 900, (CHANNELS * 16, 5)).astype(np.int16)
        self.scale_map = ScaleMap(self.weight, self.bias, self.shift, self.hidden and Hidden(*self.hidden))

    @property
    def hyper_prior(self):
        return HyperPrior(self.z_index, self.z_offset, *self.z_context)

    @property
    def arrays(self):
        """What the oracle needs to know."""
        scales = self.weight, self.bias, self.shift
        of_z = self.z_context or (None, None)
        return *scales, self.z_index, self.z_offset.tolist(), TABLES.counts, *of_z, self.hidden

    def symbols(self, cells, quality, seed=0, spread=1.0):
        """Random z and r that this model can code, 0 outside the layer."""
        random = np.random.default_rng(seed)
        coder = self.coder(cells, quality)
        z = np.rint(random.standard_cauchy((HYPER_CHANNELS, *coder.touched.shape)) * spread).clip(-(10**6), 10**6)
        z = coder.codable(z.astype(np.int32))
        index = coder.table_rows(z)
        r = np.rint(random.standard_cauchy(index.shape) * spread).clip(-(10**6), 10**6)
        return z, (r * cells * (index > 0)).astype(np.int32)

    def coder(self, cells, quality):
        return LayerCoder(EntropyModel(self.scale_map, self.hyper_prior, TABLES), cells, quality)

    def encode(self, z, r, cells, quality):
        return self.coder(cells, quality).encode(z, r)

    def decode(self, data, cells, quality):
        return self.coder(cells, quality).decode(data)
