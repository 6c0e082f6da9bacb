"""The shipped weights: a manifest, files checked by hash, models loaded by fingerprint.

A folder of weights holds `manifest.json` and the files it names. Searched in this order: the folder named by the
environment variable OBIC_WEIGHTS, the one inside the installed package, the one beside it in a checkout.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from obic.entropy.hyper_prior import HyperPrior
from obic.entropy.scale_map import Hidden, ScaleMap
from obic.entropy.tables import Tables
from obic.errors import ObicError, UnsupportedError
from obic.looks import FAITHFUL
from obic.nn.blank import blank
from obic.nn.model import CodecNetwork, Shape, Synthesis

MANIFEST = "manifest.json"
ENCODER = "encoder."  # prefix of the arrays that only an encoder needs
NETWORK = "network."  # prefix of the float parameters of a decoder


@dataclass(frozen=True)
class CodecModel:
    """A codec ready for work.

    network: the float parts, on their device, without gradients. scale_map: z and quality -> table indices.
    hyper_prior: means and table rows of z. tables: symbol counts.
    fingerprint: 32 bits that name all a decoder needs (`fingerprint_of`).
    """

    network: CodecNetwork
    scale_map: ScaleMap
    hyper_prior: HyperPrior
    tables: Tables
    fingerprint: int


def folders() -> list[Path]:
    """The folders of weights that exist, in the order they are searched.

    Raises ObicError if OBIC_WEIGHTS names none: others would be used in its place, and nobody would notice.
    """
    package = Path(__file__).parent
    places = [package / "_weights", package.parent / "weights"]
    found = [place for place in places if (place / MANIFEST).is_file()]
    own = os.environ.get("OBIC_WEIGHTS")
    if own and not (Path(own) / MANIFEST).is_file():
        raise ObicError(f"OBIC_WEIGHTS names {own}, which has no {MANIFEST}: name a folder of weights, or unset it")
    return [Path(own), *found] if own else found


def load_codec(
    fingerprint: int | None = None, *, device: str = "cpu", encoder: bool = False, look: str = FAITHFUL
) -> CodecModel:
    """The codec with that fingerprint, or the default one.

    encoder: load the analysis transforms too. look: one of LOOKS, which synthesis it has. Raises UnsupportedError if no
    folder of weights has that fingerprint, or that look of it; ObicError if a file is missing or is not the one the
    manifest names.
    """
    known = []
    for folder in folders():
        manifest = json.loads((folder / MANIFEST).read_text())
        wanted = manifest.get("default_codec") if fingerprint is None else f"{fingerprint:08x}"
        for entry in manifest["codecs"]:
            known.append(entry["fingerprint"])
            if entry["fingerprint"] == wanted:
                model = codec_from_bytes(_read(folder, entry), Shape.of(entry["shape"]), device=device, encoder=encoder)
                if look != FAITHFUL:
                    model.network.synthesis = _synthesis(_look(folder, entry, look), model.network.shape, device)
                return model
    if not known:
        raise ObicError("no weights found: reinstall obic, or name their folder in OBIC_WEIGHTS")
    raise UnsupportedError(
        f"the file was made with model {fingerprint:08x}, this build has {', '.join(known)}: "
        "decode it with the version of obic that wrote it, or name a folder with its weights in OBIC_WEIGHTS"
    )


def _look(folder: Path, entry: Mapping, look: str) -> bytes:
    looks = entry.get("looks", {})
    if look not in looks:
        raise UnsupportedError(f"model {entry['fingerprint']} has no look {look!r}: decode it with {FAITHFUL!r}")
    return _read(folder, looks[look])


def _synthesis(data: bytes, shape: Shape, device: str) -> Synthesis:
    """The synthesis in the bytes of a look's file (`obic.train.pack` writes them)."""
    with np.load(io.BytesIO(data)) as archive:
        parameters = {name: torch.from_numpy(archive[name].astype(np.float32)).to(device) for name in archive.files}
    with blank():
        synthesis = Synthesis(shape, parameters["layers.0.weight"].shape[1] - shape.latent - 2)
    synthesis.load_state_dict(parameters, assign=True)
    return synthesis.requires_grad_(False).eval()


def segmenter_bytes() -> bytes:
    """The segmenter's file. Raises ObicError if there is none, or not the one the manifest names."""
    for folder in folders():
        manifest = json.loads((folder / MANIFEST).read_text())
        if "segmenter" in manifest:
            return _read(folder, manifest["segmenter"])
    raise ObicError("no segmenter found: reinstall obic, or give a mask with --mask")


def codec_from_bytes(data: bytes, shape: Shape, *, device: str = "cpu", encoder: bool = False) -> CodecModel:
    """A model from the bytes of a weights file (`obic.train.pack` writes them)."""
    with np.load(io.BytesIO(data)) as archive:
        names = [name for name in archive.files if encoder or not name.startswith(ENCODER)]
        arrays = {name: archive[name] for name in names}
    parameters = {
        name.removeprefix(ENCODER).removeprefix(NETWORK): torch.from_numpy(array.astype(np.float32)).to(device)
        for name, array in arrays.items()
        if name.startswith((ENCODER, NETWORK))
    }
    with blank():
        network = CodecNetwork(shape)
    network.scale_index = network.hyper_gaussian = None  # integers stand for them: scale map and hyper prior
    if not encoder:
        network.analysis = network.hyper_analysis = network.gain.log_gain = None
    network.load_state_dict(parameters, assign=True)
    network.requires_grad_(False).eval()
    tables = Tables(arrays["tables"])
    return CodecModel(network, scale_map_of(arrays), hyper_prior_of(arrays), tables, fingerprint_of(arrays, shape))


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
    """32 bits over everything a faithful decoder uses: every array but the encoder's own, and the network's shape.

    The first four bytes, big-endian, of SHA-256 over the shape as JSON with sorted keys, then for each array in order
    of name: its name, dtype and shape as text, and its bytes in little-endian C order (spec 7).
    """
    digest = hashlib.sha256(json.dumps(shape.as_dict(), sort_keys=True).encode())
    for name in sorted(arrays):
        if not name.startswith(ENCODER):
            array = np.ascontiguousarray(arrays[name])
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.tobytes())
    return int.from_bytes(digest.digest()[:4], "big")


def _read(folder: Path, entry: Mapping) -> bytes:
    path = folder / entry["file"]
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ObicError(f"the weights file {path} is missing: reinstall obic") from None
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise ObicError(f"the weights file {path} is damaged: its hash is not the manifest's; reinstall obic")
    return data
