"""The range coder against the specification's, and the tables."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obic.entropy import Tables, default_scales, gaussian_probabilities, gaussian_tables, tables_from_probabilities
from obic.entropy.coder import Decoder, Encoder, distribution, uniform
from obic.errors import FormatError
from shared import oracle

TABLES = gaussian_tables()


def encode(groups):
    encoder = Encoder()
    for symbols, counts in groups:
        encoder.encode(np.array(symbols), distribution(counts))
    return encoder.finish()


def accepted_by_oracle(data, counts, n):
    try:
        independent = oracle.RangeDecoder(data)
        for _ in range(n):
            independent.symbol(counts)
    except AssertionError:
        return False
    return independent.is_shortest()


@st.composite
def counts_strategy(draw):
    """Rows of 2 to 130 counts, from flat to as skewed as a row can be."""
    size = draw(st.integers(2, 130))
    skew = draw(st.floats(0, 40))
    seed = draw(st.integers(0, 2**32 - 1))
    weights = np.random.default_rng(seed).random(size) ** skew
    return tables_from_probabilities(weights[None] + 1e-300)[0]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_round_trip_and_oracle(data):
    groups = []
    for counts in data.draw(st.lists(counts_strategy(), min_size=1, max_size=4)):
        groups.append((data.draw(st.lists(st.integers(0, len(counts) - 1), max_size=40)), counts))
    stream = encode(groups)
    decoder, independent = Decoder(stream), oracle.RangeDecoder(stream)
    for symbols, counts in groups:
        assert decoder.decode(len(symbols), distribution(counts)).tolist() == symbols
        integers = [int(count) for count in counts]
        assert [independent.symbol(integers) for _ in symbols] == symbols
    decoder.finish()
    assert independent.is_shortest()


@pytest.mark.parametrize("row", [1, 2, 20, 40, 63])
def test_constriction_uses_exactly_our_counts(row):
    """Decoding a quantile just inside each symbol's interval, and just below it, finds every edge
    of the table."""
    counts = TABLES.counts[row]
    left = np.concatenate([[0], np.cumsum(counts)])
    scale = (2**64 - 1) >> 24
    for symbol in range(len(counts)):
        for quantile in (int(left[symbol]), int(left[symbol + 1]) - 1):
            point = (quantile * scale).to_bytes(8, "big")
            assert Decoder(point).decode(1, distribution(counts))[0] == symbol
            assert oracle.RangeDecoder(point).symbol([int(count) for count in counts]) == symbol


def test_known_bytes():
    """Exact bytes, so that another version of constriction cannot change the format in silence."""
    symbols = [64, 65, 63, 64, 70, 0, 128, 129]
    assert encode([(symbols, TABLES.counts[30])]).hex() == "8c00aef0bc75ca5ef709e1f8"
    assert encode([([1, 0, 1], np.array([2**23, 2**23]))]) == b"\xa0"
    assert encode([]) == b""


def test_carries_and_long_runs():
    """Streams that make the encoder hold words back: the interval straddles a boundary for a long
    time."""
    narrow = np.array([2**23 - 1, 2, 2**23 - 1], np.int32)
    for tail in ([0] * 40, [2] * 40, [1] * 40):
        symbols = [1] * 60 + tail
        stream = encode([(symbols, narrow)])
        assert Decoder(stream).decode(100, distribution(narrow)).tolist() == symbols
        independent = oracle.RangeDecoder(stream)
        assert [independent.symbol(narrow.tolist()) for _ in symbols] == symbols
        assert independent.is_shortest()


def test_the_end_costs_less_than_half_a_byte():
    random = np.random.default_rng(0)
    spent = ideal = 0.0
    for _ in range(500):
        counts = TABLES.counts[random.integers(1, 64)]
        symbols = random.choice(130, 20, p=counts / counts.sum())
        spent += 8 * len(encode([(symbols, counts)]))
        ideal -= np.log2(counts[symbols] / 2**24).sum()
    assert 0 <= (spent - ideal) / 8 / 500 < 0.5


def test_only_the_shortest_stream_is_accepted():
    """What passes is what an encoder writes. Damage can pass too, as other symbols: that is the
    checksum's business."""
    random = np.random.default_rng(1)
    counts = TABLES.counts[40]
    symbols = random.choice(130, 60, p=counts / counts.sum())
    stream = encode([(symbols, counts)])
    outcomes = []
    cut = [stream[:length] for length in range(len(stream))]
    for data in cut + [bytes([byte]) + stream[1:] for byte in range(256)]:
        decoder = Decoder(data)
        try:
            decoded = decoder.decode(60, distribution(counts))
            decoder.finish()
        except FormatError:
            decoded = None
        else:
            assert encode([(decoded, counts)]) == data
        outcomes.append(decoded is not None)
        assert accepted_by_oracle(data, counts.tolist(), 60) == outcomes[-1]
    assert 0.05 < np.mean(outcomes) < 0.95

    for longer in (stream + b"\0", stream + b"\1", stream + bytes(40), stream + stream):
        decoder = Decoder(longer)
        decoder.decode(60, distribution(counts))
        with pytest.raises(FormatError, match="damaged"):
            decoder.finish()


def test_other_tables_that_need_fewer_bits_are_noticed():
    stream = encode([([64] * 50, TABLES.counts[50])])
    decoder = Decoder(stream)
    decoder.decode(50, distribution(TABLES.counts[45]))
    with pytest.raises(FormatError, match="other tables"):
        decoder.finish()


def test_a_stream_no_encoder_writes_is_a_format_error():
    with pytest.raises(FormatError):
        Decoder(b"\xff" * 16).decode(1, uniform(2))


def test_a_symbol_outside_the_alphabet_is_our_own_bug():
    for symbol in (2, -1):
        with pytest.raises(ValueError, match="alphabet"):
            Encoder().encode(np.array([symbol]), uniform(2))


def test_tables_from_probabilities():
    counts = tables_from_probabilities(np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.5, 0.25, 0.25]]))
    assert counts.dtype == np.int32
    assert counts[0].tolist() == [2**24 - 2, 1, 1]
    assert counts[1].tolist() == [5592406, 5592405, 5592405], "ties go to the smaller symbol"
    assert (counts.sum(1) == 2**24).all()


def test_gaussian_tables():
    scales = default_scales()
    assert (len(scales), scales[0], scales[-1]) == (63, 0.11, pytest.approx(32.0))
    probabilities = gaussian_probabilities(scales)
    assert probabilities.shape == (63, 130)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-12)
    assert np.allclose(probabilities[:, :129], probabilities[:, 128::-1])
    assert probabilities[-1, 129] == pytest.approx(math.erfc(64.5 / 32 / math.sqrt(2)))
    assert TABLES.counts.shape == (64, 130)
    assert (TABLES.counts[:-1, 64] > TABLES.counts[1:, 64]).all(), "wider scales have less at zero"


@pytest.mark.parametrize(
    "change",
    [
        lambda counts: counts[:63],
        lambda counts: counts[:, :129],
        lambda counts: counts + np.eye(1, 130, dtype=np.int32),
        lambda counts: counts + np.eye(1, 130, 3, dtype=np.int32) * -counts[0, 3] + np.eye(1, 130) * counts[0, 3],
        lambda counts: counts.astype(np.float64) + 0.25,
    ],
)
def test_tables_are_checked(change):
    with pytest.raises(ValueError, match="tables"):
        Tables(change(TABLES.counts))


def test_tables_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        Tables(TABLES.counts).counts[0, 0] = 5
