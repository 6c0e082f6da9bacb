"""Networks built without start values, for trained ones to be loaded into."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode


class _NoRandomStart(TorchFunctionMode):
    """Leaves out every draw of start values: on the meta device one costs the import of torch's compiler, seconds."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in ("normal_", "uniform_", "trunc_normal_", "orthogonal_"):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))


@contextmanager
def blank() -> Iterator[None]:
    """Within it, modules are built on the meta device and take no time: `load_state_dict(..., assign=True)` next."""
    with torch.device("meta"), _NoRandomStart():
        yield
