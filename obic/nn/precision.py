"""The precision that networks run in: bfloat16 on a CPU that computes in it, else float32.

It changes pixels by rounding and no integer that is coded (spec 8). Other CPUs emulate it, ten
times as slow.
"""

from __future__ import annotations

from functools import cache

import torch


@cache
def cpu_computes_in_bfloat16() -> bool:
    """Whether the processor has instructions for it (AVX512-BF16 or AMX)."""
    known = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return torch.backends.mkldnn.is_available() and any(supported() for supported in known if supported)


def inference_precision(device: str | torch.device) -> torch.autocast:
    """The context of a forward pass whose result may be rounded."""
    enabled = torch.device(device).type == "cpu" and cpu_computes_in_bfloat16()
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled)
