"""The pixel mask: there and back, damage, limits, the alpha it gives, and the specification's own
reader."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from obic import codec
from obic.constants import PART_PIXEL_MASK
from obic.container import open_container
from obic.entropy import pixel_mask
from obic.entropy.mask_contexts import ONE_IN_256
from obic.errors import FormatError, UsageError
from obic.masks import alpha_from_cells, decode_pixel_mask, encode_pixel_mask, grid_labels, spread_cells
from shared import oracle
from shared.pictures import discs


def blobs(height, width, n_layers, noise, seed):
    """Labels of pixels: discs, and noise of any label and void."""
    random = np.random.default_rng(seed)
    labels = discs(height, width, n_layers, random)
    wild = random.random(labels.shape) < noise
    labels[wild] = random.choice([*range(n_layers), 255], wild.sum())
    return labels


def disc(side):
    y, x = np.mgrid[:side, :side] - side / 2
    return (np.hypot(y, x) < side / 3).astype(np.uint8)


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    n_layers=st.integers(2, 5),
    noise=st.sampled_from([0, 0.02, 1]),
    seed=st.integers(0, 999),
)
def test_there_and_back(height, width, n_layers, noise, seed):
    labels = blobs(height, width, n_layers, noise, seed)
    cells = grid_labels(labels, n_layers)
    mask = decode_pixel_mask(encode_pixel_mask(labels, cells), cells, height, width)
    owner = spread_cells(cells, height, width)
    assert mask.dtype == bool
    assert np.array_equal(mask, (labels == owner) & (owner > 0))


@pytest.mark.parametrize("seed", range(6))
def test_the_reader_made_from_the_specification(seed):
    labels = blobs(37 + seed, 50, 2 + seed % 3, [0, 0.05][seed % 2], seed)
    cells = grid_labels(labels, 4)
    data = encode_pixel_mask(labels, cells)
    stated = oracle.pixel_mask(data, cells, *labels.shape, ONE_IN_256)
    assert np.array_equal(stated, decode_pixel_mask(data, cells, *labels.shape))


def test_few_bytes():
    """A smooth edge costs less than a quarter of what a PNG needs; cells that are full cost next to
    nothing."""
    labels = disc(320)
    png = io.BytesIO()
    Image.fromarray(labels > 0).save(png, "PNG", optimize=True)
    assert len(encode_pixel_mask(labels, grid_labels(labels, 2))) < len(png.getvalue()) / 4
    full = np.kron(disc(20), np.ones((16, 16), np.uint8))
    assert len(encode_pixel_mask(full, grid_labels(full, 2))) < 10
    assert encode_pixel_mask(np.zeros_like(full), np.zeros((20, 20), np.uint8)) == b"\0"


def test_damage_is_an_error_or_another_valid_mask():
    labels = disc(64)
    cells = grid_labels(labels, 2)
    data = encode_pixel_mask(labels, cells)
    wrong = [data[:length] for length in range(len(data))] + [data + b"\0", data + b"\1", b"\1" + data[1:]]
    for position in range(len(data)):
        wrong += [data[:position] + bytes([byte]) + data[position + 1 :] for byte in range(0, 256, 51)]
    noticed = 0
    for damaged in set(wrong) - {data}:
        try:
            mask = decode_pixel_mask(damaged, cells, 64, 64)
        except FormatError:
            noticed += 1
        else:
            assert not mask[spread_cells(cells, 64, 64) == 0].any()
    assert noticed > len(wrong) // 4


@settings(deadline=None, max_examples=100)
@given(data=st.binary(max_size=12))
def test_any_bytes_give_a_mask_or_a_format_error(data):
    try:
        assert decode_pixel_mask(data, np.array([[1, 0], [2, 1]], np.uint8), 20, 30).shape == (20, 30)
    except FormatError:
        return


def test_mixed_cells_have_a_bound(monkeypatch):
    labels = disc(64)
    cells = grid_labels(labels, 2)
    data = encode_pixel_mask(labels, cells)
    full = labels.reshape(4, 16, 4, 16).all((1, 3))
    mixed = np.count_nonzero((cells > 0) & ~full)
    monkeypatch.setattr(pixel_mask, "MAX_MASK_PIXELS", 256 * mixed)
    decode_pixel_mask(data, cells, 64, 64)
    monkeypatch.setattr(pixel_mask, "MAX_MASK_PIXELS", 256 * mixed - 1)
    with pytest.raises(FormatError, match="mixed"):
        decode_pixel_mask(data, cells, 64, 64)
    with pytest.raises(UsageError, match="ragged"):
        encode_pixel_mask(labels, cells)


# --- in a file ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rgb():
    return np.random.default_rng(1).integers(0, 256, (96, 96, 3)).astype(np.uint8)


def coded(rgb, labels, model, **options):
    picture = codec.PictureEncoder(rgb, labels, int(labels.max()) + 1, model=model, **options)
    return picture.encode([30] * (int(labels.max()) + 1))


def test_alpha_to_the_pixel(tiny_encoder, rgb):
    labels = disc(96)
    labels[50, 9] = 1
    file = open_container(coded(rgb, labels, tiny_encoder, pixel_alpha=True))
    plain = open_container(coded(rgb, labels, tiny_encoder))
    rgba = codec.extract_picture(file, 1, tiny_encoder)
    assert np.array_equal(rgba[..., 3], 255 * labels), "the object to the pixel, all of it"
    alone = codec.decode_picture(open_container(file.subset([1])), tiny_encoder)
    assert np.array_equal(alone.alpha, rgba[..., 3])
    cells = grid_labels(labels, 2, coverage=0)
    assert cells.sum() > grid_labels(labels, 2).sum()
    background = codec.extract_picture(file, 0, tiny_encoder)[..., 3]
    assert np.array_equal(background, alpha_from_cells(cells, 0, 96, 96))
    assert (codec.extract_picture(file, [0, 1], tiny_encoder)[..., 3] == 255).all()
    assert plain.read_part(PART_PIXEL_MASK) is None


def test_alpha_of_one_object_among_several(tiny_encoder, rgb):
    labels = disc(96)
    labels[:, 50:] *= 2
    file = open_container(coded(rgb, labels, tiny_encoder, pixel_alpha=True))
    first, second, both = (codec.extract_picture(file, index, tiny_encoder)[..., 3] for index in (1, 2, [1, 2]))
    assert first.any() and second.any() and not (first & second).any()
    assert (both >= (first | second)).all()
    assert np.count_nonzero((first | second) < 255 * (labels > 0)) > 50, "a seam, where cells have pixels of both"
    assert np.count_nonzero(both != 255 * (labels > 0)) < 10, "which is closed"


def test_a_damaged_pixel_mask(tiny_encoder, rgb):
    data = coded(rgb, disc(96), tiny_encoder, pixel_alpha=True)
    alone = open_container(data).subset([1])
    cut = alone[:-4]
    with pytest.raises(FormatError, match="optional part 5"):
        codec.decode_picture(open_container(cut), tiny_encoder)
    left = codec.decode_picture(open_container(cut), tiny_encoder, damaged="skip")
    assert left.mask_damaged and left.missing == (0,)
    assert len(np.unique(left.alpha)) > 2, "the smooth alpha of the cells"
    assert not codec.decode_picture(open_container(alone), tiny_encoder, damaged="skip").mask_damaged
    assert codec.decode_picture(open_container(data[:-4]), tiny_encoder, damaged="skip").missing == ()


def test_one_layer_has_no_pixel_mask(tiny_encoder, rgb):
    with_, without = (
        codec.PictureEncoder(rgb, None, 1, model=tiny_encoder, pixel_alpha=alpha).encode([9]) for alpha in (True, False)
    )
    assert with_ == without
