"""Room 1. Files at addresses (https://, s3://, and whatever fsspec knows), whole or in ranges.

fsspec and what it needs for a protocol are optional: `pip install 'obic[remote]'`. They are
imported when an address is opened. Everything here raises FileNotFoundError, OSError for whatever
else goes wrong there, UsageError (no such protocol), ObicError (fsspec, or what it needs, is
missing).
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeGuard

from obic.errors import ObicError, UsageError

FIRST_REQUEST = 256  # bytes: the whole header of a usual file, and seldom more than the first part of a layer


def is_address(path: object) -> TypeGuard[str]:
    """Whether a path is an address such as https://... or s3://..., rather than a file here or on a
    drive (C://...)."""
    return isinstance(path, str) and bool(re.match(r"[A-Za-z][\w+.:-]+://", path)) and not os.path.exists(path)


def read_address(address: str) -> bytes:
    """All bytes of a file at an address."""
    filesystem, path = _open_filesystem(address)
    with _failures_name(address):
        return filesystem.cat_file(path)


def files_below(address: str) -> list[str]:
    """The names of all files below a folder at an address, relative to it, sorted; "/" between
    folders.

    Hidden ones are left out: no part of a name begins with a dot, so none leads out of a folder
    that it is put into.
    """
    filesystem, folder = _open_filesystem(address)
    with _failures_name(address):
        found = filesystem.find(folder) or filesystem.ls(folder)  # `find` passes over what fails, `ls` says it
        names = sorted(path[len(folder) :].lstrip("/") for path in found)
    return [name for name in names if not re.search(r"(^|[/\\])\.", name)]


class RemoteSource:
    """A file at an address. Reads what it is asked for, once: ranges that were read are kept.

    bytes_read, requests: so far. whole: the server knows no ranges and sent the file as a whole.
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
        """Fetch (offset, length) ranges that will be read, with one request for those that
        touch."""
        joined: list[list[int]] = []
        for offset, length in sorted(ranges):
            if joined and offset == sum(joined[-1]):
                joined[-1][1] += length
            else:
                joined.append([offset, length])
        for offset, length in joined:
            self.read_at(offset, length)

    def _known(self, offset: int, length: int) -> bytes:
        """The bytes from `offset` on that were read before, as far as they go without a gap, at
        most `length`."""
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
        try:
            with _failures_name(self.address):
                return self._filesystem.cat_file(self._path, start=start, end=end)
        except OSError:
            if start > 0 and self._size() <= start:  # the answer to a range behind the end of a file
                return b""
            raise

    def _size(self) -> float:
        """The file's size; infinite where the server does not tell."""
        try:
            return self._filesystem.size(self._path) or float("inf")
        except Exception:  # whatever it is, the failure of the request itself says more
            return float("inf")


def _open_filesystem(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path in it."""
    try:
        import fsspec

        with _failures_name(address, ImportError, ValueError):
            return fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise ObicError(f"{address} needs more than is installed ({error}): pip install 'obic[remote]'") from error
    except ValueError as error:
        raise UsageError(f"{address}: {error}") from error


@contextmanager
def _failures_name(address: str, *others: type[Exception]) -> Iterator[None]:
    """What goes wrong becomes an OSError that names the address, but for `others`: each protocol
    has its own kinds."""
    try:
        yield
    except others:
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), address) from error
    except Exception as error:
        reason = " ".join(str(error).split())
        if reason in ("", address):
            reason = type(error).__name__
        raise OSError(errno.EIO, reason, address) from error
