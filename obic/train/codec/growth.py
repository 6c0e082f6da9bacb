"""Makes a larger network of a trained one, which does what that one did."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from obic.nn.blocks import Block, Stage
from obic.nn.model import CodecNetwork
from obic.shape import Shape, relative_level
from obic.train.codec.checkpoint import new_network

LEAST_RISE = 0.35  # of the logarithm of a gain from a level to a new one: a dead channel has no rise of its own
READ_LEVEL = ("context.entries", "hyper_analysis.layers.0.", "synthesis.layers.0.")  # what reads the conditions


def grown(network: CodecNetwork, shape: Shape) -> CodecNetwork:
    """The network with what it lacks of the levels, blocks, damping and hidden units of `shape`: at
    first that changes next to nothing, and levels and blocks alone change nothing.

    New blocks read with the weights of those before them in their stage, one after the other, and
    write nothing yet (Wu et al., "LLaMA Pro: progressive LLaMA with block expansion", 2024): a step
    of Muon is as long for small weights as for large ones, so blocks that began small throughout
    would take far longer to matter. Raises ValueError if anything else differs.
    """
    if shape.levels > network.shape.levels:
        network = with_levels(network, shape.levels)
    larger, state = new_network(shape), network.state_dict()
    fits = {name: value.shape for name, value in larger.state_dict().items()}
    misfits = [name for name, value in state.items() if fits.get(name) != value.shape]
    if misfits:
        raise ValueError(f"a network of {network.shape} does not grow into {shape}: {misfits[0]} has no place in it")
    larger.load_state_dict(state, strict=False)
    stages = cast(dict[str, Stage], dict(network.named_modules()))
    for name, stage in larger.named_modules():
        if isinstance(stage, Stage):
            blocks, there = cast(list[Block], list(stage)), len(stages[name])
            for number, block in enumerate(blocks[there:]):
                block.read_like(blocks[number % there])
    return larger


@torch.no_grad()
def with_levels(network: CodecNetwork, levels: int) -> CodecNetwork:
    """The network with more levels above those it has, which stay what they are.

    A new level's gains, scales and prior go on as from the last but one to the last, gains and
    scales by LEAST_RISE at least.
    """
    there = network.shape.levels
    state = {name: value.clone() for name, value in network.state_dict().items()}
    rise = (state["gain.log_gain"][-1] - state["gain.log_gain"][-2]).clamp_min(LEAST_RISE)

    def longer(name: str, step: Tensor | None = None, dim: int = 0) -> None:
        last, before = (state[name].select(dim, number) for number in (-1, -2))
        added = [last + (last - before if step is None else step) * count for count in range(1, levels - there + 1)]
        state[name] = torch.cat([state[name], torch.stack(added, dim)], dim)

    longer("gain.log_gain", rise)
    longer("gain.log_inverse", -rise)
    longer("scale_index.bias", rise)
    if network.scale_index.hidden:
        longer("scale_index.hidden_bias")
    longer("hyper_gaussian.offset")
    longer("hyper_gaussian.log_scale", dim=1)
    # The plane that tells the level runs from -1 to 1 over all levels: old = factor * new + offset.
    factor = (levels - 1) / (there - 1)
    offset = factor + relative_level(0.0, there)
    for name, weight in state.items():
        if name.startswith(READ_LEVEL) and name.endswith("weight"):
            weight[:, -2] += offset * weight[:, -1]
            weight[:, -1] *= factor
    larger = CodecNetwork(replace(network.shape, levels=levels))
    larger.load_state_dict(state)
    return larger
