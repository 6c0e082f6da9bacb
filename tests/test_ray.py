"""A folder coded on a real cluster of Ray on this machine, with two workers."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from obic.api import Codec
from obic.container import open_container
from obic.errors import ObicError, UsageError
from obic.ray import encode_folder

GOLDEN = Path(__file__).parent / "golden" / "v1"


@pytest.fixture
def photos(tmp_path) -> Path:
    """Four small pictures in two folders, and a file that is none."""
    rng = np.random.default_rng(7)
    for name in ("a.png", "b.png", "deep/a.png", "deep/c.jpg"):
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


@pytest.mark.slow
def test_a_cluster_of_two_workers(photos, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'obic[ray]'")
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    try:
        coded = encode_folder(photos.as_uri(), str(tmp_path / "coded"), workers=2, mask="none", quality=30)
    finally:
        ray.shutdown()
    assert [entry["input"] for entry in coded] == ["a.png", "b.png", "bad.png", "deep/a.png", "deep/c.jpg"]
    assert [bool(entry["error"]) for entry in coded] == [False, False, True, False, False]
    assert coded[2]["error"].startswith("FormatError: ")
    alone = Codec("cpu")
    for entry in coded[:2] + coded[3:]:
        data = (tmp_path / "coded" / entry["input"]).with_suffix(".obic").read_bytes()
        assert len(data) == entry["bytes"]
        assert data == alone.encode(photos / entry["input"], mask="none", quality=30)
        assert open_container(data).header.layers[0].quality == 30
    assert sum(path.is_file() for path in (tmp_path / "coded").rglob("*")) == 4
