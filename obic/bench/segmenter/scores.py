"""Foreground IoU and mIoU over labelled pictures, and false alarms in pictures without an object,
of any segmenter."""

from __future__ import annotations

import math
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from obic.bench.common.pictures import PictureError, pixels_of, read_labelled
from obic.masks import VOID
from obic.segment import CLASS_NAMES
from obic.train.segmenter import no_object

VOC_LABELS = len(CLASS_NAMES)


def labelled_pictures(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of a zip with NAME.jpg and NAME.png: rgb uint8 [H, W, 3], labels uint8 [H, W] (0..20,
    255 void, others objects of no class). Raises as `read_labelled`."""
    return ((rgb, labels) for _, rgb, labels in read_labelled(path))


def empty_pictures(paths: Iterable[Path]) -> Iterator[np.ndarray]:
    """The held-out pictures without an object among those of zips: uint8 [H, W, 3]. Raises
    PictureError."""
    names = {f"{name}.webp" for name in no_object.names("held-out")}
    for path in paths:
        if not zipfile.is_zipfile(path):
            raise PictureError(f"{path}: no zip file of pictures")
        with zipfile.ZipFile(path) as archive:
            for name in sorted(names & set(archive.namelist())):
                yield pixels_of(archive.read(name), f"{path}: {name}", "RGB")


def score(
    segment: Callable[[np.ndarray], np.ndarray], pictures: Iterable[tuple[np.ndarray, np.ndarray]]
) -> dict[str, float]:
    """Void pixels do not count; every object is foreground, whatever its class, and also a label
    that is no class, in the truth or in an answer. Classes are numbered as VOC's are.

    Returns `fg_iou`, pooled over all pixels; `fg_iou_picture`, the mean over pictures; `miou`, the
    mean over the 21 classes of the pooled IoU (of those that occur, as VOC counts it; without the
    pixels of no class); `lost`, the share of the pictures with an object in which none is found;
    `seconds` a picture.
    """
    confusion = np.zeros((VOC_LABELS + 1,) * 2, np.int64)  # true, predicted label; the last for all of no class
    each, seconds, with_object, lost = [], 0.0, 0, 0
    for rgb, truth in pictures:
        begin = time.perf_counter()
        labels = segment(rgb)
        seconds += time.perf_counter() - begin
        counted = truth != VOID
        seen = np.minimum(labels[counted], VOC_LABELS)
        pairs = np.minimum(truth[counted], VOC_LABELS).astype(np.int64) * len(confusion) + seen
        one = np.bincount(pairs, minlength=confusion.size).reshape(confusion.shape)
        confusion += one
        each.append(foreground_iou(one))
        if one[1:].any():
            with_object, lost = with_object + 1, lost + (not labels.any())
    known = confusion[:VOC_LABELS]
    right = known.diagonal()
    union = known.sum(0)[:VOC_LABELS] + known.sum(1) - right
    return {
        "pictures": len(each),
        "fg_iou": foreground_iou(confusion),
        "fg_iou_picture": float(np.mean(each)),
        "miou": float((right[union > 0] / union[union > 0]).mean()),
        "lost": lost / max(1, with_object),
        "seconds": seconds / len(each),
    }


def presence(segment: Callable[[np.ndarray], np.ndarray], pictures: Iterable[np.ndarray]) -> dict[str, float]:
    """False alarms in pictures without an object, uint8 [H, W, 3]: `empty_pictures`; `empty_area`,
    the mean share of a picture that is taken for an object; `empty_found_none`, the share of
    pictures where nothing is. Not a number without pictures."""
    areas = np.array([(segment(rgb) > 0).mean() for rgb in pictures])
    if not areas.size:
        return {"empty_pictures": 0, "empty_area": math.nan, "empty_found_none": math.nan}
    found_none = float((areas == 0).mean())
    return {"empty_pictures": len(areas), "empty_area": float(areas.mean()), "empty_found_none": found_none}


def foreground_iou(confusion: np.ndarray) -> float:
    """confusion: int [22, 22], true by predicted label. 1.0 where neither has any object."""
    union = confusion.sum() - confusion[0, 0]
    return float(confusion[1:, 1:].sum() / union) if union else 1.0
