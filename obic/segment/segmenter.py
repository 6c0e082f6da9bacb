"""The segmenter we ship: DeepLab with int8 weights, and the file of those weights.

The file is an `.npz` without pickled objects. For each convolution NAME, its batch norm folded in: `NAME.weight`
int8 [out, in, k, k], `NAME.scale` float32 [out] (weight = int8 * scale), `NAME.bias` float32 [out]. Beside them
`backbone` (a name), `long_side` (pixels, of the picture as the network sees it) and `threshold` (a logit).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from obic.nn.blank import blank
from obic.segment.deeplab import DeepLab

CELL = 16  # output stride: the network sees whole cells, or its coarse map would be stretched over the picture
BAND_PIXELS = 1 << 20  # of the picture at work outside the network


class DeepLabSegmenter:
    """Follows the protocol `obic.segment.Segmenter`.

    network: an evaluating `DeepLab`; long_side: pixels the picture's long side is scaled to, up or down
    (sides are rounded to multiples of 16, so the proportions change a little). The network sees the picture and its
    mirror image, and the mean of both counts;
    threshold: a pixel is an object where the foreground logit is above it.
    """

    def __init__(self, network: DeepLab, long_side: int, threshold: float = 0.0):
        self.network = network
        self.long_side = long_side
        self.threshold = threshold

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """rgb: uint8 [H, W, 3]. Returns labels, uint8 [H, W]: 0 background, 1..20 VOC classes."""
        return np.concatenate([self._labels(logits).cpu().numpy() for logits in self._logits(rgb)])

    def logits(self, rgb: np.ndarray) -> Tensor:
        """rgb: uint8 [H, W, 3]. Returns float32 [21, H, W] on the network's device: see `DeepLab` for the channels."""
        return torch.cat(list(self._logits(rgb)), 1)

    def _labels(self, logits: Tensor) -> Tensor:
        return torch.where(logits[0] > self.threshold, logits[1:].argmax(0) + 1, 0).to(torch.uint8)

    @torch.inference_mode()
    def _logits(self, rgb: np.ndarray) -> Iterator[Tensor]:
        """The logits of the picture, band after band: float32 [21, some of H, W]."""
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise TypeError(f"a picture is uint8 [H, W, 3], not {rgb.dtype} {list(rgb.shape)}")
        height, width = rgb.shape[:2]
        scale = self.long_side / max(height, width)
        rows, columns = (CELL * max(2, round(side * scale / CELL)) for side in (height, width))
        narrow = [_resized(self._pixels(rgb[band]), None, columns, True) for band in _bands(height, width)]
        picture = _resized(torch.cat(narrow, 2), rows, None, True)
        both = torch.cat([picture, picture.flip(3)]).contiguous(memory_format=torch.channels_last)
        direct, mirrored = self.network(both).float().split(1)
        coarse = (direct + mirrored.flip(3)) / 2
        tall = _resized(coarse, height, None)
        for band in _bands(height, width):
            yield _resized(tall[:, :, band], None, width)[0]

    def _pixels(self, rgb: np.ndarray) -> Tensor:
        return torch.tensor(rgb, device=self.network.mean.device).permute(2, 0, 1)[None].float() / 255


def _bands(height: int, width: int) -> Iterator[slice]:
    """Rows of a picture, so many at a time that not even a large one needs much memory."""
    rows = max(1, BAND_PIXELS // width)
    return (slice(start, start + rows) for start in range(0, height, rows))


def _resized(maps: Tensor, height: int | None, width: int | None, antialias: bool = False) -> Tensor:
    """Maps [B, C, H, W] of another height or width: one after the other is as good as both at once."""
    size = height or maps.shape[2], width or maps.shape[3]
    return F.interpolate(maps, size, mode="bilinear", antialias=antialias, align_corners=False)


def fold_norms(network: DeepLab) -> DeepLab:
    """Fold every batch norm into the convolution before it, in place; the network only evaluates from here on."""
    for convolution, norm in _take_norms(network):
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
    return network.eval().requires_grad_(False)


def norms(network: DeepLab) -> list[tuple[str, str]]:
    """The names of a network's batch norms, each with that of the convolution before it."""
    pairs, convolution = [], ""
    for path, parent in network.named_modules():
        for name, module in parent.named_children():
            full = f"{path}.{name}".lstrip(".")
            if isinstance(module, nn.Conv2d):
                convolution = full
            elif isinstance(module, nn.BatchNorm2d):
                pairs.append((full, convolution))
    return pairs


def _take_norms(network: DeepLab) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Take the batch norms out of a network; each, with the convolution that was before it."""
    taken = []
    for norm, convolution in norms(network):
        taken.append((network.get_submodule(convolution), network.get_submodule(norm)))
        network.set_submodule(norm, nn.Identity())
    return taken


def pack(network: DeepLab, backbone: str, long_side: int, threshold: float) -> dict[str, np.ndarray]:
    """The arrays of the weights file, from a folded network. int8: symmetric, one scale an output channel."""
    arrays = {"backbone": np.array(backbone), "long_side": np.array(long_side), "threshold": np.array(threshold)}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.numpy()
            scale = np.maximum(np.abs(weight).max((1, 2, 3)), 1e-12) / 127
            arrays[f"{name}.weight"] = np.rint(weight / scale[:, None, None, None]).astype(np.int8)
            arrays[f"{name}.scale"] = scale.astype(np.float32)
            arrays[f"{name}.bias"] = module.bias.numpy()
    return arrays


def unpack(arrays: dict[str, np.ndarray]) -> DeepLabSegmenter:
    """The inverse of `pack`, on the CPU. Raises KeyError or RuntimeError when arrays are missing or do not fit."""
    with blank():
        network = DeepLab(str(arrays["backbone"]))
        for convolution, norm in _take_norms(network):
            convolution.bias = norm.bias  # a place for the folded one
    state = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            scale = arrays[f"{name}.scale"][:, None, None, None]
            state[f"{name}.weight"] = torch.from_numpy(arrays[f"{name}.weight"] * scale)
            state[f"{name}.bias"] = torch.from_numpy(arrays[f"{name}.bias"])
    network.load_state_dict(state, assign=True)
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return DeepLabSegmenter(network, int(arrays["long_side"]), float(arrays["threshold"]))


def load_segmenter(source: str | Path | bytes, device: str | torch.device = "cpu") -> DeepLabSegmenter:
    """Read a weights file, or its bytes. Raises OSError, and KeyError or RuntimeError when it is not one of ours."""
    with np.load(io.BytesIO(source) if isinstance(source, bytes) else source, allow_pickle=False) as arrays:
        segmenter = unpack(dict(arrays))
    segmenter.network.to(device)
    return segmenter
