"""Room 5. Whole folders of pictures coded on a cluster, with Ray Data: one copy of the networks in each worker.

Ray is optional: `pip install 'obic[ray]'`. It starts on this machine, or joins the cluster that RAY_ADDRESS names,
where obic has to be installed too.
"""

import os
from typing import TypedDict

from obic.cli.batch import PICTURE_SUFFIXES
from obic.errors import ObicError, UsageError


class Coded(TypedDict):
    """What became of one picture. `error` is empty where `output` was written; there `bytes` is its size."""

    input: str
    output: str
    bytes: int
    error: str


def encode_folder(source: str, target: str, *, workers: int = 2, device: str = "auto", **options) -> list[Coded]:
    """Codes every picture below one folder into another, in the same arrangement; each is one `.obic` file there.

    source, target: folders, here or at an address that fsspec knows (s3://..., with `obic[remote]`); every worker has
    to see them. workers: processes, each with one CPU ("cpu", "auto") or one GPU ("cuda") of the cluster. options:
    those of `obic.Codec.encode`.

    Returns one entry for each picture, by name; a picture that fails does not stop the others. Raises UsageError if
    there is none, ObicError if Ray is not installed.
    """
    try:
        import fsspec
        import ray
    except ImportError as error:
        raise ObicError(f"a cluster needs more than is installed ({error}): pip install 'obic[ray]'") from error

    files, folder = fsspec.core.url_to_fs(source)
    names = sorted(os.path.relpath(path, folder).replace(os.sep, "/") for path in files.find(folder))
    names = [name for name in names if name.lower().endswith(PICTURE_SUFFIXES)]
    if not names:
        raise UsageError(f"no file in {source} ends in {', '.join(PICTURE_SUFFIXES)}")
    pictures = ray.data.from_items([{"name": name} for name in names], override_num_blocks=len(names))
    coded = pictures.map(
        _Worker,
        fn_constructor_args=(source, target, device, options),
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_gpus=1 if device == "cuda" else None,
    )
    return sorted(coded.take_all(), key=lambda entry: entry["input"])


class _Worker:
    """One process of the cluster, with its networks."""

    def __init__(self, source: str, target: str, device: str, options: dict):
        import fsspec

        from obic.api import Codec

        self._codec = Codec(device)
        self._options = options
        self._source, self._from = fsspec.core.url_to_fs(source)
        self._target, self._to = fsspec.core.url_to_fs(target)

    def __call__(self, row: dict) -> Coded:
        name = row["name"]
        output = f"{self._to}/{os.path.splitext(name)[0]}.obic"
        try:
            data = self._codec.encode(self._source.cat_file(f"{self._from}/{name}"), **self._options)
            self._target.makedirs(os.path.dirname(output), exist_ok=True)
            with self._target.transaction, self._target.open(output, "wb") as file:  # it appears whole or not at all
                file.write(data)
        except Exception as error:  # of any kind: the other pictures are to be coded
            return Coded(input=name, output=output, bytes=0, error=f"{type(error).__name__}: {error}")
        return Coded(input=name, output=output, bytes=len(data), error="")
