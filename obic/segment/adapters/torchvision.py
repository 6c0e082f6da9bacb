"""`torchvision:NETWORK`: its networks for semantic segmentation, with the weights that it
downloads.

They are trained on the pictures of COCO that have classes of PASCAL VOC, whose numbers and names
they use.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from obic.errors import UsageError
from obic.segment import Segmenter
from obic.segment.labels import label_map, resized

LONGEST = 2  # times the short side that a network wants: longer pictures are pressed together


def load(rest: str, device: str) -> Segmenter:
    """rest: a name of torchvision's. The weights are downloaded the first time, to its cache."""
    from torchvision.models import get_model, get_model_weights

    from obic.backends import choose_device

    known = [name for name, _ in names()]
    if rest not in known:
        raise UsageError(f"torchvision has no network {rest!r} for segmentation; choose {', '.join(known)}")
    weights = get_model_weights(rest).DEFAULT
    network = get_model(rest, weights=weights, progress=False)
    return TorchvisionSegmenter(network.to(choose_device(device)), weights)


def names() -> list[tuple[str, str]]:
    """The networks that torchvision has."""
    from torchvision import models

    from obic.segment.adapters import KINDS

    return [(name, KINDS["torchvision"].licence) for name in models.list_models(module=models.segmentation)]


class TorchvisionSegmenter:
    """network: pictures float32 [B, 3, h, w] -> {"out": logits [B, 1 + C, h, w]}. weights: of
    torchvision's WeightsEnum: the names of the classes, and the size and the statistics that the
    network wants."""

    def __init__(self, network: Any, weights: Any):
        self._network = network.eval().requires_grad_(False)
        self._wanted = weights.transforms()
        self.class_names = ("background", *weights.meta["categories"][1:])

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """As the protocol says: each pixel has the class with the largest logit."""
        import torch

        (short,) = self._wanted.resize_size
        scale = short / min(rgb.shape[:2])
        rows, columns = (min(LONGEST * short, round(scale * side)) for side in rgb.shape[:2])
        picture = Image.fromarray(rgb).resize((columns, rows), Image.Resampling.BILINEAR)  # antialiased
        mean, std = (np.asarray(each, np.float32) for each in (self._wanted.mean, self._wanted.std))
        values = ((np.asarray(picture, np.float32) / 255 - mean) / std).transpose(2, 0, 1)
        device = next(self._network.parameters()).device
        with torch.inference_mode():
            logits = self._network(torch.from_numpy(values)[None].to(device))["out"][0].float().cpu().numpy()
        is_object = resized(logits[1:].max(0) - logits[0], *rgb.shape[:2]) > 0
        return label_map(is_object, logits[1:].transpose(1, 2, 0))
