"""Markdown of the pages that the benchmark writes: tables, and prose in lines of 100 characters."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

LINE = 100  # characters


def table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table: its heads, and its lines of as many cells."""
    rows = [list(columns), ["---"] * len(columns), *lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def prose(text: str) -> str:
    """Markdown with its paragraphs and lists wrapped, and tables, headings, pictures and comments
    as they are."""
    blocks = text.split("\n\n")
    return "\n\n".join(block if block[:1] in "|#!<" else _wrapped(block) for block in blocks)


def _wrapped(block: str) -> str:
    if not block.startswith("- "):
        return _filled(block)
    return "\n".join(_filled(item, "- ", "  ") for item in block.removeprefix("- ").split("\n- "))


def _filled(text: str, first: str = "", rest: str = "") -> str:
    return textwrap.fill(
        text, LINE, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
