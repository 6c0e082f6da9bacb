"""Masks without crumbs and holes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from obic.segment.builtin import foreground
from obic.segment.whole import whole, whole_mask

SIDE = 40  # of a map: 1 cell is 1/1600


def drawn(*boxes):
    """Logits of -2, and in boxes (top, left, height, width, logit) another."""
    logits = np.full((SIDE, SIDE), -2, np.float32)
    for top, left, height, width, logit in boxes:
        logits[top : top + height, left : left + width] = logit
    return logits


def test_crumbs_go_and_the_largest_piece_stays():
    kept = whole(drawn((5, 5, 4, 4, 3), (20, 20, 4, 4, 1), (30, 5, 1, 2, 3)), 0.0, crumb=0.005)
    assert np.array_equal(kept > 0, drawn((5, 5, 4, 4, 3), (20, 20, 4, 4, 1)) > 0)
    assert kept[30, 5] == -3  # as sure as it was, of the opposite
    small = drawn((5, 5, 3, 3, 3))
    assert np.array_equal(whole(small, 0.0, crumb=0.5), small)  # there is no larger one


def test_holes_are_filled_and_bays_are_not():
    ring = drawn((10, 10, 12, 12, 3), (14, 14, 2, 2, -1), (10, 20, 1, 1, -1))
    filled = whole(ring, 0.0, hole=0.005)
    assert (filled[14:16, 14:16] == 1).all() and filled[10, 20] == -1
    assert (whole(ring, 0.0, hole=0.001)[14:16, 14:16] == -1).all()
    corner = drawn((0, 0, 6, 6, 3), (0, 0, 1, 1, -1))
    assert whole(corner, 0.0, hole=0.005)[0, 0] == -1


def test_next_to_nothing_is_nothing():
    scattered = drawn((0, 0, 1, 2, 0.5), (9, 9, 2, 2, 0.9))
    assert not (whole(scattered, 0.0, least=0.005) > 0).any()
    assert (whole(scattered, 0.0, least=0.002) > 0).any()


def test_a_small_object_that_is_sure_stays():
    bird = drawn((0, 0, 1, 1, 0.5), (9, 9, 2, 2, 5))
    assert np.array_equal(whole(bird, 0.0, least=0.005) > 0, drawn((9, 9, 2, 2, 5)) > 0)


@given(arrays(np.float32, st.tuples(st.integers(2, 12), st.integers(2, 12)), elements=st.floats(-9, 9, width=16)),
       st.sampled_from([-0.75, 0.0, 0.5]))
def test_what_changes_sides_is_only_reflected(logits, threshold):
    changed = whole(logits, threshold, least=0.02, crumb=0.04, hole=0.04)
    assert changed.shape == logits.shape and changed.dtype == np.float32
    same = changed == logits
    assert np.allclose(changed[~same], 2 * threshold - logits[~same], atol=1e-5)
    assert ((changed[~same] > threshold) | (logits[~same] > threshold)).all()


def test_enlarged_masks_show_no_trace_of_what_went():
    logits = np.full((24, 36, 21), -2, np.float32)
    logits[4:12, 4:12, 0], logits[20, 30, 0] = 3, 3
    mask = foreground(logits, 0.0, 300, 450)
    assert mask[60:140, 60:140].all() and not mask[200:].any()


def logits(mask):
    """What a network has to say of a mask: at a fifth of the size."""
    return np.where(mask[::5, ::5], np.float32(3), np.float32(-3))


def test_refining_does_not_decide_anew_whether_there_is_an_object():
    small = np.zeros((400, 400), bool)
    small[100:116, 100:116] = True  # 0.16 % of the picture
    assert whole_mask(small, drawn((10, 10, 2, 2, 5)))[102:114, 102:114].all()


@pytest.mark.parametrize("scale", [1, 9])
def test_a_mask_of_pixels_without_crumbs_and_holes(scale):
    mask = np.zeros((120, 160), bool)
    mask[20:80, 30:90] = True
    expected = mask.repeat(scale, 0).repeat(scale, 1)
    mask[40:43, 50:53] = False
    mask[100:104, 130:134] = True
    mask[5, 5] = True
    found = mask.repeat(scale, 0).repeat(scale, 1)
    assert np.array_equal(whole_mask(found, logits(found)), expected)


def test_large_pieces_and_holes_stay_only_where_the_network_has_them():
    mask = np.zeros((120, 160), bool)
    mask[20:80, 30:90] = True
    more = mask.copy()
    more[40:60, 50:70] = False
    more[90:115, 120:150] = True
    assert np.array_equal(whole_mask(more, logits(mask)), mask)
    assert np.array_equal(whole_mask(more, logits(more)), more)


def test_the_edge_of_a_mask_stays_as_it_is():
    y, x = np.mgrid[:700, :900]
    mask = (y - 350) ** 2 + (x - 450) ** 2 < 200**2
    mask ^= (np.random.default_rng(0).random(mask.shape) < 0.3) & (abs(np.hypot(y - 350, x - 450) - 200) < 2)
    assert (whole_mask(mask, logits(mask)) == mask).mean() > 0.9999
