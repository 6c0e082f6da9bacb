"""Room 2. The table of symbol counts: one row for each scale a residual can have (spec 5.2).

Probabilities exist here as integers only. The floating-point functions make a table once, before it
is frozen into the weights; nothing that decodes calls them.
"""

import math
from dataclasses import dataclass

import numpy as np

from obic.constants import MAX_SCALE, MAX_SYMBOL, MIN_SCALE, PRECISION, TABLE_ROWS, TABLE_SYMBOLS

TOTAL = 1 << PRECISION


@dataclass(frozen=True, eq=False)
class Tables:
    """counts: int32 [64, 130]. Column k is the symbol k - 64; the last column is the escape.

    Every count is at least 1 and every row sums to 2**24. Row 0 means "skipped" and is never used
    for coding. Raises ValueError if the array breaks one of these rules.
    """

    counts: np.ndarray

    def __post_init__(self) -> None:
        counts = np.array(self.counts, dtype=np.int32)
        if counts.shape != (TABLE_ROWS, TABLE_SYMBOLS):
            raise ValueError(f"tables have the shape {counts.shape}, not {(TABLE_ROWS, TABLE_SYMBOLS)}")
        sums = counts.sum(1, dtype=np.int64)
        if not np.array_equal(counts, self.counts) or counts.min() < 1 or (sums != TOTAL).any():
            raise ValueError("every row of the tables must hold counts >= 1 that sum to 2**24")
        counts.setflags(write=False)
        object.__setattr__(self, "counts", counts)


def default_scales() -> np.ndarray:
    """float64 [63]: the scales of rows 1..63, log-spaced from 0.11 to 32."""
    return np.geomspace(MIN_SCALE, MAX_SCALE, TABLE_ROWS - 1)


def gaussian_probabilities(scales: np.ndarray) -> np.ndarray:
    """float64 [R, 130] for standard deviations [R]: the mass of N(0, scale) on each integer, and
    beyond +-64.5."""
    edges = np.arange(MAX_SYMBOL + 1) + 0.5
    tails = np.array([[0.5 * math.erfc(edge / (scale * math.sqrt(2.0))) for edge in edges] for scale in scales])
    positive = tails[:, :-1] - tails[:, 1:]  # symbols 1..64
    zero = 1.0 - 2.0 * tails[:, :1]
    return np.concatenate([positive[:, ::-1], zero, positive, 2.0 * tails[:, -1:]], axis=1)


def tables_from_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """int32 [R, S] counts for non-negative probabilities [R, S]: at least 1 each, every row summing
    to 2**24.

    One count goes to every symbol, the rest by the largest remainder; ties go to the smaller
    symbol.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    symbols = probabilities.shape[1]
    share = probabilities / probabilities.sum(1, keepdims=True) * (TOTAL - symbols)
    counts = np.floor(share).astype(np.int64)
    for row, remainder in zip(counts, share - counts, strict=True):
        row[np.argsort(-remainder, kind="stable")[: TOTAL - symbols - row.sum()]] += 1
    return (counts + 1).astype(np.int32)


def gaussian_tables() -> Tables:
    """The 63 Gaussian rows of `default_scales`; row 0, which is never used, puts all it can on the
    symbol 0."""
    skipped = np.eye(1, TABLE_SYMBOLS, MAX_SYMBOL)
    return Tables(tables_from_probabilities(np.concatenate([skipped, gaussian_probabilities(default_scales())])))
