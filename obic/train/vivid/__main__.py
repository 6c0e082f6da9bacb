"""Trains a second synthesis for a finished codec, sharp instead of smooth: `python -m
obic.train.vivid --help`.

Only the synthesis is trained; every file stays as it is. Loss: eq. 4's distortion, and Wasserstein
distortion (Qiu, Wagner, Ballé and Theis 2024, "Wasserstein distortion: unifying fidelity and
realism", between Gaussians): features of the two pictures have to agree in their local means and
deviations, not place by place, so that texture may be made up. Features: differences of
neighbouring pixels, and the first stages of our own segmenter.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from obic.constants import MAX_QUALITY
from obic.nn.model import CodecNetwork
from obic.nn.rate_distortion import code_layers
from obic.segment.torch_deeplab import load_network
from obic.shape import noise
from obic.train.codec.checkpoint import load_checkpoint
from obic.train.codec.crops import Batches, draw_rows
from obic.train.common.bfloat16 import mixed_precision
from obic.train.common.command import Budget, add_machine, cells, count, join_processes, plain_errors, positive
from obic.train.common.command import output as output_file
from obic.train.common.curves import Curves, say
from obic.train.common.data import described, load_samples
from obic.train.common.manifest import default_entry
from obic.train.common.optim import Average, Optimisers
from obic.train.common.whole_file import save_whole
from obic.train.vivid.look_file import with_grain
from obic.train.vivid.wasserstein import Views, vivid_loss
from obic.weights import segmenter_bytes

LOW_QUALITY, LOW_SHARE = 50, 0.75  # it is for low rates, and must not fail at others
GRAIN = 8  # planes of noise
AVERAGE = 0.995  # of the weights: a short run


def mostly_low_quality(generator: random.Random) -> float:
    """A random quality in 1..100, three times out of four up to 50."""
    low = generator.random() < LOW_SHARE
    return generator.uniform(*((1, LOW_QUALITY) if low else (LOW_QUALITY, MAX_QUALITY)))


def decoded_features(
    network: CodecNetwork, pixels: Tensor, labels: Tensor, generator: random.Random
) -> tuple[Tensor, Tensor]:
    """What the synthesis of a decoder is given: features [B, M, h, w] and conditions [B, 2, h, w]
    of all cells.

    pixels: [B, 3, 16h, 16w] in 0..1; labels: [B, h, w], 0 or 1.
    """
    layers = torch.stack([1 - labels, labels], 1)
    rows = draw_rows(layers, generator, mostly_low_quality)
    with torch.no_grad():
        features = network.analysis(pixels - 0.5)[rows.pictures].float()
        decoded, conditions, _ = code_layers(network, features, rows.cells, rows.quality, noisy=False)
    return rows.joined(decoded), rows.joined(conditions)


def train(
    network: CodecNetwork, views: Views, batches: Batches, minutes: float,
    save: Callable[[dict[str, Tensor], dict[str, Any]], None], curves: Curves, muon_lr: float,
    start_from: Mapping[str, Tensor] | None = None,
) -> None:
    """Trains a synthesis for a time budget, from the network's own or from the weights of an
    earlier look. save(state, log): called with its averaged weights now and then."""
    device = batches.device
    network.to(device).to(memory_format=torch.channels_last).requires_grad_(False)
    views.to(device).to(memory_format=torch.channels_last)
    synthesis = with_grain(network.synthesis, network.shape, GRAIN).to(device).to(memory_format=torch.channels_last)
    if start_from:
        synthesis.load_state_dict({**synthesis.state_dict(), **start_from})  # it may lack blocks or damping
    optimisers, average = Optimisers(synthesis, muon_lr, 1e-3), Average(synthesis, AVERAGE)
    saved = reported = 0.0
    with Budget(minutes) as budget:
        while not budget.over:
            now = budget.spent() / 60
            progress = min(1.0, now / minutes)
            pixels, labels = batches.draw()
            with mixed_precision(device):
                features, conditions = decoded_features(network, pixels, labels, batches.random)
                seeds = [batches.random.getrandbits(32) for _ in features]
                height, width = features.shape[-2:]
                planes = np.stack([noise(GRAIN, height, width, seed) for seed in seeds])
                grain = torch.from_numpy(planes).permute(0, 3, 1, 2).to(features)
                output = synthesis(features, torch.cat([conditions, grain], 1)).float() + 0.5
                loss, *figures = vivid_loss(output, pixels, views)
            loss.backward()
            optimisers.step(progress)
            average.update(synthesis)
            curves.add(loss.item(), *figures)
            if now - reported > 1 or budget.over:
                curves.report(now, optimisers.steps, minutes * (1 - progress))
                reported = now
            if now - saved > 5 or budget.over:
                save(average.state, {"steps": optimisers.steps, "minutes": now})
                saved = now
    budget.end("what there is of the look was saved")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.train.vivid", description=__doc__.split("\n\n")[0])
    parser.add_argument("weights", type=Path, help="folder of packed weights: the look is for its default codec")
    parser.add_argument("--data", nargs="+", required=True, metavar="PATH", help="folders or zips of pictures")
    parser.add_argument("--init", type=Path, metavar="FILE", help="start from a packed look of an earlier codec "
                        "(codec-*-vivid.npz), which is near if this one was trained on from that")
    parser.add_argument("--minutes", type=positive, default=60, help="time budget (default 60)")
    parser.add_argument("--out", type=output_file, default=Path("runs/vivid.pt"),
                        help="for `python -m obic.train.pack --look vivid`; curves beside it (default runs/vivid.pt)")
    parser.add_argument("--batch", type=count, default=4, help="crops a step (default 4)")
    parser.add_argument("--crop", type=cells, default=192, help="side of the crops in pixels (default 192)")
    parser.add_argument("--muon-lr", type=positive, default=0.002)
    add_machine(parser)
    args = parser.parse_args()
    with plain_errors():
        device = join_processes(args)
        network, codec = load_checkpoint(args.weights), default_entry(args.weights)["fingerprint"]
        views = Views(load_network(segmenter_bytes()))
        samples = load_samples(args.data, limit=args.limit)
        start_from = None
        if args.init:
            with np.load(args.init) as archive:
                start_from = {name: torch.from_numpy(archive[name]).float() for name in archive.files}
    say(f"{described(samples)}, a look for codec {codec}")

    def save(state: dict[str, Tensor], log: dict[str, Any]) -> None:
        synthesis = {name: value.half().cpu() for name, value in state.items()}
        save_whole(args.out, {"codec": codec, "synthesis": synthesis, "log": log})

    batches = Batches(samples, args.crop, args.batch, device, args.seed)
    curves = Curves(args.out.with_suffix(".csv"), ("loss", "distortion", "wasserstein"))
    train(network, views, batches, args.minutes, save, curves, args.muon_lr, start_from)


if __name__ == "__main__":
    main()
