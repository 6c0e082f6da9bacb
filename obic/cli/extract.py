"""Room 5. `obic extract`: one layer as a smaller `.obic` by byte copy, or as pixels with alpha."""

import os
import re

import click

from obic.cli.common import (
    STREAM,
    Output,
    Stages,
    derived_name,
    device_option,
    obic_command,
    open_obic,
    output_option,
    overwrite_option,
    verbose_option,
)

EXAMPLES = """
obic extract photo.obic --layer object            photo-object.obic, without a network
obic extract photo.obic --layer 1 -o object.png   RGBA pixels
obic extract photo.obic --layer object -o - | obic decode - -o object.png
"""


@obic_command(
    click.option("--layer", required=True, metavar="NAME|INDEX", help="Which layer; 0 is the background."),
    output_option,
    click.option("--format", "format_", metavar="FORMAT", help="obic, or a picture format; else by OUT's suffix."),
    device_option,
    overwrite_option,
    verbose_option,
    epilog=EXAMPLES,
)
def command(
    source: str, layer: str, output: str | None, format_: str | None, device: str, overwrite: bool, verbose: bool
) -> None:
    """Take one layer out of a file.

    Reads the header and that layer's bytes only. The result is a smaller valid .obic, a byte copy, unless OUT has the
    suffix of a picture format: then it is RGBA pixels with the layer's alpha. Layers keep their indices in the
    extracted file.
    """
    stage = Stages(verbose)
    with stage("open"):
        container = open_obic(source)
        index = container.layer_index(layer)
    kind = (format_ or _kind(output)).lower().lstrip(".")
    name = re.sub(r"[^\w-]", "_", container.header.layer_names[index])  # it comes from the file: no path in it
    out = Output(output or derived_name(source, f"-{name}.{kind}"), source=source, overwrite=overwrite)
    if kind == "obic":
        with stage("extract"):
            data = container.subset([index])
    else:
        data = _pixels(container, index, kind, device, stage)
    out.write(data)


def _kind(output: str | None) -> str:
    """The suffix of the output without its dot; "obic" where there is none."""
    if output in (None, STREAM):
        return "obic"
    return os.path.splitext(output)[1].lstrip(".") or "obic"


def _pixels(container, index: int, kind: str, device: str, stage: Stages) -> bytes:
    from obic.images import check_alpha, picture_format, write_picture

    format = picture_format(kind)
    check_alpha(format)
    with stage("load"):
        from obic.codec import extract_picture, load_model

        model = load_model(device, fingerprint=container.header.model)
    with stage("decode"):
        rgba = extract_picture(container, index, model)
    with stage("write"):
        return write_picture(rgba, format)
