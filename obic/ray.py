"""Room 5. Whole folders coded or decoded on a cluster, with Ray Data: one copy of the networks in
each worker.

Ray is optional: `pip install 'obic[ray]'`. It starts on this machine, or joins the cluster that
RAY_ADDRESS names, where obic has to be installed too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from obic.cli.batch import OBIC_SUFFIXES, PICTURE_SUFFIXES
from obic.cli.destinations import stems
from obic.cli.streams import STREAM, Output
from obic.container import files_below, open_container
from obic.errors import ObicError, UsageError
from obic.looks import FAITHFUL

if TYPE_CHECKING:
    from obic.api import Codec

BLOCKS = 32  # of file names a worker: small enough that none waits long for another at the end


class Outcome(TypedDict):
    """What became of one file. `error` is empty where `output` was written; there `bytes` is its
    size."""

    input: str
    output: str
    bytes: int
    error: str


def encode_folder(
    source: str, target: str, *, workers: int = 2, device: str = "auto", segmenter: str | None = None, **options: Any
) -> list[Outcome]:
    """Codes every picture below one folder into another, in the same arrangement; each is one
    `.obic` file there.

    source, target: folders, here or at an address that fsspec knows (s3://..., with
    `obic[remote]`); every worker has to see them. workers: processes, each with one CPU ("cpu",
    "auto") or one GPU ("cuda") of the cluster. segmenter: a name, as `obic.Codec`
    takes it; its package has to be installed on every worker. options: those of
    `obic.Codec.encode`.

    Pictures that differ in their suffix alone keep it: "a.jpg" and "a.png" become "a.jpg.obic" and
    "a.png.obic". Returns one entry for each picture, by name; one that fails does not stop the
    others. Raises UsageError if there is no picture or no such segmenter, OSError as the folder does,
    ObicError if Ray is not installed.
    """
    from obic.segment.adapters import check_name

    if segmenter:
        check_name(segmenter)
    codec = {"device": device, "segmenter": segmenter}
    return _convert_all(source, target, PICTURE_SUFFIXES, ".obic", partial(_encode, options), workers, codec)


def decode_folder(
    source: str, target: str, *, workers: int = 2, device: str = "auto", format: str = "png", damaged: str = "error",
    look: str = FAITHFUL, metadata: str = "all",
) -> list[Outcome]:
    """Decodes every `.obic` file below one folder into another: as `encode_folder`, the other way.

    format, damaged, look, metadata: as `obic decode` has them. Raises UsageError for an unknown
    format or kind, too.
    """
    from obic.images import picture_format
    from obic.metadata import kinds_from_text

    ending = "." + format.lower().lstrip(".")
    work = partial(_decode, picture_format(format), kinds_from_text(metadata), {"damaged": damaged, "look": look})
    return _convert_all(source, target, OBIC_SUFFIXES, ending, work, workers, {"device": device})


def _encode(options: dict[str, Any], codec: Codec, data: bytes) -> bytes:
    return codec.encode(data, **options)


def _decode(format: str, kinds: frozenset[int], options: dict[str, Any], codec: Codec, data: bytes) -> bytes:
    import numpy as np

    from obic.images import write_picture
    from obic.metadata import metadata_of_file

    container = open_container(data)
    pixels = np.asarray(codec.decode(container, **options))
    metadata, _ = metadata_of_file(container, kinds, damaged=options["damaged"])
    return write_picture(pixels, format, metadata, kinds)


def _convert_all(
    source: str,
    target: str,
    suffixes: Sequence[str],
    ending: str,
    work: Callable[[Codec, bytes], bytes],
    workers: int,
    codec: dict[str, Any],
) -> list[Outcome]:
    """Ray's part: every file below `source` with one of the suffixes through `work`, on actors with
    an `obic.Codec` of these arguments each."""
    try:
        import ray
    except ImportError as error:
        raise ObicError(f"a cluster needs more than is installed ({error}): pip install 'obic[ray]'") from error

    names = [name for name in files_below(source) if name.lower().endswith(tuple(suffixes))]
    if not names:
        raise UsageError(f"no file in {source} ends in {', '.join(suffixes)}")
    rows = [{"name": name, "stem": stem} for name, stem in stems(names).items()]
    files = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS * workers))
    done = files.map(
        _Worker,
        fn_constructor_args=(source, target, codec, work, ending),
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_gpus=1 if codec["device"] == "cuda" else None,
    )
    return sorted(done.take_all(), key=lambda entry: entry["input"])


class _Worker:
    """One process of the cluster, with its networks."""

    def __init__(
        self, source: str, target: str, codec: dict[str, Any], work: Callable[[Codec, bytes], bytes], ending: str
    ):
        import fsspec

        from obic.api import Codec

        self._codec, self._work, self._ending = Codec(**codec), work, ending
        self._source, self._from = fsspec.core.url_to_fs(source)
        self._target, self._to = fsspec.core.url_to_fs(target)

    def __call__(self, row: dict[str, str]) -> Outcome:
        name = row["name"]
        output = f"{self._to.rstrip('/')}/{row['stem']}{self._ending}"
        try:
            data = self._work(self._codec, self._source.cat_file(f"{self._from.rstrip('/')}/{name}"))
            self._target.makedirs(os.path.dirname(output), exist_ok=True)
            self._write(output, data)
        except Exception as error:  # of any kind: the other files are to be done
            return Outcome(input=name, output=output, bytes=0, error=f"{type(error).__name__}: {error}")
        return Outcome(input=name, output=output, bytes=len(data), error="")

    def _write(self, output: str, data: bytes) -> None:
        """It appears whole or not at all."""
        if "file" in self._target.protocol:
            Output(output, source=STREAM, overwrite=True).write(data)  # fsspec's takes over nothing of an older file
        else:
            with self._target.transaction, self._target.open(output, "wb") as file:
                file.write(data)
