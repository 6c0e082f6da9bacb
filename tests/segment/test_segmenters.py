"""`--segmenter NAME`: names, what is installed, answers that do not follow the protocol; one's own,
and rembg's."""

import hashlib
import sys
from importlib.metadata import EntryPoint
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import obic as package
from obic.container import open_container
from obic.errors import ObicError, UsageError
from obic.segment import CLASS_NAMES
from obic.segment.adapters import GROUP, KINDS, Checked, check_name, resolve
from obic.weights import segmenter_bytes
from shared.places import GOLDEN

MODULE = """
import numpy as np

def left(rgb):
    labels = np.zeros(rgb.shape[:2], np.uint8)
    labels[:, : rgb.shape[1] // 2] = 254
    return labels

class Named:
    class_names = ("background", "leaf", "stone")
    def __call__(self, rgb):
        labels = left(rgb) // 254
        labels[: len(labels) // 3] *= 2
        return labels

text = "no function"

def broken(rgb):
    raise ValueError("out of order")
"""


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (96, 112, 3)).astype(np.uint8)


@pytest.fixture(autouse=True)
def own(obic, monkeypatch, rgb):
    """`own.py` in the test's folder, and `photo.png`; the golden files' networks."""
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    monkeypatch.setattr(sys, "path", [*sys.path])
    with open("own.py", "w") as file:
        file.write(MODULE)
    Image.fromarray(rgb).save("photo.png")
    yield
    sys.modules.pop("own", None)


def layers(obic, *options):
    done = obic("encode", "photo.png", "-o", "-", *options)
    assert (done.code, done.err) == (0, "")
    return open_container(done.out).header.layer_names


def mask(path="photo-mask.png"):
    return np.asarray(Image.open(path))


def test_a_function_in_the_current_folder(obic):
    assert obic("mask", "photo.png", "--segmenter", "python:own:left").code == 0
    assert (mask()[:, :56] == 255).all() and not mask()[:, 56:].any()
    assert layers(obic, "--segmenter", "python:own:left") == ("background", "object")


def test_an_object_of_no_class_is_called_object(obic):
    chosen = ("--segmenter", "python:own:left", "--layers")
    assert layers(obic, *chosen, "class") == ("background", "object")
    assert layers(obic, *chosen, "instance") == ("background", "object-1")


def test_a_class_with_names_of_its_own(obic):
    chosen = ("--segmenter", "python:own:Named", "--layers")
    assert layers(obic, *chosen, "class") == ("background", "leaf", "stone")
    assert layers(obic, *chosen, "instance") == ("background", "leaf-1", "stone-1")


def test_the_environment_chooses(obic, monkeypatch, rgb):
    monkeypatch.setenv("OBIC_SEGMENTER", "python:own:Named")
    assert layers(obic, "--layers", "class") == ("background", "leaf", "stone")
    data = package.Codec("cpu").encode(rgb, layers="class")
    assert open_container(data).header.layer_names == ("background", "leaf", "stone")
    data = package.Codec("cpu", segmenter="python:own:left").encode(rgb, layers="class")
    assert open_container(data).header.layer_names == ("background", "object")


@pytest.mark.parametrize("name", ["python:own:left", "builtin"])
def test_verbose_says_which_it_was(obic, name):
    done = obic("encode", "photo.png", "--segmenter", name, "-v", "-o", "-")
    digest = hashlib.sha256(segmenter_bytes()).hexdigest()[:8]
    assert f"segmenter {'builtin ' + digest if name == 'builtin' else name}\n" in done.err
    assert "segmenter" not in obic("encode", "photo.png", "--mask", "none", "-v", "-o", "-").err


def test_a_codec_takes_a_function(rgb):
    codec = package.Codec("cpu", segmenter=lambda rgb: np.full(rgb.shape[:2], 12, np.uint8))
    assert open_container(codec.encode(rgb, layers="class")).header.layer_names == ("background", "dog")


@pytest.mark.parametrize("name", ["u2net", "rembg", "rembg:", "nobody:x", "", "torchvision"])
def test_unknown_names_are_one_line_with_the_list(obic, name):
    for command in ("encode", "mask"):
        done = obic(command, "photo.png", "--segmenter", name)
        assert done.code == 2 and done.err.count("\n") == 1
        assert all(kind in done.err for kind in ("builtin", *KINDS))
    if name:
        with pytest.raises(UsageError, match="there is no segmenter"):
            package.Codec("cpu", segmenter=name).encode(np.zeros((16, 16, 3), np.uint8))


@pytest.mark.parametrize(
    "name, code, says",
    [
        ("python:own", 2, "MODULE:ATTRIBUTE"),
        ("python:nowhere:left", 2, "nowhere"),
        ("python:own:right", 2, "right"),
        ("python:own:text", 2, "str"),
        ("python:own:broken", 1, "ValueError: out of order"),
    ],
)
def test_a_module_that_is_no_segmenter(obic, name, code, says):
    done = obic("mask", "photo.png", "--segmenter", name)
    assert (done.code, done.err.count("\n")) == (code, 1)
    assert says in done.err and name in done.err
    assert not done.out


ANSWERS = {
    "uint8 [3, 3]": np.zeros((3, 3), np.uint8),
    "uint8 [4, 5, 1]": np.zeros((4, 5, 1), np.uint8),
    "int64 [4, 5]": np.zeros((4, 5), np.int64),
    "bool [4, 5]": np.zeros((4, 5), bool),
    "list": [[0]],
    "NoneType": None,
    "label 21": np.full((4, 5), 21, np.uint8),
}


@pytest.mark.parametrize("says", ANSWERS)
def test_answers_are_checked(says):
    with pytest.raises(ObicError, match="the segmenter mine gave") as error:
        Checked("mine", lambda rgb: ANSWERS[says])(np.zeros((4, 5, 3), np.uint8))
    assert says in str(error.value)


def test_void_is_background():
    answer = np.array([[0, 20, 254, 255]], np.uint8)
    assert Checked("mine", lambda rgb: answer)(np.zeros((1, 4, 3), np.uint8)).tolist() == [[0, 20, 254, 0]]


@pytest.mark.parametrize("wrong", ["", "12", "a\nb", "background", 3, "y" * 64])
def test_names_that_no_layer_can_have(wrong):
    def segment(rgb):
        raise AssertionError

    segment.class_names = ("nothing", "leaf", wrong)
    with pytest.raises(UsageError, match="cannot be the name of a layer"):
        resolve(segment)


def test_equal_names_of_classes_are_numbered(rgb):
    def segment(rgb):
        labels = np.ones(rgb.shape[:2], np.uint8)
        labels[:40] = 2
        labels[60:] = 254
        return labels

    segment.class_names = ("none", "leaf", "leaf")
    data = package.Codec("cpu", segmenter=segment).encode(rgb, layers="class")
    assert open_container(data).header.layer_names == ("background", "leaf-1", "leaf-2", "object-1")


# --- entry points and the list --------------------------------------------------------------------


@pytest.fixture
def point(monkeypatch):
    """A package that offers the segmenter "theirs"."""
    entry = EntryPoint("theirs", "own:Named", GROUP)
    monkeypatch.setitem(sys.modules, "torchvision", None)  # it takes seconds to import
    monkeypatch.setattr("obic.segment.adapters.entry_points", lambda group: [entry] if group == GROUP else [])
    monkeypatch.syspath_prepend(".")


def test_entry_points_of_other_packages(obic, point):
    assert layers(obic, "--segmenter", "theirs", "--layers", "class") == ("background", "leaf", "stone")
    assert "theirs" in obic("mask", "--segmenter", "list").out.decode()


def test_entry_points_are_those_of_installed_packages(monkeypatch, tmp_path):
    with pytest.raises(UsageError):
        check_name("theirs")
    (tmp_path / "theirs-1.dist-info").mkdir()
    (tmp_path / "theirs-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (tmp_path / "theirs-1.dist-info" / "entry_points.txt").write_text(f"[{GROUP}]\ntheirs = own:left\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert check_name("theirs") == "theirs"


def test_the_list_says_what_is_missing(obic, monkeypatch):
    for name in ("torchvision", "rembg", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    done = obic("mask", "--segmenter", "list")
    assert (done.code, done.err) == (0, "")
    lines = done.out.decode().splitlines()
    assert [line.split()[0].split(":")[0] for line in lines[1:]] == ["builtin", *KINDS]
    for extra in ("torch", "rembg", "onnx"):
        assert f"pip install 'obic[{extra}]'" in done.out.decode()


@pytest.mark.parametrize(
    "name, module, extra",
    [
        ("torchvision:deeplabv3_resnet50", "torchvision", "torch"),
        ("rembg:u2net", "rembg", "rembg"),
        ("onnx:net.onnx", "onnxruntime", "onnx"),
    ],
)
def test_what_is_not_installed_is_said_in_one_line(obic, monkeypatch, name, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    for command in ("mask", "encode"):
        done = obic(command, "photo.png", "--segmenter", name)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert name in done.err and done.err.rstrip().endswith(f"pip install 'obic[{extra}]'")


# --- rembg, a fake one ----------------------------------------------------------------------------


@pytest.fixture
def rembg(monkeypatch):
    """A package rembg with a session that finds the left half, and one that sends pictures away."""
    module, sessions = ModuleType("rembg"), ModuleType("rembg.sessions")
    here, away = SimpleNamespace(is_local=lambda: True), SimpleNamespace(is_local=lambda: False)
    sessions.sessions = {"u2net": here, "cloud": away}
    module.sessions = sessions
    module.asked = []

    def new_session(name):
        module.asked.append(name)
        return name

    def remove(image, session, only_mask):
        assert only_mask and session == "u2net"
        alpha = np.full((image.height, image.width), 127, np.uint8)
        alpha[:, : image.width // 2] = 128
        return Image.fromarray(alpha)

    module.new_session, module.remove = new_session, remove
    monkeypatch.setitem(sys.modules, "rembg", module)
    monkeypatch.setitem(sys.modules, "rembg.sessions", sessions)
    return module


def test_a_session_of_rembg(obic, rembg):
    assert obic("mask", "photo.png", "--segmenter", "rembg:u2net").code == 0
    assert (mask()[:, :56] == 255).all() and not mask()[:, 56:].any()
    assert rembg.asked == ["u2net"]


@pytest.mark.parametrize("name, says", [("cloud", "sends pictures away"), ("u3net", "none of rembg's sessions")])
def test_sessions_that_are_not_here(obic, rembg, name, says):
    done = obic("mask", "photo.png", "--segmenter", f"rembg:{name}")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert says in done.err and "choose u2net" in done.err
    assert not rembg.asked


def test_the_list_has_the_sessions_that_are_local(obic, rembg):
    lines = obic("mask", "--segmenter", "list").out.decode().splitlines()
    assert [line.split() for line in lines if line.startswith("rembg")] == [["rembg:u2net", "yes", "Apache-2.0"]]


def test_an_older_rembg_is_refused(obic, rembg):
    rembg.sessions.sessions = {"u2net": SimpleNamespace()}
    done = obic("mask", "photo.png", "--segmenter", "rembg:u2net")
    assert done.code == 2 and "newer rembg" in done.err and "obic[rembg]" in done.err


def test_rembg_without_its_runtime_ends_nothing_and_prints_nothing(obic, monkeypatch, tmp_path):
    folder = tmp_path / "site" / "rembg"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("import sys\nprint('No onnxruntime backend found.')\nsys.exit(1)\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    for name in ("rembg", "rembg.sessions"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    done = obic("mask", "photo.png", "-o", "-", "--segmenter", "rembg:u2net")
    assert (done.code, done.out) == (2, b"")
    assert "pip install 'obic[rembg]'" in done.err


def test_voc_names_are_the_default():
    assert Checked("mine", lambda rgb: None).class_names == CLASS_NAMES
