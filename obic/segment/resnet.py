"""The stages of a ResNet (He et al. 2015), as torchvision has them, the parameter names too.

Not imported from there: torchvision's package brings in PyTorch's compiler, two seconds before
anything happens, and its `BasicBlock` refuses the dilation that we need. A test holds the two
equal.
"""

from torch import Tensor, nn

from obic.segment.shapes import DEPTHS


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, dilation: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, width, stride)
        nn.init.zeros_(self.bn2.weight)  # a block starts as the identity

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a skip; the stride is the 3x3's."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, dilation: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, 4 * width, stride)
        nn.init.zeros_(self.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + self.downsample(x))


BLOCK_KINDS: dict[str, type[BasicBlock | Bottleneck]] = {"resnet34": BasicBlock, "resnet101": Bottleneck}


def stem() -> list[nn.Module]:
    """From rgb to 64 channels at a quarter of the size."""
    convolution = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]


def stage(backbone: str, number: int, stride: int, dilation: int = 1) -> nn.Sequential:
    """Stage 1..4 of a backbone; its channels: `channels`."""
    block, width = BLOCK_KINDS[backbone], 32 << number
    inputs = 64 if number == 1 else channels(backbone, number - 1)
    first = block(inputs, width, stride, dilation)
    rest = [block(channels(backbone, number), width, 1, dilation) for _ in range(DEPTHS[backbone][number - 1] - 1)]
    blocks = nn.Sequential(first, *rest)
    for module in blocks.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return blocks


def channels(backbone: str, number: int) -> int:
    """The channels that come out of stage 1..4."""
    return BLOCK_KINDS[backbone].expansion * (32 << number)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
