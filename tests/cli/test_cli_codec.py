"""The command line with the shipped networks: encode, decode, extract to pixels, mask."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from obic.backends import has_torch
from obic.container import mux, open_container
from shared.places import EXAMPLES

CHELSEA = EXAMPLES / "chelsea.png"


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A cat's face, uint8 [96, 112, 3]."""
    return np.asarray(Image.open(CHELSEA).convert("RGB"))[60:156, 130:242]


@pytest.fixture
def folder(obic, photo) -> Path:
    """The test's folder with `photo.png` and `left.png`, a mask whose object is the left half."""
    Image.fromarray(photo).save("photo.png")
    Image.fromarray(half_mask(255)).save("left.png")
    return Path.cwd()


@pytest.fixture
def coded(obic, folder) -> Path:
    """The photo as `photo.obic`, its object the left half."""
    assert obic("encode", "photo.png", "--mask", "left.png").code == 0
    return folder / "photo.obic"


GPU = shutil.which("nvidia-smi") if has_torch() else None


def half_mask(value: int) -> np.ndarray:
    """uint8 [96, 112]: `value` on the left half, 0 on the right one."""
    mask = np.zeros((96, 112), np.uint8)
    mask[:, :56] = value
    return mask


def picture(data: bytes | Path) -> Image.Image:
    return Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.square(a.astype(float) - b.astype(float)).mean())


def one_line(text: str) -> bool:
    return text.startswith("obic: ") and text.count("\n") == 1 and text.endswith("\n")


# --- there and back -------------------------------------------------------------------------------


def test_encode_and_decode_name_their_output(obic, folder, photo):
    done = obic("encode", "photo.png", "--mask", "none", "-q", 60)
    assert (done.code, done.out, done.err) == (0, b"", "")
    Path("photo.png").rename("original.png")
    assert obic("decode", "photo.obic") == (0, b"", "")
    decoded = picture(Path("photo.png"))
    assert (decoded.mode, decoded.size) == ("RGB", (112, 96))
    assert psnr(np.asarray(decoded), photo) > 15


def test_a_pipe_of_processes(folder, photo):
    script = 'obic() { "$0" -m obic "$@"; }; cat photo.png | obic encode - -o - | obic decode - -o - > out.png'
    done = subprocess.run(["sh", "-c", script, sys.executable], capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert psnr(np.asarray(picture(Path("out.png"))), photo) > 15


def test_standard_streams_are_the_default_for_standard_input(obic, folder):
    data = obic("encode", "-", "--mask", "none", stdin=Path("photo.png").read_bytes()).out
    assert picture(obic("decode", "-", stdin=data).out).format == "PNG"
    assert os.listdir() and "-" not in os.listdir()


def test_bytes_rise_with_quality(obic, folder):
    sizes = [len(obic("encode", "photo.png", "--mask", "none", "-q", q, "-o", "-").out) for q in (1, 30, 60, 100)]
    assert sizes == sorted(set(sizes))


def test_qualities_of_layers(obic, folder):
    line = "encode photo.png --mask left.png -q 30 --object-quality 80 --background-quality 5 --json"
    layers = json.loads(obic(*line.split()).out)["layers"]
    assert [layer["quality"] for layer in layers] == [5, 80]
    layers = json.loads(obic("encode", "photo.png", "--mask", "left.png", "--json").out)["layers"]
    assert layers[1]["quality"] > layers[0]["quality"]


def test_encode_json_is_what_info_says(obic, coded):
    written = obic("encode", "photo.png", "--mask", "left.png", "--json").out
    assert written == obic("info", "photo.obic", "--json").out
    assert json.loads(written)["bytes"] == coded.stat().st_size


def test_verbose_tells_stages_on_standard_error(obic, folder):
    done = obic("encode", "photo.png", "--mask", "none", "-v", "-o", "-")
    assert open_container(done.out).header.width == 112
    for stage in ("read", "load", "encode"):
        assert f"obic: {stage} " in done.err


@pytest.mark.parametrize(("name", "format"), [("x.jpg", "JPEG"), ("x.webp", "WEBP"), ("x.tif", "TIFF"), ("x", "PNG")])
def test_the_suffix_chooses_the_format(obic, coded, name, format):
    assert obic("decode", coded, "-o", name).code == 0
    assert picture(Path(name)).format == format
    assert picture(Path(name)).size == (112, 96)


def test_an_option_chooses_the_format(obic, coded):
    assert picture(obic("decode", coded, "--format", "webp", "-o", "-").out).format == "WEBP"
    assert obic("decode", coded, "--format", "tiff").code == 0
    assert picture(Path("photo.tiff")).format == "TIFF"


def test_a_device_that_is_not_there(obic, coded):
    done = obic("decode", coded, "--device", "cuda", "-o", "x.png")
    assert done.code == (2 if GPU is None else 0)


# --- inputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_kind_of_picture(obic, folder, photo, mode):
    image = Image.fromarray(photo)
    if mode == "I;16":
        image = Image.fromarray(photo[..., 0].astype(np.uint16) * 257)
    elif mode in ("LA", "RGBA"):
        image.putalpha(128)
    image = image if image.mode == mode else image.convert(mode)
    image.save("x.tif")
    done = obic("encode", "x.tif", "--mask", "none")
    assert done.code == 0
    assert ("transparency" in done.err) == (mode in ("LA", "RGBA"))
    assert ("16-bit" in done.err) == (mode == "I;16")
    assert obic("decode", "x.obic", "-o", "x.png").code == 0
    assert (picture(Path("x.png")).mode, picture(Path("x.png")).size) == ("RGB", (112, 96))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (17, 33), (16, 16), (65, 2)])
@pytest.mark.parametrize("mask", ["none", "auto"])
def test_every_size(obic, folder, photo, size, mask):
    Image.fromarray(photo[: size[1], : size[0]]).save("x.png")
    data = obic("encode", "x.png", "--mask", mask, "-o", "-").out
    assert picture(obic("decode", "-", stdin=data).out).size == size


def test_transparency_is_composed_on_the_colour_asked_for(obic, folder):
    Image.new("RGBA", (64, 64)).save("clear.png")
    data = obic("encode", "clear.png", "--mask", "none", "-q", 100, "--background-color", "#000", "-o", "-").out
    assert np.asarray(picture(obic("decode", "-", stdin=data).out)).mean() < 64


def test_damaged_pictures(obic, folder):
    data = Path("photo.png").read_bytes()
    for damaged in (b"", data[:20], data[: len(data) // 2]):
        done = obic("encode", "-", "-o", "x.obic", stdin=damaged)
        assert (done.code, one_line(done.err)) == (3, True)
    assert not Path("x.obic").exists()


# --- masks ----------------------------------------------------------------------------------------


def test_the_mask_command_gives_what_encode_would_use(obic, folder):
    obic("mask", CHELSEA, "-o", "mask.png")
    assert set(np.unique(picture(Path("mask.png")))) == {0, 255}
    by_hand = obic("encode", CHELSEA, "--mask", "mask.png", "-o", "-").out
    assert by_hand == obic("encode", CHELSEA, "-o", "-").out
    assert open_container(by_hand).header.layer_names == ("background", "object")


def test_the_mask_command_names_its_output(obic, folder):
    assert obic("mask", "photo.png").code == 0
    assert picture(Path("photo-mask.png")).size == (112, 96)


def test_masks_of_many_layers(obic, folder):
    mask = half_mask(40)
    mask[:40, 80:] = 90
    Image.fromarray(mask).save("mask.png")
    report = json.loads(obic("encode", "photo.png", "--mask", "mask.png", "--json").out)
    assert [layer["name"] for layer in report["layers"]] == ["background", "object-1", "object-2"]
    assert obic("decode", "photo.obic", "-o", "x.png").code == 0
    alpha = np.asarray(picture(obic("extract", "photo.obic", "--layer", "object-2", "--format", "png", "-o", "-").out))
    assert alpha[20, 100, 3] == 255
    assert alpha[70, 20, 3] == 0


@pytest.mark.parametrize("mask", ["left.png", "-"])
def test_masks_from_files_and_standard_input(obic, folder, mask):
    done = obic("encode", "photo.png", "--mask", mask, "-o", "-", stdin=Path("left.png").read_bytes())
    assert open_container(done.out).header.n_layers == 2


def test_no_object(obic, folder):
    Image.fromarray(half_mask(0)).save("empty.png")
    done = obic("encode", "photo.png", "--mask", "empty.png")
    assert done.code == 0
    assert "no object" in done.err
    assert done.err.count("\n") == 1
    assert json.loads(obic("info", "photo.obic", "--json").out)["layers"][0]["name"] == "picture"


def test_object_everywhere(obic, folder):
    Image.new("L", (112, 96), 255).save("full.png")
    report = json.loads(obic("encode", "photo.png", "--mask", "full.png", "--json").out)
    assert report["layers"][0]["bytes"] == 0
    assert obic("decode", "photo.obic", "-o", "whole.png") == (0, b"", "")
    assert obic("extract", "photo.obic", "--layer", "object", "-o", "object.png").code == 0
    object_, whole = picture(Path("object.png")), picture(Path("whole.png"))
    assert object_.getextrema()[3] == (255, 255)
    assert np.array_equal(object_.convert("RGB"), whole)


@pytest.mark.parametrize("mask", ["small.png", "colour.png", "missing.png", "broken.png"])
def test_masks_that_do_not_fit(obic, folder, mask):
    Image.new("L", (8, 8)).save("small.png")
    Image.open("photo.png").save("colour.png")
    Path("broken.png").write_bytes(Path("left.png").read_bytes()[:60])
    done = obic("encode", "photo.png", "--mask", mask)
    assert done.code == {"small.png": 2, "colour.png": 2, "missing.png": 1, "broken.png": 3}[mask]
    assert one_line(done.err)
    assert not Path("photo.obic").exists()


# --- layers ---------------------------------------------------------------------------------------


def test_an_extracted_layer_decodes_to_itself_alone(obic, coded, photo):
    assert obic("extract", coded, "--layer", "object").code == 0
    done = obic("decode", "photo-object.obic")
    assert done.code == 0
    assert "background" in done.err
    alone = np.asarray(picture(Path("photo-object.png")))
    assert alone.shape == (96, 112, 4)
    assert (alone[:, :40, 3] == 255).all()
    assert (alone[:, 72:, 3] == 0).all()
    assert psnr(alone[:, :40, :3], photo[:, :40]) > 15
    direct = obic("extract", coded, "--layer", "1", "--format", "png", "-o", "-").out
    assert np.array_equal(np.asarray(picture(direct)), alone)


def test_a_missing_layer_is_never_dropped_silently(obic, coded):
    assert obic("extract", coded, "--layer", "object").code == 0
    done = obic("decode", "photo-object.obic", "-o", "x.jpg")
    assert (done.code, one_line(done.err)) == (2, True)
    assert not Path("x.jpg").exists()


# --- damage ---------------------------------------------------------------------------------------


def test_damage_gives_an_error_and_no_output(obic, coded):
    data = coded.read_bytes()
    for damaged in (data[:-1], data[: len(data) // 2], data[:30], data[:-5] + b"\0" * 5, data[:20] + b"~" + data[21:]):
        done = obic("decode", "-", "-o", "x.png", stdin=damaged)
        assert (done.code, one_line(done.err)) == (3, True)
        assert not Path("x.png").exists()


def test_the_layers_that_are_whole_can_be_had(obic, coded):
    data = coded.read_bytes()
    done = obic("decode", "-", "-o", "x.png", "--damaged", "skip", stdin=data[:-1])
    assert done.code == 0
    assert "layer 0 (background) is damaged" in done.err
    left_over = np.asarray(picture(Path("x.png")))
    alone = obic("extract", coded, "--layer", "object", "--format", "png", "-o", "-").out
    assert np.array_equal(left_over, np.asarray(picture(alone)))


def test_nothing_whole_is_an_error(obic, coded):
    container = open_container(coded)
    first_layer = container.total_bytes - container.layer_bytes(0) - container.layer_bytes(1) - 4
    done = obic("decode", "-", "-o", "x.png", "--damaged", "skip", stdin=coded.read_bytes()[: first_layer + 1])
    assert (done.code, one_line(done.err)) == (3, True)
    assert not Path("x.png").exists()


def test_a_model_this_build_lacks(obic, folder):
    data = mux(width=9, height=9, model=1, mask=None, qualities=(1,), streams={0: b"x"})
    for command in ("decode - -o x.png", "extract - --layer 0 -o x.png"):
        done = obic(*command.split(), stdin=data)
        assert (done.code, one_line(done.err)) == (4, True)
        assert "00000001" in done.err
    assert obic("info", "-", stdin=data).code == 0
    assert not Path("x.png").exists()
