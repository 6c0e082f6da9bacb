"""What the training commands have in common: options and their bounds, errors of one line, and a
time budget that can be cut short without losing the run."""

from __future__ import annotations

import argparse
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

import torch

from obic.constants import CELL
from obic.errors import ObicError
from obic.train.common import parallel
from obic.train.common.curves import say

Value = TypeVar("Value")


def positive(text: str) -> float:
    """An option that is a number above 0."""
    return _bounded(float(text), text, lambda value: 0 < value < float("inf"), "is not a number above 0")


def share(text: str) -> float:
    """An option that is a share, 0..1."""
    return _bounded(float(text), text, lambda value: 0 <= value <= 1, "is not between 0 and 1")


def count(text: str) -> int:
    """An option that is a whole number from 1 on."""
    return _bounded(int(text), text, lambda value: value >= 1, "is not a whole number from 1 on")


def cells(text: str) -> int:
    """An option that is a length of whole cells, in pixels."""
    return _bounded(count(text), text, lambda value: value % CELL == 0, f"is not a multiple of {CELL}")


def output(text: str) -> Path:
    """An option that is a file to write: no folder, and not the curves that are written beside
    it."""
    return _bounded(Path(text), text, lambda path: not path.is_dir() and path.suffix != ".csv", "is not a file's name")


def device(text: str) -> str:
    """An option that is a device of PyTorch's that there is."""
    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError):  # AssertionError: built without CUDA
        raise argparse.ArgumentTypeError(f"there is no device {text!r} here") from None
    return text


def _bounded(value: Value, text: str, fits: Callable[[Value], bool], complaint: str) -> Value:
    if not fits(value):
        raise argparse.ArgumentTypeError(f"{text} {complaint}")
    return value


def add_machine(parser: argparse.ArgumentParser, seed: int = 0) -> None:
    """The options for `join_processes`, and --limit."""
    best = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=device, default=best, help="cpu, cuda (default: the best)")
    parser.add_argument("--threads", type=count, help="CPU threads (default: torch's choice)")
    parser.add_argument("--limit", type=count, metavar="N", help="use only the first N pictures")
    parser.add_argument("--seed", type=int, default=seed)


def join_processes(args: argparse.Namespace) -> str:
    """Joins the other processes and seeds each differently. Returns this one's device."""
    if args.threads:
        torch.set_num_threads(args.threads)
    where = parallel.join(args.device)
    random.seed(args.seed + parallel.rank())
    torch.manual_seed(args.seed + parallel.rank())
    return where


@contextmanager
def plain_errors() -> Iterator[None]:
    """Files and options that do not fit end the process with one line and exit code 1, Ctrl-C with
    130."""
    try:
        yield
    except (OSError, ValueError, ObicError) as error:
        raise SystemExit(f"error: {' '.join(str(error).split())}") from error
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None


class Budget:
    """The time of a run, from entering it on. The first Ctrl-C or SIGTERM ends it early, a second
    one the process."""

    def __init__(self, minutes: float):
        self.seconds = 60 * minutes
        self.over = self.interrupted = False
        self._signal = 0

    def __enter__(self) -> Budget:
        self._begin = time.monotonic()
        self._before = {each: signal.signal(each, self._stop) for each in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        signal.signal(number, signal.SIG_DFL)

    def spent(self) -> float:
        """Seconds so far, the first process's. Sets `over`: this is the last step."""
        now = time.monotonic() - self._begin
        agreed = parallel.agreed(-now if self._signal else now)
        self.interrupted = agreed < 0
        self.over = self.interrupted or agreed >= self.seconds
        return abs(agreed)

    def end(self, advice: str) -> None:
        """If the run was interrupted: says so, with what to do about it, and ends the process."""
        if self.interrupted:
            say(f"interrupted: {advice}")
            raise SystemExit(128 + self._signal if self._signal else 1)
