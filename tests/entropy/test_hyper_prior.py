"""The prior of z: its passes, its means, and how it is fitted."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from obic.entropy import HyperPrior
from obic.entropy.hyper_prior import pass_places
from obic.nn.hyper_networks import HyperGaussian, index_to_scale
from obic.shape import Shape, quality_to_level
from obic.train.codec.fit_hyper_prior import HyperLatent, _cheapest_rows, _regression

ROWS, OFFSET = np.full((4, 100, 2), 9), np.tile([3, -1], (100, 1))
LEFT, RIGHT = 3, 5  # places of the neighbours beside, in raster order over 3x3


def prior(**changes):
    arrays = {"table_rows": ROWS, "offset": OFFSET, "weight": np.zeros((3, 2, 18), int), "shift": 4}
    return HyperPrior(**arrays | changes)


@settings(deadline=None, max_examples=50)
@given(height=st.integers(0, 9), width=st.integers(0, 9), seed=st.integers(0, 99))
def test_every_position_is_in_one_pass(height, width, seed):
    touched = np.random.default_rng(seed).random((height, width)) < 0.6
    seen = np.zeros((height, width), int)
    for number in range(4):
        rows, columns = pass_places(touched, number)
        seen[rows, columns] += 1
    assert np.array_equal(seen, touched)


def test_a_mean_is_the_offset_and_what_known_neighbours_add():
    weight = np.zeros((3, 2, 18), int)
    weight[:, 1, [LEFT, RIGHT]] = 8, 8  # channel 1: half of what channel 0 has on either side
    z = np.zeros((2, 1, 3), int)
    z[0] = 13, 0, 200  # 10 and 197, clipped to 127, from the offset
    (first, known, _), _, (third, mean, rows), _ = prior(weight=weight).passes(z, np.ones((1, 3), bool), 50)
    assert known.tolist() == [[3, 3], [-1, -1]] and first[1].tolist() == [0, 2]
    assert third[1].tolist() == [1]
    assert mean.tolist() == [[3], [-1 + (10 + 127 + 1) // 2]] and rows.tolist() == [9, 9]


def test_what_is_not_there_adds_nothing():
    weight = np.full((3, 2, 18), 16)
    touched = np.array([[False, True, False]])
    z = np.full((2, 1, 3), 100)
    assert [mean.ravel().tolist() for _, mean, _ in prior(weight=weight).passes(z, touched, 1)] == [[], [], [3, -1], []]


def test_channels_that_are_not_coded_hold_their_means():
    rows = ROWS.copy()
    rows[1:, :, 1] = 0
    weight = np.zeros((3, 2, 18), int)
    weight[:, 1, :9] = 16  # channel 1: the sum of what channel 0 has around
    one = prior(table_rows=rows, weight=weight)
    z = np.random.default_rng(0).integers(-5, 9, (2, 4, 5)).astype(np.int32)
    touched = np.random.default_rng(1).random((4, 5)) < 0.8
    codable = one.codable(z, touched, 7)
    assert not codable[:, ~touched].any() and np.array_equal(codable[0, touched], z[0, touched])
    for places, mean, rows in one.passes(codable, touched, 7):
        assert np.array_equal(codable[1][places], mean[1] if rows[1] == 0 else z[1][places])
    assert np.array_equal(one.codable(codable, touched, 7), codable)


@pytest.mark.parametrize("quality", [1, 60, 100])
def test_training_believes_what_the_integers_say(quality):
    draw = np.random.default_rng(quality)
    rows = np.repeat(draw.integers(1, 64, (4, 1, 2)), 100, 1)
    integers = prior(table_rows=rows, weight=draw.integers(-9, 9, (3, 2, 18)))
    touched = draw.random((6, 5)) < 0.8
    z = draw.integers(-7, 9, (2, 6, 5)) * touched

    floats = HyperGaussian(Shape(hyper=2))
    floats.start()
    floats.offset.data += torch.tensor(OFFSET[0])
    floats.log_scale.data += index_to_scale(torch.tensor(rows[:, :1])).log()
    floats.weight += torch.tensor(integers.weight) / 2**integers.shift
    level = quality_to_level(torch.tensor([float(quality)]), 8)
    mean, rows = floats(torch.tensor(z[None]).float(), torch.tensor(touched[None, None]).float(), level)
    for places, expected, row in integers.passes(z, touched, quality):
        found = mean[0].detach().numpy()[:, *places]
        assert (found == found.round()).all() and np.abs(found - expected).max(initial=0) <= 1  # halves are rounded up
        assert found.size == 0 or (found == expected).mean() > 0.8
        assert np.allclose(rows[0].detach().numpy()[:, *places], row[:, None], atol=1e-3)


@pytest.mark.parametrize("changes", [
    {"table_rows": ROWS[:3]},
    {"table_rows": ROWS[0]},
    {"table_rows": ROWS + 60},
    {"offset": OFFSET[:99]},
    {"offset": OFFSET + 125},
    {"weight": np.zeros((3, 2, 9), int)},
    {"weight": np.zeros((3, 2, 18))},
    {"weight": np.full((3, 2, 18), 10000)},
    {"weight": None},
    {"shift": 0},
    {"shift": 31},
])  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(changes):
    with pytest.raises(ValueError, match="hyper prior"):
        prior(**changes)


def test_the_regression_finds_what_neighbours_tell():
    """Smooth maps: the mean of the four corners, or of the two or four beside, is a better guess
    than the offset."""
    random = np.random.default_rng(0)
    latents = []
    for _ in range(60):
        corners = random.normal(0, 6, (2, 5, 5))
        fine = np.kron(corners, np.ones((2, 2)))
        smooth = (fine + np.roll(fine, 1, 1) + np.roll(fine, 1, 2) + np.roll(fine, (1, 1), (1, 2)))[:, 1:, 1:] / 4
        z = np.rint(smooth + OFFSET[0][:, None, None]).astype(np.int32)
        latents.append(HyperLatent(50, z, np.ones(z.shape[1:], bool)))
    weight = np.rint(_regression(latents, OFFSET) * 16).astype(int)
    plain, fitted = prior(), prior(weight=weight)
    anchor = 3  # near quality 50
    before, after = (_cheapest_rows(latents, each)[:, anchor] for each in (plain, fitted))
    assert np.array_equal(before[0], after[0]) and (after[1:] < before[1:] - 5).all()
