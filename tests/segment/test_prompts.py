"""`--box` and `--point`: what the user says an object is."""

import io

import numpy as np
import pytest
from PIL import Image

import obic as package
from obic.container import open_container
from obic.errors import UsageError
from obic.networks import Networks
from obic.prompts import box, point, prompts
from obic.segment.prompted import find
from shared.places import GOLDEN

HEIGHT, WIDTH = 96, 112
RED, GREEN = (255, 0, 0), (0, 255, 0)


def scene():
    """Two red squares and a green one that touches the second, on black; uint8 [96, 112, 3]."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[8:40, 8:40] = RED
    rgb[50:90, 60:80] = RED
    rgb[50:90, 80:104] = GREEN
    return rgb


class ByColour:
    """A segmenter: red is a dog (12), green a person (15). It keeps the sizes of what it saw."""

    def __init__(self):
        self.seen = []

    def __call__(self, rgb):
        self.seen.append(rgb.shape[:2])
        return np.where(rgb[..., 0] > 0, np.uint8(12), np.where(rgb[..., 1] > 0, np.uint8(15), np.uint8(0)))


@pytest.fixture
def segment():
    return ByColour()


@pytest.fixture(autouse=True)
def folder(obic, monkeypatch, segment):
    """The test's folder with `photo.png`; the golden files' networks."""
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    monkeypatch.setattr(Networks, "segmenter", lambda self: segment)
    Image.fromarray(scene()).save("photo.png")


def mask(obic, *options, source="photo.png"):
    done = obic("mask", source, "-o", "-", *options)
    assert done.code == 0
    return np.asarray(Image.open(io.BytesIO(done.out))) > 0


def names(obic, *options):
    done = obic("encode", "photo.png", "-o", "-", *options)
    assert done.code == 0
    return open_container(done.out).header.layer_names


@pytest.mark.parametrize("text", ["4,4,56,48", "4, 4, 56, 48", "4.4,4,50%,50%", "3.6%,4.2%,50%,50%"])
def test_a_box_is_cut_out_of_what_the_segmenter_finds(obic, segment, text):
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[8:40, 8:40] = True
    assert np.array_equal(mask(obic, "--box", text), expected)
    height, width = segment.seen[-1]  # the box and a fifth of it on each side, as far as there is picture
    assert (height, width) == (48 + 9, 56 + 10)


def test_what_is_beyond_the_box_is_none_of_it(obic):
    found = mask(obic, "--box", "20,20,60,60")
    assert found[20:40, 20:40].all() and found.sum() == 400


def test_an_empty_box_is_the_object_itself(obic):
    done = obic("mask", "photo.png", "--box", "60,0,100,40", "-o", "-")
    found = np.asarray(Image.open(io.BytesIO(done.out))) > 0
    assert found[:40, 60:100].all() and found.sum() == 1600
    assert done.err == "obic: note: next to nothing is found in the box 60,0,100,40; the box itself is the object\n"
    done = obic("encode", "photo.png", "--box", "60,0,100,40", "--layers", "class")
    assert "the box itself is the object" in done.err
    assert open_container("photo.obic").header.layer_names == ("background", "object")


@pytest.mark.parametrize("text", ["20,20", "18%,21%", "4,5", "44,30"])
def test_a_point_takes_the_part_it_lies_on_or_beside(obic, text):
    found = mask(obic, "--point", text)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[8:40, 8:40] = True
    assert np.array_equal(found, expected)


def test_a_point_takes_one_class(obic):
    found = mask(obic, "--point", "96%,80%", "--point", "90,60")
    assert found[50:90, 80:104].all() and found.sum() == 40 * 24


@pytest.mark.parametrize("text", ["56,4", "100%,0", "0,100%"])
def test_a_point_far_from_everything_is_an_error(obic, text):
    for command in ("mask", "encode"):
        done = obic(command, "photo.png", "--point", text, "-o", "-")
        assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)
        assert "--box" in done.err and text in done.err


def test_each_is_a_layer_with_instances(obic):
    both = ("--box", "56,46,112,96", "--point", "20,20")
    assert names(obic, *both) == ("background", "object")
    assert names(obic, *both, "--layers", "class") == ("background", "dog", "person")
    assert names(obic, *both, "--layers", "instance") == ("background", "person-1", "dog-1")
    points = ("--point", "70,70", "--point", "20,20", "--layers", "instance")
    assert names(obic, *points) == ("background", "dog-1", "dog-2")


def test_the_later_one_has_what_two_boxes_share():
    asked = prompts(boxes=[(0, 0, 40, 40), (20, 20, 40, 40)])
    _, parts, notes = find(ByColour(), scene(), asked)
    assert (parts[20:40, 20:40] == 2).all() and (parts[8:20, 8:40] == 1).all() and not notes
    _, parts, _ = find(ByColour(), scene(), prompts(points=["20,20", "30,30"]))
    assert set(np.unique(parts)) == {0, 2}


def test_large_pictures_are_connected_on_a_coarser_grid():
    rgb = scene().repeat(40, 0).repeat(40, 1)[:3837, :4477]
    found = find(ByColour(), rgb, prompts(points=[(800, 800)]))
    assert (found.parts[8 * 40 : 40 * 40, 8 * 40 : 40 * 40] == 1).all() and found.parts.sum() == (32 * 40) ** 2


def test_places_are_those_of_the_upright_picture(obic):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees, clockwise
    Image.fromarray(np.rot90(scene())).save("turned.png", exif=exif)
    assert np.array_equal(mask(obic, "--box", "4,4,56,48", source="turned.png"), mask(obic, "--box", "4,4,56,48"))


@pytest.mark.parametrize(
    "option, value",
    [
        ("--box", "1,2,3"), ("--box", "a,b,c,d"), ("--box", "1,2,nan,4"), ("--box", ""), ("--box", "1,2,3,4,5"),
        ("--box", "50,10,10,50"), ("--box", "5,5,5.2,50"), ("--box", "0,0,113,50"), ("--box", "-1,0,10,10"),
        ("--box", "0,0,101%,50"), ("--point", "1"), ("--point", "1,2,3"), ("--point", "x,2"), ("--point", "113,2"),
        ("--point", "5,-1"), ("--point", "inf,5"),
    ],
)  # fmt: skip
def test_wrong_values_are_one_line(obic, segment, option, value):
    for command in ("encode", "mask"):
        done = obic(command, "photo.png", f"{option}={value}", "-o", "-")
        assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)
        assert value in done.err and option[2:] in done.err
    assert not segment.seen


@pytest.mark.parametrize("other", ["--mask none", "--mask photo.png", "--layers none"])
def test_they_need_the_segmenter(obic, other):
    for asked in (["--box", "0,0,9,9"], ["--point", "9,9"]):
        done = obic("encode", "photo.png", *asked, *other.split())
        assert (done.code, done.err.count("\n")) == (2, 1) and "mask" in done.err


def test_from_python(caplog):
    data = package.encode(scene(), boxes=[(4, "4%", 56, "50%"), "60,0,100,40"], points=[(90, 70)], layers="instance")
    assert open_container(data).header.layer_names == ("background", "dog-1", "object-1", "person-1")
    for wrong in ({"boxes": (1, 2, 3, 4)}, {"points": (1, 2)}, {"boxes": [(1, 2)]}, {"points": [(1, None)]}):
        with pytest.raises(UsageError):
            package.encode(scene(), **wrong)


def test_one_text_is_one_box():
    assert prompts(boxes="1,2,3,4").boxes == (box((1, 2, 3, 4)),)
    assert prompts(points="50%,4").points == (point(("50%", 4)),)
