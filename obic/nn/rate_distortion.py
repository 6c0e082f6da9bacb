"""Rate and distortion of a picture's layers, differentiable: for training, and to refine a latent.

LearntOBIC, eq. 2 to 4, with the weights of the layers chosen by quality. Noise for the rate,
straight-through rounding for the synthesis, either with the slope that rounding has at its scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from obic.constants import CELL, HYPER, HYPER_CLAMP
from obic.entropy.tables import default_scales, gaussian_probabilities
from obic.metrics import ms_ssim
from obic.nn.blocks import straight_through
from obic.nn.hyper_networks import index_to_scale
from obic.nn.model import CodecNetwork, pad_to_hyper
from obic.shape import quality_to_level

LAMBDA_MIN, LAMBDA_STEP = 0.05, 400 ** (1 / 7)  # of level 0, and from a level to the next: eight end at 20, ten at 111
MSE_WEIGHT = 25.0  # brings the squared error to the size of 1 - MS-SSIM
MSE_SHARE = 0.1  # what is left of it beside MS-SSIM
COLOUR_WEIGHT = 10.0  # in training: of the squared error of a cell's mean colour, which MS-SSIM hardly sees
LOWEST_PRICE = 0.05  # see `prices`
LOWEST_SLOPE = 0.1  # see `slopes`
LOWEST_INDEX = -24.0  # keeps the noisy rate of a dead channel near zero; below 1 an element is skipped when coded


@dataclass
class Rates:
    """Bits of each row (a layer of a picture): of the hyper-latent and of the residual, [R]
    each."""

    hyper: Tensor
    residual: Tensor


def distortion_weight(level: Tensor) -> Tensor:
    """lambda of eq. 4 for levels [R] >= 0 -> [R], from 0.05 up; a network of more levels reaches
    higher."""
    return LAMBDA_MIN * LAMBDA_STEP**level


@cache
def prices() -> Tensor:
    """What a bit under uniform noise counts at each table row, [64]: how fast the entropy of a
    rounded Gaussian rises along its scale, against that of the same Gaussian with noise.

    The entropies agree from a scale of 0.6 on, where a bit counts 1. At 0.15 noise asks for 0.39
    bits where rounding needs 0.01: channels that are seldom needed died of it. From there it is
    rounding that rises faster, by 1.85 at 0.28. LOWEST_PRICE keeps what is rounded to 0 everywhere
    from growing for nothing: `slopes` gives it as little reason to.
    """
    scales = torch.from_numpy(default_scales())[:, None]
    places = torch.arange(-8, 8, 1 / 32, dtype=torch.float64)  # enough for the scales up to 1
    density = torch.special.ndtr((places + 0.5) / scales) - torch.special.ndtr((places - 0.5) / scales)
    noisy = torch.special.entr(density).sum(1) / 32
    rounded = torch.special.entr(torch.from_numpy(gaussian_probabilities(default_scales()))).sum(1)
    slope = torch.gradient(rounded)[0] / torch.gradient(noisy)[0]
    slope = torch.where(scales[:, 0] < 1, slope.clamp_min(LOWEST_PRICE), 1.0)
    return torch.cat([slope[:1], slope]).float()


@cache
def slopes() -> Tensor:
    """How much of a change of an element reaches the synthesis at each table row, [64]: how fast
    E[x round(x)] of a Gaussian rises along its scale, against its E[x^2].

    Straight-through rounding says 1. But at a scale of 0.15 hardly anything survives rounding, and
    what the synthesis gets is the mean: that is what has to learn there, and an element that is told
    so shrinks or grows instead of waiting at a scale that says nothing. From 0.24 on the slope is
    more than 1, 1.27 at 0.33. LOWEST_SLOPE keeps a way back open.
    """
    scales = torch.from_numpy(default_scales())[:, None]
    bounds = torch.arange(0.5, 512, dtype=torch.float64) / scales  # between symbols, in deviations
    density = torch.exp(-0.5 * bounds.square()) / (2 * torch.pi) ** 0.5
    slope = (density * (1 + bounds.square())).sum(1) / scales[:, 0]
    return torch.cat([slope[:1], slope]).clamp_min(LOWEST_SLOPE).float()


def gaussian_bits(x: Tensor, scale: Tensor) -> Tensor:
    """-log2 of the probability that a zero-mean Gaussian gives to the unit interval round x; at
    most 30 bits each."""
    x = x.abs()
    upper = torch.special.ndtr((0.5 - x) / scale)
    lower = torch.special.ndtr((-0.5 - x) / scale)
    return -torch.log2((upper - lower).clamp_min(1e-9))


def _at(table: Tensor, index: Tensor) -> Tensor:
    return table.to(index.device)[index.detach().round().clamp(0, 63).long()]


def code_layers(
    network: CodecNetwork, features: Tensor, cells: Tensor, quality: Tensor, noisy: bool = True
) -> tuple[Tensor, Tensor, Rates]:
    """What coding does to the masked features of each row, without a file.

    features: [R, M, h, w], cells: [R, 1, h, w] in {0, 1}, quality: [R] in 1..100. Returns the
    features as decoded [R, M, h, w], their conditions [R, 2, h, w], and Rates (when `noisy`, with
    noise instead of rounding and at the price of it: right in its slope, not in its value).
    """
    height, width = cells.shape[-2:]
    level = quality_to_level(quality, network.shape.levels)
    conditions = network.conditions(cells, level)
    scaled = features * cells * network.gain(level)
    touched = F.max_pool2d(pad_to_hyper(cells), HYPER)
    z = network.hyper_analysis(pad_to_hyper(scaled), pad_to_hyper(conditions)).float() * touched
    z_rounded = straight_through(z, z.round()).clamp(-HYPER_CLAMP, HYPER_CLAMP)
    z_coded = z + torch.rand_like(z) - 0.5 if noisy else z_rounded
    with torch.autocast(z.device.type, enabled=False):
        z_mean, z_index = network.hyper_gaussian(z_rounded, touched, level)
        hyper_bits = gaussian_bits(z_coded - z_mean, index_to_scale(z_index.clamp(LOWEST_INDEX, 63))) * touched
        if noisy:
            hyper_bits = hyper_bits * _at(prices(), z_index)
        index = network.scale_index(z_rounded, level)[..., :height, :width]
    hyper = network.hyper_synthesis(z_rounded)[..., :height, :width]
    if not noisy:
        index = index.floor()
    slope = _at(slopes(), index)
    residual = torch.zeros_like(scaled, dtype=torch.float32)

    def quantise(mask: Tensor, mean: Tensor, step: Tensor) -> Tensor:
        nonlocal residual
        value = (scaled - mean) / step
        residual = torch.where(mask, value, residual)
        return straight_through(value, value.round() * (index >= 1), slope)

    decoded = network.context(hyper, conditions, cells, quantise)
    scale = index_to_scale(index.clamp(LOWEST_INDEX, 63))
    if noisy:
        bits = gaussian_bits(residual + torch.rand_like(residual) - 0.5, scale) * _at(prices(), index)
    else:
        bits = gaussian_bits(residual.round(), scale) * (index >= 1)
    rates = Rates(hyper_bits.sum((1, 2, 3)), (bits * cells).sum((1, 2, 3)))
    return decoded * network.gain.inverse(level), conditions, rates


def distortion(
    output: Tensor, pixels: Tensor, regions: Tensor, structure: float = 1.0, colour: float = 0.0
) -> Tensor:
    """D of eq. 4 in each region: 1 - MS-SSIM with a little squared error; `structure` = 0: squared
    error alone.

    colour: weight of the squared error of the cells' mean colour, their brightness taken out.
    output, pixels: [B, 3, 16h, 16w] in 0..1; regions: [B, L, 16h, 16w] in {0, 1}. Returns [B, L].
    """
    error = output - pixels
    result = MSE_WEIGHT * _mean_square(error, regions) * (1 - structure * (1 - MSE_SHARE))
    if structure > 0:
        result = result + structure * (1 - ms_ssim(output, pixels, regions, whole=True))
    if colour > 0:
        of_cells = F.avg_pool2d(error, CELL)
        of_cells = of_cells - of_cells.mean(1, keepdim=True)
        result = result + colour * _mean_square(of_cells, F.avg_pool2d(regions, CELL))
    return result


def _mean_square(error: Tensor, regions: Tensor) -> Tensor:
    """[B, 3, h, w], [B, L, h, w] in 0..1 -> [B, L]."""
    square = error.square().mean(1, keepdim=True)
    return (square * regions).sum((2, 3)) / regions.sum((2, 3)).clamp_min(1e-6)
