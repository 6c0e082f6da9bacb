"""Mean and step of the residual, in four passes over the layer's own decoded cells."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from obic.nn.blocks import Block, Stage, start_conv
from obic.shape import PASSES, Shape, pass_numbers


def pass_masks(channels: int, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Which elements each pass codes: [4, M, h, w] bool; every element in exactly one pass."""
    numbers = torch.from_numpy(pass_numbers(channels, height, width)).to(device).permute(2, 0, 1)
    return torch.stack([numbers == number for number in range(PASSES)])


class Context(nn.Module):
    """Hyper features, conditions and the cells decoded so far -> mean [B, M, h, w] and step [B, M,
    h, w] in 0.5..2.

    A shared trunk with an input and an output of its own for each pass:

        decoded, hyper, conditions -- 1x1 (pass) -- Block.. -- 1x1 (pass) --> mean, step
    """

    def __init__(self, shape: Shape):
        super().__init__()
        self.latent = shape.latent
        inputs = shape.latent + shape.context // 2 + 2
        self.entries = nn.ModuleList(nn.Conv2d(inputs, shape.context, 1) for _ in range(PASSES))
        self.trunk = Stage(shape.context, shape.context_blocks, shape.damped)
        self.exits = nn.ModuleList(
            nn.Sequential(Block(shape.context, shape.damped), nn.Conv2d(shape.context, 2 * shape.latent, 1))
            for _ in range(PASSES))

    def start(self) -> None:
        """Draws start values: mean 0 and step 1."""
        for last in (layer for layers in self.exits for layer in layers.children()):
            if isinstance(last, nn.Conv2d):
                start_conv(last, 0.01)

    def parameters_of_pass(
        self, number: int, decoded: Tensor, hyper: Tensor, conditions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and step [B, M, h, w] in pass 0..3 (spec 8.2).

        decoded: the latent [B, M, h, w] of the passes before it. hyper: [B, C/2, h, w]. conditions:
        [B, 2, h, w].
        """
        x = self.entries[number](torch.cat([decoded, hyper, conditions], 1))
        mean, step = self.exits[number](self.trunk(x)).chunk(2, 1)
        return mean.float(), torch.exp2(torch.tanh(step.float()))

    def forward(self, hyper: Tensor, conditions: Tensor, cells: Tensor, residual: Callable[..., Tensor]) -> Tensor:
        """Runs the passes. `residual(mask, mean, step)` gives the integer residual of the elements
        of a pass, from the encoder's latent or from the decoded stream. cells: [B, 1, h, w] in {0,
        1}; elsewhere nothing is coded and the result is 0. Returns the decoded latent [B, M, h,
        w]."""
        height, width = cells.shape[-2:]
        masks = pass_masks(self.latent, height, width, cells.device)
        decoded = torch.zeros(cells.shape[0], self.latent, height, width, device=cells.device)
        for number, mask in enumerate(masks):
            mean, step = self.parameters_of_pass(number, decoded, hyper, conditions)
            coded = mask * cells
            decoded = decoded + coded * (mean + step * residual(mask, mean, step))
        return decoded
