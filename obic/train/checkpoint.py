"""Weights of the codec network between runs: checkpoints, and packed weights read back into a network to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from obic.constants import HIDDEN_BITS, HIDDEN_SHIFT, HYPER_ORDER, MAX_QUALITY
from obic.nn.gain import interpolate
from obic.nn.hyperprior import LOG_SCALE_MIN, LOG_STEP, index_to_scale
from obic.nn.model import CodecNetwork
from obic.shape import Shape, quality_to_level
from obic.train import parallel
from obic.train.manifest import default_entry
from obic.train.optim import Average
from obic.weights import ENCODER, NETWORK

CODEC_NAMES = ("shape", "state", "log")


def save_checkpoint(path: Path, network: CodecNetwork, average: Average, log: dict) -> None:
    """The averaged weights in float16, written whole or not at all, by the first process alone."""
    if parallel.rank() == 0:
        state = {name: value.half() for name, value in average.state.items()}
        save_whole(path, {"shape": network.shape.as_dict(), "state": state, "log": log})


def save_whole(path: Path, content: dict) -> None:
    """Writes a file for `read_whole`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def read_whole(path: str | Path, *names: str) -> dict:
    """What `save_whole` wrote, on the CPU. Raises ValueError if it is something else, or lacks one of the names."""
    with Path(path).open("rb") as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception:  # pickle and zip readers raise half a dozen kinds
            raise ValueError(f"{path} is not a checkpoint") from None
    missing = [name for name in names if not isinstance(content, dict) or name not in content]
    if missing:
        raise ValueError(f"{path} is a checkpoint of another kind: it has no {missing[0]!r}")
    return content


def checkpoint_log(path: str | Path) -> dict:
    """What a codec's checkpoint says of its run: steps, minutes, progress (share of the schedule, 0..1).

    Raises as `load_checkpoint` does.
    """
    return read_whole(path, *CODEC_NAMES)["log"]


def load_checkpoint(path: str | Path) -> CodecNetwork:
    """The network of a checkpoint, or of a folder of packed weights (its default codec).

    Raises OSError, and ValueError if it is neither.
    """
    if Path(path).is_dir():
        return _unpacked(Path(path))
    checkpoint = read_whole(path, *CODEC_NAMES)
    network = CodecNetwork(Shape.of(checkpoint["shape"]))
    network.load_state_dict({name: value.float() for name, value in checkpoint["state"].items()})
    return network


def new_network(shape: Shape) -> CodecNetwork:
    """A network with its start values, untrained."""
    network = CodecNetwork(shape)
    network.start()
    return network


def grown(network: CodecNetwork, shape: Shape) -> CodecNetwork:
    """The network with what it lacks of the blocks, damping and hidden units of `shape`: at first that changes next to
    nothing.

    Raises ValueError if anything else differs.
    """
    larger, state = new_network(shape), network.state_dict()
    fits = {name: value.shape for name, value in larger.state_dict().items()}
    misfits = [name for name, value in state.items() if fits.get(name) != value.shape]
    if misfits:
        raise ValueError(f"a network of {network.shape} does not grow into {shape}: {misfits[0]} has no place in it")
    larger.load_state_dict(state, strict=False)
    return larger


def _unpacked(folder: Path) -> CodecNetwork:
    """The inverse of `obic.train.pack`: integers are exact to their rounding."""
    entry = default_entry(folder)
    with np.load(folder / entry["file"]) as archive:
        arrays = {name: torch.from_numpy(archive[name]).float() for name in archive.files}
    network = CodecNetwork(Shape.of(entry["shape"]))
    state = {
        name.removeprefix(ENCODER).removeprefix(NETWORK): value
        for name, value in arrays.items()
        if name.startswith((ENCODER, NETWORK))
    }
    step = LOG_STEP / 2 ** arrays["scale_map.shift"]
    state["scale_index.weight"] = arrays["scale_map.weight"] * step
    state["scale_index.bias"] = _at_levels(arrays["scale_map.bias"] * step + LOG_SCALE_MIN - LOG_STEP, network)
    if network.scale_index.hidden:
        unit = 2 ** (HIDDEN_BITS + HIDDEN_SHIFT)
        state["scale_index.into_hidden"] = arrays["scale_map.into_hidden"] / unit
        state["scale_index.hidden_bias"] = _at_levels(arrays["scale_map.hidden_bias"] / unit, network)
        state["scale_index.from_hidden"] = arrays["scale_map.from_hidden"] * step
    state["hyper_gaussian.offset"] = _at_levels(arrays["hyper_offset"], network)
    log_scale = index_to_scale(arrays["hyper_index"] + 0.5).log()
    of_passes = log_scale if log_scale.ndim == 3 else log_scale.expand(len(HYPER_ORDER), -1, -1)
    state["hyper_gaussian.log_scale"] = torch.stack([_at_levels(each, network) for each in of_passes])
    state["hyper_gaussian.weight"] = torch.zeros_like(network.hyper_gaussian.weight)
    if "hyper_context.weight" in arrays:
        state["hyper_gaussian.weight"] = arrays["hyper_context.weight"] / 2 ** arrays["hyper_context.shift"]
    network.load_state_dict(state)
    return network


def _at_levels(table: torch.Tensor, network: CodecNetwork) -> torch.Tensor:
    """Values at each quality [100, C] -> at each level [levels, C], between which they are interpolated."""
    level = quality_to_level(torch.arange(1.0, MAX_QUALITY + 1), network.shape.levels)
    shares = interpolate(torch.eye(network.shape.levels), level)
    return torch.linalg.lstsq(shares, table).solution
