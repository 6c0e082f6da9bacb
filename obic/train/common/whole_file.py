"""Files of tensors, such as checkpoints, that are written as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def save_whole(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a file for `read_whole`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    with draft.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read_whole(path: str | Path, *names: str) -> dict[str, Any]:
    """What `save_whole` wrote, on the CPU. Raises ValueError if it is something else, or lacks one
    of the names."""
    with Path(path).open("rb") as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception:  # pickle and zip readers raise half a dozen kinds
            raise ValueError(f"{path} is not a checkpoint") from None
    missing = [name for name in names if not isinstance(content, dict) or name not in content]
    if missing:
        raise ValueError(f"{path} is a checkpoint of another kind: it has no {missing[0]!r}")
    return content
