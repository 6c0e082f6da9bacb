"""What the commands of the benchmark share: options, errors of one line, and checks that results
can be written."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from subprocess import CalledProcessError
from types import ModuleType

from obic.bench.common.pictures import PictureError
from obic.errors import ObicError


def command(main: Callable[[], None]) -> Callable[[], None]:
    """A decorator: a fault of files or options becomes one line on stderr and exit code 1, without
    a traceback."""

    @wraps(main)
    def run() -> None:
        try:
            main()
        except PictureError as error:
            sys.exit(f"{error}; say with --data where they are")
        except OSError as error:
            sys.exit(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        except ObicError as error:
            sys.exit(str(error))
        except CalledProcessError as error:  # a command of obic, which has said why
            sys.exit(error.returncode)

    return run


def number(low: int = 1, high: int | None = None) -> Callable[[str], int]:
    """A type for argparse: an int of at least `low` and at most `high`."""

    def number(text: str) -> int:
        if int(text) < low or (high is not None and int(text) > high):
            span = f"{low} or more" if high is None else f"{low} to {high}"
            raise argparse.ArgumentTypeError(f"{text} is not {span}")
        return int(text)

    return number


def writable(path: Path) -> Path:
    """The path of a file for what will be measured; makes its folder. Raises OSError where it could
    not be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from None
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    place = path if path.exists() else path.parent
    if not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
    return path


def page(out: Path | None, name: str, whole: bool) -> Path | None:
    """The file `name` in the folder given by --out; else in docs if all is measured, or none.
    Raises as `writable`."""
    folder = out or (Path("docs") if whole else None)
    return folder and writable(folder / name)


def extra(name: str) -> ModuleType:
    """A package of the extra `bench`. Raises SystemExit, with what to install, where it is
    missing."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise SystemExit(f"the benchmark needs {error.name}: pip install 'obic[bench]'") from None
