"""The networks at work on one picture: features, the integers of a layer, and back. No training, no gradients.

Everything here is float and lies outside the entropy coder, except that the integers it takes and gives are what is
coded. The table indices come from `obic.entropy.scale_map` and are exact.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from obic.constants import HYPER_CLAMP, MAX_MAGNITUDE
from obic.entropy.layer import hyper_cells
from obic.entropy.tables import HyperPrior
from obic.nn.model import CodecNetwork, pad_to_cells, pad_to_hyper, quality_to_level

TableIndex = Callable[[np.ndarray], np.ndarray]
Window = tuple[slice, slice, slice, slice]


def analyse(network: CodecNetwork, rgb: np.ndarray) -> Tensor:
    """rgb: uint8 [H, W, 3] -> features float32 [1, M, h, w], h = ceil(H/16)."""
    pixels = torch.tensor(rgb, device=_device(network))
    pixels = pixels.permute(2, 0, 1)[None].float() / 255 - 0.5
    return network.analysis(pad_to_cells(pixels))


def encode_cells(
    network: CodecNetwork,
    features: Tensor,
    cells: np.ndarray,
    quality: int,
    hyper_prior: HyperPrior,
    table_index: TableIndex,
) -> tuple[np.ndarray, np.ndarray]:
    """The integers of one layer.

    features: float [1, M, h, w]; cells: bool [h, w], the layer's; quality: 1..100; table_index: z int32 [Z, h4, w4]
    -> uint8 [M, 4*h4, 4*w4], that of each residual. What has index 0 is not coded: z is the prior's offset there, the
    residual 0. Returns z int32 [Z, h4, w4] and the residual int32 [M, h, w], both 0 where the layer has no position.
    """
    layer, level, conditions = _layer(network, cells, quality)
    scaled = features * layer * network.gain(level)
    z = network.hyper_analysis(pad_to_hyper(scaled), pad_to_hyper(conditions))
    z = z[0].round().clamp(-HYPER_CLAMP, HYPER_CLAMP).to(torch.int32).cpu().numpy()
    index, offset = (rows[quality - 1][:, None, None] for rows in (hyper_prior.index, hyper_prior.offset))
    z = np.where(index > 0, z, offset) * hyper_cells(cells)
    height, width = cells.shape
    coded = torch.from_numpy(table_index(z)[:, :height, :width] > 0).to(features.device) & layer[0].bool()
    symbols = torch.zeros_like(features)

    def quantise(window: Window, mask: Tensor, mean: Tensor, step: Tensor) -> Tensor:
        value = ((scaled[window] - mean) / step).round().clamp(-MAX_MAGNITUDE, MAX_MAGNITUDE)
        value = value * (mask & coded[window[1:]])
        symbols[window] += value
        return value

    _run_context(network, z, layer, conditions, quantise)
    return z, symbols[0].to(torch.int32).cpu().numpy()


def decode_cells(
    network: CodecNetwork, z: np.ndarray, residual: np.ndarray, cells: np.ndarray, quality: int
) -> tuple[Tensor, Tensor]:
    """The inverse: the integers of a layer -> its features [1, M, h, w] and its conditions [1, 2, h, w].

    Both are 0 outside the layer's cells, so those of several layers add up to the whole picture's.
    """
    layer, level, conditions = _layer(network, cells, quality)
    symbols = torch.from_numpy(residual).to(layer.device).float()[None]
    decoded = _run_context(network, z, layer, conditions, lambda window, *_: symbols[window])
    return decoded * network.gain.inverse(level), conditions


def synthesise(network: CodecNetwork, features: Tensor, conditions: Tensor, height: int, width: int) -> np.ndarray:
    """Features and conditions of all cells -> rgb uint8 [H, W, 3]."""
    pixels = network.synthesis(features, conditions)[0, :, :height, :width].float() + 0.5
    return (pixels * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def _layer(network: CodecNetwork, cells: np.ndarray, quality: int) -> tuple[Tensor, Tensor, Tensor]:
    device = _device(network)
    layer = torch.from_numpy(np.ascontiguousarray(cells)).to(device).float()[None, None]
    level = quality_to_level(torch.tensor([float(quality)], device=device), network.shape.levels)
    return layer, level, network.conditions(layer, level)


def _run_context(network: CodecNetwork, z: np.ndarray, layer: Tensor, conditions: Tensor, residual) -> Tensor:
    """The decoded latent [1, M, h, w]; the context network runs on the window round the layer's cells alone."""
    height, width = layer.shape[-2:]
    decoded = torch.zeros(1, network.shape.latent, height, width, device=layer.device)
    if not layer.any():
        return decoded
    coded = torch.from_numpy(z).to(layer.device).float().clamp(-HYPER_CLAMP, HYPER_CLAMP)[None]
    hyper = network.hyper_synthesis(coded)[..., :height, :width]
    window = _window(layer, network.context.reach)
    decoded[window] = network.context(
        hyper[window], conditions[window], layer[window], lambda *pass_: residual(window, *pass_)
    )
    return decoded


def _window(layer: Tensor, reach: int) -> Window:
    """The smallest window of a map [1, C, h, w] that gives the layer's cells the context the whole map would:
    `reach` cells round them, from an even row and column on."""
    rows, columns = (layer[0, 0].any(axis).nonzero()[:, 0] for axis in (1, 0))
    spans = (
        slice(max(0, int(span[0]) - reach) // 2 * 2, int(span[-1]) + 1 + reach) for span in (rows, columns)
    )
    return (slice(None), slice(None), *spans)


def _device(network: CodecNetwork) -> torch.device:
    return network.gain.log_inverse.device
