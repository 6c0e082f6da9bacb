"""Fixtures that several test files use."""

import io
import json
import os
import re
import subprocess
import sys
from functools import cache
from typing import NamedTuple

import pytest

from obic.backends import has_torch
from obic.cli.main import main
from obic.container import mux
from shared.backends import BACKENDS
from shared.places import GOLDEN

pytest.register_assert_rewrite("shared.javascript")

LIGHT = r"codec\.exactness|common\.chromium"  # of the benchmark
IMPORTS = re.compile(rf"^ *(from|import) (torch|obic\.(nn|train|bench\.(?!{LIGHT})|metrics|ray))", re.MULTILINE)
NEEDS = re.compile(r"BACKENDS|has_torch|tiny_encoder|torch_(en|de)coder|importorskip\(\"(torch|onnxruntime|fsspec)")


def pytest_addoption(parser):
    parser.addoption(
        "--rest", action="store_true", help="only files of tests that need PyTorch: the others have run without it"
    )


def pytest_ignore_collect(collection_path, config):
    if collection_path.suffix == ".py" and collection_path.name.startswith("test_"):
        if not has_torch():
            return bool(IMPORTS.search(collection_path.read_text())) or None
        if config.getoption("rest"):
            return not needs_torch(collection_path) or None
    return None


@cache
def needs_torch(path):
    """Whether a file of tests is for PyTorch, or for both backends."""
    text = path.read_text()
    return bool(IMPORTS.search(text) or NEEDS.search(text))


@pytest.fixture(autouse=True)
def numpy_alone(request, monkeypatch):
    """Files of tests that need no PyTorch run without it, also where another file has imported
    it."""
    if "torch" in sys.modules and not needs_torch(request.path):
        monkeypatch.setenv("OBIC_BACKEND", "numpy")


@pytest.fixture(autouse=True)
def threads_as_before():
    """Commands of training and of the benchmark set how many threads there are. What one test sets
    is not the next one's: with more threads than cores PyTorch waits by spinning, and all that
    follows takes many times as long."""
    torch, told = sys.modules.get("torch"), os.environ.get("OMP_NUM_THREADS")
    before = torch and torch.get_num_threads()
    yield
    if torch and torch.get_num_threads() != before:
        torch.set_num_threads(before)
    if told is not None:
        os.environ["OMP_NUM_THREADS"] = told
    else:
        os.environ.pop("OMP_NUM_THREADS", None)


class Result(NamedTuple):
    """What one command line left behind."""

    code: int
    out: bytes
    err: str


@pytest.fixture
def obic(monkeypatch, tmp_path):
    """Run a command line in this process, in an empty folder: obic("info", "x.obic", stdin=b"...")
    -> Result."""
    monkeypatch.chdir(tmp_path)

    def run(*args: object, stdin: bytes = b"") -> Result:
        out, err = io.BytesIO(), io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, write_through=True))
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, write_through=True))
            code = main([str(arg) for arg in args])
            return Result(code, out.getvalue(), err.getvalue().decode())

    return run


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command's `main` as a process would, but in this one: run(main, *arguments) ->
    CompletedProcess."""

    def run(main, *arguments) -> subprocess.CompletedProcess:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["command", *map(str, arguments)])
            try:
                code = main()
            except SystemExit as end:
                code = end.code
        said = capsys.readouterr()
        ended_with = f"{code}\n" if isinstance(code, str) else ""
        return subprocess.CompletedProcess(sys.argv, 1 if ended_with else code or 0, said.out, said.err + ended_with)

    return run


@pytest.fixture
def small_file() -> bytes:
    """A valid two-layer `.obic` whose sub-streams mean nothing: for what never looks inside
    them."""
    return mux(
        width=320,
        height=240,
        model=0x1234ABCD,
        mask=b"mask",
        qualities=(20, 60),
        streams={0: b"background" * 3, 1: b"object" * 20},
    )


def _tiny(encoder: bool, backend: str):
    from obic import weights
    from obic.shape import Shape

    entry = json.loads((GOLDEN / weights.MANIFEST).read_text())["codecs"][0]
    data, shape = (GOLDEN / entry["file"]).read_bytes(), Shape.of(entry["shape"])
    return weights.codec_from_bytes(data, shape, encoder=encoder, backend=backend)


@pytest.fixture(scope="session", params=BACKENDS)
def tiny_encoder(request):
    """A tiny frozen codec, both ways, on either backend. Shared: leave it as it is."""
    return _tiny(encoder=True, backend=request.param)


@pytest.fixture(scope="session")
def torch_encoder():
    """The same on PyTorch alone."""
    return _tiny(encoder=True, backend="torch")


@pytest.fixture
def torch_decoder():
    """A tiny frozen codec of one's own on PyTorch, able to decode only."""
    return _tiny(encoder=False, backend="torch")
