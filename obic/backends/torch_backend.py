"""The networks of `obic.nn`, on the CPU or a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from obic.nn.blank import blank
from obic.nn.model import CodecNetwork, Synthesis
from obic.nn.precision import inference_precision
from obic.shape import Shape


class TorchBackend:
    """As `obic.backends.Backend`. network: without what integers stand for, nor what is only for
    encoding if its parameters are not there. Tensors [B, h, w, C] are views of the networks' own
    [B, C, h, w], channels last."""

    tile = 128 * 128  # 2048 x 2048 pixels; about 0.4 GB at work, and larger tiles are no faster

    def __init__(self, arrays: Mapping[str, np.ndarray], shape: Shape, device: str):
        self.shape, self.device = shape, device
        self.network = _network(arrays, shape, device)
        self.grain = self.network.synthesis.grain

    def array(self, values: np.ndarray | Tensor) -> Tensor:
        values = np.ascontiguousarray(values) if isinstance(values, np.ndarray) else values
        return torch.as_tensor(values, device=self.device)

    def numpy(self, array: Tensor) -> np.ndarray:
        return array.cpu().numpy()

    def concatenate(self, arrays: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(arrays))

    def analysis(self, pixels: np.ndarray) -> Tensor:
        return self._run(self.network.analysis, self.array(pixels).float() / 255 - 0.5)

    def hyper_analysis(self, scaled: Tensor, conditions: Tensor) -> Tensor:
        return self._run(self.network.hyper_analysis, scaled, conditions)

    def hyper_synthesis(self, z: Tensor) -> Tensor:
        return self._run(self.network.hyper_synthesis, z)

    def context(self, number: int, known: Tensor, hyper: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        inputs = (each.permute(0, 3, 1, 2) for each in (known, hyper, conditions))
        with inference_precision(self.device):
            mean, step = self.network.context.parameters_of_pass(number, *inputs)
        return mean.permute(0, 2, 3, 1), step.permute(0, 2, 3, 1)

    def synthesis(self, features: Tensor, conditions: Tensor, grain: Tensor) -> np.ndarray:
        conditions = torch.cat([conditions, grain.expand(len(features), -1, -1, -1)], 3)
        with inference_precision(self.device):
            pixels = self._run(self.network.synthesis, features, conditions)
        pixels = (pixels.float() + 0.5) * 255
        return self.numpy(pixels.round().clamp(0, 255).to(torch.uint8))

    def _run(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        return network(*(each.permute(0, 3, 1, 2) for each in inputs)).permute(0, 2, 3, 1)


def _network(arrays: Mapping[str, np.ndarray], shape: Shape, device: str) -> CodecNetwork:
    with blank():
        network = CodecNetwork(shape)
        network.synthesis = Synthesis(shape, grain_of(arrays, shape))
    del network.scale_index, network.hyper_gaussian  # integers stand for them: scale map and hyper prior
    if "analysis.layers.0.conv.weight" not in arrays:
        del network.analysis, network.hyper_analysis, network.gain.log_gain
    parameters = {name: torch.from_numpy(array.astype(np.float32)).to(device) for name, array in arrays.items()}
    network.load_state_dict(parameters, assign=True)
    return network.requires_grad_(False).eval().to(memory_format=torch.channels_last)


def grain_of(arrays: Mapping[str, np.ndarray], shape: Shape) -> int:
    """Planes of noise that a synthesis takes beside the latent and the two planes of its
    conditions."""
    return arrays["synthesis.layers.0.weight"].shape[1] - shape.latent - 2
