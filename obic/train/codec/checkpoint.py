"""Weights of the codec network between runs: checkpoints, and packed weights read back into a
network to train on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from obic.constants import HIDDEN_BITS, HIDDEN_SHIFT, HYPER_ORDER, MAX_QUALITY
from obic.nn.gain import interpolate
from obic.nn.hyper_networks import LOG_SCALE_MIN, LOG_STEP, index_to_scale
from obic.nn.model import CodecNetwork
from obic.shape import Shape, quality_to_level
from obic.train.codec.loss import WHOLE_UNTIL
from obic.train.codec.small_copy import read_small_copy
from obic.train.common import parallel
from obic.train.common.curves import say
from obic.train.common.manifest import default_entry
from obic.train.common.whole_file import read_whole, save_whole
from obic.weights import ENCODER, NETWORK

CODEC_NAMES = ("shape", "state", "log")


@dataclass(frozen=True)
class Places:
    """Where a course is kept: a file and, if there is one, a copy of it elsewhere."""

    out: Path
    copy: Path | None = None

    @classmethod
    def of(cls, out: Path, copy: Path | None) -> Places:
        """copy: a file, or a folder that is there."""
        return cls(out, copy / out.name if copy and copy.is_dir() else copy)

    def all(self) -> list[Path]:
        """The file, and its copy if there is one."""
        return [place for place in (self.out, self.copy) if place]

    def refuse_to_overwrite(self) -> None:
        """Raises ValueError if a checkpoint is there."""
        for place in self.all():
            if place.exists():
                raise ValueError(f"{place} is there already: go on with --resume, or name another --out")

    def newest(self) -> dict[str, Any]:
        """The checkpoint that is furthest on, of those that are whole. Raises ValueError if there
        is none."""
        found = []
        for place in filter(Path.exists, self.all()):
            try:
                found.append((read_codec(place), place))
            except ValueError as error:
                say(f"left aside: {error}")
        if not found:
            raise ValueError(f"nothing to go on with: no checkpoint in {' or '.join(map(str, self.all()))}")
        content, place = max(found, key=lambda each: each[0]["log"].get("crops", 0))
        say(f"going on with {place}")
        return content

    def save(self, content: Mapping[str, Any]) -> None:
        """By the first process alone. A copy that fails is said, and stops nothing."""
        if parallel.rank():
            return
        save_whole(self.out, content)
        if self.copy:
            try:
                self.copy.parent.mkdir(parents=True, exist_ok=True)
                draft = self.copy.with_name(self.copy.name + ".tmp")
                shutil.copyfile(self.out, draft)
                draft.replace(self.copy)
            except OSError as error:
                say(f"no second copy: {error}")

    def keep(self, content: Mapping[str, Any]) -> None:
        """The averaged weights alone, in float16, named for their crops: course-050k.pt beside
        course.pt."""
        if parallel.rank() == 0:
            path = self.out.with_name(f"{self.out.stem}-{content['log']['crops'] // 1000:03d}k.pt")
            state = {name: value.half() for name, value in content["state"].items()}
            save_whole(path, {"shape": content["shape"], "state": state, "log": content["log"]})


def read_codec(path: str | Path) -> dict[str, Any]:
    """What is known of a codec in training: `shape`, `state` (averaged weights, float32) and `log`,
    and of a checkpoint to go on with what `obic.train.codec.course` adds.

    path: a checkpoint, a small copy of one (.npz), or a folder of packed weights, of which the
    default codec counts: with the first phases of a course behind it. Raises OSError, and
    ValueError if it is none of these.
    """
    path = Path(path)
    if path.is_dir():
        crops = default_entry(path).get("training", {}).get("crops", WHOLE_UNTIL)
        network = _unpacked(path)
        return {"shape": network.shape.as_dict(), "state": network.state_dict(), "log": {"crops": crops}}
    content = read_small_copy(path) if path.suffix == ".npz" else read_whole(path, *CODEC_NAMES)
    for part in {"state", "raw"} & content.keys():
        content[part] = {name: value.float() for name, value in content[part].items()}
    return content


def checkpoint_log(path: str | Path) -> dict[str, Any]:
    """What a codec's checkpoint says of its course (`obic.train.codec.course.Log`). Raises as
    `read_codec` does."""
    return read_codec(path)["log"]


def load_checkpoint(path: str | Path) -> CodecNetwork:
    """The network of a checkpoint, with its averaged weights; path as of `read_codec`, which says
    what is raised."""
    return averaged_network(read_codec(path))


def averaged_network(content: Mapping[str, Any]) -> CodecNetwork:
    """The network of what `read_codec` gives, with its averaged weights."""
    network = CodecNetwork(Shape.of(content["shape"]))
    network.load_state_dict(content["state"])
    return network


def new_network(shape: Shape) -> CodecNetwork:
    """A network with its start values, untrained."""
    network = CodecNetwork(shape)
    network.start()
    return network


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
    """Values at each quality [100, C] -> at each level [levels, C], between which they are
    interpolated."""
    level = quality_to_level(torch.arange(1.0, MAX_QUALITY + 1), network.shape.levels)
    shares = interpolate(torch.eye(network.shape.levels), level)
    return torch.linalg.lstsq(shares, table).solution
