"""Rate and quality of checkpoints, estimated.

    python -m obic.train.codec.estimate runs/course-*k.pt --kodak data/kodak --every 4

Estimated bits of one layer with rounding, no file and no container: quick, for the training log.
Shipped weights are measured by `obic.bench`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from obic.bench.common.pictures import read_folder
from obic.bench.common.rate_curves import at_rate
from obic.constants import CELL
from obic.metrics import ms_ssim
from obic.nn.model import CodecNetwork
from obic.nn.rate_distortion import code_layers, distortion_weight
from obic.shape import level_to_quality
from obic.train.codec.checkpoint import load_checkpoint
from obic.train.common.command import count, plain_errors

ESTIMATED_LEVELS = (7 / 11, 203 / 99, 343 / 99, 161 / 33, 623 / 99, 8.0)  # of eight, qualities 10, 30, 50, 70 and 90
ESTIMATED_RATES = (0.0648, 0.10, 0.15, 0.25)


@torch.no_grad()
def estimate(network: CodecNetwork, pictures: list[Tensor], qualities: list[float]) -> list[tuple[float, float]]:
    """Mean estimated bits per pixel and MS-SSIM at each quality; pictures [3, H, W] in 0..1, one
    layer."""
    results = []
    for quality in qualities:
        rates, scores = [], []
        for pixels in pictures:
            pixels = pixels[None, :, : pixels.shape[1] // CELL * CELL, : pixels.shape[2] // CELL * CELL]
            features = network.analysis(pixels - 0.5)
            cells = torch.ones_like(features[:, :1])
            decoded, conditions, bits = code_layers(network, features, cells, torch.tensor([quality]), False)
            output = network.synthesis(decoded, conditions).add(0.5).clamp(0, 1)
            rates.append((bits.hyper + bits.residual).item() / pixels[0, 0].numel())
            scores.append(ms_ssim(output, pixels).item())
        results.append((sum(rates) / len(rates), sum(scores) / len(scores)))
    return results


def cost(level: float, bpp: float, score: float) -> float:
    """About what a row counts in training (`obic.train.codec.loss`): eq. 4 of LearntOBIC over the
    root of lambda, with MS-SSIM alone. Finer than the curve in telling checkpoints apart."""
    weight = distortion_weight(torch.tensor(level)).item()
    return (weight * (1 - score) + bpp) / weight**0.5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.train.codec.estimate", description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoints", nargs="+", type=Path, help="checkpoints, or folders of weights")
    parser.add_argument("--kodak", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--every", type=count, default=1, help="use every n-th picture")
    args = parser.parse_args()
    with plain_errors():
        chosen = read_folder(args.kodak)[:: args.every]
        pictures = [torch.tensor(each.rgb).permute(2, 0, 1).float() / 255 for each in chosen]
        for path in args.checkpoints:
            report(path, pictures)


def report(path: Path, pictures: list[Tensor]) -> None:
    """Prints the points of one checkpoint, with what they cost, and its MS-SSIM at ESTIMATED_RATES.
    Raises as `load_checkpoint` does."""
    network = load_checkpoint(path).eval()
    levels = [level for level in ESTIMATED_LEVELS if level <= network.shape.levels - 1]
    qualities = [level_to_quality(level, network.shape.levels) for level in levels]
    points = estimate(network, pictures, qualities)
    print(path)
    for level, quality, (bpp, score) in zip(levels, qualities, points, strict=True):
        print(f"level {level:.2f}  quality {quality:4.1f}  bpp {bpp:.4f}  MS-SSIM {score:.4f}  "
              f"cost {cost(level, bpp, score):.4f}")
    curve = [{"bpp": bpp, "ms_ssim": score} for bpp, score in points]
    for rate in ESTIMATED_RATES:
        found = at_rate(curve, rate, "ms_ssim")
        print(f"{rate} bpp  " + ("outside the curve" if found is None else f"MS-SSIM {found:.4f}"), flush=True)


if __name__ == "__main__":
    main()
