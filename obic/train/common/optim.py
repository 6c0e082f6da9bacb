"""The optimisers, Muon for the matrices and AdamW for the rest, and the average of the weights.

Muon: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the step
scale 0.2 sqrt(max(out, in)) is Moonshot's (Liu et al., "Muon is scalable for LLM training", 2025).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from obic.train.common import parallel
from obic.train.common.bfloat16 import has_bfloat16

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration towards U V^T of each matrix. matrices: [batch, rows, columns] -> the
    same shape."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16() if has_bfloat16(matrices.device) else matrices.float()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, on weights seen as matrices (out, everything else).

    Matrices of one shape go through the Newton-Schulz iteration together, shared out among the
    processes.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.shape[0], p[0].numel()].append((p, p.grad))
            momentum = group["momentum"]
            stacks = [torch.stack([self._momentum(*each, momentum) for each in pairs]) for pairs in by_shape.values()]
            parallel.share_out(stacks, orthogonalise)
            for ((rows, columns), pairs), directions in zip(by_shape.items(), stacks, strict=True):
                scale = 0.2 * max(rows, columns) ** 0.5
                for (p, _), direction in zip(pairs, directions, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(direction.view_as(p), alpha=-group["lr"] * scale)

    def _momentum(self, p: nn.Parameter, gradient: Tensor, momentum: float) -> Tensor:
        state = self.state[p]
        buffer = state.setdefault("momentum", torch.zeros_like(p))
        buffer.mul_(momentum).add_(gradient)
        return gradient.add(buffer, alpha=momentum).reshape(p.shape[0], -1)


class Clipping:
    """Bounds the norm of the gradients to twice what is usual, and leaves out what is not finite.

    One crop that runs away would otherwise fill the momentum for twenty steps. Muon's steps do not
    shrink with their gradients, so this softens what such a crop does and does not undo it.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], factor: float = 2.0, memory: float = 0.98):
        self.parameters, self.factor, self.memory = list(parameters), factor, memory
        self.usual: float | None = None

    def step(self) -> None:
        """Bounds the gradients as they are now, in place; all are 0 where their norm is not
        finite."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not norm.isfinite():
            for gradient in gradients:
                gradient.zero_()
            return
        self.usual = norm.item() if self.usual is None else self.usual
        bound = self.factor * self.usual
        torch.nn.utils.clip_grads_with_norm_(self.parameters, bound, norm)
        self.usual += (1 - self.memory) * (min(norm.item(), bound) - self.usual)


class Optimisers:
    """Muon on every convolution or linear weight that is not depthwise, AdamW on the rest, one
    schedule for both.

    Gradients are clipped first. Learning rate: linear warm-up over `warmup` steps, then linear
    decay to 1 % at `progress` = 1. A progress of 0 holds it.
    """

    def __init__(self, model: nn.Module, muon_lr: float = 0.005, adam_lr: float = 1e-3, warmup: int = 50,
                 weight_decay: float = 0.0):
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for p in model.parameters():
            if p.requires_grad:
                (matrices if p.ndim in (2, 4) and min(p.shape[0], p[0].numel()) > 16 else others).append(p)
        self.optimisers: list[torch.optim.Optimizer] = [Muon(matrices, muon_lr, weight_decay=weight_decay),
                           torch.optim.AdamW(others, adam_lr, betas=(0.9, 0.98), weight_decay=0.0)]
        self.clipping = Clipping(matrices + others)
        self.rates = (muon_lr, adam_lr)
        self.warmup = warmup
        self.steps = 0

    def step(self, progress: float, share: float = 1.0) -> None:
        """One update; progress: 0..1; share: of both rates of learning. Clears the gradients."""
        self.steps += 1
        self.clipping.step()
        factor = share * min(1.0, self.steps / self.warmup) * (1 - 0.99 * min(max(progress, 0.0), 1.0))
        for optimiser, rate in zip(self.optimisers, self.rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on as if nothing had been between."""
        moments = [optimiser.state_dict()["state"] for optimiser in self.optimisers]
        return {"steps": self.steps, "usual": self.clipping.usual, "moments": moments}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state` gave, of optimisers for the same parameters; the rates and the
        decay stay."""
        self.steps, self.clipping.usual = state["steps"], state["usual"]
        for optimiser, moments in zip(self.optimisers, state["moments"], strict=True):
            optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})


class Average:
    """Exponential moving average of a model's parameters and buffers, with the usual start-up
    correction."""

    def __init__(self, model: nn.Module, decay: float = 0.999):
        self.decay = decay
        self.updates = 0
        self.state = {name: value.detach().clone().float() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes in the model's weights of one more step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in model.state_dict().items():
            self.state[name].lerp_(value.float(), 1 - decay)
