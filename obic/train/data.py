"""Training pictures and masks: zip archives or folders, read into memory as uint8."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

VOID = 255
PICTURE_SUFFIXES = (".webp", ".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Sample:
    """One picture: rgb uint8 [H, W, 3]; mask uint8 [H, W] or None (0 background, 1-20 VOC classes, 254 another
    object, 255 void); source: the name of its set; mask_kind: exact, rough, pseudo or none."""

    name: str
    rgb: np.ndarray
    mask: np.ndarray | None
    source: str = ""
    mask_kind: str = "none"


def load_samples(paths: Iterable[str | Path], long_side: int | None = None, limit: int | None = None) -> list[Sample]:
    """All samples of the zips or folders, scaled down so that the long side is at most `long_side`.

    A zip holds NAME.webp and, where there is a mask, NAME.png of the same size, and perhaps index.csv (name, set,
    width, height, mask, object_fraction; mask = its kind). A folder holds pictures, alone or with such masks, or zips
    named train-*.zip.
    """
    samples: list[Sample] = []
    for path in _expand(paths):
        reader = _read_zip if path.suffix == ".zip" else _read_folder
        for sample in reader(path, long_side):
            samples.append(sample)
            if limit and len(samples) >= limit:
                return samples
    if not samples:
        raise FileNotFoundError(f"no pictures in {', '.join(map(str, paths))}")
    return samples


def _expand(paths: Iterable[str | Path]) -> Iterator[Path]:
    for path in map(Path, paths):
        zips = sorted(path.glob("train-*.zip")) if path.is_dir() else []
        yield from zips or [path]


def _read_zip(path: Path, long_side: int | None) -> Iterator[Sample]:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        rows = {}
        if "index.csv" in names:
            rows = {row["name"]: row for row in csv.DictReader(io.TextIOWrapper(archive.open("index.csv"), "utf-8"))}
        for name in sorted(names):
            stem = name.rsplit(".", 1)[0]
            if not name.endswith(".webp"):
                continue
            mask = archive.read(stem + ".png") if stem + ".png" in names else None
            row = rows.get(stem, {})
            yield _sample(stem, archive.read(name), mask, long_side, row.get("set", ""), row.get("mask", "none"))


def _read_folder(path: Path, long_side: int | None) -> Iterator[Sample]:
    for file in sorted(path.iterdir()):
        if file.suffix.lower() not in PICTURE_SUFFIXES:
            continue
        mask_file = file.with_suffix(".png")
        if file.suffix.lower() == ".png" and any(file.with_suffix(s).exists() for s in (".webp", ".jpg", ".jpeg")):
            continue  # the mask of another file
        mask = mask_file.read_bytes() if mask_file != file and mask_file.exists() else None
        yield _sample(file.stem, file.read_bytes(), mask, long_side, path.name, "exact" if mask else "none")


def _sample(name: str, picture: bytes, mask: bytes | None, long_side: int | None, source: str, kind: str) -> Sample:
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    labels = Image.open(io.BytesIO(mask)) if mask else None
    if long_side and max(image.size) > long_side:
        scale = long_side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        labels = labels.resize(size, Image.Resampling.NEAREST) if labels else None
    # Copies: PyTorch wants memory that may be written.
    return Sample(name, np.array(image), np.array(labels) if labels else None, source, kind)
