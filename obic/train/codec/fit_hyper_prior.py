"""Fits the prior of z, which is made of integers, to the hyper-latents of a trained network (spec
5.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from obic import inference
from obic.constants import HYPER_CLAMP, HYPER_ORDER, MAX_QUALITY, MAX_SYMBOL
from obic.entropy.hyper_prior import HyperPrior, neighbours, pass_places, record_deviations
from obic.entropy.layer import LayerCoder
from obic.train.codec.crops import Batches
from obic.train.codec.fit_tables import GAUSSIAN_ROWS, layers_of_crops
from obic.weights import CodecModel

ANCHOR_QUALITIES = np.linspace(1, MAX_QUALITY, 8)  # qualities at which it is fitted; between them it is interpolated
DRAWS = 4  # qualities of each layer
RARE = 3e-4  # a channel that leaves its mean less often than this is not coded
RIDGE = 300.0  # of the regression; samples are scaled to a variance of about 1
CONTEXT_SHIFT = 10


class HyperLatent(NamedTuple):
    """z int32 [Z, h4, w4] of a layer at a quality, where it has positions (touched, bool [h4,
    w4])."""

    quality: int
    z: np.ndarray
    touched: np.ndarray


def hyper_latents(model: CodecModel, batches: Batches, crops: int) -> Iterator[HyperLatent]:
    """Those of the layers of random crops, at random qualities."""
    for features, cells in layers_of_crops(model, batches, crops):
        for _ in range(DRAWS):
            quality = batches.random.randint(1, MAX_QUALITY)
            coder = LayerCoder(model.entropy, cells, quality)
            yield HyperLatent(quality, inference.hyper_latent(model, features, coder), coder.touched)


def fitted_hyper_prior(model: CodecModel, batches: Batches, crops: int) -> HyperPrior:
    """Offset: each channel's mean at the quality. Weights: a linear regression of what is left on
    the neighbours. Table row: the cheapest, in each pass and at each quality, for what is then
    left. batches: large crops, or most positions lie at a border."""
    latents = list(hyper_latents(model, batches, crops))
    offset = np.rint(_at_qualities(_anchor_means(latents, lambda each: each.z[:, each.touched]))).astype(int)
    weight = np.rint(_regression(latents, offset) * 2**CONTEXT_SHIFT).astype(int)
    uncoded = np.zeros((len(HYPER_ORDER), *offset.shape), int)
    rows = _cheapest_rows(latents, HyperPrior(uncoded, offset, weight, CONTEXT_SHIFT))
    return HyperPrior(np.rint([_at_qualities(of_pass) for of_pass in rows]).astype(int), offset, weight, CONTEXT_SHIFT)


def _regression(latents: Sequence[HyperLatent], offset: np.ndarray) -> np.ndarray:
    """[3, Z, Z * 9]: for each pass behind the first, the weights that predict deviations from those
    of neighbours."""
    channels = offset.shape[1]
    power = _at_qualities(_anchor_means(latents, lambda each: _deviation(each, offset).astype(float) ** 2)).mean(1)
    products = np.zeros((len(HYPER_ORDER), 9 * channels, 9 * channels))
    targets = np.zeros((len(HYPER_ORDER), 9 * channels, channels))
    for each in latents:
        known = np.zeros((channels, each.touched.shape[0] + 2, each.touched.shape[1] + 2))
        scale = 1 / max(power[each.quality - 1], 1e-3)
        for number in range(len(HYPER_ORDER)):
            places = pass_places(each.touched, number)
            around, values = neighbours(known, places), each.z[:, *places] - offset[each.quality - 1][:, None]
            products[number] += scale * (around @ around.T)
            targets[number] += scale * (around @ values.T)
            record_deviations(known, places, values)
    return np.stack([
        np.linalg.solve(product + RIDGE * np.eye(9 * channels), target).T
        for product, target in zip(products[1:], targets[1:], strict=True)
    ])


def _deviation(each: HyperLatent, offset: np.ndarray) -> np.ndarray:
    return each.z[:, each.touched] - offset[each.quality - 1][:, None]


def _cheapest_rows(latents: Sequence[HyperLatent], prior: HyperPrior) -> np.ndarray:
    """[4, A, Z]: for each pass, anchor and channel."""
    channels, symbols = prior.offset.shape[1], 2 * HYPER_CLAMP + 1
    counts = np.zeros((len(HYPER_ORDER), len(ANCHOR_QUALITIES), channels, symbols))
    for each in latents:
        for number, (places, mean, _) in enumerate(prior.passes(each.z, each.touched, each.quality)):
            values = np.clip(each.z[:, *places] - mean, -HYPER_CLAMP, HYPER_CLAMP) + HYPER_CLAMP
            values += symbols * np.arange(channels)[:, None]
            seen = np.bincount(values.ravel(), minlength=channels * symbols).reshape(channels, symbols)
            for anchor, share in _near_anchors(each.quality):
                counts[number, anchor] += share * seen
    return np.array([[[_cheapest_row(one) for one in anchor] for anchor in of_pass] for of_pass in counts])


def _cheapest_row(histogram: np.ndarray) -> int:
    """The row of the Gaussian tables that codes a histogram of symbols -127..127 in the fewest
    bits."""
    values = np.arange(-HYPER_CLAMP, HYPER_CLAMP + 1)
    if histogram[values != 0].sum() <= RARE * histogram.sum():
        return 0
    symbols = np.clip(values, -MAX_SYMBOL, MAX_SYMBOL) + MAX_SYMBOL
    bits = -np.log2(np.maximum(GAUSSIAN_ROWS[:, symbols], 1e-7))
    return 1 + int((bits @ histogram).argmin())


def _anchor_means(latents: Sequence[HyperLatent], values: Callable[[HyperLatent], np.ndarray]) -> np.ndarray:
    """The mean of each channel's values, [Z, n] of a latent, at each anchor [A, Z]. A latent counts
    for the two anchors round its quality, by nearness."""
    sums, count = 0, np.zeros((len(ANCHOR_QUALITIES), 1))
    for each in latents:
        shares = np.zeros((len(ANCHOR_QUALITIES), 1))
        for anchor, share in _near_anchors(each.quality):
            shares[anchor] = share
        found = values(each)
        sums = sums + shares * found.sum(1)
        count += shares * found.shape[1]
    return sums / np.maximum(count, 1e-9)


def _near_anchors(quality: int) -> tuple[tuple[int, float], ...]:
    """The two anchors round a quality, and the share of each."""
    place = float(np.interp(quality, ANCHOR_QUALITIES, np.arange(len(ANCHOR_QUALITIES))))
    low = min(int(place), len(ANCHOR_QUALITIES) - 2)
    return (low, low + 1 - place), (low + 1, place - low)


def _at_qualities(table: np.ndarray) -> np.ndarray:
    """Values at the anchors [A, Z] -> at every quality [100, Z]."""
    qualities = np.arange(1, MAX_QUALITY + 1)
    return np.stack([np.interp(qualities, ANCHOR_QUALITIES, channel) for channel in table.T], 1)
