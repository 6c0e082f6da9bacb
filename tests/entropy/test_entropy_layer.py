"""The sub-stream of a layer: round trips, the oracle, and damage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obic.entropy import ScaleMap, hyper_cells
from obic.entropy.coder import Decoder, Encoder, distribution, uniform
from obic.entropy.layer import _decode_values
from obic.entropy.scale_map import Hidden
from obic.errors import FormatError
from shared import oracle
from shared.toy import CHANNELS, HYPER_CHANNELS, TABLES, Toy


def random_cells(height, width, share, seed=0):
    return np.random.default_rng(seed).random((height, width)) < share


@settings(deadline=None, max_examples=100)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    share=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    quality=st.integers(1, 100),
    spread=st.sampled_from([0.0, 1.0, 1000.0]),
    seed=st.integers(0, 1000),
)
def test_round_trip(height, width, share, quality, spread, seed):
    toy = Toy(seed)
    cells = random_cells(height, width, share, seed)
    z, r = toy.symbols(cells, quality, seed, spread)
    data = toy.encode(z, r, cells, quality)
    z_again, r_again = toy.decode(data, cells, quality)
    assert (z_again.dtype, r_again.dtype) == (np.int32, np.int32)
    assert np.array_equal(z_again, z)
    assert np.array_equal(r_again, r)


@pytest.mark.parametrize("seed", range(6))
def test_oracle(seed):
    toy = Toy(seed)
    cells = random_cells(7, 9, [0.4, 1.0, 0.05][seed % 3], seed)
    quality = 1 + 19 * seed
    z, r = toy.symbols(cells, quality, seed, spread=[1.0, 300.0][seed % 2])
    data = toy.encode(z, r, cells, quality)
    z_again, r_again = oracle.layer(data, cells, quality, *toy.arrays)
    assert np.array_equal(z_again, z)
    assert np.array_equal(r_again, r)


def test_layers_partition_the_grid_and_do_not_depend_on_each_other():
    toy = Toy()
    labels = np.random.default_rng(3).integers(0, 5, (12, 13))
    for index in range(5):
        cells = labels == index
        z, r = toy.symbols(cells, 50, seed=index)
        noise = np.random.default_rng(9).integers(-5, 6, r.shape)
        data = toy.encode(z, np.where(cells, r, noise), cells, 50)
        assert data == toy.encode(z, r, cells, 50), "what lies outside a layer's cells is not coded"
        assert np.array_equal(toy.decode(data, cells, 50)[1], r)


def test_one_cell_and_no_cell():
    toy = Toy()
    cells = np.zeros((9, 9), bool)
    assert toy.encode(*toy.symbols(cells, 40), cells, 40) == b""
    assert not toy.decode(b"", cells, 40)[1].any()
    cells[8, 8] = True
    z, r = toy.symbols(cells, 40, spread=5.0)
    assert np.array_equal(toy.decode(toy.encode(z, r, cells, 40), cells, 40)[1], r)


def test_escapes_to_the_largest_magnitude():
    toy = Toy()
    toy.bias[:] = 20 << toy.shift
    toy.scale_map = ScaleMap(toy.weight * 0, toy.bias, toy.shift)
    toy.z_index[:] = 20
    toy.z_offset[:] = 0
    cells = np.ones((2, 8), bool)
    z, r = np.zeros((HYPER_CHANNELS, 1, 2), np.int32), np.zeros((CHANNELS, 2, 8), np.int32)
    edges = [64, 65, 66, 67, 68, 127, 128, 129, 2**20 + 63]
    r[0].flat[: len(edges)] = edges
    r[1].flat[: len(edges)] = -np.array(edges)
    z.flat[:2] = 2**20 + 63, -65
    data = toy.encode(z, r, cells, 40)
    z_again, r_again = toy.decode(data, cells, 40)
    assert np.array_equal(z_again, z)
    assert np.array_equal(r_again, r)
    for too_large in (2**20 + 64, -(2**20) - 64, -(2**31)):
        r[0, 0, 0] = too_large
        with pytest.raises(ValueError, match="magnitude"):
            toy.encode(z, r, cells, 40)


def test_an_escape_longer_than_the_format_allows():
    encoder = Encoder()
    encoder.encode([129], distribution(TABLES.counts[20]))
    encoder.encode([20], uniform(32))
    with pytest.raises(FormatError, match="20 bits"):
        _decode_values(Decoder(encoder.finish()), np.array([20], np.uint8), TABLES)


def test_skipped_positions_must_be_zero():
    toy = Toy()
    cells = np.ones((4, 4), bool)
    z, r = toy.symbols(cells, 40)
    toy.z_index[:, 39, 1] = 0
    toy.z_offset[39] = 3, 0
    z[1] = 1
    with pytest.raises(ValueError, match="skipped"):
        toy.encode(z, r, cells, 40)
    z[1] = 0
    toy.scale_map = ScaleMap(toy.weight * 0, toy.bias * 0 - 1, toy.shift)
    r[:] = 1
    with pytest.raises(ValueError, match="skipped"):
        toy.encode(z, r, cells, 40)
    toy.z_index[:] = 0
    z[0] = 3
    assert toy.encode(z, r * 0, cells, 40) == b"", "a layer with nothing to code has no bytes"
    assert not toy.decode(b"", cells, 40)[1].any()


def test_damage_is_an_error_or_another_valid_stream():
    toy = Toy()
    cells = random_cells(6, 7, 0.7)
    z, r = toy.symbols(cells, 40, spread=3.0)
    data = toy.encode(z, r, cells, 40)
    noticed = 0
    for position in range(len(data)):
        for wrong in (data[:position], data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]):
            try:
                z_again, r_again = toy.decode(wrong, cells, 40)
            except FormatError:
                noticed += 1
            else:
                assert toy.encode(z_again, r_again, cells, 40) == wrong
    assert noticed > len(data) // 4


def test_memory_layout_does_not_matter():
    toy = Toy()
    cells = random_cells(9, 10, 0.6)
    z, r = toy.symbols(cells, 40)
    data = toy.encode(z, r, cells, 40)
    z_strided = np.asfortranarray(z)
    r_strided = np.ascontiguousarray(r.transpose(1, 2, 0)).transpose(2, 0, 1)
    assert toy.encode(z_strided, r_strided, np.asfortranarray(cells), 40) == data


def test_scale_map_is_pytorchs_pixel_shuffle():
    torch = pytest.importorskip("torch")
    toy = Toy()
    z = np.random.default_rng(0).integers(-300, 300, (HYPER_CHANNELS, 3, 5))
    sums = torch.from_numpy(toy.weight.astype(np.int64)) @ torch.from_numpy(z.clip(-127, 127).reshape(2, 15))
    sums = (sums + torch.from_numpy(np.repeat(toy.bias[6], 16)[:, None])) >> toy.shift
    expected = torch.nn.functional.pixel_shuffle(sums.clamp(0, 63).reshape(1, CHANNELS * 16, 3, 5), 4)[0]
    index = toy.scale_map.table_rows(z, 7)
    assert index.dtype == np.uint8
    assert np.array_equal(index, expected.numpy())
    assert np.array_equal(index, oracle.table_index(toy.weight, toy.bias, toy.shift, z, 7))


def test_scale_map_is_exact_up_to_its_bound():
    weight = np.full((16, 1), 2**45, np.int64)
    weight[1] += 1
    bias = np.zeros((100, 1), np.int64)
    scale_map = ScaleMap(weight, bias, 0)
    assert scale_map.table_rows(np.array([[[-127]]]), 1).max() == 0
    bias[:] = -(2**45) * 127
    assert scale_map.table_rows(np.array([[[127]]]), 1).max() == 63
    with pytest.raises(ValueError, match=r"2\*\*53"):
        ScaleMap(weight * 2, bias, 0)
    narrow = ScaleMap(weight, -(weight[:1] * 127).repeat(100, 0), 0).table_rows(np.array([[[127]]]), 1)
    assert narrow.ravel().tolist() == [0, 63] + [0] * 14, "2**45 * 127 and 127 more differ in the last bits"


def test_hidden_units_are_those_of_the_spec():
    toy = Toy(seed=2)
    z = np.random.default_rng(0).integers(-300, 300, (HYPER_CHANNELS, 3, 5))
    index = toy.scale_map.table_rows(z, 7)
    assert np.array_equal(index, oracle.table_index(toy.weight, toy.bias, toy.shift, z, 7, toy.hidden))
    assert (index != ScaleMap(toy.weight, toy.bias, toy.shift).table_rows(z, 7)).mean() > 0.3


def test_hidden_units_are_checked():
    weight, bias = np.zeros((16, 2), int), np.zeros((100, 1), int)
    into, hidden_bias, out = np.zeros((3, 2), int), np.zeros((100, 3), int), np.zeros((16, 3), int)
    ScaleMap(weight, bias, 3, Hidden(into, hidden_bias, out))
    for wrong in ((into[:, :1], hidden_bias, out), (into, hidden_bias[1:], out), (into, hidden_bias, out[:, 1:])):
        with pytest.raises(ValueError, match="fit"):
            ScaleMap(weight, bias, 3, Hidden(*wrong))
    with pytest.raises(ValueError, match="integers"):
        ScaleMap(weight, bias, 3, Hidden(into, hidden_bias, out * 1.0))
    for large in ((into + 2**46, hidden_bias, out), (into, hidden_bias, out + 2**36)):
        with pytest.raises(ValueError, match=r"2\*\*53"):
            ScaleMap(weight, bias, 3, Hidden(*large))


@pytest.mark.parametrize(
    ("weight", "bias", "shift"),
    [((17, 2), (100, 1), 3), ((16, 2), (99, 1), 3), ((16, 2), (100, 1), 63), ((16, 2), (100, 1), -1)],
)
def test_scale_map_checks_its_shape(weight, bias, shift):
    with pytest.raises(ValueError, match="fit"):
        ScaleMap(np.zeros(weight, np.int16), np.zeros(bias, np.int32), shift)


def test_scale_map_is_made_of_integers():
    with pytest.raises(ValueError, match="integers"):
        ScaleMap(np.zeros((16, 2)), np.zeros((100, 1), np.int32), 3)


def test_hyper_cells():
    cells = np.zeros((5, 9), bool)
    cells[4, 8] = cells[0, 3] = True
    assert hyper_cells(cells).tolist() == [[True, False, False], [False, False, True]]
    assert hyper_cells(np.ones((1, 1), bool)).tolist() == [[True]]
