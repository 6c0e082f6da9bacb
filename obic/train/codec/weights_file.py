"""Makes a codec's weights file of a trained network (spec 7): float16 weights, and an entropy model
of integers.

The map to table rows becomes integer; the prior of z and the tables are fitted to what the network
really codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from obic.constants import HIDDEN_BITS, HIDDEN_SHIFT, HYPER_CLAMP, MAX_QUALITY, TABLE_ROWS
from obic.entropy.hyper_prior import HyperPrior
from obic.entropy.tables import Tables, gaussian_tables
from obic.nn.gain import interpolate
from obic.nn.hyper_networks import LOG_STEP, log_scale_to_index
from obic.nn.model import CodecNetwork
from obic.shape import quality_to_level
from obic.train.codec.checkpoint import load_checkpoint
from obic.train.codec.crops import Batches
from obic.train.codec.fit_hyper_prior import fitted_hyper_prior
from obic.train.codec.fit_tables import count_symbols, fitted_tables
from obic.train.common.data import Sample
from obic.train.common.manifest import file_bytes
from obic.weights import ENCODER, NETWORK, CodecModel, codec_from_bytes, fingerprint_of

SCALE_SHIFT = 10  # bits behind the point of the scale map's integers
PRIOR_CROP, TABLES_CROP = 512, 256  # sides of the crops that are coded for the fits; 512: 8x8 positions of z
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
    arrays["scale_map.weight"] = _integers(index.weight / LOG_STEP * 2**SCALE_SHIFT, np.int16)
    arrays["scale_map.bias"] = _integers(bias * 2**SCALE_SHIFT, np.int32)
    arrays["scale_map.shift"] = np.array(SCALE_SHIFT, np.int32)
    if index.hidden:
        unit = 2 ** (HIDDEN_BITS + HIDDEN_SHIFT)
        arrays["scale_map.into_hidden"] = _integers(index.into_hidden * unit, np.int16)
        arrays["scale_map.hidden_bias"] = _integers(interpolate(index.hidden_bias, level) * unit, np.int32)
        arrays["scale_map.from_hidden"] = _integers(index.from_hidden / LOG_STEP * 2**SCALE_SHIFT, np.int16)
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


def hyper_arrays(prior: HyperPrior) -> dict[str, np.ndarray]:
    """The arrays of a weights file that hold the prior of z (spec 7), one of four passes."""
    if prior.weight is None:
        raise ValueError("a prior of one pass has no weights")
    return {
        "hyper_index": prior.table_rows.astype(np.uint8),
        "hyper_offset": prior.offset.astype(np.int8),
        "hyper_context.weight": prior.weight.astype(np.int16),
        "hyper_context.shift": np.array(prior.shift, np.int32),
    }


def packed_codec(
    checkpoint: Path, samples: Sequence[Sample], crops: int, seed: int = 1
) -> tuple[bytes, CodecModel, dict[str, int]]:
    """The bytes of the weights file, the model they give, and how many parameters encoder and
    decoder have.

    checkpoint: a path for `read_codec`. crops: of the samples, to fit the integers to. Raises as
    `load_checkpoint`, and ValueError where an integer does not fit its type.
    """
    network = load_checkpoint(checkpoint)
    arrays = codec_arrays(network, gaussian_tables())
    draft = codec_from_bytes(file_bytes(arrays), network.shape, encoder=True)
    arrays |= hyper_arrays(fitted_hyper_prior(draft, Batches(samples, PRIOR_CROP, 1, "cpu", seed), crops))
    draft = codec_from_bytes(file_bytes(arrays), network.shape, encoder=True)
    batches = Batches(samples, TABLES_CROP, 1, "cpu", seed)
    arrays["tables"] = fitted_tables(count_symbols(draft, batches, crops)).counts
    data = file_bytes(arrays)
    sizes = {"encoder": 0, "decoder": 0}
    for name, array in arrays.items():
        sizes["encoder" if name.startswith(ENCODER) else "decoder"] += array.size
    model = codec_from_bytes(data, network.shape, encoder=True)
    assert model.fingerprint == fingerprint_of(arrays, network.shape)
    return data, model, sizes
