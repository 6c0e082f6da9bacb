"""`python -m obic.bench.speed.browser`: the decoder for browsers beside the command, and downloads,
for `docs/web.md`.

Needs the built viewer (`make web`) and Chromium. The page of `docs/web.md` is kept by hand above
its last heading; what stands below is written here.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import io
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from obic.bench.common.chromium import CHROMIUM, Page, browser
from obic.bench.common.markdown import prose
from obic.bench.common.pictures import read_folder
from obic.bench.common.script import command, number, page
from obic.bench.speed.stages import run_obic
from obic.cli.serve import Handler, Site
from obic.container import open_container
from obic.errors import ObicError
from obic.web import model_of, models_in, site_folder
from obic.weights import folders

HEADING = "## Measured"
NOTE = """\
Made by `python -m obic.bench.speed.browser`: CPU seconds, which say more than a clock where something else runs, the
smallest of {repeats} by turns; {version}. The command is a process with one thread, its start and the PNG included.
*First* is the first picture of a page, with the model, which comes from this machine. Pixels differ by at most
{largest} of 255.

"""
SHOW = """
(async () => {
  await import("/viewer/element.js");
  const image = document.createElement("obic-img");
  const loaded = new Promise((resolve, reject) => {
    image.addEventListener("load", resolve);
    image.addEventListener("error", (event) => reject(event.detail));
  });
  image.setAttribute("src", "/files/%s");
  document.body.append(image);
  await loaded;
  window.shown = image;
})()"""


EXAMPLE = Path(__file__).parents[3] / "examples" / "chelsea.png"
STATUS = "document.getElementById('status').textContent"


class Row(NamedTuple):
    """CPU seconds for one picture, and by how much its pixels differ at most."""

    size: str
    command: float
    first: float
    browser: float
    largest: int


def sizes(pictures: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The pictures that are measured: a small one, a usual one, four of those together."""
    first = pictures[0]
    four = [each for each in pictures if each.shape == first.shape][:4]
    four += [first] * (4 - len(four))
    whole = np.vstack([np.hstack(four[:2]), np.hstack(four[2:])])
    return {f"{rgb.shape[1]}x{rgb.shape[0]}": rgb for rgb in (first[:320, :320], first, whole)}


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which the files of a folder are served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, Site(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def measure(name: str, folder: Path, window: Page, address: str, repeats: int) -> Row:
    """One picture, command and browser by turns."""
    commands, pages = [], []
    window.open(f"{address}/viewer/")
    window.run("caches.delete('obic-models')")
    for _ in range(repeats):
        path = folder / f"{name}.obic"
        commands.append(run_obic("decode", path, "-o", folder / "x.png", threads=1).cpu_seconds)
        start = window.cpu_seconds()
        window.run(SHOW % path.name)
        pages.append(window.cpu_seconds() - start)
    picture = base64.b64decode(window.run("window.shown.pixels.toDataURL('image/png')").partition(",")[2])
    shown, expected = (np.asarray(Image.open(file).convert("RGB")) for file in (io.BytesIO(picture), folder / "x.png"))
    largest = np.abs(shown.astype(int) - expected).max()
    return Row(name, min(commands), pages[0], min(pages[1:]), int(largest))


def photograph(folder: Path, window: Page, address: str, out: Path) -> None:
    """A picture of the viewer that shows the object of an example, for the README."""
    run_obic("encode", EXAMPLE, "-o", folder / "chelsea.obic", threads=1)
    window.resize(1040, 880)
    window.open(f"{address}/viewer/?src=/files/chelsea.obic")
    window.wait(f"{STATUS}.includes('decoded in')")
    for value, seen in [("1", "alone: "), ("all", "chelsea.obic: "), ("1", "alone: ")]:  # at last without its time
        window.run(f"document.querySelector('input[name=layer][value=\"{value}\"]').click()")
        window.wait(f"{STATUS}.includes('{seen}')")
    window.screenshot(folder / "viewer.png")
    Image.open(folder / "viewer.png").convert("RGB").save(out, "WEBP", quality=80, method=6)


def downloads(model: int) -> list[tuple[str, int, int]]:
    """What a page fetches: a name, its bytes, and its bytes with gzip."""
    site = site_folder()
    code = [*site.glob("chunk-*.js"), site / "worker.js", site / "element.js"]
    rows = [
        ("decoder: JavaScript with the WebAssembly in it", b"".join(path.read_bytes() for path in code)),
        ("viewer: its page, style and code", b"".join((site / f"{name}").read_bytes() for name in PAGE_FILES)),
        (f"model {model:08x}, once", model_of(model)),
    ]
    for name, make in [entry for folder in folders() for entry in models_in(folder).items()]:
        if f"{model:08x}-" in name:
            rows.append(("its vivid look, once", make()))
    return [(label, len(data), len(gzip.compress(data, 9))) for label, data in rows]


PAGE_FILES = ("index.html", "viewer.css", "viewer.js")


def tables(rows: Sequence[Row], fetched: Sequence[tuple[str, int, int]]) -> str:
    """Seconds, as ratios to the command, and downloads."""
    lines = ["| picture | `obic decode` | browser | | browser, first | |", "|---|---|---|---|---|---|"]
    for row in rows:
        times = [f"{value:.1f} s | {value / row.command:.2f}x" for value in (row.browser, row.first)]
        lines.append(f"| {row.size} | {row.command:.1f} s | {' | '.join(times)} |")
    lines += ["", "| download | bytes | with gzip |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {label} | {size:,} | {packed:,} |" for label, size, packed in fetched)]) + "\n"


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.bench.speed.browser", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds kodak/")
    parser.add_argument("--repeats", type=number(2), default=5, metavar="N")
    parser.add_argument("--quick", action="store_true", help="the small picture alone; no file but with --out")
    parser.add_argument("--out", type=Path, help="folder with web.md (default: docs)")
    args = parser.parse_args()
    pictures = sizes([each.rgb for each in read_folder(args.data / "kodak")])
    if CHROMIUM is None:
        raise ObicError("no Chromium or Chrome is installed")
    out = page(args.out, "web.md", whole=not args.quick)
    with tempfile.TemporaryDirectory() as place, served(Path(place)) as address, browser(Path(place, "p")) as window:
        rows = []
        for name, rgb in list(pictures.items())[: 1 if args.quick else None]:
            Image.fromarray(rgb).save(Path(place, f"{name}.png"))
            run_obic("encode", Path(place, f"{name}.png"), threads=1)
            rows.append(measure(name, Path(place), window, address, args.repeats))
        if out:
            photograph(Path(place), window, address, out.with_name("viewer.webp"))
        model = open_container(Path(place, f"{rows[0].size}.obic")).header.model
        version = window.call("Browser.getVersion")["product"].replace("Headless", "").replace("/", " ")
    note = NOTE.format(repeats=args.repeats, version=version, largest=max(row.largest for row in rows))
    text = prose(note) + tables(rows, downloads(model))
    print(text, end="")
    if out:
        head = out.read_text("utf-8").partition(HEADING)[0] if os.path.exists(out) else ""
        out.write_text(f"{head}{HEADING}\n\n{text}", "utf-8")


if __name__ == "__main__":
    main()
