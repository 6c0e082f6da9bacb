"""Room 1. Where the bytes of a file come from: memory, a seekable file, a pipe, an address.

The demuxer asks for ranges and nothing else, so a source needs one method:

    read_at(offset, length) -> bytes        shorter than `length` only where the file ends

A source whose requests are expensive may have a second one, called with what will be read next:

    prefetch([(offset, length), ...])
"""

import os
from typing import IO, Protocol, runtime_checkable

from obic.container.remote import RemoteSource, is_address, read_address


@runtime_checkable
class ByteSource(Protocol):
    """Anything the demuxer can read from. Offsets count from the first byte of the `.obic` file."""

    def read_at(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on, fewer only where the file ends. Raises OSError."""
        ...


class BytesSource:
    """A file held in memory."""

    def __init__(self, data: bytes):
        self._data = memoryview(data)

    def read_at(self, offset: int, length: int) -> bytes:
        return bytes(self._data[offset : offset + length])


class FileSource:
    """A seekable binary file. The `.obic` begins at the file's position at construction."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self._start = file.tell()

    def read_at(self, offset: int, length: int) -> bytes:
        self._file.seek(self._start + offset)
        return _read_up_to(self._file, length)


class PipeSource:
    """A file that can only be read forwards. Reads as far as asked and keeps what it has read."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self._seen = bytearray()

    def read_at(self, offset: int, length: int) -> bytes:
        missing = offset + length - len(self._seen)
        if missing > 0:
            self._seen += _read_up_to(self._file, missing)
        return bytes(self._seen[offset : offset + length])


def as_source(origin: "bytes | str | os.PathLike[str] | IO[bytes] | ByteSource") -> ByteSource:
    """A `ByteSource` for bytes, a path, an address such as https://..., an open binary file, or a
    source as it is.

    Raises OSError as the file does.
    """
    if isinstance(origin, ByteSource):
        return origin
    if isinstance(origin, (bytes, bytearray, memoryview)):
        return BytesSource(bytes(origin))
    if isinstance(origin, (str, os.PathLike)):
        if os.path.isfile(origin):
            return _PathSource(origin)
        if is_address(origin):
            return RemoteSource(origin)
        origin = open(origin, "rb")  # noqa: SIM115 - a pipe, /dev/stdin, or an error that names the path
    return FileSource(origin) if origin.seekable() else PipeSource(origin)


def read_file(path: "str | os.PathLike[str]") -> bytes:
    """All bytes of a file, by its path or its address. Raises OSError as the file does."""
    if is_address(path):
        return read_address(path)
    with open(path, "rb") as file:
        return file.read()


class _PathSource:
    """A regular file by its path, opened for each of the few reads, so that nobody has to close
    it."""

    def __init__(self, path: "str | os.PathLike[str]"):
        self._path = path

    def read_at(self, offset: int, length: int) -> bytes:
        with open(self._path, "rb") as file:
            return FileSource(file).read_at(offset, length)


def _read_up_to(file: IO[bytes], length: int) -> bytes:
    """`length` bytes, or all there are: a pipe may give fewer in one call. Never asks for more than
    1 MiB at once."""
    pieces = []
    while length > 0 and (piece := file.read(min(length, 1 << 20))):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)
