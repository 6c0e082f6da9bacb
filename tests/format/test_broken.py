"""The corpus of broken files (tests/broken): each gives the error that the specification names for
it, and no more."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from broken.make import GOLDEN, HERE, files
from obic import codec, errors
from obic.container import open_container
from shared.corpus import BROKEN_FILES, MISSING, RULES, rule


@pytest.fixture(autouse=True)
def tiny_weights(monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))



def test_every_rule_has_a_file_and_every_file_a_rule():
    assert {rule(name) for name in BROKEN_FILES} == set(RULES)
    assert set(MISSING) <= set(BROKEN_FILES)
    assert {rule(name) for name in MISSING} == {name for name, (_, scope) in RULES.items() if scope != "file"}


def test_the_files_are_those_that_the_script_makes():
    assert {name: (HERE / f"{name}.obic").read_bytes() for name in BROKEN_FILES} == files()


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_the_error(name, obic):
    kind, _ = RULES[rule(name)]
    with pytest.raises(errors.ObicError) as caught:
        container = open_container(HERE / f"{name}.obic")
        codec.decode_picture(container, codec.load_model("cpu", container.header.model))
    assert type(caught.value) is kind
    done = obic("decode", HERE / f"{name}.obic", "-o", "x.png")
    assert (done.code, done.out, done.err) == (kind.exit_code, b"", f"obic: {caught.value}\n")
    assert os.listdir() == [] and len(done.err) < 200


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_what_is_left(name, obic):
    done = obic("decode", HERE / f"{name}.obic", "-o", "x.png", "--damaged", "skip", "--json")
    if name not in MISSING:
        assert (done.code, done.out, done.err.count("\n")) == (RULES[rule(name)][0].exit_code, b"", 1)
        assert os.listdir() == []
        return
    assert (done.code, json.loads(done.out)["missing"]) == (0, MISSING[name])
    assert done.err.count(" is damaged and left out") + done.err.count(" is not in this file") == len(MISSING[name])
    assert ("pixel mask is damaged" in done.err) == name.endswith(("--part", "mask", "--unknown-coding"))
    assert (Image.open("x.png").mode == "RGBA") == bool(MISSING[name])


LINES = [
    "info {}", "verify {}", "extract {} --layer 1", "extract {} --list", "extract {} --layer 1 -o x.png",
    "merge {} {} -o x.obic", "report {} -o x.html",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_no_command_fails_in_another_way(line, obic):
    """Each succeeds, as far as it reads, or fails with the file's own error, or finds that the
    layer is absent."""
    for name in BROKEN_FILES:
        shutil.copy(HERE / f"{name}.obic", "broken.obic")
        done = obic(*line.format("broken.obic", "broken.obic").split())
        assert done.code in (0, 2, RULES[rule(name)][0].exit_code), (name, done.err)
        if done.code != 0:
            assert done.err.count("\n") == 1 and "internal" not in done.err, name
            assert os.listdir() == ["broken.obic"], name
        for path in Path().iterdir():
            path.unlink()


def test_a_bomb_is_refused_before_anything_is_allocated():
    """A file of 200 bytes that claims 60000x60000, by a process that has hardly any memory."""
    bomb = HERE / "limit.obic"
    assert bomb.stat().st_size <= 200

    def little_memory():
        resource.setrlimit(resource.RLIMIT_AS, (200_000_000, 200_000_000))

    for command in ("info", "verify", "extract --layer 1", "decode"):
        first, *options = command.split()
        line = [sys.executable, "-m", "obic", first, str(bomb), *options]
        done = subprocess.run(line, capture_output=True, timeout=20, preexec_fn=little_memory)
        assert (done.returncode, done.stdout) == (5, b"")
        assert b"60000x60000 is more than" in done.stderr


READERS = ["info", "verify", "extract --layer 1", "decode -o x.png", "merge -o x.obic", "report -o x.html"]


@pytest.mark.parametrize("line", READERS)
def test_an_option_moves_the_limit(obic, line):
    command, *options = line.split()
    path = GOLDEN / "two-layers.obic"  # 128x128
    refused = obic(command, path, *options, "--max-pixels", 128 * 128 - 1)
    assert (refused.code, refused.out, refused.err.count("\n")) == (5, b"", 1)
    assert "128x128" in refused.err and "--max-pixels" in refused.err and os.listdir() == []
    options = ["-o", "x.obic"] if command == "extract" else options
    assert obic(command, path, *line.split()[1:], *options, "--max-pixels", 128 * 128).code == 0


def test_the_option_raises_the_limit_too(obic):
    assert obic("info", HERE / "limit.obic", "--max-pixels", 60000**2).code == 0


@pytest.mark.parametrize("line", ["encode --mask none", "mask"])
def test_an_option_moves_the_limit_of_pictures(obic, line):
    Image.new("RGB", (40, 30)).save("x.png")
    command, *options = line.split()
    refused = obic(command, "x.png", *options, "--max-pixels", 1199)
    assert (refused.code, refused.out, refused.err.count("\n")) == (5, b"", 1)
    assert "40x30" in refused.err and os.listdir() == ["x.png"]
    assert obic(command, "x.png", *options, "--max-pixels", 1200).code == 0


def test_a_download_that_was_cut_off_shows_the_object(obic, tmp_path):
    """At every length: from the end of the object's bytes on it is there, and before that an error
    says why."""
    data = (GOLDEN / "two-layers.obic").read_bytes()
    container = open_container(data)
    complete = data.index(container.read_layer(1)) + container.layer_bytes(1) + 2
    whole = None
    for length in (0, 10, complete - 1, complete, complete + 1, len(data) - 1):
        (tmp_path / "cut.obic").write_bytes(data[:length])
        done = obic("decode", "cut.obic", "-o", "cut.png", "--damaged", "skip")
        if length < complete:
            assert (done.code, done.err.count("\n"), os.listdir()) == (3, 1, ["cut.obic"])
            continue
        assert (done.code, done.err) == (0, "obic: note: layer 0 (background) is damaged and left out\n")
        pixels = np.asarray(Image.open("cut.png"))
        whole = pixels if whole is None else whole
        assert np.array_equal(pixels, whole) and 0 < (pixels[..., 3] == 255).mean() < 1
