"""`rembg:SESSION`: what stands out in a picture, by a session of rembg that computes on this
machine. No classes."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from types import ModuleType

import numpy as np
from PIL import Image

from obic.errors import UsageError
from obic.masks import OBJECT
from obic.segment import Segmenter

HALF = 128  # of its alpha of 0..255: as much or more is the object
LICENCES = {  # of the weights, as their authors give it, by how a session's name begins; the first that fits
    "u2net_cloth_seg": "MIT",
    "u2net": "Apache-2.0",
    "birefnet": "MIT",
    "isnet": "Apache-2.0",
    "sam": "Apache-2.0",
    "bria": "BRIA's: not for commercial use without an agreement",
}


def load(rest: str, device: str) -> Segmenter:
    """rest: the name of a session; there is no default. The weights are downloaded the first time,
    to rembg's cache.

    Sessions that send the picture to somebody else's computer are refused.
    """
    rembg = _rembg()
    sessions = rembg.sessions.sessions
    local = [name for name, session in sessions.items() if session.is_local()]
    if rest not in local:
        why = "sends pictures away and is not used" if rest in sessions else "is none of rembg's sessions"
        raise UsageError(f"{rest!r} {why}; choose {', '.join(local)}")
    session = rembg.new_session(rest)

    def segment(rgb: np.ndarray) -> np.ndarray:
        alpha = rembg.remove(Image.fromarray(rgb), session=session, only_mask=True)
        return np.where(np.asarray(alpha) >= HALF, np.uint8(OBJECT), np.uint8(0))

    return segment


def names() -> list[tuple[str, str]]:
    """The sessions that compute here."""
    sessions = _rembg().sessions.sessions
    return [(name, _licence(name)) for name, session in sessions.items() if session.is_local()]


def _licence(session: str) -> str:
    if session.endswith("_custom"):
        return "your own"
    return next((licence for start, licence in LICENCES.items() if session.startswith(start)), "not known here")


def _rembg() -> ModuleType:
    """The package. Raises ImportError; without its runtime rembg prints an essay and ends the
    process instead."""
    try:
        with redirect_stdout(sys.stderr):
            import rembg
            import rembg.sessions
    except SystemExit:
        raise ImportError("onnxruntime, which rembg computes with") from None
    if not hasattr(rembg.sessions, "sessions") or not all(
        hasattr(session, "is_local") for session in rembg.sessions.sessions.values()
    ):
        raise ImportError("a newer rembg, whose sessions say whether they are local")
    return rembg
