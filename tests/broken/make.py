"""Makes the corpus of broken files: `PYTHONPATH=tests python tests/broken/make.py`.

There is a file or more for each row of the specification's table of errors (section 11), named
after the row. All but those whose fault is damage have valid checksums, so that a reader gets as
far as the fault. They are golden files, or made from their parts, with one thing wrong.
`test_broken.py` holds readers against them.
"""

from pathlib import Path
from unittest.mock import patch

import msgpack
import numpy as np

from obic.constants import PART_PIXEL_MASK, SIGNATURE
from obic.container.header import checksum
from obic.entropy import EntropyModel, LayerCoder, Tables, layer
from obic.entropy.coder import Encoder, distribution, uniform
from obic.masks import decode_label_map
from obic.weights import hyper_prior_of, scale_map_of
from shared import oracle

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden" / "v1"
WHOLE = (GOLDEN / "two-layers.obic").read_bytes()
FIELDS, STREAMS, _ = oracle.demux(WHOLE)  # version, width, height, model, mask, two pairs of quality and length


def checked(data: bytes) -> bytes:
    """Bytes with their checksum."""
    return data + checksum(data)


def assemble(fields: object, sections: list[bytes]) -> bytes:
    """A file with any header, an object or its bytes, and what stands behind it, all checksums
    right."""
    body = fields if isinstance(fields, bytes) else msgpack.packb(fields)
    return checked(SIGNATURE + msgpack.packb(len(body)) + body) + b"".join(map(checked, sections))


def header(changes: dict[int, object]) -> bytes:
    """The whole file with other elements in its header, by position."""
    fields = [changes.get(position, field) for position, field in enumerate(FIELDS)]
    return assemble(fields, [STREAMS[1], STREAMS[0]])


def with_parts(listing: list, *parts: bytes) -> bytes:
    return assemble([*FIELDS, listing], [STREAMS[1], STREAMS[0], *parts])


def with_object(stream: bytes) -> bytes:
    """The whole file with another sub-stream of layer 1."""
    return assemble([*FIELDS[:6], len(stream), *FIELDS[7:]], [stream, STREAMS[0]])


def flipped(data: bytes, position: int) -> bytes:
    position %= len(data)
    return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]


def long_escape() -> bytes:
    """A sub-stream of layer 1 in which an escape has more bits than are allowed, from a writer
    without that rule."""
    (weights,) = GOLDEN.glob("*.npz")
    arrays = np.load(weights)
    entropy = EntropyModel(scale_map_of(arrays), hyper_prior_of(arrays), Tables(arrays["tables"]))
    scale_map = entropy.scale_map
    cells = decode_label_map(FIELDS[4], 8, 8, 2) == 1
    z, r = np.full((scale_map.hyper_channels, 2, 2), 1 << 21), np.zeros((scale_map.channels, 8, 8), int)
    with patch.object(layer, "MAX_MAGNITUDE", 1 << 22):
        return LayerCoder(entropy, cells, FIELDS[5]).encode(z, r)


def ragged(part: bytes) -> bytes:
    """The golden file with a pixel mask, of two layers of five, with another pixel mask."""
    fields, streams, _ = oracle.demux((GOLDEN / "pixel-mask.obic").read_bytes())
    listing = [*fields[-1][:2], PART_PIXEL_MASK, len(part)]
    return assemble([*fields[:-1], listing], [streams[1], streams[4], part])


def map_of(mode: int, *numbers: tuple[int, int]) -> bytes:
    """A coded label map that begins with a mode and numbers, each with its number of bits."""
    encoder = Encoder()
    encoder.encode_one(mode, distribution(np.array([253, 1, 1, 1]) << 16))
    for number, bits in numbers:
        for place in reversed(range(bits)):
            encoder.encode_one(number >> place & 1, uniform(2))
    return encoder.finish()


def rectangle(label: int, top: int, left: int, bottom: int, right: int) -> bytes:
    """The label map of 8x8 cells and two layers in mode 3."""
    return map_of(3, (label, 1), *((number, 3) for number in (top, left, bottom, right)))


def files() -> dict[str, bytes]:
    width, mask = FIELDS[1], FIELDS[4]
    start = WHOLE.index(STREAMS[1])  # of the first sub-stream; the second begins behind its checksum
    bomb = [1, 60000, 60000, FIELDS[3], map_of(2, (1, 1)), 1, 150, 1, 0]
    return {
        "signature": b"\x89PNG\r\n" + WHOLE[6:],
        "signature--text-mode": WHOLE.replace(b"\r\n", b"\n", 1),
        "header-cut": WHOLE[: start - 5],
        "header-cut--empty": b"",
        "header-cut--in-signature": WHOLE[:4],
        "header-cut--in-length": SIGNATURE + b"\xcd\x01",
        "header-cut--in-checksum": WHOLE[: start - 1],
        "length-form": SIGNATURE + b"\xcc" + WHOLE[6:],
        "length-form--nil": SIGNATURE + b"\xc0" + WHOLE[7:],
        "length-form--64-bits": SIGNATURE + b"\xcf" + bytes(7) + WHOLE[6:],
        "header-sum": flipped(WHOLE, start - 4),
        "header-sum--itself": flipped(WHOLE, start - 1),
        "version": header({0: 2}),
        "version--other-fields": assemble([2, "of", {"another": "kind"}], []),
        "header-form": assemble(msgpack.packb(FIELDS) + b"\0", [STREAMS[1], STREAMS[0]]),
        "header-form--long-integer": assemble(
            msgpack.packb(FIELDS).replace(b"\xcc\x80", b"\xcd\x00\x80", 1), [STREAMS[1], STREAMS[0]]
        ),
        "header-form--not-msgpack": assemble(b"\xc1", []),
        "header-form--nested": assemble(b"\x91" * 1500, []),
        "field--no-array": assemble(1, []),
        "field--no-layer": assemble(FIELDS[:5], []),
        "field--width-0": header({1: 0}),
        "field--height-too-large": header({2: 1 << 24}),
        "field--float": header({1: float(width)}),
        "field--model-too-large": header({3: 1 << 32}),
        "field--quality-0": header({5: 0}),
        "field--quality-101": header({7: 101}),
        "field--length": header({6: b""}),
        "field--256-layers": assemble([*FIELDS[:5], *[50, None] * 256], []),
        "field--text": header({4: "mask"}),
        "mask-presence": header({4: None}),
        "mask-presence--one-layer": assemble([*FIELDS[:7]], [STREAMS[1]]),
        "parts": with_parts([3, 1, 2, 1], b"x", b"x"),
        "parts--empty": with_parts([]),
        "parts--odd": with_parts([2]),
        "parts--length-0": with_parts([2, 0]),
        "parts--kind-0": with_parts([0, 1], b"x"),
        "parts--icc-in-header": with_parts([2, b"profile"]),
        "parts--names-behind": with_parts([1, 5], b"a\nb c"),
        "parts--names-equal": with_parts([1, b"same\nsame"]),
        "parts--names-number": with_parts([1, b"a\n12"]),
        "parts--names-escape": with_parts([1, b"a\n\x1b[2J"]),
        "parts--names-too-few": with_parts([1, b"one"]),
        "parts--names-no-text": with_parts([1, b"a\n\xff"]),
        "critical": with_parts([64, 1], b"x"),
        "critical--in-header": with_parts([127, b"x"]),
        "limit": assemble(bomb, [STREAMS[1][:150]]),
        "limit--header": SIGNATURE + b"\xce\xff\xff\xff\xff" + WHOLE[7:],
        "limit--part": with_parts([2, (1 << 24) + 1]),
        "model": header({3: FIELDS[3] ^ 1}),
        "label-map": header({4: mask + b"\1"}),
        "label-map--no-symbol": header({4: b"\xff" * 9}),
        "label-map--empty-rectangle": header({4: rectangle(1, 5, 0, 4, 7)}),
        "label-map--rectangle-of-background": header({4: rectangle(0, 1, 1, 2, 2)}),
        "label-map--label-3-of-3": assemble([*FIELDS[:4], map_of(2, (3, 2)), *[50, None] * 3], []),
        "layer-cut": WHOLE[:-20],
        "layer-cut--in-checksum": WHOLE[:-1],
        "layer-cut--nothing-left": WHOLE[: start + 20],
        "layer-cut--part": ragged(b"\0\1")[:-1],
        "layer-sum": flipped(WHOLE, -20),
        "layer-sum--object": flipped(WHOLE, start + 20),
        "layer-sum--itself": flipped(WHOLE, -1),
        "layer-sum--part": flipped((GOLDEN / "pixel-mask.obic").read_bytes(), -9),
        "symbols": with_object(b"\xff" * 9),
        "symbols--zero-behind": with_object(STREAMS[1] + b"\0"),
        "symbols--not-shortest": with_object(STREAMS[1] + b"\1"),
        "symbols--long-escape": with_object(long_escape()),
        "symbols--of-no-cell": assemble([*FIELDS[:4], map_of(2, (1, 1)), 70, None, 20, 1], [b"\x80"]),
        "pixel-mask": ragged(b"\0\1\2\3"),
        "pixel-mask--unknown-coding": ragged(b"\1"),
        "trailing": WHOLE + b"\0",
    }


if __name__ == "__main__":
    for name, data in files().items():
        (HERE / f"{name}.obic").write_bytes(data)
