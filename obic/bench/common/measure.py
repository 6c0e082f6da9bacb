"""Files of a picture at given rates, and how good they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from obic.bench.common.coders import Coder
from obic.bench.common.haarpsi import haarpsi
from obic.bench.common.pictures import TestPicture
from obic.metrics import ms_ssim

REGIONS = ("", "object_", "background_")  # prefixes of the figures; "" is the whole picture
TOLERANCE = 0.01  # of a file's size: how near is near enough


def measure(
    picture: TestPicture, coder: Coder, targets: Iterable[float], searched: bool = True
) -> Iterator[dict[str, Any]]:
    """For each target, in bits a pixel: the file nearest to it in size, as a flat dictionary. Not
    searched: the targets are qualities, and the file is that of the quality.

    target, quality, bytes and payload (those that are not boxes of HEIF or AVIF; the target is for
    them), bpp of the payload, floor (it is the smallest file there is, and above the target), the
    parts the coder tells, and the figures of `compare`.
    """
    encode = cache(coder.encode)

    @cache
    def size(quality: int) -> int:
        return int(coder.parts(encode(quality))["payload"])

    @cache
    def figures(quality: int) -> dict[str, float]:
        return compare(coder.decode(encode(quality)), picture.rgb, picture.regions)

    lowest = quality = coder.qualities[0]
    for target in sorted(targets):
        goal = target * picture.pixels / 8
        quality = nearest(goal, range(quality, coder.qualities[-1] + 1), size) if searched else int(target)
        data = encode(quality)
        yield {
            "target": target,
            "quality": quality,
            "floor": searched and quality == lowest and size(quality) > goal,
            "bytes": len(data),
            "bpp": 8 * size(quality) / picture.pixels,
            **coder.parts(data),
            **figures(quality),
        }


def nearest_file(coder: Coder, goal: float) -> bytes:
    """The file whose size is nearest to `goal` bytes, everything in it counted."""
    encode = cache(coder.encode)
    return encode(nearest(goal, coder.qualities, lambda quality: len(encode(quality))))


def nearest(goal: float, qualities: range, size: Callable[[int], int]) -> int:
    """The quality whose file is nearest to `goal` bytes, by ratio, or within 1 % of it. Sizes rise
    with qualities."""

    def distance(quality: int) -> float:
        return abs(math.log(size(quality) / goal))

    below, above, step = qualities[0], qualities[0], 4
    if size(below) >= goal:
        return below
    while size(above) < goal:
        if above > below:  # on by as much as the sizes have risen so far
            rise = math.log(size(above) / size(below)) / (above - below)
            step = math.ceil(min(distance(above) / max(rise, 1e-6), 4 * step))
        if distance(above) < TOLERANCE or above == qualities[-1]:
            return above
        below, above = above, min(above + step, qualities[-1])
    while above - below > 1 and min(distance(below), distance(above)) > TOLERANCE:
        share = distance(below) / (distance(below) + distance(above))
        middle = min(max(below + round(share * (above - below)), below + 1), above - 1)
        below, above = (middle, above) if size(middle) < goal else (below, middle)
    return min(below, above, key=distance)


def compare(decoded: np.ndarray, original: np.ndarray, regions: np.ndarray | None) -> dict[str, float]:
    """ms_ssim, psnr, haarpsi and shift of the whole picture, and with a prefix those of object and
    background.

    decoded, original: uint8 [H, W, 3]; regions as in `TestPicture`. shift: how far the mean colour
    moved, in grey levels. A region that is empty has no figures.
    """
    masks = [np.ones(original.shape[:2], bool)]
    if regions is not None and (regions == 1).any() and (regions == 0).any():
        masks += [regions == 1, regions == 0]
    weights = torch.from_numpy(np.stack(masks).astype(np.float32))[None]
    a, b = _tensor(decoded), _tensor(original)
    shares = weights[0] / weights[0].sum((1, 2), keepdim=True)
    mse = torch.einsum("rhw,chw->r", shares, (a - b)[0] ** 2) / 3
    shift = 255 * torch.einsum("rhw,chw->rc", shares, (a - b)[0]).norm(dim=1)
    measures = {
        "ms_ssim": ms_ssim(a, b, weights)[0],
        "psnr": -10 * torch.log10(mse.clamp_min(1e-10)),
        "haarpsi": haarpsi(a, b, weights)[0],
        "shift": shift,
    }
    return {
        region + name: round(value, 6)
        for name, values in measures.items()
        for region, value in zip(REGIONS, values.tolist(), strict=False)
    }


def _tensor(rgb: np.ndarray) -> Tensor:
    return torch.tensor(rgb).permute(2, 0, 1)[None].float() / 255
