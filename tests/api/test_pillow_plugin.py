"""The Pillow plugin: opening, frames, saving, metadata, damage. With the golden files and their
tiny networks."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageSequence, UnidentifiedImageError

import obic
from obic.api import default_codec
from obic.networks import Networks
from shared.pictures import half
from shared.places import GOLDEN, ROOT


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    monkeypatch.setattr(Networks, "segmenter", lambda self: half)
    monkeypatch.chdir(tmp_path)
    default_codec.cache_clear()
    yield
    default_codec.cache_clear()


@pytest.fixture
def photo():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8))


def test_golden_files_open_as_pictures():
    for path in sorted(GOLDEN.glob("*.obic")):
        expected = Image.open(path.with_suffix(".png"))
        with Image.open(path) as image:
            assert (image.format, image.size, image.mode) == ("OBIC", expected.size, expected.mode)
            difference = np.asarray(image).astype(int) - np.asarray(expected)
            assert np.abs(difference).max() <= 2


def test_opening_reads_the_header_and_loads_no_network(monkeypatch):
    monkeypatch.setattr(Networks, "codec", lambda *_, **__: pytest.fail("a network was loaded"))
    image = Image.open(GOLDEN / "five-layers.obic")
    assert (image.n_frames, image.is_animated, image.info["layer"]) == (6, True, None)
    image.seek(1)
    assert (image.tell(), image.mode, image.info["layer"]) == (1, "RGBA", "background")
    with pytest.raises(EOFError):
        image.seek(6)
    assert Image.open(GOLDEN / "one-layer.obic").n_frames == 1


def test_frames_are_layers():
    path = GOLDEN / "five-layers.obic"
    image = Image.open(path)
    for index in (3, 1):
        image.seek(1 + index)
        assert np.array_equal(np.asarray(image), np.asarray(obic.extract(path, index)))
    image.seek(0)
    assert np.array_equal(np.asarray(image), np.asarray(obic.decode(path)))
    assert [frame.mode for frame in ImageSequence.Iterator(image)] == ["RGB"] + 5 * ["RGBA"]


def test_a_layer_that_is_absent():
    image = Image.open(GOLDEN / "object-alone.obic")
    assert image.mode == "RGBA"
    image.seek(1)
    with pytest.raises(OSError, match="absent"):
        image.load()
    image.seek(2)
    assert image.getextrema()[3] == (0, 255)


def test_saving(photo):
    photo.save("x.obic", quality=30)
    assert Path("x.obic").read_bytes() == obic.encode(photo, quality=30)
    photo.convert("L").save("grey.obic", mask="none")
    buffer = io.BytesIO()
    photo.save(buffer, "OBIC", size=400, object_boost=0, layers="none")
    assert len(buffer.getvalue()) <= 400
    with pytest.raises(obic.UsageError):
        photo.save("y.obic", quality=0)
    assert not Path("y.obic").exists()
    again = Image.open("x.obic")
    again.seek(2)
    assert (again.info["layer"], again.mode) == ("object", "RGBA")
    assert Image.registered_extensions()[".obic"] == "OBIC"
    assert Image.MIME["OBIC"] == "image/vnd.obic"


def test_metadata_given_to_save_are_kept(photo):
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a dog", 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo.save("x.obic", exif=exif, icc_profile=profile, xmp=b"<x/>")
    image = Image.open("x.obic")
    assert image.size == (64, 96), "turned upright"
    image.load()
    assert (image.getexif()[0x010E], image.getexif()[0x0112]) == ("a dog", 1)
    assert (image.info["icc_profile"], image.info["xmp"]) == (profile, b"<x/>")
    photo.save("x.obic", exif=exif.tobytes())
    assert set(Image.open("x.obic").copy().info) == {"layer", "exif"}
    photo.info["xmp"] = b"<y/>"
    photo.save("x.obic")
    assert set(Image.open("x.obic").copy().info) == {"layer"}, "not given, not kept"


def test_damaged_files(photo):
    photo.save("x.obic")
    data = Path("x.obic").read_bytes()
    for damaged in (data[:20], data[:9] + b"?" + data[10:], data[:6]):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(damaged))
    for damaged in (data[:-1], data[:-4] + b"?" + data[-3:], data + b"?"):
        image = Image.open(io.BytesIO(damaged))
        with pytest.raises(OSError):
            image.load()


@pytest.mark.parametrize(
    "imports",
    ["import obic; from PIL import Image", "from PIL import Image; import obic", "import obic.images",
     "import obic; import PIL.PngImagePlugin", "import obic.container; import PIL.Image", "import obic.pillow_plugin"],
)  # fmt: skip
def test_the_format_is_known_after_any_order_of_imports(imports):
    script = f"{imports}; import sys, PIL.Image; print(PIL.Image.open(sys.argv[1]).format, *sys.modules)"
    command = [sys.executable, "-c", script, GOLDEN / "two-layers.obic"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    format, *modules = done.stdout.split()
    assert format == "OBIC"
    assert not {"torch", "constriction"} & set(modules), "no network before there are pixels to decode"
