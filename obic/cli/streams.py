"""Room 5. Bytes in and out: files, addresses, standard input and output. A file appears whole or
not at all."""

import errno
import os
import re
import shutil
import sys
from contextlib import suppress
from typing import BinaryIO, TextIO

import click

from obic.container import ByteSource, as_source, read_file
from obic.errors import ObicError, UsageError

STREAM = "-"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def read_input(path: str) -> bytes:
    """All bytes of a file, by its path or its address, or of standard input for "-"."""
    return _binary_stdin().read() if path == STREAM else read_file(path)


def open_source(path: str) -> ByteSource:
    """What to read an `.obic` from: a path, an address, or standard input for "-"."""
    return as_source(_binary_stdin() if path == STREAM else path)


def print_text(text: str) -> None:
    """Text on standard output. Raises ObicError if that is closed, OSError if it is full or
    broken."""
    stream = _standard(sys.stdout, "output")
    text = visible(text).encode(stream.encoding, "backslashreplace").decode(stream.encoding)  # names are any text
    click.echo(text, file=stream)


def visible(text: str, kept: str = "\n") -> str:
    """Text whose control characters but those `kept` are spelt out: names could command a terminal
    with them."""
    return CONTROL.sub(lambda found: found[0] if found[0] in kept else ascii(found[0])[1:-1], text)


def _binary_stdin() -> BinaryIO:
    stdin = _standard(sys.stdin, "input")
    if stdin.isatty():
        raise UsageError("standard input is a terminal; name a file or use a pipe")
    return stdin.buffer


def _standard(stream: TextIO | None, name: str) -> TextIO:
    if stream is None:
        raise ObicError(f"standard {name} is closed")
    return stream


class Output:
    """Where a result goes: a file that appears whole or not at all, or standard output.

    A file that is replaced hands on its mode, its owner and its extended attributes, as far as that
    is allowed; a symbolic link stays, and what it leads to is replaced; a hard link keeps the old
    file. New files obey the umask.

    What can be refused is refused at once, before any work. Raises UsageError (a terminal, the
    input itself), ObicError (there is a file and `overwrite` is False), OSError (no such folder, a
    file that may not be written). `existed`: whether there was a file.
    """

    def __init__(self, path: str, *, source: str, overwrite: bool):
        self.path = path
        self.existed = path != STREAM and os.path.isfile(path)
        self._overwrite = overwrite
        if path == STREAM:
            if _standard(sys.stdout, "output").isatty():
                raise UsageError("binary data is not written to a terminal; use -o FILE or a pipe")
            return
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        for folder in (os.path.dirname(path) or ".", os.path.dirname(os.path.realpath(path))):
            if not os.path.isdir(folder):
                raise FileNotFoundError(errno.ENOENT, "No such folder", folder)
        if self.existed and source != STREAM and os.path.exists(source) and os.path.samefile(path, source):
            raise UsageError(f"{path} is the input; name another output with -o")
        self._check_overwrite()
        with suppress(FileNotFoundError):
            os.lstat(path)  # too long a name raises another OSError
        if self.existed or not os.path.exists(path):  # else a device or a pipe
            self._check_writable()

    def write(self, data: bytes) -> None:
        """Write all of it. Raises OSError as the file does; then nothing is left behind."""
        if self.path == STREAM:
            rest = memoryview(data)
            while rest:  # with PYTHONUNBUFFERED the stream may take less than all, also where its reader goes away
                rest = rest[sys.stdout.buffer.write(rest) :]
            sys.stdout.buffer.flush()
        elif os.path.exists(self.path) and not os.path.isfile(self.path):  # a device or a named pipe
            with open(self.path, "wb") as file:
                file.write(data)
        else:
            self._replace(data)

    def _replace(self, data: bytes) -> None:
        target = os.path.realpath(self.path)  # a symbolic link stays one
        part = os.path.join(os.path.dirname(target), f".obic-{os.urandom(8).hex()}.part")
        replaced = os.path.isfile(target)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(part, flags, 0o600 if replaced else 0o666), "wb") as file:
                file.write(data)
            if replaced:
                _hand_on(target, part)
            self._check_overwrite()
            os.replace(part, target)
        except BaseException as error:
            if os.path.exists(part):
                os.unlink(part)
            if isinstance(error, OSError) and error.filename == part:
                error.filename, error.filename2 = self.path, None
            raise

    def _check_writable(self) -> None:
        """The file that is there, and the folder, where the new one is made beside it."""
        for place in ([self.path] if self.existed else []) + [os.path.dirname(os.path.realpath(self.path))]:
            if not os.access(place, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), place)

    def _check_overwrite(self) -> None:
        if not self._overwrite and os.path.isfile(self.path):
            raise ObicError(f"{self.path} exists and --no-overwrite was given")


def _hand_on(old: str, new: str) -> None:
    """Owner, mode and extended attributes of one file to another, as far as that is allowed; not
    its times."""
    status = os.stat(old)
    if change_owner := getattr(os, "chown", None):  # of POSIX
        for owner in ((status.st_uid, status.st_gid), (-1, status.st_gid)):
            with suppress(OSError):
                change_owner(new, *owner)
                break
    with suppress(OSError):
        shutil.copystat(old, new)
    with suppress(OSError):
        os.utime(new)
