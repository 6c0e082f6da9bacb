"""What libraries have to warn of is told once, as our notes are, and never as a Python warning with
path and line."""

import io
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import obic as python
from obic.images import read_picture
from shared.pictures import tiff
from shared.places import GOLDEN

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
CUT = tiff("<", {0x0112: (3, b"\1\0"), 0x013B: (2, b"somebody\0")})[:-12]  # Pillow: "Corrupt EXIF data"
BEYOND = tiff("<", {0x010E: (2, b"a long text"), 0x0112: (3, b"\1\0")}).replace(b"\x0b\0\0\0", b"\xff\xff\0\0")


def odd_pictures(folder: Path) -> dict[str, Path]:
    Image.fromarray(PIXELS).save(folder / "cut.jpg", exif=b"Exif\0\0" + CUT)
    Image.fromarray(PIXELS).save(folder / "beyond.png", exif=b"Exif\0\0" + BEYOND)
    Image.fromarray(PIXELS).save(folder / "lossy.webp", exif=b"Exif\0\0" + CUT)
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["cut.jpg", "beyond.png", "lossy.webp"])
def test_warnings_of_pillow_become_notes(tmp_path, name):
    path = odd_pictures(tmp_path)[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Image.open(path) as image:
            image.getexif().get(0x0112)
        assert caught, "Pillow warns of it"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = read_picture(path)
    assert not caught
    assert any("Pillow warns" in note for note in picture.notes)
    assert "part of the EXIF data is damaged and left out" in picture.notes
    assert len(set(picture.notes)) == len(picture.notes)
    assert not any("\n" in note or ".py" in note for note in picture.notes)


@pytest.mark.parametrize("name", ["cut.jpg", "beyond.png", "lossy.webp"])
def test_the_command_tells_them_as_its_own(tmp_path, name):
    odd_pictures(tmp_path)
    line = [sys.executable, "-m", "obic", "encode", name, "--mask", "none"]
    environment = {"OBIC_WEIGHTS": str(GOLDEN), "PYTHONPATH": str(Path(python.__file__).parents[1])}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    lines = done.stderr.splitlines()
    assert done.returncode == 0
    assert lines and len(set(lines)) == len(lines)
    assert all(line.startswith("obic: note: ") for line in lines), lines


def test_whatever_warns_within_a_command_is_a_note(obic, monkeypatch):
    """Other libraries, at other places: once each, in one line."""
    from obic.cli import info

    original = info.describe

    def warn(container):
        for _ in range(3):
            warnings.warn("something\nis odd", RuntimeWarning, stacklevel=1)
        return original(container)

    monkeypatch.setattr(info, "describe", warn)
    before = warnings.showwarning
    done = obic("info", GOLDEN / "two-layers.obic")
    assert (done.code, done.err) == (0, "obic: note: something is odd\n")
    assert warnings.showwarning is before


def test_reading_in_threads_leaves_the_filters_as_they_were(tmp_path):
    path = odd_pictures(tmp_path)["cut.jpg"]
    before, show = list(warnings.filters), warnings.showwarning
    notes = []
    threads = [threading.Thread(target=lambda: notes.append(read_picture(path).notes)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (warnings.filters, warnings.showwarning) == (before, show)
    assert len(set(notes)) == 1
    assert notes[0]


def test_warnings_of_others_are_passed_on(monkeypatch):
    original = Image.open

    def warn(*arguments, **options):
        warnings.warn("of a plugin", UserWarning, stacklevel=1)
        return original(*arguments, **options)

    monkeypatch.setattr(Image, "open", warn)
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG")
    with pytest.warns(UserWarning, match="of a plugin"):
        assert read_picture(buffer.getvalue()).notes == ()
