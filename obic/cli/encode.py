"""Room 5. `obic encode`: pictures in, `.obic` files out."""

import math
import os
from typing import Any, get_args

import click

from obic.cli.batch import PICTURE_SUFFIXES, Batch, Job
from obic.cli.info import as_text, describe
from obic.cli.options import (
    Settings,
    networks_options,
    obic_command,
    objects_options,
    picture_options,
    results_options,
    verbose_option,
)
from obic.cli.streams import STREAM, read_input
from obic.constants import PART_ICC
from obic.container import open_container
from obic.errors import UsageError
from obic.metadata import describe as metadata_text
from obic.metadata import kinds_from_text
from obic.networks import Networks
from obic.prompts import Box, Point, Prompts
from obic.rate import EFFORT_STEPS, OBJECT_BOOST, Rate, bytes_of
from obic.recipe import Alpha, LayerKind, Recipe, encode, mask_kind

QUALITY = click.IntRange(1, 100)

EXAMPLES = """
obic encode photo.png                               photo.obic at about 0.1 bpp
obic encode photo.jpg -q 70 -o small.obic
obic encode photo.png --bpp 0.05                    the best that fits; or --size 10k
obic encode photo.png --object-quality 80 --background-quality 20
obic encode photo.png --mask photo-mask.png         your own mask; "obic mask" makes one to start from
obic encode photo.png --layers class --alpha pixel  a layer for each kind of object, cut out to the pixel
obic encode photo.jpg --metadata exif,icc           keep when and where, and the colours as they are
obic encode photo.jpg --segmenter rembg:u2net       another network finds the object; "list" shows what there is
obic encode photo.jpg --box 10%,20%,60%,90%         the object is in there; or --point 30%,50%
obic encode photos/ --output-dir coded/ -j 2        every picture below a folder
obic encode https://example.org/photo.png           photo.obic, here
cat photo.png | obic encode - -o - | obic decode - -o - > again.png
"""


class Size(click.ParamType):  # type: ignore[type-arg] # no generic class in click 8.1
    """A number of bytes, as 10k."""

    name = "bytes"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return bytes_of(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class PositiveNumber(click.FloatRange):
    """A finite number above 0."""

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


@obic_command(
    *results_options,
    click.option("-q", "--quality", type=QUALITY, help="1 to 100, more bytes with more of it."),
    click.option("--bpp", type=PositiveNumber(), help="The best that fits in so many bits a pixel."),
    click.option("--size", type=Size(), metavar="BYTES", help="The best that fits in so many bytes, as 3000 or 10k."),
    click.option("--strict", is_flag=True, help="Fail if no file is as small as --bpp or --size says."),
    click.option("--object-quality", type=QUALITY, help="Quality of the objects alone."),
    click.option("--background-quality", type=QUALITY, help="Quality of the background alone."),
    click.option(
        "--object-boost",
        type=click.IntRange(-50, 50),
        default=OBJECT_BOOST,
        show_default=True,
        metavar="N",
        help="Objects get this much more than the quality, the background as much less; 0: equal.",
    ),
    click.option(
        "--mask", default="auto", show_default=True, metavar="auto|none|FILE|DIR", help="What the objects are."
    ),
    *objects_options,
    click.option(
        "--layers",
        type=click.Choice(get_args(LayerKind)),
        help="One layer for all objects (default), for each class, for each connected object, or none.",
    ),
    click.option(
        "--alpha",
        type=click.Choice(get_args(Alpha)),
        default="grid",
        show_default=True,
        help="Edge of an extracted object: smooth, from the cells, or kept to the pixel in a few more bytes.",
    ),
    *picture_options,
    click.option(
        "--metadata",
        default="none",
        show_default=True,
        metavar="none|exif,icc,xmp|all",
        callback=lambda ctx, param, value: kinds_from_text(value),
        help="What to keep of what the picture brings along.",
    ),
    click.option(
        "--effort",
        type=click.IntRange(0, len(EFFORT_STEPS) - 1),
        default=0,
        show_default=True,
        metavar="0..3",
        help="How long to look for a smaller, better file; 3 takes minutes.",
    ),
    click.option("--verify", is_flag=True, help="Decode what was made, as far as it is exact, before it is written."),
    *networks_options,
    click.option("--json", "as_json", is_flag=True, help='Print what "obic info --json" would.'),
    verbose_option,
    epilog=EXAMPLES,
)
def command(
    sources: tuple[str, ...],
    settings: Settings,
    mask: str,
    layers: LayerKind | None,
    alpha: Alpha,
    metadata: frozenset[int],
    verify: bool,
    effort: int,
    boxes: tuple[Box, ...],
    points: tuple[Point, ...],
    **rate: Any,
) -> None:
    """Code pictures as object and background.

    --mask auto asks the segmenter; none codes one layer; FILE is a picture of the same size: 0 is
    the background and every other value a layer (255 is void beside the PASCAL VOC classes 1 to
    20); DIR holds such a FILE for each input, with the input's name and the suffix .png.

    --layers object puts all objects into one layer, class those of a kind, as "person" or "dog";
    instance gives each connected object its own, the largest first, 15 at most, as "person-1"; none
    is the same as --mask none. A FILE has a layer for each value unless --layers says otherwise.

    --box and --point say which objects are meant. The segmenter looks into a box and a little round
    it, and where it finds next to nothing the box itself is the object; a point takes the connected
    part it lies on, or beside. Each is a layer of its own with --layers instance. Their places are
    those of the upright picture.

    Pictures of any kind Pillow reads are coded as upright 8-bit sRGB; transparency is composed on
    --background-color. With --metadata icc the colours stay as they are, and the profile that
    explains them is kept.
    What was changed is said on standard error. A folder stands for all pictures below it. Inputs
    that differ in their suffix alone keep it in the names of their results: a.jpg and a.png become
    a.jpg.obic and a.png.obic.
    """
    if settings.output is not None and settings.output.lower().endswith(PICTURE_SUFFIXES):
        raise UsageError(f"{settings.output} is the name of a picture; what is written is an .obic file")
    recipe = Recipe(
        rate=Rate(**rate),
        mask=mask_kind(mask),
        layer_kind=layers,
        alpha=alpha,
        metadata=metadata,
        verify=verify,
        effort=effort,
        prompts=Prompts(boxes, points),
    )
    batch = Batch(sources, PICTURE_SUFFIXES, settings)
    networks = batch.networks()
    batch.run(lambda job: _encode(job, networks, recipe, mask))


def _encode(job: Job, networks: Networks, recipe: Recipe, mask: str) -> dict[str, Any] | None:
    """Code one input and write it. Returns the facts of `obic info` if they are asked for."""
    out = job.output(".obic")
    if mask == job.source == STREAM:
        raise UsageError("the picture and the mask both want standard input; name a file for one")
    with job.stage("read"):
        picture = job.picture(keep_profile=PART_ICC in recipe.metadata)
        mask_file = read_input(_mask_path(job, mask)) if recipe.mask == "given" else None
    job.note(*picture.notes)
    left_out = {kind: data for kind, data in picture.metadata.items() if kind not in recipe.metadata}
    if left_out and job.settings.verbose:
        job.note(f"not kept without --metadata: {metadata_text(left_out)}")
    coded = encode(picture, recipe, networks, mask=mask_file, stage=job.stage)
    job.note(*coded.notes)
    if coded.warning:
        job.say(f"warning: {coded.warning}")
    if job.settings.verbose and recipe.mask == "auto":
        job.say(f"segmenter {networks.segmenter_name}")
    out.write(coded.data)
    report = _report(job, coded.data)
    return report if job.alone or report is None else {"output": out.path, **report}


def _mask_path(job: Job, mask: str) -> str:
    """What --mask names, or the file for this input in the folder that it names."""
    if not os.path.isdir(mask):
        return mask
    whole = os.path.join(mask, f"{job.relative}.png")  # "obic mask" may have seen more inputs, and kept the suffix
    return whole if os.path.exists(whole) else os.path.join(mask, f"{job.name}.png")


def _report(job: Job, data: bytes) -> dict[str, Any] | None:
    """The facts of what was written for --json; their text on standard error for -v."""
    facts = describe(open_container(data, job.settings.limits))
    if job.settings.verbose:
        for line in as_text(facts).splitlines():
            job.say(line)
    return facts if job.settings.as_json else None
