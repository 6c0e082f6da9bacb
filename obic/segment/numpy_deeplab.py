"""The networks of `obic.segment.deeplab` in numpy alone, from packed weights (`obic.segment.segmenter`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from obic.backends.strips import over_strips

RATES = (3, 6, 9)  # dilation of the pyramid's branches
CHUNK = 2048  # places whose windows are laid out at a time

Arrays = Mapping[str, np.ndarray]


class NumpyDeepLab:
    """Pictures float32 [B, h, w, 3] in 0..1 -> logits [B, h / 8, w / 8, 21]; h and w are multiples of 16."""

    def __init__(self, arrays: Arrays):
        self._backbone = BACKBONES[str(arrays["backbone"])](arrays)
        self._convolutions = {name: Convolution(arrays, name) for name in HEAD}

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        return np.stack([self._logits(each) for each in pictures])

    def _logits(self, picture: np.ndarray) -> np.ndarray:
        of = self._convolutions
        fine, coarse = self._backbone((picture - MEAN) / STD)
        views = [of["pyramid.branches.0.0"](coarse)]
        views += [of[f"pyramid.branches.{1 + place}.0"](coarse, dilation=rate) for place, rate in enumerate(RATES)]
        whole = of["pyramid.whole.0"](coarse.mean((0, 1), keepdims=True))
        coarse = of["pyramid.project.0"](np.concatenate([*views, np.broadcast_to(whole, views[0].shape)], 2))
        joined = np.concatenate([enlarged(coarse, *fine.shape[:2]), of["skip.0"](fine)], 2)
        return of["classify"](of["refine.0"](joined), relu=False)


MEAN, STD = np.float32([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
HEAD = (
    *(f"pyramid.branches.{number}.0" for number in range(1 + len(RATES))),
    "pyramid.whole.0", "pyramid.project.0", "skip.0", "refine.0", "classify",
)  # fmt: skip


class Convolution:
    """[h, w, inputs] -> [h / stride, w / stride, outputs], zeros beyond the border, then ReLU."""

    def __init__(self, arrays: Arrays, name: str):
        weight = arrays[f"{name}.weight"]  # int8 [outputs, inputs, k, k]
        matrix = weight.transpose(2, 3, 1, 0).reshape(-1, len(weight)) * arrays[f"{name}.scale"].astype(np.float32)
        self._matrix, self._bias, self._size = matrix, arrays[f"{name}.bias"].astype(np.float32), weight.shape[2]

    def __call__(
        self, x: np.ndarray, stride: int = 1, dilation: int = 1, relu: bool = True, shortcut: np.ndarray | None = None
    ) -> np.ndarray:
        """shortcut: added before the ReLU."""
        if self._size == 1:
            x = np.ascontiguousarray(x[::stride, ::stride])
            y = (x.reshape(-1, x.shape[2]) @ self._matrix).reshape(*x.shape[:2], -1)
        else:
            y = self._windows(x, stride, dilation)

        def finish(rows: slice) -> None:
            part = y[rows]
            part += self._bias
            if shortcut is not None:
                part += shortcut[rows]
            if relu:
                np.maximum(part, 0, out=part)

        over_strips(finish, y)
        return y

    def _windows(self, x: np.ndarray, stride: int, dilation: int) -> np.ndarray:
        """The product of the matrix with what stands round each place."""
        margin = dilation * (self._size // 2)
        padded = np.pad(x, ((margin, margin), (margin, margin), (0, 0)))
        seen = sliding_window_view(padded, (2 * margin + 1, 2 * margin + 1), (0, 1))
        seen = seen[::stride, ::stride, :, ::dilation, ::dilation].transpose(0, 1, 3, 4, 2)  # [h, w, k, k, inputs]
        height, width = seen.shape[:2]
        y = np.empty((height, width, self._matrix.shape[1]), np.float32)
        rows = max(1, CHUNK // width)
        for start in range(0, height, rows):
            part = seen[start : start + rows]
            y[start : start + rows] = (part.reshape(len(part) * width, -1) @ self._matrix).reshape(len(part), width, -1)
        return y


class ResNet34:
    """The stages of `obic.segment.resnet` -> features at 1/8 and at 1/16, the last stage dilated."""

    DEPTHS = (3, 4, 6, 3)

    def __init__(self, arrays: Arrays):
        names = (name.removesuffix(".weight") for name in arrays if name.startswith(("stem.", "layer")))
        self._convolutions = {name: Convolution(arrays, name) for name in names if f"{name}.weight" in arrays}

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = _max_pool(self._convolutions["stem.0"](x, stride=2))
        fine = self._stage("layer2", 1, self._stage("stem.4", 0, x), stride=2)
        coarse = self._stage("layer3", 2, fine, stride=2)
        return fine, self._stage("layer4", 3, coarse, dilation=2)

    def _stage(self, name: str, number: int, x: np.ndarray, stride: int = 1, dilation: int = 1) -> np.ndarray:
        for place in range(self.DEPTHS[number]):
            block, stride = f"{name}.{place}", 1 if place else stride
            down = self._convolutions.get(f"{block}.downsample.0")
            shortcut = down(x, stride, relu=False) if down else x
            x = self._convolutions[f"{block}.conv1"](x, stride, dilation)
            x = self._convolutions[f"{block}.conv2"](x, 1, dilation, shortcut=shortcut)
        return x


BACKBONES = {"resnet34": ResNet34}


def _max_pool(x: np.ndarray) -> np.ndarray:
    """The largest of 3x3 places, at every other one. x: [h, w, C] >= 0, h and w even."""
    height, width = (side // 2 for side in x.shape[:2])
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    shifts = [(dy, dx) for dy in range(3) for dx in range(3)]
    return np.maximum.reduce([padded[dy : dy + 2 * height : 2, dx : dx + 2 * width : 2] for dy, dx in shifts])


def enlarged(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps [h, w, C] -> [height, width, C], bilinear, as torch.nn.functional.interpolate does it."""
    for axis, size in enumerate((height, width)):
        place = ((np.arange(size) + 0.5) * x.shape[axis] / size - 0.5).clip(0, x.shape[axis] - 1)
        low = place.astype(int)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        share = np.float32(place - low).reshape([-1 if each == axis else 1 for each in range(3)])
        x = x.take(low, axis) * (1 - share) + x.take(high, axis) * share
    return x
