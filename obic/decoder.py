"""Room 4. Files to pictures, whole or layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from obic import inference
from obic.alpha import cell_alpha, layer_alpha
from obic.backends import Array
from obic.container import Container
from obic.entropy.layer import LayerCoder
from obic.errors import FormatError, UnsupportedError
from obic.masks import by_grid, decode_label_map, grid_size
from obic.weights import CodecModel


@dataclass(frozen=True)
class Decoded:
    """A decoded picture. rgb: uint8 [H, W, 3]. alpha: uint8 [H, W], or None when every layer is
    there. missing: the indices of layers that are absent or damaged; their part of the picture is
    transparent. mask_damaged: the alpha follows the cells because the pixel mask is damaged."""

    rgb: np.ndarray
    alpha: np.ndarray | None
    missing: tuple[int, ...]
    mask_damaged: bool = False

    @property
    def pixels(self) -> np.ndarray:
        """uint8 [H, W, 3], or [H, W, 4] where layers are missing."""
        return self.rgb if self.alpha is None else np.dstack([self.rgb, self.alpha])


def decode_picture(container: Container, model: CodecModel, *, damaged: str = "error") -> Decoded:
    """The picture from the layers a file has.

    damaged: "error" raises FormatError at the first layer that is damaged or cut off; "skip" leaves
    it out. Raises UnsupportedError if the model is not the file's, and FormatError if no layer can
    be decoded.
    """
    return decode_pictures([container], model, damaged=damaged)[0]


def decode_pictures(containers: Sequence[Container], model: CodecModel, *, damaged: str = "error") -> list[Decoded]:
    """`decode_picture` for several files. Those with one number of cells go through the synthesis
    transform together.

    Raises as `decode_picture` does for the first file that fails.
    """
    latents = [_whole_latent(container, model, damaged) for container in containers]
    decoded = {}
    for places in by_grid([(each.header.height, each.header.width) for each in containers]):
        pictures = _synthesise([latents[place] for place in places], model)
        for place, rgb in zip(places, pictures, strict=True):
            decoded[place] = _with_alpha(latents[place], rgb, damaged)
    return [decoded[place] for place in range(len(latents))]


def extract_picture(container: Container, layers: int | Sequence[int], model: CodecModel) -> np.ndarray:
    """One layer, or several together, by index, as pixels: uint8 [H, W, 4]. Reads the bytes of
    those layers alone.

    Raises as `decode_picture` does, and UsageError if a layer is absent.
    """
    indices = [layers] if isinstance(layers, int) else list(layers)
    latent = _Latent(container, model)
    container.prefetch(indices)
    for index in indices:
        latent.add(index)
    return np.dstack([*_synthesise([latent], model), layer_alpha(container, latent.labels, indices)])


def decode_symbols(container: Container, index: int, model: CodecModel) -> tuple[np.ndarray, np.ndarray]:
    """The integers of one layer: z int32 [Z, h4, w4] and the residual int32 [M, h, w]. The same on
    every machine.

    Raises FormatError if the layer is damaged, UsageError if it is absent, UnsupportedError as
    `decode_picture` does.
    """
    return decode_layer(container, label_map(container, model), index, model)[1:]


def label_map(container: Container, model: CodecModel) -> np.ndarray:
    """The layer of each cell, uint8 [h, w]. Raises UnsupportedError if the model is not the
    file's."""
    header = container.header
    if header.model != model.fingerprint:
        raise UnsupportedError(f"the file needs model {header.model:08x}, not {model.fingerprint:08x}")
    return decode_label_map(header.mask, *grid_size(header.height, header.width), header.n_layers)


def decode_layer(
    container: Container, labels: np.ndarray, index: int, model: CodecModel
) -> tuple[LayerCoder, np.ndarray, np.ndarray]:
    """A layer's coder, and its integers as for `decode_symbols`. labels: uint8 [h, w], the layer of
    each cell."""
    coder = LayerCoder(model.entropy, labels == index, container.header.layers[index].quality)
    data = container.read_layer(index)
    try:
        return coder, *coder.decode(data)
    except FormatError as error:
        raise FormatError(str(error), section=f"layer {index}") from error


class _Latent:
    """The latent of the whole picture, to which layers are added one by one, so that any number
    needs as much memory.

    labels: uint8 [h, w]. layers: indices of those it has. planes: their features [1, h, w, M],
    conditions [1, h, w, 2].
    """

    def __init__(self, container: Container, model: CodecModel):
        self.container, self.labels = container, label_map(container, model)
        self._model = model
        self.planes: tuple[Array, Array] | None = None
        self.layers: list[int] = []

    def add(self, index: int) -> None:
        """Raises FormatError, and is then what it was."""
        coder, z, residual = decode_layer(self.container, self.labels, index, self._model)
        planes = inference.decode_cells(self._model, z, residual, coder)
        if self.planes is None:
            self.planes = planes
        else:
            for whole, part in zip(self.planes, planes, strict=True):
                whole += part
        self.layers.append(index)


def _whole_latent(container: Container, model: CodecModel, damaged: str) -> _Latent:
    """The latent of all the layers that a file has; without those that are damaged, where these are
    to be skipped."""
    latent, failure = _Latent(container, model), None
    container.prefetch()
    if damaged == "error":
        container.check_end()
    for entry in container.header.layers:
        if entry.length is not None:
            try:
                latent.add(entry.index)
            except FormatError as error:
                if damaged == "error":
                    raise
                failure = error
    if not latent.layers:
        raise failure or FormatError("the file holds no layer")
    return latent


def _synthesise(latents: Sequence[_Latent], model: CodecModel) -> list[np.ndarray]:
    """rgb uint8 [H, W, 3] of each latent; all have as many cells down and across."""
    planes = zip(*(each.planes for each in latents), strict=True)
    features, conditions = (model.backend.concatenate(together) for together in planes)
    sizes = [(latent.container.header.height, latent.container.header.width) for latent in latents]
    return inference.synthesise_all(model.backend, features, conditions, sizes)


def _with_alpha(latent: _Latent, rgb: np.ndarray, damaged: str) -> Decoded:
    """The picture, and the alpha that the layers leave which its latent lacks."""
    container, labels = latent.container, latent.labels
    missing = tuple(index for index in range(container.header.n_layers) if index not in latent.layers)
    if not np.isin(labels, missing).any():
        return Decoded(rgb, None, missing)
    try:
        return Decoded(rgb, layer_alpha(container, labels, latent.layers), missing)
    except FormatError:
        if damaged == "error":
            raise
        return Decoded(rgb, cell_alpha(container, labels, latent.layers), missing, mask_damaged=True)
