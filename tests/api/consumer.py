"""A program that uses obic, as type checkers see it: `make lint` checks it, nothing runs it.

Each `type: ignore` is a mistake that has to be found: one that is not is an error itself.
"""

from pathlib import Path
from typing import assert_type

import numpy as np
from PIL import Image

import obic


def images(path: Path, image: Image.Image, pixels: np.ndarray) -> None:
    data = obic.encode(image, bpp=0.1, mask="auto", layers="class", boxes=[(0, "10%", 200, "90%")])
    assert_type(data, bytes)
    assert_type(obic.encode(path, size="10k", mask=pixels), bytes)
    assert_type(obic.decode(data, damaged="skip"), Image.Image)
    assert_type(obic.extract(path, ["object", 0]), Image.Image)
    obic.encode(image, qualty=50)  # type: ignore[call-arg]
    obic.encode(image, quality="high")  # type: ignore[arg-type]
    obic.encode(image, alpha="soft")  # type: ignore[arg-type]
    obic.decode(data, look="sharp")  # type: ignore[arg-type]
    obic.extract(data)  # type: ignore[call-arg]


def many(files: list[Path], pictures: list[Image.Image]) -> None:
    codec = obic.Codec("cpu", segmenter=lambda rgb: (rgb[..., 0] > 128).astype(np.uint8))
    assert_type(codec.encode_all(pictures, workers=1, quality=60), list[bytes])
    assert_type(codec.decode_all(files), list[Image.Image])
    obic.Codec(threads=2)  # type: ignore[call-arg]


def layers(path: Path) -> bytes:
    with path.open("rb") as file:
        container = obic.open(file)
        assert_type(container.header.layer_names, tuple[str, ...])
        assert_type([check.error for check in container.verify()], list[obic.FormatError | None])
        return container.subset(["object"])


def arrays(path: Path) -> bytes:
    picture = obic.read_picture(path)
    labels, n_layers = obic.read_mask(path, *picture.rgb.shape[:2])
    model = obic.load_model(encoder=True)
    encoder = obic.PictureEncoder(picture.rgb, labels, n_layers, model=model)
    data = encoder.encode(obic.layer_qualities(50, n_layers))
    assert_type(data, bytes)
    decoded = obic.decode_picture(obic.open(data), model)
    return obic.write_picture(decoded.pixels, "PNG")
