"""Room 5. `obic extract`: layers as a smaller `.obic` by byte copy, as pixels with alpha, or over another picture."""

import os
import re
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
    read_input,
    tell_lost,
    tell_metadata,
    verbose_option,
)
from obic.cli.info import describe, layer_lines
from obic.constants import PART_ICC
from obic.container import Container
from obic.errors import UsageError
from obic.looks import FAITHFUL
from obic.metadata import METADATA_PARTS, metadata_of_file
from obic.networks import Networks

EXAMPLES = """
obic extract photo.obic --list                    the layers of a file
obic extract photo.obic --layer object            photo-object.obic, without a network
obic extract photo.obic --layer 1 -o object.png   RGBA pixels
obic extract photo.obic --layer person --layer dog -o both.png
obic extract photo.obic --layer object --over beach.jpg -o holiday.png
obic extract https://example.org/photo.obic --layer object -v     reads that layer's bytes alone
"""


@dataclass(frozen=True)
class Choices:
    """The options of the command that say what is taken out of a file, and as what."""

    layers: tuple[str, ...]
    kind: str  # "obic" or the suffix of a picture format
    over: str | None
    look: str
    metadata: frozenset[int]
    verbose: bool


@obic_command(
    click.option(
        "--layer",
        "layers",
        multiple=True,
        metavar="NAME|INDEX",
        help="Which layer, 0 being the background, or dog for all of dog-1, dog-2, ...; give it again for more layers.",
    ),
    click.option("--list", "list_", is_flag=True, help="Print the layers and do nothing else."),
    click.option("--over", metavar="FILE", type=click.Path(), help="Put the layers over this picture."),
    output_option,
    output_dir_option,
    click.option("--format", "format_", metavar="FORMAT", help="obic, or a picture format; else by OUT's suffix."),
    look_option,
    metadata_option,
    backend_option,
    device_option,
    jobs_option,
    overwrite_option,
    verbose_option,
    epilog=EXAMPLES,
)
def command(
    sources: tuple[str, ...],
    layers: tuple[str, ...],
    list_: bool,
    over: str | None,
    output: str | None,
    output_dir: str | None,
    format_: str | None,
    look: str,
    metadata: frozenset[int],
    device: str,
    backend: str,
    jobs: int,
    overwrite: bool,
    verbose: bool,
) -> None:
    """Take layers out of a file.

    Reads the header and the bytes of those layers only. The result is a smaller valid .obic, a byte copy, unless OUT
    has the suffix of a picture format: then it is RGBA pixels with the alpha of the layers. Layers keep their indices
    in the extracted file. Metadata come along without thumbnails; the label map stays as it is, so the outlines of
    the other layers can be seen in it.

    --over gives an opaque picture of the size of the coded one, PNG unless OUT says otherwise: FILE is scaled, its
    proportions kept, until it covers that size, and what juts out is cut off evenly on both sides.
    """
    batch = Batch(sources, OBIC_SUFFIXES, output=output, output_dir=output_dir, overwrite=overwrite, workers=jobs)
    if list_:
        batch.run(_list)
        return
    if not layers:
        raise UsageError("name a layer with --layer; --list shows them")
    kind = (format_ or _suffix(output) or ("png" if over else "obic")).lower().lstrip(".")
    if over and kind == "obic":
        raise UsageError("--over makes pixels; name a picture with -o, or its format with --format")
    if kind == "obic" and look != FAITHFUL:
        raise UsageError("--look is for pixels; name a picture with -o, or its format with --format")
    networks = Networks(device, backend, workers=jobs, pictures=len(batch.inputs))
    chosen = Choices(layers, kind, over, look, metadata, verbose)
    batch.run(lambda job: _extract(job, networks, chosen))


def _list(job: Job) -> str:
    lines = layer_lines(describe(job.open()))
    return "\n".join(lines if job.alone else [job.source, *lines])


def _extract(job: Job, networks: Networks, chosen: Choices) -> None:
    """Take the layers out of one input and write them."""
    stage = Stages(chosen.verbose, job.say)
    with stage("open"):
        container = job.open(chosen.verbose)
        found = (index for layer in chosen.layers for index in container.layer_indices(layer))
        indices = list(dict.fromkeys(found))
    names = [re.sub(r"[^\w-]", "_", container.header.layer_names[index]) for index in indices]  # no path in them
    out = job.output(f"-{'-'.join(names)}.{chosen.kind}")
    if chosen.kind == "obic":
        with stage("extract"):
            data = container.subset(indices, {*METADATA_PARTS} - {PART_ICC} - chosen.metadata)
            metadata, lost = metadata_of_file(container, chosen.metadata)
        tell_lost(job.say, lost)
        if PART_ICC in metadata.keys() - chosen.metadata:
            job.say("note: the icc profile stays: without it nobody knows what the colours of the layers mean")
    else:
        data = _pixels(job, container, indices, networks, chosen, stage)
    out.write(data)
    if chosen.kind != "obic":
        job.say_replaced(out)


def _suffix(output: str | None) -> str:
    """The suffix of the output without its dot; empty where there is none."""
    return "" if output in (None, STREAM) else os.path.splitext(output)[1].lstrip(".")


def _pixels(
    job: Job, container: Container, indices: list[int], networks: Networks, chosen: Choices, stage: Stages
) -> bytes:
    """The layers as a picture file: RGBA with the file's metadata, or sRGB over another picture and without."""
    from obic.images import check_alpha, compose, in_srgb, picture_format, read_picture, write_picture

    format = picture_format(chosen.kind)
    if chosen.over:
        backdrop = read_picture(read_input(chosen.over), max_pixels=job.settings.max_pixels).rgb
    else:
        check_alpha(format)
    with stage("load"):
        from obic.codec import extract_picture

        networks.settle(container.header.n_pixels)
        model = networks.codec(container.header.model, look=chosen.look)
    with stage("decode"):
        pixels = extract_picture(container, indices, model)
        metadata, lost = metadata_of_file(container, () if chosen.over else chosen.metadata)
    if chosen.over:
        pixels = in_srgb(pixels, metadata[PART_ICC]) if PART_ICC in metadata else pixels
        pixels, metadata = compose(pixels, backdrop), {}
    tell_metadata(job.say, metadata, chosen.metadata, format)
    tell_lost(job.say, lost)
    with stage("write"):
        return write_picture(pixels, format, metadata, chosen.metadata)
