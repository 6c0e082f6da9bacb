"""Folders of weights: codecs that replace each other, and those that are kept to decode with."""

import json

import numpy as np
import pytest

from golden.decoded import decoded_png
from obic import codec
from obic.container import open_container
from obic.errors import UnsupportedError
from obic.train.common.manifest import default_entry, read_manifest, write_codec
from obic.weights import ENCODER
from shared.backends import BACKENDS
from shared.corpus import SETS


def replace(folder, golden, keep):
    """Puts the codec of a golden set into the folder, as the default."""
    entry = default_entry(golden)
    write_codec(folder, (golden / entry["file"]).read_bytes(), entry, keep)
    return entry["fingerprint"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """With the codec of the first golden set, and a look of it."""
    folder = tmp_path / "weights"
    replace(folder, SETS[0], keep=False)
    manifest = read_manifest(folder)
    (folder / "look.npz").write_bytes(b"a look")
    manifest["codecs"][0]["looks"] = {"vivid": {"file": "look.npz", "sha256": ""}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setenv("OBIC_WEIGHTS", str(folder))
    return folder


def files(folder):
    return sorted(path.name for path in folder.glob("*.npz"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_codecs_that_are_kept_decode_their_files(folder, backend):
    for golden in SETS[1:]:
        replace(folder, golden, keep=True)
    codecs = read_manifest(folder)["codecs"]
    assert len(codecs) == len(SETS) and not any("looks" in each for each in codecs)
    assert files(folder) == sorted(each["file"] for each in codecs)
    for golden in SETS:
        data = (golden / "five-layers.obic").read_bytes()
        kept = codec.load_model("cpu", open_container(data).header.model, backend=backend)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OBIC_WEIGHTS", str(golden))
            whole = codec.load_model("cpu", backend=backend)
        assert decoded_png(data, kept) == decoded_png(data, whole)


def test_a_codec_that_is_kept_is_small_and_cannot_encode(folder):
    whole = (folder / default_entry(folder)["file"]).stat().st_size
    older = default_entry(folder)["fingerprint"]
    default = replace(folder, SETS[1], keep=True)
    entry = read_manifest(folder)["codecs"][1]
    assert entry["fingerprint"] == older and set(entry["parameters"]) == {"decoder"}
    with np.load(folder / entry["file"]) as archive:
        assert archive.files and not any(name.startswith(ENCODER) for name in archive.files)
        assert entry["parameters"]["decoder"] == sum(archive[name].size for name in archive.files)
    assert (folder / entry["file"]).stat().st_size < whole
    with pytest.raises(UnsupportedError, match=older):
        codec.load_model("cpu", int(older, 16), encoder=True)
    assert codec.load_model("cpu", encoder=True).fingerprint == int(default, 16)


def test_without_keep_the_default_alone_goes(folder):
    first = default_entry(folder)["fingerprint"]
    replace(folder, SETS[1], keep=True)
    last = replace(folder, SETS[2], keep=False)
    assert [each["fingerprint"] for each in read_manifest(folder)["codecs"]] == [last, first]
    again = replace(folder, SETS[2], keep=True)  # the same once more keeps nothing twice
    assert [each["fingerprint"] for each in read_manifest(folder)["codecs"]] == [again, first]
    assert files(folder) == sorted(each["file"] for each in read_manifest(folder)["codecs"])
