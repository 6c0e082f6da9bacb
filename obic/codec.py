"""Pictures to files and back, as plain functions over the rooms below. The only module that joins them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from obic.constants import MAX_QUALITY, MIN_QUALITY, OBJECT_COVERAGE, PART_PIXEL_MASK
from obic.container import Container, Limits, mux, open_container
from obic.entropy.layer import decode_layer, encode_layer
from obic.errors import FormatError, ObicError, UnsupportedError, UsageError
from obic.looks import FAITHFUL, LOOKS
from obic.masks import (
    alpha_from_cells,
    decode_label_map,
    decode_pixel_mask,
    encode_label_map,
    encode_pixel_mask,
    grid_labels,
    grid_size,
    join_parts,
    spread_cells,
)
from obic.nn import inference
from obic.rate import DEFAULT_QUALITY, layer_qualities
from obic.weights import CodecModel, load_codec, segmenter_bytes

__all__ = [
    "DEFAULT_QUALITY",
    "Decoded",
    "PictureEncoder",
    "analyse_pictures",
    "choose_device",
    "decode_picture",
    "decode_pictures",
    "decode_symbols",
    "encode_picture",
    "extract_picture",
    "layer_qualities",
    "load_model",
    "load_segmenter",
]


SUSPECTS = "nothing is written; this is a bug of obic, or faulty memory"


@dataclass(frozen=True)
class Decoded:
    """A decoded picture. rgb: uint8 [H, W, 3]. alpha: uint8 [H, W], or None when every layer is there.
    missing: the indices of layers that are absent or damaged; their part of the picture is transparent.
    mask_damaged: the alpha follows the cells because the pixel mask is damaged."""

    rgb: np.ndarray
    alpha: np.ndarray | None
    missing: tuple[int, ...]
    mask_damaged: bool = False

    @property
    def pixels(self) -> np.ndarray:
        """uint8 [H, W, 3], or [H, W, 4] where layers are missing."""
        return self.rgb if self.alpha is None else np.dstack([self.rgb, self.alpha])


def load_model(
    device: str = "auto", fingerprint: int | None = None, encoder: bool = False, look: str = FAITHFUL
) -> CodecModel:
    """The codec's networks and tables. device: "auto", "cpu" or "cuda"; fingerprint: None for the default model.

    look: what decoded pictures are to be, "faithful" or "vivid" (sharp instead of smooth at low rates).
    Raises UsageError (no such device or look) or UnsupportedError (no such model, or a model without that look).
    """
    if look not in LOOKS:
        raise UsageError(f"unknown look {look!r}; choose {' or '.join(LOOKS)}")
    model = load_codec(fingerprint, device=choose_device(device), encoder=encoder, look=look)
    inference.prepare(model.network)
    return model


def load_segmenter(device: str = "auto") -> Callable[[np.ndarray], np.ndarray]:
    """The segmenter: rgb uint8 [H, W, 3] -> label map uint8 [H, W], 0 = background."""
    from obic.segment import load_segmenter as load

    return load(segmenter_bytes(), choose_device(device))


def choose_device(name: str) -> str:
    """"auto" -> "cuda" where there is one, else "cpu". Raises UsageError if a device is unknown or absent."""
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device {name!r}; choose auto, cpu or cuda")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("there is no CUDA device here: use --device cpu or auto")
    return name


@torch.inference_mode()
def analyse_pictures(pictures: Sequence[np.ndarray], model: CodecModel) -> list[torch.Tensor]:
    """The features [1, M, h, w] of pictures, uint8 [H, W, 3]. Those with one number of cells go together."""
    features = {}
    for places in _by_grid([rgb.shape[:2] for rgb in pictures]):
        together = inference.analyse_all(model.network, [pictures[place] for place in places])
        features |= zip(places, together.split(1), strict=True)
    return [features[place] for place in range(len(pictures))]


def _by_grid(sizes: Sequence[tuple[int, int]]) -> Iterable[list[int]]:
    """The places in a list of (height, width) that have one number of cells down and across, together."""
    groups = defaultdict(list)
    for place, size in enumerate(sizes):
        groups[grid_size(*size)].append(place)
    return groups.values()


class PictureEncoder:
    """One picture, analysed once: its `.obic` file at any qualities of its layers.

    rgb: uint8 [H, W, 3]. labels: uint8 [H, W], the layer of each pixel, 255 = void, or None with one layer.
    model: loaded with encoder=True. names: of the layers, by index, and parts: optional parts by kind, as for `mux`.
    pixel_alpha: keep a pixel mask, so that an extracted object has its edge to the pixel; for all of it to be there,
    objects then own every cell they touch. features: what `analyse_pictures` gave for the picture, if it did already.
    Raises UsageError on arguments that do not fit together.
    """

    def __init__(
        self,
        rgb: np.ndarray,
        labels: np.ndarray | None,
        n_layers: int,
        *,
        model: CodecModel,
        names: Sequence[str] | None = None,
        parts: Mapping[int, bytes] | None = None,
        pixel_alpha: bool = False,
        features: torch.Tensor | None = None,
    ):
        self._height, self._width = _check_picture(rgb, labels, n_layers)
        self._rgb, self._n_layers = rgb, n_layers
        self._model, self._names, self._parts = model, names, dict(parts or {})
        self._cells = np.zeros(grid_size(*rgb.shape[:2]), np.uint8)
        if labels is not None:
            self._cells = grid_labels(labels, n_layers, coverage=0 if pixel_alpha else OBJECT_COVERAGE)
        self._mask = encode_label_map(self._cells, n_layers)
        if pixel_alpha and labels is not None:
            self._parts[PART_PIXEL_MASK] = encode_pixel_mask(labels, self._cells)
        self._features = analyse_pictures([rgb], model)[0] if features is None else features
        self._streams: dict[tuple[int, int], tuple[bytes, bytes]] = {}  # by layer and quality, from `_encode_layer`

    def encode(self, qualities: Sequence[int]) -> bytes:
        """The file with qualities of 1..100 for each layer, by index. Raises UsageError if they do not fit.

        A layer is coded once at each quality, however often it is asked for.
        """
        if len(qualities) != self._n_layers or not all(MIN_QUALITY <= quality <= MAX_QUALITY for quality in qualities):
            raise UsageError(f"{self._n_layers} layers need as many qualities of {MIN_QUALITY} to {MAX_QUALITY}")
        return mux(
            width=self._width,
            height=self._height,
            model=self._model.fingerprint,
            mask=self._mask,
            qualities=qualities,
            streams={index: self._stream(index, quality) for index, quality in enumerate(qualities)},
            names=self._names,
            parts=self._parts,
        )

    def size(self, qualities: Sequence[int]) -> int:
        """Bytes of that file."""
        return len(self.encode(qualities))

    @torch.no_grad()
    def refine(self, qualities: Sequence[int], steps: int) -> None:
        """Improves the latent for these qualities by so many steps (`obic.nn.refine`): smaller files, or better ones.

        Files of other qualities change too, and gain little.
        """
        from obic.nn.refine import LayerLatent, refine

        layers = []
        for label, quality in enumerate(qualities):
            cells = self._cells == label
            if cells.any():
                z, _ = _integers(self._features, cells, quality, self._model)
                index = self._model.scale_map.index(z, quality)[:, : cells.shape[0], : cells.shape[1]]
                layers.append(LayerLatent(cells, quality, z, index))
        self._features = refine(self._model.network, self._rgb, self._features.clone(), layers, steps)
        self._streams.clear()

    def verify(self, data: bytes) -> None:
        """Raises ObicError unless a file that `encode` gave decodes to the integers coded. Makes no pixels."""
        try:
            container = open_container(data, Limits(max_pixels=self._height * self._width))
            labels = _label_map(container, self._model)
            right = np.array_equal(labels, self._cells)
            for entry in container.header.layers:
                integers = _decode_symbols(container, labels == entry.index, entry.index, self._model)
                right = right and _hash(*integers) == self._streams[entry.index, entry.quality][1]
            if (pixel_mask := container.read_part(PART_PIXEL_MASK)) is not None:
                decode_pixel_mask(pixel_mask, labels, self._height, self._width)
            container.check_end()
        except FormatError as error:
            raise ObicError(f"the file made does not decode, {error}: {SUSPECTS}") from error
        if not right:
            raise ObicError(f"the file made decodes to other integers than were coded: {SUSPECTS}")

    def _stream(self, index: int, quality: int) -> bytes:
        if (index, quality) not in self._streams:
            self._streams[index, quality] = _encode_layer(self._features, self._cells == index, quality, self._model)
        return self._streams[index, quality][0]


def encode_picture(
    rgb: np.ndarray,
    labels: np.ndarray | None,
    n_layers: int,
    *,
    qualities: Sequence[int],
    model: CodecModel,
) -> bytes:
    """The bytes of an `.obic` file: `PictureEncoder` for one set of qualities."""
    return PictureEncoder(rgb, labels, n_layers, model=model).encode(qualities)


def _check_picture(rgb: np.ndarray, labels: np.ndarray | None, n_layers: int) -> tuple[int, int]:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise UsageError(f"a picture is uint8 [height, width, 3], not {rgb.dtype} {list(rgb.shape)}")
    if (labels is None) != (n_layers == 1):
        raise UsageError("labels belong to two or more layers, and one layer has none")
    if labels is not None and labels.shape != rgb.shape[:2]:
        raise UsageError(f"the mask is {labels.shape[1]}x{labels.shape[0]}, the picture {rgb.shape[1]}x{rgb.shape[0]}")
    return rgb.shape[:2]


@torch.inference_mode()
def _integers(features: torch.Tensor, cells: np.ndarray, quality: int, model: CodecModel):
    """The hyper-latent and the residual of a layer, from `inference.encode_cells`."""
    return inference.encode_cells(
        model.network, features, cells, quality, model.hyper_prior, lambda z: model.scale_map.index(z, quality)
    )


@torch.inference_mode()
def _encode_layer(features: torch.Tensor, cells: np.ndarray, quality: int, model: CodecModel) -> tuple[bytes, bytes]:
    """The sub-stream of a layer, and the hash of its integers."""
    if not cells.any():
        return b"", _hash()
    z, residual = _integers(features, cells, quality, model)
    stream = encode_layer(z, residual, cells, quality, model.scale_map, model.hyper_prior, model.tables)
    return stream, _hash(z, residual)


def _hash(*integers: np.ndarray) -> bytes:
    """SHA-256 of integers; arrays of zeros alone do not count."""
    digest = hashlib.sha256()
    for array in integers:
        if array.any():
            digest.update(np.ascontiguousarray(array, np.int32))
    return digest.digest()


def decode_picture(container: Container, model: CodecModel, *, damaged: str = "error") -> Decoded:
    """The picture from the layers a file has.

    damaged: "error" raises FormatError at the first layer that is damaged or cut off; "skip" leaves it out.
    Raises UnsupportedError if the model is not the file's, and FormatError if no layer can be decoded.
    """
    return decode_pictures([container], model, damaged=damaged)[0]


@torch.inference_mode()
def decode_pictures(containers: Sequence[Container], model: CodecModel, *, damaged: str = "error") -> list[Decoded]:
    """`decode_picture` for several files. Those with one number of cells go through the synthesis transform together.

    Raises as `decode_picture` does for the first file that fails.
    """
    latents = [_whole_latent(container, model, damaged) for container in containers]
    decoded = {}
    for places in _by_grid([(latent.header.height, latent.header.width) for latent in latents]):
        pictures = _synthesise([latents[place] for place in places], model)
        for place, rgb in zip(places, pictures, strict=True):
            decoded[place] = _with_alpha(latents[place], rgb, damaged)
    return [decoded[place] for place in range(len(latents))]


def _whole_latent(container: Container, model: CodecModel, damaged: str) -> _Latent:
    """The latent of all the layers that a file has; without those that are damaged, where these are to be skipped."""
    labels = _label_map(container, model)
    container.prefetch()
    if damaged == "error":
        container.check_end()
    latent, failure = _Latent(container, labels, model), None
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


def _with_alpha(latent: _Latent, rgb: np.ndarray, damaged: str) -> Decoded:
    """The picture with what there is to say of the layers that its latent lacks."""
    container, labels = latent.container, latent.labels
    missing = tuple(index for index in range(container.header.n_layers) if index not in latent.layers)
    visible = [index for index in missing if (labels == index).any()]
    if not visible:
        return Decoded(rgb, None, missing)
    try:
        return Decoded(rgb, _alpha(container, labels, latent.layers), missing)
    except FormatError:
        if damaged == "error":
            raise
        return Decoded(rgb, _cell_alpha(container, labels, latent.layers), missing, mask_damaged=True)


@torch.inference_mode()
def extract_picture(container: Container, layers: int | Sequence[int], model: CodecModel) -> np.ndarray:
    """One layer, or several together, by index, as pixels: uint8 [H, W, 4]. Reads the bytes of those layers alone.

    Raises as `decode_picture` does, and UsageError if a layer is absent.
    """
    indices = [layers] if isinstance(layers, int) else list(layers)
    labels = _label_map(container, model)
    container.prefetch(indices)
    latent = _Latent(container, labels, model)
    for index in indices:
        latent.add(index)
    return np.dstack([*_synthesise([latent], model), _alpha(container, labels, indices)])


def decode_symbols(container: Container, index: int, model: CodecModel) -> tuple[np.ndarray, np.ndarray]:
    """The integers of one layer: z int32 [Z, h4, w4] and the residual int32 [M, h, w]. The same on every machine."""
    cells = _label_map(container, model) == index
    return _decode_symbols(container, cells, index, model)


def _label_map(container: Container, model: CodecModel) -> np.ndarray:
    header = container.header
    if header.model != model.fingerprint:
        raise UnsupportedError(f"the file needs model {header.model:08x}, not {model.fingerprint:08x}")
    return decode_label_map(header.mask, *grid_size(header.height, header.width), header.n_layers)


def _decode_symbols(container: Container, cells: np.ndarray, index: int, model: CodecModel):
    quality = container.header.layers[index].quality
    data = container.read_layer(index)
    try:
        return decode_layer(data, cells, quality, model.scale_map, model.hyper_prior, model.tables)
    except FormatError as error:
        raise FormatError(str(error), section=f"layer {index}") from error


class _Latent:
    """The latent of the whole picture, to which layers are added one by one, so that any number needs as much memory.

    labels: uint8 [h, w]. layers: indices of those it has. planes: their features [1, M, h, w], conditions [1, 2, h, w].
    """

    def __init__(self, container: Container, labels: np.ndarray, model: CodecModel):
        self.container, self.header, self.labels = container, container.header, labels
        self._model = model
        self.planes: tuple[torch.Tensor, torch.Tensor] | None = None
        self.layers: list[int] = []

    def add(self, index: int) -> None:
        """Raises FormatError, and is then what it was."""
        cells = self.labels == index
        z, residual = _decode_symbols(self.container, cells, index, self._model)
        planes = inference.decode_cells(self._model.network, z, residual, cells, self.header.layers[index].quality)
        if self.planes is None:
            self.planes = planes
        else:
            for whole, part in zip(self.planes, planes, strict=True):
                whole += part
        self.layers.append(index)


def _synthesise(latents: Sequence[_Latent], model: CodecModel) -> list[np.ndarray]:
    """rgb uint8 [H, W, 3] of each latent; all have as many cells down and across."""
    planes = latents[0].planes
    if len(latents) > 1:
        planes = [torch.cat(together) for together in zip(*(latent.planes for latent in latents), strict=True)]
    sizes = [(latent.header.height, latent.header.width) for latent in latents]
    return inference.synthesise_all(model.network, *planes, sizes)


def _alpha(container: Container, labels: np.ndarray, indices: list[int]) -> np.ndarray:
    """Opacity of the union of layers, uint8 [H, W]: of objects to the pixel, where the file has a pixel mask."""
    data = None if 0 in indices else container.read_part(PART_PIXEL_MASK)
    if data is None:
        return _cell_alpha(container, labels, indices)
    size = container.header.height, container.header.width
    owner = spread_cells(np.where(np.isin(labels, indices), labels, 0), *size)
    visible = join_parts(decode_pixel_mask(data, labels, *size) & (owner > 0), owner)
    return np.where(visible, np.uint8(255), np.uint8(0))


def _cell_alpha(container: Container, labels: np.ndarray, indices: list[int]) -> np.ndarray:
    union = np.isin(labels, indices).astype(np.uint8)
    return alpha_from_cells(union, 1, container.header.height, container.header.width)
