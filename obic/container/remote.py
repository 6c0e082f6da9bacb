"""Room 1. A file at an address (https://, s3://, and whatever fsspec knows), read in ranges.

fsspec and what it needs for a protocol are optional: `pip install 'obic[remote]'`. They are imported when an address
is opened.
"""

import errno
import os
from threading import Lock

from obic.errors import ObicError, UsageError

FIRST_REQUEST = 256  # bytes: the whole header of a usual file, and seldom more than the first part of a layer


class RemoteSource:
    """A file at an address. Reads what it is asked for, once: ranges that were read are kept.

    bytes_read, requests: so far. whole: the server knows no ranges and sent the file as a whole.
    Raises FileNotFoundError, OSError as the network does, UsageError (no such protocol), ObicError (fsspec, or what it
    needs, is missing).
    """

    def __init__(self, address: str):
        self.address = address
        self.bytes_read = 0
        self.requests = 0
        self.whole = False
        self._spans: dict[int, bytes] = {}
        self._end: int | None = None  # of the file, once it is known
        self._lock = Lock()
        self._filesystem, self._path = _open_filesystem(address)

    def read_at(self, offset: int, length: int) -> bytes:
        """As every `ByteSource`. One request, unless earlier ones have brought these bytes."""
        with self._lock:
            known = self._known(offset, length)
            missing = length - len(known)
            if missing == 0 or offset + len(known) == self._end:
                return known
            start = offset + len(known)
            self._request(start, max(missing, FIRST_REQUEST) if start == 0 else missing)
            return self._known(offset, length)

    def prefetch(self, ranges: list[tuple[int, int]]) -> None:
        """Fetch (offset, length) ranges that will be read, with one request for those that touch."""
        joined: list[list[int]] = []
        for offset, length in sorted(ranges):
            if joined and offset == sum(joined[-1]):
                joined[-1][1] += length
            else:
                joined.append([offset, length])
        for offset, length in joined:
            self.read_at(offset, length)

    def _known(self, offset: int, length: int) -> bytes:
        """The bytes from `offset` on that were read before, as far as they go without a gap, at most `length`."""
        pieces, end = [], offset + length
        for start, data in sorted(self._spans.items()):
            if start <= offset < start + len(data):
                pieces.append(data[offset - start : end - start])
                offset += len(pieces[-1])
        return b"".join(pieces)

    def _request(self, offset: int, length: int) -> None:
        """Fetch one range and keep it. A server without ranges answers with the file as a whole."""
        data = self._fetch(offset, offset + length)
        self.requests += 1
        self.bytes_read += len(data)
        if len(data) > length:
            self.whole, offset, self._spans = True, 0, {}
        if len(data) != length:
            self._end = offset + len(data)
        self._spans[offset] = data

    def _fetch(self, start: int, end: int) -> bytes:
        failure: OSError
        try:
            return self._filesystem.cat_file(self._path, start=start, end=end)
        except FileNotFoundError:
            failure = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.address)
        except Exception as error:  # each protocol has its own kinds
            failure = OSError(errno.EIO, " ".join(str(error).split()) or type(error).__name__, self.address)
        if start > 0 and self._size() <= start:  # the answer to a range behind the end of a file
            return b""
        raise failure

    def _size(self) -> float:
        """The file's size; infinite where the server does not tell."""
        try:
            return self._filesystem.size(self._path) or float("inf")
        except Exception:  # whatever it is, the failure of the request itself says more
            return float("inf")


def _open_filesystem(address: str):
    """The fsspec file system of an address, and the path in it."""
    try:
        import fsspec

        return fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise ObicError(f"{address} needs more than is installed ({error}): pip install 'obic[remote]'") from error
    except ValueError as error:
        raise UsageError(f"{address}: {error}") from error
