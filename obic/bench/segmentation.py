"""Foreground IoU and mIoU of the segmenter over labelled pictures.

    python -m obic.bench.segmentation --data data/voc-eval.zip --weights weights/segmenter.npz
"""

from __future__ import annotations

import argparse
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from obic.segment import CLASS_NAMES, load_segmenter

VOID = 255
CLASSES = len(CLASS_NAMES)


def labelled_pictures(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of a zip with NAME.jpg and NAME.png: rgb uint8 [H, W, 3], labels uint8 [H, W] (0..20, 255 void)."""
    with zipfile.ZipFile(path) as archive:
        for name in sorted(n for n in archive.namelist() if n.endswith(".jpg")):
            picture = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
            labels = Image.open(io.BytesIO(archive.read(name[:-4] + ".png")))
            yield np.asarray(picture), np.asarray(labels)


def score(
    segment: Callable[[np.ndarray], np.ndarray], pictures: Iterable[tuple[np.ndarray, np.ndarray]]
) -> dict[str, float]:
    """Void pixels do not count; every object is foreground, whatever its class.

    Returns `fg_iou`, pooled over all pixels; `fg_iou_picture`, the mean over pictures; `miou`, the mean over the 21
    classes of the pooled IoU (of those that occur, as VOC counts it); `seconds` a picture.
    """
    confusion = np.zeros((CLASSES, CLASSES), np.int64)  # true label, predicted label
    each, seconds = [], 0.0
    for rgb, truth in pictures:
        begin = time.perf_counter()
        labels = segment(rgb)
        seconds += time.perf_counter() - begin
        counted = truth != VOID
        pairs = truth[counted].astype(np.int64) * CLASSES + labels[counted]
        one = np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
        confusion += one
        each.append(foreground_iou(one))
    right = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - right
    return {
        "pictures": len(each),
        "fg_iou": foreground_iou(confusion),
        "fg_iou_picture": float(np.mean(each)),
        "miou": float((right[union > 0] / union[union > 0]).mean()),
        "seconds": seconds / len(each),
    }


def foreground_iou(confusion: np.ndarray) -> float:
    """confusion: int [21, 21], true by predicted label. 1.0 where neither has any object."""
    union = confusion.sum() - confusion[0, 0]
    return float(confusion[1:, 1:].sum() / union) if union else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="zip of NAME.jpg and NAME.png")
    parser.add_argument("--weights", type=Path, default=Path("weights/segmenter.npz"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--long-side", type=int, help="instead of the one in the weights")
    args = parser.parse_args()
    segmenter = load_segmenter(args.weights, args.device)
    segmenter.long_side = args.long_side or segmenter.long_side
    result = score(segmenter, labelled_pictures(args.data))
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))


if __name__ == "__main__":
    main()
