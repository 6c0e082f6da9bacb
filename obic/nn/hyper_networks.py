"""The hyperprior of one layer: hyper-latent, the map to table rows, and the float features.

Two paths leave the coded hyper-latent z. The map to table rows is pointwise and becomes integer
when the weights are packed (its linear part as in PULSE, Microsoft 2026); only it touches the
entropy coder. The float features steer the mean and the step of the residual, outside the entropy
coder.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from obic.constants import (
    HIDDEN_BITS,
    HYPER,
    HYPER_CLAMP,
    HYPER_ORDER,
    MAX_HIDDEN,
    MAX_SCALE,
    MIN_SCALE,
    TABLE_ROWS,
)
from obic.nn.blocks import Block, Down, Up, straight_through
from obic.nn.gain import interpolate
from obic.shape import Shape

LOG_SCALE_MIN = math.log(MIN_SCALE)
LOG_STEP = (math.log(MAX_SCALE) - LOG_SCALE_MIN) / (TABLE_ROWS - 2)


def index_to_scale(index: Tensor) -> Tensor:
    """A table row, continuous -> standard deviation; row 1 is MIN_SCALE, the last MAX_SCALE,
    log-spaced."""
    return MIN_SCALE * torch.exp(LOG_STEP * (index - 1))


def log_scale_to_index(log_scale: Tensor) -> Tensor:
    """The inverse of `index_to_scale`, of the logarithm of a standard deviation."""
    return (log_scale - LOG_SCALE_MIN) / LOG_STEP + 1


class HyperAnalysis(nn.Module):
    """Scaled latent [B, M, 4h, 4w] and conditions [B, 2, 4h, 4w] -> hyper-latent before rounding
    [B, Z, h, w]."""

    def __init__(self, shape: Shape):
        super().__init__()
        width = shape.hyper_width
        self.layers = nn.Sequential(
            nn.Conv2d(shape.latent + 2, width, 1), Block(width, shape.damped),
            Down(width, width, 2), Block(width, shape.damped),
            Down(width, width, 2), Block(width, shape.damped), nn.Conv2d(width, shape.hyper, 1))

    def forward(self, latent: Tensor, conditions: Tensor) -> Tensor:
        return self.layers(torch.cat([latent, conditions], 1))


class ScaleIndex(nn.Module):
    """Table rows of the residual, continuous while training, from z and the level: a linear map,
    and one with a hidden layer beside it (of `scale_hidden` units; 0: none).

    Parameters are in units of the logarithm of the standard deviation, so that they learn at the
    pace of the rest.
    """

    def __init__(self, shape: Shape):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape.latent * HYPER**2, shape.hyper))
        self.bias = nn.Parameter(torch.empty(shape.levels, shape.latent))
        self.hidden = shape.scale_hidden
        if self.hidden:
            self.into_hidden = nn.Parameter(torch.empty(self.hidden, shape.hyper))
            self.hidden_bias = nn.Parameter(torch.empty(shape.levels, self.hidden))
            self.from_hidden = nn.Parameter(torch.empty(shape.latent * HYPER**2, self.hidden))

    @torch.no_grad()
    def start(self) -> None:
        """Draws start values: scales hardly depend on z, and rise with the level."""
        nn.init.normal_(self.weight, std=0.01)
        self.bias.copy_(torch.linspace(-1.2, 0.0, len(self.bias))[:, None].expand_as(self.bias))
        if self.hidden:
            nn.init.normal_(self.into_hidden, std=self.into_hidden.shape[1] ** -0.5)
            nn.init.uniform_(self.hidden_bias, -0.5, 0.5)
            nn.init.normal_(self.from_hidden, std=0.01 / self.hidden**0.5)

    def forward(self, z: Tensor, level: Tensor) -> Tensor:
        """z: [B, Z, h, w], level: [B] -> row of each residual [B, M, 4h, 4w], unclipped."""
        log_scale = F.conv2d(z, self.weight[:, :, None, None])
        if self.hidden:
            sums = F.conv2d(z, self.into_hidden[:, :, None, None])
            hidden = sums + interpolate(self.hidden_bias, level)[:, :, None, None]
            hidden = hidden.clamp(0, MAX_HIDDEN / 2**HIDDEN_BITS)
            log_scale = log_scale + F.conv2d(hidden, self.from_hidden[:, :, None, None])
        return log_scale_to_index(F.pixel_shuffle(log_scale, HYPER) + interpolate(self.bias, level)[:, :, None, None])


class HyperGaussian(nn.Module):
    """The prior of z in training: the mean and the scale of each position, from the level and the
    neighbours.

    The float counterpart of `obic.entropy.hyper_prior`, pass by pass the same: offset [levels, Z],
    logarithm of the scale [passes, levels, Z], weight [passes - 1, Z, 9 Z]. The weights are held: a
    regression finds them when weights are packed, and a run that starts from packed weights has
    theirs; from scratch they are 0.
    """

    weight: Tensor

    def __init__(self, shape: Shape):
        super().__init__()
        passes = len(HYPER_ORDER)
        self.offset = nn.Parameter(torch.empty(shape.levels, shape.hyper))
        self.log_scale = nn.Parameter(torch.empty(passes, shape.levels, shape.hyper))
        self.register_buffer("weight", torch.empty(passes - 1, shape.hyper, 9 * shape.hyper))

    @torch.no_grad()
    def start(self) -> None:
        """Start values: mean 0 and scale 1 everywhere."""
        for each in (self.offset, self.log_scale, self.weight):
            each.zero_()

    def forward(self, z: Tensor, touched: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """z: rounded [B, Z, h, w], touched: [B, 1, h, w] in {0, 1}, level: [B] -> mean and table
        row, both like z, the row continuous and unclipped."""
        offset = interpolate(self.offset, level)[:, :, None, None]
        deviation = ((z - offset) * touched).clamp(-HYPER_CLAMP, HYPER_CLAMP)
        mean, log_scale = offset.expand_as(z), torch.zeros_like(z)
        known = z.new_zeros(z.shape[-2:])
        for number, (row, column) in enumerate(HYPER_ORDER):
            coded = torch.zeros_like(known)
            coded[row::2, column::2] = 1
            if number:
                around = self.weight[number - 1].unflatten(1, (-1, 3, 3))
                mean = mean + coded * F.conv2d(deviation * known, around, padding=1)
            log_scale = log_scale + coded * interpolate(self.log_scale[number], level)[:, :, None, None]
            known = known + coded
        return straight_through(mean, mean.round()), log_scale_to_index(log_scale)


class HyperSynthesis(nn.Module):
    """Coded hyper-latent [B, Z, h, w] -> float features for the context network [B, C, 4h, 4w]."""

    def __init__(self, shape: Shape):
        super().__init__()
        width = shape.hyper_width
        self.layers = nn.Sequential(
            nn.Conv2d(shape.hyper, width, 1), Block(width, shape.damped),
            Up(width, width, 2), Block(width, shape.damped),
            Up(width, shape.context // 2, 2))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)
