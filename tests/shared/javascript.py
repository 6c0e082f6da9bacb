"""The reader in JavaScript (web/), driven from here."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from obic import web
from shared.places import ROOT

WEB = ROOT / "web"
DRIVER = WEB / "build" / "driver.mjs"
NODE = shutil.which("node")

needs_reader = [
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
    pytest.mark.skipif(not DRIVER.exists(), reason="web/ is not built: make web"),
]


class Reader:
    """The JavaScript reader in a process of its own; see web/test/driver.mjs."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.process = subprocess.Popen([NODE, DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the reader failed in a way that is not meant"
        return json.loads(line)

    def know(self, folder: Path) -> None:
        """Makes the models of a folder of weights known."""
        for name, make in web.models_in(folder).items():
            (self.folder / name).write_bytes(make())
            self.ask(model=str(self.folder / name))

    def sections(self, data: bytes, **limits) -> dict:
        """What each section of a file holds: an error, or a hash."""
        (self.folder / "x.obic").write_bytes(data)
        return self.ask(file=str(self.folder / "x.obic"), limits=limits)

    def picture(self, data: bytes, **options):
        """(RGBA uint8 [H, W, 4], facts) of a file, or (None, the error)."""
        (self.folder / "x.obic").write_bytes(data)
        answer = self.ask(file=str(self.folder / "x.obic"), pixels=str(self.folder / "pixels"), **options)
        if "error" in answer:
            return None, answer
        pixels = np.fromfile(self.folder / "pixels", np.uint8)
        return pixels.reshape(answer["height"], answer["width"], 4), answer


def assert_near(pixels: np.ndarray, expected: np.ndarray) -> None:
    """Colours within 1 (spec 8 asks for 2), alpha exactly."""
    assert pixels.shape == expected.shape
    difference = np.abs(pixels.astype(int) - expected)
    assert difference[..., :3].max() <= 1 and difference[..., 3].max() == 0
