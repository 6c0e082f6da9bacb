"""Numbers that fix the segmentation networks, for PyTorch and numpy alike."""

CLASSES = 20  # of PASCAL VOC without the background
DILATIONS = (3, 6, 9)  # of the pyramid's branches: half the paper's, as our maps are 20 places wide, theirs 32 to 64

LITE = "efficientnet-lite2"
DEPTHS = {"resnet34": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}  # blocks of each stage
BACKBONES = (LITE, *DEPTHS)

# EfficientNet-Lite2: (kernel, stride, channels out, blocks, expansion) of stages 1 to 7; Lite0's,
# 1.1 times as wide and 1.2 times as deep. At an output stride of 16 stage 6 does not halve, and
# what comes after its first block is dilated.
LITE_STAGES = (
    *((3, 1, 16, 1, 1), (3, 2, 24, 3, 6), (5, 2, 48, 3, 6), (3, 2, 88, 4, 6)),
    *((5, 1, 120, 4, 6), (5, 1, 208, 5, 6), (3, 1, 352, 1, 6)),
)
LITE_PARTS = {"stem": (1, 2), "layer2": (3,), "layer3": (4, 5), "layer4": (6, 7)}  # its stages in ours


def statistics(backbone: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and deviation of the pictures in 0..1 that a backbone was trained on, by channel."""
    if backbone == LITE:
        return (127 / 255,) * 3, (128 / 255,) * 3
    return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def lite_blocks(*numbers: int) -> list[tuple[int, int, int, int, int]]:
    """(kernel, stride, dilation, channels out, expansion) of each block of stages of
    EfficientNet-Lite2."""
    blocks = []
    for number in numbers:
        kernel, stride, outputs, count, expansion = LITE_STAGES[number - 1]
        for place in range(count):
            dilation = 2 if number > 6 or (number == 6 and place > 0) else 1
            blocks.append((kernel, stride if place == 0 else 1, dilation, outputs, expansion))
    return blocks
