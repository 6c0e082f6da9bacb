"""EXIF, ICC and XMP through a file: kept when asked, upright, written back; colours converted
otherwise."""

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from obic.constants import PART_EXIF, PART_ICC, PART_XMP
from obic.container import mux, open_container
from obic.container.exif import true_exif
from obic.errors import FormatError, LimitError, UsageError
from obic.images import held, in_srgb, read_picture, write_picture
from obic.metadata import kept, kinds_from_text
from shared.pictures import display_p3
from shared.places import TESTS

GOLDEN = TESTS / "golden" / "v1"
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>caf\xc3\xa9</x:xmpmeta>'
)
ALL = {PART_EXIF, PART_ICC, PART_XMP}


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010F] = "a maker"
    return tags.tobytes()


@pytest.fixture
def photo(obic, monkeypatch) -> Path:
    """A picture 48 wide and 32 high, lying on its side in Display P3, with EXIF and XMP that say
    so; the tiny model."""
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    pixels = np.zeros((48, 32, 3), np.uint8) + np.uint8([200, 60, 30])
    path = Path("photo.webp")
    Image.fromarray(pixels).save(path, lossless=True, exif=exif(6), icc_profile=display_p3(), xmp=XMP)
    return path


def metadata_of(path: str) -> dict[int, bytes]:
    return read_picture(path, keep_profile=True).metadata


# --- reading --------------------------------------------------------------------------------------


def test_a_picture_brings_its_metadata_upright(photo):
    picture = read_picture(photo, keep_profile=True)
    assert picture.rgb.shape == (32, 48, 3)
    assert picture.metadata[PART_ICC] == display_p3()
    assert picture.metadata[PART_XMP] == XMP.replace(b'"6"', b'"1"')
    tags = Image.Exif()
    tags.load(b"Exif\0\0" + picture.metadata[PART_EXIF])
    assert (tags[0x0112], tags[0x010F]) == (1, "a maker")


def test_colours_stay_as_they_are_only_with_their_profile(photo):
    wide, narrow = read_picture(photo, keep_profile=True), read_picture(photo)
    assert (wide.rgb == (200, 60, 30)).all()
    assert np.array_equal(narrow.rgb, in_srgb(wide.rgb, display_p3()))
    assert np.abs(narrow.rgb.astype(int) - wide.rgb).max() > 10
    assert PART_ICC not in narrow.metadata
    assert wide.notes == ()


@pytest.mark.parametrize("order", ["<", ">"])
def test_only_the_orientation_changes(order):
    entries = struct.pack(order + "HHII", 0x0100, 4, 1, 1) + struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0)
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    data = start + struct.pack(order + "H", 2) + entries + b"\0\0\0\0"
    upright, damaged = true_exif(data, 1, 1)
    assert not damaged
    assert [at for at in range(len(data)) if data[at] != upright[at]] == [8 + 2 + 12 + 8 + (order == ">")]
    assert struct.unpack_from(order + "H", upright, 8 + 2 + 12 + 8) == (1,)
    assert true_exif(upright, 1, 1) == (upright, False)


@pytest.mark.parametrize("data", [b"", b"garbage!", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x09"])
def test_damaged_exif_is_refused(data):
    with pytest.raises(FormatError):
        true_exif(data, 1, 1)


def test_a_profile_for_other_than_rgb_is_never_kept():
    buffer = io.BytesIO()
    profile = bytearray(display_p3())
    profile[16:20] = b"GRAY"
    Image.new("L", (4, 4), 100).save(buffer, "PNG", icc_profile=bytes(profile))
    assert PART_ICC not in read_picture(buffer.getvalue(), keep_profile=True).metadata


@pytest.mark.parametrize(
    ("text", "kinds"), [("none", set()), ("all", ALL), ("exif", {PART_EXIF}), ("icc,xmp", {PART_ICC, PART_XMP})]
)
def test_kinds(text, kinds):
    assert kinds_from_text(text) == kinds


@pytest.mark.parametrize("text", ["", "exif,", "iptc", "names", "none,icc"])
def test_unknown_kinds(text):
    with pytest.raises(UsageError):
        kinds_from_text(text)


def test_what_a_reader_would_refuse_is_not_written():
    with pytest.raises(LimitError, match="exif"):
        kept({PART_EXIF: bytes(2**24 + 1)}, {PART_EXIF})
    assert kept({PART_EXIF: bytes(2**24 + 1)}, {PART_XMP}) == {}


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_pictures_are_written_with_their_metadata(photo, tmp_path, format):
    metadata = metadata_of(photo)
    assert set(metadata) == ALL
    path = tmp_path / "written"
    path.write_bytes(write_picture(np.zeros((8, 8, 3), np.uint8), format, metadata))
    assert metadata_of(path) == metadata


def test_a_format_without_profiles_gets_srgb(photo):
    wide = np.full((8, 8, 3), (200, 60, 30), np.uint8)
    metadata = metadata_of(photo)
    assert held(metadata, "BMP") == {}
    written = read_picture(write_picture(wide, "BMP", metadata)).rgb
    assert np.array_equal(written, in_srgb(wide, display_p3()))
    assert not np.array_equal(written, wide)


# --- through a file -------------------------------------------------------------------------------


def test_nothing_is_kept_unless_asked(obic, photo):
    done = obic("encode", photo, "--mask", "none", "-v")
    assert json.loads(obic("info", "photo.obic", "--json").out)["parts"] == []
    assert "colours are converted from Display P3" in done.err
    assert "not kept without --metadata: exif (" in done.err
    assert "not kept" not in obic("encode", photo, "--mask", "none").err


def test_what_is_asked_for_comes_back(obic, photo):
    done = obic("encode", photo, "--mask", "none", "--metadata", "all")
    assert (done.code, done.err) == (0, "")
    wanted = metadata_of(photo)
    parts = json.loads(obic("info", "photo.obic", "--json").out)["parts"]
    assert [(part["name"], part["bytes"]) for part in parts] == [
        (name, len(wanted[kind])) for name, kind in (("icc", PART_ICC), ("exif", PART_EXIF), ("xmp", PART_XMP))
    ]
    assert b"bytes  icc, exif, xmp\n" in obic("info", "photo.obic").out
    for name in ("x.png", "x.jpg", "x.webp"):
        assert obic("decode", "photo.obic", "-o", name) == (0, b"", "")
        assert metadata_of(name) == wanted
        assert Image.open(name).size == (48, 32), "turned once, when it was coded"
    assert obic("extract", "photo.obic", "--layer", 0, "-o", "layer.png").code == 0
    assert metadata_of("layer.png") == wanted
    assert obic("extract", "photo.obic", "--layer", 0, "-o", "layer.obic").code == 0
    assert open_container("layer.obic").read_part(PART_XMP) == wanted[PART_XMP]


def test_a_format_that_holds_less_says_so(obic, photo):
    obic("encode", photo, "--mask", "none", "--metadata", "all")
    done = obic("decode", "photo.obic", "-o", "x.bmp")
    assert done.code == 0
    assert done.err.startswith("obic: note: BMP is written without icc (")
    assert done.err.count("\n") == 1


def test_over_another_picture_everything_is_srgb(obic, photo):
    obic("encode", photo, "--mask", "none", "--metadata", "all")
    Image.new("RGB", (9, 9)).save("black.png")
    assert obic("extract", "photo.obic", "--layer", 0, "--over", "black.png", "-o", "x.png") == (0, b"", "")
    assert metadata_of("x.png") == {}
    obic("decode", "photo.obic", "-o", "wide.png")
    expected = in_srgb(np.asarray(Image.open("wide.png")), display_p3())
    assert np.array_equal(np.asarray(Image.open("x.png")), expected)


def test_damaged_metadata_can_be_left_out(obic, photo):
    obic("encode", photo, "--mask", "none", "--metadata", "exif,xmp")
    data = bytearray(Path("photo.obic").read_bytes())
    data[-3] ^= 1
    Path("photo.obic").write_bytes(data)
    assert obic("decode", "photo.obic", "-o", "x.png").code == 3
    done = obic("decode", "photo.obic", "-o", "x.png", "--damaged", "skip")
    assert (done.code, done.err) == (0, "obic: note: the xmp data is damaged and left out\n")
    assert set(metadata_of("x.png")) == {PART_EXIF}


def test_a_part_over_the_limit_is_refused(obic):
    data = mux(width=9, height=9, model=1, mask=None, qualities=(1,), streams={0: b"x"}, parts={3: bytes(2**24 + 1)})
    assert obic("info", "-", stdin=data).code == 5


def test_a_profile_that_makes_no_sense_is_survived():
    pixels = np.full((4, 4, 3), 9, np.uint8)
    assert np.array_equal(read_picture(write_picture(pixels, "BMP", {PART_ICC: b"no profile"})).rgb, pixels)
