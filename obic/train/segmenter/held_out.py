"""Pictures with masks: those that a run is trained on, and those that are held out for its figures
and choices."""

from __future__ import annotations

import argparse
import random
from typing import NamedTuple

from obic.bench.segmenter.scores import presence, score
from obic.segment.builtin import DeepLabSegmenter
from obic.segment.deeplab import DeepLab
from obic.segment.torch_deeplab import TorchDeepLab
from obic.train.common.bfloat16 import mixed_precision
from obic.train.common.curves import say
from obic.train.common.data import Sample, described, shared_samples
from obic.train.segmenter import no_object

HELD_OUT_AT_MOST = 0.5  # of the pictures that may be held out


def masked_samples(args: argparse.Namespace) -> list[Sample]:
    """Those of the data that have masks, their long side at most --memory-side. Raises as
    `load_samples` does, and ValueError where there are none."""
    samples = shared_samples(args.data, args.memory_side, args.limit)
    say(described(samples))
    with_masks = no_object.without_guesses(s for s in samples if s.mask is not None)
    if not with_masks:
        data = ", ".join(map(str, args.data))
        raise ValueError(f"no masks in {data}: python -m obic.train --help says what they are called")
    return with_masks


class HeldOut(NamedTuple):
    """Pictures for choices: with objects, and without (none, where the data has none of those that
    are known)."""

    objects: list[Sample]
    empty: list[Sample]


def held_out_scores(model: DeepLab, held_out: HeldOut, long_side: int) -> dict[str, float]:
    """The figures of `score` and `presence` of `obic.bench.segmenter.scores` over whole pictures,
    in the precision of training."""
    segmenter = DeepLabSegmenter(TorchDeepLab(model.eval()), long_side)
    with mixed_precision(model.mean.device):
        scores = score(segmenter, ((sample.rgb, sample.labels) for sample in held_out.objects))
        return scores | presence(segmenter, (sample.rgb for sample in held_out.empty))


def split(samples: list[Sample], held_out: int) -> tuple[list[Sample], HeldOut]:
    """Training samples and, for choices, `held_out` others, the same ones every time: of VOC, or
    where there are none, of all with exact masks; half of them at most. Beside them those of
    `no_object` that are held out.

    Raises ValueError when that leaves none: without held-out pictures no figure of a run means
    anything.
    """
    names = no_object.names("held-out")
    empty = [s for s in samples if s.name in names and s.source == no_object.SOURCE]
    exact = [s for s in samples if s.mask_kind == "exact" and s.source != no_object.SOURCE]
    known = [s for s in exact if s.source == "voc"] or exact
    order = sorted(known, key=lambda s: random.Random(s.name).random())
    held_out = min(held_out, round(HELD_OUT_AT_MOST * len(known)))
    if not order[:held_out]:
        raise ValueError(f"nothing to hold out: {len(known)} pictures with masks are too few, or --held-out is 0")
    kept = HeldOut(order[:held_out], empty)
    numbers = {id(s) for part in kept for s in part}
    return [s for s in samples if id(s) not in numbers], kept
