"""A small copy of a course's checkpoint, for version control: averaged weights and log, from which
`obic.train --init` goes on. It is no codec, and nothing in the product reads it. `obic.train.pack
--small-copy` writes it.

The file is an `.npz` without pickled objects: `about`, JSON with the shape and the log, and for
each parameter NAME either `NAME` float16, or, for matrices, `NAME` int8 with `NAME.scale` float32
[out] (weight = int8 * scale).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

SCALE = ".scale"


def write_small_copy(path: Path, content: Mapping[str, Any]) -> None:
    """content: shape, state and log of a checkpoint (`obic.train.codec.checkpoint.read_codec`)."""
    arrays: dict[str, Any] = {"about": np.array(json.dumps({"shape": content["shape"], "log": content["log"]}))}
    for name, value in content["state"].items():
        if value.ndim in (2, 4) and min(value.shape[0], value[0].numel()) > 16:
            arrays[name], arrays[name + SCALE] = _int8(value)
        else:
            arrays[name] = value.half().numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    with draft.open("wb") as file:
        np.savez(file, **arrays)
    draft.replace(path)


def read_small_copy(path: Path) -> dict[str, Any]:
    """-> shape, state (float32) and log. Raises ValueError if it is something else."""
    with path.open("rb") as file:
        try:
            with np.load(file) as archive:
                arrays = {name: archive[name] for name in archive.files}
            content = json.loads(str(arrays.pop("about")))
        except Exception:  # numpy and zip readers raise half a dozen kinds
            raise ValueError(f"{path} is not a small copy of a checkpoint") from None
    scales = {name: arrays.pop(name + SCALE) for name in list(arrays) if name + SCALE in arrays}
    state = {name: torch.from_numpy(array).float() for name, array in arrays.items()}
    for name, scale in scales.items():
        state[name] *= torch.from_numpy(scale).view(-1, *[1] * (state[name].ndim - 1))
    return {"shape": content["shape"], "state": state, "log": content["log"]}


def _int8(weight: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Weights [out, ...] -> int8 of the same shape, and scales [out]."""
    scale = weight.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
    rounded = (weight / scale.view(-1, *[1] * (weight.ndim - 1))).round().to(torch.int8)
    return rounded.contiguous().numpy(), scale.numpy()
