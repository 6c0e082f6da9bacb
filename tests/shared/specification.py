"""What bitstream_spec.md says."""

import re

from shared.places import ROOT

SPEC = (ROOT / "bitstream_spec.md").read_text()


def section(title):
    """The text under the heading that begins with `title`, up to the next heading of any level."""
    return re.split(r"^#+ ", SPEC.split(f"# {title}", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def table(title):
    """The body rows of the first table of a section, as lists of cells."""
    rows = [line.strip("|").split("|") for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]
