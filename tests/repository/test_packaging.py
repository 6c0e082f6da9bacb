"""What tells systems about the files says what the code says, and the tools that read it agree."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from obic import __version__
from obic.constants import MEDIA_TYPE, SIGNATURE
from shared.places import GOLDEN, ROOT

PACKAGING = ROOT / "packaging"
SPACE = "{http://www.freedesktop.org/standards/shared-mime-info}"


def test_the_freedesktop_entry():
    (entry,) = ElementTree.parse(PACKAGING / "obic.xml").getroot()
    assert entry.get("type") == MEDIA_TYPE
    assert entry.find(f"{SPACE}glob").get("pattern") == "*.obic"
    match = entry.find(f"{SPACE}magic/{SPACE}match")
    assert (match.get("type"), match.get("offset")) == ("string", "0")
    assert match.get("value").encode().decode("unicode_escape").encode("latin-1") == SIGNATURE


def test_the_registration():
    text = (PACKAGING / "media-type.txt").read_text()
    kind, subtype = MEDIA_TYPE.split("/")
    assert f"Type name: {kind}\nSubtype name: {subtype}\n" in text
    assert f"Magic number(s): {SIGNATURE.hex(' ').upper()} at offset 0" in text


def test_pillow_and_mimetypes_know_the_type():
    code = "import obic, mimetypes; from PIL import Image; print(mimetypes.guess_type('x.obic')[0], Image.MIME['OBIC'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [MEDIA_TYPE, MEDIA_TYPE]


def test_the_package_for_browsers_has_the_version_of_this_one():
    web = PACKAGING.parent / "web"
    assert json.loads((web / "package.json").read_text())["version"] == __version__
    lock = (web / "package-lock.json").read_text()
    assert json.loads(lock)["version"] == __version__ and "resolved" not in lock and "https:" not in lock


@pytest.mark.skipif(shutil.which("file") is None, reason="file(1) is not installed")
def test_file_knows_the_files():
    def tell(path: Path, *options: str) -> str:
        command = ["file", "-b", *options, "-m", PACKAGING / "obic.magic", path]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert tell(GOLDEN / "one-row.obic") == "OBIC picture, version 1"
    assert tell(GOLDEN / "two-layers.obic", "--mime-type") == MEDIA_TYPE
    assert MEDIA_TYPE not in tell(GOLDEN / "two-layers.png", "--mime-type")


@pytest.mark.skipif(shutil.which("file") is None, reason="file(1) is not installed")
def test_file_tells_the_size(tmp_path):
    from obic.container import mux

    data = mux(width=768, height=512, model=0, mask=None, qualities=(50,), streams={0: b""})
    (tmp_path / "x.obic").write_bytes(data)
    command = ["file", "-b", "-m", PACKAGING / "obic.magic", tmp_path / "x.obic"]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "OBIC picture, version 1, 768 x 512\n"


@pytest.mark.skipif(shutil.which("update-mime-database") is None, reason="shared-mime-info is not installed")
def test_the_database_takes_the_entry(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    mime = tmp_path / "mime"
    (mime / "packages").mkdir(parents=True)
    shutil.copy(PACKAGING / "obic.xml", mime / "packages")
    done = subprocess.run(["update-mime-database", mime], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{MEDIA_TYPE}:*.obic" in (mime / "globs2").read_text()
