"""Brings back what has died while a network trained: channels of the latent, and units of the
blocks.

A channel that is rounded to 0 everywhere at a quality tells the synthesis nothing there, and its
rate keeps it there, although the qualities above need it. A unit of a gate is the product of the
weights into it and out of it: where weight decay has made both small, neither has a gradient left
that would bring the other back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from obic.nn.blocks import Block
from obic.nn.model import CodecNetwork

FALL = 0.8  # the most that the logarithm of a gain may fall from a level to the next below
DEAD = 1.6  # so far below the largest logarithm of a gain at the highest level: a fifth of it
DEAD_UNIT = 0.05  # of what the strongest unit of its block passes on


@torch.no_grad()
def revive_channels(network: CodecNetwork) -> Tensor:
    """Raises gains that fall off too steeply towards the lower levels, in place, and the scales
    with them.

    Channels that have died even at the highest level, where the living have about the same gain,
    stay as they are. Returns which were raised: bool [levels, M].
    """
    gain, inverse, scale = network.gain.log_gain, network.gain.log_inverse, network.scale_index.bias
    alive = gain[-1] > gain[-1].max() - DEAD
    raised = torch.zeros_like(gain, dtype=torch.bool)
    for level in range(len(gain) - 2, -1, -1):
        low = raised[level] = alive & (gain[level] < gain[level + 1] - FALL)
        gain[level, low] = gain[level + 1, low] - FALL
        inverse[level, low] = inverse[level + 1, low] + FALL
        scale[level, low] = torch.maximum(scale[level, low], scale[level + 1, low] - FALL)
    return raised


@torch.no_grad()
def revive_units(network: CodecNetwork) -> int:
    """Draws new weights into the dead units of all gates, and sets those out of them to 0, in
    place: the next to nothing that they did is gone, and they can learn. Returns how many there
    were."""
    revived = 0
    for block in network.modules():
        if isinstance(block, Block):
            strength = _strength(block)
            dead = strength < DEAD_UNIT * strength.max()
            rows = dead.repeat(2)  # of a value and of its gate
            block.gate.weight[rows] = torch.randn_like(block.gate.weight[rows]) / block.gate.in_channels**0.5
            block.gate.get_parameter("bias")[rows] = 0
            block.gate_out.weight[:, dead] = 0
            revived += int(dead.sum())
    return revived


def _strength(block: Block) -> Tensor:
    """About what each unit of the gate passes on, by its weights and how far it is open: [C]."""
    value, _ = block.gate.weight.flatten(1).norm(dim=1).chunk(2)
    _, opening = block.gate.get_parameter("bias").chunk(2)
    return value * opening.sigmoid() * block.gate_out.weight.flatten(1).norm(dim=0)
