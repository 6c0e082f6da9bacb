"""`onnx:FILE?size=320&mean=0.5&std=1&threshold=0.5`: any network that segments, as an ONNX file.

It takes one picture, [1, 3, h, w] or [1, h, w, 3], and its first output counts: integers are
labels; one channel says where an object is, of no class; more are classes, of which the largest
wins, the background's first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from PIL import Image

from obic.errors import UsageError
from obic.masks import OBJECT, VOID
from obic.segment import CLASS_NAMES, Segmenter
from obic.segment.labels import label_map, resized

VALUES = ("probability", "logit", "minmax")
INPUT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
SLACK = 1e-3  # by which a probability may miss 0..1
# Antialiased, and as sharp as what most networks are trained on: U-2-Net small has a foreground IoU
# of 0.628 with it and of 0.610 with bilinear scaling (every 6th VOC picture).
SCALING = Image.Resampling.LANCZOS
LEAST_SHARE = 1e-6  # of a probability, before its logit is taken


@dataclass(frozen=True)
class Options:
    """What the query says.

    size: (width, height) of the picture that the network sees; None: what the file says. mean, std:
    of its colours in 0..1, one number or three; not used where it takes bytes. order: of the
    channels, "rgb" or "bgr". threshold: of the probability from which on there is an object.
    values: what the output is: a "probability", a "logit", or anything, to be stretched to 0..1
    ("minmax"); None: a probability for one channel, logits for more. labels: a text file with the
    name of a class in each line, the background's first.
    """

    size: tuple[int, int] | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: str = "rgb"
    threshold: float = 0.5
    values: str | None = None
    labels: str | None = None


def load(rest: str, device: str) -> Segmenter:
    """rest: a file and, behind a question mark, options."""
    import onnxruntime

    path, _, query = rest.partition("?")
    options = read_options(query)
    if not os.path.isfile(path):
        raise UsageError(f"there is no file {path}")
    wanted = ["CPUExecutionProvider"]
    if device != "cpu":
        wanted.insert(0, "CUDAExecutionProvider")
    there = onnxruntime.get_available_providers()
    session = onnxruntime.InferenceSession(path, providers=[name for name in wanted if name in there])
    return OnnxSegmenter(session, options)


def names() -> list[tuple[str, str]]:
    """None: the files are the user's. Raises ImportError without onnxruntime."""
    import onnxruntime  # noqa: F401

    return []


def read_options(query: str) -> Options:
    """Raises UsageError for what is not an option, or has no such value."""
    fields: dict[str, Any] = {}
    readers: dict[str, Callable[[str], Any]] = {
        "size": _size, "mean": _numbers, "std": _numbers, "threshold": _share, "order": _one_of("rgb", "bgr"),
        "values": _one_of(*VALUES), "labels": str,
    }  # fmt: skip
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in readers:
            raise UsageError(f"there is no option {name!r}; choose {', '.join(readers)}")
        try:
            fields[name] = readers[name](text)
        except ValueError:
            raise UsageError(f"{name} cannot be {text!r}") from None
    return Options(**fields)


class OnnxSegmenter:
    """session: onnxruntime's. Raises UsageError where the options do not fit the network."""

    def __init__(self, session: Any, options: Options):
        self._session, self._options = session, options
        taken = session.get_inputs()[0]
        shape = taken.shape
        if len(shape) != 4 or 3 not in (shape[1], shape[3]) or taken.type not in INPUT_TYPES:
            raise UsageError(f"the network takes {taken.type} {shape}, not one picture [1, 3, h, w] or [1, h, w, 3]")
        self._name, self._type, self._channels_first = taken.name, INPUT_TYPES[taken.type], shape[1] == 3
        fixed = shape[2:] if self._channels_first else shape[1:3]
        self._size = options.size or tuple(reversed(fixed))
        if not all(isinstance(side, int) for side in self._size):
            raise UsageError("the network takes pictures of any size; say size=512 or size=640x480")
        given = Path(options.labels).read_text(encoding="utf-8").splitlines() if options.labels else None
        self.class_names = tuple(given or CLASS_NAMES)
        self._named = bool(given)

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """As the protocol says."""
        picture = Image.fromarray(rgb).resize(self._size, SCALING)
        values = np.asarray(picture)
        if self._options.order == "bgr":
            values = values[..., ::-1]
        if self._type != np.uint8:
            mean, std = (np.asarray(each, np.float32) for each in (self._options.mean, self._options.std))
            values = (values.astype(np.float32) / 255 - mean) / std
        values = values.transpose(2, 0, 1) if self._channels_first else values
        fed = np.ascontiguousarray(values[None], self._type)
        return self._labels(self._session.run(None, {self._name: fed})[0], rgb)

    def _labels(self, output: np.ndarray, rgb: np.ndarray) -> np.ndarray:
        output = output[0] if output.ndim > 2 else output
        if output.ndim == 3:
            output = output.transpose(1, 2, 0) if self._channels_first else output
        if output.ndim not in (2, 3):
            raise UsageError(f"the network gives an output of {output.ndim} dimensions: no map of the picture")
        if output.dtype.kind in "iub":
            return _enlarged(output[..., 0] if output.ndim == 3 else output, rgb)
        planes = (output[..., None] if output.ndim == 2 else output).astype(np.float32)
        count = planes.shape[2]
        if count > 2 and count != len(self.class_names):
            raise UsageError(f"the network knows {count} classes; say labels=FILE with as many names, a line each")
        logits = self._logits(planes, self._options.values or ("probability" if count == 1 else "logit"))
        objects = logits[..., 0] if count == 1 else logits[..., 1:].max(2) - logits[..., 0]
        classes = logits[..., 1:] if count > 2 or (count == 2 and self._named) else None
        return label_map(resized(objects, *rgb.shape[:2]) > _logit(self._options.threshold), classes)

    def _logits(self, planes: np.ndarray, kind: str) -> np.ndarray:
        """Of one channel the logits; of several what differs from them by the same in each
        place."""
        if kind == "logit":
            return planes
        if kind == "minmax":
            low, high = planes.min(), planes.max()
            planes = (planes - low) / max(high - low, np.float32(LEAST_SHARE))
        if planes.min() < -SLACK or planes.max() > 1 + SLACK:
            raise UsageError("the network's output is no probability; say values=logit or values=minmax")
        return _logit(planes) if planes.shape[2] == 1 else np.log(np.maximum(planes, np.float32(LEAST_SHARE)))


def _enlarged(labels: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Labels of any integer type as uint8, at the size of the picture."""
    if labels.min() < 0 or labels.max() > VOID:
        raise UsageError(f"the network gives labels of {labels.min()} to {labels.max()}, not of 0 to {OBJECT}")
    size = rgb.shape[1::-1]
    return np.asarray(Image.fromarray(labels.astype(np.uint8)).resize(size, Image.Resampling.NEAREST))


def _logit(share: np.ndarray | float) -> np.ndarray:
    inside = np.clip(np.asarray(share, np.float32), np.float32(LEAST_SHARE), np.float32(1 - LEAST_SHARE))
    return np.log(inside / (1 - inside))


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    size = int(width), int(height or width)
    if not all(0 < side <= 1 << 13 for side in size):
        raise ValueError
    return size


def _numbers(text: str) -> tuple[float, ...]:
    numbers = tuple(float(each) for each in text.split(","))
    if len(numbers) not in (1, 3):
        raise ValueError
    return numbers


def _share(text: str) -> float:
    if not 0 < float(text) < 1:
        raise ValueError
    return float(text)


def _one_of(*choices: str) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return choose
