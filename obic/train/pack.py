"""Turns a checkpoint into weights for `weights/`: `python -m obic.train.pack runs/decayed.pt --data train-0.zip`.

The map to table indices becomes integer, the prior of z and the tables are fitted to what is really coded, the rest
becomes float16. A folder of weights in place of the checkpoint is fitted anew and keeps its looks. With `--look vivid`
the synthesis alone is packed, beside the codec it was trained for. With `--small-copy course.npz` nothing is fitted: it
is what a course goes on from.
"""

from __future__ import annotations

import argparse
import io
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from obic.constants import HIDDEN_BITS, HIDDEN_SHIFT, HYPER_CLAMP, MAX_QUALITY, TABLE_ROWS
from obic.entropy.hyper_prior import HyperPrior
from obic.entropy.tables import Tables, gaussian_tables
from obic.looks import LOOKS
from obic.nn.gain import interpolate
from obic.nn.hyperprior import LOG_STEP, log_scale_to_index
from obic.nn.model import CodecNetwork
from obic.shape import quality_to_level
from obic.train.checkpoint import checkpoint_log, load_checkpoint, read_codec, read_whole
from obic.train.command import count, output, plain_errors, share
from obic.train.crops import Batches
from obic.train.data import Sample, load_samples
from obic.train.fit import count_symbols, fitted_tables
from obic.train.fit_hyper_prior import fitted_hyper_prior
from obic.train.manifest import default_entry, sha256, write_codec, write_look
from obic.train.small_copy import write_small_copy
from obic.train.vivid import with_grain
from obic.weights import ENCODER, NETWORK, CodecModel, codec_from_bytes, fingerprint_of

SHIFT = 10
LARGE = 512  # side of the crops that the prior of z is fitted to: 8x8 of its positions
LOOK_NAMES = ("codec", "synthesis", "log")  # in what `obic.train.vivid` saves
ENCODER_MODULES = ("analysis.", "hyper_analysis.", "gain.log_gain")


def codec_arrays(network: CodecNetwork, tables: Tables) -> dict[str, np.ndarray]:
    """The arrays of a weights file (spec 7), with a prior of z of one pass."""
    arrays = {"tables": tables.counts}
    for name, value in network.state_dict().items():
        if not name.startswith(("scale_index.", "hyper_gaussian.")):
            prefix = ENCODER if name.startswith(ENCODER_MODULES) else NETWORK
            arrays[prefix + name] = value.cpu().numpy().astype(np.float16)
    index = network.scale_index
    level = quality_to_level(torch.arange(1.0, MAX_QUALITY + 1), network.shape.levels)
    bias = log_scale_to_index(interpolate(index.bias, level))
    arrays["scale_map.weight"] = _integers(index.weight / LOG_STEP * 2**SHIFT, np.int16)
    arrays["scale_map.bias"] = _integers(bias * 2**SHIFT, np.int32)
    arrays["scale_map.shift"] = np.array(SHIFT, np.int32)
    if index.hidden:
        unit = 2 ** (HIDDEN_BITS + HIDDEN_SHIFT)
        arrays["scale_map.into_hidden"] = _integers(index.into_hidden * unit, np.int16)
        arrays["scale_map.hidden_bias"] = _integers(interpolate(index.hidden_bias, level) * unit, np.int32)
        arrays["scale_map.from_hidden"] = _integers(index.from_hidden / LOG_STEP * 2**SHIFT, np.int16)
    hyper = log_scale_to_index(interpolate(network.hyper_gaussian.log_scale[0], level))
    arrays["hyper_index"] = _integers(hyper.floor().clamp(1, TABLE_ROWS - 1), np.uint8)
    offset = interpolate(network.hyper_gaussian.offset, level)
    arrays["hyper_offset"] = _integers(offset.clamp(-HYPER_CLAMP, HYPER_CLAMP), np.int8)
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


def hyper_arrays(prior: HyperPrior) -> dict[str, np.ndarray]:
    """The arrays of a weights file that hold the prior of z (spec 7), one of four passes."""
    return {
        "hyper_index": prior.index.astype(np.uint8),
        "hyper_offset": prior.offset.astype(np.int8),
        "hyper_context.weight": prior.weight.astype(np.int16),
        "hyper_context.shift": np.array(prior.shift, np.int32),
    }


def pack(checkpoint: Path, samples: Sequence[Sample], crops: int, seed: int = 1) -> tuple[bytes, CodecModel, dict]:
    """The bytes of the weights file, the model they give, and the manifest's facts about it."""
    network = load_checkpoint(checkpoint)
    arrays = codec_arrays(network, gaussian_tables())
    draft = codec_from_bytes(file_bytes(arrays), network.shape, encoder=True)
    arrays |= hyper_arrays(fitted_hyper_prior(draft, Batches(samples, LARGE, 1, "cpu", seed), crops))
    draft = codec_from_bytes(file_bytes(arrays), network.shape, encoder=True)
    batches = Batches(samples, 256, 1, "cpu", seed)
    arrays["tables"] = fitted_tables(count_symbols(draft, batches, crops)).counts
    data = file_bytes(arrays)
    sizes = {"encoder": 0, "decoder": 0}
    for name, array in arrays.items():
        sizes["encoder" if name.startswith(ENCODER) else "decoder"] += array.size
    model = codec_from_bytes(data, network.shape, encoder=True)
    assert model.fingerprint == fingerprint_of(arrays, network.shape)
    return data, model, sizes


def mixed_with_own(folder: Path, checkpoint: Mapping, share: float) -> dict:
    """What `obic.train.vivid` saves, its weights mixed with the codec's own synthesis: `share` of the look's."""
    if share == 1:
        return dict(checkpoint)
    network, made = load_checkpoint(folder), checkpoint["synthesis"]
    grain = made["layers.0.weight"].shape[1] - network.synthesis.layers[0].in_channels
    own = with_grain(network.synthesis, network.shape, grain).state_dict()
    mixed = {name: torch.lerp(own[name], value.float(), share).half() for name, value in made.items()}
    return {**checkpoint, "synthesis": mixed, "log": {**checkpoint["log"], "share": share}}


def look_bytes(checkpoint: Mapping) -> bytes:
    """A look's file, of what `obic.train.vivid` saves."""
    return file_bytes({key: value.numpy() for key, value in checkpoint["synthesis"].items()})


def looks_of(folder: Path) -> dict[str, dict]:
    """The looks of the default codec in a folder of weights, as `obic.train.vivid` saves them."""
    looks = {}
    for look, about in default_entry(folder).get("looks", {}).items():
        with np.load(folder / about["file"]) as archive:
            synthesis = {name: torch.from_numpy(archive[name]) for name in archive.files}
        looks[look] = {"synthesis": synthesis, "log": about["training"]}
    return looks


def pack_look(args: argparse.Namespace, about: Mapping) -> None:
    """Raises ValueError if the look was trained for another codec than the folder's."""
    checkpoint, codec = read_whole(args.checkpoint, *LOOK_NAMES), default_entry(args.out)["fingerprint"]
    if checkpoint["codec"] != codec:
        raise ValueError(f"the look was trained for codec {checkpoint['codec']}, {args.out} has {codec}")
    checkpoint = mixed_with_own(args.out, checkpoint, args.share)
    path = write_look(args.out, args.look, look_bytes(checkpoint), {**checkpoint["log"], **about})
    print(f"{path}: {path.stat().st_size} bytes")


def pack_codec(args: argparse.Namespace, about: Mapping) -> None:
    if args.checkpoint.is_dir():
        training, looks = default_entry(args.checkpoint)["training"], looks_of(args.checkpoint)
    else:
        training, looks = {**checkpoint_log(args.checkpoint), **about}, {}
    data, model, sizes = pack(args.checkpoint, load_samples(args.data, limit=args.limit), args.crops)
    name = f"{model.fingerprint:08x}"
    write_codec(args.out, data, {
        "fingerprint": name,
        "file": f"codec-{name}.npz",
        "sha256": sha256(data),
        "shape": model.backend.shape.as_dict(),
        "parameters": sizes,
        "training": training,
    })
    for look, checkpoint in looks.items():
        write_look(args.out, look, look_bytes(checkpoint), checkpoint["log"])
    print(f"{args.out / f'codec-{name}.npz'}: {len(data)} bytes, {sizes['encoder']} + {sizes['decoder']} parameters")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.train.pack", description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="what `obic.train` saved, or a folder of weights")
    parser.add_argument("--data", nargs="+", help="training pictures, to fit the tables to (not for a look)")
    parser.add_argument("--look", choices=LOOKS[1:], help="pack the synthesis alone, as a look of the folder's codec")
    parser.add_argument("--share", type=share, default=1.0, help="with --look: of its weights; the rest are those of "
                        "the codec's own synthesis, which is calmer (default 1)")
    parser.add_argument("--crops", type=count, default=400)
    parser.add_argument("--limit", type=count, default=1200, help="use only the first pictures (default 1200)")
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--out", type=Path, help="folder of weights, made where there is none; a codec in it is "
                      "replaced. OBIC_WEIGHTS=FOLDER uses it")
    goal.add_argument("--small-copy", type=output, metavar="FILE.npz", help="a copy of the checkpoint of a twelfth of "
                      "its size, for version control: `obic.train --init` goes on from it")
    parser.add_argument("--trained-on", default="", help="data and hardware, for the manifest")
    args = parser.parse_args()
    if args.small_copy:
        with plain_errors():
            write_small_copy(args.small_copy, read_codec(args.checkpoint))
        return print(f"{args.small_copy}: {args.small_copy.stat().st_size} bytes")
    if not (args.data or args.look):
        parser.error("the tables are fitted to pictures: name some with --data")
    about = {"on": args.trained_on, "torch": torch.__version__, "machine": platform.machine()}
    with plain_errors():
        (pack_look if args.look else pack_codec)(args, about)


if __name__ == "__main__":
    main()
