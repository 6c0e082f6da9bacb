"""Room 5. `obic extract`: layers as a smaller `.obic` by byte copy, as pixels with alpha, or over
another picture."""

import os
import re
from collections.abc import Callable
from functools import partial

import click

from obic.cli.batch import OBIC_SUFFIXES, Batch, Job
from obic.cli.info import describe, layer_lines
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
from obic.cli.streams import STREAM, read_input
from obic.constants import PART_ICC
from obic.container import Container
from obic.errors import UsageError
from obic.looks import FAITHFUL
from obic.metadata import METADATA_PARTS, metadata_of_file
from obic.networks import Networks

Take = Callable[[Job, Container, list[int]], bytes]

EXAMPLES = """
obic extract photo.obic --list                    the layers of a file
obic extract photo.obic --layer object            photo-object.obic, without a network
obic extract photo.obic --layer 1 -o object.png   RGBA pixels
obic extract photo.obic --layer person --layer dog -o both.png
obic extract photo.obic --layer object --over beach.jpg -o holiday.png
obic extract https://example.org/photo.obic --layer object -v     reads that layer's bytes alone
"""


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
    *results_options,
    click.option("--format", "format_", metavar="FORMAT", help="obic, or a picture format; else by OUT's suffix."),
    look_option,
    metadata_option,
    *networks_options,
    verbose_option,
    epilog=EXAMPLES,
)
def command(
    sources: tuple[str, ...],
    settings: Settings,
    layers: tuple[str, ...],
    list_: bool,
    over: str | None,
    format_: str | None,
    look: str,
    metadata: frozenset[int],
) -> None:
    """Take layers out of a file.

    Reads the header and the bytes of those layers only. The result is a smaller valid .obic, a byte
    copy, unless OUT has the suffix of a picture format: then it is RGBA pixels with the alpha of
    the layers. Layers keep their indices in the extracted file. Metadata come along without
    thumbnails; the label map stays as it is, so the outlines of the other layers can be seen in it.

    --over gives an opaque picture of the size of the coded one, PNG unless OUT says otherwise: FILE
    is scaled, its proportions kept, until it covers that size, and what juts out is cut off evenly
    on both sides.
    """
    batch = Batch(sources, OBIC_SUFFIXES, settings)
    if list_:
        batch.run(_list)
        return
    if not layers:
        raise UsageError("name a layer with --layer; --list shows them")
    suffix = "" if settings.output in (None, STREAM) else os.path.splitext(settings.output)[1]
    kind = (format_ or suffix or ("png" if over else "obic")).lower().lstrip(".")
    if kind != "obic":
        pixels = partial(_pixels, networks=batch.networks(), kind=kind, over=over, look=look, kinds=metadata)
        batch.run(partial(_extract, layers=layers, kind=kind, take=pixels))
        return
    if over:
        raise UsageError("--over makes pixels; name a picture with -o, or its format with --format")
    if look != FAITHFUL:
        raise UsageError("--look is for pixels; name a picture with -o, or its format with --format")
    batch.run(partial(_extract, layers=layers, kind=kind, take=partial(_file, kinds=metadata)))


def _list(job: Job) -> str:
    lines = layer_lines(describe(job.open()))
    return "\n".join(lines if job.alone else [job.source, *lines])


def _extract(job: Job, *, layers: tuple[str, ...], kind: str, take: Take) -> None:
    """Take the layers out of one input and write them, as a file of that kind: "obic", or the
    suffix of a picture."""
    with job.stage("open"):
        container = job.open()
        indices = list(dict.fromkeys(index for layer in layers for index in container.layer_indices(layer)))
    names = [re.sub(r"[^\w-]", "_", container.header.layer_names[index]) for index in indices]  # no path in them
    out = job.output(f"-{'-'.join(names)}.{kind}")
    out.write(take(job, container, indices))
    if kind != "obic":
        job.note_replaced(out)


def _file(job: Job, container: Container, indices: list[int], *, kinds: frozenset[int]) -> bytes:
    """The layers as an `.obic` file, with metadata of some kinds."""
    with job.stage("extract"):
        data = container.subset(indices, {*METADATA_PARTS} - {PART_ICC} - kinds)
        metadata, lost = metadata_of_file(container, kinds)
    job.note(*lost_notes(lost))
    if PART_ICC in metadata.keys() - kinds:
        job.note("the icc profile stays: without it nobody knows what the colours of the layers mean")
    return data


def _pixels(
    job: Job,
    container: Container,
    indices: list[int],
    *,
    networks: Networks,
    kind: str,
    over: str | None,
    look: str,
    kinds: frozenset[int],
) -> bytes:
    """The layers as a picture file: RGBA with the file's metadata, or sRGB over another picture and
    without."""
    from obic.images import check_alpha, compose, in_srgb, picture_format, read_picture, write_picture

    format = picture_format(kind)
    if over:
        backdrop = read_picture(read_input(over), max_pixels=job.settings.max_pixels).rgb
    else:
        check_alpha(format)
    with job.stage("load"):
        from obic.codec import extract_picture

        networks.settle(container.header.n_pixels)
        model = networks.codec(container.header.model, look=look)
    with job.stage("decode"):
        pixels = extract_picture(container, indices, model)
        metadata, lost = metadata_of_file(container, () if over else kinds)
    if over:
        pixels = in_srgb(pixels, metadata[PART_ICC]) if PART_ICC in metadata else pixels
        pixels, metadata = compose(pixels, backdrop), {}
    job.note(*metadata_notes(metadata, kinds, format), *lost_notes(lost))
    with job.stage("write"):
        return write_picture(pixels, format, metadata, kinds)
