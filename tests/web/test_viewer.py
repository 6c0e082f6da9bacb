"""The decoder, the element and the viewer in a real browser, from a server that is slow where it is
told to be."""

import shutil
import threading
import time
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from broken.make import HERE
from obic import codec
from obic.bench.common.chromium import CHROMIUM, browser
from obic.cli.serve import Handler, Site
from obic.container import open_container
from shared.javascript import WEB, assert_near
from shared.places import GOLDEN

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is installed"),
    pytest.mark.skipif(not (WEB / "site").exists(), reason="web/ is not built: make web"),
]


class Server:
    """`obic serve` in a thread.

    log: (path, Range header) of each request. sent: bytes of the latest answer for each path. halt:
    files that, asked for as a whole, stop after so many bytes until `go` is set. rangeless: paths
    for which ranges are not understood.
    """

    def __init__(self, folder: Path):
        self.log: list[tuple[str, str]] = []
        self.sent: dict[str, int] = {}
        self.halt: dict[str, int] = {}
        self.rangeless: set[str] = set()
        self.go = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(WatchedHandler, self, TestSite(folder)))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()


class TestSite(Site):
    """With the package beside the viewer."""

    __test__ = False

    def find(self, path: str):
        if path.startswith("/dist/"):
            return WEB / path.removeprefix("/"), "text/javascript", "no-cache"
        return super().find(path)


class WatchedHandler(Handler):
    def __init__(self, watch: Server, *arguments):
        self.watch = watch
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self.watch.log.append((self.path, self.headers.get("Range", "")))
        if self.path in self.watch.rangeless:
            del self.headers["Range"]
        super().do_GET()

    def _send_body(self, data: bytes) -> None:
        first = len(data) if "Range" in self.headers else self.watch.halt.get(self.path, len(data))
        sent = 0
        try:
            while sent < len(data):
                if sent == first:
                    self.watch.go.wait(60)
                stop = first if sent < first else len(data)
                sent += self.connection.send(data[sent : min(stop, sent + 2**16)])
                self.watch.sent[self.path] = sent
        except ConnectionError:  # the browser has had enough
            self.close_connection = True


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for path in [*GOLDEN.glob("*.obic"), HERE / "header-sum.obic"]:
        shutil.copy(path, folder)
    data = (GOLDEN / "two-layers.obic").read_bytes()
    at = data.index(open_container(data).read_layer(1)) + 5
    (folder / "damaged.obic").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    return folder


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def server(folder, monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    server = Server(folder)
    yield server
    server.close()


@pytest.fixture
def page(window, server):
    """A page of the server with nothing on it, at the size of a desktop; it must not have had any
    error."""
    window.resize(1200, 900)
    window.problems.clear()
    window.open(f"{server.address}/viewer/")
    yield window
    assert window.problems == []


SCRIPT = """
(async () => {
  const obic = await import("/dist/index.js");
  await import("/dist/element.js");
  obic.configure({ models: "/viewer/models/" });
  const listed = ({ width, height, data }) => [width, height, ...data];
  const pixels = (canvas) => listed(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height));
  const image = document.createElement("obic-img");
  const next = (event) => new Promise((resolve) => image.addEventListener(event, resolve, { once: true }));
  const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  %s
})()"""


def script(body: str) -> str:
    """An expression that runs statements with the package, and a few helpers, at hand."""
    return SCRIPT % body


def pixels_of(numbers: list[int]) -> np.ndarray:
    width, height, *data = numbers
    return np.array(data, np.uint8).reshape(height, width, 4)


def golden(name: str) -> np.ndarray:
    return np.asarray(Image.open(GOLDEN / f"{name}.png").convert("RGBA"))


# --- the package ----------------------------------------------------------------------------------


def test_decode_in_a_worker(page, server):
    numbers = page.run(script('return listed(await obic.decode("/files/two-layers.obic"));'))
    assert_near(pixels_of(numbers), golden("two-layers"))
    asked = [path for path, _ in server.log]
    assert "/dist/worker.js" in asked and asked.count("/files/two-layers.obic") == 1


def test_decode_without_a_worker(page, server):
    body = 'obic.configure({ worker: false }); return listed(await obic.decode("/files/five-layers.obic"));'
    numbers = page.run(script(body))
    assert_near(pixels_of(numbers), golden("five-layers"))
    assert "/dist/worker.js" not in [path for path, _ in server.log]


ORIGINS = ["await answer.arrayBuffer()", "await answer.blob()", "new Uint8Array(await answer.arrayBuffer())"]


@pytest.mark.parametrize("origin", ORIGINS)
def test_decode_bytes(page, origin):
    body = f'const answer = await fetch("/files/pixel-mask.obic"); return listed(await obic.decode({origin}));'
    assert_near(pixels_of(page.run(script(body))), golden("pixel-mask"))


def test_extract_fetches_that_layer_alone(page, server):
    container = open_container((GOLDEN / "highest-quality.obic").read_bytes())
    numbers = page.run(script('return listed(await obic.extract("/files/highest-quality.obic", "background"));'))
    assert_near(pixels_of(numbers), codec.extract_picture(container, 0, codec.load_model("cpu", backend="numpy")))
    asked = [ranges for path, ranges in server.log if path == "/files/highest-quality.obic"]
    start = container.total_bytes - container.layer_bytes(0) - 2
    assert asked == ["bytes=0-255", f"bytes={max(start, 256)}-{container.total_bytes - 1}"]


def test_open_fetches_the_header_alone(page, server):
    body = """
      const file = await obic.open("/files/pixel-mask.obic");
      return [file.width, file.bytes, file.layers, [...file.labels().data]];"""
    width, size, layers, labels = page.run(script(body))
    assert (width, size["total"], layers[1]["name"], len(labels)) == (128, 360, "left above", 64)
    assert server.log[-1] == ("/files/pixel-mask.obic", "bytes=0-255")


def test_a_server_that_knows_no_ranges(page, server):
    server.rangeless.add("/files/highest-quality.obic")
    numbers = page.run(script('return listed(await obic.extract("/files/highest-quality.obic", 1));'))
    assert pixels_of(numbers)[0, 0, 3] == 0
    assert len([path for path, _ in server.log if path == "/files/highest-quality.obic"]) == 1


def test_the_model_is_fetched_once(window, server):
    for _ in range(2):
        window.open(f"{server.address}/viewer/")
        window.run(script('await obic.decode("/files/two-layers.obic"); await obic.decode("/files/one-pixel.obic");'))
    assert [path for path, _ in server.log].count("/viewer/models/model-ce3266a0.bin") == 1


def test_the_objects_come_before_the_background_has_arrived(page, server):
    data = (GOLDEN / "two-layers.obic").read_bytes()
    server.halt["/files/two-layers.obic"] = len(data) - open_container(data).layer_bytes(0) - 1
    body = """
      const seen = [];
      const onPartial = ({ image, missing }) => { seen.push(missing, listed(image)); };
      const done = obic.decode("/files/two-layers.obic", { onPartial });
      while (!seen.length) await later(10);
      window.rest = done.then(listed);
      return seen;"""
    missing, numbers = page.run(script(body))
    server.go.set()
    assert missing == [0]
    alpha, expected = pixels_of(numbers)[..., 3], golden("object-alone")
    assert np.array_equal(alpha, expected[..., 3])
    assert_near(pixels_of(numbers), expected)
    assert_near(pixels_of(page.run("window.rest")), golden("two-layers"))


def test_what_follows_a_file_is_not_read(page, server, folder):
    """A file of another kind, or one with much behind it, is given up as soon as that is seen."""
    (folder / "endless.obic").write_bytes((GOLDEN / "two-layers.obic").read_bytes() + bytes(10**8))
    (folder / "other.obic").write_bytes(bytes(10**8))
    body = """
      const names = [];
      for (const name of ["endless", "other"])
        await obic.decode(`/files/${name}.obic`).catch((error) => names.push(error.name));
      return names;"""
    assert page.run(script(body)) == ["FormatError", "NotObicError"]
    time.sleep(0.5)
    for name in ("endless", "other"):
        (folder / f"{name}.obic").unlink()
        assert 0 < server.sent[f"/files/{name}.obic"] < 10**8


@pytest.mark.parametrize(
    ("work", "error"),
    [
        ('decode("/files/damaged.obic")', "ChecksumError"),
        ('decode("/files/header-sum.obic")', "ChecksumError"),
        ('extract("/files/two-layers.obic", "sky")', "UsageError"),
        ('decode("/files/two-layers.obic", { look: "vivid" })', "UnsupportedError"),
        ('decode("/files/two-layers.obic", { limits: { maxPixels: 9 } })', "LimitError"),
        ('decode("/files/nothing.obic")', "ObicError"),
        ('decode(new Uint8Array([1, 2, 3]))', "NotObicError"),
    ],
)  # fmt: skip
def test_errors_come_through_the_worker(window, server, work, error):
    window.open(f"{server.address}/viewer/")
    told = "[error.name, error instanceof obic.ObicError, error.message]"
    body = f"try {{ await obic.{work}; }} catch (error) {{ return {told}; }}"
    name, ours, message = window.run(script(body))
    assert (name, ours) == (error, True) and message and "\n" not in message


# --- the element ----------------------------------------------------------------------------------


def test_the_element(page):
    whole, alone, label, role = page.run(script("""
      image.setAttribute("src", "/files/two-layers.obic");
      image.setAttribute("layer", "object");
      image.setAttribute("alt", "a person");
      const loaded = next("load");
      document.body.append(image);
      await loaded;
      const [alone, again] = [pixels(image.pixels), next("load")];
      image.removeAttribute("layer");
      await again;
      return [pixels(image.pixels), alone, image.pixels.ariaLabel, image.pixels.getAttribute("role")];"""))
    assert_near(pixels_of(whole), golden("two-layers"))
    alone, expected = pixels_of(alone), golden("object-alone")
    assert np.array_equal(alone[..., 3], expected[..., 3])
    opaque = expected[..., 3] == 255  # elsewhere a canvas keeps colours no more exactly than it shows them
    assert_near(alone[opaque][None], expected[opaque][None])
    assert (label, role) == ("a person", "img")


def test_the_element_tells_errors(page):
    body = """
      image.setAttribute("src", "/files/header-sum.obic");
      const failed = next("error");
      document.body.append(image);
      return (await failed).detail.name;"""
    assert page.run(script(body)) == "ChecksumError"


def test_the_element_waits_until_it_is_seen(page, server):
    page.run(script("""
      document.body.style.paddingTop = "9000px";
      image.setAttribute("loading", "lazy");
      image.setAttribute("src", "/files/one-row.obic");
      document.body.append(image);
      await later(200);"""))
    assert "/files/one-row.obic" not in [path for path, _ in server.log]
    page.run("scrollTo(0, 9000)")
    page.wait("document.querySelector('obic-img').pixels.width === 100")


# --- the viewer -----------------------------------------------------------------------------------

STATUS = "document.getElementById('status').textContent"
PROBLEM = "document.getElementById('problem')"
PICTURES = "[...document.querySelectorAll('obic-img')]"
DONE = f"{STATUS}.includes('decoded in')"


def seen(page) -> np.ndarray:
    return pixels_of(page.run(script('return pixels(document.getElementById("picture"));')))


def test_the_viewer_shows_the_object_first(page, server):
    data = (GOLDEN / "two-layers.obic").read_bytes()
    server.halt["/files/two-layers.obic"] = len(data) - open_container(data).layer_bytes(0) - 1
    page.open(f"{server.address}/viewer/?src=/files/two-layers.obic")
    page.wait(f"{STATUS}.includes('background still to come')")
    assert np.array_equal(seen(page)[..., 3], golden("object-alone")[..., 3])
    server.go.set()
    page.wait(DONE)
    assert_near(seen(page), golden("two-layers"))
    assert page.run(STATUS).startswith("two-layers.obic: 128 × 128 pixels, 376 bytes, decoded in")


def test_by_keyboard_and_for_a_screen_reader(page, server):
    page.open(f"{server.address}/viewer/?src=/files/five-layers.obic")
    page.wait(DONE)
    page.run("document.getElementById('address').focus()")
    focused = []
    for _ in range(5):
        page.press("Tab", 9)
        focused.append(page.run("document.activeElement.value || document.activeElement.textContent"))
    assert focused == ["Open", "all", "faithful", "on", "Save as PNG"]
    page.run("document.querySelector('input[name=layer]').focus()")
    page.press("ArrowDown", 40)
    page.wait(f"{STATUS}.includes('alone') && {DONE}")
    assert page.run(STATUS).startswith("five-layers.obic, object-1 alone")
    assert 0 < (seen(page)[..., 3] == 255).mean() < 1
    page.press("Tab", 9)
    page.press("Tab", 9)
    page.press(" ", 32, " ")
    assert page.run("!document.getElementById('overlay').hidden")

    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    told = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]}
    for role, name in [
        ("image", "five-layers.obic, object-1 alone, 128 by 128 pixels"),
        ("group", "Show"),
        ("radio", "object-4"),
        ("group", "Look"),
        ("button", "Save as PNG"),
        ("textbox", "Address of an .obic file"),
        ("rowheader", "object-1"),
    ]:
        assert any(own == role and name in its for own, its in told), (role, name)
    assert any(own == "status" for own, _ in told)


def test_a_file_that_is_dropped_is_saved_as_png(page, server, tmp_path):
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.run("""(async () => {
      const bytes = await (await fetch("/files/object-alone.obic")).arrayBuffer();
      const data = new DataTransfer(); data.items.add(new File([bytes], "dropped.obic"));
      document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    })()""")
    page.wait(f"{DONE} && {STATUS}.startsWith('dropped.obic')")
    page.run("document.getElementById('save').click()")
    for _ in range(500):
        if (tmp_path / "dropped.png").exists():
            break
        time.sleep(0.02)
    saved = np.asarray(Image.open(tmp_path / "dropped.png").convert("RGBA")).astype(int)
    expected = golden("object-alone").astype(int)
    opaque = expected[..., 3] == 255
    assert np.array_equal(saved[..., 3], expected[..., 3]) and np.abs(saved - expected)[opaque].max() <= 1


def test_an_address_that_is_pasted(page, server):
    page.run("""(() => {
      const data = new DataTransfer(); data.setData("text", "/files/one-row.obic");
      document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
    })()""")
    page.wait(f"{DONE} && {STATUS}.startsWith('one-row.obic')")
    assert_near(seen(page), golden("one-row"))


@pytest.mark.parametrize(
    ("address", "problem"),
    [("/files/header-sum.obic", "checksum"), ("/files/nothing.obic", "HTTP 404"), ("http://[", "is no address")],
)
def test_what_cannot_be_shown(window, server, address, problem):
    window.open(f"{server.address}/viewer/?src={address}")
    window.wait(f"!{PROBLEM}.hidden")
    assert problem in window.run(f"{PROBLEM}.textContent") and window.run("document.getElementById('viewer').hidden")


def test_damage_of_a_layer(page, server):
    page.open(f"{server.address}/viewer/?src=/files/damaged.obic")
    page.wait(f"!{PROBLEM}.hidden")
    assert page.run(f"{PROBLEM}.textContent") == "object is damaged or cut off, and left out"
    assert 0 < (seen(page)[..., 3] == 255).mean() < 1


def test_a_look_that_the_model_lacks(window, server):
    window.open(f"{server.address}/viewer/?src=/files/two-layers.obic")
    window.wait(DONE)
    window.run("document.querySelector('input[value=vivid]').click()")
    window.wait(f"!{PROBLEM}.hidden")
    assert "vivid" in window.run(f"{PROBLEM}.textContent")
    assert window.run("document.querySelector('input[value=vivid]').disabled")
    assert window.run("document.querySelector('input[value=faithful]').checked")


@pytest.mark.parametrize("path", ["/viewer/?src=/files/five-layers.obic", "/"])
def test_on_a_phone_nothing_is_wider_than_the_screen(page, server, path, tmp_path):
    page.resize(360, 740, mobile=True)
    page.open(server.address + path)
    page.wait(DONE if path != "/" else f"{PICTURES}.some((image) => image.pixels.width > 0)")
    assert page.run("document.scrollingElement.scrollWidth") <= 360


def test_the_gallery_shows_every_file(window, server):
    window.resize(1200, 2000)
    window.open(server.address)
    window.wait(f"{PICTURES}.every((image) => image.pixels.width > 0 || image.parentElement.querySelector('p'))")
    assert window.run("document.querySelectorAll('li').length") == 14
    assert window.run("[...document.querySelectorAll('li p')].map((p) => p.textContent).length") == 2
    window.run("document.querySelector('a').click()")
    window.wait(f"location.pathname === '/viewer/' && {DONE}")
