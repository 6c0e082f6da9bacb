"""Room 3. Pictures and masks of any kind in, RGB and label maps out, and pictures written. Pillow
is used here only."""

import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageColor, ImageOps, PngImagePlugin, UnidentifiedImageError

from obic.constants import PART_EXIF, PART_ICC, PART_XMP
from obic.container import Limits, read_file
from obic.container.header import over_pixels
from obic.errors import FormatError, LimitError, UsageError
from obic.masks import VOID
from obic.metadata import DAMAGED_EXIF, METADATA_PARTS, Metadata, metadata_of_picture, pillow_info

MAX_PIXELS = Limits().max_pixels  # of a picture read: 134 million, 400 MB as RGB
VOC_CLASSES = range(1, 21)
ALPHA_FORMATS = {"AVIF", "DDS", "GIF", "ICNS", "ICO", "JPEG2000", "PNG", "QOI", "SGI", "TGA", "TIFF", "WEBP"}
ICONS = ("ICNS", "ICO")  # Pillow scales what is not of a size that they have
SAVE_OPTIONS: dict[str, dict[str, Any]] = {  # a decoded picture should not be spoilt by the format it is kept in
    "AVIF": {"quality": 95},
    "JPEG": {"quality": 95, "subsampling": 0},
    "PNG": {"compress_type": 3},  # runs alone: no other repeats are in such pictures; twice as fast as level 4
    "WEBP": {"lossless": True, "exact": True},
}

SIGNATURES = {  # of what Pillow does not read, or not always, as patterns
    "HEIC": rb".{4}ftyp(hei|hev|mif1|msf1)",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "this kind of TIFF": rb"II[*+]\0|MM\0[*+]",
    "SVG": rb"\s*<(svg|(\?xml|!--|!DOCTYPE svg).{0,999}?<svg)",
    "PDF": rb"%PDF",
    "a film": rb".{4}ftyp|\x1aE\xdf\xa3",
}
PLUGINS = {"HEIC": ("pillow_heif.HeifImagePlugin", "pillow-heif"), "JPEG XL": ("pillow_jxl", "pillow-jxl-plugin")}
TURNS = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
RGB_MODES = ("RGB", "RGBA", "RGBX", "P", "PA")  # of pictures whose pixels a profile for RGB speaks of
FORMAT_METADATA = {
    "AVIF": (PART_ICC, PART_EXIF, PART_XMP),
    "JPEG": (PART_ICC, PART_EXIF, PART_XMP),
    "PNG": (PART_ICC, PART_EXIF, PART_XMP),
    "TIFF": (PART_ICC,),
    "WEBP": (PART_ICC, PART_EXIF, PART_XMP),
}

JPEG_SEGMENT = 65_500  # bytes that a segment has for metadata, besides their names

Source = bytes | str | os.PathLike[str] | Image.Image  # of a picture: a file (path, address or bytes) or Pillow's

_hearing = Lock()
logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it has to say of a file, our errors say


class Picture(NamedTuple):
    """A picture as the codec takes it, what had to be done to get there, and what it brings
    along."""

    rgb: np.ndarray  # uint8 [H, W, 3], sRGB, upright
    notes: tuple[str, ...]  # one line for each loss a viewer could see
    metadata: Metadata  # EXIF, XMP, and a colour profile if `rgb` is in it instead of sRGB


def read_picture(
    source: Source,
    *,
    background: str = "white",
    max_pixels: int = MAX_PIXELS,
    keep_profile: bool = False,
    frame: int | None = None,
) -> Picture:
    """Any picture Pillow reads, as upright 8-bit sRGB.

    Transparent pictures are composed on `background`, a CSS colour. EXIF orientation is applied; a
    colour profile is converted to sRGB, unless it is one of RGB pictures and `keep_profile` asks
    for the pixels as they are; 16-bit samples are scaled to 8 bits. frame: which picture of a file
    with several (an animation, pages), 0 being the first; None: the first, with a note that there
    are others, or the current one of an image of Pillow's.

    Raises FormatError if the picture is damaged or of no known kind, LimitError above `max_pixels`
    (height x width), UsageError if `background` is no colour or there is no such frame, and OSError
    as the file does.
    """
    notes: list[str] = []
    image = _load(source, max_pixels, notes, frame)
    try:
        backdrop = ImageColor.getrgb(background)[:3]
    except ValueError as error:
        raise UsageError(f"unknown colour {background!r}") from error
    info, profile = image.info, image.info.get("icc_profile")
    keeps = keep_profile and profile and image.mode in RGB_MODES and profile[16:20] == b"RGB "
    kept_profile = profile if keeps else None
    srgb = kept_profile is None
    image, orientation = _upright(image, notes)
    metadata = metadata_of_picture(info, *image.size, orientation=orientation, srgb=srgb, notes=notes)
    image = _to_eight_bits(image, notes)
    image = _opaque(image, profile if srgb else None, backdrop, notes)
    if kept_profile is not None:
        metadata[PART_ICC] = kept_profile
    return Picture(np.asarray(image), tuple(notes), metadata)


def write_picture(
    pixels: np.ndarray,
    format: str = "PNG",
    metadata: Metadata | None = None,
    kinds: Collection[int] = METADATA_PARTS,
) -> bytes:
    """The picture uint8 [H, W, 3] (RGB) or [H, W, 4] (RGBA) as a file of a format named as Pillow
    does.

    Lossless where the format allows it, high quality otherwise. Raises UsageError if the format
    cannot hold it: transparency is never dropped silently. Colour that nobody can see (alpha 0) is
    written as black: it costs bytes. Metadata that are not of the `kinds`, or that the format
    cannot hold (`held`), are left out; pixels whose colour profile is among them become sRGB.
    """
    metadata = metadata or {}
    stays = {kind: data for kind, data in held(metadata, format).items() if kind in kinds}
    if pixels.shape[2] == 4:
        check_alpha(format)
        pixels = np.where(pixels[..., 3:] > 0, pixels, np.uint8(0))
    if PART_ICC in metadata and PART_ICC not in stays:
        pixels = in_srgb(pixels, metadata[PART_ICC])
    return _save(Image.fromarray(pixels), format, stays)


def held(metadata: Metadata, format: str) -> Metadata:
    """Those of the metadata that a format, named as Pillow does, holds in our hands."""
    kinds = FORMAT_METADATA.get(format, ())
    most = {PART_EXIF: JPEG_SEGMENT, PART_XMP: JPEG_SEGMENT} if format == "JPEG" else {}  # a profile may have several
    return {kind: data for kind, data in metadata.items() if kind in kinds and len(data) <= most.get(kind, len(data))}


def in_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """The pixels uint8 [H, W, 3 or 4], which are in an ICC profile, in sRGB; alpha stays as it
    is."""
    converted = np.asarray(_through_profile(Image.fromarray(pixels[..., :3]), profile, []))
    return np.concatenate([converted, pixels[..., 3:]], axis=2)


def compose(rgba: np.ndarray, backdrop: np.ndarray) -> np.ndarray:
    """The picture uint8 [H, W, 4] over another one, uint8 [any, any, 3], as uint8 [H, W, 3].

    The backdrop is scaled, its proportions kept, until it covers H x W; what juts out is cut off
    evenly on both sides.
    """
    height, width = rgba.shape[:2]
    below = ImageOps.fit(Image.fromarray(backdrop), (width, height), Image.Resampling.LANCZOS)
    below.paste(Image.fromarray(rgba[..., :3]), mask=Image.fromarray(rgba[..., 3]))
    return np.asarray(below)


def check_alpha(format: str) -> None:
    """Raises UsageError if a format, named as Pillow does, cannot hold transparency."""
    if format not in ALPHA_FORMATS:
        raise UsageError(f"{format} cannot hold transparency; choose PNG, WEBP or TIFF")


def write_mask(labels: np.ndarray) -> bytes:
    """The label map uint8 [H, W] as a PNG that `read_mask` takes back: 0 where it is 0, 255 on
    every object."""
    return _save(Image.fromarray(np.where(labels > 0, np.uint8(255), np.uint8(0))), "PNG", {})


def read_mask(source: Source, height: int, width: int) -> tuple[np.ndarray, int]:
    """A mask file as labels uint8 [height, width] in 0..N-1, and N.

    0 is the background and every other value a layer, numbered in ascending order. 255 is the
    object when it stands alone, and void (background) beside the VOC classes 1 to 20. Pictures with
    a palette give their palette indices.

    Raises UsageError if the mask is of another size or in colour, FormatError if it is damaged.
    """
    image, _ = _upright(_load(source, max(MAX_PIXELS, height * width), []), [])
    if image.size != (width, height):
        raise UsageError(f"the mask is {image.width}x{image.height} but the picture is {width}x{height}")
    values = _grey_values(image)
    if np.isin(values, VOC_CLASSES).any():
        values = np.where(values == VOID, 0, values)
    present = np.union1d(values, [0])  # 255 at most: with all of 1 to 20 there, 255 is void
    return np.searchsorted(present, values).astype(np.uint8), len(present)


def picture_format(name: str) -> str:
    """Pillow's name of the format that a suffix (".jpg") or a name ("jpg", "JPEG") means, if Pillow
    writes it.

    Raises UsageError otherwise.
    """
    suffix = "." + name.lower().lstrip(".")
    Image.preinit()  # PNG, JPEG and a few others; all of them take longer to import than a small picture to decode
    if suffix not in Image.EXTENSION:
        Image.init()
    format = Image.EXTENSION.get(suffix, name.upper())
    if format not in Image.SAVE or format == "OBIC":  # our plugin's: not what a decoded picture is kept in
        raise UsageError(f"unknown picture format {name!r}; choose png, webp, tiff, jpg ...")
    return format


def _load(source: Source, max_pixels: int, notes: list[str], frame: int | None = None) -> Image.Image:
    """A frame, decoded; an image of Pillow's as it is, if none is asked for. Raises as
    `read_picture` does."""
    if isinstance(source, Image.Image):
        return source if frame is None else _frame_of(source, frame, max_pixels)
    data = source if isinstance(source, bytes) else read_file(source)
    if Image.MAX_IMAGE_PIXELS is not None:  # Pillow's own limit, half of what it refuses: it must not be in the way
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels // 2 + 1)
    # Programs keep how they made a picture in its text, and large profiles are there too.
    PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, Limits().max_part_bytes)
    try:
        with _heard(notes):
            image = _open(data)
            _check_pixels(image, max_pixels)
            frames, first = getattr(image, "n_frames", 1), image.tell()
            if frame not in (None, first):
                _seek(image, frame, max_pixels)
            image.load()
    except (FormatError, LimitError, UsageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise LimitError(str(error)) from error
    except Exception as error:  # Pillow's readers raise a dozen kinds over damaged files, SyntaxError among them
        raise FormatError(f"damaged picture: {error}") from error
    if frames > 1 and frame is None:
        which = "the first" if first == 0 else f"number {first}"
        notes.append(f"of {frames} frames {which} is taken; --frame 0 to {frames - 1} says which")
    return image


def _open(data: bytes) -> Image.Image:
    """Pillow's image of a file, also of HEIC and JPEG XL where a plugin is installed. Raises
    FormatError for others."""
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        kind = next((kind for kind, start in SIGNATURES.items() if re.match(start, data, re.DOTALL)), None)
        plugin, package = PLUGINS.get(kind or "", ("", ""))
        installed = plugin and find_spec(plugin.partition(".")[0])
        if installed and plugin not in sys.modules:
            import_module(plugin)
            return _open(data)
        if kind is None:
            raise FormatError("not a picture of a known kind" if data else "empty: not a picture") from error
        if installed:
            raise FormatError(f"damaged picture: {package} cannot read this {kind}") from error
        way = f"pip install {package}" if package else "convert it to PNG first"
        raise FormatError(f"{kind} is not read here; {way}") from error


def _frame_of(image: Image.Image, frame: int, max_pixels: int) -> Image.Image:
    """Another frame of an image of Pillow's, which stays at its own."""
    current = image.tell()
    try:
        _seek(image, frame, max_pixels)
        return image.copy()
    finally:
        image.seek(current)


def _seek(image: Image.Image, frame: int, max_pixels: int) -> None:
    """Raises UsageError if there is no such frame, LimitError if it is too large."""
    try:
        image.seek(frame)
    except EOFError as error:
        frames = getattr(image, "n_frames", 1)
        raise UsageError(f"there is no frame {frame}: the first of {frames} is 0") from error
    _check_pixels(image, max_pixels)


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise LimitError(over_pixels(image.width, image.height, max_pixels))


@contextmanager
def _heard(notes: list[str]) -> Iterator[None]:
    """Pillow's warnings become notes, each once; those of others are passed on.

    Python has one state of warnings for all threads, so one listens at a time.
    """
    with _hearing, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if os.path.dirname(warning.filename) != os.path.dirname(Image.__file__):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif warning.category is not Image.DecompressionBombWarning:  # max_pixels stands for it
            note = f"reading it, Pillow warns: {' '.join(str(warning.message).split())}"
            notes += [note] if note not in notes else []


def _upright(image: Image.Image, notes: list[str]) -> tuple[Image.Image, int]:
    """The picture turned as its EXIF orientation says, and that orientation, 1..8."""
    try:
        with _heard(notes):
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF raises SyntaxError, struct.error and others; the pixels are fine
        notes.append(DAMAGED_EXIF)
        return image, 1
    if orientation not in TURNS:
        return image, 1
    return image.transpose(TURNS[orientation]), orientation  # ImageOps would write all of the EXIF anew, and may fail


def _to_eight_bits(image: Image.Image, notes: list[str]) -> Image.Image:
    """Grey of 16 bits scaled to 8; other modes unchanged (Pillow has already cut 16-bit colour to
    8)."""
    if image.mode == "F":
        raise FormatError("floating-point samples have no agreed range; convert the picture to 8 or 16 bits first")
    if not image.mode.startswith("I"):
        return image
    samples = np.asarray(image).astype(np.int64)
    if samples.min() < 0 or samples.max() > 65535:
        raise FormatError("samples beyond 16 bits have no agreed range; convert the picture to 8 or 16 bits first")
    notes.append("16-bit samples are scaled to 8 bits")
    scaled = Image.fromarray(((samples + 128) // 257).astype(np.uint8))
    if isinstance(clear := image.info.get("transparency"), int):
        scaled.putalpha(Image.fromarray(np.where(samples == clear, np.uint8(0), np.uint8(255))))
    return scaled


def _opaque(
    image: Image.Image, profile: bytes | None, backdrop: tuple[int, ...], notes: list[str]
) -> Image.Image:
    """RGB in sRGB, through the colour profile where there is one, composed on `backdrop` where it
    is transparent."""
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    if image.mode in ("1", "P", "RGBA"):
        image = image.convert("RGB")
    if profile:
        image = _through_profile(image, profile, notes)
    image = image.convert("RGB")
    if alpha is None or alpha.getextrema()[0] == 255:
        return image
    notes.append("transparency is composed on #{:02x}{:02x}{:02x}".format(*backdrop))
    return Image.composite(image, Image.new("RGB", image.size, backdrop), alpha)


def _through_profile(image: Image.Image, data: bytes, notes: list[str]) -> Image.Image:
    """The picture converted from the ICC profile `data` to sRGB; as it is, with a note, where that
    is unusable."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        name = ImageCms.getProfileDescription(profile).strip()
        if "srgb" in name.lower():
            return image
        if data[16:20] == b"RGB " and image.mode == "L":
            image = image.convert("RGB")
        elif data[16:20] == b"GRAY" and image.mode == "RGB" and _is_grey(image):
            image = image.convert("L")
        converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
        assert converted is not None  # only what is converted in place gives nothing
    except (ImageCms.PyCMSError, OSError):
        notes.append("the colour profile is damaged or of another kind; colours are read as sRGB")
        return image
    notes.append(f"colours are converted from {name or 'an unnamed profile'} to sRGB")
    return converted


def _is_grey(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels == pixels[..., :1]).all())


def _grey_values(image: Image.Image) -> np.ndarray:
    """The one number of each pixel, int64 [H, W]: palette index or grey. Raises UsageError if the
    mask is in colour."""
    if image.mode == "1":
        image = image.convert("L")
    values = np.asarray(image).astype(np.int64)
    if values.ndim == 3:
        colours = values[..., : -1 if image.mode in ("LA", "RGBA") else None]
        if image.mode not in ("LA", "RGB", "RGBA") or (colours != colours[..., :1]).any():
            raise UsageError("the mask is in colour; save it as grey or with a palette")
        values = colours[..., 0]
    if values.min() < 0 or values.max() > 255:
        raise UsageError("the values of a mask are 0 to 255")
    return values


def _save(image: Image.Image, format: str, metadata: Metadata) -> bytes:
    buffer = io.BytesIO()
    options: dict[str, Any] = {**SAVE_OPTIONS.get(format, {}), **pillow_info(metadata)}
    if PART_XMP in metadata and format == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode("utf-8", "replace"))
    try:
        image.save(buffer, format=format, **options)
    except (OSError, ValueError) as error:  # a mode or a size that the format lacks
        raise UsageError(f"{format} cannot hold this picture: {error}") from error
    if format in ICONS and Image.open(buffer).size != image.size:
        raise UsageError(f"{format} has sizes of its own, and {image.width}x{image.height} is none; choose PNG")
    return buffer.getvalue()
