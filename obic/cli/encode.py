"""Room 5. `obic encode`: a picture in, an `.obic` file out."""

import json

import click

from obic.cli.common import (
    STREAM,
    Output,
    Stages,
    background_color_option,
    derived_name,
    device_option,
    obic_command,
    output_option,
    overwrite_option,
    print_text,
    read_input,
    say,
    verbose_option,
)
from obic.errors import UsageError

QUALITY = click.IntRange(1, 100)
MANY_LAYERS = 21  # more than PASCAL VOC has classes

EXAMPLES = """
obic encode photo.png                               photo.obic at about 0.1 bpp
obic encode photo.jpg -q 70 -o small.obic
obic encode photo.png --object-quality 80 --background-quality 20
obic encode photo.png --mask photo-mask.png         your own mask; "obic mask" makes one to start from
cat photo.png | obic encode - -o - | obic decode - -o - > again.png
"""


@obic_command(
    output_option,
    click.option("-q", "--quality", type=QUALITY, help="1 to 100, more bytes with more of it."),
    click.option("--object-quality", type=QUALITY, help="Quality of the objects alone."),
    click.option("--background-quality", type=QUALITY, help="Quality of the background alone."),
    click.option("--mask", default="auto", show_default=True, metavar="auto|none|FILE", help="What the objects are."),
    background_color_option,
    device_option,
    click.option("--json", "as_json", is_flag=True, help='Print what "obic info --json" would.'),
    overwrite_option,
    verbose_option,
    epilog=EXAMPLES,
)
def command(
    source: str,
    output: str | None,
    quality: int | None,
    object_quality: int | None,
    background_quality: int | None,
    mask: str,
    background_color: str,
    device: str,
    as_json: bool,
    overwrite: bool,
    verbose: bool,
) -> None:
    """Code a picture as object and background.

    --mask auto asks the built-in segmenter; none codes one layer; FILE is a picture of the same size: 0 is the
    background and every other value a layer (255 is void beside the PASCAL VOC classes 1 to 20).

    Pictures of any kind Pillow reads are coded as upright 8-bit sRGB; transparency is composed on --background-color.
    What was changed is said on standard error.
    """
    stage = Stages(verbose)
    out = Output(output or derived_name(source, ".obic"), source=source, overwrite=overwrite)
    if as_json and out.path == STREAM:
        raise UsageError("--json and the picture both want standard output; use -o FILE")
    if mask == source == STREAM:
        raise UsageError("the picture and the mask both want standard input; name a file for one")
    with stage("read"):
        picture, labels, n_layers = _read(source, mask, background_color)
    for note in picture.notes:
        say(f"note: {note}")
    with stage("load"):
        from obic.codec import DEFAULT_QUALITY, encode_picture, layer_qualities, load_model, load_segmenter

        model = load_model(device, encoder=True)
        segment = load_segmenter(device) if mask == "auto" else None
    if segment:
        with stage("segment"):
            labels, n_layers = (segment(picture.rgb) > 0).astype("uint8"), 2
    if mask != "none" and not labels.any():
        say("note: no object was found; the picture is coded as one layer")
        labels, n_layers = None, 1
    chosen = layer_qualities(quality or DEFAULT_QUALITY, n_layers, object_quality, background_quality)
    with stage("encode"):
        data = encode_picture(picture.rgb, labels, n_layers, qualities=chosen, model=model)
    out.write(data)
    _report(data, as_json, verbose)


def _read(source: str, mask: str, background_color: str):
    """The picture, and the label map and number of layers where --mask already says them."""
    from obic.images import read_mask, read_picture

    picture = read_picture(read_input(source), background=background_color)
    if mask in ("auto", "none"):
        return picture, None, 1
    labels, n_layers = read_mask(read_input(mask), *picture.rgb.shape[:2])
    if n_layers > MANY_LAYERS:
        say(f"note: the mask makes {n_layers} layers; cut soft edges to two values if they are not meant")
    return picture, labels, n_layers


def _report(data: bytes, as_json: bool, verbose: bool) -> None:
    """Tell what was written: the JSON of `obic info` on standard output, its text on standard error."""
    from obic.cli.info import as_text, describe
    from obic.container import open_container

    report = describe(open_container(data))
    if as_json:
        print_text(json.dumps(report))
    if verbose:
        for line in as_text(report).splitlines():
            say(line)
