"""The evaluation pictures: Kodak from a folder, PASCAL VOC from a zip, at its native size or as centre crops."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

SMALLEST_SIDE = 176  # MS-SSIM has five scales of 11-tap windows
VOID = 255


@dataclass(frozen=True)
class TestPicture:
    """name; rgb uint8 [H, W, 3]; regions uint8 [H, W]: 1 = object, 0 = background, 255 = neither; None: not known."""

    __test__ = False  # no test case, whatever pytest thinks of the name

    name: str
    rgb: np.ndarray
    regions: np.ndarray | None = None

    @property
    def pixels(self) -> int:
        return self.rgb.shape[0] * self.rgb.shape[1]


def read_folder(folder: Path) -> list[TestPicture]:
    """Every picture of a folder that is large enough for MS-SSIM, in order of name."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    pictures = (TestPicture(file.stem, np.asarray(Image.open(file).convert("RGB"))) for file in files)
    return [picture for picture in pictures if min(picture.rgb.shape[:2]) >= SMALLEST_SIDE]


def read_voc(path: Path) -> Iterator[TestPicture]:
    """The pictures of a zip (NAME.jpg with NAME.png of class labels) that are large enough for MS-SSIM, by name."""
    with zipfile.ZipFile(path) as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith(".jpg")):
            rgb = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))
            classes = np.asarray(Image.open(io.BytesIO(archive.read(name[:-4] + ".png"))))
            regions = np.where(classes == VOID, VOID, classes > 0).astype(np.uint8)
            if min(rgb.shape[:2]) >= SMALLEST_SIDE:
                yield TestPicture(name[:-4], rgb, regions)


def centre_crop(picture: TestPicture, side: int) -> TestPicture | None:
    """The square in the middle; None if the picture is too small for it."""
    if min(picture.rgb.shape[:2]) < side:
        return None
    top, left = ((length - side) // 2 for length in picture.rgb.shape[:2])
    window = np.s_[top : top + side, left : left + side]
    regions = None if picture.regions is None else picture.regions[window]
    return replace(picture, rgb=picture.rgb[window], regions=regions)
