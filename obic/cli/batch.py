"""Room 5. The inputs of one command: files and folders in, one result each, failures told and
counted.

A single file behaves as if there were no batch: its error is the command's error. Among several, a
failure is told, the others go on, and the command fails at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from functools import partial
from typing import TYPE_CHECKING, Any

from obic.cli.destinations import Destinations, Input, local_name, stems
from obic.cli.messages import Console, say, timed
from obic.cli.options import Settings
from obic.cli.streams import STREAM, Output, open_source, read_input
from obic.container import Container, RemoteSource, files_below, is_address, open_container
from obic.errors import ObicError, UsageError

if TYPE_CHECKING:
    from obic.images import Picture
    from obic.networks import Networks

OBIC_SUFFIXES = (".obic",)
PICTURE_SUFFIXES = (
    *(".apng", ".avif", ".bmp", ".gif", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jxl"),
    *(".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
)
MASK_BESIDE = "-mask.png"  # of what "obic mask" writes beside a picture

Report = dict[str, Any] | str | None


class Job:
    """One input being processed."""

    def __init__(self, item: Input, *, alone: bool, settings: Settings, destinations: Destinations, console: Console):
        self.source = item.path
        self.alone = alone
        self.settings = settings
        self._item = item
        self._destinations = destinations
        self._console = console
        self._remote: RemoteSource | None = None

    @property
    def relative(self) -> str:
        """The input's name, below the folder that was given."""
        return self._item.relative

    @property
    def name(self) -> str:
        """The same without its suffix, unless another input differs in that alone."""
        return self._destinations.name(self._item)

    def output(self, ending: str) -> Output:
        """Where the result goes: what -o or --output-dir says, else beside the input with another
        ending.

        Raises as `Output` does, and UsageError if another input of the batch has the same output.
        """
        path = self._destinations.claim(self._item, ending)
        if self._destinations.keeps_suffix(self._item):
            self.note(f"another input differs in the suffix alone, so the result is {os.path.basename(path)}")
        if path == STREAM and self.settings.as_json:
            raise UsageError("--json and the result both want standard output; use -o FILE")
        return Output(path, source=self.source, overwrite=self.settings.overwrite)

    def picture(self, *, keep_profile: bool = False) -> Picture:
        """The input as a picture, read as the settings say. Raises as
        `obic.images.read_picture`."""
        from obic.images import read_picture

        settings = self.settings
        return read_picture(
            read_input(self.source),
            background=settings.background_color,
            max_pixels=settings.max_pixels,
            keep_profile=keep_profile,
            frame=settings.frame,
        )

    def open(self) -> Container:
        """The input as a container: its header is read, and nothing else."""
        source = open_source(self.source)
        container = open_container(source, self.settings.limits)
        if isinstance(source, RemoteSource):
            self._remote = source
            if source.whole:
                self.note("the server knows no ranges; it sent the whole file")
        return container

    def close(self) -> None:
        """Tell how much was read of an address, if the command is to tell more."""
        if self._remote is not None and self.settings.verbose:
            requests = f"{self._remote.requests} request{'' if self._remote.requests == 1 else 's'}"
            self.say(f"read {self._remote.bytes_read:,} bytes in {requests} from {self._remote.address}")

    def stage(self, name: str) -> AbstractContextManager[None]:
        """A context whose time is told if the command is to tell more."""
        return timed(name, self.say if self.settings.verbose else None)

    def note_replaced(self, out: Output) -> None:
        """A note where a picture was replaced under a name that nobody gave."""
        if out.existed and not self._destinations.named:
            self.note(f"{out.path} was there and is replaced; -o names another output")

    def print(self, report: str) -> None:
        """Print on standard output what is not returned, because an error follows."""
        self._console.print(report)

    def note(self, *notes: str) -> None:
        """A line for each note."""
        for note in notes:
            self.say(f"note: {note}")

    def say(self, message: str) -> None:
        """One line for the user, that names the input where there are several."""
        self._console.say(message if self.alone else f"{self.source}: {message}")


Work = Callable[[Job], Report]


class Batch:
    """The inputs of a command, and where their results go.

    sources: files, "-", addresses, and folders (an address that ends in "/" is one), which stand
    for all files below them with one of `suffixes`. Raises UsageError where they do not fit
    together, or not to the settings.
    """

    def __init__(self, sources: Sequence[str], suffixes: Sequence[str], settings: Settings):
        inputs: dict[str, Input] = {}
        for item in (item for source in sources for item in _inputs_of(source, suffixes)):
            inputs.setdefault(os.path.abspath(item.path), item)
        self.inputs = [*inputs.values()]
        self.alone = len(sources) == 1 and not _is_folder(sources[0])
        self.settings = settings
        output, output_dir = settings.output, settings.output_dir
        if output is not None and output_dir is not None:
            raise UsageError("-o names one file and --output-dir a folder for any number; give one of them")
        if output is not None and not self.alone:
            raise UsageError("several inputs need --output-dir instead of -o")
        if len(sources) == 2 and _is_meant_as_output(sources[1], suffixes):
            raise UsageError(f"there is no {sources[1]}; if it is to be the output, name it with -o")
        if STREAM in sources and not self.alone:
            raise UsageError("standard input cannot stand among other inputs")
        if STREAM in sources and output_dir is not None:
            raise UsageError("standard input has no name; use -o instead of --output-dir")
        self.destinations = Destinations(self.inputs, output, output_dir)
        self._console = Console(0 if self.alone else len(self.inputs))

    def networks(self) -> Networks:
        """For the work on these inputs."""
        from obic.networks import Networks

        chosen, pictures = self.settings, len(self.inputs)
        return Networks(
            chosen.device, chosen.backend, segmenter=chosen.segmenter, workers=chosen.jobs, pictures=pictures,
            own_process=True,
        )

    def run(self, work: Work) -> None:
        """Call `work` for each input and print its reports in the order of the inputs.

        A report is text, or a dictionary, printed as one line of JSON (with "input", where there
        are several). Raises what `work` raises for a single input, and ObicError at the end if some
        of several failed.
        """
        with self._console.bar():
            if self.alone:
                self._print(self._work_on(self.inputs[0], work))
                return
            failed = self._run_all(work)
        if failed:
            raise ObicError(f"{len(failed)} of {len(self.inputs)} inputs failed: {', '.join(failed)}")

    def _run_all(self, work: Work) -> list[str]:
        """Returns the inputs that failed."""
        failed = []
        with closing(self._outcomes(work)) as outcomes:
            for item, outcome in outcomes:
                try:
                    report = outcome()
                except Exception as error:
                    failed.append(item.path)
                    code, message = self._console.say_error(error, item.path, trace=self.settings.debug)
                    report = {"error": message, "exit_code": code} if self.settings.as_json else None
                self._console.count()
                self._print({"input": item.path, **report} if isinstance(report, dict) else report)
        return failed

    def _outcomes(self, work: Work) -> Generator[tuple[Input, Callable[[], Report]], None, None]:
        """Each input with a function that gives its report or raises its error."""
        if self.settings.jobs == 1:
            for item in self.inputs:
                yield item, partial(self._work_on, item, work)
            return
        pool = ThreadPoolExecutor(self.settings.jobs)
        try:
            futures = [pool.submit(self._work_on, item, work) for item in self.inputs]
            for item, future in zip(self.inputs, futures, strict=True):
                yield item, future.result
        finally:  # also when the user interrupts: what has not begun never does
            pool.shutdown(cancel_futures=True)

    def _work_on(self, item: Input, work: Work) -> Report:
        job = Job(
            item,
            alone=self.alone,
            settings=self.settings,
            destinations=self.destinations,
            console=self._console,
        )
        with closing(job):
            return work(job)

    def _print(self, report: Report) -> None:
        if report is not None:
            self._console.print(report if isinstance(report, str) else json.dumps(report))


def _is_folder(source: str) -> bool:
    return os.path.isdir(source) or (is_address(source) and source.endswith("/"))


def _inputs_of(source: str, suffixes: Sequence[str]) -> list[Input]:
    """A file as it is; the files below a folder that have one of the suffixes, and are not
    hidden."""
    if not _is_folder(source):
        return [Input(source, local_name(source))]
    names, unreadable = _names_below(source) if os.path.isdir(source) else (files_below(source), [])
    found = [name for name in names if name.lower().endswith(tuple(suffixes))]
    if masks := {stem + MASK_BESIDE for stem in stems(found).values()}.intersection(found):
        say(f"note: {source}: {len(masks)} files that end in {MASK_BESIDE} are passed over, as masks of others")
    found = [name for name in found if name not in masks] + unreadable  # to fail by their names
    if not found:
        raise UsageError(f"no file in {source} ends in {', '.join(suffixes)}")
    return [Input(os.path.join(source, name), name) for name in found]


def _is_meant_as_output(source: str, suffixes: Sequence[str]) -> bool:
    """Whether a second input is no such thing, as in "encode IN OUT", which other commands have."""
    return not (is_address(source) or os.path.lexists(source) or source.lower().endswith(tuple(suffixes)))


def _names_below(folder: str) -> tuple[list[str], list[str]]:
    """The files below a folder, and the folders that cannot be read, relative to it.

    Files that stand in it come first, all by name; none that is hidden, no device and no pipe.
    """
    found: list[str] = []
    unreadable: list[str] = []
    for place, folders, names in os.walk(folder, onerror=lambda error: unreadable.append(error.filename)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (os.path.join(place, name) for name in sorted(names) if not name.startswith("."))
        found += (path for path in paths if os.path.isfile(path) or not os.path.exists(path))
    return [os.path.relpath(path, folder) for path in found], [os.path.relpath(path, folder) for path in unreadable]
