"""Room 5. `obic`: the group of commands, and the one place where errors become exit codes."""

import importlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import click

from obic import __version__
from obic.cli.messages import say, say_error

COMMANDS = ("encode", "decode", "extract", "merge", "info", "mask", "verify", "report", "serve")

RETRY = 0.05  # seconds until a signal during an import is raised again

EPILOG = """\b
Examples:
  obic encode photo.png                      photo.obic, about 0.1 bits per pixel
  obic decode photo.obic -o again.png        the whole picture
  obic extract photo.obic --layer object     photo-object.obic: the object alone
  obic info photo.obic                       where the bytes are

\b
Exit codes:
  0 done   1 failed   2 usage   3 not a valid file, or damaged
  4 made with a model or version this build lacks   5 over a limit
  130 interrupted (Ctrl-C)   143 terminated
"""


class LazyGroup(click.Group):
    """A group whose commands live in modules of their names and are imported when they are
    named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return importlib.import_module(f"obic.cli.{name}").command if name in COMMANDS else None


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="obic %(version)s")
def group() -> None:
    """Code a picture as objects and background, each with its own bytes and quality.

    "-" is standard input or output wherever a file is named. A result is called after its input,
    with another suffix; inputs that differ in their suffix alone keep it: a.jpg and a.png become
    a.jpg.obic and a.png.obic.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. An error is one line on standard error."""
    with _ended_by_signals() as received, _warnings_are_notes():
        try:
            return group.main(argv, prog_name="obic", standalone_mode=False) or 0
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            return error.exit_code
        except BaseException as error:
            if received:  # whatever a library has made of what the signal raised: a panic in Rust is no Exception
                return _after(received[0])
            if not isinstance(error, Exception):
                raise
            code, _ = say_error(error)
            if isinstance(error, OSError):
                _give_up_on_stdout()
            return code


@contextmanager
def _ended_by_signals() -> Iterator[list[int]]:
    """SIGTERM and SIGHUP end the command as Ctrl-C does: nothing half written stays behind. For the
    main thread.

    Gives the signals that came. One that comes during an import is raised again a little later.
    """
    before, received = {}, []

    def end(number: int, frame: FrameType | None) -> None:
        if _imports(frame):
            later = threading.Timer(RETRY, _raise_in_main_thread, (number,))
            later.daemon = True
            later.start()
            return
        received.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    if threading.current_thread() is threading.main_thread():
        asked = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))  # Windows lacks the last
        before = {number: signal.getsignal(number) for number in asked if number}
    ours = [number for number, old in before.items() if old in (signal.SIG_DFL, signal.default_int_handler)]
    for number in ours:
        signal.signal(number, end)
    try:
        yield received
    finally:
        for number in ours:
            signal.signal(number, before[number])


@contextmanager
def _warnings_are_notes() -> Iterator[None]:
    """What libraries warn of is told in one line, as our notes are, each once."""
    before, told = warnings.showwarning, set()

    def tell(message: Warning | str, *_: object, **__: object) -> None:
        if (text := " ".join(str(message).split())) not in told:
            told.add(text)
            say(f"note: {text}")

    warnings.showwarning = tell
    try:
        yield
    finally:
        warnings.showwarning = before


def _imports(frame: FrameType | None) -> bool:
    """Whether the command is in the middle of an import: an exception there can make a compiled
    module abort."""
    while frame and frame.f_code is not main.__code__:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


def _raise_in_main_thread(number: int) -> None:
    """So that what the main thread waits for ends too."""
    to_thread = getattr(signal, "pthread_kill", None)  # Windows lacks it
    if to_thread:
        to_thread(threading.main_thread().ident, number)
    else:
        signal.raise_signal(number)


def _after(number: int) -> int:
    """The exit code after a signal. Of Ctrl-C there is a line, as someone sits there."""
    if number == signal.SIGINT:
        say("interrupted")
    return 128 + number


def _give_up_on_stdout() -> None:
    """What a full or broken standard output still holds is dropped, or Python would fail over it
    once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except AttributeError:  # standard output is closed: there is nothing to drop
        pass
