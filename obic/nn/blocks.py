"""The block that all transforms are made of, and the steps between grids."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FIRST_DAMPING = 0.2  # g at the start of training: a trained network without damping hardly notices it


class Block(nn.Module):
    """Depthwise-separable mixing, then a gated pointwise network, each with a skip.

        x -- damp -- 1x1 -- SiLU -- dw 3x3 -- 1x1 --(+)-- damp -- 1x1 (2C) -- GLU -- 1x1 --(+)-->
        |___________________________________________|  |_________________________________|

    The block of DCVC-RT (Jia et al. 2025) with a gated unit in place of its wide one. x: [B, C, h,
    w] -> the same.

    damp: x / sqrt(1 + g mean(x^2)), the mean over the channels of a place. It hardly touches what
    is usual and bounds what a branch sees, against features that run away from block to block;
    large weights still make much of it. (A divisive normalisation with one parameter; Balle et al.
    2016 have one for each pair of channels.)
    """

    def __init__(self, channels: int, damped: bool = True):
        super().__init__()
        self.log_damping = nn.Parameter(torch.empty(2)) if damped else None  # log g of either branch
        self.mix_in = nn.Conv2d(channels, channels, 1)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.mix_out = nn.Conv2d(channels, channels, 1)
        self.gate = nn.Conv2d(channels, 2 * channels, 1)
        self.gate_out = nn.Conv2d(channels, channels, 1)

    def start(self) -> None:
        """Draws start values: residual branches start small."""
        for conv in (self.mix_out, self.gate_out):  # residual branches start small
            start_conv(conv, 0.02)
        if self.log_damping is not None:
            nn.init.constant_(self.log_damping, math.log(FIRST_DAMPING))

    def read_like(self, other: Block) -> None:
        """Takes the weights of another block of its kind, but adds nothing to what passes yet."""
        self.load_state_dict(other.state_dict())
        for parameter in (*self.mix_out.parameters(), *self.gate_out.parameters()):
            nn.init.zeros_(parameter)

    def _damped(self, x: Tensor, branch: int) -> Tensor:
        if self.log_damping is None:
            return x
        return x * torch.rsqrt(1 + self.log_damping[branch].exp() * x.square().mean(1, keepdim=True)).to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix_out(self.depthwise(F.silu(self.mix_in(self._damped(x, 0)))))
        value, gate = self.gate(self._damped(x, 1)).chunk(2, 1)
        return x + self.gate_out(value * gate.sigmoid())  # F.glu is slow to differentiate on CPUs


def start_conv(conv: nn.Conv2d, deviation: float) -> None:
    """Start values: weights whose sum has that deviation where all inputs have 1, and no bias."""
    nn.init.normal_(conv.weight, std=deviation / conv.in_channels**0.5)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


class Stage(nn.Sequential):
    """`count` blocks, one behind the other: [B, C, h, w] -> the same."""

    def __init__(self, channels: int, count: int, damped: bool):
        super().__init__(*(Block(channels, damped) for _ in range(count)))


class Down(nn.Module):
    """Grid of pixels or features to a grid `factor` coarser: space-to-depth, 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, factor: int):
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(inputs * factor**2, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pixel_unshuffle(x, self.factor))


class Up(nn.Module):
    """The inverse step: 1x1 convolution, depth-to-space."""

    def __init__(self, inputs: int, outputs: int, factor: int):
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(inputs, outputs * factor**2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), self.factor)


def straight_through(x: Tensor, coded: Tensor, slope: Tensor | float = 1.0) -> Tensor:
    """What x is coded as (rounded, or 0 where it is skipped); the gradient passes as if it were x,
    times `slope`."""
    heard = x * slope
    return heard + (coded - heard).detach()
