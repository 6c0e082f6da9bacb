"""Fine-tuning of a DeepLab on a pre-trained backbone: what is frozen, how fast the rest learns, and
a dilation that is not slow."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from obic.segment.deeplab import DeepLab
from obic.train.common.optim import Clipping, Optimisers


class FineTuning(Optimisers):
    """AdamW, more careful with the backbone than with the head. rates: of both."""

    def __init__(self, network: DeepLab, rates: tuple[float, float], weight_decay: float = 0.02, warmup: int = 60):
        parts = [[p for part in of(network) for p in part.parameters()] for of in (backbone, head)]
        self.optimisers = [torch.optim.AdamW(part, rate, betas=(0.9, 0.98), weight_decay=weight_decay)
                           for part, rate in zip(parts, rates, strict=True)]
        self.clipping = Clipping(parts[0] + parts[1])
        self.rates, self.warmup, self.steps = rates, warmup, 0


def backbone(network: DeepLab) -> tuple[nn.Module, ...]:
    """The parts of the network that come with ImageNet's weights."""
    return network.stem, network.layer2, network.layer3, network.layer4


def head(network: DeepLab) -> tuple[nn.Module, ...]:
    """The parts that start untrained."""
    return network.pyramid, network.skip, network.refine, network.classify


def hold(network: DeepLab, late: bool) -> None:
    """The stem, finer than 1/8, keeps ImageNet's weights, and so do the depthwise kernels of the
    stage of 1/8. The rest of that stage, and the depthwise kernels of 1/16, whose gradients take as
    long as all the rest on a CPU (1.5 seconds a step instead of 0.7), learn from `late` on."""
    for part, depthwise in zip(backbone(network), (False, False, late, late), strict=True):
        for module in part.modules():
            if isinstance(module, nn.Conv2d):
                module.requires_grad_(module.groups == 1 or depthwise)
    network.stem.requires_grad_(False)
    if not late:
        network.layer2.requires_grad_(False)


def dilate_by_phases(network: DeepLab) -> None:
    """Runs the dilated blocks of an EfficientNet-Lite on the four maps that every second row and
    column make, not dilated: the same where the maps' sides are even, and without the slow gradient
    that it has on CPUs (of 5x5 depthwise kernels 62 ms instead of 2). For training only."""
    blocks = network.layer4[1:]
    for module in blocks.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            module.dilation, module.padding = (1, 1), tuple(size // 2 for size in module.kernel_size)
    blocks[0].register_forward_pre_hook(lambda block, inputs: phases(*inputs))
    blocks[-1].register_forward_hook(lambda block, inputs, output: from_phases(output))


def phases(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [4 B, C, H / 2, W / 2]."""
    x = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(3, 5, 0, 1, 2, 4).flatten(0, 2)
    return x.contiguous(memory_format=torch.channels_last)


def from_phases(x: Tensor) -> Tensor:
    """The inverse of `phases`."""
    x = x.unflatten(0, (2, 2, -1)).permute(2, 3, 4, 0, 5, 1).flatten(4, 5).flatten(2, 3)
    return x.contiguous(memory_format=torch.channels_last)
