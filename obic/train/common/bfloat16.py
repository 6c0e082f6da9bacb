"""The precision that networks train in: bfloat16 where the hardware has it, else float32.

A CPU without such instructions emulates it: a step takes ten times as long.
"""

from __future__ import annotations

import torch


def has_bfloat16(device: str | torch.device) -> bool:
    """Whether the device computes in bfloat16 itself; every GPU is taken to."""
    if torch.device(device).type != "cpu":
        return True
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def mixed_precision(device: str | torch.device) -> torch.autocast:
    """The context of a forward pass."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=has_bfloat16(device))
