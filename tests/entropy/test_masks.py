"""Label maps: to bytes and back, from pixels to cells, from cells to alpha."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obic.entropy import mask_coder
from obic.entropy.mask_contexts import ONE_IN_256
from obic.errors import FormatError, UsageError
from obic.masks import (
    alpha_from_cells,
    decode_label_map,
    encode_label_map,
    grid_labels,
    grid_size,
    join_parts,
    spread_cells,
)
from shared import oracle
from shared.pictures import discs


def blobs(height, width, n_layers, seed=0):
    return discs(height, width, n_layers, np.random.default_rng(seed))


def check(labels, n_layers):
    data = encode_label_map(labels, n_layers)
    again = decode_label_map(data, *labels.shape, n_layers)
    assert again.dtype == np.uint8
    assert np.array_equal(again, labels)
    return data


@settings(deadline=None, max_examples=80)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    n_layers=st.integers(2, 6),
    noise=st.sampled_from([0, 0.05, 1]),
    seed=st.integers(0, 1000),
)
def test_round_trip(height, width, n_layers, noise, seed):
    random = np.random.default_rng(seed)
    labels = blobs(height, width, n_layers, seed)
    wild = random.random(labels.shape) < noise
    labels[wild] = random.integers(0, n_layers, wild.sum())
    data = check(labels, n_layers)
    assert len(data) <= -(-height * width * (n_layers - 1).bit_length() // 8) + 2


@pytest.mark.parametrize("seed", range(8))
def test_oracle(seed):
    n_layers = 2 + seed % 4
    labels = [
        blobs(9, 13, n_layers, seed),
        np.random.default_rng(seed).integers(0, n_layers, (6, 5)).astype(np.uint8),
        np.full((7, 3), n_layers - 1, np.uint8),
        np.pad(np.full((2, 7), n_layers - 1, np.uint8), 30),
    ][seed // 2]
    data = encode_label_map(labels, n_layers)
    assert np.array_equal(oracle.label_map(data, *labels.shape, n_layers, ONE_IN_256), labels)


def test_one_layer_has_no_bytes():
    assert encode_label_map(np.zeros((3, 4), np.uint8), 1) is None
    assert decode_label_map(None, 3, 4, 1).tolist() == [[0] * 4] * 3


def test_the_shortest_mode_wins():
    assert len(check(np.zeros((32, 48), np.uint8), 2)) <= 2
    assert len(check(np.ones((32, 48), np.uint8), 2)) <= 2
    rectangle = np.zeros((60, 60), np.uint8)
    rectangle[7:50, 13:41] = 1
    assert len(check(rectangle, 2)) == 4
    noise = np.random.default_rng(0).integers(0, 2, (20, 20)).astype(np.uint8)
    assert len(check(noise, 2)) == 51
    assert len(check(blobs(20, 20, 2), 2)) < 12


def test_every_label_up_to_254():
    labels = (np.arange(256) % 255).astype(np.uint8).reshape(16, 16)
    check(labels, 255)


def test_coded_planes_have_a_bound(monkeypatch):
    monkeypatch.setattr(mask_coder, "MAX_PLANE_CELLS", 20 * 20 * 3)
    labels = blobs(20, 20, 4)
    coded = check(labels, 4)
    five = blobs(20, 20, 4)
    assert len(check(five, 5)) > 2 * len(coded), "above the bound the raw mode is left"
    monkeypatch.setattr(mask_coder, "MAX_PLANE_CELLS", 20 * 20 * 3 - 1)
    with pytest.raises(FormatError, match="too large"):
        decode_label_map(coded, 20, 20, 4)


@pytest.mark.parametrize("n_layers", [2, 5])
def test_damage_is_an_error_or_another_valid_map(n_layers):
    data = encode_label_map(blobs(12, 14, n_layers, 1), n_layers)
    wrong = [data[:length] for length in range(len(data))] + [data + b"\0", data + b"\1", data * 2]
    for position in range(len(data)):
        wrong += [data[:position] + bytes([byte]) + data[position + 1 :] for byte in range(0, 256, 3)]
    noticed = 0
    for damaged in wrong:
        try:
            labels = decode_label_map(damaged, 12, 14, n_layers)
        except FormatError:
            noticed += 1
        else:
            assert labels.max() < n_layers
    assert noticed > len(wrong) // 3


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=12), n_layers=st.integers(2, 255), height=st.integers(1, 6), width=st.integers(1, 6))
def test_any_bytes_give_a_map_or_a_format_error(data, n_layers, height, width):
    try:
        labels = decode_label_map(data, height, width, n_layers)
    except FormatError:
        return
    assert labels.shape == (height, width)
    assert labels.max() < n_layers


def test_two_layers_need_a_map():
    with pytest.raises(FormatError, match="missing"):
        decode_label_map(None, 2, 3, 2)


def test_a_label_without_a_layer_is_our_own_bug():
    with pytest.raises(ValueError, match="label 2"):
        encode_label_map(np.full((2, 2), 2, np.uint8), 2)


def test_grid_size():
    assert [grid_size(*size) for size in ((1, 1), (16, 17), (512, 768))] == [(1, 1), (1, 2), (32, 48)]


def test_grid_labels_takes_a_quarter_of_the_real_pixels():
    pixels = np.zeros((16, 40), np.uint8)
    pixels[:8, 0:8] = 1  # 64 of 256
    pixels[:7, 16:25] = 1  # 63 of 256
    pixels[:4, 32:40] = 1  # 32 of the 128 that the picture has
    assert grid_labels(pixels, 2).tolist() == [[1, 0, 1]]
    assert grid_labels(np.ones((1, 1), np.uint8), 2).tolist() == [[1]]


def test_grid_labels_takes_the_largest_share():
    pixels = np.zeros((16, 48), np.uint8)
    pixels[:, :5], pixels[:, 5:11] = 1, 2
    pixels[:, 16:24], pixels[:, 24:32] = 2, 1
    pixels[:, 32:35], pixels[:, 35:38] = 1, 2  # 3/16 each: too little for either
    assert grid_labels(pixels, 3).tolist() == [[2, 1, 0]]


def test_void_is_background():
    assert not grid_labels(np.full((20, 20), 255, np.uint8), 2).any()
    with pytest.raises(UsageError, match="label 3"):
        grid_labels(np.full((20, 20), 3, np.uint8), 3)


def test_alpha_of_everything_and_nothing():
    labels = np.ones((3, 4), np.uint8)
    assert (alpha_from_cells(labels, 1, 41, 60) == 255).all()
    assert (alpha_from_cells(labels, 0, 41, 60) == 0).all()
    assert alpha_from_cells(labels, 1, 41, 60).shape == (41, 60)
    assert alpha_from_cells(np.zeros((1, 1), np.uint8), 0, 1, 1).tolist() == [[255]]


def test_alpha_is_a_smooth_edge_that_adds_up():
    labels = np.array([[0, 0, 1, 1]], np.uint8)
    alpha = alpha_from_cells(labels, 1, 16, 64)
    row = alpha[0].astype(int)
    assert (alpha == alpha[0]).all()
    assert (np.diff(row) >= 0).all()
    assert (row[:24] == 0).all()
    assert (row[40:] == 255).all()
    assert row[31] + row[32] == 255
    assert np.diff(row).max() <= 25
    other = alpha_from_cells(labels, 0, 16, 64).astype(int)
    assert (abs(row + other - 255) <= 1).all()
    assert np.array_equal(alpha_from_cells(labels.T, 1, 64, 16), alpha.T)


def test_alpha_is_the_same_in_bands(monkeypatch):
    labels = np.random.default_rng(0).integers(0, 2, (5, 7), np.uint8)
    whole = alpha_from_cells(labels, 1, 75, 100)
    monkeypatch.setattr("obic.masks.BAND_PIXELS", 700)
    assert np.array_equal(alpha_from_cells(labels, 1, 75, 100), whole)


def test_objects_that_touch_have_no_seam():
    labels = np.zeros((96, 128), np.uint8)
    labels[10:90, 20:70] = 1
    labels[10:90, 70:110] = 2  # the border lies inside cells
    labels[30:40, 69:72] = 0  # a hole in the border, three pixels wide, is taken for a part of an object
    labels[60:70, 30:40] = 0  # one inside an object is not
    owner = spread_cells(grid_labels(labels, 3, coverage=0), 96, 128)
    part = (labels == owner) & (owner > 0)
    assert ((labels > 0) & ~part).any(), "there is a seam"
    expected = labels > 0
    expected[30:40, 69:72] = True
    assert np.array_equal(join_parts(part, owner), expected)
    alone = np.where(owner == 1, owner, 0)
    assert np.array_equal(join_parts(part & (alone > 0), alone), part & (alone > 0)), "one object is as it was"
