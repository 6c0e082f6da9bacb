"""bitstream_spec.md says what the code does: dumps, tables, constants, errors, section numbers."""

import re

import numpy as np
import pytest

from obic import constants
from obic.container import Limits, mux
from obic.container.header import checksum
from obic.entropy import EntropyModel, LayerCoder, Tables
from obic.entropy.coder import Encoder, uniform
from obic.entropy.mask_contexts import ONE_IN_256
from obic.masks import decode_pixel_mask, encode_label_map
from obic.weights import hyper_prior_of, scale_map_of
from shared import oracle
from shared.places import ROOT
from shared.specification import SPEC, section, table


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
    for name in ("SIGNATURE", "MEDIA_TYPE", "HYPER_ORDER", "MIN_SCALE", "MAX_SCALE"):  # in 3.1, 15, 5.4; no concern
        del public[name]
    assert stated == public
    assert constants.SIGNATURE.hex(" ").upper() in section("3.1 Signature")
    assert f"media type `{constants.MEDIA_TYPE}`" in section("15 Names")


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


HIDDEN = ("into_hidden", "hidden_bias", "from_hidden")
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*/*.obic"))


def test_there_are_golden_files():
    assert GOLDEN


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_reader_made_from_the_specification_reads_the_golden_files(path):
    """To the same integers as the real one, from the model's arrays as section 7 names them."""
    (weights,) = path.parent.glob("*.npz")
    arrays = np.load(weights)
    weight, bias, shift = (arrays[f"scale_map.{name}"] for name in ("weight", "bias", "shift"))
    hidden = [arrays[f"scale_map.{name}"] for name in HIDDEN if f"scale_map.{name}" in arrays] or None
    prior, counts = hyper_prior_of(arrays), arrays["tables"]
    z_index, z_offset = arrays["hyper_index"], arrays["hyper_offset"].tolist()
    z_index = z_index[None] if z_index.ndim == 2 else z_index
    z_context = [arrays[f"hyper_context.{name}"] for name in ("weight", "shift") if len(z_index) > 1]
    fields, streams, parts = oracle.demux(path.read_bytes())
    (_, width, height, model, mask), n = fields[:5], len(streams)
    assert f"{model:08x}" in weights.name
    h, w = -(-height // 16), -(-width // 16)
    labels = np.zeros((h, w)) if n == 1 else oracle.label_map(mask, h, w, n, ONE_IN_256)
    for position, index in enumerate([*range(1, n), 0]):
        if streams[index] is not None:
            cells, quality = labels == index, fields[5 + 2 * position]
            of_z = z_index, z_offset, counts, *(z_context or (None, None))
            stated = oracle.layer(streams[index], cells, quality, weight, bias, int(shift), *of_z, hidden)
            entropy = EntropyModel(scale_map_of(arrays), prior, Tables(counts))
            real = LayerCoder(entropy, cells, quality).decode(streams[index])
            assert all(np.array_equal(a, b) for a, b in zip(stated, real, strict=True))
    if constants.PART_PIXEL_MASK in parts:
        mask = parts[constants.PART_PIXEL_MASK], labels.astype(np.uint8), height, width
        assert np.array_equal(oracle.pixel_mask(*mask, ONE_IN_256), decode_pixel_mask(*mask))
