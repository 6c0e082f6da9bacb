"""HaarPSI: perceptual similarity of two pictures, from Haar wavelets of three scales. No trained
network, no download.

Source: Reisenhofer, Bosse, Kutyniok, Wiegand: "A Haar wavelet-based perceptual similarity index for
image quality assessment", Signal Processing: Image Communication 61 (2018); constants fitted there,
not here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

C, ALPHA = 30.0, 4.2
SCALES = 3
YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


def haarpsi(a: Tensor, b: Tensor, regions: Tensor) -> Tensor:
    """a, b: [B, 3, H, W] in 0..1; regions: [B, R, H, W] weights -> [B, R] in 0..1, 1 for equal
    pictures.

    The index is a mean over positions weighted by the coarsest wavelet's response; a region's
    weights multiply that. NaN where a region is empty.
    """
    (y, chroma), (y2, chroma2) = _planes(a), _planes(b)
    responses, responses2 = _haar(y), _haar(y2)  # [B, SCALES, direction, h, w]
    weights = torch.maximum(responses[:, -1], responses2[:, -1])
    similarity = _similarity(responses, responses2)[:, : SCALES - 1].mean(1)
    colour = _similarity(*(_window(plane, torch.full((2, 2), 0.25)).abs() for plane in (chroma, chroma2)))
    similarity = torch.cat([similarity, colour.mean(1, keepdim=True)], 1)
    weights = torch.cat([weights, weights.mean(1, keepdim=True)], 1)
    weights = weights[:, None] * _halve(regions)[:, :, None]  # [B, R, 3, h, w]
    score = torch.sigmoid(ALPHA * similarity)[:, None] * weights
    return (torch.logit(score.sum((2, 3, 4)) / weights.sum((2, 3, 4))) / ALPHA) ** 2


def _planes(rgb: Tensor) -> tuple[Tensor, Tensor]:
    yiq = _halve(torch.einsum("cd,bdhw->bchw", torch.tensor(YIQ), rgb * 255))
    return yiq[:, :1], yiq[:, 1:]


def _halve(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2, ceil_mode=True)


def _haar(y: Tensor) -> Tensor:
    responses = []
    for scale in range(1, SCALES + 1):
        kernel = torch.full((2**scale, 2**scale), 2.0**-scale)
        kernel[: 2**scale // 2] *= -1
        responses.append(torch.cat([_window(y, kernel), _window(y, kernel.T)], 1))
    return torch.stack(responses, 1).abs()


def _window(x: Tensor, kernel: Tensor) -> Tensor:
    """Correlation of every plane with a kernel of even side, of the same size as the plane; zeros
    beyond the border."""
    side = len(kernel)
    padded = F.pad(x, [(side - 1) // 2, side // 2] * 2)
    return F.conv2d(padded.flatten(0, 1)[:, None], kernel[None, None])[:, 0].unflatten(0, x.shape[:2])


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    return (2 * a * b + C) / (a**2 + b**2 + C)
