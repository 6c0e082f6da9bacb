"""The documents: links lead somewhere, examples are command lines that obic takes, options are
explained."""

import re
import shlex
from pathlib import Path

import click
import pytest

from obic.cli.main import COMMANDS, group
from shared.places import ROOT

FOLDERS = (".", "docs", "docs/log", "examples", "packaging", "web")
PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))
GUIDE = (ROOT / "docs" / "guide.md").read_text("utf-8")
ENVIRONMENT = re.compile(r"[A-Z_]+=")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def prose(page):
    """The text of a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """Those that a page's headings have on a forge and on the site."""
    titles = re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(page)):
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.is_relative_to(ROOT) and target.exists(), f"{name_of(page)} links to {link}"
        assert not anchor or anchor in anchors(target), f"{name_of(page)} links to {link}: no such heading"


def test_every_page_is_linked_from_another():
    linked = {
        (page.parent / link).resolve()
        for page in PAGES
        for link in re.findall(r"\]\((?!https?:)([^)\s#]+)[^)]*\)", prose(page))
    }
    assert [name_of(page) for page in PAGES if page not in linked and page != ROOT / "README.md"] == []


def test_every_page_has_its_place_on_the_site():
    places = re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    pages = [name_of(page).removeprefix("docs/") for page in PAGES]
    assert sorted(places) == sorted(pages)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 9000


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_prose_is_wrapped(page):
    long = [line for line in prose(page).splitlines() if len(line) > 100 and not line.startswith(("|", "!["))]
    assert long == []


def command_of(name):
    return group.get_command(click.Context(group), name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_guide(name):
    assert f"`obic {name}" in GUIDE
    options = [option for option in command_of(name).params if isinstance(option, click.Option)]
    flags = {flag for option in options for flag in (*option.opts, *option.secondary_opts) if flag.startswith("--")}
    assert [flag for flag in sorted(flags) if not re.search(rf"`[^`]*{flag}\b(?!-)", GUIDE)] == []


def command_lines():
    """(page, words) of every `obic ...` in a fenced block of a shell."""
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                for part in re.split(r" [|>] ", line):
                    words = shlex.split(part, comments=True)
                    while words and ENVIRONMENT.match(words[0]):
                        words = words[1:]
                    if words[:1] == ["obic"]:
                        yield name_of(page), words[1:]


LINES = list(command_lines())


@pytest.mark.parametrize(("page", "words"), LINES, ids=[f"{page}-{' '.join(words)}" for page, words in LINES])
def test_examples_are_command_lines(page, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    with command_of(words[0]).make_context(words[0], words[1:]) as context:
        assert context.params


def test_there_are_examples_of_every_command():
    assert {words[0] for _, words in LINES} == set(COMMANDS)


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
    assert named and named <= targets


def test_modules_that_are_run_exist():
    named = {name for page in PAGES for name in re.findall(r"python -m (obic[\w.]*\w)", page.read_text("utf-8"))}
    assert named
    for name in named:
        place = ROOT / Path(*name.split("."))
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), name


def test_source_files_that_are_named_exist():
    pages = [page for page in PAGES if page.parent.name != "log" and page.stem != "CHANGELOG"]
    named = {(page, name) for page in pages for name in re.findall(r"`([\w./-]+\.(?:py|ts|mjs|c|csv))\b", prose(page))}
    assert len(named) > 50
    for page, name in named:
        folders = (ROOT, ROOT / "obic", ROOT / "tests", page.parent, page.parent / "src")
        assert any((folder / name).exists() for folder in folders), f"{name_of(page)}: {name}"
