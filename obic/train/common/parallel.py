"""Several processes that train one network, started by torchrun, each on a device of its own with
crops of its own.

Gradients are averaged after every step's backward pass, so all processes hold equal weights from
the first step on. In a single process nothing is exchanged.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def join(device: str) -> str:
    """Joins the processes torchrun started, if it did. device: "cpu" or "cuda"; returns this
    process's own."""
    if "WORLD_SIZE" not in os.environ:
        return device
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    start_group("nccl" if device.startswith("cuda") else "gloo")
    atexit.register(_leave)
    return device


def start_group(backend: str, *how: Any, **meeting: Any) -> None:
    """`torch.distributed.init_process_group`, of a group that `destroy_process_group` really ends."""
    # Functions of this module take the group there is at its import, none as yet, as a default. PyTorch imports it
    # sooner or later, and a group that they keep never ends: a thread of it may outlive the interpreter, which aborts.
    from torch.distributed.nn import functional  # noqa: F401

    dist.init_process_group(backend, *how, **meeting)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """How many processes train together; 1 without torchrun."""
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


def means_and_largest(means: Iterable[float], largest: float) -> tuple[list[float], float]:
    """The means over the processes of figures of each, and the largest of another."""
    if count() == 1:
        return [float(mean) for mean in means], float(largest)
    own = torch.tensor([*means, largest], dtype=torch.float64, device=_device())
    every = [torch.empty_like(own) for _ in range(count())]
    dist.all_gather(every, own)
    *columns, last = torch.stack(every).unbind(1)
    return [column.mean().item() for column in columns], last.max().item()


def gathered(own: object) -> list[Any]:
    """What every process has, by rank."""
    every = [own] * count()
    if count() > 1:
        dist.all_gather_object(every, own)
    return every


@torch.no_grad()
def average_gradients(network: nn.Module) -> None:
    """Replaces every gradient by its mean over the processes, and the running statistics of norms
    likewise."""
    if count() > 1:
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        _add_up(gradients + [value for value in network.buffers() if value.is_floating_point()], count())


def share_out(stacks: list[Tensor], work: Callable[[Tensor], Tensor]) -> None:
    """Replaces every stack [n, ...] by what `work` makes of it, [n, ...] again and item by item the
    same: each process works on a share of the items of every stack and hands it to the others."""
    first, step = rank(), count()
    for stack in stacks:
        own = work(stack[first::step]) if first < len(stack) else None
        if step > 1:
            stack.zero_()
        if own is not None:
            stack[first::step] = own
    if step > 1:
        _add_up(stacks, 1)


def _add_up(tensors: list[Tensor], divisor: int) -> None:
    """Replaces tensors by their sums over the processes, divided."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, total in zip(tensors, flat.div_(divisor).split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(total.view_as(tensor))


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
