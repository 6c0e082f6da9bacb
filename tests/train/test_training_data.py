"""Pictures and masks that training reads: names, modes, values, and what is refused."""

import io
import tempfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import multiprocessing

from obic.masks import OBJECT, VOID
from obic.train.common import parallel
from obic.train.common.data import described, load_samples, shared_samples, with_masks

HALF = np.uint8([[0, 1], [0, 1]]).repeat(8, 0).repeat(8, 1)  # the right half is an object


def grey(values) -> Image.Image:
    return Image.fromarray(np.asarray(values, np.uint8))


@pytest.mark.parametrize(("names", "found"), [
    (["a.jpg", "a.png", "b.webp"], {"a.jpg": "a.png", "b.webp": None}),
    (["A.JPG", "A.PNG", "b.JPEG", "b.png"], {"A.JPG": "A.PNG", "b.JPEG": "b.png"}),
    (["a.png", "a-mask.png"], {"a.png": "a-mask.png"}),
    (["a.jpg", "a-mask.png"], {"a.jpg": "a-mask.png"}),
    (["a-mask.png", "a-mask.jpg"], {"a-mask.jpg": "a-mask.png"}),
    (["one/a.jpg", "two/a.png", "one/.a.jpg", "notes.txt"], {"one/a.jpg": None, "two/a.png": None}),
])  # fmt: skip
def test_names_tell_masks_from_pictures(names, found):
    assert with_masks(names) == found


@pytest.mark.parametrize(("value", "becomes"), [(15, 15), (255, OBJECT), (254, OBJECT), (30, OBJECT)])
def test_values_of_masks(tmp_path, value, becomes):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg")
    grey(HALF * value).save(tmp_path / "a-mask.png")
    (sample,) = load_samples([tmp_path])
    assert np.array_equal(sample.mask, HALF * np.uint8(becomes))
    assert described([sample]) == "1 pictures, 1 with masks"


def test_void_stays_void_beside_an_object(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg")
    mask = HALF * np.uint8(7)
    mask[0] = VOID
    grey(mask).save(tmp_path / "a.png")
    assert np.array_equal(load_samples([tmp_path])[0].mask, mask)


def test_masks_of_two_colours(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg")
    Image.fromarray(HALF.astype(bool)).save(tmp_path / "a.png")
    assert np.array_equal(load_samples([tmp_path])[0].mask, HALF * np.uint8(OBJECT))


def test_pictures_of_any_kind_are_upright_rgb_of_eight_bits(tmp_path):
    ramp = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (8, 1))
    Image.fromarray(ramp.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    grey(ramp).convert("P").save(tmp_path / "palette.png")
    grey(ramp).convert("CMYK").save(tmp_path / "print.jpg", quality=100)
    clear = np.dstack([ramp, ramp, ramp, np.full_like(ramp, 0)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise
    grey(ramp).convert("RGB").save(tmp_path / "turned.webp", lossless=True, exif=turned)
    got = {sample.name: sample.rgb for sample in load_samples([tmp_path])}
    assert got["turned"].shape == (16, 8, 3) and np.array_equal(got["turned"][..., 0], np.rot90(ramp, -1))
    assert (got["clear"] == 255).all()
    for name in ("deep", "palette", "print"):
        assert got[name].shape == (8, 16, 3) and np.abs(got[name] - ramp[..., None].astype(int)).max() < 4, name


def test_folders_and_zips_hold_the_same(tmp_path):
    folder = tmp_path / "set"
    (folder / "sub").mkdir(parents=True)
    Image.new("RGB", (16, 16), "red").save(folder / "sub" / "a.jpg")
    grey(HALF).save(folder / "sub" / "a.png")
    Image.new("L", (16, 16), 9).save(folder / "b.png")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("sub/a.jpg", "sub/a.png", "b.png"):
            archive.write(folder / name, name)
    read = [load_samples([path]) for path in (folder, tmp_path / "set.zip")]
    for one, other in zip(*read, strict=True):
        assert (one.name, one.source, one.mask_kind) == (other.name, other.source, other.mask_kind)
        assert np.array_equal(one.rgb, other.rgb) and np.array_equal(one.mask, other.mask)
    assert [(sample.name, sample.mask_kind) for sample in read[0]] == [("b", "none"), ("sub/a", "exact")]


def test_an_index_says_more(tmp_path):
    picture, mask = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (16, 16)).save(picture, "WEBP")
    grey(HALF).save(mask, "PNG")
    with zipfile.ZipFile(tmp_path / "train-0.zip", "w") as archive:
        archive.writestr("index.csv", "name,set,mask\na,voc,rough\n")
        archive.writestr("a.webp", picture.getvalue())
        archive.writestr("a.png", mask.getvalue())
    (sample,) = load_samples([tmp_path])
    assert (sample.source, sample.mask_kind) == ("voc", "rough")


@pytest.mark.parametrize(("picture", "mask", "says"), [
    (b"?", None, "a.jpg: not a picture of a known kind"),
    (None, Image.new("L", (8, 16)), "a.jpg with the mask a.png: the picture is 16x16, the mask 8x16"),
    (None, Image.new("RGB", (16, 16)), "a mask is grey or has a palette, not RGB"),
    (None, b"", "a.jpg with the mask a.png: not a picture of a known kind"),
])  # fmt: skip
def test_what_does_not_fit_is_named(tmp_path, picture, mask, says):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg")
    if picture:
        (tmp_path / "a.jpg").write_bytes(picture)
    if isinstance(mask, bytes):
        (tmp_path / "a.png").write_bytes(mask)
    elif mask:
        mask.save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=says):
        load_samples([tmp_path])


def test_a_file_that_is_no_archive(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"?")
    with pytest.raises(ValueError, match="not a zip archive"):
        load_samples([tmp_path / "a.zip"])


def _read_shared(rank, folder):
    parallel.start_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    tempfile.tempdir = str(folder / "room")
    for sample, alone in zip(shared_samples([folder / "data"]), load_samples([folder / "data"]), strict=True):
        assert (sample.name, sample.source, sample.mask_kind) == (alone.name, alone.source, alone.mask_kind)
        assert np.array_equal(sample.rgb, alone.rgb) and (sample.mask is None) == (alone.mask is None)
        assert alone.mask is None or np.array_equal(sample.mask, alone.mask)
    assert isinstance(sample.rgb.base, np.memmap)
    assert len(shared_samples([folder / "data"], limit=1)) == 1
    torch.distributed.destroy_process_group()


def test_processes_share_pictures_and_leave_no_file(tmp_path):
    for name in ("room", "data"):
        (tmp_path / name).mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (20 + number, 33, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "data" / f"{number}.png")
    grey(np.eye(20, 33)).save(tmp_path / "data" / "0-mask.png")
    multiprocessing.spawn(_read_shared, (tmp_path,), nprocs=2)
    assert not list((tmp_path / "room").iterdir())
