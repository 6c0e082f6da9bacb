"""Room 3. The networks at work on pictures: features, the integers of a layer, and back. No
training, no gradients.

Everything here is float and outside the entropy coder, except for the integers that it takes and
gives. Networks run tile by tile (`obic.tiles`) on arrays of their backend, which are laid out [B,
h, w, C].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from obic.backends import Array, Backend
from obic.constants import CELL, HYPER, HYPER_CLAMP, MAX_MAGNITUDE
from obic.entropy.layer import LayerCoder
from obic.progress import track
from obic.shape import PASSES, noise, pass_numbers, quality_to_level, relative_level
from obic.tiles import Area, tiles, times

if TYPE_CHECKING:
    from obic.weights import CodecModel

Residual = Callable[[Area, Array, Array, Array], Array]  # area, coded, mean, step -> residual, all of that area


def analyse_all(backend: Backend, pictures: Sequence[np.ndarray]) -> Array:
    """B pictures with one number of cells down and across, uint8 [H, W, 3] -> features [B, h, w,
    M], h = ceil(H/16)."""
    grid = [-(-size // CELL) for size in pictures[0].shape[:2]]
    features = backend.array(np.zeros((len(pictures), *grid, backend.shape.latent), np.float32))
    wanted = tiles(np.ones(grid, bool), backend.shape.reach.transforms, backend.tile)
    for inner, outer, crop in track("analysis", wanted):
        pixels = np.stack([_pad(rgb[times(outer, CELL)], CELL, mode="edge") for rgb in pictures])
        features[:, *inner] = backend.analysis(pixels)[:, *crop]
    return features


def encode_cells(
    model: CodecModel, features: Array, coder: LayerCoder, z: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The integers of one layer, whose cells and quality the coder has, from the features [1, h, w,
    M].

    z: a hyper-latent to use, int32 [Z, h4, w4], instead of the layer's own. Returns z int32 [Z, h4,
    w4] and the residual int32 [M, h, w], both 0 where the layer has no position.
    """
    if z is None:
        z = coder.codable(hyper_latent(model, features, coder))
    kept = model.backend.array((coder.table_rows(z) > 0).transpose(1, 2, 0)[None])
    gain = model.backend.array(model.gain(coder.quality))
    symbols = np.zeros(kept.shape, np.int32)

    def quantise(area: Area, coded: Array, mean: Array, step: Array) -> Array:
        value = ((features[:, *area] * gain - mean) / step).round().clip(-MAX_MAGNITUDE, MAX_MAGNITUDE)
        value = value * (coded * kept[:, *area])
        symbols[:, *area] += model.backend.numpy(value).astype(np.int32)
        return value

    _run_context(model.backend, z, coder, quantise)
    return z, symbols[0].transpose(2, 0, 1)


def hyper_latent(model: CodecModel, features: Array, coder: LayerCoder) -> np.ndarray:
    """A layer's hyper-latent int32 [Z, h4, w4] before `LayerCoder.codable`, 0 where no tile of the
    layer's lies."""
    backend = model.backend
    z = np.zeros((backend.shape.hyper, *coder.touched.shape), np.int32)
    gain = backend.array(model.gain(coder.quality))
    whole = layer_conditions(coder.cells, coder.quality, backend.shape.levels)
    wanted = tiles(coder.touched, backend.shape.reach.hyper_analysis, backend.tile // HYPER**2)
    for inner, outer, crop in track("hyper-analysis", wanted):
        window = times(outer, HYPER)
        conditions = backend.array(_pad(whole[window], HYPER)[None])
        scaled = backend.array(np.zeros((*conditions.shape[:3], backend.shape.latent), np.float32))
        latent = features[:, *window] * gain
        scaled[:, : latent.shape[1], : latent.shape[2]] = latent
        value = backend.numpy(backend.hyper_analysis(scaled * conditions[..., :1], conditions))[0][crop]
        z[:, *inner] = value.round().clip(-HYPER_CLAMP, HYPER_CLAMP).astype(np.int32).transpose(2, 0, 1)
    return z


def decode_cells(
    model: CodecModel, z: np.ndarray, residual: np.ndarray, coder: LayerCoder
) -> tuple[Array, Array]:
    """The inverse: the integers of a layer -> its features [1, h, w, M] and its conditions [1, h,
    w, 2].

    Both are 0 outside the layer's cells, so those of several layers add up to the whole picture's.
    """
    backend = model.backend
    symbols = backend.array(residual.transpose(1, 2, 0)[None].astype(np.float32))
    decoded = _run_context(backend, z, coder, lambda area, *_: symbols[:, *area])
    conditions = layer_conditions(coder.cells, coder.quality, backend.shape.levels)
    return decoded * backend.array(model.inverse_gain(coder.quality)), backend.array(conditions[None])


def synthesise_all(
    backend: Backend, features: Array, conditions: Array, sizes: Sequence[tuple[int, int]]
) -> list[np.ndarray]:
    """Features [B, h, w, M] and conditions [B, h, w, 2] of all cells of B pictures -> rgb uint8 [H,
    W, 3] of each.

    sizes: the height and width of each picture.
    """
    pictures = [np.empty((*size, 3), np.uint8) for size in sizes]
    grid = features.shape[1:3]
    grain = backend.array(noise(backend.grain, *grid)[None])
    wanted = tiles(np.ones(grid, bool), backend.shape.reach.transforms, backend.tile)
    for inner, outer, crop in track("synthesis", wanted):
        pixels = backend.synthesis(features[:, *outer], conditions[:, *outer], grain[:, *outer])
        for rgb, tile in zip(pictures, pixels, strict=True):
            part = rgb[times(inner, CELL)]  # ends with the picture, the pixels with a whole cell
            part[:] = tile[times(crop, CELL)][: part.shape[0], : part.shape[1]]
    return pictures


def layer_conditions(cells: np.ndarray, quality: int, levels: int) -> np.ndarray:
    """Presence and level of each cell of a layer, float32 [h, w, 2] (spec 8.1): cells bool [h, w],
    quality 1..100."""
    level = relative_level(quality_to_level(quality, levels), levels)
    return cells[..., None] * np.array([1, level], np.float32)


def hyper_features(backend: Backend, z: np.ndarray, height: int, width: int) -> Array:
    """The coded hyper-latent int32 [Z, h4, w4] -> features for the context [1, h, w, C]."""
    coded = backend.array(z.clip(-HYPER_CLAMP, HYPER_CLAMP).astype(np.float32).transpose(1, 2, 0)[None])
    h4, w4 = z.shape[1:]
    features = backend.array(np.zeros((1, HYPER * h4, HYPER * w4, backend.shape.context // 2), np.float32))
    wanted = tiles(np.ones((h4, w4), bool), backend.shape.reach.hyper_synthesis, backend.tile // HYPER**2)
    for inner, outer, crop in track("hyper-synthesis", wanted):
        features[:, *times(inner, HYPER)] = backend.hyper_synthesis(coded[:, *outer])[:, *times(crop, HYPER)]
    return features[:, :height, :width]


def _run_context(backend: Backend, z: np.ndarray, coder: LayerCoder, residual: Residual) -> Array:
    """The decoded latent [1, h, w, M] in four passes (spec 8.2), on the windows round the layer's
    cells alone."""
    shape, cells = backend.shape, coder.cells
    decoded = backend.array(np.zeros((1, *cells.shape, shape.latent), np.float32))
    height, width = cells.shape
    hyper = hyper_features(backend, z, height, width)
    conditions = backend.array(layer_conditions(cells, coder.quality, shape.levels)[None])
    # They start at an even row and column, as `pass_numbers` does.
    wanted = tiles(cells, shape.reach.context, backend.tile)
    for number, (inner, outer, crop) in track("context", [(n, tile) for n in range(PASSES) for tile in wanted]):
        around = decoded[:, *outer]
        passes = backend.array(pass_numbers(shape.latent, *around.shape[1:3])[None])
        known = around * (passes < number)  # a tile before this one has more already
        mean, step = backend.context(number, known, hyper[:, *outer], conditions[:, *outer])
        coded = ((passes == number) * conditions[:, *outer, :1])[:, *crop]
        mean, step = mean[:, *crop], step[:, *crop]
        decoded[:, *inner] += coded * (mean + step * residual(inner, coded, mean, step))
    return decoded


def _pad(values: np.ndarray, multiple: int, mode: Literal["constant", "edge"] = "constant") -> np.ndarray:
    """Rows and columns below and to the right, up to a multiple of so many: zeros, or the last ones
    again."""
    height, width = values.shape[:2]
    return np.pad(values, ((0, -height % multiple), (0, -width % multiple), (0, 0)), mode)
