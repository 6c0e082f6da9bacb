"""Fits the entropy model's integers to what a trained network really codes: the prior of z, and the tables."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from obic.constants import ESCAPE, HYPER_CLAMP, MAX_QUALITY, MAX_SYMBOL, TABLE_ROWS, TABLE_SYMBOLS
from obic.entropy.layer import hyper_cells
from obic.entropy.tables import (
    HyperPrior,
    Tables,
    gaussian_probabilities,
    gaussian_tables,
    tables_from_probabilities,
)
from obic.nn import inference
from obic.nn.hyperprior import index_to_scale
from obic.train.crops import Batches
from obic.weights import CodecModel

PRIOR_COUNT = 64.0  # symbols' worth of belief in the Gaussian when a row of the tables is fitted
RARE = 3e-4  # a channel of z that leaves its offset less often than this is not coded
ANCHORS = np.linspace(1, MAX_QUALITY, 8)  # qualities at which the prior of z is fitted; between them it is interpolated


def coded_layers(model: CodecModel, batches: Batches, crops: int) -> Iterator[tuple[int, np.ndarray, ...]]:
    """Layers of random crops at random qualities: quality, z int32 [Z, n], residual int32 [M, m] and its table rows
    [M, m], at the layer's positions alone."""
    for _ in range(crops):
        pixels, labels = batches.draw()
        features = inference.analyse(model.network, (pixels[0] * 255).byte().permute(1, 2, 0).numpy())
        for label in (0, 1):
            cells = (labels[0] == label).numpy()
            if cells.any():
                yield _coded_layer(model, features, cells, batches.random.randint(1, MAX_QUALITY))


def _coded_layer(model: CodecModel, features: torch.Tensor, cells: np.ndarray, quality: int):
    z, residual = inference.encode_cells(
        model.network, features, cells, quality, model.hyper_prior, lambda z: model.scale_map.index(z, quality)
    )
    rows = model.scale_map.index(z, quality)[:, : cells.shape[0], : cells.shape[1]]
    return quality, z[:, hyper_cells(cells)], residual[:, cells], rows[:, cells]


@torch.inference_mode()
def fitted_hyper_prior(model: CodecModel, batches: Batches, crops: int) -> HyperPrior:
    """Offset: each channel's mean at the quality, rounded. Row: the cheapest for what is left.

    model: its prior must skip no channel. A crop counts for the two anchors round its quality, by nearness.
    """
    channels = model.scale_map.hyper_channels
    counts = np.zeros((len(ANCHORS), channels, 2 * HYPER_CLAMP + 1))
    for quality, z, _, _ in coded_layers(model, batches, crops):
        place = np.interp(quality, ANCHORS, np.arange(len(ANCHORS)))
        low = min(int(place), len(ANCHORS) - 2)
        for channel in range(channels):
            seen = np.bincount(z[channel] + HYPER_CLAMP, minlength=counts.shape[2])
            counts[low, channel] += (low + 1 - place) * seen
            counts[low + 1, channel] += (place - low) * seen
    values = np.arange(-HYPER_CLAMP, HYPER_CLAMP + 1)
    mean = (counts * values).sum(2) / counts.sum(2)
    rows = np.array([[_cheapest_row(histogram) for histogram in anchor] for anchor in counts])
    qualities = np.arange(1, MAX_QUALITY + 1)
    offset, index = (
        np.stack([np.interp(qualities, ANCHORS, table[:, channel]) for channel in range(channels)], 1)
        for table in (mean, rows)
    )
    return HyperPrior(np.rint(index).astype(int), np.rint(offset).astype(int))


def _cheapest_row(histogram: np.ndarray) -> int:
    """The row of the Gaussian tables that codes a histogram over -127..127 round its mean in the fewest bits."""
    values = np.arange(-HYPER_CLAMP, HYPER_CLAMP + 1)
    offset = int(np.rint((histogram * values).sum() / histogram.sum()))
    if histogram[values != offset].sum() < RARE * histogram.sum():
        return 0
    symbols = np.clip(values - offset, -MAX_SYMBOL, MAX_SYMBOL) + MAX_SYMBOL
    bits = -np.log2(np.maximum(_GAUSSIAN_ROWS[:, symbols], 1e-7))
    return 1 + int((bits @ histogram).argmin())


def _row_scales() -> np.ndarray:
    """The mean scale of what rows 1..63 code: indices are rounded down, so half a row above their own."""
    return index_to_scale(torch.arange(1, TABLE_ROWS) + 0.5).double().numpy()


_GAUSSIAN_ROWS = gaussian_probabilities(_row_scales())


@torch.inference_mode()
def count_symbols(model: CodecModel, batches: Batches, crops: int) -> np.ndarray:
    """How often each row of the tables codes each symbol: float64 [64, 130]."""
    counts = np.zeros((TABLE_ROWS, TABLE_SYMBOLS))
    for quality, z, residual, rows in coded_layers(model, batches, crops):
        index, offset = (table[quality - 1][:, None] for table in (model.hyper_prior.index, model.hyper_prior.offset))
        for values, row in ((z - offset, np.broadcast_to(index, z.shape)), (residual, rows)):
            symbols = np.where(np.abs(values) > MAX_SYMBOL, ESCAPE, values) + MAX_SYMBOL
            np.add.at(counts, (row, symbols), 1)
    return counts


def fitted_tables(counts: np.ndarray) -> Tables:
    """Rows fitted to symmetrised counts, with a Gaussian of the row's mean scale and a broad tail as the prior."""
    broad = np.exp(-math.sqrt(2) * np.abs(np.arange(-MAX_SYMBOL, MAX_SYMBOL + 2)) / _row_scales()[:, None])
    prior = 0.97 * _GAUSSIAN_ROWS + 0.03 * broad / broad.sum(1, keepdims=True)
    prior[:, -1] = np.maximum(prior[:, -1], 1e-6)
    seen = counts[1:].copy()
    seen[:, :-1] = (seen[:, :-1] + seen[:, -2::-1]) / 2
    rows = tables_from_probabilities(seen + PRIOR_COUNT * prior)
    return Tables(np.concatenate([gaussian_tables().counts[:1], rows]))
