"""What a run tells while it goes on: a line a minute on standard error, and the same figures as CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from obic.train import parallel


def say(text: str) -> None:
    """A line on standard error, from the first process alone."""
    if parallel.rank() == 0:
        print(text, file=sys.stderr, flush=True)


class Curves:
    """The means of some figures between reports. The CSV file is begun anew, or with `go_on` continued."""

    def __init__(self, path: Path, names: Sequence[str], go_on: bool = False):
        self._path, self._names = path, tuple(names)
        self._sums, self._count = np.zeros(len(names)), 0
        if parallel.rank() == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not (go_on and path.exists()):
                self._row("w", ("minutes", "step", "progress", *names))

    def add(self, *figures: float) -> None:
        self._sums += figures
        self._count += 1

    def report(self, minutes: float, step: int, progress: float, left: float) -> None:
        """Writes the means since the last report. minutes spent and left; progress: share of the schedule, 0..1."""
        means = self._sums / max(1, self._count)
        self._sums, self._count = np.zeros_like(means), 0
        figures = "  ".join(f"{name} {mean:.4f}" for name, mean in zip(self._names, means, strict=True))
        say(f"{minutes:6.1f} min  {progress:4.0%}  step {step}  {figures}  {left:.0f} min left")
        if parallel.rank() == 0:
            self._row("a", (f"{minutes:.2f}", step, f"{progress:.4f}", *(f"{mean:.5f}" for mean in means)))

    def _row(self, mode: str, row: Sequence) -> None:
        with self._path.open(mode, newline="") as file:
            csv.writer(file).writerow(row)
