"""Work on arrays in strips that fit a core's cache, shared among threads: numpy lets go of the
interpreter in it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np

STRIP = 100_000  # numbers of four bytes
LEAST = 20_000  # that are worth another thread


def over_strips(work: Callable[[slice], None], array: np.ndarray) -> None:
    """Calls `work` with slices that cover an array along its first axis, at the same time on all
    cores.

    In it a product of matrices takes one core, as the others have strips of their own.
    """
    length, least = len(array), min(cores(), array.size // LEAST)
    count = max(1, least, -(-array.size // STRIP))
    if count > 1:
        count += -count % cores()  # as many for each
    rows = max(1, -(-length // count))
    strips = [slice(start, min(start + rows, length)) for start in range(0, length, rows)]
    if len(strips) <= 1 or cores() == 1:
        for strip in strips:
            work(strip)
    else:
        with blas.on_one_core():
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
    """The threads of numpy's OpenBLAS; those of another BLAS stay as they are.

    numpy has no way to say how many, so this asks the library itself.
    """

    def __init__(self) -> None:
        self._lock, self._users, self._before = Lock(), 0, 0
        self.get: Callable[[], int] | None = None
        self.set: Callable[[int], None] | None = None
        wheel = Path(np.__file__).parent.parent / "numpy.libs"
        # A name is looked for in the libraries that one is linked with too, but on Windows.
        for path in (np.linalg._umath_linalg.__file__, *wheel.glob("*openblas*")):
            for prefix, suffix in (("scipy_openblas", "64_"), ("openblas", "64_"), ("openblas", "")):
                with suppress(AttributeError, OSError):
                    library = ctypes.CDLL(str(path))
                    names = (f"{prefix}_{verb}_num_threads{suffix}" for verb in ("get", "set"))
                    self.get, self.set = (getattr(library, name) for name in names)
                    return

    @contextmanager
    def on_one_core(self) -> Iterator[None]:
        """In it, for any number of threads, a product takes one core."""
        if self.get is None or self.set is None:
            yield
            return
        with self._lock:
            if not self._users:
                self._before = self.get()
                self.set(1)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self.set(self._before)


blas = _Blas()


def keep_freed_memory() -> None:
    """What arrays leave stays with the process, for the next ones. glibc would give that of large
    ones back at once, and the system clears every page of what it hands out anew. It is for a
    process of our own; where the C library is another it does nothing."""
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # M_TRIM_THRESHOLD and so on, of malloc.h
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 1 << 30) or mallopt(mmap_threshold, 1 << 25)  # the most that older versions take
        mallopt(trim_threshold, (1 << 31) - 1)
        mallopt(top_pad, 1 << 26)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), thread_name_prefix="obic")


if register := getattr(os, "register_at_fork", None):  # of POSIX
    register(after_in_child=_pool.cache_clear)  # threads do not survive a fork
