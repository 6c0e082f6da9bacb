"""Turns a checkpoint into weights for `weights/`: `python -m obic.train.pack runs/codec.pt --data train-0.zip`.

The map to table indices becomes integer, the tables are fitted to what is really coded, the rest becomes float16.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import platform
from pathlib import Path

import numpy as np
import torch

from obic.constants import ESCAPE, MAX_QUALITY, MAX_SYMBOL, TABLE_ROWS, TABLE_SYMBOLS
from obic.entropy.layer import hyper_cells
from obic.entropy.tables import Tables, gaussian_probabilities, gaussian_tables, tables_from_probabilities
from obic.nn import inference
from obic.nn.gain import interpolate
from obic.nn.hyperprior import index_to_scale, log_scale_to_index
from obic.nn.model import CodecNetwork, quality_to_level
from obic.train.codec import Batches, load_checkpoint
from obic.train.data import load_samples
from obic.weights import ENCODER, MANIFEST, NETWORK, CodecModel, codec_from_bytes, fingerprint_of

SHIFT = 10
PRIOR_COUNT = 64.0  # symbols' worth of belief in the Gaussian when a row of the tables is fitted
ENCODER_MODULES = ("analysis.", "hyper_analysis.", "gain.log_gain")


def codec_arrays(network: CodecNetwork, tables: Tables) -> dict[str, np.ndarray]:
    """The arrays of a weights file (spec 7)."""
    arrays = {"tables": tables.counts}
    for name, value in network.state_dict().items():
        if not name.startswith("scale_index."):
            prefix = ENCODER if name.startswith(ENCODER_MODULES) else NETWORK
            arrays[prefix + name] = value.cpu().numpy().astype(np.float16)
    index = network.scale_index
    level = quality_to_level(torch.arange(1.0, MAX_QUALITY + 1), network.shape.levels)
    bias = log_scale_to_index(interpolate(index.bias, level))
    slope = log_scale_to_index(index.weight) - log_scale_to_index(torch.zeros(()))
    arrays["scale_map.weight"] = _integers(slope * 2**SHIFT, np.int16)
    arrays["scale_map.bias"] = _integers(bias * 2**SHIFT, np.int32)
    arrays["scale_map.shift"] = np.array(SHIFT, np.int32)
    hyper = index.of_hyper(level)[:, :, 0, 0]
    arrays["hyper_index"] = _integers(hyper.floor().clamp(0, TABLE_ROWS - 1), np.uint8)
    return arrays


def _integers(values: torch.Tensor, dtype: type) -> np.ndarray:
    rounded = values.detach().double().round().numpy()
    limits = np.iinfo(dtype)
    if rounded.min() < limits.min or rounded.max() > limits.max:
        raise ValueError(f"{rounded.min():.0f}..{rounded.max():.0f} does not fit {np.dtype(dtype)}: lower the shift")
    return rounded.astype(dtype)


def file_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **dict(sorted(arrays.items())))
    return buffer.getvalue()


@torch.inference_mode()
def count_symbols(model: CodecModel, batches: Batches, crops: int) -> np.ndarray:
    """How often each row of the tables codes each symbol: float64 [64, 130], over crops at random qualities."""
    counts = np.zeros((TABLE_ROWS, TABLE_SYMBOLS))
    for _ in range(crops):
        pixels, labels = batches.draw()
        features = inference.analyse(model.network, (pixels[0] * 255).byte().permute(1, 2, 0).numpy())
        for label in (0, 1):
            cells = (labels[0] == label).numpy()
            if cells.any():
                quality = batches.random.randint(1, MAX_QUALITY)
                _count_layer(model, features, cells, quality, counts)
    return counts


def _count_layer(model: CodecModel, features, cells: np.ndarray, quality: int, counts: np.ndarray) -> None:
    hyper_index = model.hyper_index[quality - 1]
    z, residual = inference.encode_cells(
        model.network, features, cells, quality, hyper_index, lambda z: model.scale_map.index(z, quality)
    )
    touched = hyper_cells(cells)
    rows = model.scale_map.index(z, quality)[:, : cells.shape[0], : cells.shape[1]]
    for values, index in (
        (z[:, touched], np.repeat(hyper_index[:, None], touched.sum(), 1)),
        (residual[:, cells], rows[:, cells]),
    ):
        symbols = np.where(np.abs(values) > MAX_SYMBOL, ESCAPE, values) + MAX_SYMBOL
        np.add.at(counts, (index, symbols), 1)


def fitted_tables(counts: np.ndarray) -> Tables:
    """Rows fitted to symmetrised counts, with a Gaussian of the row's mean scale and a broad tail as the prior."""
    scales = index_to_scale(torch.arange(1, TABLE_ROWS) + 0.5).double().numpy()
    broad = np.exp(-math.sqrt(2) * np.abs(np.arange(-MAX_SYMBOL, MAX_SYMBOL + 2)) / scales[:, None])
    prior = 0.97 * gaussian_probabilities(scales) + 0.03 * broad / broad.sum(1, keepdims=True)
    prior[:, -1] = np.maximum(prior[:, -1], 1e-6)
    seen = counts[1:].copy()
    seen[:, :-1] = (seen[:, :-1] + seen[:, -2::-1]) / 2
    rows = tables_from_probabilities(seen + PRIOR_COUNT * prior)
    return Tables(np.concatenate([gaussian_tables().counts[:1], rows]))


def pack(checkpoint: Path, batches: Batches, crops: int) -> tuple[bytes, CodecModel, dict]:
    """The bytes of the weights file, the model they give, and the manifest's facts about it."""
    network = load_checkpoint(checkpoint)
    draft = codec_from_bytes(file_bytes(codec_arrays(network, gaussian_tables())), network.shape, encoder=True)
    arrays = codec_arrays(network, fitted_tables(count_symbols(draft, batches, crops)))
    data = file_bytes(arrays)
    sizes = {"encoder": 0, "decoder": 0}
    for name, array in arrays.items():
        sizes["encoder" if name.startswith(ENCODER) else "decoder"] += array.size
    model = codec_from_bytes(data, network.shape, encoder=True)
    assert model.fingerprint == fingerprint_of(arrays, network.shape)
    return data, model, sizes


def write(folder: Path, data: bytes, entry: dict) -> None:
    """Puts the file into a folder of weights and makes it the default codec; the one it replaces goes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / MANIFEST
    manifest = json.loads(path.read_text()) if path.exists() else {"codecs": []}
    for old in manifest["codecs"]:
        (folder / old["file"]).unlink(missing_ok=True)
    (folder / entry["file"]).write_bytes(data)
    manifest.update(default_codec=entry["fingerprint"], codecs=[entry])
    path.write_text(json.dumps(manifest, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.train.pack", description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", nargs="+", required=True, help="training pictures, to fit the tables to")
    parser.add_argument("--crops", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("weights"), help="folder of weights")
    parser.add_argument("--trained-on", default="", help="data and hardware, for the manifest")
    args = parser.parse_args()
    batches = Batches(load_samples(args.data, limit=1200), 256, 1, "cpu", seed=1)
    data, model, sizes = pack(args.checkpoint, batches, args.crops)
    log = torch.load(args.checkpoint, weights_only=True)["log"]
    name = f"{model.fingerprint:08x}"
    write(args.out, data, {
        "fingerprint": name,
        "file": f"codec-{name}.npz",
        "sha256": hashlib.sha256(data).hexdigest(),
        "shape": model.network.shape.as_dict(),
        "parameters": sizes,
        "training": {**log, "on": args.trained_on, "torch": torch.__version__, "machine": platform.machine()},
    })
    print(f"{args.out / f'codec-{name}.npz'}: {len(data)} bytes, {sizes['encoder']} + {sizes['decoder']} parameters")


if __name__ == "__main__":
    main()
