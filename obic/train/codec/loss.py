"""What the codec network is trained for.

Loss (LearntOBIC, eq. 4, with the weights of the layers chosen by quality): the sum over layers of
lambda(quality) * area * D(layer), plus the rate of every layer in bits per pixel. D is the mean
squared error at first, then 1 - MS-SSIM with a little of it and the error of the cells' mean
colour. Pictures have one layer at first, later layers of their masks or of random shapes.
"""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor

from obic.constants import CELL
from obic.nn.model import CodecNetwork
from obic.nn.rate_distortion import COLOUR_WEIGHT, code_layers, distortion, distortion_weight
from obic.shape import quality_to_level
from obic.train.codec.crops import Rows, any_quality, draw_rows, middle_quality

MSE_UNTIL, MSE_FADED = 2_400, 6_000  # crops: squared error alone, which fades into what stands beside MS-SSIM
WHOLE_UNTIL = 40_000  # crops: pictures of one layer at middle rates, which learn faster and cost less
LOSS_BOUND = 1.0  # of a row; 0.3 is usual
EMPHASIS = 0.25  # see `training_loss`


def draw_layers(labels: Tensor, crops: int, generator: random.Random) -> tuple[Tensor, Rows]:
    """The layers of a batch [B, 2, h, w] and their rows. Early in a course the first layer has all
    the cells."""
    whole = crops < WHOLE_UNTIL
    if whole:
        labels = torch.zeros_like(labels)
    layers = torch.stack([1 - labels, labels], 1)
    return layers, draw_rows(layers, generator, middle_quality if whole else any_quality)


def bounded(losses: Tensor) -> Tensor:
    """Losses >= 0 of rows, with a logarithm beyond LOSS_BOUND: a row that runs away pulls no harder
    than others."""
    return losses.clamp(max=LOSS_BOUND) + LOSS_BOUND * (losses / LOSS_BOUND).clamp(min=1).log()


def training_loss(
    network: CodecNetwork, pixels: Tensor, labels: Tensor, crops: int, generator: random.Random,
    emphasis: float = EMPHASIS,
) -> tuple[Tensor, float, float, float]:
    """-> loss; and for the log bits per pixel, distortion and the share of the hyper-latent in the
    bits.

    pixels: [B, 3, 16h, 16w] in 0..1; labels: [B, h, w], 0 or 1; crops: how many the network has
    seen; emphasis: the power of lambda that rows weigh with: 0 makes every quality count about the
    same, 0.5 is eq. 4 as it stands, in which high ones count most.
    """
    layers, rows = draw_layers(labels, crops, generator)
    features = network.analysis(pixels - 0.5)[rows.pictures].float()
    decoded, conditions, rates = code_layers(network, features, rows.cells, rows.quality)

    kept = torch.ones_like(rows.quality)
    if len(kept) > len(pixels) and generator.random() < 0.1:  # a layer alone must look right inside its mask
        kept = (torch.rand_like(kept) < 0.5).float()
        kept[int(generator.random() * len(kept))] = 1
    output = network.synthesis(rows.joined(decoded, kept), rows.joined(conditions, kept)).float() + 0.5

    regions = F.interpolate(layers, scale_factor=CELL)
    area = rows.cells.mean((1, 2, 3))
    fade = min(max((crops - MSE_UNTIL) / (MSE_FADED - MSE_UNTIL), 0.0), 1.0)
    lost = distortion(output, pixels, regions, fade, COLOUR_WEIGHT * fade)[rows.pictures, rows.numbers]
    per_pixel = (rates.hyper + rates.residual) / (pixels.shape[-1] * pixels.shape[-2])
    weight = distortion_weight(quality_to_level(rows.quality, network.shape.levels))
    # Divided by the root of lambda, about as the rate grows with it, a row counts the same at every
    # quality.
    rows_lost = bounded(kept * (weight * area * lost + per_pixel) / weight.sqrt())
    loss = (rows_lost * weight**emphasis).sum() / len(pixels)
    hyper_share = (rates.hyper.sum() / (rates.hyper + rates.residual).sum()).item()
    return loss, (per_pixel.sum() / len(pixels)).item(), (lost * area * kept).sum().item() / len(pixels), hyper_share
