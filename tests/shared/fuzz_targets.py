"""What any bytes are made into to try the readers, a target each: the header, the container, masks,
streams, files.

A target raises ObicError or nothing. Most make a file with valid checksums, so that the depths are
reached. `fuzz.py` feeds them from a fuzzer, `test_fuzz.py` from hypothesis.
"""

import os
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from broken.make import assemble
from obic import codec
from obic.cli.main import main as obic
from obic.container import TRUE, Limits, merge, open_container
from obic.entropy import LayerCoder
from obic.masks import decode_label_map, decode_pixel_mask
from shared import oracle
from shared.places import GOLDEN

LIMITS = Limits(max_pixels=1 << 16, max_header_bytes=1 << 14, max_part_bytes=1 << 14)
FILES = sorted(GOLDEN.glob("*.obic"))
ODD = [None, True, -1, 0, 1, 100, 101, 255, 2**24 - 1, 2**24, 2**32 - 1, 2**32, 2**64 - 1, 1.5, b"", "text", [], {}]


class Choices:
    """Bytes as a series of choices; when they are used up, all choices are the first."""

    def __init__(self, data: bytes):
        self.rest = data

    def below(self, n: int) -> int:
        size = (n - 1).bit_length() // 8 + 1
        number, self.rest = int.from_bytes(self.rest[:size], "big"), self.rest[size:]
        return number % n

    def one_of(self, items):
        return items[self.below(len(items))]

    def take(self, n: int) -> bytes:
        taken, self.rest = self.rest[:n], self.rest[n:]
        return taken


@cache
def model():
    os.environ["OBIC_WEIGHTS"] = str(GOLDEN)
    return codec.load_model("cpu")


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="obic-fuzz-"))


def header(choices: Choices) -> None:
    """Any bytes as a header."""
    open_container(assemble(choices.rest, []), LIMITS)


def container(choices: Choices) -> None:
    """Any bytes as a file, without help."""
    read_bytes(choices.rest)


def label_map(choices: Choices) -> None:
    height, width, n = 1 + choices.below(24), 1 + choices.below(24), 2 + choices.below(choices.one_of([2, 8, 254]))
    labels = decode_label_map(choices.rest, height, width, n)
    assert labels.shape == (height, width) and labels.max() < n


def pixel_mask(choices: Choices) -> None:
    height, width = 1 + choices.below(70), 1 + choices.below(70)
    cells = np.array([choices.below(3) for _ in range(25)], np.uint8).reshape(5, 5)
    cells = cells[: -(-height // 16), : -(-width // 16)]
    mask = decode_pixel_mask(b"\0" + choices.rest, cells, height, width)
    assert mask.shape == (height, width) and mask.dtype == bool


def stream(choices: Choices) -> None:
    quality, height, width = 1 + choices.below(100), 1 + choices.below(9), 1 + choices.below(9)
    bits = np.frombuffer(choices.take(11).ljust(11, b"\xff"), np.uint8)
    cells = np.unpackbits(bits)[: height * width].reshape(height, width).astype(bool)
    coded = model()
    z, r = LayerCoder(coded.entropy, cells, quality).decode(choices.rest)
    assert not r[:, ~cells].any() and z.shape[1:] == (-(-height // 4), -(-width // 4))


def picture(choices: Choices) -> None:
    """A golden file with a few things changed, through the decoder and the commands of the
    container."""
    data = changed_file(choices)
    read_bytes(data)
    opened = open_container(data, LIMITS)
    damaged = choices.one_of(["error", "skip"])
    decoded = codec.decode_picture(opened, model(), damaged=damaged)
    assert decoded.rgb.shape == (opened.header.height, opened.header.width, 3)
    assert damaged == "skip" or all(opened.header.layers[index].length is None for index in decoded.missing)


def command(choices: Choices) -> None:
    """Such a file through a command line: a documented exit code, and an output exactly where that
    is 0."""
    path, out = folder() / "x.obic", folder() / "out"
    path.write_bytes(changed_file(choices))
    line = choices.one_of(
        ["decode IN -o OUT", "decode IN --damaged skip -o OUT", "decode IN --damaged skip -o OUT --format webp",
         "decode IN -o OUT --format jpg", "decode IN -o OUT --format avif", "extract IN --layer 1 -o OUT --format png",
         "extract IN --layer 1 -o OUT.obic", "merge IN IN -o OUT", "verify IN", "info IN --json"]
    )  # fmt: skip
    arguments = [word.replace("IN", str(path)).replace("OUT", str(out)) for word in line.split()]
    code = obic(arguments)
    left = [found for found in folder().iterdir() if found != path]
    assert code in (0, 2, 3, 4, 5), code
    assert len(left) == (1 if code == 0 and "OUT" in line else 0), left
    for found in left:
        found.unlink()


TARGETS = [header, container, label_map, pixel_mask, stream, picture, command]


def read_bytes(data: bytes) -> None:
    """All that a demuxer does."""
    opened = open_container(data, LIMITS)
    whole = all(check.error is None for check in opened.verify())
    present = [entry.index for entry in opened.header.layers if entry.length is not None]
    if whole:
        again = opened.subset(present)
        assert merge([opened, open_container(again)]) == again == open_container(again).subset(present)
        assert again == data or any(part.kind in TRUE for part in opened.header.parts)


def changed_file(choices: Choices) -> bytes:
    """A golden file with one to four changes to its header, its label map, its streams or its
    parts."""
    fields, streams, parts = oracle.demux(choices.one_of(FILES).read_bytes())
    n = len(streams)
    order = [*range(1, n), 0]
    for _ in range(1 + choices.below(4)):
        kind = choices.below(6)
        if kind == 0:
            fields[choices.below(len(fields))] = choices.one_of(ODD)
        elif kind == 1 and isinstance(fields[4], bytes):
            fields[4] = changed_bytes(fields[4], choices)
        elif kind == 2:
            fields[1 + choices.below(2)] = 1 + choices.below(400)
        elif kind == 3:
            fields[5 + 2 * choices.below(n)] = 1 + choices.below(100)
        elif kind == 4:
            parts[2 + choices.below(126)] = choices.take(choices.below(40))
        else:
            index = choices.one_of(order)
            streams[index] = changed_bytes(streams[index] or b"", choices)
    for place, index in enumerate(order):
        if 6 + 2 * place < len(fields) and not (fields[6 + 2 * place] is None and streams[index] is None):
            fields[6 + 2 * place] = None if streams[index] is None else len(streams[index])
    if parts:
        listing = [item for kind in sorted(parts) for item in (kind, parts[kind] if kind == 1 else len(parts[kind]))]
        fields[5 + 2 * n :] = [listing]
    behind = [parts[kind] for kind in sorted(parts) if kind != 1]
    return assemble(fields, [streams[index] or b"" for index in order] + behind)


def changed_bytes(data: bytes, choices: Choices) -> bytes:
    place = choices.below(len(data) + 1)
    kind = choices.below(4)
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + choices.take(1) + data[place + 1 :]
    if kind == 2:
        return data[:place] + choices.take(choices.below(60)) + data[place:]
    return choices.take(choices.below(60))
