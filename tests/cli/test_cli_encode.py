"""`obic encode`: sizes of files, kinds of layers, alpha to the pixel. With the tiny networks of the
golden files."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import obic as python
from obic.api import default_codec
from obic.constants import PART_PIXEL_MASK
from obic.container import open_container
from obic.networks import Networks
from obic.rate import layer_qualities
from shared.places import GOLDEN


@pytest.fixture(autouse=True)
def folder(obic, monkeypatch):
    """The test's folder with `photo.png` and masks; the segmenter sees a dog on the left, a person
    on the right."""
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    default_codec.cache_clear()
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (96, 112, 3)).astype(np.uint8)).save("photo.png")
    classes = np.zeros((96, 112), np.uint8)
    classes[10:70, 3:50] = 12
    classes[10:90, 65:105] = 15
    Image.fromarray(classes).save("mask.png")
    monkeypatch.setattr(Networks, "segmenter", lambda self: lambda rgb: classes)
    yield
    default_codec.cache_clear()


def encode(obic, *options):
    done = obic("encode", "photo.png", "-o", "-", *options)
    assert (done.code, done.err) == (0, "")
    return open_container(done.out)


def names(obic, *options):
    return encode(obic, *options).header.layer_names


# --- how large ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["", "--object-boost 0", "--object-boost -20", "--background-quality 9"])
def test_sizes_are_met_from_below(obic, options):
    small, large = (encode(obic, "-q", quality, *options.split()).total_bytes for quality in (25, 70))
    target = (small + large) // 2
    container = encode(obic, "--size", target, *options.split())
    background, object_ = (layer.quality for layer in container.header.layers)
    assert container.total_bytes <= target
    background += "9" not in options
    assert encode(obic, "--background-quality", background, "--object-quality", object_ + 1).total_bytes > target


def test_bits_a_pixel(obic):
    asked = encode(obic, "-q", 50).total_bytes
    container = encode(obic, "--bpp", asked * 8 / (96 * 112) + 1e-9)
    assert container.total_bytes <= asked
    steps = [layer.quality - low for layer, low in zip(container.header.layers, layer_qualities(50, 2), strict=True)]
    assert steps in ([0, 0], [1, 0], [0, 1])  # a layer may stand a step higher at no cost


LOWEST = [(1, 1), (1, 2), (1, 3)]  # a picture's bytes may fall a little where its quality rises


def test_sizes_that_cannot_be_reached(obic):
    done = obic("encode", "photo.png", "--size", "20", "-o", "-")
    assert done.code == 0
    assert done.err.startswith("obic: warning: the smallest file there is has ")
    lowest = [encode(obic, "--background-quality", below, "--object-quality", above) for below, above in LOWEST]
    assert open_container(done.out).total_bytes == min(container.total_bytes for container in lowest)
    strict = obic("encode", "photo.png", "--size", "20", "--strict", "-o", "x.obic")
    assert (strict.code, strict.err) == (1, done.err.replace("warning: ", ""))
    assert not Path("x.obic").exists()
    assert obic("encode", "photo.png", "--size", "100k", "--strict").code == 0


@pytest.mark.parametrize(
    "options",
    ["-q 5 --bpp 1", "--bpp 1 --size 10k", "--strict", "--bpp 0", "--size ten", "--object-boost 51", "--layers dog",
     "--mask none --layers class", "--mask mask.png --layers none"],
)  # fmt: skip
def test_options_that_do_not_go_together(obic, options):
    done = obic("encode", "photo.png", *options.split())
    assert (done.code, done.err.count("\n")) == (2, 1)


def test_the_boost_of_objects(obic):
    boosted = encode(obic, "-q", 50, "--object-boost", 10).header.layers
    assert [layer.quality for layer in boosted] == [40, 60]


# --- layers ---------------------------------------------------------------------------------------


def test_kinds_of_layers(obic):
    assert names(obic) == names(obic, "--layers", "object") == ("background", "object")
    assert names(obic, "--layers", "class") == ("background", "dog", "person")
    assert names(obic, "--layers", "instance") == ("background", "person-1", "dog-1")
    assert names(obic, "--layers", "none") == names(obic, "--mask", "none") == ("picture",)
    assert names(obic, "--mask", "none", "--layers", "none") == ("picture",)


def test_layers_of_a_mask(obic):
    assert names(obic, "--mask", "mask.png") == ("background", "object-1", "object-2")
    assert names(obic, "--mask", "mask.png", "--layers", "object") == ("background", "object")
    assert names(obic, "--mask", "mask.png", "--layers", "instance") == ("background", "object-1", "object-2")


def test_names_are_in_the_file(obic):
    assert obic("encode", "photo.png", "--layers", "class").code == 0
    report = json.loads(obic("info", "photo.obic", "--json").out)
    assert [layer["name"] for layer in report["layers"]] == ["background", "dog", "person"]
    alone = obic("extract", "photo.obic", "--layer", "person", "-o", "-").out
    assert open_container(alone).header.layer_names == ("background", "dog", "person")


def test_no_object(obic, monkeypatch):
    monkeypatch.setattr(Networks, "segmenter", lambda self: lambda rgb: np.zeros(rgb.shape[:2], np.uint8))
    for kind in ("object", "class", "instance"):
        done = obic("encode", "photo.png", "--layers", kind, "--alpha", "pixel", "-o", "-")
        assert "no object" in done.err
        assert open_container(done.out).header.layer_names == ("picture",)
    assert obic("encode", "photo.png", "--layers", "none").err == ""


# --- alpha ----------------------------------------------------------------------------------------


def test_alpha_to_the_pixel(obic):
    plain, exact = encode(obic), encode(obic, "--alpha", "pixel")
    assert plain.read_part(PART_PIXEL_MASK) is None
    assert len(exact.read_part(PART_PIXEL_MASK)) < 60
    assert obic("encode", "photo.png", "--alpha", "pixel").code == 0
    image = Image.open(io.BytesIO(obic("extract", "photo.obic", "--layer", "1", "--format", "png", "-o", "-").out))
    alpha = np.asarray(image)[..., 3]
    assert set(alpha.ravel()) == {0, 255}
    assert alpha[10:70, 3:50].mean() > 250 > alpha[40, 52] == 0


def test_a_damaged_pixel_mask_is_said(obic):
    assert obic("encode", "photo.png", "--alpha", "pixel").code == 0
    alone = obic("extract", "photo.obic", "--layer", "object", "-o", "-").out
    done = obic("decode", "-", "-o", "x.png", "--damaged", "skip", stdin=alone[:-3])
    assert (done.code, "pixel mask" in done.err) == (0, True)
    assert obic("decode", "-", "-o", "y.png", stdin=alone[:-3]).code == 3


# --- frames ---------------------------------------------------------------------------------------


def test_frames(obic):
    frames = [Image.open("photo.png").rotate(90 * turn).resize((112, 96)).convert("P") for turn in range(3)]
    frames[0].save("photo.gif", save_all=True, append_images=frames[1:])
    done = obic("encode", "photo.gif", "--mask", "none", "-o", "first.obic")
    assert (done.code, done.err) == (0, "obic: note: of 3 frames the first is taken; --frame 0 to 2 says which\n")
    frames = Image.open("photo.gif")
    for number in range(3):
        frames.seek(number)
        frames.convert("RGB").save("frame.png")
        assert encode_file(obic, "photo.gif", "--frame", number) == encode_file(obic, "frame.png")
        assert python.encode("photo.gif", mask="none", frame=number) == encode_file(obic, "frame.png")
        assert python.Codec().encode_all(["photo.gif"], mask="none", frame=number) == [encode_file(obic, "frame.png")]
    assert encode_file(obic, "photo.gif", "--frame", 0) == Path("first.obic").read_bytes()
    for command in ("encode", "mask"):
        done = obic(command, "photo.gif", "--frame", 3)
        assert (done.code, done.err) == (2, "obic: there is no frame 3: the first of 3 is 0\n")
        assert obic(command, "photo.gif", "--frame", -1).code == 2
    assert obic("mask", "photo.gif", "--frame", 2) == (0, b"", "")


def encode_file(obic, *line):
    done = obic("encode", *line, "--mask", "none", "-o", "-")
    assert (done.code, done.err) == (0, "")
    return done.out
