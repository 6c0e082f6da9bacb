"""`--segmenter onnx:FILE`: outputs of every form, from tiny files made here."""

import numpy as np
import pytest
from PIL import Image

from shared.onnx_file import INT64, UINT8, network

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'obic[onnx]'")

from obic.errors import UsageError
from obic.segment.adapters import resolve

COLOURS = {"dark": (0, 0, 100), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


@pytest.fixture
def stripes():
    """A picture of four stripes, 12 pixels each: dark blue, red, green, blue."""
    return np.repeat(np.uint8([list(COLOURS.values())]), 12, axis=1).repeat(40, axis=0)


def mixing(outputs, **shapes):
    """A 1x1 convolution without bias: rows of weights of red, green and blue."""
    weight = ((len(outputs), 3, 1, 1), np.float32(outputs).tobytes())
    shape_in, shape_out = shapes.get("shape_in", (1, 3, 20, 24)), (1, len(outputs), "h", "w")
    return network("Conv", shape_in, shape_out, weight=weight)


@pytest.fixture
def segment(tmp_path):
    """segment(model, query, picture) -> the label of each stripe."""

    def run(model, query, picture):
        (tmp_path / "net.onnx").write_bytes(model)
        labels = resolve(f"onnx:{tmp_path}/net.onnx?{query}")(picture)
        assert labels.shape == picture.shape[:2]
        return labels[20, 6::12].tolist()

    return run


def test_one_channel_is_an_object_of_no_class(segment, stripes):
    assert segment(mixing([[1, 0, 0.6]]), "", stripes) == [0, 254, 0, 254]
    assert segment(mixing([[1, 0, 0.6]]), "threshold=0.7", stripes) == [0, 254, 0, 0]


def test_logits_and_values_of_any_range(segment, stripes):
    model = mixing([[8, -9, 1]])
    assert segment(model, "values=logit", stripes) == [254, 254, 0, 254]
    assert segment(model, "values=logit&threshold=0.9", stripes) == [0, 254, 0, 0]
    assert segment(model, "values=minmax", stripes) == [254, 254, 0, 254]
    with pytest.raises(UsageError, match=r"net\.onnx.*values=logit"):
        segment(model, "", stripes)


def test_the_order_and_the_statistics_of_colours(segment, stripes):
    assert segment(mixing([[1, 0, 0]]), "order=bgr", stripes) == [0, 0, 0, 254]
    assert segment(mixing([[1, 0, 0]]), "mean=0.4,0,0&std=2,1,1&values=logit&threshold=0.6", stripes) == [0, 0, 0, 0]
    assert segment(mixing([[1, 0, 0]]), "mean=0.4,0,0&std=1&values=logit&threshold=0.6", stripes) == [0, 254, 0, 0]


def test_two_channels_are_background_and_object(segment, stripes):
    assert segment(mixing([[0, 1, 0.2], [1, 0, 0]]), "", stripes) == [0, 254, 0, 0]


def test_twenty_one_channels_are_vocs(segment, stripes):
    rows = np.zeros((21, 3))
    rows[0], rows[12], rows[15] = (0, 0, 1), (1, 0, 0), (0, 1, 0)
    assert segment(mixing(rows), "", stripes) == [0, 12, 15, 0]


def test_other_numbers_of_channels_need_names(segment, stripes, tmp_path):
    model = mixing([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    with pytest.raises(UsageError, match=r"3 classes.*labels=FILE"):
        segment(model, "", stripes)
    (tmp_path / "names.txt").write_text("nothing\nleaf\nstone\n")
    assert segment(model, f"labels={tmp_path}/names.txt", stripes) == [0, 1, 2, 0]
    assert resolve(f"onnx:{tmp_path}/net.onnx?labels={tmp_path}/names.txt").class_names == ("nothing", "leaf", "stone")


def test_integers_are_labels(segment, stripes):
    model = network("ArgMax", (1, 3, 20, 24), (1, 1, 20, 24), type_out=INT64, attributes=[("axis", 1)])
    assert segment(model, "", stripes) == [2, 0, 1, 2]


def test_channels_last_and_bytes(segment, stripes):
    last = network("Identity", (1, 40, 48, 3), (1, 40, 48, 3))
    with pytest.raises(UsageError, match="3 classes"):
        segment(last, "", stripes)
    model = network("ReduceMax", (1, 20, 24, 3), (1, 20, 24), type_in=UINT8, type_out=UINT8,
                    attributes=[("axes", [3]), ("keepdims", 0)])  # fmt: skip
    grey = np.full((40, 48, 3), 7, np.uint8)
    assert segment(model, "", grey) == [7, 7, 7, 7]


def test_a_network_of_any_size_is_told_one(segment, stripes):
    model = mixing([[1, 0, 0]], shape_in=(1, 3, "h", "w"))
    with pytest.raises(UsageError, match="size=512"):
        segment(model, "", stripes)
    for size in ("16", "24x8"):
        assert segment(model, f"size={size}", stripes) == [0, 254, 0, 0]


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (37, 2)])
def test_pictures_of_any_size(tmp_path, size):
    (tmp_path / "net.onnx").write_bytes(mixing([[1, 0, 0]]))
    labels = resolve(f"onnx:{tmp_path}/net.onnx")(np.full((*size, 3), 255, np.uint8))
    assert labels.shape == size and (labels == 254).all()


QUERIES = ["size=0", "size=x", "mean=1,2", "std=a", "threshold=1", "order=gbr", "values=", "x=1"]


@pytest.mark.parametrize("query", QUERIES)
def test_options_that_are_none(obic, stripes, query):
    Image.fromarray(stripes).save("photo.png")
    with open("net.onnx", "wb") as file:
        file.write(mixing([[1, 0, 0]]))
    done = obic("mask", "photo.png", "--segmenter", f"onnx:net.onnx?{query}")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert query.split("=")[0] in done.err


@pytest.mark.parametrize("data, code", [(None, 2), (b"no network", 1), (network("Identity", (1, 9), (1, 9)), 2)])
def test_files_that_are_no_network_for_pictures(obic, stripes, data, code):
    Image.fromarray(stripes).save("photo.png")
    if data:
        with open("net.onnx", "wb") as file:
            file.write(data)
    done = obic("mask", "photo.png", "--segmenter", "onnx:net.onnx")
    assert (done.code, done.err.count("\n")) == (code, 1)
    assert "net.onnx" in done.err


def test_from_the_command_line(obic, stripes):
    Image.fromarray(stripes).save("photo.png")
    with open("net.onnx", "wb") as file:
        file.write(mixing([[1, 0, 0]]))
    assert obic("mask", "photo.png", "--segmenter", "onnx:net.onnx").code == 0
    assert np.asarray(Image.open("photo-mask.png"))[20, 6::12].tolist() == [0, 255, 0, 0]
