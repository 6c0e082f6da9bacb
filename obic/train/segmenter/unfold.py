"""Batch norms put back into a segmenter that had them folded, so that training can go on from
it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from obic.segment.deeplab import DeepLab
from obic.segment.torch_deeplab import norms

USUAL_WEIGHT = 0.03  # root mean square of a convolution's weights where Muon's steps and its weight decay are even


@torch.no_grad()
def unfold_norms(folded: DeepLab, pictures: Iterable[Tensor]) -> DeepLab:
    """A network with batch norms that gives what the folded one gives.

    A norm has to add the folded bias and nothing else. Its statistics are those of the pictures,
    float [B, 3, H, W] in 0..1, as they pass the folded network; weight and bias undo them. What a
    convolution before a norm is multiplied by changes nothing but how far a step of training takes
    it, so each of its channels gets weights of the usual size: folded ones, a twentieth of that in
    places, would be gone after a few steps.
    """
    network = DeepLab(folded.backbone)
    pairs, state = norms(network), folded.state_dict()
    biases = {norm: state.pop(f"{convolution}.bias") for norm, convolution in pairs}
    for name, _ in pairs:
        state |= network.get_submodule(name).state_dict(prefix=f"{name}.")
    network.load_state_dict(state)
    moments = {convolution: _Moments() for _, convolution in pairs}
    hooks = [folded.get_submodule(name).register_forward_hook(each.see) for name, each in moments.items()]
    for rgb in pictures:
        folded(rgb)
    for hook in hooks:
        hook.remove()
    for name, convolution in pairs:
        norm, (mean, variance) = network.get_submodule(name), moments[convolution].result()
        assert isinstance(norm, nn.BatchNorm2d)  # or `norms` had not named it
        weight = network.get_parameter(f"{convolution}.weight")
        factor = USUAL_WEIGHT / weight.square().mean((1, 2, 3)).sqrt().clamp(min=1e-6)
        weight.mul_(factor[:, None, None, None])
        norm.get_buffer("running_mean").copy_((mean - biases[name]) * factor)  # of the convolution alone
        spread = norm.get_buffer("running_var").copy_(variance * factor.square())
        norm.weight.copy_((spread + norm.eps).sqrt() / factor)
        norm.bias.copy_(mean)
    return network


class _Moments:
    """Mean and variance of each channel of what a module puts out."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = self.squares = torch.zeros((), dtype=torch.float64)

    def see(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        values = output.double().transpose(0, 1).flatten(1)
        self.count += values.shape[1]
        self.sum, self.squares = self.sum + values.sum(1), self.squares + values.square().sum(1)

    def result(self) -> tuple[Tensor, Tensor]:
        mean = self.sum / self.count
        return mean.float(), (self.squares / self.count - mean.square()).clamp(min=0).float()
