"""Room 3. The networks in PyTorch: for training, and for one of the two backends."""

import os
from functools import partial

import torch

if register := getattr(os, "register_at_fork", None):  # of POSIX
    # PyTorch's threads do not survive a fork, but its belief in them does: a child would wait for
    # them for ever.
    register(after_in_child=partial(torch.set_num_threads, 1))
