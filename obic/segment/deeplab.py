"""DeepLabv3 on an EfficientNet-Lite or a ResNet: picture in, foreground and class logits out.

The head is the atrous spatial pyramid of DeepLabv3 (Chen et al. 2017, section 3.3) at output
stride 16, refined at stride 8 with one skip from the backbone as in DeepLabv3+ (2018).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obic.segment import efficientnet, resnet
from obic.segment.shapes import BACKBONES, CLASSES, DILATIONS, LITE, LITE_PARTS, statistics

_PYRAMID, _SKIP, _REFINED = 192, 48, 128


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm, ReLU; keeps the size of the map."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1):
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: parallel views of growing reach, and the whole picture's
    mean."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        near = [ConvNorm(inputs, outputs)]
        self.branches = nn.ModuleList(near + [ConvNorm(inputs, outputs, 3, rate) for rate in DILATIONS])
        self.whole = ConvNorm(inputs, outputs)
        self.project = ConvNorm((len(self.branches) + 1) * outputs, outputs)

    def forward(self, features: Tensor) -> Tensor:
        views = [branch(features) for branch in self.branches]
        whole = self.whole(features.mean((2, 3), keepdim=True))
        return self.project(torch.cat([*views, whole.expand_as(views[0])], 1))


class DeepLab(nn.Module):
    """Foreground and class logits of a picture.

    Input: float [B, 3, H, W], RGB in 0..1. Output: float [B, 1 + CLASSES, ceil(H / 8), ceil(W /
    8)]: channel 0 is the logit of "an object is here", channels 1..20 the logits of its VOC class
    *given* that there is one. Splitting the two lets objects of unknown class train the foreground.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: str = LITE):
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, not {backbone!r}")
        self.backbone = backbone
        if backbone == LITE:
            first, *rest = (efficientnet.stages(*numbers) for numbers in LITE_PARTS.values())
            self.stem = nn.Sequential(*efficientnet.stem(), *first)
            self.layer2, self.layer3, self.layer4 = rest
            fine, coarse = efficientnet.channels(3), efficientnet.channels(7)
        else:
            self.stem = nn.Sequential(*resnet.stem(), resnet.stage(backbone, 1, stride=1))
            self.layer2, self.layer3 = resnet.stage(backbone, 2, stride=2), resnet.stage(backbone, 3, stride=2)
            self.layer4 = resnet.stage(backbone, 4, stride=1, dilation=2)
            fine, coarse = resnet.channels(backbone, 2), resnet.channels(backbone, 4)
        self.pyramid = Pyramid(coarse, _PYRAMID)
        self.skip = ConvNorm(fine, _SKIP)
        self.refine = ConvNorm(_PYRAMID + _SKIP, _REFINED, 3)
        self.classify = nn.Conv2d(_REFINED, 1 + CLASSES, 1)
        # On the CPU even while the rest is built on the meta device: no file of weights replaces
        # these two.
        mean, std = torch.tensor(statistics(backbone), device="cpu")[..., None, None]
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, rgb: Tensor) -> Tensor:
        fine = self.layer2(self.stem((rgb - self.mean) / self.std))
        coarse = self.pyramid(self.layer4(self.layer3(fine)))
        coarse = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
        return self.classify(self.refine(torch.cat([coarse, self.skip(fine)], 1)))
