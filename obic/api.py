"""Room 4. obic from Python: images and arrays in, bytes out, and back. `obic.encode` and its like
are found here."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import groupby, islice
from typing import IO, TYPE_CHECKING, Any, Literal, TypeGuard, TypeVar, Union

import numpy as np
from PIL import Image

from obic import codec
from obic.backends import Array
from obic.constants import PART_ICC
from obic.container import ByteSource, Container, open_container
from obic.errors import UsageError
from obic.images import Picture, Source, read_picture
from obic.metadata import kinds_from_text, metadata_of_file, pillow_info
from obic.networks import Networks
from obic.prompts import BUILTIN, Numbers, prompts
from obic.rate import OBJECT_BOOST, Rate, bytes_of
from obic.recipe import Alpha, LayerKind, Recipe, mask_kind
from obic.recipe import encode as encode_by

if TYPE_CHECKING:
    import torch

    from obic.segment import Segmenter

Look = Literal["faithful", "vivid"]
ImageLike = Union[Source, np.ndarray, "torch.Tensor"]
File = Container | bytes | str | os.PathLike[str] | IO[bytes] | ByteSource

BATCH_ON_GPU = 8  # pictures

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger("obic")


@dataclass(frozen=True)
class Analysed:
    """A picture, and what the analysis transform made of it: features float32 [1, h, w, M], None
    where it has not."""

    picture: Picture
    features: Array | None = None


class Codec:
    """The codec with its networks on one device. They are loaded when first needed, once.

    Safe to share among threads. device: "auto", "cpu" or "cuda". backend: "numpy", "torch" (with
    `obic[torch]`), or "auto": PyTorch where that is imported already, for a GPU that is asked for,
    or where it is installed and the first picture is large; else numpy. None: what the environment
    variable OBIC_BACKEND says, else "auto". segmenter: what finds objects: a name, as `obic encode
    --segmenter` takes it, or a function of a picture (`obic.segment.Segmenter`); None: what
    OBIC_SEGMENTER says, else "builtin".

    An image is one of Pillow's, a picture file (a path, or its bytes), an array [H, W], [H, W, 3]
    or [H, W, 4], or a tensor [C, H, W] with C = 1, 3 or 4; arrays and tensors are uint8, or
    floating-point numbers in 0..1, in sRGB. A file is an `.obic`: bytes, a path or an address, an
    open file, or what `obic.open` gives.
    """

    def __init__(
        self, device: str = "auto", backend: str | None = None, segmenter: str | Segmenter | None = None
    ):
        self._networks = Networks(
            device,
            backend or os.environ.get("OBIC_BACKEND", "auto"),
            segmenter=segmenter or os.environ.get("OBIC_SEGMENTER") or BUILTIN,
        )

    def encode(
        self,
        image: ImageLike | Analysed,
        *,
        quality: int | None = None,
        bpp: float | None = None,
        size: int | str | None = None,
        strict: bool = False,
        object_quality: int | None = None,
        background_quality: int | None = None,
        object_boost: int = OBJECT_BOOST,
        mask: ImageLike | Literal["auto", "none"] = "auto",
        layers: LayerKind | None = None,
        alpha: Alpha = "grid",
        background_color: str = "white",
        metadata: str = "none",
        verify: bool = False,
        effort: int = 0,
        boxes: Iterable[Numbers] = (),
        points: Iterable[Numbers] = (),
        frame: int | None = None,
    ) -> bytes:
        """The `.obic` file of an image. The arguments are the options of `obic encode`.

        quality: 1..100; or the best that fits in `bpp` bits a pixel, or in `size` bytes, such as
        3000 or "10k". Where nothing fits it is the smallest file there is, with a warning, or with
        `strict` an ObicError.
        mask: "auto" for the segmenter, "none", or an image of the same size: 0 is the background,
        every other value an object. metadata: what to keep of the image's, as "exif,icc". verify:
        decode the file made, and raise ObicError if that does not give the integers that were
        coded. effort: 0..3, how long to look for a better latent.
        boxes, points: where the objects are, if not everywhere: (x0, y0, x1, y1) and (x, y) of the
        upright picture, in pixels or in shares as "40%"; each becomes a layer with
        layers="instance".
        frame: which picture of an animation, or of a file with several pages, 0 being the first;
        None: the first of a file, the current one of an image of Pillow's.
        Raises UsageError where arguments do not fit together; FormatError or LimitError for a
        picture file.
        """
        rate = Rate(
            quality=quality,
            bpp=bpp,
            size=None if size is None else bytes_of(str(size)),
            strict=strict,
            object_quality=object_quality,
            background_quality=background_quality,
            object_boost=object_boost,
        )
        kinds = kinds_from_text(metadata)
        kind = mask_kind(mask)
        recipe = Recipe(
            rate=rate,
            mask=kind,
            layer_kind=layers,
            alpha=alpha,
            metadata=kinds,
            verify=verify,
            effort=effort,
            prompts=prompts(boxes, points),
        )
        if not isinstance(image, Analysed):
            image = Analysed(_picture(image, background_color, kinds, frame))
        given = _source(mask) if kind == "given" else None
        coded = encode_by(image.picture, recipe, self._networks, mask=given, features=image.features)
        for note in (*image.picture.notes, *coded.notes):
            log.info(note)
        if coded.warning:
            warnings.warn(coded.warning, stacklevel=2)
        return coded.data

    def decode(
        self, file: File, *, damaged: Literal["error", "skip"] = "error", look: Look = "faithful"
    ) -> Image.Image:
        """The whole picture: RGB, or RGBA where layers are missing. Its metadata are in `info`.

        look: "vivid" makes pictures of low rates sharp instead of smooth, with detail that is made
        up. Raises FormatError (with damaged="skip" only if no layer is whole) and UnsupportedError.
        """
        return self._decode([open_file(file)], damaged, look)[0]

    def extract(
        self, file: File, layer: str | int | Iterable[str | int], *, look: Look = "faithful"
    ) -> Image.Image:
        """A layer, or several together, by name or index: RGBA. Reads the header and those layers,
        nothing else.

        For a smaller `.obic` file with these layers, without a network:
        `obic.open(file).subset([layer])`. Raises UsageError if there is no such layer, else as
        `decode`.
        """
        container = open_file(file)
        self._networks.settle(container.header.n_pixels)
        wanted = [layer] if isinstance(layer, str | int) else layer
        indices = list(dict.fromkeys(index for each in wanted for index in container.layer_indices(each)))
        pixels = codec.extract_picture(container, indices, self._networks.codec(container.header.model, look=look))
        return _image(pixels, container, "error")

    def analyse(
        self,
        images: Sequence[ImageLike],
        *,
        background_color: str = "white",
        metadata: str = "none",
        frame: int | None = None,
    ) -> list[Analysed]:
        """Images through the analysis transform, those of one size together. `encode` takes what
        this gives.

        That saves time where an image is coded more than once, or on a GPU. The arguments are those
        of `encode`.
        """
        kinds = kinds_from_text(metadata)
        pictures = [_picture(image, background_color, kinds, frame) for image in images]
        self._networks.settle(sum(picture.rgb.size // 3 for picture in pictures))
        features = codec.analyse_pictures([picture.rgb for picture in pictures], self._networks.codec(encoder=True))
        return [Analysed(*pair) for pair in zip(pictures, features, strict=True)]

    def encode_all(
        self, images: Iterable[ImageLike], *, workers: int = 2, batch_size: int | None = None, **options: Any
    ) -> list[bytes]:
        """`encode` for many images.

        batch_size: so many go through the analysis transform together, as far as they have one
        size; None: 8 on a GPU and 1 elsewhere. workers: batches at a time: while one is in a
        network, another is entropy-coded.
        """
        reading = {name: options[name] for name in ("background_color", "metadata", "frame") if name in options}

        def work(batch: list[ImageLike]) -> list[bytes]:
            return [self.encode(image, **options) for image in self.analyse(batch, **reading)]

        return self._all(work, images, workers, batch_size)

    def decode_all(
        self,
        files: Iterable[File],
        *,
        workers: int = 2,
        batch_size: int | None = None,
        damaged: Literal["error", "skip"] = "error",
        look: Look = "faithful",
    ) -> list[Image.Image]:
        """`decode` for many files. workers, batch_size: as for `encode_all`, with the synthesis
        transform."""

        def work(batch: list[File]) -> list[Image.Image]:
            return self._decode([open_file(file) for file in batch], damaged, look)

        return self._all(work, files, workers, batch_size)

    def _decode(self, containers: list[Container], damaged: str, look: Look) -> list[Image.Image]:
        """Files of one model after the other, in their order."""
        images = []
        self._networks.settle(sum(container.header.n_pixels for container in containers))
        for fingerprint, group in groupby(containers, lambda container: container.header.model):
            some = list(group)
            decoded = codec.decode_pictures(some, self._networks.codec(fingerprint, look=look), damaged=damaged)
            images += [_image(one.pixels, container, damaged) for one, container in zip(decoded, some, strict=True)]
        return images

    def _all(
        self,
        work: Callable[[list[Item]], list[Result]],
        items: Iterable[Item],
        workers: int,
        batch_size: int | None,
    ) -> list[Result]:
        batches = _batches(items, batch_size or (BATCH_ON_GPU if self._networks.on_gpu else 1))
        with ThreadPoolExecutor(workers) as pool:
            return [result for results in pool.map(work, batches) for result in results]


@cache
def default_codec() -> Codec:
    """The codec that `obic.encode`, `obic.decode`, `obic.extract` and the Pillow plugin share."""
    return Codec()


def encode(image: ImageLike, **options: Any) -> bytes:
    """As `Codec.encode`, on the best device there is."""
    return default_codec().encode(image, **options)


def decode(file: File, **options: Any) -> Image.Image:
    """As `Codec.decode`, on the best device there is."""
    return default_codec().decode(file, **options)


def extract(file: File, layer: str | int | Iterable[str | int], **options: Any) -> Image.Image:
    """As `Codec.extract`, on the best device there is."""
    return default_codec().extract(file, layer, **options)


def open_file(file: File) -> Container:
    """An `.obic` file whose header is read and checked, and nothing else. As `obic.open`."""
    return file if isinstance(file, Container) else open_container(file)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    return iter(lambda: list(islice(rest, size)), [])


def _source(image: ImageLike) -> Source:
    """What `read_picture` and `read_mask` take."""
    return image if isinstance(image, (bytes, str, os.PathLike, Image.Image)) else _image_of(image)


def _picture(image: ImageLike, background_color: str, kinds: Collection[int], frame: int | None) -> Picture:
    """An image read, with its colours as they are if its profile is among the kinds of metadata to
    keep."""
    return read_picture(_source(image), background=background_color, keep_profile=PART_ICC in kinds, frame=frame)


def _image_of(image: np.ndarray | torch.Tensor) -> Image.Image:
    """An image of Pillow's from an array or a tensor. Raises UsageError if that is no picture."""
    if _is_tensor(image):
        image = image.detach().cpu()
        image = image.float() if image.is_floating_point() else image  # numpy has no bfloat16
        image = (image.permute(1, 2, 0) if image.ndim == 3 else image).numpy()
    array = np.asarray(image)
    stated = f"{array.dtype} {list(array.shape)}"
    if array.dtype == bool:
        array = array * np.uint8(255)
    if array.dtype.kind == "f":
        if not (array.size and 0 <= array.min() and array.max() <= 1):
            raise UsageError("a picture of floating-point numbers has values in 0..1")
        array = np.rint(array * 255).astype(np.uint8)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8 or 0 in array.shape or (array.ndim != 2 and array.shape[2:] not in ((3,), (4,))):
        raise UsageError(f"a picture is uint8, or floats in 0..1, of 1, 3 or 4 channels, not {stated}")
    return Image.fromarray(np.ascontiguousarray(array))


def _is_tensor(image: object) -> TypeGuard[torch.Tensor]:
    return "torch" in sys.modules and isinstance(image, sys.modules["torch"].Tensor)


def _image(pixels: np.ndarray, container: Container, damaged: str) -> Image.Image:
    """Pixels as an image with the file's metadata in `info`, under Pillow's names."""
    image = Image.fromarray(pixels)
    metadata, _ = metadata_of_file(container, damaged=damaged)
    image.info.update(pillow_info(metadata))
    return image
