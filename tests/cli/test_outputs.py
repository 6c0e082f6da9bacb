"""What becomes of a file that an output replaces: mode, owner, attributes, links; and new files."""

import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from obic.cli.streams import Output
from shared.places import GOLDEN

posix = pytest.mark.skipif(os.name != "posix", reason="modes and owners of POSIX")


@pytest.fixture(autouse=True)
def masked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o027)
    yield
    os.umask(before)


def write(path: str, data: bytes = b"new") -> os.stat_result:
    Output(path, source="-", overwrite=True).write(data)
    assert Path(path).read_bytes() == data
    assert not [name for name in os.listdir() if name.endswith(".part")]
    return os.stat(path)


@posix
def test_new_files_obey_the_umask():
    assert stat.S_IMODE(write("new").st_mode) == 0o640


@posix
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o666, 0o755, 0o200])
def test_a_replaced_file_keeps_its_mode(mode):
    Path("x").write_bytes(b"old")
    os.chmod("x", mode)
    before = os.stat("x")
    after = write("x")
    assert stat.S_IMODE(after.st_mode) == mode
    assert after.st_mtime_ns >= before.st_mtime_ns, "it is new, and says so"


@posix
def test_nobody_else_sees_it_while_it_is_written(monkeypatch):
    """The file that is going to replace one that is private is private from its first byte on."""
    Path("x").write_bytes(b"old")
    os.chmod("x", 0o600)
    modes = []
    original = os.fdopen

    def look(descriptor, *arguments, **options):
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return original(descriptor, *arguments, **options)

    monkeypatch.setattr(os, "fdopen", look)
    write("x")
    assert modes == [0o600]


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_a_replaced_file_keeps_its_owner():
    Path("x").write_bytes(b"old")
    os.chown("x", 1234, 2345)
    os.chmod("x", 0o640)
    after = write("x")
    assert (after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)) == (1234, 2345, 0o640)


@posix
def test_where_the_owner_may_not_be_kept_the_rest_is(monkeypatch):
    Path("x").write_bytes(b"old")
    os.chmod("x", 0o604)

    def refuse(*arguments, **options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    assert stat.S_IMODE(write("x").st_mode) == 0o604


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes here")
@pytest.mark.parametrize("mode", [0o600, 0o444])
def test_a_replaced_file_keeps_its_extended_attributes(mode):
    Path("x").write_bytes(b"old")
    try:
        os.setxattr("x", "user.origin", b"camera")
    except OSError as error:
        pytest.skip(f"this file system: {error}")
    os.chmod("x", mode)
    if os.access("x", os.W_OK):
        write("x")
        assert os.getxattr("x", "user.origin") == b"camera"


@posix
def test_a_link_stays_one_and_what_it_leads_to_is_replaced():
    os.mkdir("deep")
    Path("deep/real").write_bytes(b"old")
    os.chmod("deep/real", 0o600)
    os.symlink("deep/real", "link")
    assert stat.S_IMODE(write("link").st_mode) == 0o600
    assert os.path.islink("link") and Path("deep/real").read_bytes() == b"new"
    os.symlink("deep/none yet", "dangling")
    assert stat.S_IMODE(write("dangling").st_mode) == 0o640
    assert os.path.islink("dangling") and Path("deep/none yet").read_bytes() == b"new"
    os.symlink("no such folder/x", "lost")
    with pytest.raises(FileNotFoundError) as raised:
        Output("lost", source="-", overwrite=True)
    assert ".part" not in str(raised.value)


@posix
def test_another_name_of_the_file_keeps_the_old_one():
    """An output appears whole or not at all: it is a new file, and a hard link leads to the one
    there was."""
    Path("x").write_bytes(b"old")
    os.link("x", "other")
    write("x")
    assert Path("other").read_bytes() == b"old"


@posix
def test_a_file_that_may_not_be_written_is_refused_before_any_work(monkeypatch, request):
    folder = tempfile.mkdtemp()  # where everybody can go, as pytest's own are for its user alone
    request.addfinalizer(lambda: shutil.rmtree(folder))
    monkeypatch.chdir(folder)
    os.chmod(folder, 0o777)
    Path("x").write_bytes(b"old")
    os.chmod("x", 0o444)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError) as raised:
            Output("x", source="-", overwrite=True)
    finally:
        if is_root:
            os.seteuid(0)
    assert raised.value.filename == "x"
    assert Path("x").read_bytes() == b"old"


@posix
def test_errors_name_the_output_and_no_hidden_file(monkeypatch):
    def refuse(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", path)

    out = Output("x", source="-", overwrite=True)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError) as raised:
        out.write(b"new")
    assert raised.value.filename == "x"


@posix
def test_the_workers_of_a_cluster_write_as_the_command_does():
    from obic.ray import _Worker

    os.mkdir("in")
    Path("in/a.png").write_bytes(b"picture")
    worker = _Worker("in", "out", {"device": "cpu"}, lambda codec, data: data + b", coded", ".obic")
    for mode in (0o640, 0o604):
        done = worker({"name": "a.png", "stem": "a"})
        assert (done["error"], Path("out/a.obic").read_bytes()) == ("", b"picture, coded")
        assert stat.S_IMODE(os.stat("out/a.obic").st_mode) == mode
        os.chmod("out/a.obic", 0o604)


# --- a note where a name that nobody gave replaces a picture --------------------------------------


def test_a_picture_that_is_replaced_without_being_named_is_told(obic, monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    Path("photo.obic").write_bytes((GOLDEN / "two-layers.obic").read_bytes())
    replaced = "obic: note: {} was there and is replaced; -o names another output\n"
    for line, name in (
        (["decode", "photo.obic"], "photo.png"),
        (["decode", "photo.obic", "--format", "webp"], "photo.webp"),
        (["extract", "photo.obic", "--layer", 1, "--format", "png"], "photo-object.png"),
    ):
        assert obic(*line) == (0, b"", "")
        assert obic(*line) == (0, b"", replaced.format(name))
        assert obic(*line, "-o", name) == (0, b"", "")
        assert Image.open(name).format == name.rpartition(".")[2].upper()
        refused = obic(*line, "--no-overwrite")
        assert (refused.code, refused.err.count("\n")) == (1, 1)
