"""What the codec network trains on: random crops of pictures, with random layers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from obic.constants import CELL, MAX_QUALITY
from obic.train.common.data import Sample

OVERSAMPLE = {"wall": 4}  # the cleanest set
OFTEN = (31, 62)  # the qualities of about 0.04 to 0.25 bits per pixel, where most pictures are coded
HIGH = (70, 100)  # where the transforms learn what the others leave out
OFTEN_SHARE, HIGH_SHARE = 0.65, 0.1  # the rest of the draws is even
MIDDLE = (20, 72)  # lambda from 0.23 to 12.3


class Batches:
    """Random crops with random layers and qualities, without end. The pictures lie on the device
    and are cut there."""

    def __init__(self, samples: Sequence[Sample], size: int, count: int, device: str, seed: int):
        self.size, self.count, self.device = size, count, device
        self.random = random.Random(seed)
        self.pictures = [torch.from_numpy(s.rgb).to(device) for s in samples]
        self.masks = [s.mask for s in samples]
        self.weights = [OVERSAMPLE.get(s.source, 1) for s in samples]

    def draw(self) -> tuple[Tensor, Tensor]:
        """-> pixels [B, 3, S, S] in 0..1 and labels of the cells [B, S/16, S/16], 0 or 1."""
        chosen = self.random.choices(range(len(self.pictures)), self.weights, k=self.count)
        crops, labels = zip(*map(self._crop, chosen), strict=True)
        cells = torch.from_numpy(np.stack(labels)).to(self.device)
        return torch.stack(crops).permute(0, 3, 1, 2).float() / 255, cells

    def _crop(self, number: int) -> tuple[Tensor, np.ndarray]:
        size, rgb, mask = self.size, self.pictures[number], self.masks[number]
        short = min(rgb.shape[:2])
        stride = 2 if short >= 2 * size and self.random.random() < 0.3 else 1  # a scaled-down crop now and then
        if short < size:
            places = [np.pad(np.arange(side), (0, max(0, size - side)), mode="symmetric") for side in rgb.shape[:2]]
            rows, columns = (torch.from_numpy(each).to(self.device) for each in places)
            rgb, mask = rgb[rows][:, columns], None if mask is None else mask[np.ix_(*places)]
        side = size * stride
        top, left = (self.random.randint(0, limit - side) for limit in rgb.shape[:2])
        window = np.s_[top : top + side, left : left + side]
        rgb = rgb[window]
        if stride == 2:
            rgb = rgb.reshape(size, 2, size, 2, 3).float().mean((1, 3)).round().to(torch.uint8)
        labels = self._labels(None if mask is None else mask[window][::stride, ::stride])
        if self.random.random() < 0.5:
            rgb, labels = rgb.flip(1), labels[:, ::-1]
        return rgb, labels

    def _labels(self, mask: np.ndarray | None) -> np.ndarray:
        """Object cells from the picture's own mask, from a random blob, or none."""
        grid = self.size // CELL
        kind = self.random.random()
        if kind < 0.4:
            return np.zeros((grid, grid), np.float32)
        if mask is not None and kind < 0.85:
            is_object = (mask > 0) & (mask < 255)
            return (is_object.reshape(grid, CELL, grid, CELL).mean((1, 3)) > 0.25).astype(np.float32)
        y, x = np.mgrid[:grid, :grid] / grid
        angle, radius = self.random.uniform(0, math.pi), self.random.uniform(0.15, 0.5)
        dy, dx = y - self.random.random(), x - self.random.random()
        along, across = dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)
        return (np.hypot(along, across * self.random.uniform(1, 3)) < radius).astype(np.float32)


class Rows(NamedTuple):
    """The layers of a batch of B pictures that have any cells, one a row: the picture and the layer
    of each [R], its cells [R, 1, h, w] and its quality [R]."""

    n_pictures: int  # B
    pictures: Tensor
    numbers: Tensor
    cells: Tensor
    quality: Tensor

    def joined(self, maps: Tensor, kept: Tensor | None = None) -> Tensor:
        """Maps of the layers [R, C, h, w], 0 outside their cells -> of the pictures [B, C, h, w].
        kept: [R], 1 or 0."""
        maps = maps if kept is None else maps * kept[:, None, None, None]
        return maps.new_zeros(self.n_pictures, *maps.shape[1:]).index_add(0, self.pictures, maps)


def any_quality(generator: random.Random) -> float:
    """1..100, most of them in the range that is used most, or high."""
    shares = (OFTEN_SHARE, HIGH_SHARE, 1 - OFTEN_SHARE - HIGH_SHARE)
    (bounds,) = generator.choices((OFTEN, HIGH, (1, MAX_QUALITY)), shares)
    return generator.uniform(*bounds)


def middle_quality(generator: random.Random) -> float:
    """Evenly from what early training needs."""
    return generator.uniform(*MIDDLE)


def draw_rows(
    layers: Tensor, generator: random.Random, draw_quality: Callable[[random.Random], float] = any_quality
) -> Rows:
    """Rows of cells of the layers [B, L, h, w] with random qualities: one for the picture, or one
    for each layer."""
    pictures, numbers = layers.any(-1).any(-1).nonzero().unbind(1)
    values, previous = [], -1
    for picture in pictures.tolist():
        if picture != previous or generator.random() < 0.5:
            value = draw_quality(generator)
        values.append(value)
        previous = picture
    quality = torch.tensor(values, device=layers.device)
    return Rows(len(layers), pictures, numbers, layers[pictures, numbers][:, None], quality)
