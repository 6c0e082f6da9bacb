"""Work on arrays in strips that fit a core's cache, shared among threads: numpy lets go of the interpreter in it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from threading import Lock

import numpy as np

STRIP = 100_000  # numbers of four bytes
LEAST = 20_000  # that are worth another thread


def over_strips(work: Callable[[slice], None], array: np.ndarray) -> None:
    """Calls `work` with slices that cover an array along its first axis, at the same time on all cores.

    In it a product of matrices takes one core, as the others have strips of their own.
    """
    length = len(array)
    numbers = max(LEAST, min(STRIP, -(-array.size // cores())))
    rows = max(1, numbers * length // array.size)
    strips = [slice(start, min(start + rows, length)) for start in range(0, length, rows)]
    if len(strips) == 1 or cores() == 1:
        for strip in strips:
            work(strip)
    else:
        with _blas.on_one_core():
            list(_pool().map(work, strips))


@cache
def cores() -> int:
    """Cores to compute on: as many as OMP_NUM_THREADS says, or as this process may use."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    allowed = getattr(os, "sched_getaffinity", None)  # of Linux
    return len(allowed(0)) if allowed else os.cpu_count() or 1


class _Blas:
    """The threads of numpy's OpenBLAS; of another BLAS, or where it is not found, they stay as they are."""

    def __init__(self):
        self._lock, self._users, self._before = Lock(), 0, 0
        self._get = self._set = None
        # dlsym finds what a library's own libraries have.
        library = ctypes.CDLL(np._core._multiarray_umath.__file__)
        for prefix, suffix in (("scipy_openblas", "64_"), ("openblas", "64_"), ("openblas", "")):
            with suppress(AttributeError):
                names = (f"{prefix}_{verb}_num_threads{suffix}" for verb in ("get", "set"))
                self._get, self._set = (getattr(library, name) for name in names)
                return

    @contextmanager
    def on_one_core(self) -> Iterator[None]:
        """In it, for any number of threads, a product takes one core."""
        if self._set is None:
            yield
            return
        with self._lock:
            if not self._users:
                self._before = self._get()
                self._set(1)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._set(self._before)


_blas = _Blas()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), thread_name_prefix="obic")


if register := getattr(os, "register_at_fork", None):  # of POSIX
    register(after_in_child=_pool.cache_clear)  # threads do not survive a fork
