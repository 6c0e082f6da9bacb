"""Room 2. The numbers that fix a codec network's shape, and what follows from them without any
network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from obic.constants import MAX_QUALITY

if TYPE_CHECKING:
    from torch import Tensor

ADDED = {"damped": False, "scale_hidden": 0}  # fields that older shapes lack, and what stands for them
PASSES = 4
# ORDER[g][p]: the position (row * 2 + column in each 2x2 group of cells) that channel group g codes
# in pass p.
# Every pass codes a quarter of the channels of every cell, so its neighbours always know something
# (DCVC-DC's order).
ORDER = ((0, 3, 1, 2), (3, 0, 2, 1), (1, 2, 0, 3), (2, 1, 3, 0))

Number = TypeVar("Number", float, "Tensor")


class Reach(NamedTuple):
    """How far each network sees beyond a place of the coarsest grid it has, in such places (spec
    8.4)."""

    transforms: int
    hyper_analysis: int
    hyper_synthesis: int
    context: int  # one pass


@dataclass(frozen=True)
class Shape:
    """Widths and depths. `fine` is the grid of 1/8, `coarse` the grid of 1/16 (the cells)."""

    fine: int = 192
    fine_blocks: int = 5
    coarse: int = 320
    coarse_blocks: int = 4
    latent: int = 128
    hyper: int = 64
    hyper_width: int = 128
    context: int = 256
    context_blocks: int = 1
    levels: int = 10
    damped: bool = True  # see obic.nn.blocks.Block
    scale_hidden: int = 256  # see obic.nn.hyper_networks.ScaleIndex

    @classmethod
    def of(cls, numbers: Mapping[str, int]) -> Shape:
        """The inverse of `as_dict`."""
        fields: dict[str, Any] = {**ADDED, **numbers}
        return cls(**fields)

    def as_dict(self) -> dict[str, int]:
        """As a manifest and a checkpoint hold it; what was added later stands there only where it
        is not 0."""
        return {name: int(value) for name, value in asdict(self).items() if value or name not in ADDED}

    @property
    def reach(self) -> Reach:
        """A block sees one place further on its own grid, and so 1/f of a place of a grid f times
        as coarse."""
        transforms = math.ceil(self.coarse_blocks + self.fine_blocks / 2)
        return Reach(transforms, math.ceil(1 + 1 / 2 + 1 / 4), math.ceil(1 + 1 / 2), self.context_blocks + 1)


def quality_to_level(quality: Number, levels: int) -> Number:
    """Quality 1..100 -> position on the scale of gain vectors, 0..levels-1 (spec 8.1)."""
    return (quality - 1) * (levels - 1) / (MAX_QUALITY - 1)


def level_to_quality(level: float, levels: int) -> float:
    """The inverse of `quality_to_level`."""
    return 1 + level * (MAX_QUALITY - 1) / (levels - 1)


def relative_level(level: Number, levels: int) -> Number:
    """Level 0..levels-1 -> -1..1, as the networks are told of it (spec 8.1, conditions)."""
    return 2 * level / (levels - 1) - 1


def read_at(table: np.ndarray, quality: int) -> np.ndarray:
    """A row for a quality, float32 [C], between those of the levels: table float [levels, C] (spec
    8.1)."""
    level = quality_to_level(quality, len(table))
    low = min(int(level), len(table) - 2)
    share = np.float32(level - low)
    return table[low] * (1 - share) + table[low + 1] * share


def pass_numbers(channels: int, height: int, width: int) -> np.ndarray:
    """Which pass codes each element of a latent: uint8 [h, w, M] in 0..3 (spec 8.2)."""
    of_position = np.argsort(ORDER).astype(np.uint8)  # [group, position]
    square = of_position.repeat(channels // PASSES, 0).T.reshape(2, 2, channels)
    return np.tile(square, (-(-height // 2), -(-width // 2), 1))[:height, :width]


def noise(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Planes of noise in -1..1, float32 [height, width, count]: the same on every machine."""
    if not count:
        return np.zeros((height, width, 0), np.float32)  # numpy.random takes a while to import
    uniform = np.random.default_rng(seed).random((count, height, width), np.float32)
    return np.moveaxis(2 * uniform - 1, 0, -1)
