"""Children of a process that has used the networks: they compute the same, and none waits for
ever."""

import os
import subprocess
import sys

import pytest

from shared.places import GOLDEN, ROOT

SCRIPT = """
import multiprocessing, os
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from PIL import Image

import obic

if "BACKEND" == "torch":
    import torch
    torch.set_num_threads(2)  # also where there is one core: with one thread there is nobody to wait for
CODEC = obic.Codec("cpu", "BACKEND")
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 320, 3)).astype(np.uint8))


def work(number):
    data = CODEC.encode(PICTURE, mask="none", quality=40)
    return data, np.asarray(CODEC.decode(data)).tobytes()


def fork(task):
    if (child := os.fork()) == 0:
        os._exit(task())
    assert os.waitpid(child, 0)[1] == 0


def check():
    return 0 if work(0) == expected else 1


def several():
    same = CODEC.encode_all([PICTURE] * 3, workers=2, mask="none", quality=40)
    return 0 if same == [expected[0]] * 3 else 1


def pool(method):
    context = multiprocessing.get_context(method)
    with context.Pool(1) as workers:
        assert workers.map(work, range(2)) == [expected] * 2
    if method == "fork":
        with ProcessPoolExecutor(2, mp_context=context) as workers:
            assert list(workers.map(work, range(3))) == [expected] * 3


if __name__ == "__main__":
    expected = work(0)
    WAY
    assert work(0) == expected, "the parent goes on as before"
"""

WAYS = {
    "fork": "fork(check)",
    "fork in a fork": "fork(lambda: fork(check) or 0)",
    "threads in a fork": "fork(several)",
    "the pool, fork": "pool('fork')",
    "the pool, spawn": "pool('spawn')",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
@pytest.mark.parametrize(("backend", "way"), [*(("torch", way) for way in WAYS), ("numpy", "the pool, fork")])
def test_children_compute_the_same_and_come_to_an_end(tmp_path, backend, way):
    if backend == "torch":
        pytest.importorskip("torch")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("WAY", WAYS[way]).replace("BACKEND", backend))
    environment = {**os.environ, "OBIC_WEIGHTS": str(GOLDEN), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, script], env=environment, start_new_session=True) as process:
        try:
            assert process.wait(240) == 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)  # with its children, which wait for ever
