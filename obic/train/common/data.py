"""Training pictures and masks: zip archives or folders, read into memory as uint8."""

from __future__ import annotations

import csv
import io
import math
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from obic.masks import OBJECT, VOID
from obic.segment.shapes import CLASSES
from obic.train.common import parallel

TRAINING_SUFFIXES = (".webp", ".png", ".jpg", ".jpeg")
MASK_STEM_ENDING = "-mask"  # of a mask's name without .png, as `obic mask` gives it


@dataclass(frozen=True)
class Sample:
    """One picture: rgb uint8 [H, W, 3]; mask uint8 [H, W] or None (0 background, 1-20 VOC classes,
    254 another object, 255 void); source: the name of its set; mask_kind: exact, rough, pseudo or
    none."""

    name: str
    rgb: np.ndarray
    mask: np.ndarray | None
    source: str = ""
    mask_kind: str = "none"

    @property
    def labels(self) -> np.ndarray:
        """The mask. Raises ValueError where there is none."""
        if self.mask is None:
            raise ValueError(f"{self.name} has no mask")
        return self.mask


class _Stored(NamedTuple):
    """A sample whose arrays lie in a file: the sample without them, and the start and shape of each
    there."""

    bare: Sample
    rgb: tuple[int, tuple[int, ...]]
    mask: tuple[int, tuple[int, ...]] | None


def load_samples(paths: Iterable[str | Path], long_side: int | None = None, limit: int | None = None) -> list[Sample]:
    """What `read_samples` gives, in memory."""
    return list(read_samples(paths, long_side, limit))


def shared_samples(
    paths: Iterable[str | Path], long_side: int | None = None, limit: int | None = None
) -> list[Sample]:
    """The same for all processes of a machine, held once: the first decodes them into a file that
    all map.

    The file has no name any more once they have, so it goes with the last of them. It lies in
    TMPDIR and takes as much room as the pictures do in memory, which may push it out where it runs
    short.
    """
    if parallel.count() == 1:
        return load_samples(paths, long_side, limit)
    places = None
    if parallel.rank() == 0:
        with tempfile.NamedTemporaryFile(prefix="obic-pictures-", delete=False) as file:
            try:
                places = file.name, [_written(sample, file) for sample in read_samples(paths, long_side, limit)]
            except BaseException:
                Path(file.name).unlink()
                raise
    name, samples = parallel.gathered(places)[0]
    memory = np.memmap(name, np.uint8, "c")
    parallel.gathered(None)  # all have mapped it
    if parallel.rank() == 0:
        Path(name).unlink()
    return [
        replace(bare, rgb=_mapped(memory, *rgb), mask=None if mask is None else _mapped(memory, *mask))
        for bare, rgb, mask in samples
    ]


def _written(sample: Sample, file: IO[bytes]) -> _Stored:
    """Writes a sample's arrays to a file."""
    def place(array: np.ndarray) -> tuple[int, tuple[int, ...]]:
        start = file.tell()
        file.write(array.tobytes())
        return start, array.shape

    bare = replace(sample, rgb=np.empty(0, np.uint8), mask=None)
    return _Stored(bare, place(sample.rgb), None if sample.mask is None else place(sample.mask))


def _mapped(memory: np.ndarray, start: int, shape: tuple[int, ...]) -> np.ndarray:
    return memory[start : start + math.prod(shape)].reshape(shape)


def read_samples(
    paths: Iterable[str | Path], long_side: int | None = None, limit: int | None = None
) -> Iterator[Sample]:
    """All samples of the zips or folders, scaled down so that the long side is at most `long_side`.

    Either holds pictures (WebP, PNG, JPEG), in folders of its own too. The mask of NAME.jpg is
    NAME.png or NAME-mask.png beside it, of the same size, grey or with a palette: 0 background,
    1-20 the VOC classes, 255 void (where it stands alone, the object), anything else an object of
    another kind. A zip may have index.csv (name, set, width, height, mask, object_fraction; mask =
    its kind). Of a folder with zips named train-*.zip those are read.

    Raises ValueError, which names the file, for what is no picture and for a mask that does not
    fit; FileNotFoundError where there are none.
    """
    number = 0
    for path in _expand(paths):
        for sample in _read_zip(path, long_side) if path.suffix == ".zip" else _read_folder(path, long_side):
            yield sample
            number += 1
            if number == limit:
                return
    if not number:
        raise FileNotFoundError(f"no pictures ({' '.join(TRAINING_SUFFIXES)}) in {', '.join(map(str, paths))}")


def described(samples: list[Sample]) -> str:
    """How many there are."""
    return f"{len(samples)} pictures, {sum(sample.mask is not None for sample in samples)} with masks"


def _expand(paths: Iterable[str | Path]) -> Iterator[Path]:
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"no such file or folder: {path}")
        zips = sorted(path.glob("train-*.zip")) if path.is_dir() else []
        yield from zips or [path]


def _read_zip(path: Path, long_side: int | None) -> Iterator[Sample]:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise ValueError(f"{path} is not a zip archive") from None
    with archive:
        names = archive.namelist()
        rows = {}
        if "index.csv" in names:
            rows = {row["name"]: row for row in csv.DictReader(io.TextIOWrapper(archive.open("index.csv"), "utf-8"))}
        yield from _read(names, archive.read, path, path.stem, rows, long_side)


def _read_folder(path: Path, long_side: int | None) -> Iterator[Sample]:
    if not path.is_dir():
        raise ValueError(f"{path} is neither a folder nor a zip")
    names = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
    yield from _read(names, lambda name: (path / name).read_bytes(), path, path.resolve().name, {}, long_side)


def _read(
    names: Iterable[str], read: Callable[[str], bytes], path: Path, source: str,
    rows: Mapping[str, Mapping[str, str]], long_side: int | None,
) -> Iterator[Sample]:
    """The samples among the files of a zip or a folder. rows: of the index, by name."""
    for name, mask in sorted(with_masks(names).items()):
        stem = name.rsplit(".", 1)[0]
        row = {"set": source, "mask": "exact" if mask else "none", **rows.get(stem, {})}
        try:
            rgb, labels = _sides_at_most(long_side, _picture(read(name)), _labels(read(mask)) if mask else None)
        except (OSError, ValueError) as error:
            about = f"{path / name}" + (f" with the mask {mask}" if mask else "")
            raise ValueError(f"{about}: {_reason(error)}") from error
        yield Sample(stem, rgb, labels, row["set"], row["mask"])


def with_masks(names: Iterable[str]) -> dict[str, str | None]:
    """The pictures among names of files, each with the name of its mask, if there is one."""
    files = defaultdict(list)
    for name in names:
        place = PurePosixPath(name)
        if place.suffix.lower() in TRAINING_SUFFIXES and not place.name.startswith("."):
            files[str(place.with_suffix(""))].append(name)
    masks, pictures = {}, {}
    for stem, each in files.items():
        png = next((name for name in each if name.lower().endswith(".png")), None)
        if png and stem.endswith(MASK_STEM_ENDING) and stem.removesuffix(MASK_STEM_ENDING) in files:
            masks[stem.removesuffix(MASK_STEM_ENDING)] = png
            continue
        if png and len(each) > 1:
            masks[stem] = png
            each = [name for name in each if name != png]
        pictures[stem] = each
    return {name: masks.get(stem) for stem, each in pictures.items() for name in each}


def _picture(data: bytes) -> Image.Image:
    """Upright RGB of 8 bits; transparency is composed on white. (`obic.images` knows colour
    profiles as well, but needs more than a plain PyTorch has.)"""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode.startswith("I"):
        image = Image.fromarray(((np.asarray(image).astype(np.int64) + 128) // 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def _labels(data: bytes) -> Image.Image:
    """Values as `Sample` has them."""
    image = Image.open(io.BytesIO(data))
    if image.mode not in ("L", "P", "1"):
        raise ValueError(f"a mask is grey or has a palette, not {image.mode}")
    values = np.array(image.convert("L") if image.mode == "1" else image)
    if not ((values > 0) & (values < VOID)).any():
        values[values == VOID] = OBJECT
    values[(values > CLASSES) & (values < VOID)] = OBJECT
    return Image.fromarray(values)


def _sides_at_most(
    long_side: int | None, image: Image.Image, labels: Image.Image | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """-> uint8 [H, W, 3], and uint8 [H, W] or None."""
    if labels and labels.size != image.size:
        raise ValueError(f"the picture is {image.width}x{image.height}, the mask {labels.width}x{labels.height}")
    if long_side and max(image.size) > long_side:
        scale = long_side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        labels = labels.resize(size, Image.Resampling.NEAREST) if labels else None
    # Copies: PyTorch wants memory that may be written.
    return np.array(image), np.array(labels) if labels else None


def _reason(error: Exception) -> str:
    return "not a picture of a known kind" if isinstance(error, UnidentifiedImageError) else str(error)
