"""`obic serve`: what is sent, to whom, and what is not. Without a browser."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from obic.cli.serve import Handler, Site, wanted_range
from shared.javascript import WEB
from shared.places import GOLDEN

pytestmark = pytest.mark.skipif(not (WEB / "site").exists(), reason="web/ is not built: make web")

DATA = (GOLDEN / "two-layers.obic").read_bytes()


@pytest.fixture
def get(tmp_path, monkeypatch):
    """get(path, Header="value") -> (status, headers, body) from a server of a folder with two
    files."""
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    folder = tmp_path / "photos"
    (folder / "be low").mkdir(parents=True)
    (folder / "be low" / "x.obic").write_bytes(DATA)
    (folder / "broken.obic").write_bytes(DATA[:20])
    (folder / "secret.txt").write_text("secret")
    (tmp_path / "outside.obic").write_bytes(DATA)
    (folder / "link.obic").symlink_to(tmp_path / "outside.obic")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, Site(folder)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def request(path: str, method: str = "GET", **headers: str):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        result = answer.status, answer.headers, answer.read()
        connection.close()
        return result

    yield request
    server.shutdown()
    server.server_close()


def test_a_file_whole_and_in_ranges(get):
    path = "/files/be%20low/x.obic"
    status, headers, body = get(path)
    assert (status, headers["Content-Type"], headers["Accept-Ranges"], body) == (200, "image/vnd.obic", "bytes", DATA)
    for asked, part, content_range in [
        ("bytes=0-255", DATA[:256], f"bytes 0-255/{len(DATA)}"),
        ("bytes=10-", DATA[10:], f"bytes 10-{len(DATA) - 1}/{len(DATA)}"),
        ("bytes=-7", DATA[-7:], f"bytes {len(DATA) - 7}-{len(DATA) - 1}/{len(DATA)}"),
        (f"bytes=5-{10**9}", DATA[5:], f"bytes 5-{len(DATA) - 1}/{len(DATA)}"),
    ]:
        status, headers, body = get(path, Range=asked)
        assert (status, headers["Content-Range"], body) == (206, content_range, part)
    status, headers, body = get(path, Range=f"bytes={len(DATA)}-")
    assert (status, headers["Content-Range"], body) == (416, f"bytes */{len(DATA)}", b"")
    status, headers, body = get(path, "HEAD")
    assert (status, int(headers["Content-Length"]), body) == (200, len(DATA), b"")


@pytest.mark.parametrize("header", ["", "bytes=-", "bytes=9-2", "bytes=0-1,4-5", "lines=0-1", "bytes=x-y"])
def test_other_ranges_are_none(header):
    assert wanted_range(header, 100) is None


def test_the_gallery_lists_what_is_there(get):
    status, headers, body = get("/")
    facts = json.loads(re.search(rb'id="facts">(.*?)</script>', body)[1])
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert [file["name"] for file in facts["files"]] == ["be low/x.obic", "broken.obic"]
    assert facts["files"][0]["bytes"] == len(DATA) and "ends within" in facts["files"][1]["problem"]


def test_the_viewer_and_its_models(get):
    for name, kind in [("", "text/html"), ("viewer.js", "text/javascript"), ("viewer.css", "text/css")]:
        status, headers, body = get(f"/viewer/{name}")
        assert (status, headers["Content-Type"]) == (200, kind) and body
    status, headers, body = get("/viewer/models/model-ce3266a0.bin")
    assert (status, body[:9]) == (200, b"OBICMODEL") and "immutable" in headers["Cache-Control"]


@pytest.mark.parametrize(
    "path",
    ["/files/secret.txt", "/files/../outside.obic", "/files/%2e%2e/outside.obic", "/files/link.obic", "/files/be%20low",
     "/files//etc/passwd", "/viewer/../../README.md", "/viewer/models/../viewer.js", "/nothing", "/files/none.obic"],
)  # fmt: skip
def test_nothing_else_is_sent(get, path):
    assert get(path)[0] == 404


def test_a_page_that_gives_its_own_name_our_address_gets_nothing(get):
    assert get("/", Host="evil.example")[0] == 404
    assert get("/", Host="localhost:8000")[0] == 200


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is a signal")
def test_the_command(tmp_path):
    """From the address that it tells to Ctrl-C."""
    (tmp_path / "x.obic").write_bytes(DATA)
    command = [sys.executable, "-m", "obic", "serve", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = re.search(r"at (http://127\.0\.0\.1:\d+/) ", process.stderr.readline())[1]
        with urllib.request.urlopen(f"{address}files/x.obic", timeout=20) as answer:
            assert answer.read() == DATA
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.strip().splitlines()[-1]) == (130, "", "obic: interrupted")


def test_what_is_wrong_with_the_command_line(obic, monkeypatch):
    assert obic("serve", "nowhere").code == 2
    Path("here").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as taken:
        done = obic("serve", "here", "--port", taken.server_port)
    assert (done.code, done.err.count("\n")) == (1, 1) and "--port" in done.err
    monkeypatch.setattr("obic.web.__file__", str(Path("elsewhere/obic/web.py").resolve()))
    done = obic("serve", "here")
    assert (done.code, done.out, done.err.count("\n")) == (1, b"", 1) and "make web" in done.err


def test_the_site_of_an_installed_package(tmp_path, monkeypatch):
    from obic.web import site_folder

    shutil.copytree(WEB / "site", tmp_path / "obic" / "_site")
    monkeypatch.setattr("obic.web.__file__", str(tmp_path / "obic" / "web.py"))
    assert site_folder() == tmp_path / "obic" / "_site"
