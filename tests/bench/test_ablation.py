"""The alternatives that the ablations measure do what they are said to."""

import numpy as np
import pytest

from obic.bench.codec import ablation
from obic.bench.common.pictures import TestPicture


@pytest.fixture(scope="module")
def picture():
    y, x = np.mgrid[:192, :208]
    rgb = 128 + 90 * np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 5)], 2)
    regions = ((y - 90) ** 2 + (x - 100) ** 2 < 60**2).astype(np.uint8)
    return TestPicture("round", rgb.astype(np.uint8), regions)


def test_parts_add_up_to_the_file(picture, tiny_encoder):
    for variant in (ablation.feature_masking, ablation.shared_hyperprior):
        _, parts = variant(picture, 60, tiny_encoder)
        overhead = parts.pop("bytes") - sum(parts.values())
        assert 30 <= overhead <= 37, variant


def test_a_shared_hyperprior_codes_the_hyper_latent_once(picture, tiny_encoder):
    _, own = ablation.feature_masking(picture, 60, tiny_encoder)
    rgb, shared = ablation.shared_hyperprior(picture, 60, tiny_encoder)
    assert 0 < shared["z"] < own["z"]
    assert rgb.shape == picture.rgb.shape


def test_pixel_masking_codes_the_edge_twice(picture, tiny_encoder):
    rgb, own = ablation.feature_masking(picture, 60, tiny_encoder)
    other, pixels = ablation.pixel_masking(picture, 60, tiny_encoder)
    assert pixels["mask"] > own["mask"] and pixels["bytes"] > own["bytes"]
    difference = np.abs(rgb.astype(int) - other).mean()
    assert 0 < difference < 40


def test_rows_of_the_table(picture, tiny_encoder, monkeypatch):
    monkeypatch.setattr(ablation, "CODED_QUALITIES", (50,))
    rows = list(ablation.measured([picture], ablation.ABLATIONS["masking"], tiny_encoder))
    assert [row[:2] for row in rows] == [["50", "features"], ["50", "pixels"]]
    assert all(len(row) == len(ablation.HEADINGS) for row in rows)


def test_rows_of_true_and_found_masks(picture, tiny_encoder):
    rows = list(ablation.mask_sources([picture], lambda rgb: np.zeros(rgb.shape[:2], np.uint8), tiny_encoder))
    assert [row[0] for row in rows] == ["segmenter's", "true"]
    assert float(rows[0][2]) == 0 < float(rows[1][2])


def test_a_section_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x:begin -->\nold\n<!-- x:end -->\nafter\n")
    ablation.replace_section(page, "x", "new")
    assert page.read_text() == "before\n<!-- x:begin -->\nnew\n<!-- x:end -->\nafter\n"
    with pytest.raises(SystemExit):
        ablation.replace_section(page, "y", "new")
