"""`python:module:attribute`: a segmenter of one's own, from a module on Python's path or in the
current folder."""

from __future__ import annotations

import os
import sys
from functools import reduce
from importlib import import_module
from typing import Any

from obic.errors import UsageError
from obic.segment import Segmenter


def load(rest: str, device: str) -> Segmenter:
    """rest: "module:attribute"; either may have dots."""
    module, _, attribute = rest.partition(":")
    if not module or not attribute:
        raise UsageError("its form is python:MODULE:ATTRIBUTE")
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
    try:
        return made(reduce(getattr, attribute.split("."), import_module(module)))
    except AttributeError as error:
        raise UsageError(str(error)) from error


def made(found: Any) -> Segmenter:
    """What was named; an instance of it where that is a class."""
    return found() if isinstance(found, type) else found


def names() -> list[tuple[str, str]]:
    """None: they are the user's."""
    return []
