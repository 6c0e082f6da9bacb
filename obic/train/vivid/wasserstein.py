"""The loss of a vivid look: eq. 4's distortion of LearntOBIC, and Wasserstein distortion.

Wasserstein distortion (Qiu, Wagner, Ballé and Theis 2024, "Wasserstein distortion: unifying
fidelity and realism", between Gaussians): features of the two pictures have to agree in their local
means and deviations, not place by place, so that texture may be made up. Features: differences of
neighbouring pixels, and the first stages of our own segmenter. What differs counts relative to the
local deviation, as texture hides it and a clear sky does not.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from obic.constants import CELL
from obic.nn.rate_distortion import distortion
from obic.segment.deeplab import DeepLab

WASSERSTEIN = 0.6  # its weight beside the distortion
VIEW_WINDOWS = (4, 8, 4, 4)  # places of each view: 64, 16, 16 and 32 pixels
FAINT = 0.05  # of a view's deviation: channels with much less than that hardly count
FLAT = 0.02  # of a channel's: places with less than that are alike
HIDING = 0.25  # of a channel's: deviations above that hide differences


class Views(nn.Module):
    """Features of pictures [B, 3, H, W] in 0..1: differences of pixels, and a frozen DeepLab's at
    1/2 to 1/8.

    The differences are apart by their place in the cell: of photographs each place has its
    deviation and hardly a mean, of a pattern that repeats from cell to cell the opposite. Squares of
    8x8 pixels, the factor of the last step of the synthesis, are not enough: patterns that alternate
    between them have no mean.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: DeepLab):
        super().__init__()
        convolution, norm, rectify, *rest = network.stem
        stages = [nn.Sequential(convolution, norm, rectify), nn.Sequential(*rest), network.layer2]
        self.stages = nn.ModuleList(stages).requires_grad_(False).eval()
        self.register_buffer("mean", network.mean)
        self.register_buffer("std", network.std)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """pixels: [B, 3, H, W] in 0..1 -> four views [B, C, h, w], the first at 1/16, the others
        at 1/2, 1/4 and 1/8."""
        x = (pixels - self.mean) / self.std
        padded = F.pad(x, (0, 1, 0, 1), mode="replicate")
        differences = torch.cat([padded[..., :-1, 1:] - x, padded[..., 1:, :-1] - x], 1)
        views = [F.pixel_unshuffle(differences, CELL)]
        for stage in self.stages:
            x = stage(x)
            views.append(x)
        return views


def wasserstein(made: list[Tensor], true: list[Tensor]) -> Tensor:
    """Mean squared difference of the local means and deviations of two pictures' views, relative to
    the true deviations."""
    total = made[0].new_zeros((), dtype=torch.float32)
    for a, b, window in zip(made, true, VIEW_WINDOWS, strict=True):
        a, b = a.float(), b.float()
        unit = b.std((0, 2, 3), keepdim=True) + FAINT * b.std() + 1e-6
        (mean_a, spread_a), (mean_b, spread_b) = _moments(a / unit, window), _moments(b / unit, window)
        difference = (mean_a - mean_b).square() + (spread_a - spread_b).square()
        total = total + (difference / (spread_b.square() + HIDING**2)).mean()
    return total / len(made)


def _moments(x: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation in half overlapping windows."""
    mean, square = (F.avg_pool2d(each, window, window // 2) for each in (x, x * x))
    return mean, ((square - mean * mean).clamp_min(0) + FLAT**2).sqrt()


def vivid_loss(output: Tensor, pixels: Tensor, views: Views) -> tuple[Tensor, float, float]:
    """The synthesis' loss, and for the log its two parts. output, pixels: [B, 3, 16h, 16w] in
    0..1."""
    faithful = distortion(output, pixels, torch.ones_like(pixels[:, :1])).mean()
    with torch.no_grad():
        true = views(pixels)
    realistic = wasserstein(views(output), true)
    return faithful + WASSERSTEIN * realistic, faithful.item(), realistic.item()
