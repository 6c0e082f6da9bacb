"""Room 5. `obic report`: one self-contained HTML page that shows what a file holds."""

import base64
import json
from importlib import resources

import click

from obic.cli.common import (
    Output,
    Stages,
    backend_option,
    derived_name,
    device_option,
    input_argument,
    local_name,
    obic_command,
    open_source,
    output_option,
    overwrite_option,
    read_input,
    settings,
    verbose_option,
)
from obic.cli.info import describe
from obic.constants import CELL, PART_ICC
from obic.container import Container, open_container
from obic.errors import UsageError
from obic.metadata import metadata_of_file
from obic.networks import Networks

WEBP_MAX_SIDE = 16383  # of the format

EXAMPLES = """
obic report photo.obic                          photo.html
obic report photo.obic --original photo.png     with a slider between the two
"""


@obic_command(
    output_option,
    click.option("--original", metavar="FILE", type=click.Path(), help="The picture that was coded, to compare with."),
    backend_option,
    device_option,
    overwrite_option,
    verbose_option,
    argument=input_argument,
    epilog=EXAMPLES,
)
def command(
    source: str,
    output: str | None,
    original: str | None,
    device: str,
    backend: str,
    overwrite: bool,
    verbose: bool,
) -> None:
    """Write a page to see it.

    The whole picture, each layer on a checkerboard, the mask over the picture, and where the bytes are, in one HTML
    file that needs no network. Every layer is decoded alone, as "obic extract" does; pictures are lossless WebP, so a
    page is about as large as the pictures it shows.
    """
    stage = Stages(verbose)
    out = Output(output or derived_name(source, ".html"), source=source, overwrite=overwrite)
    with stage("open"):
        container = open_container(open_source(source), settings().limits)
    with stage("load"):
        networks = Networks(device, backend)
        networks.settle(container.header.n_pixels)
        model = networks.codec(container.header.model)
    with stage("decode"):
        facts = {"name": local_name(source), **describe(container), "grid": _grid(container)}
        facts["images"] = _images(container, model)
    if original is not None:
        with stage("read"):
            facts["images"]["original"] = _original(original, container)
    with stage("write"):
        out.write(page(facts).encode())


def page(facts: dict) -> str:
    """The HTML of a report: the page of this folder with the facts in it, as JSON that no text can break out of."""
    template = resources.files("obic.cli").joinpath("report.html").read_text("utf-8")
    data = json.dumps(facts).replace("<", "\\u003c")
    return template.replace("/*facts*/", data)


def _images(container: Container, model) -> dict:
    """The pictures of the page as data addresses: the whole, and each layer by index, null where it is absent."""
    from obic.codec import decode_picture, extract_picture

    whole = decode_picture(container, model).pixels
    profile = {kind: data for kind, data in metadata_of_file(container)[0].items() if kind == PART_ICC}
    layers = [
        None if entry.length is None else _address(extract_picture(container, entry.index, model), profile)
        for entry in container.header.layers
    ]
    return {"decoded": _address(whole, profile), "layers": layers}


def _original(path: str, container: Container) -> str:
    """The picture that was coded, as a data address. Raises UsageError if it has another size."""
    from obic.images import read_picture

    rgb = read_picture(read_input(path), max_pixels=settings().max_pixels).rgb
    size, expected = rgb.shape[1::-1], (container.header.width, container.header.height)
    if size != expected:
        raise UsageError(f"{path} has {size[0]}x{size[1]} pixels, the coded picture {expected[0]}x{expected[1]}")
    return _address(rgb, {})


def _address(pixels, profile: dict[int, bytes]) -> str:
    """Pixels as a picture inside an address: lossless WebP, or PNG where a side is too long for that."""
    from obic.images import write_picture

    format = "WEBP" if max(pixels.shape[:2]) <= WEBP_MAX_SIDE else "PNG"
    data = base64.b64encode(write_picture(pixels, format, profile)).decode()
    return f"data:image/{format.lower()};base64,{data}"


def _grid(container: Container) -> dict:
    """The label map, a byte a cell in raster order, in base64; the size of the grid, and of a cell in pixels."""
    from obic.masks import decode_label_map, grid_size

    header = container.header
    height, width = grid_size(header.height, header.width)
    labels = decode_label_map(header.mask, height, width, header.n_layers)
    return {"width": width, "height": height, "cell": CELL, "labels": base64.b64encode(labels.tobytes()).decode()}
