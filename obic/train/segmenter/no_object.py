"""Pictures without an object, from which the segmenter learns that there may be none.

`no_object.csv` names some of the sets `bsds`, `sunhays`, `urban` and `wall`: all those in which the
network that made the `pseudo` masks saw next to nothing were looked at, and the ones that stay show
land, water, sky, weather, walls, streets, rooms or patterns. Whatever stands out, if only a flower,
a lighthouse or a statue, is not among them. Those "held-out" are for choices and benchmarks, none
of them a variant of one for training.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from importlib.resources import files

import numpy as np

from obic.masks import VOID
from obic.train.common.data import Sample

SOURCE = "no object"


def names(use: str) -> set[str]:
    """use: "training" or "held-out"."""
    with files(__package__).joinpath("no_object.csv").open("r", encoding="utf-8") as file:
        return {row["name"] for row in csv.DictReader(file) if row["use"] == use}


def is_empty(sample: Sample) -> bool:
    """Whether a sample's mask has no object."""
    return not ((sample.labels > 0) & (sample.labels != VOID)).any()


def without_guesses(samples: Iterable[Sample]) -> list[Sample]:
    """Samples with masks, without guesses that there is no object: the named ones have none,
    `exact` and of the set `SOURCE`; the others whose `pseudo` mask is empty are left out: there may
    be one of a kind unknown to its maker."""
    known = names("training") | names("held-out")
    kept = []
    for sample in samples:
        if sample.name in known:
            kept.append(replace(sample, mask=np.zeros_like(sample.labels), mask_kind="exact", source=SOURCE))
        elif sample.mask_kind != "pseudo" or not is_empty(sample):
            kept.append(sample)
    return kept
