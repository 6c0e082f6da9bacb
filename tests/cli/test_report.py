"""The page of a file: complete, self-contained, and shown by a real browser where there is one."""

import base64
import io
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from obic.bench.common.chromium import CHROMIUM, browser
from obic.cli.report import page
from shared.javascript import WEB
from shared.places import TESTS

GOLDEN = TESTS / "golden" / "v1"
needs_site = pytest.mark.skipif(not (WEB / "site").exists(), reason="web/ is not built: make web")


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
    assert np.array_equal(picture(facts["image"]).convert("RGB"), Image.open("whole.png"))
    for index, address in enumerate(facts["layer_images"]):
        obic("extract", file, "--layer", index, "-o", "layer.png")
        assert np.array_equal(picture(address).convert("RGBA"), Image.open("layer.png"))
    assert "original" not in facts


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
    assert facts["original"] == facts["image"]
    Image.new("RGB", (9, 9)).save("small.png")
    done = obic("report", file, "--original", "small.png", "-o", "z.html")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert not Path("z.html").exists()


def test_layers_that_are_absent(obic, file):
    obic("extract", file, "--layer", "object", "-o", "part.obic")
    assert obic("report", "part.obic").code == 0
    facts = facts_of(Path("part.html").read_text("utf-8"))
    assert facts["layer_images"][0] is None
    assert picture(facts["image"]).mode == "RGBA"


def test_a_page_needs_nothing_from_elsewhere_and_no_name_breaks_out(obic, file):
    obic("report", file)
    facts = facts_of(Path("x.html").read_text("utf-8"))
    facts["name"] = facts["layers"][1]["name"] = "</script><script>alert(1)</script>"
    html = page("report.html", facts)
    assert facts_of(html) == facts
    assert html.count("<script") == 2
    assert not re.search(r"https?:|url\(|@import|<link", html)
    assert "default-src 'none'" in html


def test_a_gallery(obic, file):
    """Of files and folders; what fails is told and left out, and the page is there all the same."""
    Path("more").mkdir()
    Path("more/y.obic").write_bytes((GOLDEN / "object-alone.obic").read_bytes())
    assert obic("report", file, "more", "-o", "photos.html") == (0, b"", "")
    facts = facts_of(Path("photos.html").read_text("utf-8"))
    assert (facts["title"], [each["name"] for each in facts["files"]]) == ("photos", ["x.obic", "y.obic"])
    assert [picture(each["image"]).mode for each in facts["files"]] == ["RGB", "RGBA"]
    Path("more/z.obic").write_bytes(file.read_bytes()[:-3])
    done = obic("report", file, "more", "-o", "photos.html")
    assert done.code == 1 and "more/z.obic" in done.err
    assert facts_of(Path("photos.html").read_text("utf-8")) == facts


@pytest.mark.parametrize(
    "line", ["x.obic more", "more", "x.obic more -o x.obic", "x.obic more -o a.html --original a.png"]
)
def test_what_a_gallery_needs(obic, file, line):
    Path("more").mkdir()
    Path("more/y.obic").write_bytes(file.read_bytes())
    done = obic("report", *line.split())
    assert (done.code, done.err.count("\n")) == (2, 1) and not list(Path().glob("*.html"))


@needs_site
def test_a_live_page_holds_the_file_and_the_model(obic, file):
    assert obic("report", file, "--live") == (0, b"", "")
    html = Path("x.html").read_text("utf-8")
    facts = facts_of(html)
    assert base64.b64decode(facts["src"].removeprefix("data:image/vnd.obic;base64,")) == file.read_bytes()
    assert "image" not in facts and "layer_images" not in facts
    assert html.count("</script") == html.count("<script") == 5
    assert base64.b64decode(re.search(r'class="obic-model">(.*?)<', html)[1])[:9] == b"OBICMODEL"


@needs_site
def test_a_live_page_is_not_made_of_what_it_could_not_show(obic, file, monkeypatch):
    Path("cut.obic").write_bytes(file.read_bytes()[:-3])
    assert (obic("report", "cut.obic", "--live").code, Path("cut.html").exists()) == (3, False)
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN.parent / "v2"))
    done = obic("report", file, "--live")
    assert (done.code, done.err.count("\n"), Path("x.html").exists()) == (4, 1, False)


@needs_site
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is installed")
def test_live_pages_in_a_browser(obic, file, tmp_path):
    """From a file, without a server: every picture is decoded by the page."""
    Path("y.obic").write_bytes((GOLDEN / "object-alone.obic").read_bytes())
    obic("report", file, "--live")
    obic("report", file, "y.obic", "-o", "gallery.html", "--live")
    size = "(() => { const c = %s; return c.getContext('2d').getImageData(0, 0, c.width, c.height).data })()"
    with browser(tmp_path / "profile") as window:
        for name, count in [("x.html", 3), ("gallery.html", 2)]:
            window.open((tmp_path / name).as_uri())
            pictures = "[...document.querySelectorAll('obic-img')]"
            window.wait(f"{pictures}.length === {count} && {pictures}.every((image) => image.pixels?.width === 128)")
            data = window.run(f"[...{size % (pictures + '[0].pixels')}]")
            obic("decode", file, "-o", "whole.png", "--backend", "numpy")
            shown = np.array(data, np.uint8).reshape(128, 128, 4)[..., :3]
            assert np.abs(shown.astype(int) - np.asarray(Image.open("whole.png"))).max() <= 1
            assert window.problems == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is installed")
def test_in_a_browser(obic, file, tmp_path):
    obic("decode", file, "-o", "original.png")
    obic("report", file, "--original", "original.png")
    shared = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
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
