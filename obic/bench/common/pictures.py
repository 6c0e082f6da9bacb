"""The evaluation pictures: Kodak from a folder, PASCAL VOC from a zip, at its native size or as
centre crops."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from obic.masks import VOID

SMALLEST_SIDE = 176  # MS-SSIM has five scales of 11-tap windows


@dataclass(frozen=True)
class TestPicture:
    """name; rgb uint8 [H, W, 3]; regions uint8 [H, W]: 1 = object, 0 = background, 255 = neither;
    None: not known."""

    __test__ = False  # no test case, whatever pytest thinks of the name

    name: str
    rgb: np.ndarray
    regions: np.ndarray | None = None

    @property
    def pixels(self) -> int:
        return self.rgb.shape[0] * self.rgb.shape[1]

    def region(self, value: int) -> np.ndarray:
        """bool [H, W]: where `regions` has a value. Raises ValueError where they are not known."""
        if self.regions is None:
            raise ValueError(f"nobody knows where the object of {self.name} is")
        return self.regions == value


class PictureError(OSError):
    """Pictures are not there, or cannot be used. The message is one line that says where."""


def read_folder(folder: Path) -> list[TestPicture]:
    """Every picture of a folder that is large enough for MS-SSIM, in order of name. Raises
    PictureError."""
    files = sorted(folder.glob("*"))
    files = [file for file in files if file.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")]
    pictures = (TestPicture(file.stem, pixels_of(file.read_bytes(), file, "RGB")) for file in files)
    return _large_enough(pictures, f"{folder}: no pictures (PNG, JPEG or WebP")


def read_voc(path: Path) -> list[TestPicture]:
    """The pictures of `read_labelled` that are large enough for MS-SSIM, by name. Raises
    PictureError."""
    pictures = (
        TestPicture(name, rgb, np.where(classes == VOID, VOID, classes > 0).astype(np.uint8))
        for name, rgb, classes in read_labelled(path)
    )
    return _large_enough(pictures, f"{path}: no pictures (NAME.jpg with NAME.png")


def read_labelled(path: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """NAME, rgb uint8 [H, W, 3] and labels uint8 [H, W] of every NAME.jpg, with NAME.png, of a zip,
    by name.

    Raises PictureError, of what is missing before the first picture.
    """
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise PictureError(f"{path}: no zip file of pictures (NAME.jpg with NAME.png)")
    with zipfile.ZipFile(path) as archive:
        held = set(archive.namelist())
        names = sorted(name[:-4] for name in held if name.endswith(".jpg"))
        lacking = next((f"{name}.png" for name in names if f"{name}.png" not in held), None)
        if lacking or not names:
            raise PictureError(f"{path}: no {lacking or 'NAME.jpg'} in it (NAME.jpg with NAME.png)")
        for name in names:
            rgb = pixels_of(archive.read(f"{name}.jpg"), f"{path}: {name}.jpg", "RGB")
            labels = pixels_of(archive.read(f"{name}.png"), f"{path}: {name}.png")
            if labels.shape != rgb.shape[:2]:
                raise PictureError(f"{path}: {name}.png has no label for each pixel of {name}.jpg")
            yield name, rgb, labels


def pixels_of(data: bytes, place: Path | str, mode: str | None = None) -> np.ndarray:
    """The pixels of a picture file, in a mode of Pillow's or as they are. Raises PictureError,
    which says the place."""
    try:
        image = Image.open(io.BytesIO(data))
        return np.asarray(image.convert(mode) if mode else image)
    except OSError:
        raise PictureError(f"{place}: no picture, or a damaged one") from None


def _large_enough(pictures: Iterable[TestPicture], lacking: str) -> list[TestPicture]:
    """Those that MS-SSIM can be had of. Raises PictureError, which begins so, if there are none."""
    chosen = [picture for picture in pictures if min(picture.rgb.shape[:2]) >= SMALLEST_SIDE]
    if not chosen:
        raise PictureError(f"{lacking}, at least {SMALLEST_SIDE} pixels high and wide)")
    return chosen


def centre_crop(picture: TestPicture, side: int) -> TestPicture | None:
    """The square in the middle; None if the picture is too small for it."""
    if min(picture.rgb.shape[:2]) < side:
        return None
    top, left = ((length - side) // 2 for length in picture.rgb.shape[:2])
    window = np.s_[top : top + side, left : left + side]
    regions = None if picture.regions is None else picture.regions[window]
    return replace(picture, rgb=picture.rgb[window], regions=regions)
