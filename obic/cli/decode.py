"""Room 5. `obic decode`: whole pictures."""

import os
from dataclasses import dataclass

import click

from obic.cli.batch import OBIC_SUFFIXES, Batch, Job
from obic.cli.common import (
    STREAM,
    Stages,
    backend_option,
    device_option,
    jobs_option,
    look_option,
    metadata_option,
    obic_command,
    output_dir_option,
    output_option,
    overwrite_option,
    tell_lost,
    tell_metadata,
    verbose_option,
)
from obic.errors import UsageError
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


@dataclass(frozen=True)
class Choices:
    """The options of the command that say what is made of a file."""

    format: str  # Pillow's name
    ending: str  # of a derived name
    damaged: str
    look: str
    metadata: frozenset[int]
    as_json: bool
    verbose: bool


@obic_command(
    output_option,
    output_dir_option,
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
    backend_option,
    device_option,
    jobs_option,
    click.option("--json", "as_json", is_flag=True, help="Print what was decoded, as JSON."),
    overwrite_option,
    verbose_option,
    epilog=EXAMPLES,
)
def command(
    sources: tuple[str, ...],
    output: str | None,
    output_dir: str | None,
    format_: str | None,
    damaged: str,
    look: str,
    metadata: frozenset[int],
    device: str,
    backend: str,
    jobs: int,
    as_json: bool,
    overwrite: bool,
    verbose: bool,
) -> None:
    """Decode whole pictures.

    The format is PNG or what the suffix of OUT says. An existing OUT is replaced: mind that "obic decode photo.obic"
    writes photo.png. Where a layer is missing the picture is transparent. With --damaged skip the exit code is 0 when
    at least one layer could be decoded, and standard error names the others.
    """
    from obic.images import picture_format

    suffix = os.path.splitext(output)[1] if output not in (None, STREAM) else ""
    ending = "." + (format_ or "png").lower().lstrip(".")
    chosen = Choices(picture_format(format_ or suffix or "png"), ending, damaged, look, metadata, as_json, verbose)
    batch = Batch(sources, OBIC_SUFFIXES, output=output, output_dir=output_dir, overwrite=overwrite, workers=jobs)
    networks = Networks(device, backend, workers=jobs, pictures=len(batch.inputs))
    batch.run(lambda job: _decode(job, networks, chosen), as_json=as_json)


def _decode(job: Job, networks: Networks, chosen: Choices) -> dict | None:
    """Decode one input and write it. Returns what --json prints of it."""
    stage = Stages(chosen.verbose, job.say)
    with stage("open"):
        container = job.open(chosen.verbose)
        out = job.output(chosen.ending)
        if chosen.as_json and out.path == STREAM:
            raise UsageError("--json and the picture both want standard output; use -o FILE")
    with stage("load"):
        from obic.codec import decode_picture
        from obic.images import write_picture

        networks.settle(container.header.n_pixels)
        model = networks.codec(container.header.model, look=chosen.look)
    with stage("decode"):
        decoded = decode_picture(container, model, damaged=chosen.damaged)
        metadata, lost = metadata_of_file(container, chosen.metadata, damaged=chosen.damaged)
    with stage("write"):
        out.write(write_picture(decoded.pixels, chosen.format, metadata, chosen.metadata))
    job.say_replaced(out)
    tell_metadata(job.say, metadata, chosen.metadata, chosen.format)
    tell_lost(job.say, lost)
    if decoded.mask_damaged:
        job.say("note: the pixel mask is damaged; the edge follows the cells")
    header = container.header
    for index in decoded.missing:
        state = "not in this file" if header.layers[index].length is None else "damaged and left out"
        job.say(f"note: layer {index} ({header.layer_names[index]}) is {state}")
    if not chosen.as_json:
        return None
    return {"output": out.path, "width": header.width, "height": header.height, "missing": list(decoded.missing)}
