"""For mkdocs: pages outside of docs/ join the site, and links between them and docs/ hold on either
side.

On the site `docs/` is the top; all else keeps its place.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent
OUTSIDE = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "bitstream_spec.md"),
    *("examples/README.md", "packaging/README.md", "web/README.md"),
)
BESIDE = ("LICENSE", "NOTICE")  # linked, but no pages
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)\s#]+)")


def on_files(files, config):
    for name in (*OUTSIDE, *BESIDE):
        content = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    name = page.file.src_uri
    here = posixpath.dirname(name if name in OUTSIDE else f"docs/{name}")

    def link(match):
        target = posixpath.normpath(posixpath.join(here, match[2])).removeprefix("docs/")
        return match[1] + posixpath.relpath(target, posixpath.dirname(name) or ".")

    return LINK.sub(link, markdown)
