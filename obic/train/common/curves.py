"""Progress of a run: a line a minute on standard error, and the same figures as CSV."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from obic.train.common import parallel


def say(text: str) -> None:
    """A line on standard error, from the first process alone."""
    if parallel.rank() == 0:
        print(text, file=sys.stderr, flush=True)


class Curves:
    """The means of some figures between reports, over all processes, the worst of the first of
    them, and facts of the moment. The CSV file is begun anew, or with `go_on` continued."""

    def __init__(self, path: Path, names: Sequence[str], facts: Sequence[str] = (), go_on: bool = False):
        self._path, self._names, self._facts = path, tuple(names), tuple(facts)
        self._clear()
        if parallel.rank() == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not (go_on and path.exists()):
                self._row("w", ("minutes", "step", *facts, *names, "worst"))

    def _clear(self) -> None:
        self._sums, self._count, self._worst = np.zeros(len(self._names)), 0, -math.inf

    def add(self, *figures: float) -> None:
        """Takes in the figures of one step, in the order of their names."""
        self._sums += figures
        self._count += 1
        self._worst = max(self._worst, figures[0])

    def report(self, minutes: float, step: int, left: float, *facts: float) -> float:
        """Writes the means since the last report, and returns the first. minutes spent and left.
        Called by all processes."""
        means, worst = parallel.means_and_largest(self._sums / max(1, self._count), self._worst)
        self._clear()
        named = [f"{name} {fact:.6g}" for name, fact in zip(self._facts, facts, strict=True)]
        named += [f"{name} {mean:.4f}" for name, mean in zip((*self._names, "worst"), (*means, worst), strict=True)]
        say(f"{minutes:6.1f} min  step {step}  {'  '.join(named)}  {left:.0f} min left")
        if parallel.rank() == 0:
            figures = (f"{figure:.5f}" for figure in (*means, worst))
            self._row("a", (f"{minutes:.2f}", step, *(f"{fact:.6g}" for fact in facts), *figures))
        return means[0]

    def _row(self, mode: str, row: Sequence[object]) -> None:
        with self._path.open(mode, newline="") as file:
            csv.writer(file).writerow(row)
