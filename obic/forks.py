"""Room 0. Processes that are forked, as multiprocessing does by default on Linux up to Python 3.13.

A fork takes none of PyTorch's threads along, but the belief that they are there: the first parallel computation of a
child would wait for them for ever. One thread needs no others.
"""

import os
import sys
from functools import cache


@cache
def watch() -> None:
    """From now on PyTorch has one thread in every child that is forked. To be called before networks compute."""
    if hasattr(os, "register_at_fork"):  # Windows has no forks
        os.register_at_fork(after_in_child=_one_thread)


def _one_thread() -> None:
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
