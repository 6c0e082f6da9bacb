"""Room 3. `--effort`: a latent optimised for its own picture, by gradient descent on eq. 4 of
LearntOBIC.

The analysis transform gives a good latent in one pass; this looks for a better one near it.
Rounding is made soft and random, and harder with every step (stochastic Gumbel annealing: Yang,
Bamler and Mandt 2020, "Improving inference for neural image compression", section 3.2). The
hyper-latents stay as they are, and so do the table rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from obic.backends.torch_backend import TorchBackend
from obic.constants import CELL
from obic.entropy.layer import LayerCoder
from obic.errors import UsageError
from obic.inference import hyper_features, hyper_latent
from obic.nn.hyper_networks import index_to_scale
from obic.nn.model import CodecNetwork, pad_to_cells
from obic.nn.rate_distortion import distortion, distortion_weight, gaussian_bits
from obic.progress import track
from obic.shape import quality_to_level
from obic.tiles import Area, tiles, times
from obic.weights import CodecModel

TILE = 48 * 48  # the most cells of a tile, 768 x 768 pixels: 2 GB at work with gradients
TILE_MARGIN = 8  # cells round a tile that take part, so that its border is not optimised for a picture's end
STEP_SIZE = 0.005  # of the latent, whose unit is a step of the quantiser
STEP_DAMPING = 0.3  # of the root mean square of all gradients: elements that hardly matter hardly move
MOMENTUM, POWER = 0.9, 0.99
TINY = 1e-12  # where no gradient is left nothing moves
HOT, COLD = 0.3, 0.025  # temperatures of rounding at the first and the last step


class _Rows(NamedTuple):
    """The layers of a picture, or of a tile of it, one a row: [L, ..., h, w]; level, weight
    (lambda): [L]."""

    level: Tensor
    weight: Tensor
    cells: Tensor
    conditions: Tensor
    hyper: Tensor
    table_rows: Tensor

    def cropped(self, area: Area) -> _Rows:
        return _Rows(self.level, self.weight, *(maps[..., *area] for maps in self[2:]))


def refine(
    model: CodecModel, rgb: np.ndarray, features: Tensor, coders: Sequence[LayerCoder], steps: int
) -> Tensor:
    """Better features [1, h, w, M] for these layers at their qualities, from those of the analysis
    transform.

    model: with PyTorch's backend. rgb: uint8 [H, W, 3]. steps: at least 1. Gives the same every
    time. A step takes about four times as long as decoding. Raises UsageError for another backend.
    """
    backend = model.backend
    if not isinstance(backend, TorchBackend):
        raise UsageError("a latent is refined with PyTorch's gradients; load the model with backend='torch'")
    network, start = backend.network, features.permute(0, 3, 1, 2)
    rows = _rows(model, network, features, coders)
    generator = torch.Generator(features.device).manual_seed(0)
    refined = start.clone()
    wanted = tiles(np.ones(start.shape[-2:], bool), TILE_MARGIN, TILE)
    shares = track("refinement", [step / steps for _ in wanted for step in range(steps)])
    for inner, outer, crop in wanted:
        pixels = torch.tensor(rgb[times(outer, CELL)], device=features.device).permute(2, 0, 1)[None]
        pixels = pad_to_cells(pixels.float() / 255)
        schedule = islice(shares, steps)
        better = _refined_tile(network, pixels, refined[..., *outer], rows.cropped(outer), schedule, generator)
        refined[..., *inner] = better[..., *crop]
    next(shares, None)  # tells of the last step
    return refined.permute(0, 2, 3, 1)


def _refined_tile(
    network: CodecNetwork, pixels: Tensor, start: Tensor, rows: _Rows, schedule: Iterable[float],
    generator: torch.Generator,
) -> Tensor:
    """`refine` for one tile. schedule: the share of the steps that lies behind, before each of
    them."""
    change, momentum, power = (torch.zeros_like(start) for _ in range(3))
    for count, share in enumerate(schedule, 1):
        with torch.enable_grad():
            change.requires_grad_()
            temperature = HOT * (COLD / HOT) ** share
            loss = _loss(network, pixels, start, change, rows, temperature, generator)
            (gradient,) = torch.autograd.grad(loss, change)
        change = change.detach()
        momentum.lerp_(gradient, 1 - MOMENTUM)
        power.lerp_(gradient.square(), 1 - POWER)
        damping = STEP_DAMPING * gradient.square().mean().sqrt()
        size = STEP_SIZE * (1 - 0.9 * share) / (1 - MOMENTUM**count)
        usual = (power / (1 - POWER**count)).sqrt() + damping
        change -= size * momentum / usual.clamp_min(TINY)
    return start + (change * rows.cells / network.gain(rows.level)).sum(0, keepdim=True)


def _rows(
    model: CodecModel, network: CodecNetwork, features: Tensor, coders: Sequence[LayerCoder]
) -> _Rows:
    backend, device = model.backend, features.device
    hyper, table_rows = [], []
    for coder in coders:
        z = coder.codable(hyper_latent(model, features, coder))
        hyper.append(hyper_features(backend, z, *coder.cells.shape).permute(0, 3, 1, 2))
        table_rows.append(coder.table_rows(z))
    quality = torch.tensor([float(coder.quality) for coder in coders], device=device)
    level = quality_to_level(quality, backend.shape.levels)
    cells = torch.from_numpy(np.stack([coder.cells for coder in coders])[:, None]).to(device).float()
    rows = torch.from_numpy(np.stack(table_rows)).to(device)
    return _Rows(
        level, distortion_weight(level), cells, network.conditions(cells, level), torch.cat(hyper), rows
    )


def _loss(
    network: CodecNetwork, pixels: Tensor, start: Tensor, change: Tensor, rows: _Rows,
    temperature: float, generator: torch.Generator,
) -> Tensor:
    """Eq. 4 for features `start`, changed by `change` where the quantiser sees them."""
    scaled = (start * network.gain(rows.level) + change) * rows.cells
    coded = torch.zeros_like(scaled)

    def quantise(mask: Tensor, mean: Tensor, step: Tensor) -> Tensor:
        nonlocal coded
        value = _rounded((scaled - mean) / step, temperature, generator) * (rows.table_rows > 0)
        coded = torch.where(mask, value, coded)
        return value

    decoded = network.context(rows.hyper, rows.conditions, rows.cells, quantise) * network.gain.inverse(rows.level)
    output = network.synthesis(decoded.sum(0, keepdim=True), rows.conditions.sum(0, keepdim=True)) + 0.5
    scale = index_to_scale(rows.table_rows + 0.5)  # rows are rounded down
    bits = (gaussian_bits(coded, scale) * (rows.table_rows > 0) * rows.cells).sum()
    lost = distortion(output, pixels, F.interpolate(rows.cells[:, 0][None], scale_factor=CELL))[0]
    return (rows.weight * rows.cells.mean((1, 2, 3)) * lost).sum() + bits / pixels[0, 0].numel()


def _rounded(value: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Between the integers next to a value: the nearer one, the more surely the colder it is (SGA,
    eq. 12)."""
    below = value.detach().floor()
    share = (value - below).clamp(1e-4, 1 - 1e-4)
    noise = torch.rand(value.shape, generator=generator, device=value.device).clamp(1e-6, 1 - 1e-6).logit()
    lead = (torch.atanh(share) - torch.atanh(1 - share)) / temperature
    return below + torch.sigmoid((lead + noise) / temperature)
