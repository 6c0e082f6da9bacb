"""What the segmenter trains on: random crops of pictures with masks, some with the objects of
others pasted in."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from obic.masks import VOID
from obic.segment.shapes import CLASSES
from obic.train.common.data import Sample
from obic.train.segmenter import no_object

LOGIT_STRIDE = 4  # the losses compare masks at a quarter of the crop's resolution
# How often a set is drawn, per picture: what an object is, is VOC's to say; the rest brings
# variety.
SET_WEIGHTS = {"voc": 2.0, "sbd": 1.5, "ecssd": 0.8, "humanseg": 0.8, "davis": 0.6, "ccp": 0.4, no_object.SOURCE: 10.0}
OTHER_SETS = 0.7
COMMON = 0.1  # a class in a smaller share of the pictures is drawn more often
CLASS_LABELS = np.arange(1, CLASSES + 1, dtype=np.uint8)
PSEUDO_WEIGHT = 0.5  # a teacher's mask counts less than a person's
# Of a crop, in long sides of its picture; of one without an object a small part has none either.
WINDOWS, PASTE_WINDOWS, EMPTY_WINDOWS = (0.55, 1.15), (0.7, 2.0), (0.3, 1.15)
PASTES = 0.3  # of the crops get the objects of another picture


class Batch(NamedTuple):
    """rgb: float [B, 3, S, S] in 0..1; labels: int64 [B, S/4, S/4]; weights: float [B]."""

    rgb: Tensor
    labels: Tensor
    weights: Tensor


def random_crop(
    rgb: Tensor, mask: Tensor, side: int, windows: tuple[float, float] = WINDOWS
) -> tuple[Tensor, Tensor]:
    """A random window of a picture, flipped half the time, scaled to a square, on the picture's
    device.

    rgb: uint8 [H, W, 3]; mask: uint8 [H, W]; windows: the smallest and the largest, in long sides
    of the picture. Returns rgb uint8 [3, side, side] and labels uint8 [side, side]. Beyond the
    picture: grey and void.
    """
    height, width = mask.shape
    window = max(height, width) * random.uniform(*windows)
    stretch = random.uniform(0.85, 1.18)
    high, wide = max(16, round(window * stretch)), max(16, round(window / stretch))
    top, left = _offset(height, high), _offset(width, wide)
    box = (slice(max(top, 0), min(top + high, height)), slice(max(left, 0), min(left + wide, width)))
    inside = tuple(slice(s.start - o, s.stop - o) for s, o in zip(box, (top, left), strict=True))
    picture, labels = rgb.new_full((high, wide, 3), 118), mask.new_full((high, wide), VOID)
    picture[inside], labels[inside] = rgb[box], mask[box]
    if random.random() < 0.5:
        picture, labels = picture.flip(1), labels.flip(1)
    picture = F.interpolate(picture.permute(2, 0, 1)[None].float(), (side, side), mode="bilinear", antialias=True)[0]
    centres = (torch.arange(side, device=mask.device) + 0.5) / side
    labels = labels[(centres * high).long()[:, None], (centres * wide).long()]
    return picture.round().to(torch.uint8), labels


def pasted(below: tuple[Tensor, Tensor], above: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The objects of one crop on another: new surroundings for them (Ghiasi et al. 2021, "Simple
    Copy-Paste").

    Both and the result: rgb uint8 [3, S, S] and labels uint8 [S, S].
    """
    objects = (above[1] > 0) & (above[1] != VOID)
    return torch.where(objects, above[0], below[0]), torch.where(objects, above[1], below[1])


def _offset(length: int, window: int) -> int:
    slack = length - window
    return random.randint(min(slack, 0), max(slack, 0))


def jitter(rgb: Tensor) -> Tensor:
    """Random brightness, contrast, saturation and white balance. rgb: float [B, 3, H, W] in 0..1,
    and so the result."""
    def draw(*shape: int, spread: float) -> Tensor:
        return 1 + spread * (2 * torch.rand(len(rgb), *shape, 1, 1, device=rgb.device) - 1)

    grey = rgb.mean(1, keepdim=True)
    saturation = draw(1, spread=0.4) * (torch.rand(len(rgb), 1, 1, 1, device=rgb.device) > 0.08)
    rgb = grey + (rgb - grey) * saturation
    centre = rgb.mean((1, 2, 3), keepdim=True)
    rgb = centre + (rgb - centre) * draw(1, spread=0.3)
    return (rgb * draw(1, spread=0.3) * draw(3, spread=0.08)).clamp(0, 1)


def drawing_chances(samples: list[Sample]) -> list[float]:
    """How often each sample is drawn: the weight of its set, times the repeat factor of the rarest
    VOC class in it (Gupta et al. 2019, "LVIS", section 4.2)."""
    present = [np.intersect1d(s.labels, CLASS_LABELS) for s in samples]
    share = np.bincount(np.concatenate(present), minlength=CLASSES + 1) / len(samples)
    repeats = np.sqrt(np.maximum(1.0, COMMON / np.maximum(share, 1e-9)))
    return [SET_WEIGHTS.get(s.source, OTHER_SETS) * max((repeats[label] for label in labels), default=1.0)
            for s, labels in zip(samples, present, strict=True)]


def batches(samples: list[Sample], device: torch.device) -> Callable[[int, int], Batch]:
    """A function of side and count that draws a batch of so many crops.

    The pictures lie on the device and are cut there.
    """
    pictures = [(torch.from_numpy(s.rgb).to(device), torch.from_numpy(s.labels).to(device)) for s in samples]
    chances = drawing_chances(samples)
    lends = [chance * (s.mask_kind != "pseudo") for s, chance in zip(samples, chances, strict=True)]

    def crop(number: int, side: int) -> tuple[Tensor, Tensor]:
        windows = EMPTY_WINDOWS if samples[number].source == no_object.SOURCE else WINDOWS
        below = random_crop(*pictures[number], side, windows)
        if not any(lends) or random.random() >= PASTES:
            return below
        return pasted(below, random_crop(*random.choices(pictures, lends)[0], side, PASTE_WINDOWS))

    def draw(side: int, count: int) -> Batch:
        chosen = random.choices(range(len(samples)), chances, k=count)
        crops, labels = zip(*(crop(number, side) for number in chosen), strict=True)
        centres = slice(LOGIT_STRIDE // 2, None, LOGIT_STRIDE)
        sure = [PSEUDO_WEIGHT if samples[number].mask_kind == "pseudo" else 1.0 for number in chosen]
        return Batch(
            jitter(torch.stack(crops).float() / 255),
            torch.stack(labels)[:, centres, centres].long(),
            torch.tensor(sure, device=device),
        )

    return draw
