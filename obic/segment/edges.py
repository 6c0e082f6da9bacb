"""The edge of an object, refined against the picture: a network's map is coarse, colours are not.

Around each place the colours of the object and of what surrounds it are two normal distributions,
weighted by the network's chances, as GrabCut has them for a whole picture (Rother, Kolmogorov and
Blake 2004, section 3.1). Their log-likelihood ratio, bounded, is added to the network's logit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image

from obic.segment.labels import resized
from obic.segment.whole import whole_mask

PIXELS = 1 << 18  # of the picture, at a time


class Settings(NamedTuple):
    """grid: pixels of the long side on which distributions are estimated. radius: of the square
    they are taken from, there. noise: variance of each colour in 0..1 besides what is seen. weight:
    of the ratio. bound: on it, as a logit. reach: how far from the network's own edge there may be
    another, in places of the grid. smooth: radius of the square that the sum is averaged over, in
    thousandths of the long side.
    """

    grid: int
    radius: int
    noise: float
    weight: float
    bound: float
    reach: int
    smooth: float


# Why these: `python -m obic.bench.segmenter.mask_edges`.
CHOSEN = Settings(grid=128, radius=10, noise=5e-4, weight=1.0, bound=4.0, reach=4, smooth=4.0)


def refined(objects: np.ndarray, rgb: np.ndarray, threshold: float, settings: Settings = CHOSEN) -> np.ndarray:
    """Where an object is, bool [H, W].

    objects: float32 [h, w], logits of "an object is here", that are to be above `threshold`. rgb:
    uint8 [H, W, 3]. Where no object is seen there is none, and where all is one, all is. Crumbs and
    holes go, and edges move, but none are made where the network has nothing of the kind
    (`whole_mask`).
    """
    seen = objects > threshold
    if not seen.any() or seen.all():
        return np.full(rgb.shape[:2], seen.any())
    logits = objects - threshold
    return whole_mask(leaning(logits, rgb, settings) > 0, logits)


def leaning(logits: np.ndarray, rgb: np.ndarray, settings: Settings = CHOSEN) -> np.ndarray:
    """How likely each pixel is an object, float32 [H, W] in -1 (background) to 1; arguments as of
    `refined`."""
    height, width = rgb.shape[:2]
    ratio, both = _ratio(logits, rgb, settings)
    result = np.empty((height, width), np.float32)
    rows = max(1, PIXELS // width)
    smooth = round(settings.smooth * max(height, width) / 1000)
    for start in range(0, height, rows):
        first, last = max(0, start - smooth), min(height, start + rows + smooth)
        box = (0, first / height, 1, last / height)
        colours = rgb[first:last].astype(np.float32) / 255 - np.float32(0.5)
        shape = last - first, width
        added = np.zeros(shape, np.float32)
        for plane, term in zip(ratio, _terms(colours), strict=True):
            added += _part(plane, box, shape) * term
        added = np.clip(settings.weight * added, -settings.bound, settings.bound)
        logit = _part(logits, box, shape) + added * _part(both, box, shape)
        result[start : start + rows] = box_mean(np.tanh(logit / 2), smooth)[start - first :][:rows]
    return result


def _ratio(logits: np.ndarray, rgb: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """On the grid: the log-likelihood ratio as the coefficients of `_terms`, float32 [10, h, w];
    and how far there are both an object and a background round each place, 0..1."""
    scale = min(1, settings.grid / max(rgb.shape))
    size = tuple(max(1, round(scale * side)) for side in rgb.shape[1::-1])
    picture = Image.fromarray(rgb).resize(size, Image.Resampling.BOX)
    colours = np.asarray(picture, np.float32) / 255 - np.float32(0.5)
    chance = 1 / (1 + np.exp(-np.clip(resized(logits, *colours.shape[:2]), -9, 9)))
    terms = np.stack(list(_terms(colours)))
    inside = box_mean(terms * chance, settings.radius, (1, 2))
    outside = box_mean(terms, settings.radius, (1, 2)) - inside
    share = box_mean(chance, settings.reach)
    both = np.minimum(1, 10 * np.minimum(share, 1 - share))
    return _log_likelihood(inside, settings.noise) - _log_likelihood(outside, settings.noise), both


def _terms(colours: np.ndarray) -> Iterable[np.ndarray]:
    """The monomials of a quadratic function of colours [h, w, 3]: rr, gg, bb, rg, rb, gb, r, g, b,
    1."""
    red, green, blue = np.moveaxis(colours, 2, 0)
    yield from (red * red, green * green, blue * blue, red * green, red * blue, green * blue, red, green, blue)
    yield np.ones_like(red)


def _log_likelihood(sums: np.ndarray, noise: float) -> np.ndarray:
    """Coefficients of the logarithm of a normal density, but for a constant, from sums of `_terms`,
    [10, h, w]."""
    weight = sums[9] + np.float32(1e-6)
    r, g, b = sums[6:9] / weight
    rr, gg, bb = (sums[i] / weight - mean * mean + np.float32(noise) for i, mean in enumerate((r, g, b)))
    rg, rb, gb = sums[3] / weight - r * g, sums[4] / weight - r * b, sums[5] / weight - g * b
    # The inverse by cofactors.
    p, q, s = gg * bb - gb * gb, rr * bb - rb * rb, rr * gg - rg * rg
    t, u, v = rb * gb - rg * bb, rg * gb - rb * gg, rg * rb - rr * gb
    determinant = np.maximum(rr * p + rg * t + rb * u, np.float32(noise**3))
    p, q, s, t, u, v = (each / determinant for each in (p, q, s, t, u, v))
    linear = (p * r + t * g + u * b, t * r + q * g + v * b, u * r + v * g + s * b)
    constant = -(linear[0] * r + linear[1] * g + linear[2] * b + np.log(determinant)) / 2
    return np.stack([-p / 2, -q / 2, -s / 2, -t, -u, -v, *linear, constant])


def _part(plane: np.ndarray, box: tuple[float, float, float, float], shape: tuple[int, int]) -> np.ndarray:
    """A part of a map, in shares of its sides (left, top, right, bottom), at another size,
    bilinear."""
    height, width = plane.shape
    scaled = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BILINEAR, box=scaled))


def box_mean(values: np.ndarray, radius: int, axes: tuple[int, int] = (0, 1)) -> np.ndarray:
    """The mean over the square round each place, as far as it lies in the map, by cumulative
    sums."""
    for axis in axes:
        count = values.shape[axis]
        sums = np.insert(np.cumsum(values, axis, np.float64), 0, 0, axis)
        low, high = np.maximum(np.arange(count) - radius, 0), np.minimum(np.arange(count) + radius + 1, count)
        width = (high - low).reshape([-1 if each == axis else 1 for each in range(values.ndim)])
        values = ((sums.take(high, axis) - sums.take(low, axis)) / width).astype(np.float32)
    return values
