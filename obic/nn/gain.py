"""Variable rate: a gain vector for each quality level, interpolated between levels."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Gain(nn.Module):
    """Learned gains on the latent and their learned inverses (Cui et al. 2021, "Asymmetric gained
    deep image compression", with exponential interpolation between levels). Stored as logarithms,
    [levels, M] each."""

    def __init__(self, channels: int, levels: int):
        super().__init__()
        self.log_gain = nn.Parameter(torch.empty(levels, channels))
        self.log_inverse = nn.Parameter(torch.empty(levels, channels))

    @torch.no_grad()
    def start(self) -> None:
        """Start values: gains rise with the level, inverses undo them."""
        spread = torch.linspace(-1.2, 1.2, len(self.log_gain))[:, None]
        self.log_gain.copy_(spread.expand_as(self.log_gain))
        self.log_inverse.copy_(-self.log_gain)

    def forward(self, level: Tensor) -> Tensor:
        """level: float [B] in 0..levels-1 -> gains [B, M, 1, 1]."""
        return self._at(self.log_gain, level)

    def inverse(self, level: Tensor) -> Tensor:
        """level: float [B] in 0..levels-1 -> inverse gains [B, M, 1, 1]."""
        return self._at(self.log_inverse, level)

    def _at(self, logarithms: Tensor, level: Tensor) -> Tensor:
        return interpolate(logarithms, level).exp()[:, :, None, None]


def interpolate(table: Tensor, level: Tensor) -> Tensor:
    """Linear interpolation between rows. table: [levels, C], level: [B] in 0..levels-1 -> [B,
    C]."""
    low = level.floor().clamp(0, table.shape[0] - 2).long()
    share = (level - low)[:, None].to(table.dtype)
    return table[low] * (1 - share) + table[low + 1] * share
