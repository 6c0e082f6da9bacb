"""Files at addresses: a real HTTP server, with ranges and without, whose bytes are counted."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

import obic as obic_api
from obic.api import default_codec
from obic.container import RemoteSource, is_address, mux, open_container
from obic.container.remote import FIRST_REQUEST
from obic.errors import TruncatedError, UsageError
from shared.places import TESTS

pytest.importorskip("aiohttp", reason="fsspec needs aiohttp for http://")
fsspec = pytest.importorskip("fsspec")

GOLDEN = TESTS / "golden" / "v1"
STREAMS = {0: b"background" * 300, 1: b"object" * 200, 2: b"another" * 100}


class Server(ThreadingHTTPServer):
    """Serves `files` by path. `sent`: the (path, first byte, bytes) of every body."""

    def __init__(self, ranges: bool):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = ranges
        self.files: dict[str, bytes] = {}
        self.sent: list[tuple[str, int, int]] = []
        Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def add(self, data: bytes, name: str = "x.obic") -> str:
        self.files[f"/{name}"] = data
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        data = self.server.files.get(path)
        if data is None:
            self.send_error(404)
            return
        start, end, status = 0, len(data), 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted and self.server.ranges:
            start, end, status = int(wanted[1]), min(int(wanted[2]) + 1, len(data)), 206
            if start >= len(data):
                self.send_error(416)
                return
        self.send_response(status)
        self.send_header("Content-Length", str(end - start))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.end_headers()
        if body:
            self.server.sent.append((path, start, end - start))
            self.wfile.write(data[start:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=[True], ids=["ranges"])
def server(request) -> Iterator[Server]:
    with Server(request.param) as running:
        yield running
        running.shutdown()


without_ranges = pytest.mark.parametrize("server", [False], ids=["no ranges"], indirect=True)


@pytest.fixture
def data() -> bytes:
    """Three layers of a few hundred to a few thousand bytes, and a colour profile behind them."""
    return mux(
        width=320,
        height=240,
        model=1,
        mask=b"mask",
        qualities=(20, 60, 40),
        streams=STREAMS,
        names=("street", "fox", "tree"),
        parts={2: b"profile" * 20},
    )


def ranges_of(data: bytes, *sections: bytes) -> set[int]:
    """The positions of sub-streams in a file, with their checksums."""
    starts = {data.index(section): len(section) + 2 for section in sections}
    return {at for start, length in starts.items() for at in range(start, start + length)}


def test_info_costs_one_small_request(obic, server, data):
    done = obic("info", server.add(data), "--json", "-v")
    assert done.code == 0
    assert json.loads(done.out)["bytes"] == len(data)
    assert server.sent == [("/x.obic", 0, FIRST_REQUEST)]
    assert f"read {FIRST_REQUEST:,} bytes in 1 request from http://127.0.0.1" in done.err


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_extraction_reads_the_header_and_the_layer(obic, server, data, layer):
    address = server.add(data)
    done = obic("extract", address, "--layer", layer, "-o", "part.obic", "-v")
    assert done.code == 0
    assert Path("part.obic").read_bytes() == open_container(data).subset([layer])
    read = [at for _, start, length in server.sent for at in range(start, start + length)]
    assert len(read) == len(set(read)), "no byte is read twice"
    assert set(read) == set(range(FIRST_REQUEST)) | ranges_of(data, STREAMS[layer], b"profile" * 20)
    assert f"read {len(read):,} bytes in {len(server.sent)} requests" in done.err


def test_neighbours_come_with_one_request(server, data):
    container = open_container(server.add(data))
    container.subset([1, 2])
    assert [length for _, _, length in server.sent[1:]] == [
        data.index(STREAMS[0]) - FIRST_REQUEST,  # layers 1 and 2 stand side by side
        len(b"profile" * 20) + 2,
    ]


def test_a_whole_file_costs_two_requests_and_shows_its_end(server, data):
    assert not any(check.error for check in open_container(server.add(data)).verify())
    assert server.sent == [("/x.obic", 0, FIRST_REQUEST), ("/x.obic", FIRST_REQUEST, len(data) - FIRST_REQUEST)]


def test_a_small_file_costs_one_request(server, small_file):
    assert len(small_file) < FIRST_REQUEST
    assert not any(check.error for check in open_container(server.add(small_file)).verify())
    assert len(server.sent) == 1


def test_a_header_beyond_the_first_request(server):
    names = [f"a layer with a long name {index}" for index in range(20)]
    streams = dict.fromkeys(range(20), b"x" * 40)
    data = mux(width=9, height=9, model=1, mask=b"m", qualities=[9] * 20, streams=streams, names=names)
    assert open_container(server.add(data)).header.layer_names == tuple(names)
    assert len(server.sent) == 2


@pytest.mark.parametrize("length", [3, 100, FIRST_REQUEST, 1000])
def test_a_file_that_was_cut_off(server, data, length):
    container = open_container(server.add(data)) if length > 200 else None
    server.files["/x.obic"] = data[:length]
    with pytest.raises(TruncatedError):
        (container or open_container(server.add(data[:length]))).read_layer(0)


def test_bytes_behind_the_end(obic, server, data):
    assert obic("verify", server.add(data)).code == 0
    assert obic("verify", server.add(data + b"\0")).code == 3


def test_pixels_of_a_layer_cost_no_other_bytes(obic, server, monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    monkeypatch.setattr("obic.container.remote.FIRST_REQUEST", 16)  # the file is small: 273 bytes
    data = (GOLDEN / "five-layers.obic").read_bytes()
    layers = {index: open_container(data).read_layer(index) for index in range(5)}
    assert obic("extract", server.add(data), "--layer", 3, "-o", "layer.png").code == 0
    read = [at for _, start, length in server.sent for at in range(start, start + length)]
    assert sorted(read) == sorted({*range(data.index(layers[1])), *ranges_of(data, layers[3])})


def test_pixels_of_a_whole_picture_cost_two_requests(obic, server, monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    data = (GOLDEN / "five-layers.obic").read_bytes()
    for command in ("decode", "report"):
        server.sent.clear()
        assert obic(command, server.add(data)).code == 0
        assert [start for _, start, _ in server.sent] == [0, FIRST_REQUEST]
        assert sum(length for _, _, length in server.sent) == len(data)


@without_ranges
def test_a_server_without_ranges(obic, server, data):
    done = obic("extract", server.add(data), "--layer", "fox")
    assert (done.code, done.err) == (0, "obic: note: the server knows no ranges; it sent the whole file\n")
    assert Path("x-fox.obic").read_bytes() == open_container(data).subset(["fox"])
    assert len(server.sent) == 1


def test_what_is_not_there(obic, server):
    missing = server.add(b"", "empty").replace("empty", "missing.obic")
    done = obic("info", missing)
    assert (done.code, done.err) == (1, f"obic: {missing}: No such file or directory\n")


def test_a_server_that_is_not_there(obic, server):
    port = server.server_port
    server.shutdown()
    server.server_close()
    done = obic("info", f"http://127.0.0.1:{port}/x.obic")
    assert done.code == 1
    assert done.err.startswith("obic: http://127.0.0.1")
    assert done.err.count("\n") == 1


def test_addresses_are_no_drives():
    addresses = ["https://example.org/x.obic", "s3://bucket/x.png", "simplecache::https://example.org/x.obic"]
    paths = [r"C:\x.png", "C:/x.png", "C://x.png", r"\\host\share\x.png", "x:y.png", "a/b//c.png", "-"]
    assert [path for path in addresses + paths if is_address(path)] == addresses


@pytest.mark.parametrize(
    "address", ["ftp://127.0.0.1:1/x.obic", "http://[bad/x.obic", "https://", "http://127.0.0.1:1/a/"]
)
@pytest.mark.parametrize("command", ["info", "encode"])
def test_failures_name_their_address(obic, command, address):
    done = obic(command, address)
    assert (done.code, done.out, done.err.count("\n")) == (1, b"", 1)
    assert done.err.startswith(f"obic: {address}: ")


def test_an_unknown_protocol():
    with pytest.raises(UsageError, match="gopherx"):
        RemoteSource("gopherx://example.org/x.obic")


def test_names_come_from_the_address(obic, server, data):
    assert obic("extract", server.add(data) + "?version=3", "--layer", 1).code == 0
    assert os.listdir() == ["x-fox.obic"]


def test_several_addresses_and_a_file(obic, server, data):
    Path("here.obic").write_bytes(data)
    done = obic("info", server.add(data), server.add(data, "y.obic"), "here.obic", "--json")
    assert [json.loads(line)["bytes"] for line in done.out.splitlines()] == [len(data)] * 3


def picture(seed: int) -> bytes:
    """A small picture as PNG."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 48, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_pictures_and_masks_come_from_addresses_too(obic, server, monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    default_codec.cache_clear()
    mask = io.BytesIO()
    Image.fromarray(np.repeat(np.uint8([[0] * 20 + [255] * 28]), 40, 0)).save(mask, "PNG")
    photo, mask = server.add(picture(1), "a/photo.png"), server.add(mask.getvalue(), "mask.png")
    assert obic("encode", f"{photo}?size=small", "--mask", mask) == (0, b"", "")
    assert open_container("photo.obic").header.layer_names == ("background", "object")
    assert obic("report", "photo.obic", "--original", photo).code == 0
    assert obic("extract", "photo.obic", "--layer", 1, "--over", photo, "-o", "over.png").code == 0
    assert obic_api.encode(photo, mask=mask) == Path("photo.obic").read_bytes()
    done = obic(
        "encode", photo, server.add(b"none", "bad.png"), server.add(picture(2), "b.png"), "--mask", "none", "-j", 2
    )
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("obic: 1 of 3 inputs failed: http://")
    assert sorted(path.name for path in Path().glob("*.obic")) == ["b.obic", "photo.obic"]


def test_a_folder_at_an_address(obic, data):
    files = fsspec.filesystem("memory")
    for name in ("x.obic", "deep/y.obic", ".hidden.obic", "notes.txt", "../out.obic", "deep/..\\..\\out.obic"):
        files.pipe(f"/coded/{name}", data)
    done = obic("extract", "memory://coded/", "--layer", "fox", "--output-dir", "out")
    assert (done.code, done.err) == (0, "")
    assert sorted(path.as_posix() for path in Path().rglob("*.obic")) == ["out/deep/y-fox.obic", "out/x-fox.obic"]
    assert "no file in memory://coded/ ends in .apng" in obic("mask", "memory://coded/").err
    assert obic("info", "memory://nowhere/").code == 1


def test_no_numpy_and_no_torch(server, data, tmp_path):
    program = (
        "import sys; from obic.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'numpy', 'torch', 'PIL', 'constriction'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    command = [sys.executable, "-c", program, "extract", server.add(data), "--layer", "fox"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_is_missing_is_named(tmp_path):
    program = (
        "import sys; sys.modules['fsspec'] = None; from obic.cli.main import main;"
        "sys.exit(main(['info', 'https://example.org/x.obic']))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert b"pip install 'obic[remote]'" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_bucket(server, data, tmp_path):
    pytest.importorskip("s3fs")
    server.add(data, "bucket/pictures/x.obic")
    environment = {
        **os.environ,
        "FSSPEC_S3_ANON": "true",
        "FSSPEC_S3_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, "-m", "obic", "extract", "s3://bucket/pictures/x.obic", "--layer", "fox", "-v"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x-fox.obic").read_bytes() == open_container(data).subset(["fox"])
    assert sum(length for _, _, length in server.sent) < len(data) - len(STREAMS[0])
