"""The codec as functions: round trips, layers apart, damage."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obic import codec, inference
from obic.container import mux, open_container
from obic.errors import ChecksumError, FormatError, UnsupportedError, UsageError
from obic.masks import decode_label_map, grid_labels
from shared.pictures import disc, picture
from shared.places import GOLDEN


@pytest.fixture(scope="module")
def two_layers(tiny_encoder) -> bytes:
    return codec.encode_picture(picture(90, 120), disc(90, 120), 2, qualities=(40, 90), model=tiny_encoder)


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    n_layers=st.integers(1, 5),
    quality=st.integers(1, 100),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_size_any_layers(tiny_encoder, height, width, n_layers, quality, seed):
    labels = np.random.default_rng(seed).integers(0, n_layers, (height, width)).astype(np.uint8)
    labels = None if n_layers == 1 else labels
    qualities = [1 + (quality + 31 * index) % 100 for index in range(n_layers)]
    data = codec.encode_picture(picture(height, width), labels, n_layers, qualities=qualities, model=tiny_encoder)
    container = open_container(data)
    decoded = codec.decode_picture(container, tiny_encoder)
    assert decoded.rgb.shape == (height, width, 3) and decoded.rgb.dtype == np.uint8
    assert decoded.alpha is None and decoded.missing == ()
    cells = decode_label_map(container.header.mask, -(-height // 16), -(-width // 16), n_layers)
    assert labels is None or np.array_equal(cells, grid_labels(labels, n_layers))


def test_decodes_what_was_encoded(tiny_encoder, monkeypatch):
    """The integers that leave the network are those that come out of the file."""
    sent = []
    original = inference.encode_cells
    monkeypatch.setattr(inference, "encode_cells", lambda *args: sent.append(original(*args)) or sent[-1])
    data = codec.encode_picture(picture(70, 100), disc(70, 100), 2, qualities=(60, 100), model=tiny_encoder)
    for index, (z, residual) in enumerate(sent):
        received = codec.decode_symbols(open_container(data), index, tiny_encoder)
        assert np.array_equal(received[0], z) and np.array_equal(received[1], residual)
        assert residual.any()


def test_more_quality_more_bytes_less_error(tiny_encoder):
    original = picture(128, 128)
    sizes, errors = [], []
    for quality in (1, 30, 60, 100):
        data = codec.encode_picture(original, None, 1, qualities=(quality,), model=tiny_encoder)
        decoded = codec.decode_picture(open_container(data), tiny_encoder).rgb
        sizes.append(len(data))
        errors.append(np.square(decoded.astype(float) - original).mean())
    assert sizes == sorted(sizes) and len(set(sizes)) == 4
    assert errors[-1] < errors[0]


def test_a_layer_is_coded_as_if_alone(two_layers, tiny_encoder):
    """Extraction by byte copy: same symbols, and pixels where the other layer is not near."""
    alone = open_container(open_container(two_layers).subset([1]))
    for whole, part in zip(
        codec.decode_symbols(open_container(two_layers), 1, tiny_encoder),
        codec.decode_symbols(alone, 1, tiny_encoder),
        strict=True,
    ):
        assert np.array_equal(whole, part)
    decoded = codec.decode_picture(alone, tiny_encoder)
    assert decoded.missing == (0,)
    assert decoded.alpha[45, 60] == 255 and decoded.alpha[2, 2] == 0
    rgba = codec.extract_picture(open_container(two_layers), 1, tiny_encoder)
    assert np.array_equal(rgba, np.dstack([decoded.rgb, decoded.alpha]))


def test_the_other_layer_cannot_change_a_layer(tiny_encoder):
    """Feature-domain masking: with other pixels outside the object's reach, its symbols stay the
    same."""
    labels = np.zeros((400, 160), np.uint8)
    labels[:48] = 1
    first = picture(400, 160)
    second = first.copy()
    second[350:] = 255 - second[350:]  # beyond the analysis transform's field of view from the object
    files = [
        codec.encode_picture(rgb, labels, 2, qualities=(50, 80), model=tiny_encoder) for rgb in (first, second)
    ]
    layers = [[open_container(data).read_layer(index) for index in (0, 1)] for data in files]
    assert layers[0][1] == layers[1][1] and layers[0][0] != layers[1][0]


def test_damage_in_one_layer_leaves_the_other(two_layers, tiny_encoder):
    container = open_container(two_layers)
    damaged = bytearray(two_layers)
    damaged[two_layers.index(container.read_layer(1)) + 3] ^= 0xFF
    with pytest.raises(ChecksumError):
        codec.decode_picture(open_container(bytes(damaged)), tiny_encoder)
    decoded = codec.decode_picture(open_container(bytes(damaged)), tiny_encoder, damaged="skip")
    assert decoded.missing == (1,) and decoded.alpha[45, 60] == 0 and decoded.alpha[2, 2] == 255


def test_a_truncated_file_shows_the_object(two_layers, tiny_encoder):
    decoded = codec.decode_picture(open_container(two_layers[:-5]), tiny_encoder, damaged="skip")
    assert decoded.missing == (0,)
    with pytest.raises(FormatError):
        start = len(two_layers) - sum(open_container(two_layers).layer_bytes(index) for index in (0, 1))
        codec.decode_picture(open_container(two_layers[:start]), tiny_encoder, damaged="skip")


def test_another_model_is_refused_before_decoding(tiny_encoder, monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    other = mux(width=90, height=90, model=1, mask=None, qualities=(50,), streams={0: b"x"})
    with pytest.raises(UnsupportedError, match="00000001"):
        codec.decode_picture(open_container(other), tiny_encoder)
    with pytest.raises(UnsupportedError, match="00000001"):
        codec.load_model("cpu", fingerprint=1)


@pytest.mark.parametrize(
    ("rgb", "labels", "n_layers", "qualities"),
    [
        (np.zeros((4, 4), np.uint8), None, 1, (50,)),
        (np.zeros((4, 4, 3), np.float32), None, 1, (50,)),
        (np.zeros((0, 4, 3), np.uint8), None, 1, (50,)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8), 2, (50, 50)),
        (np.zeros((4, 4, 3), np.uint8), None, 2, (50, 50)),
        (np.zeros((4, 4, 3), np.uint8), None, 1, (0,)),
        (np.zeros((4, 4, 3), np.uint8), None, 1, (50, 50)),
        (np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 7, np.uint8), 2, (50, 50)),
    ],
)
def test_arguments_that_do_not_fit(tiny_encoder, rgb, labels, n_layers, qualities):
    with pytest.raises(UsageError):
        codec.encode_picture(rgb, labels, n_layers, qualities=qualities, model=tiny_encoder)


def test_a_model_that_can_only_decode_is_refused(tiny_encoder):
    with pytest.raises(UsageError, match="encoder=True"):
        codec.PictureEncoder(np.zeros((4, 4, 3), np.uint8), None, 1, model=replace(tiny_encoder, log_gain=None))
