"""What the segmenter is trained for: terms of foreground, overlap and classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from obic.masks import VOID
from obic.segment.shapes import CLASSES

LOSSES, LOSS_WEIGHTS = ("foreground", "overlap", "classes"), (1.0, 0.5, 0.6)
SMOOTH = 0.01  # of a picture: an object as small as that, seen where there is none, costs half of the overlap


def loss_terms(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Foreground cross-entropy, foreground 1 - soft IoU (each picture's, smoothed, so that it is
    the less the less is seen where there is no object), class cross-entropy.

    logits: float [B, 21, h, w], the network's; labels: int64 [B, H, W], as `Sample` has them;
    weights: float [B].
    """
    logits = F.interpolate(logits.float(), labels.shape[1:], mode="bilinear", align_corners=False)
    valid = (labels != VOID).float() * weights[:, None, None]
    target = ((labels > 0) & (labels != VOID)).float()
    foreground = logits[:, 0]
    entropy = F.binary_cross_entropy_with_logits(foreground, target, reduction="none")
    entropy = (entropy * valid).sum() / valid.sum().clamp(min=1)
    chance = foreground.sigmoid()
    both = (chance * target * valid).sum((1, 2))
    either = ((chance + target - chance * target) * valid).sum((1, 2))
    smooth = SMOOTH * valid.sum((1, 2))
    overlap = (1 - (both + smooth) / (either + smooth).clamp(min=1e-6)) * (smooth > 0)
    known = torch.where((labels > 0) & (labels <= CLASSES), labels - 1, -1)
    classes = F.cross_entropy(logits[:, 1:], known, ignore_index=-1, reduction="sum") / (known >= 0).sum().clamp(min=1)
    return entropy, overlap.mean(), classes
