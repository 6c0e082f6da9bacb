"""The commands of the benchmark say in one line what is missing, before anything is measured."""

import importlib
import os
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from obic import codec
from obic.bench.common import script
from obic.bench.common.markdown import prose
from obic.bench.common.pictures import VOID, PictureError, read_folder, read_labelled
from obic.bench.rivals import run
from obic.bench.segmenter.scores import score

BENCH = (
    *("codec.ablation", "codec.bilevel", "codec.effort", "codec.ratecontrol", "segmenter"),
    *("rivals", "speed", "speed.browser", "speed.throughput", "vivid"),
)


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """Run a command of the benchmark in an empty folder: bench("speed", "--data", ...) -> what it
    says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(codec, "load_model", lambda *_, **__: None)
    monkeypatch.setattr(codec, "load_segmenter", lambda *_: lambda rgb: np.ones(rgb.shape[:2], np.uint8))

    def call(name, *arguments):
        module = importlib.import_module(f"obic.bench.{name}")
        if hasattr(module, "__path__"):
            module = importlib.import_module(f"obic.bench.{name}.__main__")
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            module.main()
        assert end.value.code not in (0, None)
        return end.value.code if isinstance(end.value.code, str) else capsys.readouterr().err

    return call


def write_zip(path, *names, size=(200, 200)):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            with archive.open(name, "w") as file:
                Image.new("L", size).save(file, "PNG" if name.endswith("png") else "JPEG")


def write_sections(path):
    names = ("masking", "hyperprior", "backbone", "masks")
    path.write_text("".join(f"<!-- {name}:begin -->\n<!-- {name}:end -->\n" for name in names))


@pytest.mark.parametrize("small", (False, True), ids=("empty", "small"))
@pytest.mark.parametrize("name", sorted(set(BENCH) - {"segmenter"}))
def test_no_pictures(bench, tmp_path, name, small):
    (tmp_path / "kodak").mkdir()
    write_zip(tmp_path / "voc-eval.zip", "a.jpg", "a.png")
    write_sections(tmp_path / "out.md")
    if small and name != "speed.throughput":  # which takes pictures of any size
        Image.new("RGB", (100, 300)).save(tmp_path / "kodak" / "a.png")
    out = ["--out", "out.md"] if name == "codec.ablation" else []
    said = bench(name, "--data", tmp_path, *out)
    assert said.count("\n") == 0 and f"{tmp_path}/kodak: no pictures" in said and "--data" in said
    assert not (tmp_path / "docs").exists()


def test_a_missing_set(bench, tmp_path):
    write_sections(tmp_path / "out.md")
    assert "neither kodak nor voc-eval.zip is there" in bench("rivals", "--data", ".")
    write_zip(tmp_path / "voc-eval.zip", "a.jpg", "a.png")
    assert bench("codec.ablation", "--data", ".", "--out", "out.md").startswith("kodak is not there")
    (tmp_path / "voc-eval.zip").rename(tmp_path / "other.zip")
    (tmp_path / "kodak").mkdir()
    assert bench("codec.ablation", "--data", ".", "--out", "out.md").startswith("voc-eval.zip is not there")


def test_labels_that_are_missing(bench, tmp_path):
    weights = "weights/segmenter.npz"
    assert bench("segmenter", "--data", "no.zip", "--weights", weights).startswith(weights)
    for path, names, lacking in (("a.zip", ("a.jpg", "b.jpg", "a.png"), "b.png"), ("b.zip", (), "NAME.jpg")):
        write_zip(tmp_path / path, *names)
        with pytest.raises(PictureError, match=f"{path}: no {lacking} in it"):
            next(read_labelled(tmp_path / path))
    (tmp_path / "c.zip").write_text("no zip")
    with pytest.raises(PictureError, match="no zip file"):
        next(read_labelled(tmp_path / "c.zip"))
    write_zip(tmp_path / "d.zip", "a.jpg", "a.png")
    ((name, rgb, labels),) = read_labelled(tmp_path / "d.zip")
    assert name == "a" and rgb.shape == (200, 200, 3) and labels.shape == (200, 200)


def test_a_damaged_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"a\.png: no picture"):
        read_folder(tmp_path)


PAGES = sorted({*BENCH, "segmenter.mask_edges"} - {"rivals", "segmenter", "speed.browser"})


@pytest.mark.parametrize("name", PAGES)
def test_files_that_cannot_be_written(bench, tmp_path, name):
    (tmp_path / "kodak").mkdir()
    Image.new("RGB", (768, 512)).save(tmp_path / "kodak" / "a.png")
    with zipfile.ZipFile(tmp_path / "voc-eval.zip", "w") as archive:
        for suffix, kind in (("jpg", "JPEG"), ("png", "PNG")):
            with archive.open(f"a.{suffix}", "w") as file:
                Image.new("L", (200, 200), 1).save(file, kind)
    (tmp_path / "file").touch()
    out = "file/page.md" if name in ("codec.effort", "codec.ablation") else "file/more"
    said = bench(name, "--data", ".", "--out", out)
    assert said.count("\n") == 0 and said.startswith("file") and said.endswith(": Not a directory")


def test_where_a_page_goes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert script.page(None, "a.md", whole=False) is None
    assert script.page(tmp_path / "x" / "y", "a.md", whole=False) == tmp_path / "x" / "y" / "a.md"
    assert script.page(None, "a.md", whole=True).parent.is_dir()
    with pytest.raises(IsADirectoryError):
        script.writable(tmp_path / "x" / "y")


def test_options_of_effort(bench, tmp_path):
    (tmp_path / "kodak").mkdir()
    Image.new("RGB", (300, 200)).save(tmp_path / "kodak" / "a.png")
    for option, value, said in (
        ("--most", 4, "4 is not 0 to 3"),
        ("--qualities", 95, "95 is not 13 to 88"),
        ("--side", 100, "100 is not 176 or more"),
        ("--side", 256, "smaller than 256"),
        ("--every", 0, "0 is not 1 or more"),
    ):
        assert f"argument {option}: " in (text := bench("codec.effort", "--data", ".", option, value)) and said in text


def test_a_missing_package_is_named():
    with pytest.raises(SystemExit, match=r"needs no_such_package: pip install 'obic\[bench\]'"):
        script.extra("no_such_package")


def test_a_cache_that_is_whole_is_not_written(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    row = dict.fromkeys(run.IDENTITY, 1)
    run.Cache(path).add([row])
    whole = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "truncate", lambda *_: pytest.fail("written"))
        path.chmod(0o400)
        run.Cache(path)
    path.chmod(0o600)
    path.write_bytes(whole + whole[:9])
    number = path.stat().st_ino
    assert run.Cache(path).get((1,) * 6) == row
    assert path.read_bytes() == whole and path.stat().st_ino == number


def test_objects_of_no_class_are_foreground_alone():
    truth = np.array([[0, 0, 3, 3, VOID, 254, 21]], np.uint8)
    guess = np.array([[0, 5, 3, 5, 5, 7, 0]], np.uint8)
    result = score(lambda rgb: guess, [(np.zeros((1, 7, 3), np.uint8), truth)])
    assert result["fg_iou"] == result["fg_iou_picture"] == pytest.approx(3 / 5)
    assert result["miou"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3), "as without the last two"


WORDS = st.lists(st.sampled_from(["bits", "a", "`--bpp 0.1`", "per-pixel", "Kodak's", "0.0648", "x" * 60]), min_size=1)


@given(paragraph=WORDS, items=st.lists(WORDS, min_size=1))
def test_prose_is_wrapped_and_nothing_else(paragraph, items):
    table = "| " + "cell " * 40 + "|\n| --- |"
    listed = "\n".join("- " + " ".join(item) for item in items)
    text = f"# {'title ' * 30}\n\n{' '.join(paragraph)}\n\n{listed}\n\n{table}\n"
    wrapped = prose(text)
    assert wrapped.split() == text.split()
    assert wrapped.endswith(f"\n\n{table}\n")
    _, plain, points, _ = wrapped.split("\n\n")
    assert max(map(len, f"{plain}\n{points}".splitlines())) <= 100
    assert sum(line.startswith("- ") for line in points.splitlines()) == len(items)
