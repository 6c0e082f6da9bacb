"""Nothing that obic writes shows, in its metadata, more than its pixels do; what they say of the
pixels is true.

One picture brings a mark in every place where metadata are known to hold pictures. It must not come
out anywhere.
"""

import base64
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

import obic as python
from obic.api import default_codec
from obic.constants import PART_EXIF, PART_ICC, PART_XMP
from obic.container import merge, mux, open_container
from obic.container.exif import true_exif
from obic.container.xmp import true_xmp
from obic.errors import FormatError
from obic.images import in_srgb, read_picture
from shared.pictures import display_p3, tiff
from shared.places import GOLDEN

MARK = b"\xff\xd8\xff\xe0 the whole picture, small " + bytes(range(64))  # begins as a JPEG does
WIDTH, HEIGHT, LYING = 48, 32, 6  # upright; it comes turned

XMP = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<!-- MARK -->
<rdf:Description rdf:about='' xmlns:t='http://ns.adobe.com/tiff/1.0/' t:Orientation='6' t:ImageWidth="32"
 xmlns:dc="http://purl.org/dc/elements/1.1/" dc:creator="J\xc3\xbcrgen &amp; M\xc3\xbcller"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5" xmlns:n="urn:anyone" n:look="MARK"
 xmlns:i="http://ns.google.com/photos/1.0/image/" i:Data="MARK">
<t:ImageLength>48</t:ImageLength>
<e:PixelXDimension xmlns:e="http://ns.adobe.com/exif/1.0/">32</e:PixelXDimension>
<e:PixelYDimension xmlns:e="http://ns.adobe.com/exif/1.0/">48</e:PixelYDimension>
<xmp:Thumbnails><rdf:Alt><rdf:li rdf:parseType="Resource" xmlns:g="http://ns.adobe.com/xap/1.0/g/img/">
<g:width>9</g:width><g:image>MARK</g:image></rdf:li></rdf:Alt></xmp:Thumbnails>
<n:deep><n:deeper>MARK</n:deeper></n:deep>
<n:lines>%s</n:lines>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>""".replace(b"MARK", base64.b64encode(MARK)) % b"\n".join(
    base64.b64encode(MARK)[at : at + 20] for at in range(0, 120, 20)
)  # fmt: skip





def number(order: str, value: int, kind: int = 3) -> tuple[int, bytes]:
    return kind, struct.pack(order + {3: "H", 4: "I"}[kind], value)


def full_of_marks(order: str = "<", orientation: int = LYING) -> bytes:
    """EXIF with a thumbnail, a preview in every other place, sizes before turning, and things that
    are to stay."""
    photo = {
        0x829A: (5, struct.pack(order + "II", 1, 250)),
        0x9201: (10, struct.pack(order + "ii", -7, 3)),
        0x9214: (3, struct.pack(order + "HH", 3, 40)),
        0x927C: (7, b"Maker\0" + MARK),
        0x9286: (7, b"ASCII\0\0\0" + MARK),
        0xA001: number(order, 0xFFFF),
        0xA002: number(order, 32),
        0xA003: number(order, 48, 4),
        0xA005: (4, {1: (2, b"R03\0"), 0x1001: number(order, 32), 0x1002: number(order, 48)}),
    }
    first = {
        **{0x0100: number(order, 32), 0x0101: number(order, 48), 0x0112: number(order, orientation)},
        **{0x011A: (5, struct.pack(order + "II", 72, 1)), 0x011B: (5, struct.pack(order + "II", 36, 1))},
        **{0x013B: (2, "Jürgen Müller\0".encode()), 0x9C9D: (1, "Jürgen\0".encode("utf-16-le"))},
        **dict.fromkeys((0x002E, 0x02BC, 0x501B, 0x8649, 0x83BB, 0xC634, 0xC4A5), (7, MARK)),
        0x014A: (4, {0x0201: (7, MARK)}),
        0x8769: (4, photo),
        0x8825: (4, {1: (2, b"N\0"), 2: (5, struct.pack(order + "6I", 52, 1, 31, 1, 0, 1))}),
    }
    return tiff(order, first, {0x0201: (7, MARK), 0x0202: number(order, len(MARK), 4)}, gap=MARK)


def told(data: bytes) -> dict:
    """What Pillow reads in EXIF data."""
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + data)
    return {tag: dict(exif.get_ifd(tag)) for tag in (0x8769, 0x8825, 0xA005, ExifTags.IFD.IFD1)} | {0: dict(exif)}


def check(exif: bytes, xmp: bytes, *, rewritten: bool = False) -> None:
    """No mark, true numbers, and everything else; rewritten: by Pillow, which knows text in ASCII
    only."""
    for data in (exif, xmp):
        squeezed = b"".join(data.split())
        assert MARK not in data
        assert base64.b64encode(MARK)[:80] not in squeezed
    said = told(exif)
    assert said[ExifTags.IFD.IFD1] == {}
    assert (said[0][0x0100], said[0][0x0101], said[0].get(0x0112, 1)) == (WIDTH, HEIGHT, 1)
    assert (said[0x8769][0xA002], said[0x8769][0xA003]) == (WIDTH, HEIGHT)
    assert (said[0xA005][0x1001], said[0xA005][0x1002]) == (WIDTH, HEIGHT)
    assert rewritten or "Jürgen Müller".encode() in exif, "byte by byte, whatever the encoding"
    assert (said[0x8769][0x829A], said[0x8769][0x9201]) == (1 / 250, -7 / 3)
    assert said[0x8825][1] == "N"
    assert [float(part) for part in said[0x8825][2]] == [52, 31, 0]
    for true in ('Orientation="1"', 'ImageWidth="48"', "ImageLength>32<", "XDimension", ">48<", 'Rating="5"', "Jürgen"):
        assert true in xmp.decode()


def in_obic(data: bytes | str | Path) -> tuple[bytes, bytes]:
    container = open_container(data)
    return container.read_part(PART_EXIF), container.read_part(PART_XMP)


def in_picture(path: str | Image.Image) -> tuple[bytes, bytes]:
    info = (path if isinstance(path, Image.Image) else Image.open(path)).info
    return info["exif"].removeprefix(b"Exif\0\0"), info["xmp"]


@pytest.fixture
def photo(obic, monkeypatch) -> Path:
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    default_codec.cache_clear()
    pixels = np.random.default_rng(0).integers(0, 256, (WIDTH, HEIGHT, 3)).astype(np.uint8)
    Image.fromarray(pixels).save("photo.webp", lossless=True, exif=full_of_marks(), xmp=XMP)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, :24] = 255
    Image.fromarray(mask).save("mask.png")
    yield Path("photo.webp")
    default_codec.cache_clear()


@pytest.fixture
def old(obic, photo) -> Path:
    """`old.obic`, made when metadata were stored as they came but for the orientation."""
    obic("encode", photo, "--mask", "mask.png")
    new = open_container("photo.obic")
    header = new.header
    data = mux(
        width=header.width, height=header.height, model=header.model, mask=header.mask,
        qualities=[layer.quality for layer in header.layers], streams={i: new.read_layer(i) for i in (0, 1)},
        parts={PART_EXIF: full_of_marks(orientation=1), PART_XMP: XMP.replace(b"Orientation='6'", b"Orientation='1'")},
    )  # fmt: skip
    Path("old.obic").write_bytes(data)
    return Path("old.obic")


def test_what_is_encoded(obic, photo):
    assert obic("encode", photo, "--mask", "mask.png", "--metadata", "all").code == 0
    check(*in_obic("photo.obic"))
    check(*in_obic(python.encode(str(photo), metadata="all", mask="none")))
    said = told(in_obic("photo.obic")[0])
    assert (said[0][0x011A], said[0][0x011B]) == (36, 72), "across and down change places"
    assert 0x9214 not in said[0x8769], "a place in the picture, before it was turned"
    assert (said[0x8769][0xA001], said[0xA005][1]) == (1, "R98"), "sRGB"
    stored = open_container("photo.obic")
    assert open_container(stored.subset([0, 1])).total_bytes == stored.total_bytes


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "avif"])
def test_what_is_decoded_of_older_files(obic, old, suffix):
    assert obic("decode", old, "-o", f"x.{suffix}").code == 0
    check(*in_picture(f"x.{suffix}"), rewritten=suffix == "avif")
    if suffix not in ("jpg", "avif"):
        assert obic("extract", old, "--layer", 1, "-o", f"y.{suffix}").code == 0
        check(*in_picture(f"y.{suffix}"))


def test_what_is_cut_out_of_older_files(obic, old):
    assert obic("extract", old, "--layer", "object").code == 0
    check(*in_obic("old-object.obic"))
    check(*in_obic(python.open(old).subset([1])))
    assert obic("extract", old, "--layer", "background").code == 0
    assert obic("merge", "old-object.obic", "old-background.obic", "-o", "again.obic").code == 0
    check(*in_obic("again.obic"))
    whole = merge([open_container(old), open_container("old-object.obic")])
    assert whole == Path("again.obic").read_bytes(), "older and newer parts fit together"
    assert open_container(whole).subset([0, 1]) == whole
    assert obic("report", old).code == 0
    assert base64.b64encode(MARK)[:60] not in Path("old.html").read_bytes()


def test_what_python_gets_of_older_files(old):
    check(*in_picture(python.decode(old)))
    check(*in_picture(python.extract(old, "object")))
    with Image.open(old) as image:
        image.load()
        check(*in_picture(image))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_true_in_any_orientation(order, orientation):
    data, damaged = true_exif(full_of_marks(order, orientation), WIDTH, HEIGHT, orientation=orientation)
    check(data, true_xmp(XMP, WIDTH, HEIGHT)[0])
    assert not damaged
    assert true_exif(data, WIDTH, HEIGHT) == (data, False), "nothing changes twice"
    assert (0x9214 in told(data)[0x8769]) == (orientation == 1)
    assert told(data)[0][0x011A] == (72 if orientation < 5 else 36)


def test_colours_are_called_what_they_are():
    kept = told(true_exif(full_of_marks(), WIDTH, HEIGHT, srgb=False)[0])
    assert (kept[0x8769][0xA001], kept[0xA005][1]) == (0xFFFF, "R03")
    xmp = XMP.replace(b"xmp:Rating", b'xmlns:p="http://ns.adobe.com/photoshop/1.0/" p:ICCProfile="P3" xmp:Rating')
    assert b"ICCProfile" not in true_xmp(xmp, WIDTH, HEIGHT)[0]
    assert b"ICCProfile" in true_xmp(xmp, WIDTH, HEIGHT, srgb=False)[0]


def test_with_their_profile_colours_stay_called_so(photo):
    Image.open(photo).save("wide.webp", lossless=True, exif=full_of_marks(), xmp=XMP, icc_profile=display_p3())
    for keep, space in ((True, 0xFFFF), (False, 1)):
        picture = read_picture("wide.webp", keep_profile=keep)
        assert told(picture.metadata[PART_EXIF])[0x8769][0xA001] == space
        assert (PART_ICC in picture.metadata) == keep


@pytest.mark.parametrize("cut", range(0, 500, 7))
def test_damaged_exif_gives_what_is_whole_of_it(cut):
    data = full_of_marks()
    for damaged in (data[:cut], data[:cut] + b"\xff\xff" + data[cut + 2 :]):
        try:
            rest, _ = true_exif(damaged, WIDTH, HEIGHT)
        except FormatError:
            continue
        assert MARK not in rest
        assert true_exif(rest, WIDTH, HEIGHT) == (rest, False) if rest else True


def test_values_that_overlap_are_no_bomb():
    """Every tag the same megabyte."""
    entries = b"".join(struct.pack("<HHII", tag, 7, 2**20, 8) for tag in range(0x010D, 0x0133))
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", 38) + entries + bytes(4 + 2**20)
    rest, damaged = true_exif(data, 9, 9)
    assert damaged
    assert len(rest) <= len(data)


@pytest.mark.parametrize(
    "data", [b"junk", b"<x", b"<!DOCTYPE x><x/>", b"<a>" * 9999 + b"</a>" * 9999, b"<x>" + b" " * 2**20 + b"</x>"]
)
def test_xmp_that_cannot_be_looked_through_is_refused(data):
    with pytest.raises(FormatError):
        true_xmp(data, 9, 9)


def test_metadata_that_cannot_be_looked_through_are_left_out_of_older_files(obic, old):
    new = open_container(old)
    header, layers = new.header, {index: new.read_layer(index) for index in (0, 1)}
    data = mux(
        width=WIDTH, height=HEIGHT, model=header.model, mask=header.mask,
        qualities=[layer.quality for layer in header.layers], streams=layers,
        parts={PART_EXIF: b"no EXIF" + MARK, PART_XMP: b"<x" + base64.b64encode(MARK)},
    )  # fmt: skip
    Path("odd.obic").write_bytes(data)
    done = obic("decode", "odd.obic", "-o", "x.png")
    assert (done.code, done.err.count("\n")) == (0, 2)
    assert "exif data is damaged and left out" in done.err
    assert not {"exif", "xmp"} & set(Image.open("x.png").info)
    done = obic("extract", "odd.obic", "--layer", 1, "-o", "y.obic")
    assert (done.code, open_container("y.obic").header.parts) == (0, ())
    assert done.err.count("damaged and left out") == 2
    assert python.decode(data).info == {}


def test_a_picture_in_a_buffer_is_read_the_same(photo):
    buffer = io.BytesIO(photo.read_bytes())
    picture = read_picture(Image.open(buffer))
    check(picture.metadata[PART_EXIF], picture.metadata[PART_XMP])


# --- what is written of it ------------------------------------------------------------------------


@pytest.fixture
def wide(obic, photo) -> str:
    """`wide.obic`, in Display P3, with metadata of all kinds."""
    Image.open(photo).save("wide.webp", lossless=True, exif=full_of_marks(), xmp=XMP, icc_profile=display_p3())
    assert obic("encode", "wide.webp", "--mask", "mask.png", "--metadata", "all").code == 0
    return "wide.obic"


KINDS = {"none": set(), "xmp": {"xmp"}, "exif,icc": {"exif", "icc_profile"}, "all": {"exif", "icc_profile", "xmp"}}


@pytest.mark.parametrize("kinds", KINDS)
def test_metadata_are_written_as_chosen(obic, wide, kinds):
    names = {"exif", "icc_profile", "xmp"}
    for line in (["decode", wide, "-o", "x.png"], ["extract", wide, "--layer", 1, "-o", "x.png"]):
        assert obic(*line, "--metadata", kinds) == (0, b"", "")
        assert names & set(Image.open("x.png").info) == KINDS[kinds]
    stays = "icc" in kinds or kinds == "all"
    done = obic("extract", wide, "--layer", 1, "-o", "y.obic", "--metadata", kinds)
    assert (done.code, done.err.count("note: the icc profile stays")) == (0, 0 if stays else 1)
    assert names & set(python.decode("y.obic").info) == KINDS[kinds] | {"icc_profile"}


def test_without_their_profile_pixels_become_srgb(obic, wide):
    for kinds in ("all", "none"):
        assert obic("decode", wide, "-o", f"{kinds}.png", "--metadata", kinds).code == 0
    there, converted = (np.asarray(Image.open(f"{kinds}.png")).astype(int) for kinds in ("all", "none"))
    assert np.array_equal(converted, in_srgb(there.astype(np.uint8), display_p3()))
    assert np.abs(there - converted).max() > 3


def test_kinds_that_there_are_not(obic, wide):
    for command in (["decode"], ["extract", "--layer", 1]):
        done = obic(*command, wide, "-o", "x.png", "--metadata", "gps")
        assert (done.code, done.err.count("\n"), Path("x.png").exists()) == (2, 1, False)
