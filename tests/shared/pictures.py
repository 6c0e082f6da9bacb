"""Made-up pictures, their layers and their metadata."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def ramp(height: int = 5, width: int = 7) -> np.ndarray:
    """uint8 [height, width, 3] whose pixels all differ."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 40, columns * 30, rows * width + columns], axis=2).astype(np.uint8)


def file_of(image: Image.Image | np.ndarray, format: str = "PNG", **options) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_of_samples(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG from raw rows, for the kinds that Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    image = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + image


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with some texture: what a codec meets, roughly."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 40
    waves = [np.sin(y * a + x * b + c) for a, b, c in random.uniform(0, 3, (3, 3))]
    noise = random.normal(0, 0.1, (height, width, 3))
    return ((np.dstack(waves) * 0.4 + noise + 0.5).clip(0, 1) * 255).astype(np.uint8)


def disc(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (np.hypot(y - height / 2, x - width / 2) < min(height, width) / 3).astype(np.uint8)


def half(rgb):
    """A segmenter: an object on the left."""
    labels = np.zeros(rgb.shape[:2], np.uint8)
    labels[:, : rgb.shape[1] // 2] = 1
    return labels


def display_p3() -> bytes:
    """A minimal ICC profile: the primaries of Display P3 adapted to D50, and a gamma of 2.2."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    name = b"Display P3\0"
    gamma = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name.ljust(len(name) + 79, b"\0"),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.5151, 0.2412, -0.0011),
        b"gXYZ": xyz(0.2920, 0.6922, 0.0419),
        b"bXYZ": xyz(0.1571, 0.0666, 0.7841),
        b"rTRC": gamma,
        b"gTRC": gamma,
        b"bTRC": gamma,
    }
    offset = 128 + 4 + 12 * len(tags)
    directory, bodies = struct.pack(">I", len(tags)), b""
    for tag, body in tags.items():
        directory += struct.pack(">4sII", tag, offset + len(bodies), len(body))
        bodies += body.ljust(-(-len(body) // 4) * 4, b"\0")
    header = struct.pack(">I4sI4s4s4s", offset + len(bodies), b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header = header.ljust(36, b"\0") + b"acsp"
    header = header.ljust(68, b"\0") + xyz(0.9642, 1.0, 0.8249)[8:]
    return header.ljust(128, b"\0") + directory + bodies


def tiff(order: str, *directories: dict, gap: bytes = b"") -> bytes:
    """EXIF data from directories one behind the other: {tag: (type, value)}, a value being bytes or
    a directory."""

    def put(directory: dict, start: int, follows: list[dict]) -> bytes:
        fields, values = b"", gap
        behind = start + 2 + 12 * len(directory) + 4
        for tag, (kind, value) in sorted(directory.items()):
            count = 1
            if isinstance(value, dict):
                place = behind + len(values)
                values += put(value, place, [])
                value = struct.pack(order + "I", place)
            else:
                count = len(value) // {3: 2, 4: 4, 5: 8, 10: 8}.get(kind, 1)
                if len(value) > 4:
                    place = behind + len(values)
                    values += value + bytes(len(value) % 2)
                    value = struct.pack(order + "I", place)
            fields += struct.pack(order + "HHI4s", tag, kind, count, value)
        place = behind + len(values)
        if follows:
            values += put(follows[0], place, follows[1:])
        head = struct.pack(order + "H", len(directory))
        return head + fields + struct.pack(order + "I", place if follows else 0) + values

    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    return head + put(directories[0], 8, [*directories[1:]])


def discs(height, width, n_layers, random):
    """A smooth label map, uint8 [H, W], with about as many regions as layers."""
    y, x = np.mgrid[:height, :width]
    labels = np.zeros((height, width), np.uint8)
    for label in range(1, n_layers):
        cy, cx, radius = random.random(3) * [height, width, max(height, width) / 2]
        labels[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = label
    return labels
