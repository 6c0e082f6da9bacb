"""The command as processes, when things go wrong around it: rivals, full disks, closed pipes,
signals, no home.

An output is whole or not there; nothing else is left behind; the exit code tells what happened.
"""

import importlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from obic.cli.main import LazyGroup
from obic.container import mux, open_container
from shared.places import GOLDEN

OBIC = [sys.executable, "-m", "obic"]
LAYERS = {index: bytes([index]) * 3_000_000 for index in range(3)}


@pytest.fixture
def large(tmp_path) -> Path:
    """`large.obic`, of three layers of 3 MB that mean nothing."""
    path = tmp_path / "large.obic"
    path.write_bytes(mux(width=99, height=99, model=1, mask=b"m", qualities=(1, 2, 3), streams=LAYERS))
    return path


@pytest.fixture
def photo(tmp_path) -> Path:
    """`photo.png`, 64x64."""
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def run(*arguments, cwd, **options):
    """One command line, with the tiny weights: its exit code, standard output and standard
    error."""
    environment = {**os.environ, "OBIC_WEIGHTS": str(GOLDEN), **options.pop("env", {})}
    command = [*OBIC, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=300, env=environment, **options)
    return done.returncode, done.stdout, done.stderr.decode()


# --- rivals ---------------------------------------------------------------------------------------


def test_processes_that_write_the_same_name_leave_one_whole_file(large):
    out, whole = large.with_name("out.obic"), open_container(large)
    results = {whole.subset([index]) for index in LAYERS}
    command = [*OBIC, "extract", large.name, "-o", out.name, "--layer"]
    rivals = [subprocess.Popen([*command, str(number % 3)], cwd=large.parent) for number in range(6)]
    seen = 0
    while any(rival.poll() is None for rival in rivals):
        if out.exists():
            assert out.read_bytes() in results
            seen += 1
    assert [rival.returncode for rival in rivals] == [0] * 6
    assert seen and out.read_bytes() in results
    assert sorted(os.listdir(large.parent)) == ["large.obic", "out.obic"]


# --- no room --------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_file_that_may_not_grow(large, old):
    out = large.with_name("out.obic")
    if old:
        out.write_bytes(old)

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = run("extract", large.name, "--layer", 1, "-o", out.name, cwd=large.parent, preexec_fn=small_files)
    assert done == (1, b"", "obic: File too large\n")
    assert sorted(os.listdir(large.parent)) == ["large.obic", "out.obic"][: 2 if old else 1]
    assert not old or out.read_bytes() == old


def test_a_full_disk(large):
    """On a file system of 1 MB, mounted for this process alone."""
    mount = f"mkdir disk && mount -t tmpfs -o size=1m none disk && {sys.executable} -m obic"
    line = f"{mount} extract large.obic --layer 1 -o disk/out.obic; code=$?; ls -A disk; exit $code"
    unshared = ["unshare", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.call([*unshared, "mount -t tmpfs none /mnt 2> /dev/null"]):
        pytest.skip("only root may mount")
    done = subprocess.run([*unshared, line], cwd=large.parent, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"obic: No space left on device\n")


def test_a_folder_that_nobody_can_write(large):
    code, out, err = run("extract", large.name, "--layer", 1, "-o", "/proc/out.obic", cwd=large.parent)
    assert (code, out, err.count("\n")) == (1, b"", 1)
    assert err.startswith("obic: /proc/")


# --- pipes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("command", "code"), [("extract large.obic --layer 1 -o -", 1), ("info large.obic --json", 0)])
def test_a_reader_that_wants_no_more(large, command, code, unbuffered):
    """What fits into the pipe before the reader goes is no failure; what does not is one, without a
    word."""
    line = f'"$0" -m obic {command} | head -c 100 | wc -c; exit ${{PIPESTATUS[0]}}'
    options = {"env": {**os.environ, "PYTHONUNBUFFERED": unbuffered}, "cwd": large.parent, "timeout": 60}
    done = subprocess.run(["bash", "-c", line, sys.executable], capture_output=True, **options)
    assert (done.stdout.strip(), done.stderr, done.returncode) == (b"100", b"", code)


# --- signals --------------------------------------------------------------------------------------

ENDS = [(signal.SIGINT, 130, "\nobic: interrupted\n"), (signal.SIGTERM, 143, ""), (signal.SIGHUP, 129, "")]
HIT = """
import os, signal, sys, time
import {module} as place
from obic.cli.main import main

def hit(*arguments, original=place.{name}, signals=[{number:d}], **options):
    if signals:
        os.kill(os.getpid(), signals.pop())
    time.sleep(0.3)  # no thread gets so far as to begin something new before the main one has heard
    return original(*arguments, **options)

place.{name} = hit
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(autouse=True, scope="module")
def heard():
    """Processes inherit that a signal is ignored, as it is under nohup and in the background of a
    script: the tests may run there, the commands in them must not."""
    ignored = [number for number, _, _ in ENDS if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.parametrize(("number", "code", "err"), ENDS)
def test_a_signal_while_waiting(large, number, code, err):
    waiting = subprocess.Popen([*OBIC, "verify", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=large.parent)
    waiting.stdin.write(large.read_bytes()[:5000])
    waiting.stdin.flush()
    place = Path(f"/proc/{waiting.pid}/wchan")
    while "pipe" not in place.read_text():
        time.sleep(0.01)
    waiting.send_signal(number)
    assert waiting.stderr.read().decode() == err
    assert waiting.wait(60) == code


@pytest.mark.parametrize(("number", "code", "err"), ENDS)
def test_a_signal_while_writing(large, number, code, err):
    program = HIT.format(module="os", name="replace", number=number)
    out = large.with_name("out.obic")
    out.write_bytes(b"old")
    command = [sys.executable, "-c", program, "extract", large.name, "--layer", "1", "-o", out.name]
    done = subprocess.run(command, cwd=large.parent, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (code, b"", err)
    assert sorted(os.listdir(large.parent)) == ["large.obic", "out.obic"]
    assert out.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("number", "code", "err", "several"), [(*ENDS[0], ["-j", "2"]), (*ENDS[0], ["-j", "1"]), (*ENDS[1], [])]
)
def test_a_signal_while_coding(photo, number, code, err, several):
    """Of several pictures at work at a time those are finished that were begun."""
    program = HIT.format(module="obic.entropy.layer", name="LayerCoder.encode", number=number)
    inputs = ["photo.png"]
    if several:
        inputs = [shutil.copy(photo, photo.with_name(f"{name}.png")) for name in "abcd"]
        inputs += ["--output-dir", "out", *several]
    command = [sys.executable, "-c", program, "encode", *inputs, "--mask", "none"]
    environment = {**os.environ, "OBIC_WEIGHTS": str(GOLDEN)}
    done = subprocess.run(command, cwd=photo.parent, capture_output=True, timeout=300, env=environment)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (code, b"", err)
    left = [path for path in photo.parent.rglob("*") if path.is_file() and path.suffix != ".png"]
    assert all(check.error is None for path in left for check in open_container(path).verify())
    assert len(left) <= (2 if "2" in several else 0)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_time(photo, number):
    """From start to end of the command, in twelve steps: whole or nothing, and no exit code but the
    two. It starts when Python has: what a signal does to an interpreter that is still loading its
    own modules, before a line of obic's, is not obic's to say."""
    program = "print(flush=True)\nfrom obic.cli.main import main\nraise SystemExit(main())"
    out, line = photo.with_name("photo.obic"), [sys.executable, "-c", program, "encode", photo.name, "--mask", "none"]
    options = {"cwd": photo.parent, "env": {**os.environ, "OBIC_WEIGHTS": str(GOLDEN)}}
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    def begun():
        coding = subprocess.Popen(line, **options)
        assert coding.stdout.readline() == os.linesep.encode()
        return coding, time.monotonic()

    coding, start = begun()
    coding.communicate(timeout=300)
    assert coding.returncode == 0
    duration, whole = time.monotonic() - start, out.read_bytes()
    for step in range(12):
        out.unlink(missing_ok=True)
        coding, _ = begun()
        time.sleep(duration * step / 10)
        coding.send_signal(number)
        said = coding.communicate(timeout=300)[1].decode()
        assert coding.returncode in (0, 128 + number, -number), said  # the last: before obic has begun to listen
        assert not out.exists() or out.read_bytes() == whole
        assert set(os.listdir(photo.parent)) <= {"photo.png", "photo.obic"}


def test_a_signal_that_a_library_makes_a_panic_of(obic, monkeypatch):
    """Compiled libraries raise what is no Exception for whatever goes wrong in them."""

    class PanicException(BaseException):
        pass

    def work():
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit:
            raise PanicException("no array API") from None

    monkeypatch.setattr(LazyGroup, "get_command", lambda *_: click.Command("work", callback=work))
    assert obic("work") == (143, b"", "")


def test_a_signal_during_an_import_waits_for_its_end(obic, monkeypatch, tmp_path):
    """Raised in the middle it made a compiled module abort, now and then."""
    (tmp_path / "interrupted.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    seen = []

    def work():
        seen.append(importlib.import_module("interrupted").whole)
        time.sleep(60)
        seen.append("slept")

    monkeypatch.setattr(LazyGroup, "get_command", lambda *_: click.Command("work", callback=work))
    code, out, err = obic("work")
    assert (code, out, err.strip(), seen) == (130, b"", "obic: interrupted", [True])


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "obic: interrupted\n"), (signal.SIGTERM, "")])
def test_a_signal_that_a_library_makes_another_error_of(obic, monkeypatch, number, said):
    """As imports of compiled modules do now and then."""

    def work():
        try:
            signal.raise_signal(number)
        except BaseException as error:
            raise ImportError("no module") from error

    monkeypatch.setattr(LazyGroup, "get_command", lambda *_: click.Command("work", callback=work))
    before = signal.getsignal(number)
    assert obic("work") == (128 + number, b"", said)
    assert signal.getsignal(number) == before


# --- nowhere to be at home ------------------------------------------------------------------------


def test_no_home_no_cache_no_temporary_folder(photo):
    names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR", "TORCH_HOME")
    nowhere = dict.fromkeys(names, "/dev/null/nowhere")
    assert run("encode", "photo.png", "--mask", "none", cwd=photo.parent, env=nowhere) == (0, b"", "")
    assert run("decode", "photo.obic", "-o", "again.png", cwd=photo.parent, env=nowhere) == (0, b"", "")
    assert sorted(os.listdir(photo.parent)) == ["again.png", "photo.obic", "photo.png"]
