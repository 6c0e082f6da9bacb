"""The sets of evaluation pictures by name: Kodak, and PASCAL VOC at its native size and as
crops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from obic.bench.common.pictures import PictureError, TestPicture, centre_crop, read_folder, read_voc

KODAK, VOC, CROPS = "Kodak", "VOC 2012 val", "VOC 2012 val, 320x320"
VOC_EVERY = 2  # pictures at the native size: every second one, or the whole would take twenty minutes more


def read_sets(kodak: Path, voc: Path, segmenter: Callable[[np.ndarray], np.ndarray]) -> dict[str, list[TestPicture]]:
    """The evaluation sets that are there, by name. What the segmenter sees stands for a true object
    nobody knows.

    Raises PictureError where there is none, or one cannot be used.
    """
    sets = {}
    if kodak.is_dir():
        sets[KODAK] = [
            replace(picture, regions=(segmenter(picture.rgb) > 0).astype(np.uint8)) for picture in read_folder(kodak)
        ]
    if voc.is_file():
        pictures = read_voc(voc)
        crops = (centre_crop(picture, 320) for picture in pictures)
        sets[VOC], sets[CROPS] = pictures[::VOC_EVERY], [picture for picture in crops if picture is not None]
        if not sets[CROPS]:
            raise PictureError(f"{voc}: no picture of at least 320x320 pixels")
    if not sets:
        raise PictureError(f"neither {kodak} nor {voc} is there")
    return sets
