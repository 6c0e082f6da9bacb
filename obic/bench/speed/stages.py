"""Time and memory for one picture: stage by stage in this process, and as whole processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, ParamSpec, TypeVar
from unittest.mock import patch

import numpy as np
import torch

from obic import codec
from obic.bench.common.pictures import TestPicture
from obic.container import open_container
from obic.entropy.layer import LayerCoder
from obic.images import read_picture, write_picture
from obic.progress import listening
from obic.weights import CodecModel

STAGES = ("read", "segment", "analysis", "hyper", "context", "entropy", "synthesis", "pixels", "other")
_TOLD = {"hyper-analysis": "hyper", "hyper-synthesis": "hyper"}  # stages of `obic.progress` under other names

# A process reports the most memory it ever had, and at its start that is what its parent had: so a
# small one starts it.
_LAUNCH = """
import os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(child.pid, 0)
seconds, unit = time.perf_counter() - start, 1 if sys.platform == "darwin" else 1024
print(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)
sys.exit(os.waitstatus_to_exitcode(status))
"""

Seconds = dict[str, float]  # by stage; "total" too

Given = ParamSpec("Given")
Value = TypeVar("Value")


class Process(NamedTuple):
    """Cost of a command: seconds from start to end, seconds of all cores, and the most bytes in
    memory."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


class _Clock:
    """Seconds by stage. As a listener of `obic.progress` it times the steps of each stage."""

    def __init__(self, device: str):
        self._device = device
        self._last = 0.0
        self.seconds: Seconds = defaultdict(float)

    def now(self) -> float:
        if self._device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = self.now()
        if done:
            self.seconds[_TOLD.get(stage, stage)] += now - self._last
        self._last = now

    def timed(self, stage: str, function: Callable[Given, Value]) -> Callable[Given, Value]:
        """The function, its time counted as that of a stage."""

        def call(*args: Given.args, **kwargs: Given.kwargs) -> Value:
            start = self.now()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[stage] += self.now() - start

        return call

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within it everything is timed; "total" is all of it and "other" what belongs to no
        stage."""
        coders: dict[str, Any] = {
            name: self.timed("entropy", getattr(LayerCoder, name)) for name in ("encode", "decode")
        }
        start = self.now()
        with listening(self), patch.multiple(LayerCoder, **coders):
            yield
        whole = self.now() - start
        self.seconds["other"] = whole - sum(self.seconds.values())
        self.seconds["total"] = whole


def code_once(
    rgb: np.ndarray, model: CodecModel, segmenter: Callable[[np.ndarray], np.ndarray], device: str
) -> tuple[Seconds, Seconds, bytes]:
    """Encoding a picture and decoding it again: default quality, two layers where the segmenter
    sees an object."""
    encoding, decoding = _Clock(device), _Clock(device)
    with encoding.running():
        labels = (encoding.timed("segment", segmenter)(rgb) > 0).astype(np.uint8)
        n_layers = 2 if labels.any() else 1
        coder = codec.PictureEncoder(rgb, labels if n_layers == 2 else None, n_layers, model=model)
        data = coder.encode(codec.layer_qualities(codec.DEFAULT_QUALITY, n_layers))
    with decoding.running():
        codec.decode_picture(open_container(data), model)
    return encoding.seconds, decoding.seconds, data


def measure_speed(
    pictures: Sequence[TestPicture], model: CodecModel, segmenter: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float]:
    """Medians over the pictures at the default quality: segment, encode (two layers; without
    segment), decode."""
    runs = [code_once(picture.rgb, model, segmenter, "cpu") for picture in (pictures[0], *pictures)][1:]
    return {
        "segment": median(encoding["segment"] for encoding, _, _ in runs),
        "encode": median(encoding["total"] - encoding["segment"] for encoding, _, _ in runs),
        "decode": median(decoding["total"] for _, decoding, _ in runs),
    }


def measure_stages(
    path: Path, model: CodecModel, segmenter: Callable[[np.ndarray], np.ndarray], device: str, repeats: int
) -> tuple[Seconds, Seconds, bytes]:
    """`code_once` for a picture file: medians of so many runs after one that warms up (none before
    a single run).

    Beside the totals stand "read" of the picture file, and "pixels", the writing of a PNG.
    """
    clock = _Clock(device)
    rgb = clock.timed("read", read_picture)(path).rgb
    runs = [code_once(rgb, model, segmenter, device) for _ in range(repeats + (repeats > 1))][-repeats:]
    *sides, files = zip(*runs, strict=True)
    encoding, decoding = (
        {stage: median(run[stage] for run in side) for stage in (*STAGES, "total")} for side in sides
    )
    clock.timed("pixels", write_picture)(rgb)
    return encoding | {"read": clock.seconds["read"]}, decoding | {"pixels": clock.seconds["pixels"]}, files[-1]


def run_obic(
    *arguments: str | os.PathLike[str], threads: int, backend: str = "auto", device: str = "cpu"
) -> Process:
    """`obic` with these arguments in a process of its own. Raises CalledProcessError where it
    fails."""
    command = [sys.executable, "-c", _LAUNCH, sys.executable, "-m", "obic", *(os.fspath(each) for each in arguments)]
    # Modules compiled once, as an installer does it, whatever the environment says.
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONDONTWRITEBYTECODE": ""}
    command += ["--device", device, "--backend", backend]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    seconds, cpu_seconds, peak = done.stdout.split()
    return Process(float(seconds), float(cpu_seconds), int(peak))
