"""Networks built without start values, for trained ones to be loaded into."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _NoRandomStart(TorchFunctionMode):
    """Leaves out every draw of start values: on the meta device one costs the import of torch's
    compiler, seconds."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if getattr(function, "__name__", "") in ("normal_", "uniform_", "trunc_normal_", "orthogonal_"):
            return args[0] if args else named["tensor"]
        return function(*args, **named)


@contextmanager
def blank() -> Iterator[None]:
    """Within it, modules are built on the meta device and take no time: `load_state_dict(...,
    assign=True)` next."""
    with torch.device("meta"), _NoRandomStart():
        yield
