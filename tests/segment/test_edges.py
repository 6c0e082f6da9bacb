"""The edge of an object, refined by colour."""

import numpy as np
import pytest

from obic.segment import edges
from obic.segment.edges import box_mean, refined
from obic.segment.labels import resized


def scene(height=240, width=320):
    """A blue disc on a yellow ground, both with noise: the picture, and the disc, bool [H, W]."""
    y, x = np.mgrid[:height, :width]
    disc = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (0.3 * height) ** 2
    colours = np.where(disc[..., None], (60, 80, 160), (170, 160, 90))
    noise = np.random.default_rng(0).normal(0, 12, colours.shape)
    return np.clip(colours + noise, 0, 255).astype(np.uint8), disc


def coarse(disc, places=16):
    """Logits as a network has them: of a map with so many places on the short side, a little
    off."""
    height, width = disc.shape
    return resized(np.roll(disc, 3, 1) * np.float32(8) - 4, places, places * width // height)


def iou(found, true):
    return (found & true).sum() / (found | true).sum()


def test_the_edge_follows_the_colours():
    rgb, disc = scene()
    logits = coarse(disc)
    assert iou(resized(logits, *disc.shape) > 0, disc) < 0.96
    assert iou(refined(logits, rgb, 0.0), disc) > 0.985


def test_without_contrast_it_stays_where_the_network_has_it():
    _, disc = scene()
    logits = coarse(disc)
    grey = np.full((*disc.shape, 3), 128, np.uint8)
    assert iou(refined(logits, grey, 0.0), resized(logits, *disc.shape) > 0) > 0.97


def test_the_threshold_shifts_the_logits():
    rgb, disc = scene()
    logits = coarse(disc)
    assert np.array_equal(refined(logits, rgb, 0.0), refined(logits + 5, rgb, 5.0))


def test_nothing_stays_nothing_and_everything_everything():
    rgb, _ = scene()
    for value in (-1, 1):
        assert (refined(np.full((9, 9), value, np.float32), rgb, 0.0) == (value > 0)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3), (37, 501)])
def test_pictures_of_any_size(size):
    random = np.random.default_rng(1)
    rgb = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    logits = random.normal(0, 3, (4, 6)).astype(np.float32)
    found = refined(logits, rgb, 0.0)
    assert found.shape == size and found.dtype == bool


def test_strips_have_no_seams(monkeypatch):
    rgb, disc = scene()
    logits = coarse(disc)
    at_once = refined(logits, rgb, 0.0)
    monkeypatch.setattr(edges, "PIXELS", 320 * 7)
    assert np.array_equal(refined(logits, rgb, 0.0), at_once)


def test_colours_of_no_variance_are_no_fault():
    _, disc = scene()
    flat = np.where(disc[..., None], np.uint8((0, 0, 0)), np.uint8((255, 255, 255))).astype(np.uint8)
    with np.errstate(all="raise", under="ignore"):
        found = refined(coarse(disc), flat, 0.0)
    assert iou(found, disc) > 0.98


def test_the_mean_over_squares():
    values = np.random.default_rng(0).random((9, 13)).astype(np.float32)
    expected = [[values[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].mean() for x in range(13)] for y in range(9)]
    np.testing.assert_allclose(box_mean(values, 2), expected, rtol=1e-5)


def test_the_normal_densities_are_normal():
    random = np.random.default_rng(0)
    mixing = np.float32([[1, 0.2, 0], [0, 1, 0.5], [0.3, 0, 1]])
    colours = (0.1 * random.normal(size=(40, 50, 3))).astype(np.float32) @ mixing
    sums = np.stack(list(edges._terms(colours))).mean((1, 2))[:, None, None]
    coefficients = edges._log_likelihood(sums, 1e-3)
    x = random.normal(0, 0.2, (5, 7, 3)).astype(np.float32)
    ours = sum(plane * term for plane, term in zip(coefficients, edges._terms(x), strict=True))
    flat = colours.reshape(-1, 3).astype(float)
    covariance = np.cov(flat.T, bias=True) + 1e-3 * np.eye(3)
    off = x - flat.mean(0)
    distance = np.einsum("hwi,ij,hwj->hw", off, np.linalg.inv(covariance), off)
    np.testing.assert_allclose(ours, -(distance + np.linalg.slogdet(covariance)[1]) / 2, rtol=1e-3, atol=1e-3)
