"""How much detail a picture has, and how far its patches are from those of photographs.

The Fréchet distance is between Gaussians fitted to features of all patches (Heusel et al. 2017; of
patches, as Mentzer et al. 2020 have it), here from our own segmenter, one stage beyond those that
looks are trained with.
"""

from __future__ import annotations

import numpy as np
import torch

from obic.segment.deeplab import DeepLab

PATCH = 64  # pixels


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
