"""The benchmarks of everyday use: rate control, pixel masks, many pictures. With tiny networks."""


import numpy as np
import pytest
from PIL import Image

from obic.bench.codec import bilevel, ratecontrol
from obic.bench.common.pictures import TestPicture
from obic.bench.speed import throughput
from obic.codec import PictureEncoder
from obic.rate import Rate
from shared.places import ROOT

WEIGHTS = ROOT / "weights"


@pytest.fixture
def picture():
    rgb = np.random.default_rng(0).integers(0, 256, (96, 112, 3)).astype(np.uint8)
    return TestPicture("noise", rgb)


def left(rgb):
    return np.broadcast_to(np.arange(rgb.shape[1]) < 60, rgb.shape[:2]).astype(np.uint8)


def test_searches_are_judged(tiny_encoder, picture):
    middle = PictureEncoder(picture.rgb, left(picture.rgb), 2, model=tiny_encoder).size((39, 51))
    targets = {
        "the middle": Rate(size=middle),
        "little": Rate(size=9),
        "much": Rate(size=99_000),
        "objects fixed": Rate(size=middle, object_quality=51),
    }
    rows = list(ratecontrol.search([picture], targets, tiny_encoder, left))
    assert [row.outcome for row in rows] == ["met", "too small", "too large", "met"]
    assert all(0 <= row.miss < 0.1 for row in (rows[0], rows[3]))
    assert all(row.tries > 1 for row in rows)
    lines = ratecontrol.table(rows).splitlines()
    assert [line.split(" | ")[1:5] for line in lines[2:]] == [list("1000"), list("0100"), list("0010"), list("1000")]


def test_what_is_wrong_is_said(tiny_encoder, picture):
    coder = PictureEncoder(picture.rgb, left(picture.rgb), 2, model=tiny_encoder)

    def outcome(rate, chosen):
        n_bytes = coder.size(chosen)
        return ratecontrol._outcome(rate, chosen, n_bytes, rate.max_bytes(picture.pixels), coder)

    middle = coder.size((40, 50))
    assert outcome(Rate(size=middle), (40, 50)) == "met"
    assert outcome(Rate(size=middle), (60, 70)) == "above the target"
    assert outcome(Rate(size=middle), (10, 20)) == "more than a step below"
    assert outcome(Rate(size=middle, object_quality=30), (40, 50)) == "a fixed quality moved"


def test_coders_of_masks():
    random = np.random.default_rng(0)
    noise = random.integers(0, 2, (128, 128)).astype(bool)
    assert abs(bilevel.jbig2_bytes(noise) - noise.size / 8) < 0.2 * noise.size / 8, "nothing to learn: a bit a pixel"
    assert bilevel.jbig2_bytes(np.zeros((512, 512), bool)) < 10
    y, x = np.mgrid[:256, :256]
    disc = (y - 120) ** 2 + (x - 100) ** 2 < 80**2
    sizes = {name: size(disc) for name, size in bilevel.CODERS.items()}
    assert 30 < min(sizes["obic"], sizes["JBIG2"])
    assert max(sizes["obic"], sizes["JBIG2"]) < min(sizes["G4"], sizes["WebP"], sizes["PNG"])


def test_workers_are_timed_with_the_command_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(WEIGHTS))
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    ((label, encoding, decoding),) = throughput.with_workers(tmp_path, [1], 1, "cpu")
    assert label == "`-j 1`" and encoding > 0 and decoding > 0


def test_many_pictures():
    lines = throughput.table([("`-j 1`", 4.0, 2.0), ("`-j 2`", 2.5, 2.0)], pictures=10).splitlines()
    assert lines[2:] == ["| `-j 1` | 2.50 | 1.00x | 5.00 | 1.00x |", "| `-j 2` | 4.00 | 1.60x | 5.00 | 1.00x |"]
