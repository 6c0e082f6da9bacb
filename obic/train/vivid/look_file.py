"""A look's weights file: a second synthesis for a codec, packed beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from obic.nn.model import Synthesis
from obic.shape import Shape
from obic.train.codec.checkpoint import load_checkpoint
from obic.train.common.manifest import default_entry, file_bytes


def with_grain(synthesis: Synthesis, shape: Shape, count: int) -> Synthesis:
    """The same synthesis with planes of noise at its input, which do nothing yet."""
    result, state = Synthesis(shape, count), synthesis.state_dict()
    state["layers.0.weight"] = F.pad(state["layers.0.weight"], (0, 0, 0, 0, 0, count))
    result.load_state_dict(state)
    return result


def mixed_with_own(folder: Path, checkpoint: Mapping[str, Any], share: float) -> dict[str, Any]:
    """What `obic.train.vivid` saves, its weights mixed with the codec's own synthesis: `share` of
    the look's."""
    if share == 1:
        return dict(checkpoint)
    network, made = load_checkpoint(folder), checkpoint["synthesis"]
    grain = made["layers.0.weight"].shape[1] - network.synthesis.layers[0].in_channels
    own = with_grain(network.synthesis, network.shape, grain).state_dict()
    mixed = {name: torch.lerp(own[name], value.float(), share).half() for name, value in made.items()}
    return {**checkpoint, "synthesis": mixed, "log": {**checkpoint["log"], "share": share}}


def look_bytes(checkpoint: Mapping[str, Any]) -> bytes:
    """A look's file, of what `obic.train.vivid` saves."""
    return file_bytes({key: value.numpy() for key, value in checkpoint["synthesis"].items()})


def looks_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The looks of the default codec in a folder of weights, as `obic.train.vivid` saves them."""
    looks = {}
    for look, about in default_entry(folder).get("looks", {}).items():
        with np.load(folder / about["file"]) as archive:
            synthesis = {name: torch.from_numpy(archive[name]) for name in archive.files}
        looks[look] = {"synthesis": synthesis, "log": about["training"]}
    return looks
