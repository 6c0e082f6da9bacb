"""Mean and step of the residual, in four passes over the layer's own decoded cells."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from obic.nn.blocks import Block, blocks, reach

PASSES = 4
# ORDER[g][p]: the position (row * 2 + column in each 2x2 group of cells) that channel group g codes in pass p.
# Every pass codes a quarter of the channels of every cell, so its neighbours always know something (DCVC-DC's order).
ORDER = ((0, 3, 1, 2), (3, 0, 2, 1), (1, 2, 0, 3), (2, 1, 3, 0))


def pass_masks(channels: int, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Which elements each pass codes: [4, M, h, w] bool; every element in exactly one pass."""
    position = (torch.arange(height, device=device)[:, None] % 2) * 2 + torch.arange(width, device=device) % 2
    order = torch.tensor(ORDER, device=device).repeat_interleave(channels // PASSES, 0)  # [M, 4]
    return order.T[:, :, None, None] == position  # [4, M, h, w]


class Context(nn.Module):
    """Hyper features, conditions and the cells decoded so far -> mean [B, M, h, w] and step [B, M, h, w] in 0.5..2.

    A shared trunk with an input and an output of its own for each pass:

        decoded, hyper, conditions -- 1x1 (pass) -- Block.. -- 1x1 (pass) --> mean, step
    """

    def __init__(self, shape):
        super().__init__()
        inputs = shape.latent + shape.context // 2 + 2
        self.entries = nn.ModuleList(nn.Conv2d(inputs, shape.context, 1) for _ in range(PASSES))
        self.trunk = blocks(shape.context, shape.context_blocks, shape.damped)
        self.exits = nn.ModuleList(
            nn.Sequential(Block(shape.context, shape.damped), nn.Conv2d(shape.context, 2 * shape.latent, 1))
            for _ in range(PASSES))

    def start(self) -> None:
        for _, last in self.exits:  # mean 0 and step 1
            nn.init.normal_(last.weight, std=0.01 / last.in_channels**0.5)
            nn.init.zeros_(last.bias)

    @property
    def reach(self) -> int:
        """How many cells away one pass sees."""
        return reach(self.trunk) + reach(self.exits[0])

    def parameters_of_pass(self, number: int, decoded: Tensor, hyper: Tensor, conditions: Tensor):
        x = self.entries[number](torch.cat([decoded, hyper, conditions], 1))
        mean, step = self.exits[number](self.trunk(x)).chunk(2, 1)
        return mean.float(), torch.exp2(torch.tanh(step.float()))

    def forward(self, hyper: Tensor, conditions: Tensor, cells: Tensor, residual: Callable[..., Tensor]) -> Tensor:
        """Runs the passes. `residual(mask, mean, step)` gives the integer residual of the elements of a pass, from
        the encoder's latent or from the decoded stream. cells: [B, 1, h, w] in {0, 1}; elsewhere nothing is coded
        and the result is 0. Returns the decoded latent [B, M, h, w]."""
        latent = self.exits[0][1].out_channels // 2
        masks = pass_masks(latent, *cells.shape[-2:], cells.device)
        decoded = torch.zeros(cells.shape[0], latent, *cells.shape[-2:], device=cells.device)
        for number, mask in enumerate(masks):
            mean, step = self.parameters_of_pass(number, decoded, hyper, conditions)
            coded = mask * cells
            decoded = decoded + coded * (mean + step * residual(mask, mean, step))
        return decoded
