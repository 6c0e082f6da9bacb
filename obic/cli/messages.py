"""Room 5. What a command says on standard error: notes, errors, times of stages, and a bar while it
works."""

import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock

import click

from obic.cli.streams import print_text, visible
from obic.container import PART_TITLES
from obic.errors import ObicError
from obic.metadata import Metadata, describe
from obic.progress import listening

BAR = 30  # characters


def say(message: str) -> None:
    """One line for the user, on standard error."""
    click.echo(f"obic: {visible(message, '')}", err=True)


@contextmanager
def timed(stage: str, tell: Callable[[str], None] | None = say) -> Iterator[None]:
    """Tells how long a stage took, unless `tell` is None."""
    start = time.perf_counter()
    yield
    if tell:
        tell(f"{stage:12s} {time.perf_counter() - start:8.3f} s")


def lost_notes(lost: Iterable[int]) -> list[str]:
    """A note for each kind of metadata in a file that cannot be read."""
    return [f"the {PART_TITLES[kind]} data is damaged and left out" for kind in lost]


def metadata_notes(metadata: Metadata, kinds: Collection[int], format: str) -> list[str]:
    """A note about the metadata of a file that were asked for, and that a picture format cannot
    hold."""
    from obic.images import held

    metadata = {kind: data for kind, data in metadata.items() if kind in kinds}
    left_out = {kind: metadata[kind] for kind in metadata.keys() - held(metadata, format).keys()}
    return [f"{format} is written without {describe(left_out)}"] if left_out else []


def show_trace(error: Exception) -> None:
    """Where an error came from, for --debug."""
    sys.excepthook(type(error), error, error.__traceback__)


def say_error(error: Exception, about: str = "") -> tuple[int, str]:
    """One line about an error on standard error; returns its exit code and message.

    `about`: the input it belongs to, where there are several.
    """
    code, message = explain(error)
    message = " ".join(message.split())
    if about and not message.startswith(f"{about}: "):
        message = f"{about}: {message}"
    say(message)
    return code, message


def explain(error: Exception) -> tuple[int, str]:
    """The exit code and the message of an error."""
    if isinstance(error, click.UsageError):
        hint = f" (try: {error.ctx.command_path} --help)" if error.ctx else ""
        return error.exit_code, error.format_message() + hint
    if isinstance(error, click.Abort):
        return 130, "interrupted"
    if isinstance(error, ObicError):
        return error.exit_code, str(error)
    if isinstance(error, OSError):
        return 1, f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    if isinstance(error, MemoryError):
        return 1, "not enough memory"
    return 1, f"internal error: {type(error).__name__}: {error} (--debug shows where)"


class Console:
    """Lines and reports of any number of workers, above a bar on standard error where that is a
    terminal.

    total: how many inputs the bar counts; 0: it shows the stages of a single one, if that is large
    (`obic.progress`).
    """

    def __init__(self, total: int):
        self._done, self._total, self._stage = 0, total, ""
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._lock = Lock()

    def say(self, message: str) -> None:
        """One line for the user."""
        with self._room():
            say(message)

    def say_error(self, error: Exception, about: str, trace: bool) -> tuple[int, str]:
        """As the function `say_error`, with the error's trace above it if asked for."""
        with self._room():
            if trace:
                show_trace(error)
            return say_error(error, about)

    def print(self, text: str) -> None:
        """A report on standard output."""
        with self._room():
            print_text(text)

    @contextmanager
    def bar(self) -> Iterator[None]:
        """Shows the bar within it; nothing of it stays."""
        self._draw()
        try:
            with nullcontext() if self._total else listening(self._follow):
                yield
        finally:
            self._clear()

    def count(self) -> None:
        """One more input is done."""
        with self._room():
            self._done += 1

    def _follow(self, stage: str, done: int, total: int) -> None:
        with self._room():
            self._done, self._total, self._stage = done, total if done < total > 1 else 0, f" {stage}"

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Takes the bar away for other lines, for one worker at a time."""
        with self._lock:
            self._clear()
            try:
                yield
            finally:
                self._draw()

    def _clear(self) -> None:
        if self._terminal and self._total:
            click.echo("\r" + " " * (BAR + 40) + "\r", nl=False, err=True)

    def _draw(self) -> None:
        if self._terminal and self._total:
            filled = BAR * self._done // self._total
            click.echo(f"[{'#' * filled:{BAR}}] {self._done}/{self._total}{self._stage}", nl=False, err=True)
