"""The segmenter's training: crops, losses, the held-out split, and the benchmark's figures."""

import json
import math
import random
import subprocess
import sys
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from obic.bench.common.pictures import PictureError
from obic.bench.segmenter.scores import empty_pictures, presence, score
from obic.masks import OBJECT, VOID
from obic.segment import read_segmenter
from obic.segment.deeplab import LITE, DeepLab
from obic.segment.torch_deeplab import fold_norms, norms
from obic.train.common.data import Sample
from obic.train.segmenter import int8_file, masked_crops, no_object, operating_point, training
from obic.train.segmenter.__main__ import main
from obic.train.segmenter.held_out import split
from obic.train.segmenter.int8_file import mixture
from obic.train.segmenter.mask_loss import loss_terms
from obic.train.segmenter.masked_crops import COMMON, batches, drawing_chances, jitter, pasted, random_crop
from obic.train.segmenter.operating_point import Point
from obic.train.segmenter.unfold import USUAL_WEIGHT, unfold_norms
from obic.weights import load_codec, segmenter_bytes


def sample(name="a", source="voc", height=60, width=100):
    """A red object on green, so that picture and mask can be compared after any geometry."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : -height // 4, width // 4 : -width // 4] = 12
    rgb = np.where(mask[..., None] > 0, np.uint8([255, 0, 0]), np.uint8([0, 255, 0]))
    return Sample(name, rgb, mask, source, "exact")


def test_a_crop_keeps_picture_and_mask_together():
    random.seed(0)
    rgb, mask = torch.from_numpy(sample().rgb), torch.from_numpy(sample().mask)
    agree = []
    for _ in range(20):
        picture, labels = random_crop(rgb, mask, 64)
        assert picture.shape == (3, 64, 64) and labels.shape == (64, 64)
        assert set(labels.unique().tolist()) <= {0, 12, VOID}
        red, green, _ = picture
        agree.append(((red > green) == (labels == 12))[labels != VOID])
    assert torch.cat(agree).float().mean() > 0.97  # an edge may fall either way


def test_a_paste_brings_objects_and_nothing_else():
    below = torch.full((3, 2, 3), 10, dtype=torch.uint8), torch.tensor([[0, 5, VOID], [0, 5, VOID]], dtype=torch.uint8)
    above = torch.full((3, 2, 3), 200, dtype=torch.uint8), torch.tensor([[7, 0, 254], [VOID, 7, 0]], dtype=torch.uint8)
    rgb, labels = pasted(below, above)
    assert labels.tolist() == [[7, 5, 254], [0, 7, VOID]]
    assert all(plane.tolist() == [[200, 10, 200], [10, 200, 10]] for plane in rgb)


@pytest.mark.parametrize(("kind", "lent"), [("exact", True), ("pseudo", False)])
def test_only_objects_that_a_person_has_outlined_are_lent(monkeypatch, kind, lent):
    monkeypatch.setattr(masked_crops, "PASTES", 1.0)
    empty = replace(sample("empty"), mask=np.zeros((60, 100), np.uint8), mask_kind="pseudo")
    lender = replace(sample("lender", "wall"), mask_kind=kind)
    draw = batches([empty] * 7 + [lender], torch.device("cpu"))
    random.seed(0)
    with_objects = [bool(((labels > 0) & (labels != VOID)).any()) for labels in draw(64, 64).labels]
    assert with_objects.count(True) > 40 if lent else with_objects.count(True) < 20


def test_crops_are_cut_on_the_device():
    draw = batches([sample()] * 2, torch.device("meta"))  # holds no data, and mixes with no other device
    random.seed(0)
    assert {each.device.type for _ in range(10) for each in draw(64, 2)} == {"meta"}


def test_pictures_with_a_rare_class_are_drawn_more_often():
    def of(label, source="voc"):
        return replace(sample(), mask=np.full((4, 4), label, np.uint8), source=source)

    samples = [of(15)] * 60 + [of(0)] * 30 + [of(OBJECT)] * 9 + [of(11)]
    chances = drawing_chances(samples)
    assert chances[:99] == [masked_crops.SET_WEIGHTS["voc"]] * 99
    assert chances[99] == pytest.approx(chances[0] * (COMMON / 0.01) ** 0.5)
    assert drawing_chances([of(OBJECT, "mine")]) == [masked_crops.OTHER_SETS]


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
    objects = held_out.objects
    assert len(objects) == 4 and {s.source for s in objects} == {"voc"} and len(training) == 11
    assert {s.name for s in split(samples[::-1], 4)[1].objects} == {s.name for s in objects}


def test_without_voc_pictures_others_with_masks_by_hand_are_held_out_half_at_most():
    guessed = [replace(sample(f"g{i}", "mine"), mask_kind="pseudo") for i in range(9)]
    training, held_out = split([*guessed, *(sample(f"x{i}", "mine") for i in range(6))], 150)
    assert len(held_out.objects) == 3 and {s.mask_kind for s in held_out.objects} == {"exact"} and len(training) == 12
    for too_few in ([sample("x", "sbd")], guessed):
        with pytest.raises(ValueError, match="hold out"):
            split(too_few, 4)


def test_score_by_hand():
    truth = np.array([[0, 0, 3, 3, VOID]], np.uint8)
    guess = np.array([[0, 5, 3, 5, 5]], np.uint8)
    result = score(lambda rgb: guess, [(np.zeros((1, 5, 3), np.uint8), truth)])
    assert result["fg_iou"] == result["fg_iou_picture"] == pytest.approx(2 / 3)
    assert result["miou"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert result["lost"] == 0


def test_pictures_whose_object_is_lost():
    truths, guesses = np.uint8([[[0, 3]], [[0, 3]], [[0, VOID]]]), iter(np.uint8([[[3, 0]], [[0, 0]], [[0, 0]]]))
    pictures = ((np.zeros((1, 2, 3), np.uint8), truth) for truth in truths)
    assert score(lambda rgb: next(guesses), pictures)["lost"] == 0.5


def test_held_out_pictures_without_an_object_are_read_by_name(tmp_path):
    names = [sorted(no_object.names(use))[0] for use in ("held-out", "training")]
    with zipfile.ZipFile(tmp_path / "train-0.zip", "w") as archive:
        for name, side in zip(names, (7, 9), strict=True):
            with archive.open(f"{name}.webp", "w") as file:
                Image.new("RGB", (side, 5)).save(file, "WEBP")
    assert [rgb.shape for rgb in empty_pictures([tmp_path / "train-0.zip"])] == [(5, 7, 3)]
    (tmp_path / "no.zip").touch()
    with pytest.raises(PictureError, match=r"no\.zip: no zip file"):
        next(empty_pictures([tmp_path / "no.zip"]))


def test_presence_by_hand():
    guesses = iter([np.zeros((4, 5), np.uint8), np.uint8([[7, 0], [0, 0]])])
    result = presence(lambda rgb: next(guesses), [np.zeros((4, 5, 3), np.uint8)] * 2)
    assert result == {"empty_pictures": 2, "empty_area": 0.125, "empty_found_none": 0.5}
    assert math.isnan(presence(None, [])["empty_area"])


def test_seeing_less_costs_less_where_there_is_no_object():
    nothing = torch.zeros(1, 8, 8, dtype=torch.int64)
    some = nothing.clone()
    some[:, 2:4, 2:4] = 7
    more = torch.where(torch.arange(8) < 4, 7, nothing)
    overlaps = [loss_terms(logits_for(seen), nothing, torch.ones(1))[1] for seen in (nothing, some, more)]
    assert overlaps[0] < 0.01 and overlaps[0] < overlaps[1] < overlaps[2]


def test_only_those_who_looked_say_that_there_is_no_object():
    known, held = sorted(no_object.names("training"))[0], sorted(no_object.names("held-out"))[0]
    empty = replace(sample(), mask=np.zeros((60, 100), np.uint8), mask_kind="pseudo")
    samples = [sample("voc"), sample("more"), *(replace(empty, name=name) for name in (known, held, "guessed")),
               replace(empty, name="looked at", mask_kind="exact"), replace(sample("seen"), mask_kind="pseudo")]
    kept = no_object.without_guesses([*samples, replace(sample(known), mask_kind="pseudo")])
    assert [s.name for s in kept] == ["voc", "more", known, held, "looked at", "seen", known]
    assert all(no_object.is_empty(s) and s.mask_kind == "exact" for s in kept if s.source == no_object.SOURCE)
    training, held_out = split(kept, 1)
    assert [s.name for s in held_out.empty] == [held] and held not in {s.name for s in training}
    assert not no_object.names("training") & no_object.names("held-out")


def test_an_operating_point_has_to_know_pictures_without_an_object(monkeypatch):
    def points(network, held_out, long_side):
        bad = Point(long_side, -1.0, 0.9, 0.0, 0.2, 0.3)
        return [bad, *(bad._replace(threshold=i, fg_iou=0.8 - i / 10, empty_area=0.0, empty_found_none=1.0, lost=0.01)
                       for i in range(2))]

    monkeypatch.setattr(operating_point, "points", points)
    assert operating_point.choose_operating_point(None, None, (256, 320))[1:3] == (0, 0.8)
    nan = math.nan  # of no pictures
    assert Point(256, 0.0, 0.9, 0.02, nan, nan).fits() and not Point(256, 0.0, 0.9, 0.03, nan, nan).fits()


def test_unfolded_norms_give_what_the_folded_network_gives_and_learn_from_there():
    torch.manual_seed(0)
    network = DeepLab("resnet34").train()
    for _ in range(2):  # norms with statistics of their own
        network(torch.rand(2, 3, 64, 64))
    folded = fold_norms(network)
    unfolded = unfold_norms(folded, [torch.rand(4, 3, 64, 64)])
    rgb = torch.rand(2, 3, 48, 80)
    with torch.no_grad():
        assert torch.allclose(unfolded.eval()(rgb), folded(rgb), atol=1e-4)
    assert all(p.requires_grad for p in unfolded.parameters())
    sizes = [unfolded.get_submodule(name).weight.square().mean((1, 2, 3)).sqrt() for _, name in norms(unfolded)]
    sizes = torch.cat(sizes)  # 0 in the second convolution of an untrained block
    assert torch.allclose(sizes[sizes > 0], torch.tensor(USUAL_WEIGHT), rtol=1e-3)
    # On the pictures the statistics are from, a batch's own are the same, so training begins where
    # the weights are.
    rgb = torch.rand(8, 3, 64, 64)
    again = unfold_norms(folded, [rgb])
    with torch.no_grad():
        assert torch.allclose(again.train()(rgb), folded(rgb), atol=1e-3)


def test_a_mixture_lies_between_two_networks():
    torch.manual_seed(0)
    old, new = (fold_norms(DeepLab("resnet34")) for _ in range(2))
    for share, same in ((0.0, old), (1.0, new)):
        mixed = mixture(old, new, share)
        assert all(torch.allclose(mixed[name], value) for name, value in same.state_dict().items())
    middle = mixture(old, new, 0.25)["classify.weight"]
    assert torch.allclose(middle, 0.75 * old.classify.weight + 0.25 * new.classify.weight)


def test_weights_of_another_backbone_are_not_mixed(tmp_path, monkeypatch):
    network = DeepLab("resnet34")
    other = SimpleNamespace(backbone="resnet101")
    monkeypatch.setattr(int8_file, "load_network", lambda path: other)
    state = {"backbone": "resnet34", "model": {}, "average": network.state_dict(), "progress": 1.0}
    torch.save(state, tmp_path / "last.pt")
    machine = {"threads": None, "device": "cpu", "seed": 0}
    options = SimpleNamespace(pack=tmp_path / "last.pt", mix="old.npz", out=tmp_path / "new.npz", **machine)
    with pytest.raises(SystemExit, match=r"old\.npz has another backbone: resnet101"):
        int8_file.pack_checkpoint(options)
    options.out = tmp_path / "new"
    with pytest.raises(SystemExit, match=r"NAME\.npz"):
        int8_file.pack_checkpoint(options)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [LITE, "resnet34"])
def test_a_run_ends_and_its_packed_weights_start_another(tmp_path, monkeypatch, run, backbone):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, label in zip("abcd", (12, 30, 254, 255), strict=True):
        each = sample()
        Image.fromarray(each.rgb).save(folder / f"{name}.jpg")
        Image.fromarray(np.where(each.mask, np.uint8(label), np.uint8(0))).save(folder / f"{name}.png")

    train = (folder, "--out", tmp_path / "run", "--held-out", 2, "--minutes", 0.005, "--batch-scale", 0.05,
             "--threads", 1, "--backbone", backbone)
    pack = (folder, "--pack", tmp_path / "run" / "last.pt", "--held-out", 2, "--long-sides", 64, 96)
    small, pack = (main, *train), (main, *pack)
    monkeypatch.setattr(training, "SCRATCH_STAGES", ((0.5, 32, 40), (1, 64, 40)))
    monkeypatch.setattr(training, "PRETRAINED_STAGES", ((1, 64, 40),))
    if backbone == LITE:  # in two processes
        command = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2,
                   "-m", "obic.train.segmenter", *train)
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    else:
        done = run(*small)
    assert done.returncode == 0 and done.stdout == "", done.stderr
    for figures in ("losses", "held-out"):
        assert (tmp_path / "run" / f"{figures}.csv").read_text().startswith("minutes,progress,step,crops,side,")
    assert done.stderr.count("2 pictures to train on, 2 held out") == 1
    ended = run(*small, "--resume", tmp_path / "run" / "last.pt")
    assert ended.returncode and "at its end" in ended.stderr
    other = run(*small, "--init", tmp_path / "run" / "last.pt", "--backbone", "resnet101")
    assert other.returncode and f"say --backbone {backbone}" in other.stderr
    done = run(*pack, "--out", tmp_path / "packed.npz")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["bytes"] == (tmp_path / "packed.npz").stat().st_size
    monkeypatch.setenv("OBIC_WEIGHTS", str(tmp_path))  # a codec is found among the others, the segmenter is this one
    assert segmenter_bytes() == (tmp_path / "packed.npz").read_bytes() and load_codec()
    if backbone == LITE:  # one is enough: it takes seconds to compress
        done = run(*pack, "--out", tmp_path / "mixed.npz", "--mix", tmp_path / "packed.npz", "--share", 0.5)
        assert done.returncode == 0, done.stderr
        assert read_segmenter(tmp_path / "mixed.npz", "torch")(sample().rgb).shape == (60, 100)
    done = run(*small, "--init", tmp_path / "packed.npz")
    assert done.returncode == 0, done.stderr
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert state["progress"] == 1 and set(state["model"]) == set(DeepLab(backbone).state_dict())
    assert read_segmenter(tmp_path / "packed.npz", "torch")(sample().rgb).shape == (60, 100)
