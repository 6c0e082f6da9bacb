"""Fits the tables of the entropy model to what a trained network really codes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from obic import inference
from obic.backends import Array
from obic.constants import ESCAPE, MAX_QUALITY, MAX_SYMBOL, TABLE_ROWS, TABLE_SYMBOLS
from obic.entropy.layer import LayerCoder
from obic.entropy.tables import Tables, gaussian_probabilities, gaussian_tables, tables_from_probabilities
from obic.nn.hyper_networks import index_to_scale
from obic.train.codec.crops import Batches
from obic.weights import CodecModel

PRIOR_COUNT = 64.0  # symbols' worth of belief in the Gaussian when a row of the tables is fitted


class CodedLayer(NamedTuple):
    """z int32 [Z, h4, w4] of a layer, where it has positions (touched, bool [h4, w4]), and at its
    cells alone the residual int32 [M, m] and its table rows uint8 [M, m]."""

    quality: int
    z: np.ndarray
    touched: np.ndarray
    residual: np.ndarray
    rows: np.ndarray


def coded_layers(model: CodecModel, batches: Batches, crops: int) -> Iterator[CodedLayer]:
    """Layers of random crops at random qualities."""
    for features, cells in layers_of_crops(model, batches, crops):
        yield _coded_layer(model, features, cells, batches.random.randint(1, MAX_QUALITY))


def _coded_layer(model: CodecModel, features: Array, cells: np.ndarray, quality: int) -> CodedLayer:
    coder = LayerCoder(model.entropy, cells, quality)
    z, residual = inference.encode_cells(model, features, coder)
    return CodedLayer(quality, z, coder.touched, residual[:, cells], coder.table_rows(z)[:, cells])


def layers_of_crops(model: CodecModel, batches: Batches, crops: int) -> Iterator[tuple[Array, np.ndarray]]:
    """Features [1, h, w, M] of random crops, with the cells of each of their layers, bool [h,
    w]."""
    for _ in range(crops):
        pixels, labels = batches.draw()
        features = inference.analyse_all(model.backend, [(pixels[0] * 255).byte().permute(1, 2, 0).numpy()])
        for label in (0, 1):
            cells = (labels[0] == label).numpy()
            if cells.any():
                yield features, cells


def _row_scales() -> np.ndarray:
    """The mean scale of what rows 1..63 code: indices are rounded down, so half a row above their
    own."""
    return index_to_scale(torch.arange(1, TABLE_ROWS) + 0.5).double().numpy()


GAUSSIAN_ROWS = gaussian_probabilities(_row_scales())


def count_symbols(model: CodecModel, batches: Batches, crops: int) -> np.ndarray:
    """How often each row of the tables codes each symbol: float64 [64, 130]."""
    counts = np.zeros((TABLE_ROWS, TABLE_SYMBOLS))
    for layer in coded_layers(model, batches, crops):
        coded = [(layer.residual, layer.rows)]
        for places, mean, rows in model.entropy.hyper_prior.passes(layer.z, layer.touched, layer.quality):
            coded.append((layer.z[:, *places] - mean, np.broadcast_to(rows[:, None], mean.shape)))
        for values, rows in coded:
            symbols = np.where(np.abs(values) > MAX_SYMBOL, ESCAPE, values) + MAX_SYMBOL
            np.add.at(counts, (rows, symbols), 1)
    return counts


def fitted_tables(counts: np.ndarray) -> Tables:
    """Rows fitted to symmetrised counts, with a Gaussian of the row's mean scale and a broad tail
    as the prior."""
    broad = np.exp(-math.sqrt(2) * np.abs(np.arange(-MAX_SYMBOL, MAX_SYMBOL + 2)) / _row_scales()[:, None])
    prior = 0.97 * GAUSSIAN_ROWS + 0.03 * broad / broad.sum(1, keepdims=True)
    prior[:, -1] = np.maximum(prior[:, -1], 1e-6)
    seen = counts[1:].copy()
    seen[:, :-1] = (seen[:, :-1] + seen[:, -2::-1]) / 2
    rows = tables_from_probabilities(seen + PRIOR_COUNT * prior)
    return Tables(np.concatenate([gaussian_tables().counts[:1], rows]))
