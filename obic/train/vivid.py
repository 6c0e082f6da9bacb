"""Trains a second synthesis for a finished codec, sharp instead of smooth: `python -m obic.train.vivid --help`.

Only the synthesis is trained; every file stays as it is. Loss: a little of eq. 4's distortion, the distance of features
of our own segmenter's backbone, and an adversarial part, for which small heads look at the same features (Sauer et al.
2021, "Projected GANs converge faster"; high-fidelity compression: Mentzer et al. 2020, "HiFiC").
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from obic.nn.model import CodecNetwork
from obic.nn.rate_distortion import code_layers, distortion
from obic.segment import load_segmenter
from obic.segment.deeplab import DeepLab
from obic.train.checkpoint import load_checkpoint, save_checkpoint
from obic.train.crops import Batches, draw_rows
from obic.train.curves import Curves, say
from obic.train.data import load_samples
from obic.train.optim import Average, Optimisers
from obic.weights import segmenter_bytes

BEST_QUALITY = 45  # it is for low rates: qualities of 1 to this
DISTORTION, FEATURES, ADVERSARIAL = 1.0, 1.0, 0.02
ADVERSARIAL_FROM = 0.1  # of the schedule
HEAD_LR = 1e-3


class Views(nn.Module):
    """What a frozen DeepLab sees of pictures [B, 3, H, W] in 0..1: features at 1/4, 1/8 and 1/16, each normalised."""

    def __init__(self, network: DeepLab):
        super().__init__()
        self.stages = nn.ModuleList([network.stem, network.layer2, network.layer3]).requires_grad_(False).eval()
        self.register_buffer("mean", network.mean)
        self.register_buffer("std", network.std)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        x, views = (pixels - self.mean) / self.std, []
        for stage in self.stages:
            x = stage(x)
            views.append(F.normalize(x, dim=1))
        return views


class Head(nn.Module):
    """Real or made, place by place, from one view: [B, C, h, w] -> [B, 1, h, w]."""

    def __init__(self, channels: int, width: int = 96):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2), nn.Conv2d(width, 1, 1))

    def forward(self, view: Tensor) -> Tensor:
        return self.layers(view * view.shape[1] ** 0.5)  # of unit variance again


def low_quality(generator: random.Random) -> float:
    return generator.uniform(1, BEST_QUALITY)


def decoded_features(network: CodecNetwork, pixels: Tensor, labels: Tensor, generator: random.Random):
    """What the synthesis of a decoder is given, at random low qualities: features and conditions of all cells."""
    layers = torch.stack([1 - labels, labels], 1)
    rows = draw_rows(layers, generator, low_quality)
    with torch.no_grad():
        features = network.analysis(pixels - 0.5)[rows.pictures].float()
        decoded, conditions, _ = code_layers(network, features, rows.cells, rows.quality, noisy=False)
    return rows.joined(decoded), rows.joined(conditions)


def vivid_loss(output: Tensor, pixels: Tensor, views: Views, heads: nn.ModuleList, adversarial: float):
    """The synthesis' loss, and for the log: distortion, distance of features, adversarial part."""
    faithful = distortion(output, pixels, torch.ones_like(pixels[:, :1])).mean()
    with torch.no_grad():
        true = views(pixels)
    seen = views(output)
    distance = sum((a - b).square().sum(1).mean() for a, b in zip(seen, true, strict=True)) / len(true)
    fooled = -sum(head(view).mean() for head, view in zip(heads, seen, strict=True)) / len(heads)
    loss = DISTORTION * faithful + FEATURES * distance + adversarial * fooled
    return loss, faithful.item(), distance.item(), fooled.item()


def head_loss(output: Tensor, pixels: Tensor, views: Views, heads: nn.ModuleList) -> Tensor:
    """Hinge loss of the heads (Lim and Ye 2017)."""
    with torch.no_grad():
        made, true = views(output), views(pixels)
    return sum(
        F.relu(1 + head(a)).mean() + F.relu(1 - head(b)).mean() for head, a, b in zip(heads, made, true, strict=True)
    ) / len(heads)


def train(network: CodecNetwork, views: Views, batches: Batches, minutes: float, out: Path, muon_lr: float) -> None:
    """Trains the synthesis for a time budget and saves the whole network, all but the synthesis unchanged."""
    device = batches.device
    network.to(device, memory_format=torch.channels_last).requires_grad_(False)
    network.synthesis.requires_grad_(True)
    views.to(device, memory_format=torch.channels_last)
    with torch.no_grad():
        widths = [view.shape[1] for view in views(torch.zeros(1, 3, 64, 64, device=device))]
    heads = nn.ModuleList(Head(width) for width in widths).to(device)
    optimisers = Optimisers(network.synthesis, muon_lr, 1e-3)
    teacher = torch.optim.AdamW(heads.parameters(), HEAD_LR, betas=(0.5, 0.99))
    average = Average(network)
    curves = Curves(out.with_suffix(".csv"), ("loss", "distortion", "features", "fooled", "heads"))
    start = saved = reported = time.monotonic()
    progress = 0.0
    while progress < 1:
        now = time.monotonic()
        progress = min(1.0, (now - start) / (60 * minutes))
        pixels, labels = batches.draw()
        features, conditions = decoded_features(network, pixels, labels, batches.random)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            output = network.synthesis(features, conditions).float() + 0.5
            adversarial = ADVERSARIAL if progress > ADVERSARIAL_FROM else 0.0
            loss, *figures = vivid_loss(output, pixels, views, heads, adversarial)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.synthesis.parameters(), 1.0)
        optimisers.step(progress)
        average.update(network)
        teacher.zero_grad(set_to_none=True)  # the synthesis' backward pass went through the heads too
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            judged = head_loss(output.detach(), pixels, views, heads)
        judged.backward()
        teacher.step()
        curves.add(loss.item(), *figures, judged.item())
        if now - reported > 60 or progress >= 1:
            curves.report((now - start) / 60, optimisers.steps, progress, minutes * (1 - progress))
            reported = now
        if now - saved > 300 or progress >= 1:
            save_checkpoint(out, network, average, {"steps": optimisers.steps, "minutes": (now - start) / 60})
            saved = now


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.train.vivid", description=__doc__.split("\n")[0])
    parser.add_argument("codec", help="checkpoint or folder of packed weights: the codec it belongs to")
    parser.add_argument("--data", nargs="+", required=True, metavar="PATH", help="folders or zips of pictures")
    parser.add_argument("--minutes", type=float, default=60, help="time budget (default 60)")
    parser.add_argument("--out", type=Path, default=Path("runs/vivid.pt"))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--muon-lr", type=float, default=0.002)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--limit", type=int, help="use only the first pictures")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    network = load_checkpoint(args.codec)
    views = Views(load_segmenter(segmenter_bytes()).network)
    samples = load_samples(args.data, limit=args.limit)
    say(f"{len(samples)} pictures")
    batches = Batches(samples, args.crop, args.batch, args.device, args.seed)
    train(network, views, batches, args.minutes, args.out, args.muon_lr)


if __name__ == "__main__":
    main()
