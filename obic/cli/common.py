"""Room 5. What the commands share: input, output, messages, stage times, options."""

import errno
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

import click

from obic.backends import BACKENDS, DEVICES
from obic.container import PART_TITLES, ByteSource, Limits, as_source, is_address, read_file
from obic.errors import ObicError, UsageError
from obic.looks import FAITHFUL, LOOKS
from obic.metadata import Metadata, describe, kinds_from_text
from obic.prompts import BUILTIN, box, point

STREAM = "-"


@dataclass
class Settings:
    """What holds for a command line as a whole: how its failure is told, and what it accepts."""

    debug: bool = False
    max_pixels: int = Limits().max_pixels

    @property
    def limits(self) -> Limits:
        """Of `.obic` files."""
        return Limits(max_pixels=self.max_pixels)


def settings() -> Settings:
    """Of the command line at work, in the thread that it began in; elsewhere what holds without options."""
    context = click.get_current_context(silent=True)
    return context.obj if context else Settings()


def say(message: str) -> None:
    """One line for the user, on standard error."""
    click.echo(f"obic: {message}", err=True)


def print_text(text: str) -> None:
    """Text on standard output. Raises ObicError if that is closed, OSError if it is full or broken."""
    stream = _standard(sys.stdout, "output")
    text = text.encode(stream.encoding, "backslashreplace").decode(stream.encoding)  # names of layers are any text
    click.echo(text, file=stream)


# --- input ------------------------------------------------------------------------------------------------------------


def read_input(path: str) -> bytes:
    """All bytes of a file, by its path or its address, or of standard input for "-"."""
    return _binary_stdin().read() if path == STREAM else read_file(path)


def open_source(path: str) -> ByteSource:
    """What to read an `.obic` from: a path, an address, or standard input for "-"."""
    return as_source(_binary_stdin() if path == STREAM else path)


def _binary_stdin() -> BinaryIO:
    stdin = _standard(sys.stdin, "input")
    if stdin.isatty():
        raise UsageError("standard input is a terminal; name a file or use a pipe")
    return stdin.buffer


def _standard(stream, name: str):
    if stream is None:
        raise ObicError(f"standard {name} is closed")
    return stream


# --- output -----------------------------------------------------------------------------------------------------------


def derived_name(source: str, ending: str) -> str:
    """The output for an input when none is named: "a/x.png" with ".obic" gives "a/x.obic"; "-" stays "-".

    What comes from an address goes to the current folder.
    """
    if source == STREAM:
        return STREAM
    return os.path.splitext(local_name(source) if is_address(source) else source)[0] + ending


def local_name(source: str) -> str:
    """The last part of a path or an address: "https://example.org/a/x.obic?v=1" gives "x.obic"."""
    return os.path.basename(re.split("[?#]", source)[0] if is_address(source) else source)


class Output:
    """Where a result goes: a file that appears whole or not at all, or standard output.

    A file that is replaced hands on its mode, its owner and its extended attributes, as far as that is allowed; a
    symbolic link stays, and what it leads to is replaced; a hard link keeps the old file. New files obey the umask.

    What can be refused is refused at once, before any work. Raises UsageError (a terminal, the input itself),
    ObicError (there is a file and `overwrite` is False), OSError (no such folder, a file that may not be written).
    `existed`: whether there was a file.
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
        if self.existed and not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

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

    def _check_overwrite(self) -> None:
        if not self._overwrite and os.path.isfile(self.path):
            raise ObicError(f"{self.path} exists and --no-overwrite was given")


def _hand_on(old: str, new: str) -> None:
    """Owner, mode and extended attributes of one file to another, as far as that is allowed; not its times."""
    status = os.stat(old)
    change_owner = getattr(os, "chown", None)  # of POSIX
    for owner in ((status.st_uid, status.st_gid), (-1, status.st_gid)) if change_owner else ():
        with suppress(OSError):
            change_owner(new, *owner)
            break
    with suppress(OSError):
        shutil.copystat(old, new)
    with suppress(OSError):
        os.utime(new)


# --- options and messages ---------------------------------------------------------------------------------------------


class Stages:
    """Times the stages of a command and tells them when asked to."""

    def __init__(self, verbose: bool, tell: Callable[[str], None] = say):
        self._verbose = verbose
        self._tell = tell

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self._verbose:
            self._tell(f"{name:12s} {time.perf_counter() - start:8.3f} s")


def tell_lost(tell: Callable[[str], None], lost: Iterable[int]) -> None:
    """A note about each kind of metadata in a file that cannot be read."""
    for kind in lost:
        tell(f"note: the {PART_TITLES[kind]} data is damaged and left out")


def tell_metadata(tell: Callable[[str], None], metadata: Metadata, kinds: Collection[int], format: str) -> None:
    """A note about the metadata of a file that were asked for, and that a picture format cannot hold."""
    from obic.images import held

    metadata = {kind: data for kind, data in metadata.items() if kind in kinds}
    if left_out := {kind: metadata[kind] for kind in metadata.keys() - held(metadata, format).keys()}:
        tell(f"note: {format} is written without {describe(left_out)}")


def _segmenter(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The name, checked as far as that is quick. For "list" prints what there is, and ends the command."""
    if value == BUILTIN or ctx.resilient_parsing:
        return value
    from obic.segment.adapters import check_name, table

    if value != "list":
        return check_name(value)
    rows = [("NAME", "INSTALLED", "LICENCE OF THE WEIGHTS, AS FAR AS KNOWN"), *table()]
    wide, narrow = (max(len(row[column]) for row in rows) for column in (0, 1))
    print_text("\n".join(f"{name:{wide}}  {installed:{narrow}}  {licence}" for name, installed, licence in rows))
    ctx.exit()


def _each(read: Callable) -> Callable:
    """A callback for an option that may be given several times."""
    return lambda ctx, param, values: tuple(map(read, values))


def _remember(ctx: click.Context, param: click.Parameter, value: bool | int) -> None:
    setattr(ctx.find_object(Settings), param.name, value)


input_argument = click.argument("source", metavar="IN", type=click.Path())
inputs_argument = click.argument("sources", metavar="IN...", type=click.Path(), nargs=-1, required=True)
output_option = click.option(
    "-o", "--output", metavar="OUT", type=click.Path(), help="Output file, - for standard output."
)
output_dir_option = click.option(
    "--output-dir", metavar="DIR", type=click.Path(), help="Folder for the output of any number of inputs."
)
jobs_option = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Inputs at work at a time; they share the cores and the networks.",
)
overwrite_option = click.option("--overwrite/--no-overwrite", default=True, help="Replace an existing OUT (default).")
device_option = click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="auto",
    show_default=True,
    help="Where torch computes; auto takes a GPU if there is one.",
)
backend_option = click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    envvar="OBIC_BACKEND",
    help="What computes the networks: numpy starts at once; torch is faster on large pictures, and needs obic[torch].",
)
segmenter_option = click.option(
    "--segmenter",
    default=BUILTIN,
    show_default=True,
    envvar="OBIC_SEGMENTER",
    metavar="NAME",
    is_eager=True,
    callback=_segmenter,
    help="What finds objects: torchvision:NETWORK, rembg:SESSION, onnx:FILE, python:MODULE:ATTRIBUTE; list shows all.",
)
box_option = click.option(
    "--box",
    "boxes",
    multiple=True,
    metavar="X0,Y0,X1,Y1",
    callback=_each(box),
    help="Where an object is, in pixels or shares as 40%; repeatable.",
)
point_option = click.option(
    "--point",
    "points",
    multiple=True,
    metavar="X,Y",
    callback=_each(point),
    help="A point of an object that the segmenter finds; repeatable.",
)
look_option = click.option(
    "--look",
    type=click.Choice(LOOKS),
    default=FAITHFUL,
    show_default=True,
    help="What low rates look like: smooth where bits are missing, or sharp, with detail that is made up.",
)
max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=Limits().max_pixels,
    metavar="N",
    expose_value=False,
    callback=_remember,
    help="Refuse larger pictures, before any memory is taken for them (default: 134 million).",
)
metadata_option = click.option(
    "--metadata",
    default="all",
    show_default=True,
    metavar="none|exif,icc,xmp|all",
    callback=lambda ctx, param, value: kinds_from_text(value),
    help="Which metadata of the file go into OUT.",
)
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Tell how long each stage took, and more.")
debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_remember, help="Show the trace of an error."
)
background_color_option = click.option(
    "--background-color",
    metavar="COLOR",
    default="white",
    show_default=True,
    help="What a transparent picture is composed on: a name or #rrggbb.",
)


def obic_command(*options: Callable, epilog: str, argument: Callable = inputs_argument) -> Callable:
    """A click command with its inputs, its own options and those of all. The examples keep their line breaks."""

    def decorate(function: Callable) -> click.Command:
        for option in reversed((argument, *options, max_pixels_option, debug_option)):
            function = option(function)
        examples = "\b\nExamples:\n" + "\n".join("  " + line for line in epilog.strip().splitlines())
        return click.command(epilog=examples, context_settings={"max_content_width": 100})(function)

    return decorate


def tell_error(error: Exception, debug: bool, about: str = "") -> tuple[int, str]:
    """One line about an error on standard error, with its trace above it for --debug; its exit code and message.

    `about`: the input it belongs to, where there are several.
    """
    code, message = explain(error)
    message = " ".join(message.split())
    if about and not message.startswith(f"{about}: "):
        message = f"{about}: {message}"
    if debug:
        sys.excepthook(type(error), error, error.__traceback__)
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
