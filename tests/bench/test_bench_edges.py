"""The benchmark of edges: its band, and its figures on pictures whose answer is known."""

import re

import numpy as np

from obic.bench.segmenter.mask_edges import BAND, VOID_LINE, Seen, alpha_bytes, band, measure
from obic.masks import VOID
from obic.segment.edges import CHOSEN
from obic.segment.labels import resized


def seen():
    """A dark square on a light ground with a line of void round it, and a network that is three
    pixels off."""
    truth = np.zeros((120, 160), np.uint8)
    truth[27:93, 47:113] = VOID
    truth[30:90, 50:110] = 7
    rgb = np.where((truth > 0)[..., None], np.uint8(60), np.uint8(190)).repeat(3, 2)
    rgb += np.random.default_rng(0).integers(0, 20, rgb.shape, dtype=np.uint8)
    logits = resized(np.roll(truth == 7, 3, 1) * np.float32(8) - 4, 15, 20)
    return Seen(rgb, truth, logits)


def test_the_band_lies_on_both_sides_of_the_edge_without_void():
    found = band(seen().truth)
    inside = np.flatnonzero(found[60])
    assert not found[seen().truth == VOID].any()
    left, right = 50, 47  # the first of the object, and behind the last of the background
    reach = BAND + VOID_LINE - (left - right)
    assert inside.min() == right - reach and found[60, left : left + reach].all() and not found[60, left + reach]
    assert not band(np.zeros((9, 9), np.uint8)).any()


def test_a_refined_edge_is_the_better_one():
    whole, edge, _ = measure([seen()], 0.0, None)
    refined, refined_edge, seconds = measure([seen()], 0.0, CHOSEN)
    assert edge < whole < refined and edge + 0.1 < refined_edge <= 1 and seconds > 0


def test_bytes_of_alphas():
    hard, _, fine, _, coarse = map(int, re.findall(r"\d+", alpha_bytes([seen()], 0.0)))
    assert 0 < hard < coarse < fine
