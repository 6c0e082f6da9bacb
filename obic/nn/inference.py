"""The networks at work on one picture: features, the integers of a layer, and back. No training, no gradients.

Everything here is float and lies outside the entropy coder, except that the integers it takes and gives are what is
coded. The table indices come from `obic.entropy.scale_map` and are exact. Networks run tile by tile (`obic.nn.tiles`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from obic.constants import CELL, HYPER, HYPER_CLAMP, MAX_MAGNITUDE
from obic.entropy.hyper_prior import HyperPrior
from obic.entropy.layer import hyper_cells
from obic.nn.blocks import reach
from obic.nn.context import PASSES, pass_masks
from obic.nn.model import CodecNetwork, noise, pad_to_cells, pad_to_hyper, quality_to_level
from obic.nn.tiles import SIDE, Area, tiles, times
from obic.progress import track

TableIndex = Callable[[np.ndarray], np.ndarray]
Residual = Callable[[Area, Tensor, Tensor, Tensor], Tensor]  # area, coded, mean, step -> residual, all of that area


def prepare(network: CodecNetwork) -> None:
    """Lets the convolutions of a loaded network be computed as fast as they can. It changes nothing but rounding.

    Channels last, a 1x1 convolution is a product of matrices as they lie. With a single thread PyTorch gives oneDNN
    only those with a stride or a dilation and all others to a BLAS, which takes twice as long: so 1x1 kernels, for
    which a dilation means nothing, get one.
    """
    network.to(memory_format=torch.channels_last)
    if _device(network).type == "cpu" and torch.backends.mkldnn.is_available():
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
                module.dilation = (2, 2)


def analyse(network: CodecNetwork, rgb: np.ndarray, side: int = SIDE) -> Tensor:
    """rgb: uint8 [H, W, 3] -> features float32 [1, M, h, w], h = ceil(H/16). side: of a tile, in cells."""
    return analyse_all(network, [rgb], side)


def analyse_all(network: CodecNetwork, pictures: Sequence[np.ndarray], side: int = SIDE) -> Tensor:
    """`analyse` for B pictures with one number of cells down and across, together -> [B, M, h, w]."""
    grid = [-(-size // CELL) for size in pictures[0].shape[:2]]
    features = torch.zeros(len(pictures), network.shape.latent, *grid, device=_device(network))
    for inner, outer, crop in track("analysis", tiles(np.ones(grid, bool), reach(network.analysis), side)):
        area = times(outer, CELL)
        pixels = [torch.tensor(rgb[area], device=features.device).permute(2, 0, 1)[None] for rgb in pictures]
        pixels = torch.cat([pad_to_cells(part.float() / 255 - 0.5) for part in pixels])
        features[..., *inner] = network.analysis(pixels)[..., *crop]
    return features


def encode_cells(
    network: CodecNetwork,
    features: Tensor,
    cells: np.ndarray,
    quality: int,
    hyper_prior: HyperPrior,
    table_index: TableIndex,
    side: int = SIDE,
    z: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The integers of one layer.

    features: float [1, M, h, w]; cells: bool [h, w], the layer's; quality: 1..100; table_index: z int32 [Z, h4, w4]
    -> uint8 [M, 4*h4, 4*w4], that of each residual. What has index 0 is not coded: z is the prior's mean there, the
    residual 0. z: a hyper-latent to use, int32 [Z, h4, w4], instead of the layer's own. Returns z int32 [Z, h4, w4] and
    the residual int32 [M, h, w], both 0 where the layer has no position.
    """
    layer = _layer(network, cells, quality)
    if z is None:
        z = hyper_prior.settled(_hyper_latent(network, features, layer, side), hyper_cells(cells), quality)
    height, width = cells.shape
    skipped = torch.from_numpy(table_index(z)[None, :, :height, :width] == 0).to(features.device)
    symbols = torch.zeros(features.shape, dtype=torch.int32, device=features.device)
    gain = network.gain(layer.level)

    def quantise(area: Area, coded: Tensor, mean: Tensor, step: Tensor) -> Tensor:
        value = ((features[..., *area] * gain - mean) / step).round().clamp(-MAX_MAGNITUDE, MAX_MAGNITUDE)
        value = (value * coded).masked_fill(skipped[..., *area], 0)
        symbols[..., *area] += value.to(torch.int32)
        return value

    _run_context(network, z, layer, quantise, side)
    return z, symbols[0].cpu().numpy()


def hyper_latent(
    network: CodecNetwork, features: Tensor, cells: np.ndarray, quality: int, side: int = SIDE
) -> np.ndarray:
    """A layer's hyper-latent int32 [Z, h4, w4], 0 where it has no position; arguments as in `encode_cells`."""
    return _hyper_latent(network, features, _layer(network, cells, quality), side)


def decode_cells(
    network: CodecNetwork, z: np.ndarray, residual: np.ndarray, cells: np.ndarray, quality: int, side: int = SIDE
) -> tuple[Tensor, Tensor]:
    """The inverse: the integers of a layer -> its features [1, M, h, w] and its conditions [1, 2, h, w].

    Both are 0 outside the layer's cells, so those of several layers add up to the whole picture's.
    """
    layer = _layer(network, cells, quality)
    symbols = torch.from_numpy(residual).to(layer.conditions.device)[None]
    decoded = _run_context(network, z, layer, lambda area, *_: symbols[..., *area].float(), side)
    return decoded.mul_(network.gain.inverse(layer.level)), layer.conditions


def synthesise(
    network: CodecNetwork, features: Tensor, conditions: Tensor, height: int, width: int, side: int = SIDE
) -> np.ndarray:
    """Features and conditions of all cells -> rgb uint8 [H, W, 3]."""
    return synthesise_all(network, features, conditions, [(height, width)], side)[0]


def synthesise_all(
    network: CodecNetwork, features: Tensor, conditions: Tensor, sizes: Sequence[tuple[int, int]], side: int = SIDE
) -> list[np.ndarray]:
    """`synthesise` for B pictures together. sizes: the height and width of each."""
    pictures = [np.empty((*size, 3), np.uint8) for size in sizes]
    everywhere = np.ones(features.shape[-2:], bool)
    if network.synthesis.grain:
        grain = noise(network.synthesis.grain, *features.shape[-2:]).to(features)
        conditions = torch.cat([conditions, grain.expand(len(features), -1, -1, -1)], 1)
    for inner, outer, crop in track("synthesis", tiles(everywhere, reach(network.synthesis), side)):
        pixels = network.synthesis(features[..., *outer], conditions[..., *outer])[..., *times(crop, CELL)]
        pixels = ((pixels.float() + 0.5) * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        for rgb, tile in zip(pictures, pixels, strict=True):
            part = rgb[times(inner, CELL)]  # ends with the picture, the pixels with a whole cell
            part[:] = tile[: part.shape[0], : part.shape[1]]
    return pictures


class _Layer(NamedTuple):
    """A layer as the networks see it: where it is, bool [h, w], its level [1], its conditions [1, 2, h, w]."""

    cells: np.ndarray
    level: Tensor
    conditions: Tensor


def _layer(network: CodecNetwork, cells: np.ndarray, quality: int) -> _Layer:
    device = _device(network)
    present = torch.from_numpy(np.ascontiguousarray(cells)).to(device).float()[None, None]
    level = quality_to_level(torch.tensor([float(quality)], device=device), network.shape.levels)
    return _Layer(cells, level, network.conditions(present, level))


def _hyper_latent(network: CodecNetwork, features: Tensor, layer: _Layer, side: int) -> np.ndarray:
    """The layer's hyper-latent int32 [Z, h4, w4], where the layer has positions."""
    touched = hyper_cells(layer.cells)
    z = np.zeros((network.shape.hyper, *touched.shape), np.int32)
    gain = network.gain(layer.level)
    wanted = tiles(touched, reach(network.hyper_analysis), max(2, side // HYPER))
    for inner, outer, crop in track("hyper-analysis", wanted):
        window = (..., *times(outer, HYPER))
        conditions = layer.conditions[window]
        scaled = features[window] * conditions[:, :1] * gain
        value = network.hyper_analysis(pad_to_hyper(scaled), pad_to_hyper(conditions))[0, :, *crop]
        z[:, *inner] = value.round().clamp(-HYPER_CLAMP, HYPER_CLAMP).to(torch.int32).cpu().numpy()
    return z


def hyper_features(network: CodecNetwork, z: np.ndarray, height: int, width: int, side: int = SIDE) -> Tensor:
    """The coded hyper-latent int32 [Z, h4, w4] -> float features [1, C, h, w]."""
    coded = torch.from_numpy(z).to(_device(network)).float().clamp(-HYPER_CLAMP, HYPER_CLAMP)[None]
    h4, w4 = z.shape[1:]
    features = torch.empty(1, network.shape.context // 2, HYPER * h4, HYPER * w4, device=coded.device)
    wanted = tiles(np.ones((h4, w4), bool), reach(network.hyper_synthesis), max(2, side // HYPER))
    for inner, outer, crop in track("hyper-synthesis", wanted):
        features[..., *times(inner, HYPER)] = network.hyper_synthesis(coded[..., *outer])[..., *times(crop, HYPER)]
    return features[..., :height, :width]


def _run_context(network: CodecNetwork, z: np.ndarray, layer: _Layer, residual: Residual, side: int) -> Tensor:
    """The decoded latent [1, M, h, w]; the context network runs on the windows round the layer's cells alone."""
    context, (height, width) = network.context, layer.cells.shape
    decoded = torch.zeros(1, network.shape.latent, height, width, device=layer.conditions.device)
    wanted = tiles(layer.cells, context.reach, side)
    hyper = hyper_features(network, z, height, width, side)
    for number, (inner, outer, crop) in track("context", [(n, tile) for n in range(PASSES) for tile in wanted]):
        conditions = layer.conditions[..., *outer]
        masks = pass_masks(network.shape.latent, *conditions.shape[-2:], decoded.device)
        known = decoded[..., *outer] * masks[:number].any(0)  # a tile before this one has more already
        mean, step = context.parameters_of_pass(number, known, hyper[..., *outer], conditions)
        mean, step, coded = (x[..., *crop] for x in (mean, step, masks[number] * conditions[:, :1]))
        decoded[..., *inner] += coded * (mean + step * residual(inner, coded, mean, step))
    return decoded


def _device(network: CodecNetwork) -> torch.device:
    return network.gain.log_inverse.device
