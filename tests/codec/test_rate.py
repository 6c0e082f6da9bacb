"""Qualities from a size: the search alone, on made-up sizes, and with the codec."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obic import inference
from obic.codec import PictureEncoder
from obic.container import open_container
from obic.errors import ObicError, UsageError
from obic.rate import OBJECT_BOOST, Rate, bytes_of, largest_within, layer_qualities


def test_qualities_of_layers():
    assert layer_qualities(50, 1) == (50,)
    assert layer_qualities(50, 3) == (50 - OBJECT_BOOST, 50 + OBJECT_BOOST, 50 + OBJECT_BOOST)
    assert layer_qualities(50, 2, object_boost=0) == (50, 50)
    assert layer_qualities(50, 2, object_boost=-20) == (70, 30)
    assert layer_qualities(95, 2, object_boost=10) == (85, 100)
    assert layer_qualities(50, 2, 80, 7) == (7, 80)
    assert layer_qualities(50, 1, 80) == layer_qualities(50, 1, None, 80) == (80,)


@settings(deadline=None, max_examples=300)
@given(
    max_bytes=st.integers(1, 40_000),
    n_layers=st.integers(1, 4),
    boost=st.integers(-50, 50),
    waver=st.sampled_from([0, 0.01]),
    seed=st.integers(0, 999),
)
def test_the_search(max_bytes, n_layers, boost, waver, seed):
    """From below, and no more than one step from the size asked for, whatever single sizes do."""
    random = np.random.default_rng(seed)
    sizes = 20 * 1.06 ** np.arange(100) * (1 + waver * random.uniform(-1, 1, (n_layers, 100)))
    asked = set()

    def size(qualities):
        asked.add(qualities)
        return int(sum(row[quality - 1] for row, quality in zip(sizes, qualities, strict=True)))

    found = Rate(object_boost=boost, size=max_bytes).qualities(n_layers, 1, size)
    assert len(asked) <= 13 + n_layers
    if size(found) > max_bytes:
        assert max_bytes < size((1,) * n_layers)
        assert max(found) <= 3
    elif set(found) != {100}:
        assert size(tuple(min(quality + 1, 100) for quality in found)) * (1 + 2 * waver) > max_bytes
        if n_layers > 1 and 0 < max(found) < 100 - abs(boost) and min(found) > 1 + abs(boost):
            assert abs(found[1] - found[0] - 2 * boost) <= 1


@pytest.mark.parametrize("edge", [1, 2, 37, 50, 99, 100])
def test_sizes_of_another_shape_are_found_too(edge):
    """Nearly level, then a cliff: a search that only interpolates would walk it step by step."""
    asked = set()

    def size(qualities):
        asked.add(qualities)
        return qualities[0] + (1e9 if qualities[0] > edge else 0)

    assert largest_within(1e6, [(quality,) for quality in range(1, 101)], size) == (edge,)
    assert len(asked) <= 14


def test_single_layers_stand_a_step_higher_where_there_is_room():
    def size(qualities):
        return 10 * qualities[0] + 3 * qualities[1]

    steps = [(quality, quality) for quality in range(1, 101)]
    assert largest_within(13 * 40, steps, size) == (40, 40)
    assert largest_within(13 * 40 + 3, steps, size) == (40, 41)
    assert largest_within(13 * 40 + 12, steps, size) == (40, 41)


def test_fixed_qualities_stay():
    rate = Rate(object_quality=80, size=1000)
    assert rate.qualities(2, 1, lambda qualities: 10 * sum(qualities)) == (20, 80)
    assert Rate(background_quality=5, size=1000).qualities(3, 1, lambda qualities: 5 * sum(qualities)) == (5, 98, 97)
    assert Rate(object_quality=80, background_quality=5, size=1).qualities(2, 1, sum) == (5, 80)


@pytest.mark.parametrize("fixed", [{"object_quality": 80}, {"background_quality": 5}])
def test_a_single_layer_meets_the_size_whatever_a_side_was_to_have(fixed):
    assert Rate(size=40, **fixed).qualities(1, 1, sum) == (40,)
    assert Rate(**fixed).qualities(1, 1, sum) == tuple(fixed.values())


def test_a_quality_needs_no_search():
    def never(qualities):
        raise AssertionError

    assert Rate(quality=30, object_boost=1).qualities(2, 1, never) == (29, 31)


def test_files_that_are_too_large():
    assert Rate(bpp=2).max_bytes(100) == 25 and Rate(bpp=0.001).max_bytes(100) == 1
    assert Rate(size=25).check(25, 100) is None and Rate(quality=5).check(10**9, 100) is None
    assert "26 bytes, more than the 25" in Rate(bpp=2).check(26, 100)
    with pytest.raises(ObicError, match="26 bytes"):
        Rate(size=25, strict=True).check(26, 100)


@pytest.mark.parametrize(
    "options",
    [{"quality": 5, "bpp": 1}, {"bpp": 1, "size": 10}, {"quality": 0}, {"object_quality": 101}, {"bpp": math.nan},
     {"background_quality": -1}, {"bpp": 0}, {"bpp": math.inf}, {"size": 0}, {"strict": True}],
)  # fmt: skip
def test_what_does_not_fit_together(options):
    with pytest.raises(UsageError):
        Rate(**options)


def test_sizes_in_words():
    assert [bytes_of(text) for text in ("1", "300", "10k", "1.5K", "2M")] == [1, 300, 10_000, 1500, 2_000_000]
    for text in ("", "k", "0", "-3", "ten", "1e999", "nan", "10G"):
        with pytest.raises(UsageError, match="10k"):
            bytes_of(text)


def test_a_picture_is_analysed_once(tiny_encoder, monkeypatch):
    calls = []

    def count(name):
        original = getattr(inference, name)
        monkeypatch.setattr(inference, name, lambda *arguments: calls.append(name) or original(*arguments))

    count("analyse_all")
    count("encode_cells")
    rgb = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    labels = np.zeros((96, 128), np.uint8)
    labels[20:70, 30:90] = 1
    picture = PictureEncoder(rgb, labels, 2, model=tiny_encoder)
    lowest, highest = picture.size((1, 1)), picture.size((100, 100))
    assert lowest < highest
    target = (lowest + highest) // 2
    qualities = Rate(size=target).qualities(2, 96 * 128, picture.size)
    assert picture.size(qualities) <= target < picture.size(tuple(quality + 1 for quality in qualities))
    assert calls.count("analyse_all") == 1
    seen = calls.count("encode_cells")
    data = picture.encode(qualities)
    assert calls.count("encode_cells") == seen, "a layer is coded once at each quality"
    assert [layer.quality for layer in open_container(data).header.layers] == list(qualities)
