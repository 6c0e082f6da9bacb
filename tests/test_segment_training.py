"""The segmenter's training: crops, losses, the held-out split, and the benchmark's figures."""

import random

import numpy as np
import pytest
import torch

from obic.bench.segmentation import score
from obic.train.data import VOID, Sample
from obic.train.segmenter import jitter, loss_terms, random_crop, split


def sample(name="a", source="voc", height=60, width=100):
    """A red object on green, so that picture and mask can be compared after any geometry."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : -height // 4, width // 4 : -width // 4] = 12
    rgb = np.where(mask[..., None] > 0, np.uint8([255, 0, 0]), np.uint8([0, 255, 0]))
    return Sample(name, rgb, mask, source, "exact")


def test_a_crop_keeps_picture_and_mask_together():
    random.seed(0)
    agree = []
    for _ in range(20):
        picture, labels = random_crop(sample(), 64)
        assert picture.shape == (3, 64, 64) and labels.shape == (16, 16)
        assert set(np.unique(labels)) <= {0, 12, VOID}
        red, green, _ = picture[:, 2::4, 2::4].numpy()
        agree.append(((red > green) == (labels == 12))[labels != VOID])
    assert np.concatenate(agree).mean() > 0.97  # an edge may fall either way


def test_jitter_stays_in_range():
    torch.manual_seed(0)
    rgb = torch.rand(4, 3, 8, 8)
    changed = jitter(rgb)
    assert 0 <= changed.min() and changed.max() <= 1
    assert (changed - rgb).abs().mean() > 0.01


def logits_for(labels, confidence=20.0):
    """Logits that say `labels`, int64 [B, h, w] of 0..20."""
    classes = torch.nn.functional.one_hot((labels - 1).clamp(min=0), 20).movedim(-1, 1)
    foreground = ((labels > 0) * 2 - 1)[:, None]
    return confidence * torch.cat([foreground, classes], 1).float()


def test_losses_vanish_for_the_truth_and_not_otherwise():
    labels = torch.zeros(2, 8, 8, dtype=torch.int64)
    labels[:, 2:6, 2:6] = 7
    right = loss_terms(logits_for(labels), labels, torch.ones(2))
    wrong = loss_terms(-logits_for(labels), labels, torch.ones(2))
    assert all(term < 1e-3 for term in right)
    assert all(term > 0.9 for term in wrong)


def test_void_counts_nowhere_and_unknown_objects_only_as_foreground():
    truth = torch.zeros(1, 8, 8, dtype=torch.int64)
    truth[:, 2:6, 2:6] = 7
    unknown = torch.where(truth > 0, 254, truth)
    entropy, overlap, classes = loss_terms(logits_for(truth), unknown, torch.ones(1))
    assert entropy < 1e-3 and overlap < 1e-3 and classes == 0
    nothing = loss_terms(-logits_for(truth), torch.full_like(truth, VOID), torch.ones(1))
    assert all(term == 0 for term in nothing)


def test_held_out_pictures_are_voc_only_and_do_not_depend_on_order():
    samples = [sample(f"v{i}") for i in range(10)] + [sample(f"x{i}", "sbd") for i in range(5)]
    training, held_out = split(samples, 4)
    assert len(held_out) == 4 and {s.source for s in held_out} == {"voc"} and len(training) == 11
    assert {s.name for s in split(samples[::-1], 4)[1]} == {s.name for s in held_out}


def test_without_voc_pictures_there_is_nothing_to_choose_by():
    with pytest.raises(ValueError, match="hold out"):
        split([sample("x", "sbd")], 4)


def test_score_by_hand():
    truth = np.array([[0, 0, 3, 3, VOID]], np.uint8)
    guess = np.array([[0, 5, 3, 5, 5]], np.uint8)
    result = score(lambda rgb: guess, [(np.zeros((1, 5, 3), np.uint8), truth)])
    assert result["fg_iou"] == result["fg_iou_picture"] == pytest.approx(2 / 3)
    assert result["miou"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
