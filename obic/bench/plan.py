"""The plan of the benchmark: sets of pictures, and the codecs and rates for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from obic.bench.coders import RIVALS
from obic.bench.pictures import PictureError, TestPicture, centre_crop, read_folder, read_voc
from obic.rate import OBJECT_BOOST

KODAK, VOC, CROPS = "Kodak", "VOC 2012 val", "VOC 2012 val, 320x320"
RATES = (0.03, 0.05, 0.0648, 0.10, 0.15, 0.25)  # bits a pixel
BOOSTS = tuple(sorted({-12, 0, 6, 12, 24, 36, OBJECT_BOOST}))
BOOST_RATE = 0.10
VOC_EVERY = 2  # pictures at the native size: every second one, or the whole would take twenty minutes more

ONE_LAYER = "obic one layer"
ONE_QUALITY = "obic one quality"  # default boost, one quality for all pictures: so published means are made
QUALITIES = (15, 25, 35, 45, 55, 65, 80, 95)  # its targets, which are not rates


def boosted(boost: int) -> str:
    """The name of obic with two layers and this object boost."""
    return f"obic boost {boost}"


def boost_of(name: str) -> int:
    """The object boost of a codec of obic with two layers."""
    return OBJECT_BOOST if name == ONE_QUALITY else int(name.removeprefix("obic boost "))


DEFAULT, EQUAL = boosted(OBJECT_BOOST), boosted(0)

Plan = Mapping[str, Sequence[float]]  # rates by codec, of ONE_QUALITY qualities


def _plan(split_rates: Sequence[float]) -> Plan:
    """Everything at every rate; at `split_rates` also one layer, and two of equal qualities; every boost at one."""
    boosts = {boosted(boost): (BOOST_RATE,) for boost in BOOSTS}
    return boosts | {DEFAULT: RATES, ONE_LAYER: split_rates, EQUAL: split_rates} | dict.fromkeys(RIVALS, RATES)


PLANS: dict[str, Plan] = {
    KODAK: _plan(RATES) | {ONE_QUALITY: QUALITIES},
    VOC: dict.fromkeys((DEFAULT, "HEVC intra", "AVIF"), (0.05, 0.0648, 0.10, 0.15)),
    CROPS: _plan((0.05, 0.0648, 0.10)),
}
QUICK_RATES = (0.0648, 0.10, 0.15)
QUICK_EVERY = {KODAK: 6, VOC: 17, CROPS: 26}


def shortened(sets: dict[str, list[TestPicture]]) -> tuple[dict[str, list[TestPicture]], dict[str, Plan]]:
    """A few pictures of each set, at fewer rates."""
    plans = {
        name: {codec: [rate for rate in rates if rate in QUICK_RATES] for codec, rates in PLANS[name].items()}
        for name in sets
    }
    return {name: pictures[:: QUICK_EVERY[name]] for name, pictures in sets.items()}, plans


def read_sets(kodak: Path, voc: Path, segmenter: Callable[[np.ndarray], np.ndarray]) -> dict[str, list[TestPicture]]:
    """The evaluation sets that are there, by name. What the segmenter sees stands for a true object nobody knows.

    Raises PictureError where there is none, or one cannot be used.
    """
    sets = {}
    if kodak.is_dir():
        sets[KODAK] = [
            replace(picture, regions=(segmenter(picture.rgb) > 0).astype(np.uint8)) for picture in read_folder(kodak)
        ]
    if voc.is_file():
        pictures = read_voc(voc)
        crops = (centre_crop(picture, 320) for picture in pictures)
        sets[VOC], sets[CROPS] = pictures[::VOC_EVERY], [picture for picture in crops if picture is not None]
        if not sets[CROPS]:
            raise PictureError(f"{voc}: no picture of at least 320x320 pixels")
    if not sets:
        raise PictureError(f"neither {kodak} nor {voc} is there")
    return sets
