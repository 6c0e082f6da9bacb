"""What users of other image tools have reported, tried here: `docs/log/everyday-faults.md` lists
where it comes from.

With the tiny networks of the golden files; a test says what is wanted of each whole kind.
"""

import io
import json
import os
import re
import stat
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

import obic as python
from obic.cli.batch import PICTURE_SUFFIXES
from obic.cli.streams import Output
from obic.constants import PART_EXIF, PART_ICC, PART_XMP
from obic.container import mux, open_container
from obic.errors import FormatError, UsageError
from obic.images import TURNS, read_picture, write_picture
from shared.pictures import display_p3, file_of, png_of_samples, ramp
from shared.places import GOLDEN, ROOT

MARKED = Image.fromarray(ramp(4, 6))
RED = (255, 0, 0)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))


@pytest.fixture
def photo(obic) -> Image.Image:
    """`photo.png` in the test's folder."""
    image = Image.fromarray(np.random.default_rng(3).integers(0, 256, (48, 64, 3)).astype(np.uint8))
    image.save("photo.png")
    return image


def encode(obic, *line):
    return obic("encode", "--mask", "none", *line)


# --- orientation ----------------------------------------------------------------------------------


def exif(*entries: bytes, tail: bytes = b"", prefix: bytes = b"Exif\0\0") -> bytes:
    """EXIF of entries, whose values lie in the tail: that begins at byte 14 + 12 * len(entries)."""
    return prefix + b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4) + tail


def entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", tag, kind, count, value)


LYING = entry(0x112, 3, 1, 6)
DAMAGED = {
    "a rational of -1/0": exif(LYING, entry(0x11A, 10, 1, 38), tail=struct.pack("<ii", -1, 0)),
    "two values where one is meant": exif(LYING, entry(0x11A, 5, 2, 38), tail=struct.pack("<4I", 1, 1, 1, 1)),
    "a value beyond the end": exif(LYING, entry(0x131, 2, 999_999, 38)),
    "a type that there is not": exif(LYING, entry(0x131, 99, 1, 5)),
    "text for a directory": exif(LYING, entry(0x8769, 2, 4, 0x636261)),
    "its name twice": exif(LYING, prefix=b"Exif\0\0Exif\0\0"),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_upright_whatever_else_is_wrong_in_its_exif(data, format):
    upright = read_picture(file_of(MARKED.transpose(TURNS[6]), format, quality=100)).rgb
    picture = read_picture(file_of(MARKED, format, exif=data, quality=100))
    assert picture.rgb.shape == (6, 4, 3)
    assert format != "PNG" or np.array_equal(picture.rgb, upright)
    assert not any("orientation" in note for note in picture.notes), "it is not ignored"


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_every_orientation(orientation, format):
    picture = read_picture(file_of(MARKED, format, exif=exif(entry(0x112, 3, 1, orientation))))
    expected = MARKED.transpose(TURNS[orientation]) if orientation in TURNS else MARKED
    assert np.array_equal(picture.rgb, expected)
    assert picture.notes == ()


def test_empty_exif_is_no_damage():
    assert read_picture(file_of(MARKED, exif=b"Exif\0\0")).notes == ()


def test_orientation_in_xmp_alone():
    info = PngImagePlugin.PngInfo()
    about = '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    rdf = f'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{about}</rdf:RDF>'
    info.add_itxt("XML:com.adobe.xmp", f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}</x:xmpmeta>')
    assert np.array_equal(read_picture(file_of(MARKED, pnginfo=info)).rgb, MARKED.transpose(TURNS[6]))


# --- colours --------------------------------------------------------------------------------------


def grey_profile(gamma: float = 1.0) -> bytes:
    """An ICC profile for grey pictures."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(78),
        b"wtpt": white,
        b"kTRC": b"curv" + bytes(4) + struct.pack(">IHH", 1, round(gamma * 256), 0),
        b"cprt": b"text" + bytes(4) + b"none\0",
    }
    offset, directory, bodies = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for tag, body in tags.items():
        directory += struct.pack(">4sII", tag, offset + len(bodies), len(body))
        bodies += body.ljust(-(-len(body) // 4) * 4, b"\0")
    size = offset + len(bodies)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x02100000, b"mntr", b"GRAY", b"XYZ ").ljust(36, b"\0") + b"acsp"
    return (header.ljust(68, b"\0") + white[8:]).ljust(128, b"\0") + directory + bodies


GREYS = {
    "L": Image.new("L", (4, 4), 128),
    "LA": Image.new("LA", (4, 4), (128, 255)),
    "P": Image.new("L", (4, 4), 128).convert("P"),
    "RGB": Image.new("RGB", (4, 4), (128, 128, 128)),
    "RGBA": Image.new("RGBA", (4, 4), (128, 128, 128, 255)),
    "16 bits": Image.fromarray(np.full((4, 4), 128 * 257, np.uint16)),
}


@pytest.mark.parametrize("image", GREYS.values(), ids=GREYS)
def test_a_grey_profile_is_used_whatever_the_kind_of_picture(image):
    picture = read_picture(file_of(image, icc_profile=grey_profile()))
    assert picture.rgb[0, 0].tolist() == [188] * 3, "128 of linear light is 188 in sRGB"
    assert picture.notes[-1] == "colours are converted from grey to sRGB"


def test_a_profile_for_colours_with_a_grey_picture():
    picture = read_picture(file_of(GREYS["L"], "JPEG", icc_profile=display_p3()))
    assert picture.notes == ("colours are converted from Display P3 to sRGB",)
    assert np.abs(picture.rgb.astype(int) - 128).max() <= 2


def test_a_grey_profile_with_colours_is_said():
    picture = read_picture(file_of(MARKED, icc_profile=grey_profile()))
    assert np.array_equal(picture.rgb, MARKED)
    assert "profile" in picture.notes[0]


def test_transparent_pictures_with_a_grey_profile():
    """The background is a colour of sRGB: the profile does not change it."""
    clear = read_picture(file_of(Image.new("LA", (4, 4), (128, 0)), icc_profile=grey_profile()), background="#203040")
    assert clear.rgb[0, 0].tolist() == [0x20, 0x30, 0x40]


SEE_THROUGH = {
    "grey": file_of(Image.new("L", (4, 4), 9), transparency=9),
    "one bit": file_of(Image.new("1", (4, 4), 1), transparency=1),
    "colour": file_of(Image.new("RGB", (4, 4), (9, 8, 7)), transparency=(9, 8, 7)),
    "palette": file_of(Image.new("P", (4, 4)), transparency=0),
    "a palette of shades": file_of(Image.new("P", (4, 4)), transparency=bytes(1)),
    "16 bits, grey": file_of(Image.fromarray(np.full((4, 4), 9999, np.uint16)), transparency=9999),
    "16 bits, grey with alpha": png_of_samples(1, 1, 16, 4, b"\0" + struct.pack(">2H", 9999, 0)),
    "16 bits, RGBA": png_of_samples(1, 1, 16, 6, b"\0" + struct.pack(">4H", 9, 9, 9, 0)),
    "GIF": file_of(Image.new("P", (4, 4), 3), "GIF", transparency=3),
    "premultiplied": file_of(Image.new("RGBA", (4, 4), (9, 9, 9, 0)).convert("RGBa").convert("RGBA"), "TIFF"),
}


@pytest.mark.parametrize("data", SEE_THROUGH.values(), ids=SEE_THROUGH)
@pytest.mark.filterwarnings("error")
def test_what_is_transparent_shows_the_background(data):
    picture = read_picture(data, background="#123456")
    assert picture.rgb[0, 0].tolist() == [0x12, 0x34, 0x56]
    assert picture.notes[-1] == "transparency is composed on #123456"


def test_of_16_bits_only_the_very_value_is_transparent():
    samples = np.full((2, 2), 9999, np.uint16)
    samples[0, 0] = 9998  # the same in 8 bits
    picture = read_picture(file_of(Image.fromarray(samples), transparency=9999))
    assert picture.rgb[..., 0].tolist() == [[39, 255], [255, 255]]


def lab_red() -> Image.Image:
    spaces = (ImageCms.createProfile(name) for name in ("sRGB", "LAB"))
    return ImageCms.applyTransform(Image.new("RGB", (4, 4), RED), ImageCms.buildTransform(*spaces, "RGB", "LAB"))


REDS = {
    "CMYK JPEG": file_of(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"),
    "CMYK TIFF": file_of(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"),
    "Lab": file_of(lab_red(), "TIFF"),
    "YCbCr": file_of(Image.new("RGB", (8, 8), RED).convert("YCbCr"), "TIFF"),
    "JPEG in TIFF": file_of(Image.new("RGB", (16, 16), RED), "TIFF", compression="jpeg"),
    "BMP of 32 bits": file_of(Image.new("RGBX", (8, 8), RED).convert("RGB"), "BMP"),
    "progressive": file_of(Image.new("RGB", (8, 8), RED), "JPEG", progressive=True),
}


@pytest.mark.parametrize("data", REDS.values(), ids=REDS)
def test_red_is_red(data):
    assert np.abs(read_picture(data).rgb.astype(int) - RED).max() <= 6


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [b"junk" * 999, bytes(100_000), b"\0\0\0\x18ftypmp42" + bytes(5000)])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_what_lies_behind_a_picture_does_no_harm(format, tail):
    data = file_of(MARKED, format)
    assert np.array_equal(read_picture(data + tail).rgb, read_picture(data).rgb)


@pytest.mark.parametrize("format", ["PPM", "BMP", "TGA", "TIFF", "QOI"])
def test_a_picture_without_its_end_is_refused(format):
    with pytest.raises(FormatError):
        data = file_of(MARKED, format)
        read_picture(data[: len(data) * 3 // 4])


@pytest.mark.parametrize("compressed", [False, True])
def test_much_text_in_a_picture_is_no_damage(compressed):
    """As programs that make pictures keep how they did it."""
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 3_000_000, zip=compressed)
    assert np.array_equal(read_picture(file_of(MARKED, pnginfo=info)).rgb, MARKED)


OTHERS = {
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC is not read here; pip install pillow-heif"),
    "JPEG XL": (b"\xff\x0a" + bytes(40), "JPEG XL is not read here; pip install pillow-jxl-plugin"),
    "TIFF": (b"II*\0" + bytes(40), "this kind of TIFF is not read here; convert it to PNG first"),
    "SVG": (b"<?xml version='1.0'?>\n<!-- drawn -->\n<svg/>", "SVG is not read here; convert it to PNG first"),
    "PDF": (b"%PDF-1.7", "PDF is not read here; convert it to PNG first"),
    "film": (b"\0\0\0\x18ftypisom" + bytes(40), "a film is not read here; convert it to PNG first"),
    "HTML": (b"<!doctype html>", "not a picture of a known kind"),
    "nothing": (b"", "empty: not a picture"),
}


@pytest.mark.parametrize(("data", "message"), OTHERS.values(), ids=OTHERS)
def test_what_is_not_read_is_called_by_its_name(data, message, monkeypatch):
    monkeypatch.setattr("obic.images.find_spec", lambda name: None)
    monkeypatch.setattr(Image, "OPEN", {name: opener for name, opener in Image.OPEN.items() if name not in PLUGGED})
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name not in PLUGGED])
    with pytest.raises(FormatError, match=f"^{message}$"):
        read_picture(data)


PLUGGED = ("HEIF", "JXL")


def test_pictures_of_phones_are_read_with_their_plugin():
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    image = Image.new("RGB", (64, 48), RED)
    image.paste((0, 0, 255), (0, 0, 32, 24))
    file = heif.from_pillow(image)
    file.info["exif"] = exif(LYING)
    buffer = io.BytesIO()
    file.save(buffer, quality=95)
    picture = read_picture(buffer.getvalue())
    assert picture.rgb.shape == (64, 48, 3), "turned once, not twice"
    assert np.abs(picture.rgb[4, 40].astype(int) - (0, 0, 255)).max() < 20


@pytest.mark.parametrize(
    ("module", "data", "name"),
    [("pillow_heif", b"\0\0\0\x18ftypheic" + bytes(40), "pillow-heif"),
     ("pillow_jxl", b"\xff\x0a" + bytes(40), "pillow-jxl-plugin")],
)  # fmt: skip
def test_a_damaged_picture_of_a_phone_is_not_a_lack_of_the_plugin(module, data, name):
    pytest.importorskip(module, reason=f"{name} is not installed")
    with pytest.raises(FormatError, match="damaged picture"):
        read_picture(data)


def test_of_several_pictures_of_a_phone_the_main_one_is_taken():
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    file = heif.HeifFile()
    for colour in ("red", "lime"):
        file.add_from_pillow(Image.new("RGB", (64, 48), colour))
    buffer = io.BytesIO()
    file.save(buffer, primary_index=1)
    picture = read_picture(buffer.getvalue())
    assert picture.rgb[0, 0, 1] > 200
    assert picture.notes == ("of 2 frames number 1 is taken; --frame 0 to 1 says which",)
    assert read_picture(buffer.getvalue(), frame=0).rgb[0, 0, 0] > 200


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (15, 17), (3000, 1)])
def test_the_smallest_and_the_oddest_pictures(obic, size):
    Image.new("RGB", size, (200, 100, 50)).save("x.png")
    assert encode(obic, "x.png").err == ""
    for suffix in ("png", "jpg", "webp", "avif", "tiff", "bmp", "gif", "jp2"):
        assert obic("decode", "x.obic", "-o", f"again.{suffix}") == (0, b"", "")
        assert Image.open(f"again.{suffix}").size == size


@pytest.mark.parametrize(("format", "size"), [("ICO", (300, 200)), ("ICNS", (48, 30)), ("ICO", (257, 257))])
def test_no_format_changes_the_size(format, size):
    with pytest.raises(UsageError, match=f"{format} has sizes of its own"):
        write_picture(np.zeros((*size[::-1], 3), np.uint8), format)


def test_a_side_too_long_for_webp_is_said():
    with pytest.raises(UsageError, match=r"WEBP cannot hold this picture: .*limit"):
        write_picture(np.zeros((1, 16384, 3), np.uint8), "WEBP")


def test_metadata_that_are_too_long_for_a_format_are_left_out(obic, photo):
    text = entry(0x10E, 2, 70_000, 26)
    photo.save("long.png", exif=exif(text, tail=b"x" * 69_999 + b"\0"))
    assert encode(obic, "long.png", "--metadata", "exif").err == ""
    assert obic("decode", "long.obic", "-o", "x.png") == (0, b"", "")
    done = obic("decode", "long.obic", "-o", "x.jpg")
    assert (done.code, done.err) == (0, "obic: note: JPEG is written without exif (70,026 bytes)\n")
    assert "exif" in Image.open("x.png").info and "exif" not in Image.open("x.jpg").info


def test_metadata_of_any_size_and_kind_are_written_or_left_out():
    long = {PART_XMP: b"x" * 70_000, PART_ICC: display_p3() + bytes(200_000), PART_EXIF: exif(prefix=b"")}
    for format in ("JPEG", "PNG", "WEBP", "TIFF"):
        image = Image.open(io.BytesIO(write_picture(ramp(), format, long)))
        assert "icc_profile" in image.info
        assert ("xmp" in image.info) == (format in ("PNG", "WEBP"))


# --- names ----------------------------------------------------------------------------------------

NAMES = [
    *("with space.png", "Übung 写真 🎈.png", "-dash.png", "UPPER.PNG", "no suffix", "two.tar.gz", "a#b?c%41.png"),
    *("'quoted\".png", "$HOME.png", "new\nline.png", "\x1b[31mred.png", ".hidden.png", "[x].png", "x" * 250 + ".png"),
]


@pytest.mark.skipif(os.name == "nt", reason="names that only POSIX has")
@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_a_name(obic, photo, name):
    photo.save(name, "PNG")
    assert obic("encode", "--mask", "none", "--", name) == (0, b"", "")
    coded = os.path.splitext(name)[0] + ".obic"
    assert obic("verify", "--", coded).code == 0
    assert obic("decode", "-o", "again.png", "--", coded) == (0, b"", "")


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_names_that_are_no_text(obic, photo):
    name = os.fsdecode(b"bad\xff.png")
    photo.save(name, "PNG")
    assert encode(obic, name) == (0, b"", "")
    Path("empty.png").write_bytes(b"")
    done = encode(obic, name, "empty.png", "--json")
    assert (done.code, len(done.out.splitlines())) == (1, 2)
    assert json.loads(done.out.splitlines()[0])["output"].endswith("bad\udcff.obic")


def test_names_command_no_terminal(obic, small_file):
    """Those of files, in messages and in reports; the format allows layers none that could."""
    evil = "\x1b]0;title\x07\x1b[31m\r\x9b2J.obic"
    Path(evil).write_bytes(small_file)
    missing = obic("info", f"{evil}\n.obic")
    assert (missing.code, missing.err.count("\n")) == (1, 1)
    shown = [missing.err, *(obic(*line, evil, "x.obic").out.decode() for line in (["info"], ["extract", "--list"]))]
    shown.append(obic("extract", evil, "--layer", "nobody\x1b[31m").err)
    for text in shown:
        assert "\\x1b" in text
        assert {letter for letter in text if not letter.isprintable()} == {"\n"}
    with pytest.raises(UsageError, match="cannot name a layer"):
        mux(width=9, height=9, model=1, mask=None, qualities=(1,), streams={0: b"a"}, names=("a\x1b[31m",))


def test_the_contents_count_and_not_the_suffix(obic, photo):
    photo.save("wrong.png", "JPEG")
    photo.save("right.jpg", "JPEG")
    assert encode(obic, "wrong.png", "right.jpg", "--output-dir", "out") == (0, b"", "")
    assert Path("out/wrong.obic").read_bytes() == Path("out/right.obic").read_bytes()


def test_a_locale_without_letters(photo, tmp_path):
    photo.save(tmp_path / "Übung.png")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    line = [sys.executable, "-m", "obic", "encode", "Übung.png", "missing-ö.png", "--mask", "none"]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2
    assert (tmp_path / "Übung.obic").exists()


# --- folders and outputs --------------------------------------------------------------------------


def test_two_names_where_other_commands_have_an_output(obic, photo):
    """ "encode IN OUT": nothing is coded, and it is said how an output is named."""
    for line in (["encode", "photo.png", "photo.obic"], ["encode", "photo.png", "out"], ["mask", "photo.png", "m.x"]):
        done = obic(*line)
        said = f"obic: there is no {line[2]}; if it is to be the output, name it with -o\n"
        assert (done.code, done.err) == (2, said)
    assert os.listdir() == ["photo.png"]
    assert encode(obic, "photo.png").code == 0
    assert obic("decode", "photo.obic", "out.png").code == obic("extract", "photo.obic", "x.png").code == 2
    assert sorted(os.listdir()) == ["photo.obic", "photo.png"]


def test_masks_in_the_folder_are_no_pictures(obic, photo, monkeypatch):
    """A command that is run again does not take its own results for inputs."""
    dogs = np.full((48, 64), 12, np.uint8)
    monkeypatch.setattr("obic.networks.Networks.segmenter", lambda self: lambda rgb: dogs)
    os.mkdir("photos")
    photo.save("photos/a.png")
    photo.save("photos/a.jpg")
    photo.save("photos/the-mask.png")  # of nothing
    photo.save("photos/b.png")
    for _ in range(2):
        assert obic("mask", "photos").code == 0
    made = ["a.jpg-mask.png", "a.png-mask.png", "b-mask.png", "the-mask-mask.png"]
    assert sorted(name for name in os.listdir("photos") if "-mask." in name) == sorted([*made, "the-mask.png"])
    done = encode(obic, "photos", "--output-dir", "coded")
    assert sorted(os.listdir("coded")) == ["a.jpg.obic", "a.png.obic", "b.obic", "the-mask.obic"]
    assert "note: photos: 4 files that end in -mask.png are passed over, as masks of others" in done.err
    assert encode(obic, "photos/b-mask.png", "-o", "named.obic").code == 0, "one that is named is coded"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_in_a_folder_is_passed_over(obic, photo):
    os.mkdir("photos")
    photo.save("photos/a.png")
    os.mkfifo("photos/pipe.png")
    os.symlink("nowhere", "photos/broken.png")
    done = encode(obic, "photos")
    assert (done.code, done.err.splitlines()[0]) == (1, "obic: photos/broken.png: No such file or directory")
    assert sorted(os.listdir("photos")) == ["a.obic", "a.png", "broken.png", "pipe.png"]


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_folder_that_cannot_be_read_is_said(obic, photo, monkeypatch):
    os.makedirs("photos/secret")
    photo.save("photos/a.png")

    def scandir(path, real=os.scandir):
        if os.fspath(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    done = encode(obic, "photos")
    assert done.code == 1
    assert done.err.splitlines()[-1] == "obic: 1 of 2 inputs failed: photos/secret"
    assert Path("photos/a.obic").exists()


def test_suffixes_of_pictures_in_any_case(obic, photo):
    os.mkdir("photos")
    for suffix in ("JPG", "jpe", "jfif", "apng", "Tiff"):
        photo.save(f"photos/{suffix}.{suffix}", {"apng": "PNG", "Tiff": "TIFF"}.get(suffix, "JPEG"))
    assert encode(obic, "photos", "--output-dir", "out") == (0, b"", "")
    assert len(os.listdir("out")) == 5
    Image.init()
    assert set(PICTURE_SUFFIXES) <= {*Image.EXTENSION, ".heic", ".heif", ".jxl", ".mpo"}


@pytest.mark.parametrize("line", [["photos", "./photos/a.png"], ["photos/a.png", "photos/../photos/a.png"]])
def test_an_input_that_is_named_twice_is_coded_once(obic, photo, line):
    os.mkdir("photos")
    photo.save("photos/a.png")
    assert encode(obic, *line, "--output-dir", "out") == (0, b"", "")
    assert os.listdir("out") == ["a.obic"]


def test_too_long_a_name_is_refused_before_any_work(obic, photo, monkeypatch):
    photo.save("x" * 251 + ".png")
    done = encode(obic, "x" * 251 + ".png")
    assert (done.code, done.err.count("\n"), "too long" in done.err) == (1, 1, True)
    with pytest.raises(OSError, match="too long"):
        Output("x" * 256, source="-", overwrite=True)


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_nobody_may_write_is_refused_before_any_work(obic, photo, monkeypatch, there):
    """Also where the file in it may be written: the new one is made beside it."""
    os.mkdir("out")
    if there:
        Path("out/x.obic").write_bytes(b"old")
    allowed = os.access
    refused = os.path.realpath("out")
    monkeypatch.setattr(os, "access", lambda path, *how, **more: path != refused and allowed(path, *how, **more))
    done = encode(obic, "photo.png", "-o", "out/x.obic", "--frame", 99)  # an error of later work is not reached
    assert (done.code, done.err) == (1, f"obic: {refused}: Permission denied\n")


def test_a_folder_as_the_output(obic, photo):
    os.mkdir("out")
    for name in ("out", "out/", "none/"):
        done = encode(obic, "photo.png", "-o", name)
        assert (done.code, done.out, done.err.count("\n")) == (1, b"", 1)


def test_standard_streams_by_their_names(photo, tmp_path):
    photo.save(tmp_path / "x.png")
    command = f"{sys.executable} -m obic"
    shell = f"{command} encode /dev/stdin -o /dev/stdout --mask none < x.png | {command} info -"
    if not os.path.exists("/dev/stdin"):
        pytest.skip("no /dev/stdin here")
    done = subprocess.run(["sh", "-c", shell], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("64x48 pixels")


def test_nothing_of_an_output_is_left_where_the_format_cannot_hold_it(obic, photo):
    assert encode(obic, "photo.png").code == 0
    for name in ("x.xbm", "x.ico"):
        assert obic("decode", "photo.obic", "-o", name).code in (0, 2)
    assert not os.path.exists("x.xbm")


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_an_input_that_nobody_may_write_is_read(obic, photo):
    os.chmod("photo.png", 0o444)
    assert encode(obic, "photo.png") == (0, b"", "")
    assert stat.S_IMODE(os.stat("photo.obic").st_mode) & 0o200, "the result is not read-only because its input is"


def test_python_says_the_same(photo):
    with pytest.raises(UsageError, match="no frame 5"):
        python.encode("photo.png", mask="none", frame=5)
    for number in (float("nan"), float("inf"), 0, -1):
        with pytest.raises(UsageError, match="finite"):
            python.encode("photo.png", mask="none", bpp=number)
    assert open_container(python.encode("photo.png", mask="none", frame=0)).header.n_layers == 1


def test_a_coded_file_is_not_called_a_picture(obic, photo):
    """ "encode photo.jpg -o photo.png": nobody means that, and there may be a picture of that
    name."""
    for name in ("x.png", "x.JPG", "photo.webp"):
        done = encode(obic, "photo.png", "-o", name)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert f"{name} is the name of a picture" in done.err
    assert os.listdir() == ["photo.png"]


def test_no_memory_for_a_picture_is_no_damage(obic, photo, monkeypatch):
    def load(self):
        raise MemoryError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    assert encode(obic, "photo.png") == (1, b"", "obic: not enough memory\n")


def test_a_mask_is_turned_as_its_picture_is(obic, photo):
    """Where both come from one camera file, in which the orientation is a tag."""
    lying = exif(LYING)
    half = np.zeros((48, 64), np.uint8)
    half[:24] = 255  # the right half, when it is upright
    Image.fromarray(half).save("mask.png", exif=lying)
    photo.save("lying.png", exif=lying)
    assert obic("encode", "lying.png", "--mask", "mask.png", "--alpha", "pixel") == (0, b"", "")
    assert obic("extract", "lying.obic", "--layer", "object", "-o", "x.png").code == 0
    alpha = np.asarray(Image.open("x.png"))[..., 3]
    assert alpha.shape == (64, 48)
    assert alpha[:, 24:].min() == 255 and alpha[:, :24].max() == 0


def test_the_list_names_tests_that_there_are():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "log" / "everyday-faults.md").read_text("utf-8")))
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 24
    assert [name for name in sorted(named) if f"def {name}(" not in sources] == []
