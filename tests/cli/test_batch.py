"""Several inputs to one command: folders, outputs, workers, failures, the bar."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from obic import networks as obic_networks
from obic.cli.batch import Batch
from obic.cli.destinations import stems
from obic.cli.main import COMMANDS, group
from obic.cli.options import Settings
from obic.container import open_container
from obic.errors import UsageError
from obic.progress import track
from shared.places import TESTS

GOLDEN = TESTS / "golden" / "v1"


@pytest.fixture
def coded(obic, small_file) -> Path:
    """A folder `coded` with x.obic, deep/x.obic, deep/y.obic, and files that are to be passed
    over."""
    for name in ("coded/x.obic", "coded/deep/x.obic", "coded/deep/y.obic", "coded/.hidden.obic", "coded/notes.txt"):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(small_file)
    return Path("coded")


@pytest.fixture
def pictures(obic, monkeypatch) -> Path:
    """A folder `photos` with three small pictures, and a folder `masks` with a mask for each; the
    tiny model."""
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    rng = np.random.default_rng(5)
    Path("photos").mkdir()
    Path("masks").mkdir()
    for name in "abc":
        coarse = Image.fromarray(rng.integers(0, 255, (3, 4, 3), np.uint8))
        coarse.resize((64, 48), Image.Resampling.BICUBIC).save(f"photos/{name}.png")
        Image.fromarray(np.uint8([[0, 255]]).repeat(32, axis=1).repeat(48, axis=0)).save(f"masks/{name}.png")
    return Path("photos")


def found(folder: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


# --- inputs and outputs ---------------------------------------------------------------------------


def test_a_folder_stands_for_the_files_below_it(obic, coded):
    lines = [json.loads(line) for line in obic("info", coded, "--json").out.splitlines()]
    assert [line["input"] for line in lines] == [str(coded / name) for name in ("x.obic", "deep/x.obic", "deep/y.obic")]
    assert {line["width"] for line in lines} == {320}


def test_folders_keep_their_shape_in_the_output_folder(obic, coded):
    done = obic("extract", coded, "--layer", "object", "--output-dir", "out/new")
    assert (done.code, done.out, done.err) == (0, b"", "")
    assert found("out/new") == ["deep/x-object.obic", "deep/y-object.obic", "x-object.obic"]


def test_without_a_folder_results_lie_beside_their_inputs(obic, coded):
    assert obic("extract", "coded/x.obic", "coded/deep/y.obic", "--layer", 1).code == 0
    assert Path("coded/x-object.obic").exists()
    assert Path("coded/deep/y-object.obic").exists()


def test_one_input_into_a_folder(obic, coded):
    assert obic("extract", "coded/x.obic", "--layer", 1, "--output-dir", "out").code == 0
    assert found("out") == ["x-object.obic"]


@pytest.mark.parametrize(
    "line",
    [
        "extract coded/x.obic coded/deep/y.obic --layer 1 -o out.obic",
        "extract coded --layer 1 -o out.obic",
        "extract coded/x.obic - --layer 1",
        "extract - --layer 1 --output-dir out",
        "extract coded/x.obic --layer 1 -o out.obic --output-dir out",
        "info coded/empty",
        "encode coded",
        "info coded -j 2",
        "encode coded -j 0",
    ],
)
def test_usage_errors(obic, coded, line):
    Path("coded/empty").mkdir()
    done = obic(*line.split())
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)
    assert os.listdir() == ["coded"]


# --- failures -------------------------------------------------------------------------------------


def test_a_bad_file_does_not_stop_the_others(obic, coded):
    Path("coded/deep/x.obic").write_bytes(b"no such thing")
    done = obic("extract", coded, "missing.obic", "--layer", 1, "--output-dir", "out")
    assert done.code == 1
    assert found("out") == ["deep/y-object.obic", "x-object.obic"]
    bad = os.path.join("coded", "deep", "x.obic")
    assert done.err.splitlines() == [
        f"obic: {bad}: not an .obic file: the signature is missing",
        "obic: missing.obic: No such file or directory",
        f"obic: 2 of 4 inputs failed: {bad}, missing.obic",
    ]


def test_failures_as_json(obic, coded):
    Path("coded/deep/x.obic").write_bytes(b"no such thing")
    done = obic("info", coded, "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 1
    assert ["error" in line for line in lines] == [False, True, False]
    assert lines[1]["exit_code"] == 3
    assert "signature" in lines[1]["error"]


def test_two_inputs_never_share_an_output(obic, coded):
    done = obic("extract", "coded/x.obic", "coded/deep/x.obic", "--layer", 1, "--output-dir", "out")
    assert done.code == 1
    assert "the output for coded/x.obic already" in done.err
    assert found("out") == ["x-object.obic"]


def test_no_input_is_overwritten_by_the_result_of_another(obic, coded, small_file):
    Path("coded/x-object.obic").write_bytes(small_file)
    done = obic("extract", coded, "--layer", 1)
    assert done.code == 1
    assert "x-object.obic is an input" in done.err
    assert Path("coded/x-object.obic").read_bytes() == small_file
    assert Path("coded/x-object-object.obic").exists()


def test_verify_names_each_file(obic, coded, small_file):
    Path("coded/deep/x.obic").write_bytes(small_file[:-1])
    done = obic("verify", coded)
    assert done.code == 1
    assert done.out.count(b"damaged") == 1
    assert done.out.count(b"whole") == 8  # two layers and the end of three files, but for the layer that was cut
    assert all(f"{name}:".encode() in done.out for name in ("coded/x.obic", "coded/deep/x.obic"))


def test_debug_shows_the_trace_of_each_failure(obic, coded):
    done = obic("info", coded, "missing.obic", "--debug")
    assert done.err.count("Traceback") >= 2
    assert done.err.splitlines()[-1] == "obic: 1 of 4 inputs failed: missing.obic"


# --- with networks --------------------------------------------------------------------------------


def test_there_and_back_with_workers(obic, pictures, monkeypatch):
    loaded = []
    load = obic_networks.load_model
    monkeypatch.setattr(obic_networks, "load_model", lambda *args, **more: loaded.append(args) or load(*args, **more))
    for workers in (1, 2):
        done = obic("encode", pictures, "--mask", "masks", "--output-dir", f"coded-{workers}", "-j", workers, "--json")
        assert (done.code, done.err) == (0, "")
        lines = [json.loads(line) for line in done.out.splitlines()]
        assert [line["input"] for line in lines] == [str(pictures / f"{name}.png") for name in "abc"]
        assert [line["bytes"] for line in lines] == [Path(line["output"]).stat().st_size for line in lines]
        assert len(loaded) == workers, "one model for all inputs of a command"
    for name in "abc":
        data = Path(f"coded-1/{name}.obic").read_bytes()
        assert data == Path(f"coded-2/{name}.obic").read_bytes()
        assert open_container(data).header.n_layers == 2
    done = obic("decode", "coded-1", "--output-dir", "decoded", "-j", 2, "--json")
    assert [json.loads(line)["width"] for line in done.out.splitlines()] == [64] * 3
    assert found("decoded") == ["a.png", "b.png", "c.png"]
    assert len(loaded) == 3


def test_messages_name_their_input(obic, pictures):
    Image.new("L", (64, 48)).save("masks/b.png")
    Path("photos/c.png").write_bytes(b"no picture")
    done = obic("encode", pictures, "--mask", "masks", "--output-dir", "out", "-j", 2)
    assert done.code == 1
    assert f"obic: {pictures / 'b.png'}: note: no object was found" in done.err
    assert f"obic: {pictures / 'c.png'}: not a picture of a known kind" in done.err
    assert found("out") == ["a.obic", "b.obic"]


# --- the bar --------------------------------------------------------------------------------------


def test_the_bar_is_for_terminals(coded):
    command = [sys.executable, "-m", "obic", "extract", "coded", "--layer", "1", "--output-dir", "out"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"", b"")
    master, terminal = pytest.importorskip("pty").openpty()
    subprocess.run(command, stderr=terminal, timeout=60, check=True)
    shown = os.read(master, 10_000).decode()
    assert "3/3" in shown
    assert shown.endswith("\r"), "the bar leaves nothing behind"
    os.close(master)
    os.close(terminal)


def test_a_large_picture_has_a_bar_of_its_own(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    batch = Batch(["large.png"], (), Settings())
    batch.run(lambda job: [job.say(f"step {step}") for step in track("analysis", [1, 2, 3])] and None)
    drawn = [line for line in re.split(r"[\r\n]", sys.stderr.getvalue()) if line.strip()]
    assert drawn[:3] == [f"[{' ' * 30}] 0/3 analysis", "obic: step 1", f"[{' ' * 30}] 0/3 analysis"]
    assert f"[{'#' * 20:30}] 2/3 analysis" in drawn and not any("3/3" in line for line in drawn)

    monkeypatch.setattr(sys, "stderr", Terminal())
    batch.run(lambda job: list(track("analysis", [1])) and None)
    assert sys.stderr.getvalue() == ""


# --- names that differ in the suffix alone --------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("a.jpg a.png b.png", "a.jpg a.png b"),
        ("a.png A.jpg", "a.png A.jpg"),
        ("a a.png", "a a.png"),
        ("a.png a.jpg a.png.png", "a.png a.jpg a.png.png"),  # what one keeps may be what another would be called
        ("x/a.png y/a.jpg x/b.png", "x/a y/a x/b"),
        (".png .jpg", ".png .jpg"),
        ("./a.png a.jpg", "./a.png a.jpg"),
        ("a.tar.gz a.tar.xz", "a.tar.gz a.tar.xz"),
    ],
)
def test_names_without_suffixes(names, expected):
    names, expected = names.split(), expected.split()
    assert stems(names) == stems(reversed(names)) == dict(zip(names, expected, strict=True))


@given(st.lists(st.text("ab./AB", min_size=1, max_size=6), unique=True))
def test_no_two_names_become_one_and_their_order_does_not_matter(names):
    found = stems(names)
    assert found == stems(sorted(names))
    assert all(stem in (name, os.path.splitext(name)[0]) for name, stem in found.items())
    assert len(set(found.values())) == len(names)


@pytest.mark.parametrize("jobs", [1, 2])
def test_pictures_that_differ_in_the_suffix_alone_both_get_a_place(obic, pictures, jobs):
    Image.open("photos/a.png").save("photos/a.jpg")
    done = obic("encode", pictures, "--mask", "none", "--output-dir", "out", "-j", jobs, "--json")
    assert done.code == 0
    assert found("out") == ["a.jpg.obic", "a.png.obic", "b.obic", "c.obic"]
    assert [Path(json.loads(line)["output"]).name for line in done.out.splitlines()] == found("out")
    said = "obic: {}: note: another input differs in the suffix alone, so the result is {}\n"
    for name in ("a.jpg", "a.png"):
        assert said.format(pictures / name, f"{name}.obic") in done.err
    assert done.err.count("\n") == 2
    one, other = (open_container(f"out/{name}.obic") for name in ("a.jpg", "a.png"))
    assert one.header.n_pixels == other.header.n_pixels and one.subset([0]) != other.subset([0])


def test_they_do_so_when_some_are_done_already_and_beside_them(obic, pictures):
    Image.open("photos/a.png").save("photos/a.jpg")
    for line in (["photos/a.png", "photos/a.jpg"], ["photos/a.jpg", "photos/a.png", "photos/b.png"], ["photos"]):
        assert obic("encode", *line, "--mask", "none").code == 0
    assert [name for name in found("photos") if name.endswith("c")] == ["a.jpg.obic", "a.png.obic", "b.obic", "c.obic"]


def test_masks_are_found_by_the_same_rule(obic, pictures, monkeypatch):
    Image.open("photos/a.png").save("photos/a.jpg")
    monkeypatch.setattr(obic_networks.Networks, "segmenter", lambda self: lambda rgb: rgb[..., 0] // 255 * 0 + 12)
    assert obic("mask", pictures, "--output-dir", "seen").code == 0
    assert found("seen") == ["a.jpg.png", "a.png.png", "b.png", "c.png"]
    assert obic("encode", pictures, "--mask", "seen", "--output-dir", "out").code == 0
    assert obic("encode", "photos/a.jpg", "--mask", "seen", "-o", "alone.obic").code == 0, "by its whole name, too"
    assert Path("alone.obic").read_bytes() == Path("out/a.jpg.obic").read_bytes()


@pytest.mark.parametrize(
    ("line", "results"),
    [
        ("decode", ["x.OBIC.png", "x.obic.png"]),
        ("extract --layer 1", ["x.OBIC-object.obic", "x.obic-object.obic"]),
        ("extract --layer 1 --format png", ["x.OBIC-object.png", "x.obic-object.png"]),
    ],
)
def test_so_do_other_results(obic, monkeypatch, line, results):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    Path("coded").mkdir()
    for name in ("x.obic", "x.OBIC"):
        Path("coded", name).write_bytes((GOLDEN / "two-layers.obic").read_bytes())
    assert obic(*line.split(), "coded", "--output-dir", "out").code == 0
    assert found("out") == results
    assert obic(*line.split(), "coded/x.obic", "-o", f"only{Path(results[1]).suffix}") == (0, b"", "")


@pytest.mark.parametrize("jobs", [1, 2])
def test_of_the_same_name_the_first_input_gets_the_place(obic, coded, jobs):
    """Whichever worker comes first."""
    for _ in range(3):
        done = obic("extract", "coded/x.obic", "coded/deep/x.obic", "--layer", 1, "--output-dir", "out", "-j", jobs)
        assert (done.code, done.err.count("is the output for coded/x.obic already")) == (1, 1)


def test_one_file_named_twice_is_no_failure(obic, coded):
    assert obic("extract", "coded/x.obic", "coded/x.obic", "--layer", 1, "-j", 2) == (0, b"", "")


# --- numbers --------------------------------------------------------------------------------------


def takes(command, option, value):
    try:
        kept = option.type_cast_value(click.Context(command), [value] if option.multiple else value)
        return option.callback is None or option.callback(click.Context(command), option, kept) is not None
    except (click.UsageError, UsageError):
        return False


COMMAND_OF = {name: group.get_command(click.Context(group), name) for name in COMMANDS}
NUMBERS = [
    (name, option.opts[-1], value)
    for name, command in COMMAND_OF.items()
    for option in command.params
    if isinstance(option, click.Option) and not option.is_flag and not takes(command, option, "words")
    for value in ("1", "1,1", "1,1,2,2")
    if takes(command, option, value)
]


def test_all_options_that_take_numbers_are_looked_at():
    named = {option for _, option, _ in NUMBERS}
    assert {"--bpp", "--size", "--quality", "--box", "--point", "--frame", "--jobs", "--port", "--max-pixels"} <= named


@pytest.mark.parametrize(("command", "option", "value"), NUMBERS)
@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999", "Infinity", ""])
def test_what_is_no_finite_number_is_refused_by_its_option(obic, command, option, value, number):
    """Before the input is looked for: there is none."""
    Path("folder").mkdir()
    done = obic(command, f"{option}={value.replace('1', number)}", "folder" if command == "serve" else "none.png")
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1), done.err
    assert option in done.err or (option.strip("-") in done.err and number in done.err)
