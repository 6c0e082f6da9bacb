"""Room 5. `obic report`: one self-contained HTML page that shows what a file holds, or a gallery of
several."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any

import click

from obic.cli.batch import OBIC_SUFFIXES, Batch, Job
from obic.cli.destinations import local_name
from obic.cli.info import describe
from obic.cli.messages import say, timed
from obic.cli.options import Settings, networks_options, obic_command, output_option, overwrite_option, verbose_option
from obic.cli.streams import STREAM, Output, read_input
from obic.constants import CELL, MEDIA_TYPE, PART_ICC
from obic.container import Container
from obic.errors import ObicError, UsageError
from obic.metadata import metadata_of_file
from obic.networks import Networks

if TYPE_CHECKING:
    import numpy as np

    from obic.weights import CodecModel

WEBP_MAX_SIDE = 16383  # of the format

EXAMPLES = """
obic report photo.obic                          photo.html
obic report photo.obic --original photo.png     with a slider between the two
obic report photos/*.obic -o gallery.html       many files on one page
obic report photos/ -o gallery.html --live      a page that decodes the files itself
"""


@obic_command(
    output_option,
    click.option("--original", metavar="FILE", type=click.Path(), help="The picture that was coded, to compare with."),
    click.option("--live", is_flag=True, help="Put the files and a decoder (14 MB) into the page instead of pictures."),
    *networks_options,
    overwrite_option,
    verbose_option,
    epilog=EXAMPLES,
)
def command(sources: tuple[str, ...], settings: Settings, original: str | None, live: bool) -> None:
    """Write a page to see it.

    The whole picture, each layer on a checkerboard, the mask over the picture, and where the bytes
    are, in one HTML file that needs no network. Every layer is decoded alone, as "obic extract"
    does; pictures are lossless WebP, so a page is about as large as the pictures it shows. Of
    several files, or a folder, it is a gallery.
    """
    batch = Batch(sources, OBIC_SUFFIXES, replace(settings, output=None))
    pictures = LivePictures() if live else StillPictures(batch.networks())
    if batch.alone:
        Batch(sources, OBIC_SUFFIXES, settings).run(lambda job: _report(job, pictures, original))
    elif settings.output is None:
        raise UsageError("a page of several files needs a name: -o gallery.html")
    elif original is not None:
        raise UsageError("--original belongs to a page of one file")
    else:
        _gallery(batch, settings.output, pictures)


def page(template: str, facts: dict[str, Any], decoder: str = "") -> str:
    """A page of this folder with the facts in it, as JSON that no text can break out of, and with a
    decoder."""
    html = resources.files("obic.cli").joinpath(template).read_text("utf-8")
    data = json.dumps(facts).replace("<", "\\u003c")
    return html.replace("/*facts*/", data).replace("<!--decoder-->", decoder)


def _report(job: Job, pictures: StillPictures | LivePictures, original: str | None) -> None:
    """The page of one file."""
    out = job.output(".html")
    with job.stage("open"):
        container = job.open()
    with job.stage("decode"):
        facts = {"name": job.relative, **describe(container), "grid": _grid(container)}
        facts |= pictures.of_report(container)
    if original is not None:
        with job.stage("read"):
            facts["original"] = _original(original, container, job.settings.max_pixels)
    with job.stage("write"):
        out.write(page("report.html", facts, pictures.decoder()).encode())


def _gallery(batch: Batch, output: str, pictures: StillPictures | LivePictures) -> None:
    """The page of several files. Those that fail are told, and left out."""
    if output != STREAM:
        batch.destinations.claim_path(output, "the page")
    out = Output(output, source=STREAM, overwrite=batch.settings.overwrite)
    tell = say if batch.settings.verbose else None
    files: list[dict[str, Any]] = []

    def add(job: Job) -> None:
        container = job.open()
        files.append({"name": job.relative, **describe(container), **pictures.of_gallery(container)})

    failure = None
    with timed("decode", tell):
        try:
            batch.run(add)
        except ObicError as error:
            failure = error
    if files:
        with timed("write", tell):
            facts = {"title": local_name(output).removesuffix(".html"), "files": files}
            out.write(page("gallery.html", facts, pictures.decoder()).encode())
    if failure:
        raise failure


class StillPictures:
    """Decoded pictures, as data addresses."""

    def __init__(self, networks: Networks):
        self._networks = networks

    def of_report(self, container: Container) -> dict[str, Any]:
        """The whole, and each layer by index, null where it is absent."""
        from obic.codec import extract_picture

        whole = self.of_gallery(container)  # it reads all in one go
        profile, model = _profile(container), self._model(container)
        layers = [
            None if entry.length is None else _address(extract_picture(container, entry.index, model), profile)
            for entry in container.header.layers
        ]
        return {**whole, "layer_images": layers}

    def of_gallery(self, container: Container) -> dict[str, Any]:
        from obic.codec import decode_picture

        decoded = decode_picture(container, self._model(container))
        return {"image": _address(decoded.pixels, _profile(container))}

    def decoder(self) -> str:
        return ""

    def _model(self, container: Container) -> CodecModel:
        self._networks.settle(container.header.n_pixels)
        return self._networks.codec(container.header.model)


class LivePictures:
    """The files themselves, as data addresses, and a decoder for the page, with the models that
    they need."""

    def __init__(self) -> None:
        self._models: dict[int, bytes] = {}

    def of_report(self, container: Container) -> dict[str, Any]:
        return self.of_gallery(container)

    def of_gallery(self, container: Container) -> dict[str, Any]:
        """Raises UnsupportedError if the model is not here, FormatError if a part of the file is
        damaged."""
        from obic.web import model_of

        fingerprint = container.header.model
        if fingerprint not in self._models:
            self._models[fingerprint] = model_of(fingerprint)
        present = [entry.index for entry in container.header.layers if entry.length is not None]
        container.check_end()
        return {"src": _data_address(MEDIA_TYPE, container.subset(present))}

    def decoder(self) -> str:
        from obic.web import embedded_decoder

        return embedded_decoder(self._models.values())


def _profile(container: Container) -> dict[int, bytes]:
    return {kind: data for kind, data in metadata_of_file(container)[0].items() if kind == PART_ICC}


def _original(path: str, container: Container, max_pixels: int) -> str:
    """The picture that was coded, as a data address. Raises UsageError if it has another size."""
    from obic.images import read_picture

    rgb = read_picture(read_input(path), max_pixels=max_pixels).rgb
    size, expected = rgb.shape[1::-1], (container.header.width, container.header.height)
    if size != expected:
        raise UsageError(f"{path} has {size[0]}x{size[1]} pixels, the coded picture {expected[0]}x{expected[1]}")
    return _address(rgb, {})


def _address(pixels: np.ndarray, profile: dict[int, bytes]) -> str:
    """Pixels as a picture inside an address: lossless WebP, or PNG where a side is too long for
    that."""
    from obic.images import write_picture

    format = "WEBP" if max(pixels.shape[:2]) <= WEBP_MAX_SIDE else "PNG"
    return _data_address(f"image/{format.lower()}", write_picture(pixels, format, profile))


def _data_address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _grid(container: Container) -> dict[str, Any]:
    """The label map, a byte a cell in raster order, in base64; the size of the grid, and of a cell
    in pixels."""
    from obic.masks import decode_label_map, grid_size

    header = container.header
    height, width = grid_size(header.height, header.width)
    labels = decode_label_map(header.mask, height, width, header.n_layers)
    return {"width": width, "height": height, "cell": CELL, "labels": base64.b64encode(labels.tobytes()).decode()}
