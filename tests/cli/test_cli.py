"""The command line where no network is needed: info, verify, extract by byte copy, help, exit
codes, output."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from obic import __version__
from obic.cli.main import COMMANDS
from obic.container import mux, open_container
from obic.container.header import checksum

OBIC = [sys.executable, "-m", "obic"]


@pytest.fixture
def photo(tmp_path, small_file) -> Path:
    """`photo.obic` in the test's folder."""
    path = tmp_path / "photo.obic"
    path.write_bytes(small_file)
    return path


def one_line(text: str) -> bool:
    return text.startswith("obic: ") and text.count("\n") == 1 and text.endswith("\n")


# --- help and usage -------------------------------------------------------------------------------


def test_help_lists_every_command(obic):
    result = obic("--help")
    assert result.code == 0
    for command in COMMANDS:
        assert f"  {command} ".encode() in result.out
    commands = result.out.split(b"Commands:")[1].split(b"Examples:")[0]
    assert b"..." not in commands  # a summary that does not fit


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(obic, command):
    result = obic(command, "--help")
    assert result.code == 0
    assert f"obic {command} ".encode() in result.out.split(b"Examples:")[1]
    assert b"--debug" in result.out


def test_version(obic):
    assert obic("--version").out == f"obic {__version__}\n".encode()


def test_no_arguments_show_the_help_as_a_usage_error(obic):
    result = obic()
    assert (result.code, result.out) == (2, b"")
    assert "Commands:" in result.err


@pytest.mark.parametrize(
    "line",
    [
        "encode",
        "encodde x.png",
        "info --colour x.obic",
        "encode x.png -q 0",
        "encode x.png -q 101",
        "encode x.png --object-quality high",
        "encode - --mask -",
        "encode - --json",
        "encode x.png --background-color",
        "decode photo.obic --damaged maybe",
        "decode photo.obic -o x.unknown",
        "decode photo.obic --format obic",
        "decode photo.obic -o photo.obic --format png",
        "extract photo.obic",
        "extract photo.obic --layer nobody",
        "extract photo.obic --layer 2",
        "extract photo.obic --layer -1",
        "extract photo.obic --layer 1 -o object.jpg",
        "extract photo.obic --layer 1 -o photo.obic",
    ],
)
def test_usage_errors(obic, photo, line):
    before = photo.read_bytes()
    result = obic(*line.split())
    assert result.code == 2
    assert one_line(result.err)
    assert result.out == b""
    assert os.listdir() == ["photo.obic"]
    assert photo.read_bytes() == before


# --- info -----------------------------------------------------------------------------------------


def test_info_json(obic, photo, small_file):
    report = json.loads(obic("info", photo, "--json").out)
    assert report["bytes"] == len(small_file)
    assert report["bpp"] == pytest.approx(8 * len(small_file) / (320 * 240), abs=1e-6)
    assert (report["width"], report["height"], report["model"]) == (320, 240, "1234abcd")
    assert report["layers"] == [
        {"index": 0, "name": "background", "bytes": 30, "quality": 20, "present": True},
        {"index": 1, "name": "object", "bytes": 120, "quality": 60, "present": True},
    ]
    assert report["mask_bytes"] == 4
    assert report["optional_bytes"] == 0


@pytest.mark.parametrize("parts", [{}, {2: b"colour profile"}, {2: b"x" * 40000, 4: b"<xmp/>"}])
@pytest.mark.parametrize("names", [None, ("sky", "a cat", "Łódź")])
@pytest.mark.parametrize("streams", [{0: b"0" * 10, 1: b"", 2: b"2" * 40000}, {2: b"22"}])
def test_the_bytes_of_info_add_up(obic, parts, names, streams):
    data = mux(width=9, height=9, model=1, mask=b"m", qualities=(1, 50, 100), streams=streams, names=names, parts=parts)
    report = json.loads(obic("info", "-", "--json", stdin=data).out)
    pieces = [report[f"{part}_bytes"] for part in ("overhead", "mask", "optional")]
    assert sum(pieces) + sum(layer["bytes"] for layer in report["layers"]) == report["bytes"] == len(data)
    assert bool(report["optional_bytes"]) == bool(parts or names)
    assert [layer["present"] for layer in report["layers"]] == [index in streams for index in range(3)]


def test_info_for_people(obic, photo):
    text = obic("info", photo).out.decode()
    assert text.startswith("320x240 pixels, ")
    assert "  1 object               120 bytes  quality 60\n" in text


def test_layer_names_that_the_terminal_cannot_show(tmp_path):
    data = mux(width=9, height=9, model=1, mask=None, qualities=(1,), streams={0: b"x"}, names=("Łódź",))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*OBIC, "info", "-"], input=data, capture_output=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u0141\\xf3d\\u017a" in done.stdout


def test_info_needs_no_more_than_the_header(obic, small_file):
    whole = obic("info", "-", stdin=small_file)
    assert obic("info", "-", stdin=small_file[:-100]).out == whole.out


# --- verify ---------------------------------------------------------------------------------------


def test_verify_a_whole_file(obic, photo):
    result = obic("verify", photo)
    assert (result.code, result.err) == (0, "")
    lines = [" ".join(line.split()) for line in result.out.decode().splitlines()]
    assert lines == ["layer 1 (object) whole", "layer 0 (background) whole", "end whole"]


def test_verify_names_the_damaged_layer(obic, small_file):
    result = obic("verify", "-", stdin=small_file[:-10])
    assert result.code == 3
    assert b"layer 1 (object)         whole" in result.out
    assert b"layer 0 (background)     damaged" in result.out
    assert one_line(result.err)


@pytest.mark.parametrize("command", ["verify -", "extract - --layer object", "extract - --layer background"])
def test_every_truncation_is_found(obic, small_file, command):
    whole = len(small_file) if "object" not in command else small_file.index(b"background")
    for length in range(whole):
        result = obic(*command.split(), stdin=small_file[:length])
        assert result.code == 3, length
        assert one_line(result.err)
        assert "extract" not in command or result.out == b""


def test_every_flipped_byte_is_found(obic, small_file):
    for position in range(len(small_file)):
        damaged = bytearray(small_file)
        damaged[position] ^= 0x10
        result = obic("verify", "-", stdin=bytes(damaged))
        assert result.code in (3, 5), position  # 5: a header length beyond the limit
        assert one_line(result.err)


def test_bytes_behind_the_end_are_found(obic, small_file):
    assert obic("verify", "-", stdin=small_file + b"\0").code == 3


# --- extract to .obic -----------------------------------------------------------------------------


def test_extract_writes_a_smaller_valid_file(obic, photo, small_file):
    result = obic("extract", photo, "--layer", "object")
    assert (result.code, result.out, result.err) == (0, b"", "")
    data = Path("photo-object.obic").read_bytes()
    assert len(data) < len(small_file)
    assert open_container(data).read_layer(1) == b"object" * 20
    assert obic("verify", "photo-object.obic").code == 0


def test_extract_by_index_through_pipes(obic, small_file):
    by_name = obic("extract", "-", "--layer", "object", stdin=small_file).out
    assert obic("extract", "-", "--layer", "1", "-o", "-", stdin=small_file).out == by_name != b""


def test_extract_again_keeps_the_index(obic, small_file):
    once = obic("extract", "-", "--layer", "1", stdin=small_file).out
    assert obic("extract", "-", "--layer", "1", stdin=once).out == once
    missing = obic("extract", "-", "--layer", "0", stdin=once)
    assert (missing.code, missing.out) == (2, b"")
    assert "absent" in missing.err


def test_layer_names_from_a_file_make_no_paths(obic, tmp_path):
    streams = {0: b"a", 1: b"b"}
    names = ("background", "../../etc/x y")
    data = mux(width=9, height=9, model=1, mask=b"m", qualities=(1, 1), streams=streams, names=names)
    Path("x.obic").write_bytes(data)
    assert obic("extract", "x.obic", "--layer", "../../etc/x y").code == 0
    assert sorted(os.listdir()) == ["x-______etc_x_y.obic", "x.obic"]


# --- exit codes of input files --------------------------------------------------------------------


def test_a_missing_file(obic):
    for command in ("info", "verify", "decode", "encode", "mask"):
        result = obic(command, "missing.png")
        assert (result.code, result.err) == (1, "obic: missing.png: No such file or directory\n")


@pytest.mark.parametrize("command", ["info", "verify", "decode", "encode", "mask", "extract --layer 1"])
def test_what_is_no_valid_file(obic, tmp_path, command):
    (tmp_path / "x.dat").write_bytes(b"neither a picture nor an .obic file")
    result = obic(*command.split(), "x.dat")
    assert (result.code, result.out) == (3, b"")
    assert one_line(result.err)
    assert os.listdir() == ["x.dat"]


def test_a_newer_version(obic, small_file):
    end = 7 + small_file[6]  # spec 3.1: signature, length, header; the version is the header's first item
    newer = small_file[:8] + b"\x02" + small_file[9:end]
    result = obic("info", "-", stdin=newer + checksum(newer) + small_file[end + 2 :])
    assert (result.code, one_line(result.err)) == (4, True)


def test_too_large_a_picture(obic):
    data = mux(width=2**24 - 1, height=2**24 - 1, model=1, mask=None, qualities=(1,), streams={0: b"x"})
    result = obic("info", "-", stdin=data)
    assert (result.code, one_line(result.err)) == (5, True)


def test_debug_shows_the_trace(obic):
    quiet, loud = obic("info", "missing.obic"), obic("info", "missing.obic", "--debug")
    assert "Traceback" not in quiet.err
    assert "Traceback" in loud.err
    assert loud.err.endswith(quiet.err)
    assert loud.code == quiet.code == 1


# --- output ---------------------------------------------------------------------------------------


def test_an_existing_file_is_replaced_unless_told_otherwise(obic, photo):
    Path("out.obic").write_bytes(b"old")
    refused = obic("extract", photo, "--layer", "1", "-o", "out.obic", "--no-overwrite")
    assert (refused.code, one_line(refused.err)) == (1, True)
    assert Path("out.obic").read_bytes() == b"old"
    assert obic("extract", photo, "--layer", "1", "-o", "out.obic").code == 0
    assert Path("out.obic").read_bytes() != b"old"


def test_a_failed_write_leaves_nothing(obic, photo, monkeypatch):
    Path("out.obic").write_bytes(b"old")

    def fail(source, target):
        raise OSError(28, "No space left on device", target)

    monkeypatch.setattr(os, "replace", fail)
    result = obic("extract", photo, "--layer", "1", "-o", "out.obic")
    assert (result.code, one_line(result.err)) == (1, True)
    assert sorted(os.listdir()) == ["out.obic", "photo.obic"]
    assert Path("out.obic").read_bytes() == b"old"


def test_the_folder_of_the_output_must_be_there(obic, photo):
    for target in ("missing/out.obic", "."):
        result = obic("extract", photo, "--layer", "1", "-o", target)
        assert (result.code, one_line(result.err)) == (1, True)


def test_new_files_have_the_usual_mode_and_links_stay_links(obic, photo):
    Path("link.obic").symlink_to("target.obic")
    assert obic("extract", photo, "--layer", "1", "-o", "link.obic").code == 0
    Path("plain").write_bytes(b"")
    assert Path("link.obic").is_symlink()
    assert Path("target.obic").stat().st_mode == Path("plain").stat().st_mode


def test_devices_can_be_written_to(obic, photo):
    assert obic("extract", photo, "--layer", "1", "-o", "/dev/null").code == 0
    assert Path("/dev/null").is_char_device()


def test_the_input_is_never_overwritten(obic, photo, small_file):
    Path("alias.obic").symlink_to("photo.obic")
    result = obic("extract", photo, "--layer", "1", "-o", "alias.obic")
    assert (result.code, one_line(result.err)) == (2, True)
    assert photo.read_bytes() == small_file


# --- as a process ---------------------------------------------------------------------------------


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess:
    """Run a line of shell in which `obic` is this package."""
    script = f'obic() {{ {" ".join(OBIC)} "$@"; }}; {line}'
    return subprocess.run(["sh", "-c", script], cwd=cwd, capture_output=True, timeout=60)


def test_a_pipe_of_processes(photo, small_file):
    done = shell("cat photo.obic | obic extract - --layer 1 -o - | obic info - --json", photo.parent)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["layers"][1]["bytes"] == 120


@pytest.mark.parametrize("command", ["info -", "verify -", "extract - --layer 1 -o -"])
def test_closed_standard_streams(photo, command):
    for closing in ("<&-", "< photo.obic >&-"):
        done = shell(f"obic {command} {closing}", photo.parent)
        assert done.returncode == 1
        assert one_line(done.stderr.decode())


@pytest.mark.parametrize("command", ["info", "extract --layer 1 -o -"])
def test_a_full_device(photo, command):
    done = shell(f"obic {command} photo.obic > /dev/full", photo.parent)
    assert done.returncode == 1
    assert done.stderr == b"obic: No space left on device\n"


@pytest.mark.parametrize("command", ["info", "extract --layer 1 -o -"])
def test_a_reader_that_has_gone_away(photo, command):
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([*OBIC, *command.split(), str(photo)], stdout=write_end, stderr=subprocess.PIPE, timeout=60)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, b"")


def test_binary_data_is_not_written_to_a_terminal(photo):
    master, terminal = pytest.importorskip("pty").openpty()
    command = [*OBIC, "extract", str(photo), "--layer", "1", "-o", "-"]
    done = subprocess.run(command, stdout=terminal, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 2
    assert b"terminal" in done.stderr
    done = subprocess.run([*OBIC, "info", "-"], stdin=terminal, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 2
    os.close(master)
    os.close(terminal)


@pytest.mark.parametrize(
    "arguments",
    ["--help", "encode --help", "info photo.obic", "verify photo.obic", "extract photo.obic --layer 1"],
)
def test_no_numpy_and_no_torch_where_none_is_needed(photo, arguments):
    program = (
        "import sys; from obic.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'numpy', 'torch', 'PIL', 'constriction'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments.split()], cwd=photo.parent, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
