"""Room 5. `obic encode`: pictures in, `.obic` files out."""

import os
from dataclasses import dataclass, fields

import click

from obic.cli.batch import PICTURE_SUFFIXES, Batch, Job
from obic.cli.common import (
    STREAM,
    Stages,
    background_color_option,
    device_option,
    jobs_option,
    obic_command,
    output_dir_option,
    output_option,
    overwrite_option,
    read_input,
    verbose_option,
)
from obic.cli.info import as_text, describe
from obic.constants import PART_ICC
from obic.container import default_names
from obic.errors import UsageError
from obic.metadata import describe as metadata_text
from obic.metadata import kept, kinds_from_text
from obic.networks import Networks
from obic.rate import OBJECT_BOOST, Rate, bytes_of

QUALITY = click.IntRange(1, 100)
MANY_LAYERS = 21  # more than PASCAL VOC has classes

EXAMPLES = """
obic encode photo.png                               photo.obic at about 0.1 bpp
obic encode photo.jpg -q 70 -o small.obic
obic encode photo.png --bpp 0.05                    the best that fits; or --size 10k
obic encode photo.png --object-quality 80 --background-quality 20
obic encode photo.png --mask photo-mask.png         your own mask; "obic mask" makes one to start from
obic encode photo.png --layers class --alpha pixel  a layer for each kind of object, cut out to the pixel
obic encode photo.jpg --metadata exif,icc           keep when and where, and the colours as they are
obic encode photos/ --output-dir coded/ -j 2        every picture below a folder
cat photo.png | obic encode - -o - | obic decode - -o - > again.png
"""


@dataclass(frozen=True)
class Choices:
    """The options of the command that say how a picture is coded and what is told of it."""

    rate: Rate
    mask: str
    layers: str | None
    alpha: str
    background_color: str
    metadata: frozenset[int]  # kinds of optional parts
    as_json: bool
    verbose: bool

    def __post_init__(self):
        if self.layers is not None and (self.layers == "none") != (self.mask == "none") and self.mask != "auto":
            raise UsageError(f"--mask {self.mask} and --layers {self.layers} contradict each other")

    @property
    def split(self) -> bool:
        """Whether the picture is to have objects."""
        return "none" not in (self.mask, self.layers)


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
    click.option(
        "--layers",
        type=click.Choice(["object", "class", "instance", "none"]),
        help="One layer for all objects (default), for each class, for each connected object, or none.",
    ),
    click.option(
        "--alpha",
        type=click.Choice(["grid", "pixel"]),
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
    jobs: int,
    overwrite: bool,
    **choices,
) -> None:
    """Code pictures as object and background.

    --mask auto asks the built-in segmenter; none codes one layer; FILE is a picture of the same size: 0 is the
    background and every other value a layer (255 is void beside the PASCAL VOC classes 1 to 20); DIR holds such a
    FILE for each input, with the input's name and the suffix .png.

    --layers object puts all objects into one layer, class those of a kind, as "person" or "dog"; instance gives each
    connected object its own, the largest first, 15 at most, as "person-1"; none is the same as --mask none. A FILE has
    a layer for each value unless --layers says otherwise.

    Pictures of any kind Pillow reads are coded as upright 8-bit sRGB; transparency is composed on --background-color.
    With --metadata icc the colours stay as they are, and the profile that explains them is kept.
    What was changed is said on standard error. A folder stands for all pictures below it.
    """
    batch = Batch(sources, PICTURE_SUFFIXES, output=output, output_dir=output_dir, overwrite=overwrite, workers=jobs)
    rate = Rate(**{field.name: choices.pop(field.name) for field in fields(Rate)})
    networks, chosen = Networks(device, jobs), Choices(rate, **choices)
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
        picture, labels, names = _read(job, chosen)
    for note in picture.notes:
        job.say(f"note: {note}")
    left_out = {kind: data for kind, data in picture.metadata.items() if kind not in chosen.metadata}
    if left_out and chosen.verbose:
        job.say(f"note: not kept without --metadata: {metadata_text(left_out)}")
    with stage("load"):
        from obic.codec import PictureEncoder

        model = networks.codec(encoder=True)
        segment = networks.segmenter() if chosen.split and chosen.mask == "auto" else None
    if segment:
        with stage("segment"):
            labels, names = _segmented(segment(picture.rgb), chosen)
    if chosen.split and labels is None:
        job.say("note: no object was found; the picture is coded as one layer")
    with stage("encode"):
        alpha = chosen.alpha == "pixel"
        parts = kept(picture.metadata, chosen.metadata)
        coder = PictureEncoder(
            picture.rgb, labels, len(names), model=model, names=names, parts=parts, pixel_alpha=alpha
        )
        pixels = picture.rgb.size // 3
        data = coder.encode(chosen.rate.qualities(len(names), pixels, coder.size))
    if warning := chosen.rate.check(len(data), pixels):
        job.say(f"warning: {warning}")
    out.write(data)
    report = _report(job, data, chosen)
    return report if job.alone or report is None else {"output": out.path, **report}


def _read(job: Job, chosen: Choices):
    """The picture, and the labels and names of its layers where --mask already says them; else those of one layer."""
    from obic.images import read_mask, read_picture
    from obic.layers import split_layers

    keep_profile = PART_ICC in chosen.metadata
    picture = read_picture(read_input(job.source), background=chosen.background_color, keep_profile=keep_profile)
    mask = chosen.mask
    if mask in ("auto", "none"):
        return picture, None, default_names(1)
    if os.path.isdir(mask):
        mask = os.path.join(mask, job.name(".png"))
    labels, n_layers = read_mask(read_input(mask), *picture.rgb.shape[:2])
    if n_layers > MANY_LAYERS and chosen.layers is None:
        job.say(f"note: the mask makes {n_layers} layers; cut soft edges to two values if they are not meant")
    return picture, *split_layers(labels, chosen.layers)


def _segmented(classes, chosen: Choices):
    """The labels and names of the layers in what the segmenter saw."""
    from obic.layers import split_layers
    from obic.segment import CLASS_NAMES

    return split_layers(classes, chosen.layers or "object", CLASS_NAMES)


def _report(job: Job, data: bytes, chosen: Choices) -> dict | None:
    """The facts of what was written for --json; their text on standard error for -v."""
    from obic.container import open_container

    facts = describe(open_container(data))
    if chosen.verbose:
        for line in as_text(facts).splitlines():
            job.say(line)
    return facts if chosen.as_json else None
