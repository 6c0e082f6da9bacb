"""Room 5. Where results go: the names of outputs, settled for all inputs of a command before
anything is coded."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable
from threading import Lock
from typing import NamedTuple

from obic.cli.streams import STREAM
from obic.container import is_address
from obic.errors import UsageError


class Input(NamedTuple):
    """A file, and its name below the folder that was given (its bare name if the file itself was
    given)."""

    path: str
    relative: str


class Destinations:
    """The outputs of the inputs of a command.

    output: of a single input. output_dir: below it results lie as the inputs do below their
    folders; else each lies beside its input, or in the current folder if the input comes from an
    address.
    """

    def __init__(self, inputs: Collection[Input], output: str | None = None, output_dir: str | None = None):
        self.named = output is not None or output_dir is not None  # by the user, not after the inputs
        self._output, self._output_dir = output, output_dir
        self._names = stems(item.relative for item in inputs)
        places = stems(map(_beside, inputs))
        self._stems = {
            item: places[_beside(item)] if output_dir is None else os.path.join(output_dir, self.name(item))
            for item in inputs
        }
        self._owners: dict[str, str] = {}
        for item, stem in self._stems.items():
            self._owners.setdefault(_real(stem), item.path)
        self._inputs = {_real(item.path) for item in inputs}
        self._claims: dict[str, str] = {}
        self._lock = Lock()

    def name(self, item: Input) -> str:
        """Of an input below its folder, without its suffix, as far as `stems` allows."""
        return self._names[item.relative]

    def keeps_suffix(self, item: Input) -> bool:
        """Whether the suffix of an input is in the name of its output, too."""
        own = os.path.basename(_beside(item))
        return not self._output and os.path.basename(self._stems[item]) == own != os.path.splitext(own)[0]

    def claim(self, item: Input, ending: str) -> str:
        """The path of an input's output; "-" is standard output. Makes the folder where it is
        missing.

        Raises UsageError as `claim_path`.
        """
        stem = self._stems[item]
        path = self._output or (STREAM if item.path == STREAM else stem + ending)
        if path == STREAM:
            return path
        if self._output_dir is not None:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        self.claim_path(path, item.path, self._owners[_real(stem)])
        return path

    def claim_path(self, path: str, source: str, owner: str | None = None) -> None:
        """Raises UsageError if `path` is an input, or the output of another one. owner: which comes
        first."""
        if _real(path) in self._inputs:
            raise UsageError(f"{path} is an input; name another output with -o or --output-dir")
        with self._lock:
            first = self._claims.setdefault(_real(path), owner or source)
        if first != source:
            raise UsageError(f"{path} is the output for {first} already")


def stems(names: Iterable[str]) -> dict[str, str]:
    """Each name without its suffix; those keep it that are not told apart without it, whatever
    their case.

    "a.jpg", "a.png" and "b.png" become "a.jpg", "a.png" and "b". Their order does not matter.
    """
    short = {name: os.path.splitext(name)[0] for name in names}
    while True:
        count = Counter(map(_folded, short.values()))
        alike = {name: name for name, stem in short.items() if stem != name and count[_folded(stem)] > 1}
        if not alike:
            return short
        short |= alike


def local_name(source: str) -> str:
    """The last part of a path or an address: "https://example.org/a/x.obic?v=1" gives "x.obic"."""
    return os.path.basename(re.split("[?#]", source)[0] if is_address(source) else source)


def _beside(item: Input) -> str:
    """Where a result would lie, but for its ending."""
    return local_name(item.path) if is_address(item.path) else item.path


def _real(path: str) -> str:
    """A path in the one form it has, however it was written."""
    return os.path.normcase(os.path.realpath(path))


def _folded(path: str) -> str:
    return os.path.abspath(path).casefold()
