"""Room 5. The options that commands share, and how a command is put together from its options."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any

import click

from obic.backends import BACKENDS, DEVICES
from obic.cli.messages import show_trace
from obic.cli.streams import print_text
from obic.container import Limits
from obic.looks import FAITHFUL, LOOKS
from obic.metadata import kinds_from_text
from obic.prompts import BUILTIN, box, point


@dataclass(frozen=True)
class Settings:
    """The options that mean the same in every command: as given, or what holds in a command without
    them."""

    output: str | None = None
    output_dir: str | None = None
    overwrite: bool = True
    jobs: int = 1
    backend: str = "auto"
    device: str = "auto"
    segmenter: str = BUILTIN
    frame: int | None = None
    background_color: str = "white"
    as_json: bool = False
    verbose: bool = False
    debug: bool = False
    max_pixels: int = Limits().max_pixels

    @property
    def limits(self) -> Limits:
        """Of `.obic` files."""
        return Limits(max_pixels=self.max_pixels)


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def obic_command(
    *options: Decorator, epilog: str, argument: Decorator | None = None
) -> Callable[[Callable[..., None]], click.Command]:
    """A click command with its inputs, its own options and those of all. The examples keep their
    line breaks.

    The function gets `settings`, and the options that are not among them by name.
    """
    names = {field.name for field in fields(Settings)}

    def decorate(function: Callable[..., None]) -> click.Command:
        @wraps(function)
        def command(**given: Any) -> None:
            settings = Settings(**{name: given.pop(name) for name in names & given.keys()})
            try:
                function(settings=settings, **given)
            except Exception as error:
                if settings.debug:
                    show_trace(error)
                raise

        for option in reversed((argument or inputs_argument, *options, max_pixels_option, debug_option)):
            command = option(command)
        examples = "\b\nExamples:\n" + "\n".join("  " + line for line in epilog.strip().splitlines())
        return click.command(epilog=examples, context_settings={"max_content_width": 100})(command)

    return decorate


def _segmenter(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The name, checked as far as that is quick. For "list" prints what there is, and ends the
    command."""
    if value == BUILTIN or ctx.resilient_parsing:
        return value
    from obic.segment.adapters import check_name, table

    if value != "list":
        return check_name(value)
    rows = [("NAME", "INSTALLED", "LICENCE OF THE WEIGHTS, AS FAR AS KNOWN"), *table()]
    wide, narrow = (max(len(row[column]) for row in rows) for column in (0, 1))
    print_text("\n".join(f"{name:{wide}}  {installed:{narrow}}  {licence}" for name, installed, licence in rows))
    ctx.exit()


def _each(read: Callable[[Any], Any]) -> Callable[..., tuple[Any, ...]]:
    """A callback for an option that may be given several times."""
    return lambda ctx, param, values: tuple(map(read, values))


inputs_argument = click.argument("sources", metavar="IN...", type=click.Path(), nargs=-1, required=True)
output_option = click.option(
    "-o", "--output", metavar="OUT", type=click.Path(), help="Output file, - for standard output."
)
output_dir_option = click.option(
    "--output-dir", metavar="DIR", type=click.Path(), help="Folder for the output of any number of inputs."
)
jobs_option = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Inputs at work at a time; they share the cores and the networks.",
)
overwrite_option = click.option("--overwrite/--no-overwrite", default=True, help="Replace an existing OUT (default).")
device_option = click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="auto",
    show_default=True,
    help="Where torch computes; auto takes a GPU if there is one.",
)
backend_option = click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    envvar="OBIC_BACKEND",
    help="What computes the networks: numpy starts at once; torch is faster on large pictures, and needs obic[torch].",
)
segmenter_option = click.option(
    "--segmenter",
    default=BUILTIN,
    show_default=True,
    envvar="OBIC_SEGMENTER",
    metavar="NAME",
    is_eager=True,
    callback=_segmenter,
    help="What finds objects: torchvision:NETWORK, rembg:SESSION, onnx:FILE, python:MODULE:ATTRIBUTE; list shows all.",
)
box_option = click.option(
    "--box",
    "boxes",
    multiple=True,
    metavar="X0,Y0,X1,Y1",
    callback=_each(box),
    help="Where an object is, in pixels or shares as 40%; repeatable.",
)
point_option = click.option(
    "--point",
    "points",
    multiple=True,
    metavar="X,Y",
    callback=_each(point),
    help="A point of an object that the segmenter finds; repeatable.",
)
look_option = click.option(
    "--look",
    type=click.Choice(LOOKS),
    default=FAITHFUL,
    show_default=True,
    help="What low rates look like: smooth where bits are missing, or sharp, with detail that is made up.",
)
max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=Limits().max_pixels,
    metavar="N",
    help="Refuse larger pictures, before any memory is taken for them (default: 134 million).",
)
frame_option = click.option(
    "--frame",
    type=click.IntRange(0),
    metavar="N",
    help="Which picture of an animation, or of a file with several pages; 0 is the first, and the default.",
)
metadata_option = click.option(
    "--metadata",
    default="all",
    show_default=True,
    metavar="none|exif,icc,xmp|all",
    callback=lambda ctx, param, value: kinds_from_text(value),
    help="Which metadata of the file go into OUT.",
)
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Tell how long each stage took, and more.")
debug_option = click.option("--debug", is_flag=True, help="Show the trace of an error.")
background_color_option = click.option(
    "--background-color",
    metavar="COLOR",
    default="white",
    show_default=True,
    help="What a transparent picture is composed on: a name or #rrggbb.",
)

results_options = (output_option, output_dir_option, overwrite_option, jobs_option)
networks_options = (backend_option, device_option)
picture_options = (frame_option, background_color_option)
objects_options = (segmenter_option, box_option, point_option)
