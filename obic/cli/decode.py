"""Room 5. `obic decode`: whole pictures."""

import os
from functools import partial
from typing import Any

import click

from obic.cli.batch import OBIC_SUFFIXES, Batch, Job
from obic.cli.messages import lost_notes, metadata_notes
from obic.cli.options import (
    Settings,
    look_option,
    metadata_option,
    networks_options,
    obic_command,
    results_options,
    verbose_option,
)
from obic.cli.streams import STREAM
from obic.metadata import metadata_of_file
from obic.networks import Networks

EXAMPLES = """
obic decode photo.obic -o again.png
obic decode photo.obic --format webp          photo.webp, lossless
obic decode coded/ --output-dir decoded/      every .obic file below a folder
obic decode https://example.org/photo.obic    photo.png, here
obic decode cut-off.obic --damaged skip       the layers that are whole
obic decode tiny.obic --look vivid            sharp instead of smooth, where bits are few
"""


@obic_command(
    *results_options,
    click.option("--format", "format_", metavar="FORMAT", help="Picture format; else by OUT's suffix, else PNG."),
    click.option(
        "--damaged",
        type=click.Choice(["error", "skip"]),
        default="error",
        show_default=True,
        help="What to do about a damaged layer: give up, or leave it out and say so.",
    ),
    look_option,
    metadata_option,
    *networks_options,
    click.option("--json", "as_json", is_flag=True, help="Print what was decoded, as JSON."),
    verbose_option,
    epilog=EXAMPLES,
)
def command(
    sources: tuple[str, ...],
    settings: Settings,
    format_: str | None,
    damaged: str,
    look: str,
    metadata: frozenset[int],
) -> None:
    """Decode whole pictures.

    The format is PNG or what the suffix of OUT says. An existing OUT is replaced: mind that "obic
    decode photo.obic" writes photo.png. Where a layer is missing the picture is transparent. With
    --damaged skip the exit code is 0 when at least one layer could be decoded, and standard error
    names the others.
    """
    from obic.images import picture_format

    suffix = os.path.splitext(settings.output)[1] if settings.output not in (None, STREAM) else ""
    batch = Batch(sources, OBIC_SUFFIXES, settings)
    work = partial(
        _decode,
        networks=batch.networks(),
        format=picture_format(format_ or suffix or "png"),
        ending="." + (format_ or "png").lower().lstrip("."),
        damaged=damaged,
        look=look,
        kinds=metadata,
    )
    batch.run(work)


def _decode(
    job: Job, *, networks: Networks, format: str, ending: str, damaged: str, look: str, kinds: frozenset[int]
) -> dict[str, Any] | None:
    """Decode one input and write it. Returns what --json prints of it."""
    with job.stage("open"):
        container = job.open()
        out = job.output(ending)
    with job.stage("load"):
        from obic.codec import decode_picture
        from obic.images import write_picture

        networks.settle(container.header.n_pixels)
        model = networks.codec(container.header.model, look=look)
    with job.stage("decode"):
        decoded = decode_picture(container, model, damaged=damaged)
        metadata, lost = metadata_of_file(container, kinds, damaged=damaged)
    with job.stage("write"):
        out.write(write_picture(decoded.pixels, format, metadata, kinds))
    job.note_replaced(out)
    job.note(*metadata_notes(metadata, kinds, format), *lost_notes(lost))
    if decoded.mask_damaged:
        job.note("the pixel mask is damaged; the edge follows the cells")
    header = container.header
    for index in decoded.missing:
        state = "not in this file" if header.layers[index].length is None else "damaged and left out"
        job.note(f"layer {index} ({header.layer_names[index]}) is {state}")
    if not job.settings.as_json:
        return None
    return {"output": out.path, "width": header.width, "height": header.height, "missing": list(decoded.missing)}
