"""Figures that others published, on Kodak unless said otherwise; none of them was measured here.

MS-SSIM and PSNR in RGB, means over the 24 pictures; bits are those the sources count, often without
a container.
"""

from typing import NamedTuple


class Published(NamedTuple):
    """points: (bits a pixel, MS-SSIM, PSNR in dB or None)."""

    name: str
    source: str
    points: tuple[tuple[float, float, float | None], ...]


_COMPRESSAI = "CompressAI, results/image/kodak"

ON_KODAK = (
    Published("VTM", _COMPRESSAI, ((0.0482, 0.8606, 26.14), (0.1125, 0.9177, 28.49), (0.2458, 0.9561, 31.20))),
    Published("HM", _COMPRESSAI, ((0.0514, 0.8456, 25.41), (0.1209, 0.9075, 27.75))),
    Published("BPG 4:4:4", _COMPRESSAI, ((0.0678, 0.8686, 26.20), (0.1610, 0.9242, 28.68))),
    Published(
        "mbt2018, MS-SSIM", _COMPRESSAI, ((0.0975, 0.9372, 25.54), (0.1563, 0.9585, 26.72), (0.2342, 0.9725, 27.91))
    ),
    Published(
        "cheng2020-anchor, MS-SSIM",
        _COMPRESSAI,
        ((0.0981, 0.9415, 25.79), (0.1495, 0.9602, 26.65), (0.2262, 0.9740, 27.85)),
    ),
    Published(
        "cheng2020 checkerboard 6M, MS-SSIM",
        _COMPRESSAI + ", transcribed from the paper",
        ((0.0260, 0.8032, None), (0.0659, 0.9144, None), (0.1834, 0.9670, None)),
    ),
    Published(
        "HPCM-Large, MS-SSIM",
        "its README",
        ((0.0943, 0.9522, None), (0.1429, 0.9667, None), (0.2090, 0.9782, None)),
    ),
    Published(
        "MS-ILLM",
        "NeuralCompression, results",
        ((0.0443, 0.8461, 24.73), (0.0806, 0.8902, 25.92), (0.1532, 0.9282, 27.53), (0.2958, 0.9597, 29.63)),
    ),
)

# Xia, Liu, Ma: "Object-based image coding: a learning-driven revisit", table 2: PASCAL VOC 2012 at
# 320x320. Their pictures are not ours, and their bits are estimates without mask and container.
IN_PAPER = (
    Published("JPEG 2000", "table 2", ((0.0675, 0.8339, 23.27),)),
    Published("BPG", "table 2", ((0.0671, 0.8669, 24.08),)),
    Published("NLAIC, one layer", "table 2", ((0.0636, 0.9083, 23.36),)),
    Published("LearntOBIC, two layers", "table 2", ((0.0648, 0.8992, 22.71),)),
)
