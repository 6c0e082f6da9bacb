"""Training goes on from the shipped segmenter, whose batch norms are folded into its convolutions."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from obic.segment.deeplab import DeepLab
from obic.segment.segmenter import norms


@torch.no_grad()
def unfold_norms(folded: DeepLab, pictures: Iterable[Tensor]) -> DeepLab:
    """A network with batch norms that gives what the folded one gives.

    A norm has to add the folded bias and nothing else. Its statistics are those of the pictures, float [B, 3, H, W]
    in 0..1, as they pass the folded network; weight and bias undo them.
    """
    network = DeepLab(folded.backbone)
    pairs, state = norms(network), folded.state_dict()
    biases = {norm: state.pop(f"{convolution}.bias") for norm, convolution in pairs}
    for norm, _ in pairs:
        state |= network.get_submodule(norm).state_dict(prefix=f"{norm}.")
    network.load_state_dict(state)
    moments = {convolution: _Moments() for _, convolution in pairs}
    hooks = [folded.get_submodule(name).register_forward_hook(each.see) for name, each in moments.items()]
    for rgb in pictures:
        folded(rgb)
    for hook in hooks:
        hook.remove()
    for name, convolution in pairs:
        norm, (mean, variance) = network.get_submodule(name), moments[convolution].result()
        norm.running_mean.copy_(mean - biases[name])  # of the convolution alone
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)
    return network


class _Moments:
    """Mean and variance of each channel of what a module puts out."""

    def __init__(self):
        self.count, self.sum, self.squares = 0, 0.0, 0.0

    def see(self, module, inputs, output: Tensor) -> None:
        values = output.double().transpose(0, 1).flatten(1)
        self.count += values.shape[1]
        self.sum, self.squares = self.sum + values.sum(1), self.squares + values.square().sum(1)

    def result(self) -> tuple[Tensor, Tensor]:
        mean = self.sum / self.count
        return mean.float(), (self.squares / self.count - mean.square()).clamp(min=0).float()
