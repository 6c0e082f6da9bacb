"""Room 2. The range coder (spec 5.1). The only file that imports constriction.

constriction's coder has 64 bits of state, 32-bit words and 24 bits of precision. What is ours:
probabilities are made of integer counts, the stream is cut to the shortest bytes that still decode,
and every way in which constriction complains becomes a FormatError. It is imported when it is first
used: training does without.

Source: Pasco 1976, Martin 1979 (range coding); Bamler 2022 (constriction).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from obic.constants import PRECISION
from obic.errors import FormatError

if TYPE_CHECKING:
    from constriction.stream.model import Categorical as Categorical


@lru_cache(maxsize=1024)
def _distribution(counts: bytes) -> Categorical:
    import constriction

    # k / 2**24 is exact in float64, and with perfect=True constriction's own integers are then
    # exactly k.
    probabilities = np.frombuffer(counts, np.int32) / float(1 << PRECISION)
    return constriction.stream.model.Categorical(probabilities, perfect=True)


def distribution(counts: np.ndarray) -> Categorical:
    """The probability distribution of a row of counts: int32 [S], each >= 1, summing to 2**24.
    Cached."""
    return _distribution(np.ascontiguousarray(counts, dtype=np.int32).tobytes())


@lru_cache
def uniform(size: int) -> Categorical:
    """That of `size` equally likely symbols. `size`: a power of two, at least 2."""
    return distribution(np.full(size, (1 << PRECISION) // size, np.int32))


class Encoder:
    """Symbols in, bytes out. Symbols count from 0."""

    def __init__(self) -> None:
        import constriction

        self._coder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: np.ndarray, distribution: Categorical) -> None:
        """Appends symbols, integers [n] in the alphabet of `distribution`. Raises ValueError if one
        is outside it."""
        try:
            self._coder.encode(np.ascontiguousarray(symbols, dtype=np.int32), distribution)
        except KeyError as error:
            raise ValueError("a symbol is outside the alphabet of its distribution") from error

    def encode_one(self, symbol: int, distribution: Categorical) -> None:
        """Appends one symbol of the alphabet of `distribution`, for one that depends on the symbol
        before it."""
        self._coder.encode(symbol, distribution)

    def finish(self) -> bytes:
        """The shortest bytes that decode to the symbols when zero bytes follow them (spec 5.1, "the
        end")."""
        if self._coder.is_empty():
            return b""
        n_words, (lower, width) = self._coder.pos()
        # The first n_words + 1 words, as a number of 32-bit steps, are the least such number not
        # below the interval. The interval's lower end is known modulo 2**64, which is enough to
        # find the whole of it.
        words = self._coder.get_compressed()[: n_words + 1].astype(">u4").tobytes()
        n_bytes = len(words) + 4
        point = int.from_bytes(words, "big") << 32
        lower = point - ((point - lower) % (1 << 64))
        for free_bits in range(64, -1, -8):
            candidate = -(-lower >> free_bits) << free_bits
            if candidate < lower + width:
                return candidate.to_bytes(n_bytes, "big").rstrip(b"\0")
        raise AssertionError("the interval of a range coder is never empty")


class Decoder:
    """Bytes in, symbols out. `finish` tells whether the bytes were those an `Encoder` writes for
    these symbols."""

    def __init__(self, data: bytes):
        import constriction

        words = np.frombuffer(data + bytes(-len(data) % 4), ">u4")
        self._coder = constriction.stream.queue.RangeDecoder(words.astype(np.uint32))
        self._data = data
        self._echo = Encoder()

    def decode(self, n: int, distribution: Categorical) -> np.ndarray:
        """The next n symbols, int32 [n], from 0. Raises FormatError where no encoder can have
        written the bytes."""
        symbols = self._checked(distribution, n)
        self._echo.encode(symbols, distribution)
        return symbols

    def decode_one(self, distribution: Categorical) -> int:
        """The next symbol, for a distribution that depends on the symbol before it. `finish` does
        not know of it."""
        return self._checked(distribution)

    def finish(self) -> None:
        """Raises FormatError unless the symbols decoded so far, encoded again, give the same bytes.

        So every valid stream has one form and nothing hides behind its end. It notices about half
        of all damage, where constriction notices almost none; the checksum of the container notices
        the rest.
        """
        if self._echo.finish() != self._data:
            raise FormatError("the range-coded bytes are damaged, or were made with other tables")

    def _checked(self, distribution: Categorical, *n: int) -> Any:
        try:
            return self._coder.decode(distribution, *n)
        except BaseException as error:
            # constriction raises AssertionError, KeyError or ValueError, and pyo3's PanicException
            # is a BaseException.
            if isinstance(error, (AssertionError, KeyError, ValueError)) or type(error).__name__ == "PanicException":
                raise FormatError("the range-coded bytes are not valid") from error
            raise
