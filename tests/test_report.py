"""The page of a file: complete, self-contained, and shown by a real browser where there is one."""

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from obic.cli.report import page

GOLDEN = Path(__file__).parent / "golden" / "v1"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def file(obic, monkeypatch) -> Path:
    """`x.obic`, two layers coded with the tiny model, in the test's folder."""
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    path = Path("x.obic")
    path.write_bytes((GOLDEN / "two-layers.obic").read_bytes())
    return path


def facts_of(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="facts">(.*?)</script>', html, re.S)[1])


def picture(address: str) -> Image.Image:
    kind, data = address.split(";base64,")
    assert kind == "data:image/webp"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_page_shows_what_decode_and_extract_give(obic, file):
    assert obic("report", file) == (0, b"", "")
    facts = facts_of(Path("x.html").read_text("utf-8"))
    assert facts["name"] == "x.obic"
    assert facts["bytes"] == file.stat().st_size
    obic("decode", file, "-o", "whole.png")
    assert np.array_equal(picture(facts["images"]["decoded"]).convert("RGB"), Image.open("whole.png"))
    for index, address in enumerate(facts["images"]["layers"]):
        obic("extract", file, "--layer", index, "-o", "layer.png")
        assert np.array_equal(picture(address).convert("RGBA"), Image.open("layer.png"))
    assert "original" not in facts["images"]


def test_the_label_map(obic, file):
    obic("report", file)
    grid = facts_of(Path("x.html").read_text("utf-8"))["grid"]
    labels = np.frombuffer(base64.b64decode(grid["labels"]), np.uint8).reshape(grid["height"], grid["width"])
    assert set(np.unique(labels)) == {0, 1}
    obic("extract", file, "--layer", 1, "-o", "layer.png")
    alpha = np.asarray(Image.open("layer.png"))[..., 3]
    cell = grid["cell"]
    assert (alpha[cell // 2 :: cell, cell // 2 :: cell] > 127).tolist() == (labels == 1).tolist()


def test_with_the_original(obic, file):
    obic("decode", file, "-o", "original.png")
    assert obic("report", file, "--original", "original.png", "-o", "y.html").code == 0
    facts = facts_of(Path("y.html").read_text("utf-8"))
    assert facts["images"]["original"] == facts["images"]["decoded"]
    Image.new("RGB", (9, 9)).save("small.png")
    done = obic("report", file, "--original", "small.png", "-o", "z.html")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert not Path("z.html").exists()


def test_layers_that_are_absent(obic, file):
    obic("extract", file, "--layer", "object", "-o", "part.obic")
    assert obic("report", "part.obic").code == 0
    images = facts_of(Path("part.html").read_text("utf-8"))["images"]
    assert images["layers"][0] is None
    assert picture(images["decoded"]).mode == "RGBA"


def test_a_page_needs_nothing_from_elsewhere_and_no_name_breaks_out(obic, file):
    obic("report", file)
    facts = facts_of(Path("x.html").read_text("utf-8"))
    facts["name"] = facts["layers"][1]["name"] = "</script><script>alert(1)</script>"
    html = page(facts)
    assert facts_of(html) == facts
    assert html.count("<script") == 2
    assert not re.search(r"https?:|url\(|@import|<link", html)
    assert "default-src 'none'" in html


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_in_a_browser(obic, file, tmp_path):
    obic("decode", file, "-o", "original.png")
    obic("report", file, "--original", "original.png")
    shared = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    address = (tmp_path / "x.html").as_uri()

    def browse(*options: str) -> str:
        done = subprocess.run([*shared, *options, address], capture_output=True, text=True, timeout=120, check=True)
        return done.stdout

    body = browse("--dump-dom").split("</style>")[1]
    facts = facts_of(body)
    shown = body.split("<h1")[1].split('<script type="application/json"')[0]
    assert shown.count("<img") == 2 + 1 + len(facts["layers"])
    for layer in facts["layers"]:
        assert f"{layer['name']} · quality {layer['quality']}" in shown
    assert f"{facts['bytes']:,} bytes" in shown

    browse("--hide-scrollbars", "--window-size=900,2400", f"--screenshot={tmp_path}/page.png")
    seen = np.asarray(Image.open("page.png").convert("RGB"))
    assert seen.shape == (2400, 900, 3)
    grey_background, object_colour = (0x7D, 0x85, 0x97), np.array([230, 99, 50])  # of the bar
    assert (seen == grey_background).all(2).sum() > 1000
    assert (np.abs(seen.astype(int) - object_colour).max(2) < 6).sum() > 1000
    half = seen[:, 300:600].reshape(-1, 3)
    assert len(np.unique(half, axis=0)) > 1000, "the pictures are there"
