"""PSNR and MS-SSIM, over the whole picture or weighted by a region."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
TAPS, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


def ms_ssim(a: Tensor, b: Tensor, regions: Tensor | None = None, whole: bool = False) -> Tensor:
    """MS-SSIM (Wang et al. 2003: five scales, 11-tap Gaussian, valid windows, RGB channels
    averaged).

    a, b: [B, 3, H, W] in 0..1, sides at least 176. regions: [B, R, H, W] weights; every scale's map
    is then averaged with them, and a scale at which no window's centre lies in the region does not
    count. whole: every pixel has a window, which sees the outermost pixels repeated beyond the
    border, and sides may be as small as 16; to optimise by, as the plain measure hardly sees the
    border: of 256 pixels, the coarsest scale is blind to the outer 80. Returns [B], or [B, R].
    Differentiable. Always in float32: variances as differences of moments are noise in bfloat16. In
    planes: a sixth faster than channels last.
    """
    with torch.autocast(a.device.type, enabled=False):
        return _ms_ssim(a.float().contiguous(), b.float().contiguous(), regions, TAPS // 2 if whole else 0)


def _ms_ssim(a: Tensor, b: Tensor, regions: Tensor | None, margin: int) -> Tensor:
    weights = torch.ones_like(a[:, :1]) if regions is None else regions
    result = a.new_ones(())
    for number, weight in enumerate(SCALE_WEIGHTS):
        if number:
            a, b, weights = (F.avg_pool2d(x, 2) for x in (a, b, weights))
        luminance, contrast = _ssim_maps(*(_with_margin(x, margin) for x in (a, b)))
        similarity = contrast if number < len(SCALE_WEIGHTS) - 1 else luminance * contrast
        cut = TAPS // 2 - margin
        inner = weights[..., cut : weights.shape[-2] - cut, cut : weights.shape[-1] - cut]
        total = inner.sum((2, 3))
        mean = (similarity.mean(1, keepdim=True) * inner).sum((2, 3)) / total.clamp_min(1e-6)
        result = result * torch.where(total > 0, mean.clamp_min(1e-4) ** weight, 1.0)
    return result[:, 0] if regions is None else result


def _with_margin(x: Tensor, margin: int) -> Tensor:
    """The outermost pixels repeated beyond the border, as by `F.pad`, whose gradient PyTorch's
    compiler gets wrong."""
    for dim in (2, 3):
        first, last = x.narrow(dim, 0, 1), x.narrow(dim, -1, 1)
        x = torch.cat([first] * margin + [x] + [last] * margin, dim)
    return x


def _ssim_maps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    # SSIM needs no more than the sum of the second moments, and four blurs at once are the fastest.
    mean_a, mean_b, squares, ab = _blur(torch.cat([a, b, a * a + b * b, a * b])).chunk(4)
    product, square_means = mean_a * mean_b, mean_a**2 + mean_b**2
    contrast = (2 * (ab - product) + C2) / (squares - square_means + C2)
    return (2 * product + C1) / (square_means + C1), contrast


def _blur(x: Tensor) -> Tensor:
    """Separable Gaussian, valid part only. All planes are channels of one picture: by far the
    fastest on CPUs."""
    taps = torch.arange(TAPS, dtype=torch.float64) - TAPS // 2
    kernel = torch.exp(-(taps**2) / (2 * SIGMA**2))
    kernel = (kernel / kernel.sum()).to(x)
    planes = x.shape[0] * x.shape[1]
    rows = kernel.view(1, 1, TAPS, 1).expand(planes, 1, TAPS, 1)
    y = F.conv2d(x.reshape(1, planes, *x.shape[2:]), rows, groups=planes)
    y = F.conv2d(y, rows.mT, groups=planes)
    return y.view(*x.shape[:2], *y.shape[2:])


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """a, b: [B, 3, H, W] in 0..1 -> [B] in dB, from the mean over the picture's pixels and
    channels."""
    return -10 * torch.log10(((a - b) ** 2).mean((1, 2, 3)).clamp_min(1e-10))


def decibels(similarity: float) -> float:
    """MS-SSIM 0..1 -> dB, -10 log10(1 - x)."""
    return -10 * math.log10(max(1 - similarity, 1e-9))
