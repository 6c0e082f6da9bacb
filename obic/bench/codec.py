"""Rate, distortion and time of the codec on pictures, from real files: every byte of the `.obic` counts."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from obic import codec
from obic.container import open_container
from obic.metrics import decibels, ms_ssim, psnr
from obic.weights import CodecModel

SMALLEST_SIDE = 176  # MS-SSIM has five scales of 11-tap windows


@dataclass(frozen=True)
class TestPicture:
    """name, rgb uint8 [H, W, 3], and the true object, bool [H, W], where it is known."""

    name: str
    rgb: np.ndarray
    truth: np.ndarray | None = None


@dataclass(frozen=True)
class Measured:
    """One picture at one setting. Bytes are those of the file; `object_*` is the region of the true object, or of the
    coded one; seconds are wall-clock with the models loaded, `segment` apart."""

    picture: str
    quality: int
    bpp: float
    bytes: int
    mask_bytes: int
    overhead_bytes: int
    object_bytes: int
    object_share: float
    ms_ssim: float
    psnr: float
    object_ms_ssim: float | None
    background_ms_ssim: float | None
    encode_seconds: float
    decode_seconds: float
    segment_seconds: float


def read_folder(folder: Path) -> list[TestPicture]:
    """Every picture of a folder that is large enough for MS-SSIM, in order of name."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    pictures = [TestPicture(file.stem, np.asarray(Image.open(file).convert("RGB"))) for file in files]
    return [picture for picture in pictures if min(picture.rgb.shape[:2]) >= SMALLEST_SIDE]


def read_voc(path: Path, crop: int | None = 320) -> list[TestPicture]:
    """The pictures of a zip (NAME.jpg with NAME.png of class labels), centre-cropped; those too small are left out."""
    pictures = []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith(".jpg")):
            rgb = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))
            labels = np.asarray(Image.open(io.BytesIO(archive.read(name[:-4] + ".png"))))
            if crop:
                if min(rgb.shape[:2]) < crop:
                    continue
                top, left = ((side - crop) // 2 for side in rgb.shape[:2])
                window = np.s_[top : top + crop, left : left + crop]
                rgb, labels = rgb[window], labels[window]
            pictures.append(TestPicture(name[:-4], rgb, (labels > 0) & (labels < 255)))
    return pictures


def read_sets(data: Path | None, kodak: Path | None, voc: Path | None, every: int) -> dict[str, list[TestPicture]]:
    """The evaluation sets that are there, by name: DATA/kodak and DATA/voc-eval.zip, or the places named instead."""
    kodak, voc = kodak or (data and data / "kodak"), voc or (data and data / "voc-eval.zip")
    sets = {}
    if kodak and kodak.is_dir():
        sets["Kodak"] = read_folder(kodak)[::every]
    if voc and voc.is_file():
        sets["VOC 2012 val, 320x320"] = read_voc(voc)[::every]
    return sets


def measure(
    pictures: Iterable[TestPicture],
    settings: Sequence[int],
    model: CodecModel,
    segmenter: Callable[[np.ndarray], np.ndarray] | None,
) -> Iterator[Measured]:
    """Encodes and decodes every picture at every quality. Without a segmenter: one layer."""
    for picture in pictures:
        start = time.perf_counter()
        labels = None if segmenter is None else (segmenter(picture.rgb) > 0).astype(np.uint8)
        if labels is not None and not labels.any():
            labels = None
        segmented = time.perf_counter() - start
        for quality in settings:
            yield _measure_one(picture, labels, quality, model, segmented)


def _measure_one(picture: TestPicture, labels, quality: int, model: CodecModel, segmented: float) -> Measured:
    layers = 1 if labels is None else 2
    start = time.perf_counter()
    data = codec.encode_picture(
        picture.rgb, labels, layers, qualities=codec.layer_qualities(quality, layers), model=model
    )
    encoded = time.perf_counter()
    container = open_container(data)
    decoded = codec.decode_picture(container, model).rgb
    done = time.perf_counter()

    truth = picture.truth if picture.truth is not None else labels
    original, result = _tensor(picture.rgb), _tensor(decoded)
    of_object = of_background = None
    if truth is not None and truth.any() and not truth.all():
        regions = torch.from_numpy(np.stack([truth, truth == 0]).astype(np.float32))[None]
        of_object, of_background = ms_ssim(result, original, regions)[0].tolist()
    pixels = picture.rgb.shape[0] * picture.rgb.shape[1]
    return Measured(
        picture=picture.name,
        quality=quality,
        bpp=8 * len(data) / pixels,
        bytes=len(data),
        mask_bytes=container.mask_bytes,
        overhead_bytes=container.overhead_bytes,
        object_bytes=container.layer_bytes(1) if layers == 2 else 0,
        object_share=0.0 if labels is None else float(labels.mean()),
        ms_ssim=ms_ssim(result, original).item(),
        psnr=psnr(result, original).item(),
        object_ms_ssim=of_object,
        background_ms_ssim=of_background,
        encode_seconds=encoded - start,
        decode_seconds=done - encoded,
        segment_seconds=segmented,
    )


def _tensor(rgb: np.ndarray) -> Tensor:
    return torch.tensor(rgb).permute(2, 0, 1)[None].float() / 255


def averages(rows: Sequence[Measured]) -> dict[int, dict[str, float]]:
    """Means over the pictures for each quality; a region's mean is over the pictures that have one."""
    result = {}
    for quality in sorted({row.quality for row in rows}):
        chosen = [row for row in rows if row.quality == quality]
        means = {}
        for field in Measured.__dataclass_fields__:
            values = [getattr(row, field) for row in chosen if isinstance(getattr(row, field), (int, float))]
            if values and field != "quality":
                means[field] = float(np.mean(values))
        result[quality] = means
    return result


def at_rate(means: dict[int, dict[str, float]], bpp: float, field: str) -> float | None:
    """A mean figure at a mean rate: linear in the logarithm of the rate, MS-SSIM in dB. None outside the curve."""
    rates = [np.log(point["bpp"]) for point in means.values()]
    values = [point[field] for point in means.values()]
    if field.endswith("ms_ssim"):
        values = [decibels(value) for value in values]
    if not rates[0] <= np.log(bpp) <= rates[-1]:
        return None
    value = float(np.interp(np.log(bpp), rates, values))
    return 1 - 10 ** (-value / 10) if field.endswith("ms_ssim") else value
