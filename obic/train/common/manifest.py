"""Writes folders of weights: their files, and the manifest that names them (see `obic.weights`)."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from obic.weights import ENCODER, MANIFEST


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises ValueError where there is none."""
    if not (folder / MANIFEST).is_file():
        raise ValueError(f"{folder} is not a folder of weights: it has no {MANIFEST}")
    return json.loads((folder / MANIFEST).read_text())


def default_entry(folder: Path) -> dict[str, Any]:
    """What the manifest says of the default codec. Raises ValueError if there is none."""
    manifest = read_manifest(folder)
    for each in manifest["codecs"]:
        if each["fingerprint"] == manifest.get("default_codec"):
            return each
    raise ValueError(f"{folder} has no codec")


def write_codec(folder: Path, data: bytes, entry: Mapping[str, Any], keep: bool = False) -> None:
    """Puts a codec's file, as its manifest's entry names it, into a folder, and makes it the
    default codec.

    What it replaces goes, with its looks, once the new one is there. keep: its decoder stays, for
    the files that were made with it, and so do those that were kept before.
    """
    manifest = _manifest(folder)
    before, name = manifest["codecs"], manifest.get("default_codec")
    others = [each for each in before if each["fingerprint"] not in (name, entry["fingerprint"])]
    replaced = [each for each in before if each["fingerprint"] == name != entry["fingerprint"]]
    codecs = [dict(entry), *(_decoder_alone(folder, each) for each in replaced if keep), *others]
    _write(folder / entry["file"], data)
    _write_manifest(folder, {**manifest, "default_codec": entry["fingerprint"], "codecs": codecs})
    for file in _files(before) - _files(codecs):
        (folder / file).unlink(missing_ok=True)


def _decoder_alone(folder: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Writes a codec's file without what only an encoder needs, compressed, and returns its entry
    in the manifest. The fingerprint stays true: it does not cover the encoder."""
    with np.load(folder / entry["file"]) as archive:
        arrays = {name: archive[name] for name in archive.files if not name.startswith(ENCODER)}
    data, file = file_bytes(arrays, np.savez_compressed), f"codec-{entry['fingerprint']}-decoder.npz"
    _write(folder / file, data)
    parameters = {"decoder": sum(array.size for array in arrays.values())}
    stays = {name: value for name, value in entry.items() if name != "looks"}
    return {**stays, "file": file, "sha256": sha256(data), "parameters": parameters}


def _files(codecs: Iterable[Mapping[str, Any]]) -> set[str]:
    return {each["file"] for codec in codecs for each in (codec, *codec.get("looks", {}).values())}


def write_look(folder: Path, look: str, data: bytes, training: Mapping[str, Any]) -> Path:
    """Puts a look of the default codec into its folder, and returns its file. Raises ValueError if
    it has no codec."""
    manifest = read_manifest(folder)
    name = default_entry(folder)["fingerprint"]
    path = folder / f"codec-{name}-{look}.npz"
    entry = next(each for each in manifest["codecs"] if each["fingerprint"] == name)
    entry.setdefault("looks", {})[look] = {"file": path.name, "sha256": sha256(data), "training": dict(training)}
    _write(path, data)
    _write_manifest(folder, manifest)
    return path


def write_segmenter(path: Path, data: bytes, training: Mapping[str, Any]) -> None:
    """Writes a segmenter's file, and names it in its folder's manifest."""
    manifest = _manifest(path.parent)
    _write(path, data)
    manifest["segmenter"] = {"file": path.name, "sha256": sha256(data), "training": dict(training)}
    _write_manifest(path.parent, manifest)


def file_bytes(arrays: dict[str, np.ndarray], save: Callable[..., None] = np.savez) -> bytes:
    """A weights file: the same arrays give the same bytes. save: `np.savez`, or
    `np.savez_compressed` for what is seldom read."""
    buffer, named = io.BytesIO(), dict[str, Any](sorted(arrays.items()))
    save(buffer, **named)
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    """The hash of a file as a manifest holds it, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _manifest(folder: Path) -> dict[str, Any]:
    return read_manifest(folder) if (folder / MANIFEST).exists() else {"codecs": []}


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    _write(folder / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    draft.write_bytes(data)
    draft.replace(path)
