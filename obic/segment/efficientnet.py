"""The stages of EfficientNet-Lite2 (Tan and Le 2019; the Lite variants, Liu 2020: no
squeeze-and-excitation, ReLU6).

Its batch norms are folded into the convolutions: it is only ever used with the weights of ImageNet
or our own, which keep those statistics. A test holds it equal to the package that the weights come
from (`obic.train.segmenter.imagenet`).
"""

from torch import Tensor, nn
from torch.nn import functional as F

from obic.segment.shapes import LITE_STAGES, lite_blocks

STEM = 32  # channels


class Conv2d(nn.Conv2d):
    """Pads so that the output has ceil(size / stride) places, at stride 2 more at the end than at
    the start: what TensorFlow calls "same"."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1):
        padding = dilation * (kernel // 2) if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, dilation, groups)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride > 1:
            down, across = (max(kernel - (size - 1) % stride - 1, 0) for size in x.shape[2:])
            x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return super().forward(x)


class InvertedResidual(nn.Module):
    """1x1 up, depthwise, 1x1 down, and a skip where the shape allows it (Sandler et al. 2018,
    "MobileNetV2")."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, dilation: int):
        super().__init__()
        width = inputs * expansion
        self.expand = Conv2d(inputs, width, 1) if expansion > 1 else None
        self.depthwise = Conv2d(width, width, kernel, stride, dilation, groups=width)
        self.project = Conv2d(width, outputs, 1)
        self.relu = nn.ReLU6(inplace=True)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.expand(x)) if self.expand else x
        y = self.project(self.relu(self.depthwise(y)))
        return x + y if self.skip else y


def stem() -> list[nn.Module]:
    """From rgb to 32 channels at half of the size."""
    return [Conv2d(3, STEM, 3, 2), nn.ReLU6(inplace=True)]


def stages(*numbers: int) -> nn.Sequential:
    """Stages 1..7, some that follow each other: to 1/2, 1/4, 1/8, 1/16, 1/16, 1/16 and 1/16 of the
    picture's size."""
    blocks, inputs = [], channels(numbers[0] - 1)
    for kernel, stride, dilation, outputs, expansion in lite_blocks(*numbers):
        blocks.append(InvertedResidual(inputs, outputs, kernel, stride, expansion, dilation))
        inputs = outputs
    return nn.Sequential(*blocks)


def channels(number: int) -> int:
    """The channels that come out of stage 1..7, and for 0 out of the stem."""
    return LITE_STAGES[number - 1][2] if number else STEM
