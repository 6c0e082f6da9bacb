"""What programs do with images of Pillow's, done with one of obic's beside a PNG and a TIFF of the
same pixels.

Every operation must come to the same end: the same pixels, size, mode, metadata, or an error where
they give one.
"""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps, ImageSequence

import obic
from obic.api import default_codec
from obic.networks import Networks
from shared.pictures import half
from shared.places import GOLDEN

LOSSLESS = ["PNG", "TIFF"]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a title="a dog"/></x:xmpmeta>'


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OBIC_WEIGHTS", str(GOLDEN))
        patch.setattr(Networks, "segmenter", lambda self: half)
        default_codec.cache_clear()
        yield
    default_codec.cache_clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny):
    """one.* with a frame, three.* with three, in each format, all with the same metadata."""
    path = tmp_path_factory.mktemp("pictures")
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a dog", 1
    data = {"exif": exif.tobytes(), "icc_profile": PROFILE, "xmp": XMP}
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8))
    picture.save(path / "one.obic", mask="none", **data)
    picture.save(path / "three.obic", **data)
    for name in ("one", "three"):
        with Image.open(path / f"{name}.obic") as image:
            first, *others = ImageSequence.all_frames(image)
        more = {"save_all": True, "append_images": others} if others else {}
        more["compression"] = "tiff_adobe_deflate"  # plain TIFF is mapped into memory, and some of this crashes Pillow
        first.save(path / f"{name}.tiff", **data, **more)
        if not others:
            first.save(path / f"{name}.png", **{**data, "pnginfo": packet()})
    return path


def packet():
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return info


def named(folder, name: str, format: str):
    return folder / f"{name}.{format.lower()}"


def state(image) -> tuple:
    """What a program sees of an image: sizes as it says them and as the pixels have them."""
    before = image.size, image.mode
    image.load()
    return *before, image.size, image.mode, image.im.size, image.im.mode, np.asarray(image).shape, image.tobytes()


def both(ours, theirs, operation) -> None:
    """The operation on both comes to the same: what it returns, and what became of the image."""

    def end(image):
        try:
            result = operation(image)
        except Exception as error:
            return "an error", isinstance(error, EOFError)
        return [state(item) if isinstance(item, Image.Image) else item for item in (image, result)]

    assert end(ours) == end(theirs)


def set_orientation(image, orientation: int) -> None:
    image.getexif()[0x0112] = orientation


OPERATIONS = {
    "thumbnail": lambda image: image.thumbnail((32, 32)),
    "thumbnail twice": lambda image: (image.thumbnail((64, 64)), image.thumbnail((16, 16)))[0],
    "thumbnail and load": lambda image: (image.thumbnail((32, 24)), image.load())[0],
    "thumbnail, seek": lambda image: (image.thumbnail((32, 24)), image.seek(0))[0],
    "draft": lambda image: image.draft("L", (10, 10)),
    "resize": lambda image: image.resize((11, 7)),
    "reduce": lambda image: image.reduce(3),
    "rotate": lambda image: image.rotate(30, expand=True),
    "turn in place": lambda image: (set_orientation(image, 6), ImageOps.exif_transpose(image, in_place=True))[1],
    "turned": lambda image: (set_orientation(image, 8), ImageOps.exif_transpose(image))[1],
    "crop": lambda image: image.crop((3, 4, 20, 30)),
    "convert": lambda image: image.convert("L"),
    "copy": lambda image: image.copy(),
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "pickle": lambda image: pickle.loads(pickle.dumps(image)),
    "pickle, load": lambda image: pickle.loads(pickle.dumps(image)).load()[5, 6],
    "pickle, array": lambda image: np.array(pickle.loads(pickle.dumps(image))).tolist(),
    "pickle, equal": lambda image: image == pickle.loads(pickle.dumps(image)),
    "pickle, thumbnail": lambda image: (again := pickle.loads(pickle.dumps(image)), again.thumbnail((9, 9)))[0],
    "array": lambda image: np.asarray(image).tolist(),
    "pixels": lambda image: (image.getpixel((3, 4)), image.load()[3, 4], image.getbbox(), image.getextrema()),
    "put a pixel": lambda image: image.putpixel((3, 4), (1, 2, 3)),
    "paste": lambda image: image.paste((9, 9, 9), (1, 1, 9, 9)),
    "put alpha": lambda image: image.putalpha(7),
    "put alpha, load": lambda image: (image.putalpha(7), image.load())[0],
    "split": lambda image: [band.tobytes() for band in image.split()],
    "histogram": lambda image: image.histogram(),
    "load twice": lambda image: (image.load()[1, 1], image.load()[1, 1]),
    "seek to none": lambda image: image.seek(1),
    "seek below": lambda image: image.seek(-1),
    "seek to where it is": lambda image: (image.seek(0), image.tell())[1],
    "frames": lambda image: [frame.size for frame in ImageSequence.Iterator(image)],
    "all frames": lambda image: [frame.tobytes() for frame in ImageSequence.all_frames(image)],
    "save": lambda image: image.save(io.BytesIO(), "BMP"),
    "EXIF": lambda image: dict(image.getexif())[0x010E],
    "EXIF, loaded": lambda image: (image.load(), dict(image.getexif())[0x010E])[1],
    "what info has": lambda image: (image.info["icc_profile"], image.info["xmp"], type(image.info["xmp"])),
    "of a copy": lambda image: (image.copy().info["icc_profile"], image.resize((5, 5)).info["xmp"]),
    "of a pickle": lambda image: pickle.loads(pickle.dumps(image)).info["icc_profile"],
    "close": lambda image: (image.load(), image.close(), image.load()),
    "close at once": lambda image: (image.close(), image.load()),
    "leave": lambda image: (image.load(), image.__exit__(), image.load()[0, 0])[2],
    "type": lambda image: (getattr(image, "is_animated", False), getattr(image, "n_frames", 1)),
}  # fmt: skip
def turn_in_place(image):
    """As `ImageOps.exif_transpose(image, in_place=True)` does it."""
    image.load()
    image.im = image.im.transpose(Image.Transpose.ROTATE_90)
    image._size = image.im.size


PNG_ONLY = {"turned", "turn in place", "what info has", "of a copy"}


@pytest.mark.parametrize("format", LOSSLESS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_comes_to_the_same(folder, operation, format):
    if format == "TIFF" and operation in PNG_ONLY:
        pytest.skip("a TIFF is turned when it is loaded, and Pillow writes none with XMP")
    with Image.open(folder / "one.obic") as ours, Image.open(named(folder, "one", format)) as theirs:
        both(ours, theirs, OPERATIONS[operation])


WAYS = {
    "to and fro": [1, 2, 0, 2, 1, 0],
    "twice": [1, 1, 0, 0],
    "past the end": [2, 9, 1],
}
DISTURBANCES = {
    **{name: OPERATIONS[name] for name in ("thumbnail", "put alpha", "put a pixel", "pickle")},
    "turn": turn_in_place,
    "nothing": lambda image: None,
    "load": lambda image: image.load()[0, 0],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_nothing_of_a_frame_survives_it(folder, way, disturbance):
    def walk(image):
        seen = []
        for frame in WAYS[way]:
            try:
                image.seek(frame)
            except EOFError:
                seen.append("no frame")
            seen.append((image.tell(), image.size, image.mode))
            DISTURBANCES[disturbance](image)
            seen.append(state(image))
        return seen

    with Image.open(folder / "three.obic") as ours, Image.open(folder / "three.tiff") as theirs:
        assert walk(ours) == walk(theirs)


@pytest.mark.parametrize("format", ["OBIC", "PNG"])
def test_metadata_are_there_before_pixels_and_in_every_copy(folder, format):
    with Image.open(named(folder, "one", format)) as image:
        assert image.getexif()[0x010E] == "a dog"
        assert image.info["icc_profile"] == PROFILE
        assert b"a dog" in image.info["xmp"]
        for name in ("exif", "icc_profile", "xmp"):
            assert image.copy().info[name] == image.convert("L").info[name] == image.info[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # defusedxml may be missing
            assert image.getxmp() in ({}, {"xmpmeta": {"a": {"title": "a dog"}}})


def test_opening_reads_no_layer(folder, monkeypatch):
    """The header and the metadata behind the layers: two ranges and what identifies the file."""
    from obic.container import demux

    monkeypatch.setattr(demux.Container, "read_layer", lambda *_: pytest.fail("a layer was read"))
    with Image.open(folder / "three.obic") as image:
        assert image.getexif()[0x010E] == "a dog"
        image.seek(2)
        assert image.getexif()[0x010E] == "a dog"


@pytest.mark.parametrize("format", ["OBIC", *LOSSLESS])
def test_a_file_with_one_frame_is_closed_once_it_is_loaded(folder, format):
    image = Image.open(named(folder, "one", format))
    file = image.fp
    image.load()
    assert file.closed and image.fp is None
    assert image.copy().size == (96, 64)
    with named(folder, "one", format).open("rb") as file:  # not one that is somebody else's
        Image.open(file).load()
        assert not file.closed


@pytest.mark.parametrize("format", ["OBIC", "TIFF"])
def test_a_file_with_several_stays_open_until_it_is_left(folder, format):
    with Image.open(named(folder, "three", format)) as image:
        file = image.fp
        image.load()
        image.seek(1)
        image.load()
        assert not file.closed
    assert file.closed
    assert image.getpixel((0, 0)), "what was loaded stays"
    with pytest.raises((ValueError, OSError)):
        image.seek(2)
        image.load()


@pytest.mark.parametrize("format", ["OBIC", "PNG"])
def test_verify_finds_damage_without_decoding(folder, format, monkeypatch):
    path = named(folder, "one", format)
    Image.open(path).verify()
    data = bytearray(path.read_bytes())
    data[len(data) // 10 if format == "OBIC" else len(data) // 2] ^= 1
    monkeypatch.setattr(Networks, "codec", lambda *_, **__: pytest.fail("a network was loaded"))
    with pytest.raises((OSError, SyntaxError)):
        Image.open(io.BytesIO(data)).verify()


def test_a_pickle_has_the_frame_it_was_made_of(folder):
    with Image.open(folder / "three.obic") as image:
        image.seek(2)
        again = pickle.loads(pickle.dumps(image))
        deep = copy.deepcopy(image)
    for each in (again, deep):
        assert isinstance(each, ImageFile.ImageFile)
        assert (each.format, each.mode, each.info["layer"]) == ("OBIC", "RGBA", "object")
        assert (each.n_frames, each.is_animated, each.tell()) == (1, False, 0)
        assert np.array_equal(np.asarray(each), np.asarray(obic.extract(folder / "three.obic", "object")))
        each.seek(0)
        with pytest.raises(EOFError):
            each.seek(1)


def test_damaged_metadata_are_told_when_pixels_are_asked_for(folder):
    data = bytearray((folder / "one.obic").read_bytes())
    data[-3] ^= 1
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif()[0x010E] == "a dog", "what is whole is there"
        assert "xmp" not in image.info
        with pytest.raises(OSError, match="checksum"):
            image.load()
