"""Room 5. The inputs of one command line: files and folders in, one result each, failures told and counted.

A single file behaves as if there were no batch: its error is the command's error. Among several, a failure is told,
the others go on, and the command fails at the end.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from threading import Lock
from typing import NamedTuple

import click

from obic.cli.common import STREAM, Output, derived_name, local_name, open_source, print_text, say, settings, tell_error
from obic.container import Container, RemoteSource, files_below, is_address, open_container
from obic.errors import ObicError, UsageError
from obic.progress import told_to

OBIC_SUFFIXES = (".obic",)
PICTURE_SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm"),
    *(".png", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
)
BAR = 30  # characters

Report = dict | str | None


class Input(NamedTuple):
    """A file, and its name below the folder that was given (its bare name if the file itself was given)."""

    path: str
    relative: str


class Batch:
    """The inputs of a command, and where their results go.

    sources: files, "-", addresses, and folders (an address that ends in "/" is one), which stand for all files below
    them with one of `suffixes`.
    output: of a single input; output_dir: for any number, made where it is missing. workers: threads.
    Raises UsageError where these do not fit together.
    """

    def __init__(
        self,
        sources: Sequence[str],
        suffixes: Sequence[str],
        *,
        output: str | None = None,
        output_dir: str | None = None,
        overwrite: bool = True,
        workers: int = 1,
    ):
        self.inputs = [found for source in sources for found in _find(source, suffixes)]
        self.alone = len(sources) == 1 and not _is_folder(sources[0])
        self.output = output
        self.output_dir = output_dir
        self.overwrite = overwrite
        self.settings = settings()
        self._workers = workers
        self._taken = {_same(item.path) for item in self.inputs}
        self._claims: dict[str, str] = {}
        self._lock = Lock()
        self._bar = _Bar(0 if self.alone else len(self.inputs))
        if output is not None and output_dir is not None:
            raise UsageError("-o names one file and --output-dir a folder for any number; give one of them")
        if output is not None and not self.alone:
            raise UsageError("several inputs need --output-dir instead of -o")
        if STREAM in sources and not self.alone:
            raise UsageError("standard input cannot stand among other inputs")
        if STREAM in sources and output_dir is not None:
            raise UsageError("standard input has no name; use -o instead of --output-dir")

    def run(self, work: Callable[["Job"], Report], *, as_json: bool = False) -> None:
        """Call `work` for each input and print its reports in the order of the inputs.

        A report is text, or a dictionary, printed as one line of JSON (with "input", where there are several).
        Raises what `work` raises for a single input, and ObicError at the end if some of several failed.
        """
        failed: list[str] = []
        self._bar.draw()
        try:
            if self.alone:
                with told_to(self._bar.follow):
                    self.show(self._do(work, self.inputs[0]))
            else:
                failed = self._run_all(work, as_json)
        finally:
            self._bar.clear()
        if failed:
            raise ObicError(f"{len(failed)} of {len(self.inputs)} inputs failed: {', '.join(failed)}")

    def _run_all(self, work: Callable[["Job"], Report], as_json: bool) -> list[str]:
        """Returns the inputs that failed."""
        debug = self.settings.debug
        failed = []
        with closing(self._outcomes(work)) as outcomes:
            for item, outcome in outcomes:
                try:
                    report = outcome()
                except Exception as error:
                    failed.append(item.path)
                    with self._lock, self._bar:
                        code, message = tell_error(error, debug, about=item.path)
                    report = {"error": message, "exit_code": code} if as_json else None
                self._bar.done += 1
                self.show({"input": item.path, **report} if isinstance(report, dict) else report)
        return failed

    def say(self, message: str) -> None:
        """One line for the user, from any worker, without breaking the bar."""
        with self._lock, self._bar:
            say(message)

    def show(self, report: Report) -> None:
        """Print a report on standard output, from any worker."""
        with self._lock, self._bar:
            if report is not None:
                print_text(report if isinstance(report, str) else json.dumps(report))

    def claim(self, path: str, source: str) -> None:
        """Raises UsageError if `path` is an input of this batch, or the output of another one."""
        if _same(path) in self._taken:
            raise UsageError(f"{path} is an input; name another output with -o or --output-dir")
        with self._lock:
            first = self._claims.setdefault(_same(path), source)
        if first != source:
            raise UsageError(f"{path} is the output for {first} already")

    def _outcomes(self, work: Callable[["Job"], Report]) -> Iterator[tuple[Input, Callable[[], Report]]]:
        """Each input with a function that gives its report or raises its error."""
        if self._workers == 1:
            for item in self.inputs:
                yield item, partial(self._do, work, item)
            return
        pool = ThreadPoolExecutor(self._workers)
        try:
            futures = [pool.submit(self._do, work, item) for item in self.inputs]
            for item, future in zip(self.inputs, futures, strict=True):
                yield item, future.result
        finally:  # also when the user interrupts: what has not begun never does
            pool.shutdown(cancel_futures=True)

    def _do(self, work: Callable[["Job"], Report], item: Input) -> Report:
        job = Job(self, item)
        try:
            return work(job)
        finally:
            job.close()


class Job:
    """One input at work: its path, its output, and its voice."""

    def __init__(self, batch: Batch, item: Input):
        self.source = item.path
        self.alone = batch.alone
        self.settings = batch.settings
        self._item = item
        self._batch = batch
        self._remote: RemoteSource | None = None

    def name(self, ending: str) -> str:
        """The input's name, below the folder that was given, with another ending."""
        return derived_name(self._item.relative, ending)

    def output(self, ending: str) -> Output:
        """Where the result goes: what -o or --output-dir says, else beside the input with another ending.

        Raises as `Output` does, and UsageError if another input of the batch has the same output.
        """
        batch = self._batch
        path = batch.output or derived_name(self.source, ending)
        if batch.output_dir is not None:
            path = os.path.join(batch.output_dir, self.name(ending))
            os.makedirs(os.path.dirname(path), exist_ok=True)
        if path != STREAM:
            batch.claim(path, self.source)
        return Output(path, source=self.source, overwrite=batch.overwrite)

    def open(self, verbose: bool = False) -> Container:
        """The input as a container: its header is read, and nothing else.

        verbose: when the job is done, tell how much was read of an address.
        """
        source = open_source(self.source)
        container = open_container(source, self.settings.limits)
        if isinstance(source, RemoteSource):
            if source.whole:
                self.say("note: the server knows no ranges; it sent the whole file")
            if verbose:
                self._remote = source
        return container

    def close(self) -> None:
        """Tell what there is to tell at the end."""
        if self._remote is not None:
            requests = f"{self._remote.requests} request{'' if self._remote.requests == 1 else 's'}"
            self.say(f"read {self._remote.bytes_read:,} bytes in {requests} from {self._remote.address}")

    def say_replaced(self, out: Output) -> None:
        """A note where a picture was replaced under a name that nobody gave."""
        if out.existed and self._batch.output is None and self._batch.output_dir is None:
            self.say(f"note: {out.path} was there and is replaced; -o names another output")

    def show(self, report: str) -> None:
        """Print on standard output what is not returned, because an error follows."""
        self._batch.show(report)

    def say(self, message: str) -> None:
        """One line for the user, that names the input where there are several."""
        self._batch.say(message if self.alone else f"{self.source}: {message}")


def _same(path: str) -> str:
    """A path in the one form it has, however it was written."""
    return os.path.normcase(os.path.realpath(path))


def _is_folder(source: str) -> bool:
    return os.path.isdir(source) or (is_address(source) and source.endswith("/"))


def _find(source: str, suffixes: Sequence[str]) -> list[Input]:
    """A file as it is; the files below a folder that have one of the suffixes, and are not hidden."""
    if not _is_folder(source):
        return [Input(source, local_name(source))]
    names = _names_below(source) if os.path.isdir(source) else files_below(source)
    found = [name for name in names if name.lower().endswith(tuple(suffixes))]
    if not found:
        raise UsageError(f"no file in {source} ends in {', '.join(suffixes)}")
    return [Input(os.path.join(source, name), name) for name in found]


def _names_below(folder: str) -> Iterator[str]:
    """The files below a folder, relative to it; those that stand in it first, all by name; none that is hidden."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield os.path.relpath(os.path.join(place, name), folder)


class _Bar:
    """A bar on standard error, where that is a terminal: `done` of `total`; nothing where the total is 0.

    As a context it makes room for other lines.
    """

    def __init__(self, total: int):
        self.done = 0
        self._total = total
        self._stage = ""
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> None:
        self.clear()

    def __exit__(self, *_: object) -> None:
        self.draw()

    def follow(self, stage: str, done: int, total: int) -> None:
        """How far the work on one picture is (`obic.progress`); only a large one has stages of several steps."""
        with self:
            self.done, self._total, self._stage = done, total if done < total > 1 else 0, f" {stage}"

    def clear(self) -> None:
        if self._terminal and self._total:
            click.echo("\r" + " " * (BAR + 40) + "\r", nl=False, err=True)

    def draw(self) -> None:
        if self._terminal and self._total:
            filled = BAR * self.done // self._total
            click.echo(f"[{'#' * filled:{BAR}}] {self.done}/{self._total}{self._stage}", nl=False, err=True)
