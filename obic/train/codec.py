"""Trains the codec network: `python -m obic.train --data train-0.zip ... --minutes 60 --out runs/codec.pt`.

Loss (LearntOBIC, eq. 4, with the weights of the layers chosen by quality): the sum over layers of
lambda(quality) * area * D(layer), plus the rate of every layer in bits per pixel. D is the mean squared error at
first, then 1 - MS-SSIM with a little of it.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from obic.constants import CELL, MAX_QUALITY
from obic.nn.model import CodecNetwork, Shape
from obic.nn.rate_distortion import code_layers, distortion, distortion_weight
from obic.train.data import Sample, load_samples
from obic.train.optim import Average, Optimisers

MSE_UNTIL, MSE_FADED = 0.05, 0.10  # of the budget
OVERSAMPLE = {"wall": 4}  # the cleanest set


class Batches:
    """Random crops with random layers and qualities, without end."""

    def __init__(self, samples: list[Sample], size: int, count: int, device: str, seed: int):
        self.samples, self.size, self.count, self.device = samples, size, count, device
        self.random = random.Random(seed)
        self.weights = [OVERSAMPLE.get(s.source, 1) for s in samples]

    def draw(self) -> tuple[Tensor, Tensor]:
        """-> pixels [B, 3, S, S] in 0..1 and labels of the cells [B, S/16, S/16], 0 or 1."""
        chosen = self.random.choices(self.samples, self.weights, k=self.count)
        crops = [self._crop(sample) for sample in chosen]
        pixels = torch.from_numpy(np.stack([rgb for rgb, _ in crops])).to(self.device)
        cells = torch.from_numpy(np.stack([labels for _, labels in crops])).to(self.device)
        return pixels.permute(0, 3, 1, 2).float() / 255, cells

    def _crop(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        size, rgb, mask = self.size, sample.rgb, sample.mask
        short = min(rgb.shape[:2])
        stride = 2 if short >= 2 * size and self.random.random() < 0.3 else 1  # a scaled-down crop now and then
        if short < size:
            pad = [(0, max(0, size - side)) for side in rgb.shape[:2]]
            rgb = np.pad(rgb, (*pad, (0, 0)), mode="symmetric")
            mask = None if mask is None else np.pad(mask, pad, mode="symmetric")
        side = size * stride
        top, left = (self.random.randint(0, limit - side) for limit in rgb.shape[:2])
        window = np.s_[top : top + side, left : left + side]
        rgb = rgb[window]
        if stride == 2:
            rgb = rgb.reshape(size, 2, size, 2, 3).mean((1, 3)).round().astype(np.uint8)
        labels = self._labels(None if mask is None else mask[window][::stride, ::stride])
        if self.random.random() < 0.5:
            rgb, labels = rgb[:, ::-1], labels[:, ::-1]
        return np.ascontiguousarray(rgb), np.ascontiguousarray(labels)

    def _labels(self, mask: np.ndarray | None) -> np.ndarray:
        """Object cells from the picture's own mask, from a random blob, or none."""
        grid = self.size // CELL
        kind = self.random.random()
        if kind < 0.4:
            return np.zeros((grid, grid), np.float32)
        if mask is not None and kind < 0.85:
            is_object = (mask > 0) & (mask < 255)
            return (is_object.reshape(grid, CELL, grid, CELL).mean((1, 3)) > 0.25).astype(np.float32)
        y, x = np.mgrid[:grid, :grid] / grid
        angle, radius = self.random.uniform(0, math.pi), self.random.uniform(0.15, 0.5)
        dy, dx = y - self.random.random(), x - self.random.random()
        along, across = dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)
        return (np.hypot(along, across * self.random.uniform(1, 3)) < radius).astype(np.float32)


def rows_of(cells: Tensor) -> tuple[Tensor, Tensor]:
    """Cells of the layers [B, L, h, w] -> picture and layer of each row [R]; empty layers give no row."""
    return cells.any(-1).any(-1).nonzero().unbind(1)


def draw_qualities(pictures: Tensor, generator: random.Random) -> Tensor:
    """A quality for each row: one for the picture, or one for each of its layers."""
    values, previous = [], -1
    for picture in pictures.tolist():
        if picture != previous or generator.random() < 0.5:
            value = generator.uniform(1, MAX_QUALITY)
        values.append(value)
        previous = picture
    return torch.tensor(values, device=pictures.device)


def training_loss(network: CodecNetwork, pixels: Tensor, labels: Tensor, progress: float, generator: random.Random):
    """-> loss, and bits per pixel and distortion for the log."""
    layers = torch.stack([1 - labels, labels], 1)
    pictures, numbers = rows_of(layers)
    cells = layers[pictures, numbers][:, None]
    quality = draw_qualities(pictures, generator)
    features = network.analysis(pixels - 0.5)[pictures].float()
    decoded, conditions, rates = code_layers(network, features, cells, quality)

    kept = torch.ones_like(quality)
    if generator.random() < 0.1:  # a layer alone must look right inside its mask
        kept = (torch.rand_like(quality) < 0.5).float()
        kept[int(generator.random() * len(kept))] = 1
    whole = torch.zeros(len(pixels), *decoded.shape[1:], device=pixels.device)
    whole = whole.index_add(0, pictures, decoded * kept[:, None, None, None])
    both = torch.zeros(len(pixels), *conditions.shape[1:], device=pixels.device)
    both = both.index_add(0, pictures, conditions * kept[:, None, None, None])
    output = network.synthesis(whole, both).float() + 0.5

    regions = F.interpolate(layers, scale_factor=CELL)
    area = cells.mean((1, 2, 3))
    fade = min(max((progress - MSE_UNTIL) / (MSE_FADED - MSE_UNTIL), 0.0), 1.0)
    lost = distortion(output, pixels, regions, fade)[pictures, numbers]
    per_pixel = (rates.hyper + rates.residual) / (pixels.shape[-1] * pixels.shape[-2])
    loss = (distortion_weight(quality) * area * lost * kept + per_pixel).sum() / len(pixels)
    hyper_share = (rates.hyper.sum() / (rates.hyper + rates.residual).sum()).item()
    return loss, (per_pixel.sum() / len(pixels)).item(), (lost * area).sum().item() / len(pixels), hyper_share


def new_network(shape: Shape) -> CodecNetwork:
    network = CodecNetwork(shape)
    network.start()
    return network


def load_checkpoint(path: str | Path) -> CodecNetwork:
    checkpoint = torch.load(path, weights_only=True)
    network = CodecNetwork(Shape(**checkpoint["shape"]))
    network.load_state_dict({name: value.float() for name, value in checkpoint["state"].items()})
    return network


def save_checkpoint(path: Path, network: CodecNetwork, average: Average, log: dict) -> None:
    """The averaged weights in float16, written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.half() for name, value in average.state.items()}
    torch.save({"shape": network.shape.as_dict(), "state": state, "log": log}, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def train(network: CodecNetwork, batches: Batches, minutes: float, out: Path, *, muon_lr: float, adam_lr: float,
          done: float = 0.0, save_every: float = 5.0) -> None:
    """Trains for a time budget; `done`: the share of the schedule that lies behind already (when resuming)."""
    device = batches.device
    network.to(device, memory_format=torch.channels_last).train()
    optimisers = Optimisers(network, muon_lr, adam_lr)
    average = Average(network)
    start = saved = reported = time.monotonic()
    sums, count = np.zeros(4), 0
    while True:
        now = time.monotonic()
        share = (now - start) / (60 * minutes)
        progress = done + (1 - done) * share
        pixels, labels = batches.draw()
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            loss, *figures = training_loss(network, pixels, labels, progress, batches.random)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimisers.step(progress)
        average.update(network)
        sums += [loss.item(), *figures]
        count += 1
        if now - reported > 60 or share >= 1:
            mean = sums / count
            print(f"{(now - start) / 60:6.1f} min  step {optimisers.steps}  loss {mean[0]:.4f}  bpp {mean[1]:.4f}  "
                  f"distortion {mean[2]:.4f}  hyper {mean[3]:.2f}  left {max(0, minutes * (1 - share)):.0f} min",
                  file=sys.stderr, flush=True)
            sums, count, reported = np.zeros(4), 0, now
        if now - saved > 60 * save_every or share >= 1:
            save_checkpoint(out, network, average, {"steps": optimisers.steps, "minutes": (now - start) / 60,
                                                    "progress": progress})
            saved = now
        if share >= 1:
            return


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.train", description=__doc__.split("\n")[0])
    parser.add_argument("--data", nargs="+", required=True, help="zips or folders of pictures, with or without masks")
    parser.add_argument("--minutes", type=float, default=60, help="time budget; the schedule fits into it")
    parser.add_argument("--out", type=Path, default=Path("runs/codec.pt"), help="checkpoint, saved as it goes")
    parser.add_argument("--init", help="checkpoint to start from")
    parser.add_argument("--done", type=float, default=0.0, help="share of the schedule already behind, 0..1")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--muon-lr", type=float, default=0.005)
    parser.add_argument("--adam-lr", type=float, default=1e-3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--limit", type=int, help="use only the first pictures")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    network = load_checkpoint(args.init) if args.init else new_network(Shape())
    samples = load_samples(args.data, limit=args.limit)
    count = sum(p.numel() for p in network.parameters())
    print(f"{len(samples)} pictures, {count / 1e6:.2f} M parameters", file=sys.stderr, flush=True)
    batches = Batches(samples, args.crop, args.batch, args.device, args.seed)
    train(network, batches, args.minutes, args.out, muon_lr=args.muon_lr, adam_lr=args.adam_lr, done=args.done)


if __name__ == "__main__":
    main()
