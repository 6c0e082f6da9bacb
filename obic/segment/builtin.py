"""The segmenter we ship, around its network: a picture in, labels out. Its weights:
`obic.segment.torch_deeplab`."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from obic.segment.edges import refined
from obic.segment.labels import label_map, resized
from obic.segment.whole import whole

STRIDE = 8  # of the network's logits
COARSEST_STRIDE = 16  # sides are multiples of it, or the network's coarsest map would be stretched over the picture

# Pictures float32 [B, h, w, 3] in 0..1 -> logits [B, h / 8, w / 8, 21]: of "an object is here",
# then of each VOC class given that there is one.
Network = Callable[[np.ndarray], np.ndarray]


class DeepLabSegmenter:
    """Follows the protocol `obic.segment.Segmenter`.

    long_side: pixels the picture's long side is scaled to, up or down (sides are rounded to
    multiples of 16, so the proportions change a little). The network sees the picture and its
    mirror image, and the mean of both counts. threshold: a pixel is an object where the foreground
    logit is above it, after `whole` and `refined`.
    """

    def __init__(self, network: Network, long_side: int, threshold: float = 0.0):
        self.network = network
        self.long_side = long_side
        self.threshold = threshold

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """rgb: uint8 [H, W, 3]. Returns labels, uint8 [H, W]: 0 background, 1..20 VOC classes.

        Where an object is, is decided pixel by pixel, by its colours too; of which class it is, at
        the size that the network saw.
        """
        logits = self.logits(rgb)
        objects = whole(logits[..., 0], self.threshold)
        return label_map(refined(objects, rgb, self.threshold), logits[..., 1:], STRIDE)

    def logits(self, rgb: np.ndarray) -> np.ndarray:
        """rgb: uint8 [H, W, 3] -> the network's logits, float32 [h, w, 21]: the mean of the
        picture's and its mirror image's."""
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise TypeError(f"a picture is uint8 [H, W, 3], not {rgb.dtype} {list(rgb.shape)}")
        scale = self.long_side / max(rgb.shape)
        rows, columns = (COARSEST_STRIDE * max(2, round(side * scale / COARSEST_STRIDE)) for side in rgb.shape[:2])
        small = Image.fromarray(rgb).resize((columns, rows), Image.Resampling.BILINEAR)  # antialiased
        picture = np.asarray(small, np.float32) / 255
        direct, mirrored = self.network(np.stack([picture, picture[:, ::-1]]))
        return (direct + mirrored[:, ::-1]) / 2


def foreground(logits: np.ndarray, threshold: float, height: int, width: int) -> np.ndarray:
    """Where an object is, bool [height, width]. logits: float32 [h, w, 21]."""
    return resized(whole(logits[..., 0], threshold), height, width) > threshold


def read_segmenter(source: str | Path | bytes, backend: str = "numpy", device: str = "cpu") -> DeepLabSegmenter:
    """Read a weights file, or its bytes. backend: "numpy" or "torch"; device: of PyTorch's.

    Raises OSError, and KeyError or RuntimeError when it is not one of ours.
    """
    arrays = read_arrays(source)
    return DeepLabSegmenter(_network(arrays, backend, device), int(arrays["long_side"]), float(arrays["threshold"]))


def read_arrays(source: str | Path | bytes) -> dict[str, np.ndarray]:
    """The arrays of a weights file, or of its bytes. Raises OSError or ValueError."""
    with np.load(io.BytesIO(source) if isinstance(source, bytes) else source, allow_pickle=False) as archive:
        return dict(archive)


def _network(arrays: Mapping[str, np.ndarray], backend: str, device: str) -> Network:
    if backend == "numpy":
        from obic.segment.numpy_deeplab import NumpyDeepLab

        return NumpyDeepLab(arrays)
    from obic.backends import choose_device
    from obic.segment.torch_deeplab import TorchDeepLab, from_int8_arrays

    return TorchDeepLab(from_int8_arrays(arrays).to(choose_device(device)))
