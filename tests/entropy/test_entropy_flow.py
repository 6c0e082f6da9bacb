"""Label map, layers and container together, without a network: what the codec does with
integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obic.container import mux, open_container
from obic.entropy.mask_contexts import ONE_IN_256
from obic.errors import FormatError, LimitError
from obic.masks import decode_label_map, encode_label_map, grid_labels, grid_size
from shared import oracle
from shared.toy import Toy

TOY = Toy()


def write(pixels, n_layers, qualities, seed=0):
    """A file with random symbols for a label map of pixels, and the symbols of each layer."""
    labels = grid_labels(pixels, n_layers)
    symbols = [TOY.symbols(labels == index, qualities[index], seed + index) for index in range(n_layers)]
    streams = {index: TOY.encode(z, r, labels == index, qualities[index]) for index, (z, r) in enumerate(symbols)}
    height, width = pixels.shape
    mask = encode_label_map(labels, n_layers)
    return mux(width=width, height=height, model=9, mask=mask, qualities=qualities, streams=streams), symbols


def read(data):
    """{index: (z, r)} of the layers that are there."""
    container = open_container(data)
    header = container.header
    labels = decode_label_map(header.mask, *grid_size(header.height, header.width), header.n_layers)
    layers = {
        entry.index: TOY.decode(container.read_layer(entry.index), labels == entry.index, entry.quality)
        for entry in header.layers
        if entry.length is not None
    }
    container.check_end()
    return layers


def read_with_oracle(data):
    fields, streams, _ = oracle.demux(data)
    (_, width, height, _, mask), n = fields[:5], len(streams)
    h, w = -(-height // 16), -(-width // 16)
    labels = np.zeros((h, w)) if n == 1 else oracle.label_map(mask, h, w, n, ONE_IN_256)
    quality = {index: fields[5 + 2 * position] for position, index in enumerate([*range(1, n), 0])}
    return {
        index: oracle.layer(stream, labels == index, quality[index], *TOY.arrays)
        for index, stream in streams.items()
        if stream is not None
    }


def assert_same(layers, symbols, indices):
    assert set(layers) == set(indices)
    for index in indices:
        assert np.array_equal(layers[index][0], symbols[index][0])
        assert np.array_equal(layers[index][1], symbols[index][1])


def pixels_of(kind, height, width, n_layers, seed):
    """A label map of pixels: one layer everywhere, one object of one pixel, or random patches of 16
    pixels."""
    if kind == "full":
        return np.full((height, width), n_layers - 1, np.uint8)
    pixels = np.zeros((height, width), np.uint8)
    if kind == "one cell":
        pixels[-(-height // 16) * 16 - 16 :, -(-width // 16) * 16 - 16 :] = n_layers - 1
        return pixels
    patches = np.random.default_rng(seed).integers(0, n_layers, grid_size(height, width))
    return patches.repeat(16, 0).repeat(16, 1)[:height, :width].astype(np.uint8)


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(["full", "one cell", "patches"]),
    height=st.integers(1, 160),
    width=st.integers(1, 160),
    n_layers=st.integers(1, 5),
    seed=st.integers(0, 100),
    data=st.data(),
)
def test_files_round_trip(kind, height, width, n_layers, seed, data):
    qualities = data.draw(st.lists(st.integers(1, 100), min_size=n_layers, max_size=n_layers))
    file, symbols = write(pixels_of(kind, height, width, n_layers, seed), n_layers, qualities, seed)
    assert_same(read(file), symbols, range(n_layers))
    keep = data.draw(st.sets(st.integers(0, n_layers - 1)))
    assert_same(read(open_container(file).subset(keep)), symbols, keep)


@pytest.mark.parametrize("n_layers", [1, 2, 4])
def test_the_oracle_reads_whole_files(n_layers):
    file, symbols = write(pixels_of("patches", 70, 90, n_layers, 3), n_layers, [40] * n_layers)
    assert_same(read_with_oracle(file), symbols, range(n_layers))


def test_every_truncation_and_flip_of_a_file_is_an_error():
    file, symbols = write(pixels_of("patches", 40, 60, 3, 1), 3, [30, 50, 70])
    assert all(r.any() for _, r in symbols)
    for position in range(len(file)):
        with pytest.raises(FormatError):
            read(file[:position])
        for flip in (0x01, 0x20, 0x80):
            with pytest.raises((FormatError, LimitError)):
                read(file[:position] + bytes([file[position] ^ flip]) + file[position + 1 :])


def test_damage_in_one_layer_leaves_the_others():
    file, _ = write(pixels_of("patches", 70, 90, 3, 1), 3, [30, 50, 70])
    container = open_container(file)
    stream = container.read_layer(2)
    start = file.index(stream)
    damaged = open_container(file[: start + 1] + bytes([file[start + 1] ^ 1]) + file[start + 2 :])
    with pytest.raises(FormatError, match="layer 2"):
        damaged.read_layer(2)
    for index in (0, 1):
        assert damaged.read_layer(index) == container.read_layer(index)
    assert [check.index for check in damaged.verify() if check.error] == [2]
