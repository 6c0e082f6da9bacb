"""bitstream_spec.md says what the code does: dumps, tables, constants, errors, section numbers."""

import json
import re
from pathlib import Path

import msgpack
import numpy as np
import pytest

import oracle
from obic import constants, errors
from obic.container import Limits, mux, open_container
from obic.container.header import checksum
from obic.entropy import HyperPrior, ScaleMap, Tables, decode_layer, encode_layer, gaussian_tables
from obic.entropy.coder import Encoder, model, uniform
from obic.entropy.mask_contexts import ONE_IN_256
from obic.masks import decode_label_map, decode_pixel_mask, encode_label_map

ROOT = Path(__file__).parents[1]
SPEC = (ROOT / "bitstream_spec.md").read_text()


def section(title):
    """The text under the heading that begins with `title`, up to the next heading of any level."""
    return re.split(r"^#+ ", SPEC.split(f"# {title}", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def table(title):
    """The body rows of the first table of a section, as lists of cells."""
    rows = [line.strip("|").split("|") for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def dump(title):
    """The bytes of an annotated dump: in each line, what stands before two spaces."""
    block = section(title).split("```")[-2]
    return bytes.fromhex(" ".join(line.split("  ")[0] for line in block.strip().splitlines()))


def test_smallest_file():
    data = mux(width=1, height=1, model=0, mask=None, qualities=(50,), streams={0: b""})
    assert dump("A.1 The smallest file") == data
    assert len(data) == 17


def test_two_layer_file():
    text = section("A.2 Two layers").split("```")[1]
    labels = np.array([line.split() for line in text.strip().splitlines()], np.uint8)
    data = mux(
        width=80,
        height=64,
        model=0xC0FFEE01,
        mask=encode_label_map(labels, 2),
        qualities=(40, 60),
        streams={1: b"\xa0"},
        names=("street", "fox"),
    )
    assert dump("A.2 Two layers") == data
    fields, _, parts = oracle.demux(data)
    assert np.array_equal(oracle.label_map(fields[4], 4, 5, 2, ONE_IN_256), labels)
    assert parts == {1: b"street\nfox"}


def test_example_of_the_range_coder():
    encoder = Encoder()
    encoder.encode(np.array([1, 0, 1]), uniform(2))
    assert f"give the one byte `{encoder.finish().hex().upper()}`" in section("5.1 The range coder")


def test_check_values_of_the_checksums():
    text = section("3.4 Checksums")
    assert f"is 0x{checksum(b'123456789').hex().upper()}" in text
    assert "would give 0xCBF43926" in text
    assert "32,767" in text
    assert [len(checksum(bytes(size))) for size in (0, 1, 32767, 32768)] == [0, 2, 2, 4]


def test_context_table():
    assert bytes.fromhex(section("Appendix B").split("```")[1]) == ONE_IN_256
    assert len(ONE_IN_256) == 1024
    assert min(ONE_IN_256) >= 1


def test_constants():
    stated = {name: float(value) for name, value, _ in table("Appendix C")}
    public = {name: value for name, value in vars(constants).items() if name.isupper()}
    del public["SIGNATURE"], public["MIN_SCALE"], public["MAX_SCALE"]  # in 3.1; of no concern to a reader
    assert stated == public
    assert constants.SIGNATURE.hex(" ").upper() in section("3.1 Signature")


def test_limits():
    values = [eval(value.replace("^", "**")) for _, value in table("13 Limits")]
    assert values == list(vars(Limits()).values())


def test_sections_that_are_cited_exist():
    headings = set(re.findall(r"^#+ (?:Appendix )?([\dA-D](?:\.\d+)?) ?", SPEC, re.MULTILINE))
    cited = {number for _, _, number in table("Appendix C")}
    for path in (ROOT / "obic").rglob("*.py"):
        cited |= set(re.findall(r"[sS]pec (\d+(?:\.\d+)?)", path.read_text()))
    assert cited <= headings | {str(number) for number in range(1, 16)}
    anchors = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)", SPEC, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", SPEC)) <= anchors


# One file for each row of the error table.

GOOD = [1, 80, 64, 7, encode_label_map(np.eye(4, 5, dtype=np.uint8), 2), 50, 1, 30, None]


def file(fields, behind=b""):
    body = msgpack.packb(fields) if isinstance(fields, list) else fields
    covered = constants.SIGNATURE + msgpack.packb(len(body)) + body
    return covered + checksum(covered) + behind


WHOLE = file(GOOD, b"\xa0" + checksum(b"\xa0"))
ONES = np.ones((100, 1), int)
MODEL = (ScaleMap(np.zeros((16, 1), int), ONES, 0), HyperPrior(ONES, 0 * ONES), gaussian_tables())


def read(data, limits=None):
    container = open_container(data, limits or Limits())
    container.read_layer(1)
    container.check_end()


def read_symbols(data):
    decode_layer(data, np.ones((1, 1), bool), 50, *MODEL)


ZEROS = encode_layer(np.zeros((1, 1, 1), int), np.zeros((1, 1, 1), int), np.ones((1, 1), bool), 50, *MODEL)


def long_escape():
    encoder = Encoder()
    encoder.encode(np.array([constants.ESCAPE + constants.MAX_SYMBOL]), model(MODEL[2].counts[1]))
    encoder.encode(np.array([constants.MAX_ESCAPE_BITS + 1]), uniform(constants.ESCAPE_LENGTHS))
    return encoder.finish()


def load_unknown_model(folder, monkeypatch):
    from obic.weights import load_codec

    (folder / "manifest.json").write_text(
        json.dumps({"default_codec": "00000001", "codecs": [{"fingerprint": "00000001"}]})
    )
    monkeypatch.setenv("OBIC_WEIGHTS", str(folder))
    load_codec(0x00000002)


CONDITIONS = {
    "signature": [lambda: read(b"\x89PNG\r\n\x1a\n" + WHOLE)],
    "header-cut": [lambda n=n: read(WHOLE[:n]) for n in range(len(WHOLE) - 3)],
    "length-form": [lambda: read(WHOLE[:6] + b"\xcc" + WHOLE[6:]), lambda: read(WHOLE[:6] + b"\xc0" + WHOLE[7:])],
    "header-sum": [lambda: read(WHOLE[:10] + b"\0" + WHOLE[11:])],
    "version": [lambda: read(file([2, *GOOD[1:]])), lambda: read(file([0]))],
    "header-form": [lambda: read(file(msgpack.packb(GOOD) + b"\0")), lambda: read(file(b"\xc1"))],
    "field": [lambda: read(file([1, 0, *GOOD[2:]])), lambda: read(file(GOOD[:-1])), lambda: read(file([None]))],
    "mask-presence": [lambda: read(file(GOOD[:7])), lambda: read(file([*GOOD[:4], None, *GOOD[5:]]))],
    "parts": [lambda: read(file([*GOOD, [3, 1, 2, 1]])), lambda: read(file([*GOOD, [1, b"same\nsame"]]))],
    "critical": [lambda: read(file([*GOOD, [64, 1]]))],
    "limit": [lambda: read(WHOLE, Limits(max_pixels=5119)), lambda: read(WHOLE, Limits(max_layers=1))],
    "label-map": [lambda: decode_label_map(GOOD[4] + b"\1", 4, 5, 2), lambda: decode_label_map(b"\xff" * 9, 4, 5, 2)],
    "pixel-mask": [
        lambda: decode_pixel_mask(b"\0\1\2\3", np.ones((1, 1), np.uint8), 16, 16),
        lambda: decode_pixel_mask(b"\1", np.ones((1, 1), np.uint8), 16, 16),
        lambda: decode_pixel_mask(b"", np.ones((1, 1), np.uint8), 16, 16),
    ],
    "layer-cut": [lambda n=n: read(WHOLE[:-n]) for n in (1, 2, 3)],
    "layer-sum": [lambda: read(WHOLE[:-1] + b"?"), lambda: read(WHOLE[:-3] + b"?" + WHOLE[-2:])],
    "symbols": [
        lambda: read_symbols(b"\xff" * 9),
        lambda: read_symbols(ZEROS + b"\0"),
        lambda: read_symbols(long_escape()),
    ],
    "trailing": [lambda: read(WHOLE + b"\0")],
}


def test_the_whole_file_is_good():
    read(WHOLE)
    read_symbols(ZEROS)


@pytest.mark.parametrize("row", table("11 Errors"), ids=lambda row: row[0])
def test_errors(row, tmp_path, monkeypatch):
    name, _, error, scope = row
    ways = [lambda: load_unknown_model(tmp_path, monkeypatch)] if name == "model" else CONDITIONS[name]
    for way in ways:
        with pytest.raises(errors.ObicError) as caught:
            way()
        assert type(caught.value) is getattr(errors, error)
    assert scope.split(",")[0] in ("file", "layer", "none")


def test_every_condition_is_in_the_table():
    assert {row[0] for row in table("11 Errors")} == {*CONDITIONS, "model"}


GOLDEN = sorted((ROOT / "tests" / "golden").glob("*/*.obic"))


def test_there_are_golden_files():
    assert GOLDEN


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_reader_made_from_the_specification_reads_the_golden_files(path):
    """To the same integers as the real one, from the model's arrays as section 7 names them."""
    (weights,) = path.parent.glob("*.npz")
    arrays = np.load(weights)
    weight, bias, shift = (arrays[f"scale_map.{name}"] for name in ("weight", "bias", "shift"))
    prior, counts = HyperPrior(arrays["hyper_index"], arrays["hyper_offset"]), arrays["tables"]
    stated_prior = arrays["hyper_index"].tolist(), arrays["hyper_offset"].tolist()
    fields, streams, parts = oracle.demux(path.read_bytes())
    (_, width, height, model, mask), n = fields[:5], len(streams)
    assert f"{model:08x}" in weights.name
    h, w = -(-height // 16), -(-width // 16)
    labels = np.zeros((h, w)) if n == 1 else oracle.label_map(mask, h, w, n, ONE_IN_256)
    for position, index in enumerate([*range(1, n), 0]):
        if streams[index] is not None:
            cells, quality = labels == index, fields[5 + 2 * position]
            stated = oracle.layer(streams[index], cells, quality, weight, bias, int(shift), *stated_prior, counts)
            scale_map = ScaleMap(weight, bias, int(shift))
            real = decode_layer(streams[index], cells, quality, scale_map, prior, Tables(counts))
            assert all(np.array_equal(a, b) for a, b in zip(stated, real, strict=True))
    if constants.PART_PIXEL_MASK in parts:
        mask = parts[constants.PART_PIXEL_MASK], labels.astype(np.uint8), height, width
        assert np.array_equal(oracle.pixel_mask(*mask, ONE_IN_256), decode_pixel_mask(*mask))
