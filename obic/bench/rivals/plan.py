"""The plan of the benchmark: the codecs and rates for each set of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from obic.bench.common.coders import RIVALS
from obic.bench.common.pictures import TestPicture
from obic.bench.common.sets import CROPS, KODAK, VOC
from obic.rate import OBJECT_BOOST

RATES = (0.03, 0.05, 0.0648, 0.10, 0.15, 0.25)  # bits a pixel
BOOSTS = tuple(sorted({-12, 0, 6, 12, 24, 36, OBJECT_BOOST}))
BOOST_RATE = 0.10

ONE_LAYER = "obic one layer"
ONE_QUALITY = "obic one quality"  # default boost, one quality for all pictures: so published means are made
ONE_QUALITY_TARGETS = (15, 25, 35, 45, 55, 65, 80, 95)  # its targets, which are not rates


def boosted(boost: int) -> str:
    """The name of obic with two layers and this object boost."""
    return f"obic boost {boost}"


def boost_of(name: str) -> int:
    """The object boost of a codec of obic with two layers."""
    return OBJECT_BOOST if name == ONE_QUALITY else int(name.removeprefix("obic boost "))


DEFAULT, EQUAL = boosted(OBJECT_BOOST), boosted(0)

Plan = Mapping[str, Sequence[float]]  # rates by codec, of ONE_QUALITY qualities


def _plan(split_rates: Sequence[float]) -> dict[str, Sequence[float]]:
    """Everything at every rate; at `split_rates` also one layer, and two of equal qualities; every
    boost at one."""
    plan: dict[str, Sequence[float]] = {boosted(boost): (BOOST_RATE,) for boost in BOOSTS}
    plan |= {DEFAULT: RATES, ONE_LAYER: split_rates, EQUAL: split_rates}
    return plan | dict.fromkeys(RIVALS, RATES)


PLANS: dict[str, Plan] = {
    KODAK: _plan(RATES) | {ONE_QUALITY: ONE_QUALITY_TARGETS},
    VOC: dict.fromkeys((DEFAULT, "HEVC intra", "AVIF"), (0.05, 0.0648, 0.10, 0.15)),
    CROPS: _plan((0.05, 0.0648, 0.10)),
}
QUICK_RATES = (0.0648, 0.10, 0.15)
QUICK_EVERY = {KODAK: 6, VOC: 17, CROPS: 26}


def shortened(sets: dict[str, list[TestPicture]]) -> tuple[dict[str, list[TestPicture]], dict[str, Plan]]:
    """A few pictures of each set, at fewer rates."""
    plans: dict[str, Plan] = {
        name: {codec: [rate for rate in rates if rate in QUICK_RATES] for codec, rates in PLANS[name].items()}
        for name in sets
    }
    return {name: pictures[:: QUICK_EVERY[name]] for name, pictures in sets.items()}, plans
