"""Room 4. Pictures to files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import copy

import numpy as np

from obic import inference
from obic.backends import Array
from obic.constants import MAX_QUALITY, MIN_QUALITY, OBJECT_COVERAGE, PART_PIXEL_MASK
from obic.container import Limits, mux, open_container
from obic.decoder import decode_layer, label_map
from obic.entropy.layer import LayerCoder
from obic.errors import FormatError, ObicError, UsageError
from obic.masks import by_grid, decode_pixel_mask, encode_label_map, encode_pixel_mask, grid_labels, grid_size
from obic.weights import CodecModel

SUSPECTS = "nothing is written; this is a bug of obic, or faulty memory"


def analyse_pictures(pictures: Sequence[np.ndarray], model: CodecModel) -> list[Array]:
    """The features of pictures, uint8 [H, W, 3]: float32 [1, h, w, M] of each, of the model's
    backend.

    Pictures with one number of cells go through the analysis transform together.
    """
    features: dict[int, Array] = {}
    for places in by_grid([rgb.shape[:2] for rgb in pictures]):
        together = inference.analyse_all(model.backend, [pictures[place] for place in places])
        features |= {place: together[number : number + 1] for number, place in enumerate(places)}
    return [features[place] for place in range(len(pictures))]


class PictureEncoder:
    """One picture, analysed once: its `.obic` file at any qualities of its layers.

    rgb: uint8 [H, W, 3]. labels: uint8 [H, W], the layer of each pixel, 255 = void, or None with
    one layer.
    model: loaded with encoder=True. names: of the layers, by index, and parts: optional parts by
    kind, as for `mux`. pixel_alpha: keep a pixel mask, so that an extracted object has its edge to
    the pixel; for all of it to be there, objects then own every cell they touch. features: what
    `analyse_pictures` gave for the picture, if it did already. Raises UsageError on arguments that
    do not fit together, and for a model that can only decode.
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
        features: Array | None = None,
    ):
        self._height, self._width = _check_picture(rgb, labels, n_layers)
        if model.log_gain is None:
            raise UsageError("this model was loaded to decode; to encode, load it with encoder=True")
        self._rgb, self._n_layers = rgb, n_layers
        self._model, self._names, self._parts = model, names, dict(parts or {})
        self._cells = np.zeros(grid_size(*rgb.shape[:2]), np.uint8)
        if labels is not None:
            self._cells = grid_labels(labels, n_layers, coverage=0 if pixel_alpha else OBJECT_COVERAGE)
        self._mask = encode_label_map(self._cells, n_layers)
        if pixel_alpha and labels is not None:
            self._parts[PART_PIXEL_MASK] = encode_pixel_mask(labels, self._cells)
        self._features = model.backend.array(analyse_pictures([rgb], model)[0] if features is None else features)
        self._streams: dict[tuple[int, int], bytes] = {}  # by layer and quality
        self._hashes: dict[tuple[int, int], bytes] = {}  # of the integers in them

    def encode(self, qualities: Sequence[int]) -> bytes:
        """The file with qualities of 1..100 for each layer, by index. Raises UsageError if they do
        not fit.

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
        """Bytes of that file. Raises as `encode` does."""
        return len(self.encode(qualities))

    def refined(self, qualities: Sequence[int], steps: int) -> PictureEncoder:
        """One with a latent improved for these qualities by so many steps, at least 1
        (`obic.nn.refine`): its files are smaller, or better. Files of other qualities change too,
        and gain little.

        Raises UsageError unless the model's backend is PyTorch's.
        """
        from obic.nn.refine import refine

        coders = [LayerCoder(self._model.entropy, self._cells == label, quality)
                  for label, quality in enumerate(qualities)]
        coders = [coder for coder in coders if coder.cells.any()]
        other = copy(self)
        other._features = refine(self._model, self._rgb, self._features, coders, steps)
        other._streams, other._hashes = {}, {}
        return other

    def verify(self, data: bytes) -> None:
        """Raises ObicError unless a file that `encode` gave decodes to the integers coded. Makes no
        pixels."""
        try:
            container = open_container(data, Limits(max_pixels=self._height * self._width))
            labels = label_map(container, self._model)
            right = np.array_equal(labels, self._cells)
            for entry in container.header.layers:
                _, *integers = decode_layer(container, labels, entry.index, self._model)
                right = right and _hash(*integers) == self._hashes[entry.index, entry.quality]
            if (pixel_mask := container.read_part(PART_PIXEL_MASK)) is not None:
                decode_pixel_mask(pixel_mask, labels, self._height, self._width)
            container.check_end()
        except FormatError as error:
            raise ObicError(f"the file made does not decode, {error}: {SUSPECTS}") from error
        if not right:
            raise ObicError(f"the file made decodes to other integers than were coded: {SUSPECTS}")

    def _stream(self, index: int, quality: int) -> bytes:
        if (index, quality) not in self._streams:
            coder = LayerCoder(self._model.entropy, self._cells == index, quality)
            stream, integers = b"", _hash()
            if coder.cells.any():
                z, residual = inference.encode_cells(self._model, self._features, coder)
                stream, integers = coder.encode(z, residual), _hash(z, residual)
            self._streams[index, quality], self._hashes[index, quality] = stream, integers
        return self._streams[index, quality]


def encode_picture(
    rgb: np.ndarray,
    labels: np.ndarray | None,
    n_layers: int,
    *,
    qualities: Sequence[int],
    model: CodecModel,
) -> bytes:
    """The bytes of an `.obic` file: `PictureEncoder` for one set of qualities. Arguments and errors
    are its own."""
    return PictureEncoder(rgb, labels, n_layers, model=model).encode(qualities)


def _check_picture(rgb: np.ndarray, labels: np.ndarray | None, n_layers: int) -> tuple[int, int]:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise UsageError(f"a picture is uint8 [height, width, 3], not {rgb.dtype} {list(rgb.shape)}")
    if (labels is None) != (n_layers == 1):
        raise UsageError("labels belong to two or more layers, and one layer has none")
    if labels is not None and labels.shape != rgb.shape[:2]:
        raise UsageError(f"the mask is {labels.shape[1]}x{labels.shape[0]}, the picture {rgb.shape[1]}x{rgb.shape[0]}")
    return rgb.shape[:2]


def _hash(*integers: np.ndarray) -> bytes:
    """SHA-256 of integers; arrays of zeros alone do not count."""
    digest = hashlib.sha256()
    for array in integers:
        if array.any():
            digest.update(np.ascontiguousarray(array, np.int32).data)
    return digest.digest()
