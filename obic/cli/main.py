"""Room 5. `obic`: the group of commands, and the one place where errors become exit codes."""

import importlib
import os
import sys
from collections.abc import Sequence

import click

from obic import __version__
from obic.cli.common import Settings, tell_error

COMMANDS = ("encode", "decode", "extract", "merge", "info", "mask", "verify", "report")

EPILOG = """\b
Examples:
  obic encode photo.png                      photo.obic, about 0.1 bits per pixel
  obic decode photo.obic -o again.png        the whole picture
  obic extract photo.obic --layer object     photo-object.obic: the object alone
  obic info photo.obic                       where the bytes are

\b
Exit codes:
  0 done   1 failed   2 usage   3 not a valid file, or damaged
  4 made with a model or version this build lacks   5 over a limit
"""


class LazyGroup(click.Group):
    """A group whose commands live in modules of their names and are imported when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return importlib.import_module(f"obic.cli.{name}").command if name in COMMANDS else None


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="obic %(version)s")
def group() -> None:
    """Code a picture as objects and background, each with its own bytes and quality.

    "-" is standard input or output wherever a file is named.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. An error is one line on standard error."""
    settings = Settings()
    try:
        return group.main(argv, prog_name="obic", standalone_mode=False, obj=settings) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except Exception as error:
        code, _ = tell_error(error, settings.debug)
        if isinstance(error, OSError):
            _give_up_on_stdout()
        return code


def _give_up_on_stdout() -> None:
    """What a full or broken standard output still holds is dropped, or Python would fail over it once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except AttributeError:  # standard output is closed: there is nothing to drop
        pass
