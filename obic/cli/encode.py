"""Room 5. `obic encode`: pictures in, `.obic` files out."""

import os
from dataclasses import dataclass

import click

from obic.cli.batch import PICTURE_SUFFIXES, Batch, Job
from obic.cli.common import (
    STREAM,
    Networks,
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
from obic.errors import UsageError

QUALITY = click.IntRange(1, 100)
MANY_LAYERS = 21  # more than PASCAL VOC has classes

EXAMPLES = """
obic encode photo.png                               photo.obic at about 0.1 bpp
obic encode photo.jpg -q 70 -o small.obic
obic encode photo.png --object-quality 80 --background-quality 20
obic encode photo.png --mask photo-mask.png         your own mask; "obic mask" makes one to start from
obic encode photos/ --output-dir coded/ -j 2        every picture below a folder
cat photo.png | obic encode - -o - | obic decode - -o - > again.png
"""


@dataclass(frozen=True)
class Choices:
    """The options of the command that say how a picture is coded and what is told of it."""

    quality: int | None
    object_quality: int | None
    background_quality: int | None
    mask: str
    background_color: str
    as_json: bool
    verbose: bool


@obic_command(
    output_option,
    output_dir_option,
    click.option("-q", "--quality", type=QUALITY, help="1 to 100, more bytes with more of it."),
    click.option("--object-quality", type=QUALITY, help="Quality of the objects alone."),
    click.option("--background-quality", type=QUALITY, help="Quality of the background alone."),
    click.option(
        "--mask", default="auto", show_default=True, metavar="auto|none|FILE|DIR", help="What the objects are."
    ),
    background_color_option,
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

    Pictures of any kind Pillow reads are coded as upright 8-bit sRGB; transparency is composed on --background-color.
    What was changed is said on standard error. A folder stands for all pictures below it.
    """
    batch = Batch(sources, PICTURE_SUFFIXES, output=output, output_dir=output_dir, overwrite=overwrite, workers=jobs)
    networks, chosen = Networks(device, jobs), Choices(**choices)
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
        picture, labels, n_layers = _read(job, chosen)
    for note in picture.notes:
        job.say(f"note: {note}")
    with stage("load"):
        from obic.codec import DEFAULT_QUALITY, encode_picture, layer_qualities

        model = networks.codec(encoder=True)
        segment = networks.segmenter() if chosen.mask == "auto" else None
    if segment:
        with stage("segment"):
            labels, n_layers = (segment(picture.rgb) > 0).astype("uint8"), 2
    if chosen.mask != "none" and not labels.any():
        job.say("note: no object was found; the picture is coded as one layer")
        labels, n_layers = None, 1
    qualities = layer_qualities(
        chosen.quality or DEFAULT_QUALITY, n_layers, chosen.object_quality, chosen.background_quality
    )
    with stage("encode"):
        data = encode_picture(picture.rgb, labels, n_layers, qualities=qualities, model=model)
    out.write(data)
    return _report(job, data, chosen)


def _read(job: Job, chosen: Choices):
    """The picture, and the label map and number of layers where --mask already says them."""
    from obic.images import read_mask, read_picture

    picture = read_picture(read_input(job.source), background=chosen.background_color)
    mask = chosen.mask
    if mask in ("auto", "none"):
        return picture, None, 1
    if os.path.isdir(mask):
        mask = os.path.join(mask, job.name(".png"))
    labels, n_layers = read_mask(read_input(mask), *picture.rgb.shape[:2])
    if n_layers > MANY_LAYERS:
        job.say(f"note: the mask makes {n_layers} layers; cut soft edges to two values if they are not meant")
    return picture, labels, n_layers


def _report(job: Job, data: bytes, chosen: Choices) -> dict | None:
    """The facts of what was written for --json; their text on standard error for -v."""
    from obic.container import open_container

    facts = describe(open_container(data))
    if chosen.verbose:
        for line in as_text(facts).splitlines():
            job.say(line)
    return facts if chosen.as_json else None
