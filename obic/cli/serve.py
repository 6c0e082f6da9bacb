"""Room 5. `obic serve`: a folder of files as a gallery for browsers, which decode them. http.server
does the rest."""

import mimetypes
import re
import webbrowser
from collections.abc import Callable
from functools import cache, cached_property, partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import click

from obic.cli.info import describe
from obic.cli.messages import say
from obic.cli.options import Settings, obic_command
from obic.cli.report import page
from obic.constants import MEDIA_TYPE
from obic.container import Limits, open_container
from obic.errors import ObicError

LOOPBACK = "127.0.0.1"
DECODER = '<script type="module" src="/viewer/element.js"></script>'
FOR_EVER = "max-age=31536000, immutable"  # a model's name tells what it is
TYPES = {".obic": MEDIA_TYPE, ".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
POLICY = (
    "default-src 'self'; img-src 'self' data:; connect-src *; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'"
)

EXAMPLES = """
obic serve photos                   the gallery at http://127.0.0.1:8000
obic serve . --open                 and a browser on it
obic serve photos --host 0.0.0.0    for everyone in the network
"""


@obic_command(
    click.option("--host", default=LOOPBACK, show_default=True, help="The address to listen at."),
    click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: one that is free."),
    click.option("--open", "open_browser", is_flag=True, help="Open a browser on it."),
    argument=click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path)),
    epilog=EXAMPLES,
)
def command(folder: Path, settings: Settings, host: str, port: int, open_browser: bool) -> None:
    """Show the .obic files of a folder in a browser.

    A gallery, and a viewer with the layers of each file. The browser decodes; the server sends
    files, whole or in ranges, and the weights once. By default no other machine can reach it.
    """
    site = Site(folder, settings.limits)
    try:
        server = ThreadingHTTPServer((host, port), partial(Handler, site))
    except OSError as error:
        raise ObicError(f"cannot listen at {host}:{port}: {error.strerror}; choose another --port") from error
    with server:
        address = f"http://{host}:{server.server_port}/"
        say(f"{folder} at {address} (Ctrl-C ends it)")
        if open_browser:
            webbrowser.open(address)
        server.serve_forever()


class Site:
    """What there is to serve: the files below a folder, the viewer, the models."""

    def __init__(self, folder: Path, limits: Limits | None = None):
        from obic.web import site_folder

        self._limits = limits or Limits()
        self.folder = folder.resolve()
        self.viewer = site_folder().resolve()

    def find(self, path: str) -> tuple[bytes | Path, str, str] | None:
        """The contents, the media type and the lifetime in caches of what is at a path, or None."""
        if path == "/":
            return self.gallery().encode(), "text/html; charset=utf-8", "no-cache"
        place, _, name = path.removeprefix("/").partition("/")
        if place == "viewer" and name.startswith("models/"):
            make = self.models.get(name.removeprefix("models/"))
            return make and (make(), "application/octet-stream", FOR_EVER)
        root = {"viewer": self.viewer, "files": self.folder}.get(place)
        file = root and (root / (name or "index.html")).resolve()
        if file and self._is_public(file):
            kind = TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            return file, kind, "no-cache"
        return None

    def _is_public(self, file: Path) -> bool:
        """Whether a file, by its real path, may be sent: those of the viewer, and .obic files below
        the folder."""
        ours = file.is_relative_to(self.viewer) or (file.is_relative_to(self.folder) and file.suffix == ".obic")
        return ours and file.is_file()

    def gallery(self) -> str:
        """The page with all files that are there now."""
        files = sorted(path for path in self.folder.rglob("*.obic") if self._is_public(path.resolve()))
        names = [path.relative_to(self.folder).as_posix() for path in files]
        return page("gallery.html", {"title": self.folder.name, "files": list(map(self._facts, names))}, DECODER)

    def _facts(self, name: str) -> dict[str, Any]:
        address = f"/files/{quote(name)}"
        about = {"name": name, "src": address, "link": f"/viewer/?src={quote(address)}"}
        try:
            return {**about, **describe(open_container(self.folder / name, self._limits))}
        except (ObicError, OSError) as error:
            return {"name": name, "problem": str(error)}

    @cached_property
    def models(self) -> dict[str, Callable[[], bytes]]:
        from obic.web import models_in
        from obic.weights import folders

        return {name: cache(make) for folder in reversed(folders()) for name, make in models_in(folder).items()}


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD, with ranges of bytes. Speaks to names of this machine alone where it listens on
    loopback."""

    server: ThreadingHTTPServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "obic", ""

    def __init__(self, site: Site, *arguments: Any):
        self.site = site
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._answer(self._send_body)

    def do_HEAD(self) -> None:
        self._answer(lambda data: None)

    def _answer(self, send: Callable[[bytes], None]) -> None:
        found = self.site.find(unquote(urlsplit(self.path).path)) if self._meant_for_us() else None
        if found is None:
            return self.send_error(HTTPStatus.NOT_FOUND)
        contents, kind, lifetime = found
        data = contents.read_bytes() if isinstance(contents, Path) else contents
        asked = wanted_range(self.headers.get("Range", ""), len(data))
        if asked is None:
            self.send_response(HTTPStatus.OK)
            part = data
        elif asked.start >= len(data):
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            part = b""
        else:
            self.send_response(HTTPStatus.PARTIAL_CONTENT)
            self.send_header("Content-Range", f"bytes {asked.start}-{asked.stop - 1}/{len(data)}")
            part = data[asked.start : asked.stop]
        self._send_headers(len(part), kind, lifetime)
        send(part)

    def _send_headers(self, length: int, kind: str, lifetime: str) -> None:
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(length),
            "Accept-Ranges": "bytes",
            "Cache-Control": lifetime,
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": POLICY,
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_body(self, data: bytes) -> None:
        self.wfile.write(data)

    def _meant_for_us(self) -> bool:
        """Whether a name of loopback was asked for: a page elsewhere may give its own name our
        address."""
        if self.server.server_address[0] != LOOPBACK:
            return True
        return re.sub(r":\d+$", "", self.headers.get("Host", "")) in (LOOPBACK, "localhost")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are not told."""


def wanted_range(header: str, size: int) -> range | None:
    """The bytes that a Range header asks for, of so many; None for all: there is none, or one of
    another form."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if not match or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)
