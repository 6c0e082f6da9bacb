"""Elementwise work in strips that fit a core's cache, shared among threads: numpy lets go of the interpreter in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

STRIP = 200_000  # numbers of four bytes


def over_strips(work: Callable[[slice], None], array: np.ndarray) -> None:
    """Calls `work` with slices that cover an array along its first axis, at the same time on all cores."""
    length = len(array)
    rows = max(1, STRIP * length // array.size)
    strips = [slice(start, min(start + rows, length)) for start in range(0, length, rows)]
    if len(strips) == 1 or cores() == 1:
        for strip in strips:
            work(strip)
    else:
        list(_pool().map(work, strips))


@cache
def cores() -> int:
    """Cores to compute on: as many as OMP_NUM_THREADS says, or as this process may use."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    allowed = getattr(os, "sched_getaffinity", None)  # of Linux
    return len(allowed(0)) if allowed else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), thread_name_prefix="obic")


if register := getattr(os, "register_at_fork", None):  # of POSIX
    register(after_in_child=_pool.cache_clear)  # threads do not survive a fork
