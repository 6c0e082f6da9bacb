"""The codec network as a whole; `obic.shape` has the numbers that fix it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from obic.constants import CELL, HYPER
from obic.nn.blocks import Down, Stage, Up
from obic.nn.context import Context
from obic.nn.gain import Gain
from obic.nn.hyper_networks import HyperAnalysis, HyperGaussian, HyperSynthesis, ScaleIndex
from obic.shape import Shape, relative_level


class Analysis(nn.Module):
    """Pixels [B, 3, 16h, 16w] in -0.5..0.5 -> features [B, M, h, w] (LearntOBIC's F, eq. 1)."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.layers = nn.Sequential(
            Down(3, shape.fine, CELL // 2), Stage(shape.fine, shape.fine_blocks, shape.damped),
            Down(shape.fine, shape.coarse, 2), Stage(shape.coarse, shape.coarse_blocks, shape.damped),
            nn.Conv2d(shape.coarse, shape.latent, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels)


class Synthesis(nn.Module):
    """Features [B, M, h, w], with the map of presence and level [B, 2, h, w] -> pixels [B, 3, 16h,
    16w].

    grain: planes of noise that follow the two of the map, for a synthesis that makes texture up:
    where nothing was coded its input would be the same in every cell, and so would its pixels.
    """

    def __init__(self, shape: Shape, grain: int = 0):
        super().__init__()
        self.grain = grain
        self.layers = nn.Sequential(
            nn.Conv2d(shape.latent + 2 + grain, shape.coarse, 1),
            Stage(shape.coarse, shape.coarse_blocks, shape.damped),
            Up(shape.coarse, shape.fine, 2), Stage(shape.fine, shape.fine_blocks, shape.damped),
            Up(shape.fine, 3, CELL // 2))

    def forward(self, features: Tensor, conditions: Tensor) -> Tensor:
        return self.layers(torch.cat([features, conditions], 1))


class CodecNetwork(nn.Module):
    """Everything of a codec that is trained.

    One set of weights serves every layer and every quality. The parts a decoder needs are gain (its
    inverse), scale_index, hyper_synthesis, context and synthesis.
    """

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.analysis = Analysis(shape)
        self.gain = Gain(shape.latent, shape.levels)
        self.hyper_analysis = HyperAnalysis(shape)
        self.scale_index = ScaleIndex(shape)
        self.hyper_gaussian = HyperGaussian(shape)
        self.hyper_synthesis = HyperSynthesis(shape)
        self.context = Context(shape)
        self.synthesis = Synthesis(shape)

    def start(self) -> None:
        """Start values for training from scratch; a network that loads its weights needs none.

        Steps between grids are orthogonal: the untrained transforms already keep a signal's energy.
        """
        for module in self.modules():
            start = getattr(module, "start", None)
            if start is not None and module is not self:
                start()
        for module in (*self.analysis.modules(), *self.synthesis.modules()):
            if isinstance(module, (Down, Up)):
                nn.init.orthogonal_(module.conv.weight)
        nn.init.orthogonal_(self.get_parameter("analysis.layers.4.weight"), gain=4.0)
        nn.init.orthogonal_(self.get_parameter("synthesis.layers.0.weight"), gain=0.25)

    def conditions(self, cells: Tensor, level: Tensor) -> Tensor:
        """Presence and level of each cell: cells [B, 1, h, w] in {0, 1}, level [B] in 0..levels-1
        -> [B, 2, h, w]."""
        relative = relative_level(level, self.shape.levels)
        return torch.cat([cells, cells * relative[:, None, None, None]], 1)


def pad_to_cells(pixels: Tensor) -> Tensor:
    """Repeats the last row and column up to a multiple of the cell. [B, 3, H, W] -> [B, 3, 16h,
    16w]."""
    height, width = pixels.shape[-2:]
    return F.pad(pixels, (0, -width % CELL, 0, -height % CELL), mode="replicate")


def pad_to_hyper(x: Tensor) -> Tensor:
    """Zeros below and to the right up to a multiple of the hyper cell. [B, C, h, w] -> [B, C, 4h',
    4w']."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % HYPER, 0, -height % HYPER))
