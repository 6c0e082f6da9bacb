"""Coders for one picture: files at any quality, and back. obic in its variants, and other codecs in
use today."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from PIL import Image, features

from obic import codec
from obic.bench.common.script import extra
from obic.constants import ESCAPE, MAX_QUALITY, MAX_SYMBOL, MIN_QUALITY, PRECISION
from obic.container import Container, open_container
from obic.entropy.layer import hyper_cells
from obic.masks import decode_label_map, grid_size
from obic.rate import layer_qualities
from obic.weights import CodecModel

pillow_heif = extra("pillow_heif")
pillow_heif.register_heif_opener()
extra("pillow_jxl")  # registers JPEG XL with Pillow

Save = Callable[[Image.Image, int], bytes]


class Coder(Protocol):
    """One picture in one codec. Bytes almost always increase with the quality."""

    qualities: range

    def encode(self, quality: int) -> bytes:
        """The file of the picture at a quality."""
        ...

    def decode(self, data: bytes) -> np.ndarray:
        """uint8 [H, W, 3] of a file."""
        ...

    def parts(self, data: bytes) -> dict[str, float]:
        """Bytes of a file by what they are for; "payload" is what its rate is counted by."""
        ...


@dataclass(frozen=True)
class Rival:
    """A codec of Pillow's or of a plugin of it. settings: what a reader needs to repeat it."""

    name: str
    settings: str
    save: Save
    qualities: range = range(101)


def _saver(format: str, **options: Any) -> Save:
    def save(image: Image.Image, quality: int) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format, quality=quality, **options)
        return buffer.getvalue()

    return save


def _jpeg2000(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()  # quality 0..200 -> compression 2000:1..2:1, log-spaced
    ratio = 2000 * 10 ** (-quality * 3 / 200)
    image.save(buffer, "JPEG2000", quality_mode="rates", quality_layers=[ratio], irreversible=True, no_jp2=True)
    return buffer.getvalue()


RIVALS = {
    rival.name: rival
    for rival in (
        Rival(
            "HEVC intra",
            f"x265 by libheif {pillow_heif.libheif_version()}: preset veryslow, tune ssim, 4:2:0",
            _saver("HEIF", enc_params={"preset": "veryslow", "tune": "ssim"}, chroma=420),
        ),
        Rival(
            "AVIF",
            f"libaom by libavif {features.version('avif')}: speed 4, tune ssim, 4:4:4",
            _saver("AVIF", speed=4, subsampling="4:4:4", max_threads=1, advanced={"tune": "ssim"}),
        ),
        Rival("JPEG XL", "libjxl by pillow-jxl-plugin: effort 7", _saver("JXL", effort=7, num_threads=1)),
        Rival("WebP", f"libwebp {features.version('webp')}: method 6", _saver("WEBP", method=6)),
        Rival("JPEG 2000", f"OpenJPEG {features.version('jpg_2000')}: 9/7 wavelet, no boxes", _jpeg2000, range(201)),
        Rival("JPEG", "libjpeg: progressive, optimised, 4:2:0", _saver("JPEG", optimize=True, progressive=True)),
    )
}


class RivalCoder:
    """A picture in a codec of others."""

    def __init__(self, rgb: np.ndarray, rival: Rival):
        self.qualities = rival.qualities
        self.encode = partial(rival.save, Image.fromarray(rgb))

    def decode(self, data: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def parts(self, data: bytes) -> dict[str, float]:
        """payload: the bytes of the file without the boxes of HEIF and AVIF, all of it for other
        formats."""
        return {"payload": len(data) - _box_bytes(data)}


def _box_bytes(data: bytes) -> int:
    """Bytes of an ISO base media file that are not in its media data boxes; 0 if the file is
    none."""
    if data[4:8] != b"ftyp":
        return 0
    place, media = 0, 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] == b"mdat":
            media += size - 8
        place += size
    return len(data) - media


class ObicCoder:
    """A picture in obic: `encoder` analysed it, the objects get `boost` more than the quality, the
    background less.

    Qualities go beyond 1..100 by the boost, until every layer stands at its lowest or highest.
    """

    def __init__(self, encoder: codec.PictureEncoder, n_layers: int, boost: int, model: CodecModel):
        reach = abs(boost) if n_layers > 1 else 0
        self.qualities = range(MIN_QUALITY - reach, MAX_QUALITY + reach + 1)
        self._encoder, self._n_layers, self._boost, self._model = encoder, n_layers, boost, model

    def encode(self, quality: int) -> bytes:
        """The file at a quality, which may lie beyond 1..100 by the boost."""
        return self._encoder.encode(layer_qualities(quality, self._n_layers, object_boost=self._boost))

    def decode(self, data: bytes) -> np.ndarray:
        return codec.decode_picture(open_container(data), self._model).rgb

    def parts(self, data: bytes) -> dict[str, float]:
        """Where the bytes are: header (with checksums), mask, and z and residual of each side of
        the picture."""
        container = open_container(data)
        result: dict[str, float] = {"header_bytes": container.overhead_bytes, "mask_bytes": container.mask_bytes}
        for index, side in enumerate(("background", "object")[: self._n_layers]):
            z = layer_hyper_bytes(container, index, self._model)
            result |= {f"{side}_z_bytes": z, f"{side}_residual_bytes": container.layer_bytes(index) - z}
        return {"payload": len(data), **result}


def layer_hyper_bytes(container: Container, index: int, model: CodecModel) -> float:
    """`hyper_bytes` of one layer of a file."""
    header = container.header
    labels = decode_label_map(header.mask, *grid_size(header.height, header.width), header.n_layers)
    z, _ = codec.decode_symbols(container, index, model)
    return hyper_bytes(z, labels == index, header.layers[index].quality, model)


def hyper_bytes(z: np.ndarray, cells: np.ndarray, quality: int, model: CodecModel) -> float:
    """The ideal code length in bytes of a hyper-latent int32 [Z, h4, w4] of some cells, bool [h,
    w].

    An escape counts as its first symbol.
    """
    total = 0.0
    for places, mean, rows in model.entropy.hyper_prior.passes(z, hyper_cells(cells), quality):
        values, rows = z[:, *places] - mean, rows[:, None]
        symbols = np.where(np.abs(values) > MAX_SYMBOL, ESCAPE, values) + MAX_SYMBOL
        bits = PRECISION - np.log2(model.entropy.tables.counts[rows, symbols])
        total += float((bits * (rows > 0)).sum() / 8)
    return total
