"""Room 2. Layers and their names from a map of classes: one for all objects, for each class, or for
each object."""

from collections.abc import Sequence

import numpy as np

from obic.connected import connected_cells, neighbours
from obic.constants import CELL
from obic.container.header import default_names
from obic.errors import UsageError
from obic.masks import OBJECT, VOID, grid_labels, spread_cells

MAX_INSTANCES = 15
SPECK = 4 * CELL**2  # a connected object of fewer pixels is no layer of its own, unless it is the largest there is

Layers = tuple[np.ndarray | None, tuple[str, ...]]


def split_layers(
    classes: np.ndarray,
    kind: str | None,
    class_names: Sequence[str] | None = None,
    parts: np.ndarray | None = None,
) -> Layers:
    """(labels, names): the layer of each pixel, uint8 [H, W], and the name of each layer, by index.

    classes: uint8 [H, W], 0 = background, 255 = void, any other value a class. class_names: by
    value; a class without one, and 254, is called "object". Classes of one name are numbered. Where
    no object is left there is one layer, and the labels are None.

    "object": all classes together. "class": a layer for each class that owns a cell. "instance": a
    layer for each connected object (cells that it touches, side by side or corner to corner), the
    largest first, at most 15. Objects of fewer than 1024 pixels, unless the largest, become part of
    the largest one they touch; those that touch none, and all beyond 15, become background. Where
    it is known which object each pixel is part of (parts: uint8 [H, W], numbers from 1), these are
    the layers, in their order, each of the class that most of it has. "none": one layer. None: the
    classes are 0..N-1 and layers already. Raises UsageError for any other kind.
    """
    classes = np.where(classes == VOID, 0, classes)
    if kind == "none" or not classes.any():
        return None, default_names(1)
    if kind is None:
        return classes, default_names(int(classes.max()) + 1)
    if kind == "object":
        return (classes > 0).astype(np.uint8), default_names(2)
    if kind not in _SPLITTERS:
        raise UsageError(f"there are no layers of the kind {kind!r}; choose object, class, instance or none")
    if kind == "instance" and parts is not None:
        labels, values = _by_part(classes, parts)
    else:
        labels, values = _SPLITTERS[kind](classes)
    if not values:
        return None, default_names(1)
    known = class_names or ()
    names = [known[value] if value < len(known) and value != OBJECT else "object" for value in values]
    if kind == "instance" or len(set(names)) < len(names):
        names = [f"{name}-{names[: place + 1].count(name)}" for place, name in enumerate(names)]
    return labels, ("background", *names)


def _by_class(classes: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Labels uint8 [H, W] and the class of each layer from 1 on."""
    values = np.setdiff1d(grid_labels(classes, int(classes.max()) + 1), [0])
    labels = np.searchsorted(values, classes) + 1
    return np.where(np.isin(classes, values), labels, 0).astype(np.uint8), values.tolist()


def _by_instance(classes: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """As `_by_class`. A cell that several classes touch belongs to the one with most of it, for all
    its pixels."""
    cells = grid_labels(classes, int(classes.max()) + 1, coverage=0)
    parts = connected_cells(cells).astype(np.int32)
    pixels = np.where(classes == spread_cells(cells, *classes.shape), spread_cells(parts, *classes.shape), 0)
    sizes = np.bincount(pixels.ravel())
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")[:MAX_INSTANCES]
    chosen = [number for rank, number in enumerate(order) if sizes[number] >= (SPECK if rank else 1)]
    label = np.zeros(len(sizes), np.uint8)
    label[chosen] = np.arange(1, len(chosen) + 1)
    specks = (label == 0) & (sizes < SPECK)
    return np.where(specks, _touched(parts, label), label)[pixels], [int(cells.flat[number - 1]) for number in chosen]


def _by_part(classes: np.ndarray, parts: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """As `_by_class`."""
    parts = np.where(classes > 0, parts, 0)
    numbers = np.setdiff1d(parts, [0])
    labels = np.where(parts > 0, np.searchsorted(numbers, parts) + 1, 0).astype(np.uint8)
    return labels, [int(np.bincount(classes[parts == number]).argmax()) for number in numbers]


def _touched(parts: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The smallest label, uint8, of another part that each part touches, 0 where it touches none
    with a label.

    parts: [h, w], the number of the part that each cell belongs to, 0 for none. label: uint8, of
    each part.
    """
    none = 255
    touched = np.full(len(label), none, np.uint8)
    for pair in neighbours(parts):
        for part, other in (pair, pair[::-1]):
            meet = (part > 0) & (part != other) & (label[other] > 0)
            np.minimum.at(touched, part[meet], label[other][meet])
    return np.where(touched == none, np.uint8(0), touched)


_SPLITTERS = {"class": _by_class, "instance": _by_instance}
