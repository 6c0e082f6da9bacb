"""obic.encode and its like: images and files of every kind, options, threads. With the golden
files' tiny networks."""

import io
import re
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

import obic
from obic import inference
from obic import networks as network_functions
from obic.api import default_codec
from obic.errors import UsageError
from obic.images import read_picture
from obic.networks import Networks
from obic.rate import Rate
from obic.recipe import Recipe
from obic.recipe import encode as encode_by
from shared.places import GOLDEN, ROOT


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The frozen networks, and a segmenter that sees a dog on the left, a person on the right."""
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    monkeypatch.setattr(Networks, "segmenter", lambda self: lambda rgb: classes())
    default_codec.cache_clear()
    yield
    default_codec.cache_clear()


def classes():
    found = np.zeros((96, 112), np.uint8)
    found[10:70, 3:50] = 12
    found[10:90, 65:105] = 15
    return found


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (96, 112, 3)).astype(np.uint8)


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_there_and_back(rgb):
    data = obic.encode(Image.fromarray(rgb))
    decoded = obic.decode(data)
    assert (type(data), decoded.mode, decoded.size) == (bytes, "RGB", (112, 96))
    layer = obic.extract(data, "object")
    assert (layer.mode, layer.size) == ("RGBA", (112, 96))
    assert np.ptp(np.asarray(layer)[..., 3]) == 255


def test_every_kind_of_image(rgb, tmp_path):
    image = Image.fromarray(rgb)
    image.save(tmp_path / "x.png")
    expected = obic.encode(image)
    same = [rgb, torch.from_numpy(rgb).permute(2, 0, 1), png(image), tmp_path / "x.png", str(tmp_path / "x.png")]
    same += [rgb / 255, (rgb / 255).astype(np.float32), torch.from_numpy(rgb).permute(2, 0, 1).float() / 255]
    same += [np.dstack([rgb, np.full((96, 112), 255, np.uint8)]), rgb[:, ::-1][:, ::-1]]
    for other in same:
        assert obic.encode(other) == expected
    half = torch.ones(3, 96, 112, dtype=torch.bfloat16)
    assert obic.encode(half) == obic.encode(np.full((96, 112, 3), 255, np.uint8))
    grey = obic.encode(rgb[..., 0])
    tensor = torch.from_numpy(rgb[..., 0])
    for other in (rgb[..., :1], tensor, tensor[None], np.dstack([rgb[..., 0]] * 3)):
        assert obic.encode(other) == grey


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3), np.int32), np.zeros(4, np.uint8),
     np.full((4, 4, 3), 1.5), np.full((4, 4, 3), np.nan), torch.zeros(2, 4, 4), np.zeros((0, 3, 3))],
)  # fmt: skip
def test_what_is_no_picture(image):
    with pytest.raises(obic.UsageError, match="a picture"):
        obic.encode(image)


def test_every_kind_of_file(rgb, tmp_path):
    data = obic.encode(rgb)
    (tmp_path / "x.obic").write_bytes(data)
    expected = np.asarray(obic.decode(data))
    for file in (tmp_path / "x.obic", str(tmp_path / "x.obic"), io.BytesIO(data), obic.open(data)):
        assert np.array_equal(np.asarray(obic.decode(file)), expected)
    opened = obic.open(tmp_path / "x.obic")
    assert (opened.header.width, opened.header.height, opened.total_bytes) == (112, 96, len(data))
    with pytest.raises(obic.FormatError):
        obic.decode(data[:-1])
    assert obic.decode(data[:-1], damaged="skip").mode == "RGBA"


def test_the_options_are_those_of_the_command(rgb):
    def header(**options):
        return obic.open(obic.encode(rgb, **options)).header

    def qualities(**options):
        return [layer.quality for layer in header(**options).layers]

    assert qualities(quality=50, object_boost=10) == [40, 60]
    assert qualities(object_quality=90, background_quality=3) == [3, 90]
    assert header(layers="class").layer_names == ("background", "dog", "person")
    assert header(layers="instance").layer_names == ("background", "person-1", "dog-1")
    assert header(layers="none").layer_names == header(mask="none").layer_names == ("picture",)
    middle = len(obic.encode(rgb, quality=50))
    for options in ({"size": middle}, {"size": str(middle)}, {"bpp": (middle + 0.5) * 8 / (96 * 112)}):
        assert middle * 0.97 < len(obic.encode(rgb, **options)) <= middle
    assert set(np.unique(np.asarray(obic.extract(obic.encode(rgb, alpha="pixel"), 1))[..., 3])) == {0, 255}


def test_masks(rgb, tmp_path):
    mask = (classes() > 0).astype(np.uint8) * 255
    expected = obic.encode(rgb, mask=Image.fromarray(mask))
    Image.fromarray(mask).save(tmp_path / "mask.png")
    for other in (mask, mask > 0, torch.from_numpy(mask), tmp_path / "mask.png", png(Image.fromarray(mask))):
        assert obic.encode(rgb, mask=other) == expected
    assert obic.encode(rgb, mask=mask, layers="object") == obic.encode(rgb) == expected
    with pytest.raises(obic.UsageError, match="mask is"):
        obic.encode(rgb, mask=mask[:-1])


@pytest.mark.parametrize(
    "options",
    [{"quality": 5, "bpp": 1}, {"bpp": 1, "size": 99}, {"alpha": "soft"}, {"layers": "dog"}, {"size": "ten"},
     {"size": 0}, {"mask": "none", "layers": "class"}, {"metadata": "gps"}, {"quality": 101}, {"object_quality": 0},
     {"background_color": "no colour"}],
)  # fmt: skip
def test_options_that_do_not_fit(rgb, options):
    with pytest.raises(obic.UsageError):
        obic.encode(rgb, **options)


def test_sizes_that_cannot_be_reached(rgb):
    with pytest.warns(UserWarning, match="smallest file"):
        data = obic.encode(rgb, size=10)
    with pytest.raises(obic.ObicError, match="smallest file"):
        obic.encode(rgb, size=10, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(obic.encode(rgb, size=len(data), strict=True)) == len(data)


def test_several_layers(rgb):
    data = obic.encode(rgb, layers="class")
    both = np.asarray(obic.extract(data, ["dog", 2]))[..., 3]
    assert (np.asarray(obic.extract(data, "dog"))[..., 3] <= both).all()
    with pytest.raises(obic.UsageError, match="cat"):
        obic.extract(data, "cat")


def test_metadata(rgb):
    image = Image.fromarray(rgb)
    exif = Image.Exif()
    exif[0x010E] = "a dog"
    image.info["exif"], image.info["xmp"] = exif.tobytes(), b"<x/>"
    decoded = obic.decode(obic.encode(image, metadata="all"))
    assert decoded.getexif()[0x010E] == "a dog"
    assert decoded.info["xmp"] == b"<x/>"
    assert obic.decode(obic.encode(image)).info == {}


def test_one_codec_for_many_threads(rgb, monkeypatch):
    loads, threads = [], set()
    original = network_functions.load_model

    def load(*args, **options):
        loads.append(options)
        return original(*args, **options)

    monkeypatch.setattr(network_functions, "load_model", load)
    codec = obic.Codec("cpu")
    pictures = [rgb, rgb[:40], rgb[:, :50], 255 - rgb] * 2
    expected = [obic.encode(picture, mask="none") for picture in pictures]
    loads.clear()

    def work(picture):
        threads.add(threading.get_ident())
        data = codec.encode(picture, mask="none")
        return data, np.asarray(codec.decode(data))

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, pictures))
    assert [data for data, _ in results] == expected
    assert all(np.array_equal(pixels, np.asarray(obic.decode(data))) for data, pixels in results)
    assert len(loads) == 1, "one codec, for encoding and decoding"
    assert len(threads) > 1


def test_batches(rgb):
    codec = obic.Codec("cpu")
    pictures = [rgb, rgb[:40], Image.fromarray(255 - rgb)]
    files = codec.encode_all(pictures, workers=2, quality=30, mask="none")
    assert files == [codec.encode(picture, quality=30, mask="none") for picture in pictures]
    assert [image.size for image in codec.decode_all(files)] == [(112, 96), (112, 40), (112, 96)]
    with pytest.raises(obic.UsageError):
        codec.encode_all([rgb, np.zeros(3)], mask="none")


@pytest.mark.parametrize("options", [{"mask": "none", "quality": 30}, {"size": 700}])
def test_pictures_of_one_size_go_through_the_networks_together(rgb, monkeypatch, options):
    codec = obic.Codec("cpu")
    pictures = [rgb, 255 - rgb, rgb[:90, :100], rgb[:40], rgb[::-1]]  # three have 6x7 cells, one of them cut
    if "mask" not in options:
        pictures = [rgb, 255 - rgb, rgb[::-1]]  # the segmenter of these tests sees one size alone
    together = []
    for name in ("analyse_all", "synthesise_all"):
        function = getattr(inference, name)

        def count(network, first, *more, function=function):
            together.append(len(first))
            return function(network, first, *more)

        monkeypatch.setattr(inference, name, count)
    files = codec.encode_all(pictures, batch_size=len(pictures), **options)
    images = codec.decode_all(files, batch_size=len(pictures))
    assert together == ([4, 1, 4, 1] if len(pictures) == 5 else [3, 3])
    assert files == [codec.encode(picture, **options) for picture in pictures]
    for image, data in zip(images, files, strict=True):
        difference = np.asarray(image).astype(int) - np.asarray(codec.decode(data))
        assert np.abs(difference).max() <= 1, "a larger product may round otherwise"


def test_batches_of_damaged_files(rgb):
    codec = obic.Codec("cpu")
    whole, other = codec.encode(rgb), codec.encode(255 - rgb, layers="none")
    images = codec.decode_all([whole, whole[:-1], other], batch_size=3, damaged="skip")
    assert [image.mode for image in images] == ["RGB", "RGBA", "RGB"]
    with pytest.raises(obic.FormatError):
        codec.decode_all([whole, whole[:-1]], batch_size=2)


def test_an_analysed_picture_is_coded_many_times(rgb, monkeypatch):
    codec = obic.Codec("cpu")
    image = Image.fromarray(rgb)
    image.info["xmp"] = b"<x/>"
    (analysed,) = codec.analyse([image], metadata="xmp")
    expected = [codec.encode(image, quality=quality, metadata="xmp") for quality in (9, 80)]
    monkeypatch.setattr(inference, "analyse_all", None)
    assert [codec.encode(analysed, quality=quality, metadata="xmp") for quality in (9, 80)] == expected


def test_devices():
    if not torch.cuda.is_available():
        with pytest.raises(obic.UsageError, match="CUDA"):
            obic.Codec("cuda")
    with pytest.raises(obic.UsageError, match="toaster"):
        obic.Codec("toaster")


def test_opening_a_file_loads_nothing_heavy(tmp_path):
    (tmp_path / "x.obic").write_bytes((GOLDEN / "two-layers.obic").read_bytes())
    script = "import sys, obic; print(obic.open(sys.argv[1]).header.layer_names, *sys.modules)"
    command = [sys.executable, "-c", script, tmp_path / "x.obic"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"numpy", "torch", "PIL"} & set(done.stdout.split())


def test_a_recipe_for_a_given_mask_needs_one():
    image = Image.new("RGB", (32, 32))
    with pytest.raises(UsageError, match="there is none"):
        encode_by(read_picture(image), Recipe(Rate(), mask="given"), Networks("cpu", "numpy"))


def test_type_checkers_see_every_name():
    stub = (ROOT / "obic" / "__init__.pyi").read_text()
    imported = re.findall(r"^from \S+ import (\w+) as \1$", stub, re.M)
    assigned = re.findall(r"^(\w+) = ", stub, re.M)
    assert {*imported, *assigned, "__version__"} == set(obic.__all__)
    assert obic.open is obic.open_container
    assert (ROOT / "obic" / "py.typed").exists()
