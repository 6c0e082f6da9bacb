"""Large pictures in tiles: nothing differs from the whole, and the networks are given what they see
and no more."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from obic import inference
from obic.entropy import LayerCoder, layer, scale_map
from obic.progress import listening, track
from obic.shape import Reach, Shape
from obic.tiles import tiles, times
from obic.train.codec.checkpoint import new_network
from shared.pictures import picture

WHOLE, SMALL = 10**9, 20  # the most cells of a tile
DEEP = Shape(
    fine=8, fine_blocks=2, coarse=8, coarse_blocks=3, latent=8, hyper=4, hyper_width=8, context=8, context_blocks=2
)


@pytest.fixture
def deep():
    """A network whose every part sees as far as its shape says: no block starts near zero."""
    torch.manual_seed(0)
    network = new_network(DEEP)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.requires_grad_(False).double()


@given(
    wanted=st.tuples(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 99)),
    distance=st.integers(0, 5),
    most=st.integers(1, 400),
)
def test_tiles_cover_what_is_wanted(wanted, distance, most):
    height, width, share, seed = wanted
    wanted = np.random.default_rng(seed).random((height, width)) < share
    covered = np.zeros((height, width), int)
    for inner, outer, crop in tiles(wanted, distance, most):
        covered[inner] += 1
        assert 0 < covered[inner].size <= max(4, most)
        for size, a, b, c in zip((height, width), inner, outer, crop, strict=True):
            assert b.start % 2 == 0 and 0 <= b.start <= max(0, a.start - distance)
            assert b.stop == min(size, a.stop + distance)
            assert (c.start + b.start, c.stop + b.start) == (a.start, a.stop)
    assert covered.max() <= 1 and (covered[wanted] == 1).all()


def test_a_small_picture_is_one_tile_and_an_object_a_small_one():
    cells = np.zeros((128, 256), bool)
    cells[50:60, 71:80] = True
    assert [tile.inner for tile in tiles(~cells, 2, 128 * 256)] == [np.s_[0:128, 0:256]]
    assert [tile.outer for tile in tiles(cells, 2, 128 * 256)] == [np.s_[48:62, 68:82]]
    assert times(np.s_[1:2, 3:5], 16) == np.s_[16:32, 48:80]


def test_the_longer_side_is_cut():
    cells = np.ones((188, 250), bool)
    assert [tile.inner for tile in tiles(cells, 7, 24_000)] == [np.s_[0:188, 0:126], np.s_[0:188, 126:250]]
    assert [tile.inner for tile in tiles(cells.T, 7, 24_000)] == [np.s_[0:126, 0:188], np.s_[126:250, 0:188]]


@pytest.mark.parametrize("part", ["analysis", "synthesis", "hyper_analysis", "hyper_synthesis"])
def test_reach_is_how_far_a_network_sees(deep, part):
    """Gradients of one place of the coarsest grid: none from beyond the reach, some from its
    edge."""
    network, distance = getattr(deep, part), getattr(DEEP.reach, part, DEEP.reach.transforms)
    places = 2 * distance + 3
    grain = {"analysis": 16, "hyper_analysis": 4}.get(part, 1)
    channels = {"analysis": [3], "synthesis": [8, 2], "hyper_analysis": [8, 2], "hyper_synthesis": [4]}[part]
    side = places * grain
    inputs = [torch.randn(1, count, side, side, dtype=torch.float64, requires_grad=True) for count in channels]
    result = network(*inputs)
    block = slice(places // 2 * result.shape[-1] // places, (places // 2 + 1) * result.shape[-1] // places)
    result[..., block, block].square().sum().backward()
    rows = inputs[0].grad.abs().sum((0, 1, 3)).reshape(places, grain).sum(1) > 0
    assert not rows[0] and rows[1:-1].all() and not rows[-1]


def test_reach_of_the_context(deep):
    side = 2 * DEEP.reach.context + 3
    decoded = torch.randn(1, 8, side, side, dtype=torch.float64, requires_grad=True)
    fixed = [torch.randn(1, count, side, side, dtype=torch.float64) for count in (4, 2)]
    mean, _ = deep.context.parameters_of_pass(1, decoded, *fixed)
    mean[..., side // 2, side // 2].sum().backward()
    rows = decoded.grad.abs().sum((0, 1, 3)) > 0
    assert not rows[0] and rows[1:-1].all() and not rows[-1]


def coded(model, rgb, cells, tile):
    """Everything that comes out of the networks on the way from a picture into a file and back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.backend, "tile", tile)
        features = inference.analyse_all(model.backend, [rgb])
        coder = LayerCoder(model.entropy, cells, 70)
        z, residual = inference.encode_cells(model, features, coder)
        decoded, conditions = inference.decode_cells(model, z, residual, coder)
        (pixels,) = inference.synthesise_all(model.backend, decoded, conditions, [rgb.shape[:2]])
    return np.asarray(features), z, residual, np.asarray(decoded), pixels


@pytest.mark.parametrize(("height", "width"), [(333, 250), (129, 401), (16, 300), (1, 1)])
def test_tiles_give_what_the_whole_gives(tiny_encoder, height, width):
    rgb = picture(height, width)
    y, x = np.mgrid[: -(-height // 16), : -(-width // 16)]
    for cells in (np.ones(y.shape, bool), np.hypot(y - 9, x - 7) < 6):
        whole, tiled = (coded(tiny_encoder, rgb, cells, tile) for tile in (WHOLE, SMALL))
        for a, b in zip(whole, tiled, strict=True):
            difference = np.abs(np.asarray(a, float) - np.asarray(b, float))
            assert difference.max() <= (1e-4 if a.dtype == np.float32 else 1)  # a value at .5 may round otherwise
            assert (difference > 1e-4).mean() <= 1e-3


def test_the_surroundings_of_a_tile_are_needed(tiny_encoder, monkeypatch):
    """The comparison above notices a tile that is given one cell too little."""
    rgb, cells = picture(333, 250), np.ones((21, 16), bool)
    whole = coded(tiny_encoder, rgb, cells, WHOLE)
    short = Shape.reach.fget(tiny_encoder.backend.shape)
    monkeypatch.setattr(Shape, "reach", Reach(*(distance - 1 for distance in short)))
    tiled = coded(tiny_encoder, rgb, cells, SMALL)
    assert np.abs(whole[0] - tiled[0]).max() > 1e-3


def test_entropy_coding_in_blocks_gives_the_same_bytes(tiny_encoder, monkeypatch):
    model, cells = tiny_encoder, np.ones((9, 14), bool)
    cells[3:5, 2:9] = False
    _, z, residual, *_ = coded(model, picture(140, 220), cells, WHOLE)
    coder = LayerCoder(model.entropy, cells, 70)
    data, index = coder.encode(z, residual), coder.table_rows(z)
    monkeypatch.setattr(layer, "SORTED_AT_ONCE", 100)
    monkeypatch.setattr(scale_map, "PLACES_AT_ONCE", 5)
    coder = LayerCoder(model.entropy, cells, 70)
    assert np.array_equal(coder.table_rows(z), index)
    assert coder.encode(z, residual) == data
    for again, before in zip(coder.decode(data), (z, residual), strict=True):
        assert np.array_equal(again, before)


def test_long_work_tells_how_far_it_is(tiny_encoder):
    heard = []
    with listening(lambda *step: heard.append(step)):
        coded(tiny_encoder, picture(120, 120), np.ones((8, 8), bool), 16)
    assert list(track("nobody listens", "ab")) == ["a", "b"]
    names = list(dict.fromkeys(stage for stage, *_ in heard))
    assert names == ["analysis", "hyper-analysis", "hyper-synthesis", "context", "synthesis"]
    assert [step for step in heard if step[0] == "analysis"] == [("analysis", done, 4) for done in range(5)]
