"""Brings channels of the latent back that have died at a quality.

While a network trains, a channel that is rounded to 0 everywhere at a quality tells the synthesis
nothing there, and its rate keeps it there: once dead, it stays so, although the qualities above
need it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from obic.nn.model import CodecNetwork

FALL = 0.8  # the most that the logarithm of a gain may fall from a level to the next below
DEAD = 1.6  # so far below the largest logarithm of a gain at the highest level: a fifth of it


@torch.no_grad()
def revive(network: CodecNetwork) -> Tensor:
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
