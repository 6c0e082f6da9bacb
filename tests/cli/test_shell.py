"""obic in a shell: completion, the module, and names that only a shell would take for something
else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from obic import __version__
from obic.cli.main import COMMANDS


def complete(words: str, at: int) -> list[str]:
    """What a shell offers for word `at` of a line, as click tells bash: "kind,value"."""
    program = "import sys; from obic.cli.main import main; sys.exit(main())"
    environment = {**os.environ, "_OBIC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_commands_are_completed():
    assert complete("obic ", 1) == [f"plain,{command}" for command in COMMANDS]
    assert complete("obic ex", 1) == ["plain,extract"]


def test_options_and_choices_are_completed():
    assert "plain,--output-dir" in complete("obic extract --", 2)
    assert complete("obic decode --damaged s", 3) == ["plain,skip"]


@pytest.mark.parametrize("words", ["obic info ph", "obic encode x.png -o ph", "obic extract x.obic --over ph"])
def test_files_are_completed(words):
    assert complete(words, len(words.split()) - 1) == ["file,ph"]


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "obic", "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"obic {__version__}\n"


def test_names_that_look_like_addresses_or_options(obic, small_file):
    Path("-x.obic").write_bytes(small_file)
    assert obic("info", "--", "-x.obic").code == 0
    Path("s3:").mkdir()
    Path("s3:/x.obic").write_bytes(small_file)
    assert obic("extract", "s3://x.obic", "--layer", 1).code == 0, "what exists here is a file"
    assert Path("s3:/x-object.obic").exists()
