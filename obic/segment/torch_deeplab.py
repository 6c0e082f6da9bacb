"""DeepLab in PyTorch with int8 weights, and the file of those weights.

The file is an `.npz` without pickled objects. For each convolution NAME, its batch norm folded in:
`NAME.weight` int8 [out, in, k, k], `NAME.scale` float32 [out] (weight = int8 * scale), `NAME.bias`
float32 [out]. Beside them `backbone` (a name), `long_side` (pixels, of the picture as the network
sees it) and `threshold` (a logit).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from obic.nn.blank import blank
from obic.nn.precision import inference_precision
from obic.segment.builtin import read_arrays
from obic.segment.deeplab import DeepLab


class TorchDeepLab:
    """A network as `obic.segment.builtin.Network` asks for it."""

    def __init__(self, network: DeepLab):
        self.module = network.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        device = self.module.mean.device
        rgb = torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2)
        with inference_precision(device):
            return self.module(rgb).float().permute(0, 2, 3, 1).cpu().numpy()


def fold_norms(network: DeepLab) -> DeepLab:
    """Fold every batch norm into the convolution before it, in place; the network only evaluates
    from here on."""
    for convolution, norm in _take_norms(network):
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
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
    for name, before in norms(network):
        convolution, norm = network.get_submodule(before), network.get_submodule(name)
        assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)  # or `norms` had not named them
        taken.append((convolution, norm))
        network.set_submodule(name, nn.Identity())
    return taken


def int8_arrays(network: DeepLab, backbone: str, long_side: int, threshold: float) -> dict[str, np.ndarray]:
    """The arrays of the weights file, from a folded network; weights are symmetric, with a scale an
    output channel.

    backbone: one of BACKBONES. long_side: pixels. threshold: a logit.
    """
    arrays = {"backbone": np.array(backbone), "long_side": np.array(long_side), "threshold": np.array(threshold)}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.bias is None:
                raise ValueError(f"{name} has no bias: fold the batch norms first")
            weight = module.weight.numpy()
            scale = np.maximum(np.abs(weight).max((1, 2, 3)), 1e-12) / 127
            arrays[f"{name}.weight"] = np.rint(weight / scale[:, None, None, None]).astype(np.int8)
            arrays[f"{name}.scale"] = scale.astype(np.float32)
            arrays[f"{name}.bias"] = module.bias.numpy()
    return arrays


def from_int8_arrays(arrays: Mapping[str, np.ndarray]) -> DeepLab:
    """The inverse of `int8_arrays`, on the CPU. Raises KeyError or RuntimeError where arrays are
    missing or misfit."""
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
    return network.eval().requires_grad_(False)


def load_network(source: Path | bytes) -> DeepLab:
    """The network of a weights file, or of its bytes. Raises as `read_arrays`, and KeyError or
    RuntimeError."""
    return from_int8_arrays(read_arrays(source))
