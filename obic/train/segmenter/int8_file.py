"""The segmenter's file of int8 weights: read to begin a run with, and made of a run's
checkpoint."""

from __future__ import annotations

import argparse
import io
import json
import math
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from torch import Tensor, nn

from obic.segment.deeplab import DeepLab
from obic.segment.shapes import LITE
from obic.segment.torch_deeplab import fold_norms, int8_arrays, load_network
from obic.train.common.command import join_processes, plain_errors
from obic.train.common.manifest import write_segmenter
from obic.train.common.whole_file import read_whole
from obic.train.segmenter.held_out import masked_samples, split
from obic.train.segmenter.imagenet import ORIGIN
from obic.train.segmenter.operating_point import choose_operating_point

CHECKPOINT = ("backbone", "model", "average", "progress")  # what a run saves


def packed(path: Path) -> DeepLab:
    """The network of a segmenter's weights file. Raises OSError, and ValueError if it is something
    else."""
    try:
        return load_network(path)
    except (KeyError, RuntimeError, ValueError, BadZipFile):
        raise ValueError(f"{path} is not a segmenter's weights file") from None


def mixture(old: nn.Module, new: nn.Module, share: float) -> dict[str, Tensor]:
    """Between the folded weights of a network and those of a run that began with them: share 0..1,
    of the new ones (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models")."""
    before = old.state_dict()
    return {name: before[name].lerp(value, share) for name, value in new.state_dict().items()}


def pack_checkpoint(args: argparse.Namespace) -> None:
    """Put the averaged weights of a checkpoint, mixed with earlier ones or not, into a folder of
    weights as int8, with the operating point that suits the held-out pictures."""
    with plain_errors():
        if args.out.suffix != ".npz":
            raise ValueError(f"--out {args.out}: with --pack a file NAME.npz in a folder of weights")
        join_processes(args)
        state = read_whole(args.pack, *CHECKPOINT)
        network = DeepLab(state["backbone"])
        network.load_state_dict(state["average"])
        network = fold_norms(network)
        if args.mix:
            old = packed(args.mix)
            if old.backbone != network.backbone:
                raise ValueError(f"{args.mix} has another backbone: {old.backbone}, {args.pack} {network.backbone}")
            network.load_state_dict(mixture(old, network, args.share))
        _, held_out = split(masked_samples(args), args.held_out)
    point = choose_operating_point(network, held_out, args.long_sides)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {**int8_arrays(network, state["backbone"], point.long_side, point.threshold)}
    np.savez_compressed(buffer, **arrays)
    figures = {name: round(value, 4) for name, value in point._asdict().items() if math.isfinite(value)}
    about = {"on": args.trained_on, "held-out": figures}
    if state["backbone"] == LITE:
        about["begun with"] = ORIGIN
    with plain_errors():
        write_segmenter(args.out, buffer.getvalue(), about)
    print(json.dumps({"file": str(args.out), "bytes": args.out.stat().st_size, **figures}))
