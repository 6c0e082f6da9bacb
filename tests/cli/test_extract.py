"""Layers taken out together, put over another picture, and put back into one file."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from obic.container import mux, open_container
from obic.errors import UsageError
from obic.images import compose
from shared.places import TESTS

GOLDEN = TESTS / "golden" / "v1"

EXIF = b"II*\0\x08\0\0\0\x01\0FG\x03\0\x01\0\0\0\x05\0\0\0\0\0\0\0"  # a rating of 5
STREAMS = {0: b"background" * 3, 1: b"object" * 20, 2: b"other" * 9}


def file_of(streams=STREAMS, **changes) -> bytes:
    """A file of three named layers with an optional part behind them and one in the header."""
    fields = {
        "width": 320,
        "height": 240,
        "model": 7,
        "mask": b"mask",
        "qualities": (20, 60, 40),
        "names": ("street", "person", "dog"),
        "parts": {3: EXIF, 40: b"unknown"},
    }
    return mux(**{**fields, "streams": streams, **changes})


@pytest.fixture
def three(obic) -> Path:
    """`three.obic`, three named layers that mean nothing, in the test's folder."""
    Path("three.obic").write_bytes(file_of())
    return Path("three.obic")


@pytest.fixture
def five(obic, monkeypatch) -> Path:
    """`five.obic`, a picture of five layers coded with the tiny model, in the test's folder."""
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    path = Path("five.obic")
    path.write_bytes((GOLDEN / "five-layers.obic").read_bytes())
    return path


def pixels(data: bytes | Path) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data) if isinstance(data, bytes) else data))


# --- several layers -------------------------------------------------------------------------------


def test_list(obic, three):
    done = obic("extract", three, "--list")
    assert done.out.decode().splitlines() == [
        "  0 street                30 bytes  quality 20",
        "  1 person               120 bytes  quality 60",
        "  2 dog                   45 bytes  quality 40",
    ]


def test_several_layers_make_one_file(obic, three):
    assert obic("extract", three, "--layer", "dog", "--layer", 0, "--layer", 2).code == 0
    smaller = open_container("three-dog-street.obic")
    assert [entry.length is not None for entry in smaller.header.layers] == [True, False, True]
    assert smaller.read_layer(2) == STREAMS[2]


def test_a_name_means_all_that_are_numbered(obic):
    names, streams = ("background", "dog-1", "dog-2", "dog-house", "cat"), dict.fromkeys(range(5), b"x")
    data = mux(width=9, height=9, model=1, mask=b"m", qualities=[9] * 5, streams=streams, names=names)
    container = open_container(data)
    assert container.layer_indices("dog") == [1, 2]
    assert container.layer_indices("cat") == container.layer_indices(4) == [4]
    part = obic("extract", "-", "--layer", "dog", stdin=data).out
    assert part == container.subset([1, 2]) == container.subset(["dog"])
    assert open_container(container.subset(["dog-2"])).layer_indices("dog") == [2]
    for missing in ("do", "dog-", "background-1"):
        assert obic("extract", "-", "--layer", missing, stdin=data).code == 2
    done = obic("extract", "-", "--layer", "dog", stdin=container.subset(["cat"]))
    assert (done.code, "absent" in done.err) == (2, True)


def test_several_layers_make_one_picture(obic, five):
    def alpha(*layers: int) -> np.ndarray:
        options = [word for layer in layers for word in ("--layer", layer)]
        done = obic("extract", five, *options, "--format", "png", "-o", "-")
        assert done.code == 0
        return pixels(done.out)[..., 3].astype(int)

    together, alone = alpha(1, 3), (alpha(1), alpha(3))
    assert (together >= np.maximum(*alone)).all()
    assert 0.9 < together.mean() / sum(alone).mean() < 1.1
    assert sum(alone).mean() > 1.5 * max(layer.mean() for layer in alone)


# --- over another picture -------------------------------------------------------------------------


def test_over_another_picture(obic, five):
    Image.new("RGB", (30, 90), (0, 200, 0)).save("green.png")
    assert obic("extract", five, "--layer", 1, "--over", "green.png").code == 0
    result = pixels(Path("five-object-1.png"))
    layer = pixels(obic("extract", five, "--layer", 1, "--format", "png", "-o", "-").out)
    clear, opaque = layer[..., 3] == 0, layer[..., 3] == 255
    assert clear.any()
    assert opaque.any()
    assert result.shape == (*layer.shape[:2], 3)
    assert (result[clear] == (0, 200, 0)).all()
    assert (result[opaque] == layer[opaque][:, :3]).all()


def test_over_is_for_pixels_of_any_format(obic, five):
    Image.new("L", (5, 5), 90).save("grey.png")
    assert obic("extract", five, "--layer", 1, "--over", "grey.png", "-o", "x.jpg").code == 0
    assert Image.open("x.jpg").mode == "RGB"
    refused = obic("extract", five, "--layer", 1, "--over", "grey.png", "-o", "x.obic")
    assert (refused.code, refused.err.count("\n")) == (2, 1)


def test_the_backdrop_covers_the_picture():
    backdrop = np.zeros((10, 40, 3), np.uint8)
    backdrop[:, 15:25] = 200  # what remains of a wide picture behind a square one
    assert (compose(np.zeros((20, 20, 4), np.uint8), backdrop)[:, 3:-3] > 150).all()
    rgba = np.full((20, 20, 4), 100, np.uint8)
    assert (compose(rgba, np.zeros((3, 3, 3), np.uint8)) == 39).all()  # 100 * 100 / 255


# --- merge ----------------------------------------------------------------------------------------


def test_what_was_taken_apart_comes_together(obic, three):
    for layer in ("dog", "person", "street"):
        obic("extract", three, "--layer", layer)
    done = obic("merge", "three-street.obic", "three-dog.obic", "three-person.obic", "-o", "again.obic")
    assert (done.code, done.out, done.err) == (0, b"", "")
    assert Path("again.obic").read_bytes() == three.read_bytes()


def test_layers_that_none_has_stay_absent(obic, three):
    for layer in ("dog", "person"):
        obic("extract", three, "--layer", layer)
    data = obic("merge", "-", "three-dog.obic", "-o", "-", stdin=Path("three-person.obic").read_bytes()).out
    assert data == open_container(three).subset([1, 2])


def test_layers_coded_apart(obic, three):
    Path("a.obic").write_bytes(file_of({1: STREAMS[1]}, qualities=(9, 60, 9)))
    Path("b.obic").write_bytes(file_of({0: STREAMS[0], 2: STREAMS[2]}, qualities=(20, 9, 40)))
    assert obic("merge", "b.obic", "a.obic", "-o", "c.obic").code == 0
    assert Path("c.obic").read_bytes() == three.read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 321}, "size is 321x240, that of the first 320x240"),
        ({"model": 8}, "model is 00000008"),
        ({"mask": b"another"}, "label maps differ"),
        ({"names": ("street", "person", "cat")}, "layer names is street, person, cat"),
        ({"qualities": (20, 61, 40)}, r"layer 1 \(person\) of file 2 differs"),
        ({"streams": {1: b"else"}}, r"layer 1 \(person\) of file 2 differs"),
        ({"parts": {3: EXIF.replace(b"\5", b"\4")}}, "optional part 3 of file 2 differs"),
        ({"qualities": (1, 2), "streams": {1: b"x"}, "names": None}, "number of layers is 2"),
    ],
)
def test_what_does_not_belong_together(obic, three, changes, message):
    from obic.container import merge

    other = file_of(**changes)
    with pytest.raises(UsageError, match=message):
        merge([open_container(three), open_container(other)])
    done = obic("merge", three, "-", "-o", "x.obic", stdin=other)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert not Path("x.obic").exists()


def test_merge_never_overwrites_an_input(obic, three):
    before = three.read_bytes()
    assert obic("merge", "three.obic", "three.obic", "-o", "three.obic").code == 2
    assert three.read_bytes() == before


def test_damage_is_found_before_anything_is_written(obic, three):
    three.write_bytes(three.read_bytes()[:-1])
    assert obic("merge", three, three, "-o", "x.obic").code == 3
    assert not Path("x.obic").exists()
