"""What `make dist` built: the wheel holds the package and nothing else, and works in an empty
environment.

Not part of `make test`: it needs dist/, git, and the package index for what obic depends on.
"""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def only(pattern):
    (path,) = ROOT.glob(f"dist/{pattern}")
    return path


def tracked(*folders):
    listed = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.split("\n")) - {"", "weights/course.npz"}


@pytest.fixture(scope="module")
def wheel():
    with zipfile.ZipFile(only("*.whl")) as archive:
        yield archive


def in_wheel(wheel, metadata):
    return {name for name in wheel.namelist() if (".dist-info/" in name) == metadata}


def test_the_wheel_holds_the_package_and_the_weights(wheel):
    wanted = tracked("obic") | {name.replace("weights/", "obic/_weights/") for name in tracked("weights")}
    viewer = {f"obic/_site/{path.name}" for path in ROOT.glob("web/site/*") if path.is_file()}  # where it is built
    assert in_wheel(wheel, metadata=False) == wanted | viewer


def test_the_weights_are_those_of_the_manifest(wheel):
    manifest = json.loads(wheel.read("obic/_weights/manifest.json"))
    entries = [manifest["segmenter"], *manifest["codecs"]]
    entries += [look for codec in manifest["codecs"] for look in codec.get("looks", {}).values()]
    for entry in entries:
        assert hashlib.sha256(wheel.read(f"obic/_weights/{entry['file']}")).hexdigest() == entry["sha256"]
    assert "obic/_weights/course.npz" not in wheel.namelist()


def test_licences_and_dependencies_are_stated(wheel):
    names = in_wheel(wheel, metadata=True)
    for licence in ("LICENSE", "NOTICE"):
        assert any(name.endswith(f".dist-info/licenses/{licence}") for name in names)
    about = Parser().parsestr(wheel.read(next(name for name in names if name.endswith("/METADATA"))).decode())
    needed = {line.split(";")[0].rstrip("<>=.,0123456789") for line in about.get_all("Requires-Dist")
              if "extra ==" not in line}
    assert needed == {"click", "constriction", "msgpack", "numpy", "pillow"}
    assert about["License-Expression"] == "MIT AND Apache-2.0"


def test_the_sdist_holds_what_the_repository_does(wheel):
    with tarfile.open(only("*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked("obic", "weights", "tests", "examples", "docs", "web", "packaging", "Makefile", "*.md") <= names
    assert {"LICENSE", "NOTICE", "bitstream_spec.md", "pyproject.toml"} <= names
    assert "weights/course.npz" not in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_it_works_in_an_empty_environment(tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")

    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OBIC", "PYTEST"))}

    def run(program, *words):
        command = [programs / program, *words]
        return subprocess.run(command, cwd=tmp_path, env=ours, check=True, capture_output=True, text=True).stdout

    run("python", "-m", "pip", "install", "--quiet", only("*.whl"))
    assert "torch" not in run("python", "-m", "pip", "list").split()
    assert Path(run("python", "-c", "import obic; print(obic.__file__)").strip()).is_relative_to(tmp_path)
    run("obic", "encode", ROOT / "examples" / "chelsea.png", "-o", "cat.obic")
    run("obic", "verify", "cat.obic")
    run("python", "-m", "obic", "decode", "cat.obic", "-o", "cat.png", "--look", "vivid")
    assert (tmp_path / "cat.png").stat().st_size > 10_000
