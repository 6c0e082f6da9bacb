"""How much detail a picture has, what dots, and how far its patches are from those of photographs.

The Fréchet distance is between Gaussians fitted to features of all patches (Heusel et al. 2017; of
patches, as Mentzer et al. 2020 have it), here from our own segmenter, one stage beyond those that
looks are trained with.
"""

from __future__ import annotations

import numpy as np
import torch

from obic.constants import CELL
from obic.segment.deeplab import DeepLab

PATCH = 64  # pixels
WINDOW = 64  # pixels, in which dots are looked for


class PatchFeatures:
    """Features of a picture's patches: a stage of the segmenter, averaged over each patch."""

    def __init__(self, network: DeepLab):
        self._network = network

    @torch.inference_mode()
    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """rgb: uint8 [H, W, 3] -> float [patches, C]."""
        height, width = (side // PATCH * PATCH for side in rgb.shape[:2])
        pixels = torch.tensor(rgb[:height, :width]).permute(2, 0, 1)[None].float() / 255
        network = self._network
        features = network.layer3(network.layer2(network.stem((pixels - network.mean) / network.std)))
        side = PATCH * features.shape[-1] // width
        return torch.nn.functional.avg_pool2d(features, side)[0].flatten(1).T.double().numpy()


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Fréchet distance of the Gaussians fitted to two sets of features [n, C]."""
    covariances = np.cov(a.T), np.cov(b.T)
    product = np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(0)
    between = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return float(between + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.sqrt(product).sum())


def detail(rgb: np.ndarray) -> float:
    """Mean difference of neighbouring pixels, in grey levels."""
    grey = rgb.astype(np.float64).mean(2)
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()) / 2


def dots(made: np.ndarray, true: np.ndarray) -> float:
    """Power of what repeats from cell to cell in the smoothest tenth of the true picture, in grey
    levels squared: the differences of neighbouring pixels, averaged over the even and over the odd
    cells of a window, and of that what the two have in common, so noise has none (and it may be
    below 0).

    made, true: uint8 [H, W, 3], of at least WINDOW pixels.
    """
    activity = sum(np.abs(_by_place(true, axis)).mean((2, 3, 4)) for axis in (0, 1))
    smooth = activity <= np.quantile(activity, 0.1)
    odd = np.indices((WINDOW // CELL,) * 2).sum(0).reshape(-1) % 2 == 1
    power = 0.0
    for axis in (0, 1):
        cells = _by_place(made, axis)[smooth]
        halves = (cells[:, each].mean(1) for each in (odd, ~odd))
        one, other = (half - half.mean((1, 2), keepdims=True) for half in halves)
        power += float((one * other).mean())
    return power


def _by_place(rgb: np.ndarray, axis: int) -> np.ndarray:
    """Differences of neighbouring pixels along an axis, in grey levels: [windows down, windows
    across, cells of a window, rows, columns of a cell]."""
    grey = rgb.astype(np.float64).mean(2)
    steps = np.diff(grey, axis=axis, append=np.take(grey, [-1], axis))
    down, across = (side // WINDOW for side in steps.shape)
    cells = steps[: down * WINDOW, : across * WINDOW].reshape(down, WINDOW // CELL, CELL, across, WINDOW // CELL, CELL)
    return cells.transpose(0, 3, 1, 4, 2, 5).reshape(down, across, -1, CELL, CELL)
