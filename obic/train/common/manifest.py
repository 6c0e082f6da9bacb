"""Writes folders of weights: their files, and the manifest that names them (see `obic.weights`)."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from obic.weights import MANIFEST


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


def write_codec(folder: Path, data: bytes, entry: Mapping[str, Any]) -> None:
    """Puts a codec's file, as its manifest's entry names it, into a folder, and makes it the
    default codec; what it replaces goes, with its looks, once the new one is there."""
    manifest = _manifest(folder)
    old = [each["file"] for codec in manifest["codecs"] for each in (codec, *codec.get("looks", {}).values())]
    _write(folder / entry["file"], data)
    _write_manifest(folder, {**manifest, "default_codec": entry["fingerprint"], "codecs": [dict(entry)]})
    for name in set(old) - {entry["file"]}:
        (folder / name).unlink(missing_ok=True)


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


def file_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """A weights file: the same arrays give the same bytes."""
    buffer, named = io.BytesIO(), dict[str, Any](sorted(arrays.items()))
    np.savez(buffer, **named)
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
