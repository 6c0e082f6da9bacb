"""Room 3. What computes the networks: numpy alone, or PyTorch, which is faster on large pictures
and uses a GPU.

The integers in a file decode to the same on either (spec 6); pixels differ by rounding. Importing
this package loads neither.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from obic.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from obic.shape import Shape

BACKENDS = ("auto", "numpy", "torch")
DEVICES = ("auto", "cpu", "cuda")
LARGE = 4_000_000  # pixels of work from which PyTorch makes up for the time it takes to import
INSTALL = "PyTorch is not installed: pip install 'obic[torch]'"

Array = Any  # numpy's, or a tensor of PyTorch's: both are sliced and computed with in the same way


class Backend(Protocol):
    """The networks of a codec on a device, as functions that see a few places round each
    (`Shape.reach`).

    Arrays are float32 and of the backend's own kind, [B, h, w, C]; pixels are uint8 of numpy's. M:
    channels of the latent, Z: of the hyper-latent, C: of the hyper features. grain: planes of noise
    that the synthesis takes. tile: the most cells to give it at a time, whose time and memory pay.
    """

    shape: Shape
    grain: int
    tile: int

    def array(self, values: np.ndarray | Array) -> Array:
        """Values of any type, numpy's or its own, as an array of the backend's, which may share
        their memory."""
        ...

    def numpy(self, array: Array) -> np.ndarray:
        """The inverse."""
        ...

    def concatenate(self, arrays: Sequence[Array]) -> Array:
        """Along the first axis."""
        ...

    def analysis(self, pixels: np.ndarray) -> Array:
        """Pixels [B, 16h, 16w, 3] -> features [B, h, w, M] (LearntOBIC's F, eq. 1)."""
        ...

    def hyper_analysis(self, scaled: Array, conditions: Array) -> Array:
        """Scaled latent [B, 4h, 4w, M] and conditions [B, 4h, 4w, 2] -> hyper-latent before
        rounding [B, h, w, Z]."""
        ...

    def hyper_synthesis(self, z: Array) -> Array:
        """Coded hyper-latent [B, h, w, Z] -> hyper features [B, 4h, 4w, C] (spec 8.2)."""
        ...

    def context(self, number: int, known: Array, hyper: Array, conditions: Array) -> tuple[Array, Array]:
        """Pass 0..3, from the latent that earlier passes decoded -> mean and step, [B, h, w, M]
        each (spec 8.2).

        They hold for what the pass codes (`obic.shape.pass_numbers`) at the cells that the layer
        has, by the first of the conditions; elsewhere they are any numbers, and no step is 0."""
        ...

    def synthesis(self, features: Array, conditions: Array, grain: Array) -> np.ndarray:
        """Features [B, h, w, M], conditions [B, h, w, 2] and noise [1, h, w, grain] -> pixels (spec
        8.3)."""
        ...


def check_choice(backend: str, device: str) -> None:
    """Raises UsageError unless both are known, go together, and what they need is there."""
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}; choose {', '.join(BACKENDS)}")
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}; choose {', '.join(DEVICES)}")
    if device == "cuda":
        if backend == "numpy":
            raise UsageError("numpy computes on the CPU: use --backend torch or auto with --device cuda")
        need_torch()
        choose_device(device)
    elif backend == "torch":
        need_torch()


def need_torch(what: str = "") -> None:
    """Raises UsageError where PyTorch is not installed. what: who needs it."""
    if not has_torch():
        raise UsageError(f"{what} needs PyTorch: pip install 'obic[torch]'" if what else INSTALL)


def has_torch() -> bool:
    """Whether PyTorch is installed; does not import it."""
    return "torch" in sys.modules or importlib.util.find_spec("torch") is not None


def choose_backend(backend: str, device: str, pixels: int) -> str:
    """"numpy" or "torch" for so many pixels of work. A choice of "auto" falls on PyTorch for a GPU
    that is asked for, where it is imported already, and where it is installed and the work is
    LARGE; else on numpy."""
    if backend != "auto":
        return backend
    worth_it = device == "cuda" or "torch" in sys.modules or pixels > LARGE
    return "torch" if worth_it and has_torch() else "numpy"


def choose_device(device: str) -> str:
    """PyTorch's device: "auto" is "cuda" where there is one, else "cpu". Raises UsageError if there
    is none."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("there is no CUDA device here: use --device cpu or auto")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def load_backend(name: str, arrays: Mapping[str, np.ndarray], shape: Shape, device: str) -> Backend:
    """The networks from their parameters, float16 or float32 by name (spec 7.1, without prefixes).

    name: "numpy" or "torch". device: of PyTorch's. Raises KeyError or RuntimeError where parameters
    are missing.
    """
    if name == "numpy":
        from obic.backends.numpy_backend import NumpyBackend

        return NumpyBackend(arrays, shape)
    from obic.backends.torch_backend import TorchBackend

    return TorchBackend(arrays, shape, choose_device(device))
