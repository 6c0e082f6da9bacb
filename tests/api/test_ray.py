"""Folders coded and decoded on a real cluster of Ray on this machine, with two workers."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from obic.api import Codec
from obic.container import open_container
from obic.errors import ObicError, UsageError
from obic.ray import decode_folder, encode_folder
from shared.places import TESTS

GOLDEN = TESTS / "golden" / "v1"

LEFT_DOG = """
def left(rgb):
    labels = rgb[:, :, 0] * 0
    labels[:, :24] = 12
    return labels
"""


@pytest.fixture
def photos(tmp_path) -> Path:
    """Five small pictures in two folders, two of them of one name, and a file that is none."""
    rng = np.random.default_rng(7)
    for name in ("a.png", "b.jpg", "b.png", "deep/a.png", "deep/c.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (3, 4, 3), np.uint8)).resize((64, 48)).save(path)
    (tmp_path / "photos" / "bad.png").write_bytes(b"no picture")
    (tmp_path / "photos" / "notes.txt").write_bytes(b"to be passed over")
    return tmp_path / "photos"


def test_without_ray_it_says_what_to_install(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ObicError, match=r"pip install 'obic\[ray\]'"):
        encode_folder(str(photos), str(tmp_path / "coded"))


def test_a_folder_without_pictures(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'obic[ray]'")
    with pytest.raises(UsageError, match="no file in"):
        encode_folder(str(tmp_path), str(tmp_path / "coded"))


def test_a_segmenter_that_is_none(photos, tmp_path):
    with pytest.raises(UsageError, match="there is no segmenter"):
        encode_folder(str(photos), str(tmp_path / "coded"), segmenter="nobody:x")


@pytest.fixture
def served(photos) -> Iterator[str]:
    """The folder of pictures at an address: a server that lists it."""
    handler = partial(SimpleHTTPRequestHandler, directory=photos.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/photos/"
        server.shutdown()


@pytest.mark.slow
def test_a_cluster_of_two_workers(photos, served, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'obic[ray]'")
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    (tmp_path / "own.py").write_text(LEFT_DOG)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    folders = [str(tmp_path / name) for name in ("coded", "fetched", "decoded", "found")]
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    try:
        coded = encode_folder(photos.as_uri(), folders[0], workers=2, mask="none", quality=30)
        fetched = encode_folder(served, folders[1], workers=2, mask="none", quality=30)
        found = encode_folder(str(photos / "deep"), folders[3], workers=1, segmenter="python:own:left", layers="class")
        (tmp_path / "coded" / "cut.obic").write_bytes((tmp_path / "coded" / "a.obic").read_bytes()[:-1])
        decoded = decode_folder(folders[0], folders[2], workers=2, format="webp")
    finally:
        ray.shutdown()
    assert [entry["input"] for entry in coded] == ["a.png", "b.jpg", "b.png", "bad.png", "deep/a.png", "deep/c.jpg"]
    assert [entry["error"].split(":")[0] for entry in coded] == ["", "", "", "FormatError", "", ""]
    assert [entry["bytes"] for entry in fetched] == [entry["bytes"] for entry in coded]
    assert [open_container(entry["output"]).header.layer_names for entry in found] == [("background", "dog")] * 2
    alone = Codec("cpu")
    names = ("a", "b.jpg", "b.png", None, "deep/a", "deep/c")
    for name, entry in zip(names, coded, strict=True):
        if name is None:
            continue
        data = (tmp_path / "coded" / f"{name}.obic").read_bytes()
        assert len(data) == entry["bytes"]
        assert data == alone.encode(photos / entry["input"], mask="none", quality=30)
        pixels = np.asarray(Image.open(tmp_path / "decoded" / f"{name}.webp"))
        assert np.array_equal(pixels, np.asarray(alone.decode(data)))
    assert [entry["error"].split(":")[0] for entry in decoded] == ["", "", "", "TruncatedError", "", ""]
    assert [sum(path.is_file() for path in Path(folder).rglob("*")) for folder in folders] == [6, 5, 5, 2]
