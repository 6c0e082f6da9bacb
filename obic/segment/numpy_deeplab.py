"""The networks of `obic.segment.deeplab` in numpy alone, from packed weights
(`obic.segment.torch_deeplab`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from obic.backends.strips import over_strips
from obic.segment.shapes import DEPTHS, DILATIONS, LITE, LITE_PARTS, lite_blocks, statistics

Arrays = Mapping[str, np.ndarray]


class NumpyDeepLab:
    """Pictures float32 [B, h, w, 3] in 0..1 -> logits [B, h / 8, w / 8, 21]; h and w are multiples
    of 16.

    Raises KeyError where an array is missing.
    """

    def __init__(self, arrays: Arrays):
        backbone = str(arrays["backbone"])
        self._backbone = (Lite(arrays) if backbone == LITE else ResNet(arrays, DEPTHS[backbone]))
        self._mean, self._std = np.asarray(statistics(backbone), np.float32)
        self._near, *self._far = (Convolution(arrays, f"pyramid.branches.{n}.0") for n in range(1 + len(DILATIONS)))
        self._whole, self._project = (Convolution(arrays, f"pyramid.{name}.0") for name in ("whole", "project"))
        self._skip, self._refine = (Convolution(arrays, f"{name}.0") for name in ("skip", "refine"))
        self._classify = Convolution(arrays, "classify")

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        return np.stack([self._logits(each) for each in pictures])

    def _logits(self, picture: np.ndarray) -> np.ndarray:
        fine, coarse = self._backbone((picture - self._mean) / self._std)
        views = [self._near(coarse), *(each(coarse, 1, rate) for each, rate in zip(self._far, DILATIONS, strict=True))]
        whole = self._whole(coarse.mean((0, 1), keepdims=True))
        coarse = self._project(np.concatenate([*views, np.broadcast_to(whole, views[0].shape)], 2))
        joined = np.concatenate([enlarged(coarse, *fine.shape[:2]), self._skip(fine)], 2)
        return self._classify(self._refine(joined), limit=None)


class Convolution:
    """[h, w, inputs] -> [h / stride, w / stride, outputs], dense or depthwise, with a ReLU; zeros
    beyond the border."""

    def __init__(self, arrays: Arrays, name: str):
        weight, scale = arrays[f"{name}.weight"], arrays[f"{name}.scale"]  # int8 [outputs, inputs, k, k], [outputs]
        self._size, self._bias = weight.shape[2], arrays[f"{name}.bias"].astype(np.float32)
        self._depthwise = self._size > 1 and weight.shape[1] == 1
        kernel = np.multiply(weight.transpose(2, 3, 1, 0), scale, order="C", dtype=np.float32)
        self._kernel = kernel[:, :, 0] if self._depthwise else kernel.reshape(-1, len(weight))

    def __call__(
        self,
        x: np.ndarray,
        stride: int = 1,
        dilation: int = 1,
        *,
        limit: float | None = np.inf,
        shortcut: np.ndarray | None = None,
        before: int | None = None,
    ) -> np.ndarray:
        """limit: of the ReLU; None: there is none. shortcut: added before it. before: zeros above
        and to the left; None: as many as on the other sides, at stride 1."""
        if self._size == 1:
            seen = x[::stride, ::stride, :, None, None]
        else:
            before = dilation * (self._size // 2) if before is None else before
            side = dilation * (self._size - 1) + 1
            seen = sliding_window_view(self._padded(x, stride, dilation, before), (side, side), (0, 1))
            seen = seen[::stride, ::stride, :, ::dilation, ::dilation]  # [h, w, inputs, k, k], a view
        y = np.empty((*seen.shape[:2], len(self._bias)), np.float32)

        def convolve(rows: slice) -> None:
            part = y[rows]
            if self._depthwise:
                np.einsum("hwcij,ijc->hwc", seen[rows], self._kernel, out=part)
            else:
                around = seen[rows].transpose(0, 1, 3, 4, 2).reshape(-1, len(self._kernel))
                np.matmul(around, self._kernel, out=part.reshape(len(around), -1))
            part += self._bias
            if shortcut is not None:
                part += shortcut[rows]
            if limit is not None:
                np.clip(part, 0, limit, out=part)

        over_strips(convolve, y)
        return y

    def _padded(self, x: np.ndarray, stride: int, dilation: int, before: int) -> np.ndarray:
        needed = [(-(-side // stride) - 1) * stride + dilation * (self._size - 1) + 1 for side in x.shape[:2]]
        padded = np.zeros((*needed, x.shape[2]), np.float32)
        rows, columns = (min(side, room - before) for side, room in zip(x.shape[:2], needed, strict=True))
        padded[before : before + rows, before : before + columns] = x[:rows, :columns]
        return padded


class Lite:
    """EfficientNet-Lite2 (`obic.segment.efficientnet`) -> features at 1/8 and at 1/16."""

    def __init__(self, arrays: Arrays):
        self._stem = Convolution(arrays, "stem.0")
        self._parts = {part: _inverted_blocks(arrays, part, 2 * (part == "stem")) for part in LITE_PARTS}

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = self._stem(x, 2, limit=6, before=0)
        fine = self._run("layer2", self._run("stem", x))
        return fine, self._run("layer4", self._run("layer3", fine))

    def _run(self, part: str, x: np.ndarray) -> np.ndarray:
        blocks = zip(self._parts[part], lite_blocks(*LITE_PARTS[part]), strict=True)
        for (expand, depthwise, project), (kernel, stride, dilation, outputs, _) in blocks:
            y = expand(x, limit=6) if expand else x
            before = kernel // 2 - 1 if stride == 2 else None  # TensorFlow's "same": the odd zero comes last
            y = depthwise(y, stride, dilation, limit=6, before=before)
            x = project(y, limit=None, shortcut=x if stride == 1 and x.shape[2] == outputs else None)
        return x


def _inverted_blocks(
    arrays: Arrays, part: str, first: int
) -> list[tuple[Convolution | None, Convolution, Convolution]]:
    """(expand, depthwise, project) of each block of a part, whose names count from `first` on."""
    blocks = []
    for place, (*_, expansion) in enumerate(lite_blocks(*LITE_PARTS[part]), first):
        expand = Convolution(arrays, f"{part}.{place}.expand") if expansion > 1 else None
        depthwise, project = (Convolution(arrays, f"{part}.{place}.{name}") for name in ("depthwise", "project"))
        blocks.append((expand, depthwise, project))
    return blocks


class ResNet:
    """A ResNet of basic blocks (`obic.segment.resnet`) -> features at 1/8 and at 1/16, the last
    stage dilated."""

    def __init__(self, arrays: Arrays, depths: tuple[int, ...]):
        names = (name.removesuffix(".weight") for name in arrays if name.endswith(".weight"))
        self._convolutions = {name: Convolution(arrays, name) for name in names if name.startswith(("stem", "layer"))}
        self._depths = depths

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = _max_pool(self._convolutions["stem.0"](x, 2))
        fine = self._stage("layer2", 1, self._stage("stem.4", 0, x), stride=2)
        coarse = self._stage("layer3", 2, fine, stride=2)
        return fine, self._stage("layer4", 3, coarse, dilation=2)

    def _stage(self, name: str, number: int, x: np.ndarray, stride: int = 1, dilation: int = 1) -> np.ndarray:
        for place in range(self._depths[number]):
            block, stride = f"{name}.{place}", 1 if place else stride
            down = self._convolutions.get(f"{block}.downsample.0")
            shortcut = down(x, stride, limit=None) if down else x
            x = self._convolutions[f"{block}.conv1"](x, stride, dilation)
            x = self._convolutions[f"{block}.conv2"](x, 1, dilation, shortcut=shortcut)
        return x


def _max_pool(x: np.ndarray) -> np.ndarray:
    """The largest of 3x3 places, at every other one. x: [h, w, C] >= 0, h and w even."""
    height, width = (side // 2 for side in x.shape[:2])
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    shifts = [(dy, dx) for dy in range(3) for dx in range(3)]
    return np.maximum.reduce([padded[dy : dy + 2 * height : 2, dx : dx + 2 * width : 2] for dy, dx in shifts])


def enlarged(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps [h, w, C] -> [height, width, C], bilinear, as torch.nn.functional.interpolate does
    it."""
    for axis, size in enumerate((height, width)):
        place = ((np.arange(size) + 0.5) * x.shape[axis] / size - 0.5).clip(0, x.shape[axis] - 1)
        low = place.astype(int)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        share = np.float32(place - low).reshape([-1 if each == axis else 1 for each in range(3)])
        x = x.take(low, axis) * (1 - share) + x.take(high, axis) * share
    return x
