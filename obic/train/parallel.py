"""Several processes that train one network, started by torchrun, each on a device of its own with crops of its own.

Gradients are averaged after every step's backward pass, so all processes hold equal weights from the first step on.
In a single process every function here does nothing.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn


def join(device: str) -> str:
    """Joins the processes torchrun started, if it did. device: "cpu" or "cuda"; returns this process's own."""
    if "WORLD_SIZE" not in os.environ:
        return device
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return device


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def start_equal(network: nn.Module) -> None:
    """Gives every process the parameters and buffers of the first."""
    if count() > 1:
        for value in network.state_dict().values():
            dist.broadcast(value, 0)


def agreed(share: float) -> float:
    """The first process's figure, so that all end at the same step."""
    if count() == 1:
        return share
    value = torch.tensor(share, dtype=torch.float64, device=_device())
    dist.broadcast(value, 0)
    return value.item()


@torch.no_grad()
def average_gradients(network: nn.Module) -> None:
    """Replaces every gradient by its mean over the processes, and the running statistics of norms likewise."""
    if count() > 1:
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        _average(gradients + [value for value in network.buffers() if value.is_floating_point()])


def _average(tensors: list[Tensor]) -> None:
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, mean in zip(tensors, (flat / count()).split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
