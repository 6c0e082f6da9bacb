"""The shipped weights: a manifest, files checked by hash, models loaded by fingerprint.

A folder of weights holds `manifest.json` and the files it names. Searched in this order: the folder
named by the environment variable OBIC_WEIGHTS, the one inside the installed package, the one beside
it in a checkout.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from obic.backends import Backend, load_backend
from obic.entropy.hyper_prior import HyperPrior
from obic.entropy.layer import EntropyModel
from obic.entropy.scale_map import Hidden, ScaleMap
from obic.entropy.tables import Tables
from obic.errors import ObicError, UnsupportedError
from obic.looks import FAITHFUL
from obic.shape import Shape, read_at

MANIFEST = "manifest.json"
ENCODER = "encoder."  # prefix of the arrays that only an encoder needs
NETWORK = "network."  # prefix of the float parameters of a decoder


@dataclass(frozen=True)
class CodecModel:
    """A codec ready for work.

    backend: the networks. entropy: what decides how integers are coded. log_gain, log_inverse:
    float32 [levels, M], the logarithms of the gains on the latent (None where the model can only
    decode) and of their inverses. fingerprint: 32 bits that name all a decoder needs
    (`fingerprint_of`).
    """

    backend: Backend
    entropy: EntropyModel
    log_gain: np.ndarray | None
    log_inverse: np.ndarray
    fingerprint: int

    def gain(self, quality: int) -> np.ndarray:
        """What the latent is multiplied by before it is coded: float32 [M], for a quality of
        1..100."""
        if self.log_gain is None:
            raise ValueError("a model that was loaded without its encoder can only decode")
        return np.exp(read_at(self.log_gain, quality))

    def inverse_gain(self, quality: int) -> np.ndarray:
        """And after it is decoded (spec 8.2)."""
        return np.exp(read_at(self.log_inverse, quality))


def folders() -> list[Path]:
    """The folders of weights that exist, in the order they are searched.

    Raises ObicError if OBIC_WEIGHTS names none: others would be used in its place, and nobody would
    notice.
    """
    package = Path(__file__).parent
    places = [package / "_weights", package.parent / "weights"]
    found = [place for place in places if (place / MANIFEST).is_file()]
    own = os.environ.get("OBIC_WEIGHTS")
    if own and not (Path(own) / MANIFEST).is_file():
        raise ObicError(f"OBIC_WEIGHTS names {own}, which has no {MANIFEST}: name a folder of weights, or unset it")
    return [Path(own), *found] if own else found


def load_codec(
    fingerprint: int | None = None,
    *,
    backend: str = "numpy",
    device: str = "cpu",
    encoder: bool = False,
    look: str = FAITHFUL,
) -> CodecModel:
    """The codec with that fingerprint, or the default one.

    backend, device: as for `load_backend`. encoder: load the analysis transforms too. look: one of
    LOOKS, which synthesis it has. Raises UnsupportedError if no folder of weights has that
    fingerprint, or that look of it, or of an older codec more than its decoder; ObicError if a file
    is missing or is not the one the manifest names.
    """
    known = []
    for folder in folders():
        manifest = json.loads((folder / MANIFEST).read_text())
        wanted = manifest.get("default_codec") if fingerprint is None else f"{fingerprint:08x}"
        for entry in manifest["codecs"]:
            known.append(entry["fingerprint"])
            if entry["fingerprint"] == wanted:
                arrays = _arrays(_read(folder, entry), encoder)
                if encoder and not any(name.startswith(ENCODER) for name in arrays):
                    raise UnsupportedError(f"of model {wanted} there is the decoder alone: encode with the default")
                if look != FAITHFUL:
                    synthesis = _arrays(_look(folder, entry, look), encoder)
                    arrays |= {f"{NETWORK}synthesis.{name}": array for name, array in synthesis.items()}
                number = int(entry["fingerprint"], 16)
                return codec_of(arrays, Shape.of(entry["shape"]), number, backend=backend, device=device)
    if not known:
        raise ObicError("no weights found: reinstall obic, or name their folder in OBIC_WEIGHTS")
    raise UnsupportedError(
        f"the file was made with model {fingerprint:08x}, this build has {', '.join(known)}: "
        "decode it with the version of obic that wrote it, or name a folder with its weights in OBIC_WEIGHTS"
    )


def _look(folder: Path, entry: Mapping[str, Any], look: str) -> bytes:
    looks = entry.get("looks", {})
    if look not in looks:
        raise UnsupportedError(f"model {entry['fingerprint']} has no look {look!r}: decode it with {FAITHFUL!r}")
    return _read(folder, looks[look])


def _arrays(data: bytes, encoder: bool) -> dict[str, np.ndarray]:
    """The arrays of a weights file, with those that only an encoder needs or without them."""
    with np.load(io.BytesIO(data)) as archive:
        return {name: archive[name] for name in archive.files if encoder or not name.startswith(ENCODER)}


def segmenter_bytes() -> bytes:
    """The segmenter's file. Raises ObicError if there is none, or not the one the manifest
    names."""
    return _read(*_segmenter_entry())


def segmenter_digest() -> str:
    """SHA-256 of the segmenter's file in hexadecimal digits, as the manifest has it. Raises
    ObicError if there is no segmenter."""
    return str(_segmenter_entry()[1]["sha256"])


def _segmenter_entry() -> tuple[Path, dict[str, Any]]:
    for folder in folders():
        manifest = json.loads((folder / MANIFEST).read_text())
        if "segmenter" in manifest:
            return folder, manifest["segmenter"]
    raise ObicError("no segmenter found: reinstall obic, or give a mask with --mask")


def codec_from_bytes(
    data: bytes, shape: Shape, *, backend: str = "numpy", device: str = "cpu", encoder: bool = False
) -> CodecModel:
    """A model from the bytes of a weights file (`obic.train.pack` writes them); arguments as for
    `load_codec`."""
    arrays = _arrays(data, encoder)
    return codec_of(arrays, shape, fingerprint_of(arrays, shape), backend=backend, device=device)


def codec_of(
    arrays: Mapping[str, np.ndarray], shape: Shape, fingerprint: int, *, backend: str, device: str
) -> CodecModel:
    """A model from the arrays of a weights file (spec 7.1)."""
    parameters = {
        name.removeprefix(ENCODER).removeprefix(NETWORK): array
        for name, array in arrays.items()
        if name.startswith((ENCODER, NETWORK))
    }
    log_gain = parameters.get("gain.log_gain")
    return CodecModel(
        load_backend(backend, parameters, shape, device),
        EntropyModel(scale_map_of(arrays), hyper_prior_of(arrays), Tables(arrays["tables"])),
        None if log_gain is None else log_gain.astype(np.float32),
        parameters["gain.log_inverse"].astype(np.float32),
        fingerprint,
    )


def scale_map_of(arrays: Mapping[str, np.ndarray]) -> ScaleMap:
    """The map to table indices among the arrays of a weights file (spec 7.1)."""
    hidden = None
    if "scale_map.into_hidden" in arrays:
        hidden = Hidden(*(arrays[f"scale_map.{name}"] for name in ("into_hidden", "hidden_bias", "from_hidden")))
    return ScaleMap(arrays["scale_map.weight"], arrays["scale_map.bias"], int(arrays["scale_map.shift"]), hidden)


def hyper_prior_of(arrays: Mapping[str, np.ndarray]) -> HyperPrior:
    """The prior of z among the arrays of a weights file (spec 7.1)."""
    context = arrays.get("hyper_context.weight"), int(arrays.get("hyper_context.shift", 0))
    return HyperPrior(arrays["hyper_index"], arrays["hyper_offset"], *context)


def fingerprint_of(arrays: Mapping[str, np.ndarray], shape: Shape) -> int:
    """32 bits over everything a faithful decoder uses: every array but the encoder's own, and the
    network's shape.

    The first four bytes, big-endian, of SHA-256 over the shape as JSON with sorted keys, then for
    each array in order of name: its name, dtype and shape as text, and its bytes in little-endian C
    order (spec 7).
    """
    digest = hashlib.sha256(json.dumps(shape.as_dict(), sort_keys=True).encode())
    for name in sorted(arrays):
        if not name.startswith(ENCODER):
            array = np.ascontiguousarray(arrays[name])
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.tobytes())
    return int.from_bytes(digest.digest()[:4], "big")


def _read(folder: Path, entry: Mapping[str, Any]) -> bytes:
    path = folder / entry["file"]
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ObicError(f"the weights file {path} is missing: reinstall obic") from None
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise ObicError(f"the weights file {path} is damaged: its hash is not the manifest's; reinstall obic")
    return data
