"""Segmenters by name: `torchvision:deeplabv3_resnet101`, `rembg:u2net`, `onnx:FILE?...`,
`python:module:attribute`, and the entry points `obic.segmenters` of other packages. Each kind is a
module here, imported when it is asked for.

Such a module has `load(rest, device)`: the segmenter for what follows the colon (raises ImportError
where a package is missing, UsageError for a name or an option that there is not), and `names()`:
(name, licence of its weights) of those it can list, or ImportError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import NamedTuple

import numpy as np

from obic.container.header import can_name_layer
from obic.errors import ObicError, UsageError
from obic.masks import OBJECT, VOID
from obic.prompts import BUILTIN
from obic.segment import CLASS_NAMES, Segmenter

GROUP = "obic.segmenters"  # of entry points


class Kind(NamedTuple):
    """How the names of a kind look, the extra that it needs, and the licence of weights that nobody
    here can know."""

    form: str
    extra: str | None
    licence: str


KINDS = {
    "torchvision": Kind("torchvision:NETWORK", "torch", "BSD-3-Clause; trained on COCO"),
    "rembg": Kind("rembg:SESSION", "rembg", "the session's own"),
    "onnx": Kind("onnx:FILE?size=320&mean=0.5&std=1&threshold=0.5", "onnx", "the file's own"),
    "python": Kind("python:MODULE:ATTRIBUTE", None, "your own"),
}


class Row(NamedTuple):
    """A line of `table`: a name, whether it is installed or how to get it, and the licence of the
    weights."""

    name: str
    installed: str
    licence: str


def check_name(name: str) -> str:
    """The name. Raises UsageError unless it is "builtin", of a known kind, or an entry point."""
    kind, _, rest = name.partition(":")
    if name == BUILTIN or (kind in KINDS and rest) or name in {point.name for point in _points()}:
        return name
    known = [BUILTIN, *(each.form for each in KINDS.values()), *sorted(point.name for point in _points())]
    raise UsageError(f"there is no segmenter {name!r}; choose {', '.join(known)} (obic mask --segmenter list)")


def resolve(choice: str | Segmenter, device: str = "auto") -> Segmenter:
    """The segmenter of a name other than "builtin", or a callable that follows the protocol, with
    its answers checked.

    device: "auto", "cpu" or "cuda", for PyTorch's. Raises UsageError for an unknown name, and with
    what to install; ObicError where it cannot be loaded.
    """
    if not isinstance(choice, str):
        return Checked(_name_of(choice), choice)
    check_name(choice)
    kind, _, rest = choice.partition(":")
    extra = KINDS[kind].extra if kind in KINDS else None
    try:
        found = _module(kind).load(rest, device) if kind in KINDS else _plugin(choice)
    except ImportError as error:
        remedy = f": pip install 'obic[{extra}]'" if extra else ""
        raise UsageError(f"the segmenter {choice} needs what is not installed ({error}){remedy}") from error
    except UsageError as error:
        raise UsageError(f"the segmenter {choice}: {error}") from error
    except (ObicError, MemoryError):
        raise
    except Exception as error:  # of any kind: of a download, of a file that is no network, of somebody's module
        raise ObicError(f"the segmenter {choice} cannot be loaded: {_said(error)}") from error
    return Checked(choice, found)


def table() -> Iterator[Row]:
    """All segmenters that can be named."""
    yield Row(BUILTIN, "yes", "MIT; Apache-2.0 where NOTICE says so")
    for kind, (form, extra, licence) in KINDS.items():
        try:
            names = _module(kind).names()
        except ImportError:
            yield Row(form, f"pip install 'obic[{extra}]'", licence)
        else:
            yield from (Row(f"{kind}:{name}", "yes", known) for name, known in names)
            if not names:
                yield Row(form, "yes", licence)
    for point in _points():
        package = f"yes, by {point.dist.name}" if point.dist else "yes"
        yield Row(point.name, package, "that package's")


class Checked:
    """A segmenter whose answers follow the protocol, or are an error that names it; void becomes
    background."""

    def __init__(self, name: str, segment: Callable[[np.ndarray], np.ndarray]):
        if not callable(segment):
            raise UsageError(f"the segmenter {name} is no function of a picture, but {type(segment).__name__}")
        self.name = name
        self.class_names = tuple(getattr(segment, "class_names", CLASS_NAMES))
        self._segment = segment
        if wrong := [each for each in self.class_names[1:] if not _is_class_name(each)]:
            raise UsageError(f"the segmenter {name} calls a class {wrong[0]!r}, which cannot be the name of a layer")

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Raises ObicError."""
        try:
            labels = self._segment(rgb)
        except UsageError as error:
            raise UsageError(f"the segmenter {self.name}: {error}") from error
        except (ObicError, MemoryError):
            raise
        except Exception as error:
            raise ObicError(f"the segmenter {self.name} failed: {_said(error)}") from error
        if not isinstance(labels, np.ndarray) or labels.dtype != np.uint8 or labels.shape != rgb.shape[:2]:
            array = isinstance(labels, np.ndarray)
            stated = f"{labels.dtype} {list(labels.shape)}" if array else type(labels).__name__
            raise ObicError(f"the segmenter {self.name} gave {stated}, not labels uint8 {list(rgb.shape[:2])}")
        labels = np.where(labels == VOID, np.uint8(0), labels)
        largest = int(np.where(labels == OBJECT, 0, labels).max())
        if largest >= max(1, len(self.class_names)):
            count = len(self.class_names)
            raise ObicError(f"the segmenter {self.name} gave the label {largest}, but has {count} names of classes")
        return labels


def _module(kind: str) -> ModuleType:
    return import_module(f"obic.segment.adapters.{kind}")


def _points() -> list[EntryPoint]:
    return sorted(entry_points(group=GROUP), key=lambda point: point.name)


def _plugin(name: str) -> Segmenter:
    from obic.segment.adapters.python import made

    return made(next(point for point in _points() if point.name == name).load())


def _is_class_name(name: object) -> bool:
    return isinstance(name, str) and name != "background" and can_name_layer(name) and can_name_layer(f"{name}-15")


def _name_of(segment: object) -> str:
    return getattr(segment, "__qualname__", None) or type(segment).__name__


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
