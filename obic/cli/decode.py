"""Room 5. `obic decode`: the whole picture."""

import os

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
    say,
    verbose_option,
)

EXAMPLES = """
obic decode photo.obic -o again.png
obic decode photo.obic --format webp          photo.webp, lossless
curl -s https://example.org/photo.obic | obic decode - -o - > photo.png
obic decode cut-off.obic --damaged skip       the layers that are whole
"""


@obic_command(
    output_option,
    click.option("--format", "format_", metavar="FORMAT", help="Picture format; else by OUT's suffix, else PNG."),
    click.option(
        "--damaged",
        type=click.Choice(["error", "skip"]),
        default="error",
        show_default=True,
        help="What to do about a damaged layer: give up, or leave it out and say so.",
    ),
    device_option,
    overwrite_option,
    verbose_option,
    epilog=EXAMPLES,
)
def command(
    source: str, output: str | None, format_: str | None, damaged: str, device: str, overwrite: bool, verbose: bool
) -> None:
    """Decode the whole picture.

    The format is PNG or what the suffix of OUT says. An existing OUT is replaced: mind that "obic decode photo.obic"
    writes photo.png. Where a layer is missing the picture is transparent. With --damaged skip the exit code is 0 when
    at least one layer could be decoded, and standard error names the others.
    """
    stage = Stages(verbose)
    with stage("open"):
        from obic.images import picture_format, write_picture

        suffix = os.path.splitext(output)[1] if output not in (None, STREAM) else ""
        format = picture_format(format_ or suffix or "png")
        container = open_obic(source)
        ending = "." + (format_ or "png").lower().lstrip(".")
        out = Output(output or derived_name(source, ending), source=source, overwrite=overwrite)
    with stage("load"):
        from obic.codec import decode_picture, load_model

        model = load_model(device, fingerprint=container.header.model)
    with stage("decode"):
        decoded = decode_picture(container, model, damaged=damaged)
    with stage("write"):
        out.write(write_picture(_pixels(decoded), format))
    for index in decoded.missing:
        absent = container.header.layers[index].length is None
        state = "not in this file" if absent else "damaged and left out"
        say(f"note: layer {index} ({container.header.layer_names[index]}) is {state}")


def _pixels(decoded):
    """RGB, or RGBA where layers are missing."""
    import numpy as np

    return decoded.rgb if decoded.alpha is None else np.dstack([decoded.rgb, decoded.alpha])
