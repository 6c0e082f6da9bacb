"""Room 5. `obic encode`: pictures in, `.obic` files out."""

import os
from dataclasses import dataclass, fields
from typing import get_args

import click

from obic.cli.batch import PICTURE_SUFFIXES, Batch, Job
from obic.cli.common import (
    STREAM,
    Stages,
    backend_option,
    background_color_option,
    box_option,
    device_option,
    jobs_option,
    obic_command,
    output_dir_option,
    output_option,
    overwrite_option,
    point_option,
    read_input,
    segmenter_option,
    verbose_option,
)
from obic.cli.info import as_text, describe
from obic.constants import PART_ICC
from obic.errors import UsageError
from obic.metadata import describe as metadata_text
from obic.metadata import kinds_from_text
from obic.networks import Networks
from obic.prompts import Prompts
from obic.rate import EFFORT_STEPS, OBJECT_BOOST, Rate, bytes_of
from obic.recipe import Alpha, LayerKind, Recipe, encode

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


@dataclass(frozen=True)
class Choices:
    """The options of the command besides the recipe: where things come from, and what is told of them."""

    recipe: Recipe
    mask: str
    background_color: str
    as_json: bool
    verbose: bool


class Size(click.ParamType):
    """A number of bytes, as 10k."""

    name = "bytes"

    def convert(self, value, param, ctx):
        try:
            return bytes_of(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


@obic_command(
    output_option,
    output_dir_option,
    click.option("-q", "--quality", type=QUALITY, help="1 to 100, more bytes with more of it."),
    click.option("--bpp", type=click.FloatRange(0, min_open=True), help="The best that fits in so many bits a pixel."),
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
    segmenter_option,
    box_option,
    point_option,
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
    background_color_option,
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
    backend_option,
    device_option,
    jobs_option,
    click.option("--json", "as_json", is_flag=True, help='Print what "obic info --json" would.'),
    overwrite_option,
    verbose_option,
    epilog=EXAMPLES,
)
def command(
    sources: tuple[str, ...],
    output: str | None,
    output_dir: str | None,
    device: str,
    backend: str,
    segmenter: str,
    jobs: int,
    overwrite: bool,
    **choices,
) -> None:
    """Code pictures as object and background.

    --mask auto asks the segmenter; none codes one layer; FILE is a picture of the same size: 0 is the
    background and every other value a layer (255 is void beside the PASCAL VOC classes 1 to 20); DIR holds such a
    FILE for each input, with the input's name and the suffix .png.

    --layers object puts all objects into one layer, class those of a kind, as "person" or "dog"; instance gives each
    connected object its own, the largest first, 15 at most, as "person-1"; none is the same as --mask none. A FILE has
    a layer for each value unless --layers says otherwise.

    --box and --point say which objects are meant. The segmenter looks into a box and a little round it, and where it
    finds next to nothing the box itself is the object; a point takes the connected part it lies on, or beside. Each is
    a layer of its own with --layers instance. Their places are those of the upright picture.

    Pictures of any kind Pillow reads are coded as upright 8-bit sRGB; transparency is composed on --background-color.
    With --metadata icc the colours stay as they are, and the profile that explains them is kept.
    What was changed is said on standard error. A folder stands for all pictures below it.
    """
    batch = Batch(sources, PICTURE_SUFFIXES, output=output, output_dir=output_dir, overwrite=overwrite, workers=jobs)
    rate = Rate(**{field.name: choices.pop(field.name) for field in fields(Rate)})
    mask = choices["mask"]
    kind = mask if mask in ("auto", "none") else "given"
    names = ("layers", "alpha", "metadata", "verify", "effort")
    asked = Prompts(choices.pop("boxes"), choices.pop("points"))
    recipe = Recipe(rate, kind, *(choices.pop(name) for name in names), asked)
    networks = Networks(device, backend, segmenter=segmenter, workers=jobs, pictures=len(batch.inputs))
    chosen = Choices(recipe, **choices)
    batch.run(lambda job: _encode(job, networks, chosen), as_json=chosen.as_json)


def _encode(job: Job, networks: Networks, chosen: Choices) -> dict | None:
    """Code one input and write it. Returns the facts of `obic info` if they are asked for."""
    stage = Stages(chosen.verbose, job.say)
    out = job.output(".obic")
    if chosen.as_json and out.path == STREAM:
        raise UsageError("--json and the picture both want standard output; use -o FILE")
    if chosen.mask == job.source == STREAM:
        raise UsageError("the picture and the mask both want standard input; name a file for one")
    with stage("read"):
        from obic.images import read_picture

        picture = read_picture(
            read_input(job.source),
            background=chosen.background_color,
            max_pixels=job.settings.max_pixels,
            keep_profile=PART_ICC in chosen.recipe.metadata,
        )
        mask = _read_mask(job, chosen) if chosen.recipe.mask == "given" else None
    for note in picture.notes:
        job.say(f"note: {note}")
    left_out = {kind: data for kind, data in picture.metadata.items() if kind not in chosen.recipe.metadata}
    if left_out and chosen.verbose:
        job.say(f"note: not kept without --metadata: {metadata_text(left_out)}")
    coded = encode(picture, chosen.recipe, networks, mask=mask, stage=stage)
    for note in coded.notes:
        job.say(f"note: {note}")
    if coded.warning:
        job.say(f"warning: {coded.warning}")
    out.write(coded.data)
    report = _report(job, coded.data, chosen)
    return report if job.alone or report is None else {"output": out.path, **report}


def _read_mask(job: Job, chosen: Choices) -> bytes:
    """The file of the mask: what --mask names, or the one for this input in the folder that it names."""
    mask = chosen.mask
    return read_input(os.path.join(mask, job.name(".png")) if os.path.isdir(mask) else mask)


def _report(job: Job, data: bytes, chosen: Choices) -> dict | None:
    """The facts of what was written for --json; their text on standard error for -v."""
    from obic.container import open_container

    facts = describe(open_container(data, job.settings.limits))
    if chosen.verbose:
        for line in as_text(facts).splitlines():
            job.say(line)
    return facts if chosen.as_json else None
