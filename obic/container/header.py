"""Room 1. The header of a file: a frozen `Header`, and its one canonical form in bytes (spec 3.2 to
3.5).

On the wire a header is one flat msgpack array:

    [version, width, height, model, mask, quality, length, quality, length, ..., (parts)]

with a pair for each layer in file order, and the list of optional parts only where there are some.
"""

import binascii
import zlib
from dataclasses import dataclass
from typing import Any

import msgpack

from obic.constants import (
    FIRST_CRITICAL,
    LONG_STREAM,
    MAX_LAYERS,
    MAX_MODEL,
    MAX_NAME_BYTES,
    MAX_PART_KIND,
    MAX_QUALITY,
    MAX_SIDE,
    MAX_STREAM_BYTES,
    MIN_QUALITY,
    PART_EXIF,
    PART_ICC,
    PART_NAMES,
    PART_PIXEL_MASK,
    PART_XMP,
    SIGNATURE,
    VERSION,
)
from obic.errors import HeaderError, LimitError, UnsupportedError

FIXED_FIELDS = 5  # version, width, height, model, mask
PART_TITLES = {PART_NAMES: "names", PART_ICC: "icc", PART_EXIF: "exif", PART_XMP: "xmp", PART_PIXEL_MASK: "pixel-mask"}


@dataclass(frozen=True)
class Limits:
    """What a reader accepts before it allocates anything. A larger file gives `LimitError`."""

    max_pixels: int = 2**27
    max_header_bytes: int = 2**20
    max_layers: int = MAX_LAYERS
    max_part_bytes: int = 2**24  # of one optional part


@dataclass(frozen=True)
class LayerEntry:
    """One layer as the header lists it. `length` in bytes; None: the layer is absent from this
    file."""

    index: int
    quality: int
    length: int | None


@dataclass(frozen=True)
class PartEntry:
    """One optional part: its bytes stand in the header (`inline`), or behind the layers (`length`
    of them)."""

    kind: int
    length: int
    inline: bytes | None = None


@dataclass(frozen=True)
class Header:
    """What a file says about itself. `layers[i]` is the layer with index i, the label i of the
    label map.

    `mask`: the coded label map, None when there is one layer. `model`: the fingerprint of the
    weights.
    """

    width: int
    height: int
    model: int
    mask: bytes | None
    layers: tuple[LayerEntry, ...]
    parts: tuple[PartEntry, ...] = ()

    @property
    def n_pixels(self) -> int:
        """Pixels of the picture."""
        return self.width * self.height

    @property
    def n_layers(self) -> int:
        """Layers of the picture, those that are absent from the file too; 1..255."""
        return len(self.layers)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The name of each layer, by index: the file's own names or the default ones."""
        for part in self.parts:
            if part.kind == PART_NAMES and part.inline is not None:
                return tuple(part.inline.decode().split("\n"))
        return default_names(self.n_layers)


def default_names(n_layers: int) -> tuple[str, ...]:
    """The names of layers 0..n-1 in a file that stores none (spec 3.5)."""
    if n_layers == 1:
        return ("picture",)
    if n_layers == 2:
        return ("background", "object")
    return ("background", *(f"object-{index}" for index in range(1, n_layers)))


def file_order(n_layers: int) -> list[int]:
    """Layer indices in the order of their sub-streams: objects first, the background last (spec
    3.3)."""
    return [*range(1, n_layers), 0]


def checksum(data: bytes) -> bytes:
    """The checksum that follows `data` in a file, big-endian; nothing follows nothing (spec
    3.4)."""
    size = checksum_size(len(data))
    value = zlib.crc32(data) if size == 4 else binascii.crc_hqx(data, 0xFFFF)
    return value.to_bytes(4, "big")[4 - size :]


def checksum_size(length: int) -> int:
    """Bytes of the checksum behind `length` bytes."""
    if length == 0:
        return 0
    return 2 if length < LONG_STREAM else 4


def header_to_bytes(header: Header) -> bytes:
    """The header's canonical bytes, without signature, length and checksum. Raises HeaderError if
    it is not valid."""
    fields: list[Any] = [VERSION, header.width, header.height, header.model, header.mask]
    for index in file_order(header.n_layers):
        fields += [header.layers[index].quality, header.layers[index].length]
    if header.parts:
        fields.append(_listing(header.parts))
    _header_from_fields(fields)
    return msgpack.packb(fields)


def listing_bytes(header: Header) -> int:
    """How many bytes of the header list its optional parts, those that stand in it included."""
    return len(msgpack.packb(_listing(header.parts))) if header.parts else 0


def prologue(header: Header) -> bytes:
    """Everything before the first sub-stream: signature, header length, header, checksum (spec
    3.1)."""
    body = header_to_bytes(header)
    covered = SIGNATURE + msgpack.packb(len(body)) + body
    return covered + checksum(covered)


def parse_header(data: bytes, limits: Limits) -> Header:
    """The header in `data` (its bytes alone), checked against every rule of spec 3.2 and 3.5.

    Raises HeaderError, UnsupportedError (version, critical part) or LimitError.
    """
    try:
        fields = msgpack.unpackb(data)
        canonical = msgpack.packb(fields) == data
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise HeaderError("the header is not msgpack", section="header") from error
    if not canonical:
        raise HeaderError("the header is not in canonical form", section="header")
    if type(fields) is not list or not fields or type(fields[0]) is not int:
        raise HeaderError("the header is not an array that begins with a version", section="header")
    if fields[0] != VERSION:
        raise UnsupportedError(f"format version {fields[0]}; this build reads version {VERSION}: use a newer obic")
    header = _header_from_fields(fields)
    if header.width * header.height > limits.max_pixels:
        raise LimitError(over_pixels(header.width, header.height, limits.max_pixels))
    if header.n_layers > limits.max_layers:
        raise LimitError(f"{header.n_layers} layers; the limit is {limits.max_layers}")
    for part in header.parts:
        if part.length > limits.max_part_bytes:
            raise LimitError(f"optional part {part.kind} has {part.length} bytes; the limit is {limits.max_part_bytes}")
    return header


def over_pixels(width: int, height: int, limit: int) -> str:
    """The message of a LimitError."""
    return f"{width}x{height} is more than {limit:,} pixels; --max-pixels, or max_pixels in Python, raises the limit"


def _header_from_fields(fields: list[Any]) -> Header:
    if len(fields) < FIXED_FIELDS + 2:
        raise HeaderError("the header lists no layer", section="header")
    _, width, height, model, mask = fields[:FIXED_FIELDS]
    _int(width, 1, MAX_SIDE, "width")
    _int(height, 1, MAX_SIDE, "height")
    _int(model, 0, MAX_MODEL, "model")

    pairs, has_parts = divmod(len(fields) - FIXED_FIELDS, 2)
    _int(pairs, 1, MAX_LAYERS, "number of layers")
    entries = {}
    for position, index in enumerate(file_order(pairs)):
        quality, length = fields[FIXED_FIELDS + 2 * position :][:2]
        _int(quality, MIN_QUALITY, MAX_QUALITY, f"quality of layer {index}")
        if length is not None:
            _int(length, 0, MAX_STREAM_BYTES, f"length of layer {index}")
        entries[index] = LayerEntry(index, quality, length)
    if (mask is None) != (pairs == 1) or type(mask) not in (bytes, type(None)):
        raise HeaderError("a label map must be there exactly when there are two or more layers", section="header")

    layers = tuple(entries[index] for index in range(pairs))
    parts = _parts_from_listing(fields[-1], pairs) if has_parts else ()
    return Header(width, height, model, mask, layers, parts)


def _listing(parts: tuple[PartEntry, ...]) -> list[int | bytes]:
    return [item for part in parts for item in (part.kind, part.length if part.inline is None else part.inline)]


def _parts_from_listing(listing: list[Any], n_layers: int) -> tuple[PartEntry, ...]:
    if type(listing) is not list or not listing or len(listing) % 2:
        raise HeaderError("the list of optional parts is not an array of pairs", section="header")
    parts: list[PartEntry] = []
    for kind, place in zip(listing[::2], listing[1::2], strict=True):
        _int(kind, 1, MAX_PART_KIND, "kind of an optional part")
        if parts and kind <= parts[-1].kind:
            raise HeaderError("optional parts are not in ascending order", section="header")
        inline = place if type(place) is bytes else None
        if inline is None:
            _int(place, 1, MAX_STREAM_BYTES, f"length of optional part {kind}")
        if kind == PART_NAMES:
            _check_names(inline, n_layers)
        elif kind <= PART_PIXEL_MASK and inline is not None:
            raise HeaderError(f"optional part {kind} must stand behind the layers", section="header")
        elif kind >= FIRST_CRITICAL:
            raise UnsupportedError(f"critical part {kind} is unknown to this build: use a newer obic")
        parts.append(PartEntry(kind, place if inline is None else len(inline), inline))
    return tuple(parts)


def can_name_layer(name: str) -> bool:
    """Whether a layer can have that name (spec 3.5)."""
    return 1 <= len(name.encode()) <= MAX_NAME_BYTES and not name.isdecimal() and name.isprintable()


def _check_names(data: bytes | None, n_layers: int) -> None:
    try:
        if data is None:
            raise ValueError("they stand behind the layers")
        names = data.decode("utf-8").split("\n")
    except ValueError as error:
        raise HeaderError("the layer names are not text in the header", section="header") from error
    if len(names) != n_layers or len(set(names)) != n_layers:
        raise HeaderError("there must be one name for each layer, all different", section="header")
    for name in names:
        if not can_name_layer(name):
            raise HeaderError(f"{name!r} cannot name a layer", section="header")


def _int(value: object, lowest: int, highest: int, what: str) -> None:
    if type(value) is not int or not lowest <= value <= highest:
        raise HeaderError(f"{what} is {value!r}, not an integer in {lowest}..{highest}", section="header")


def length_prefix(first: int) -> int:
    """How many bytes follow the first byte of the header's length, a canonical msgpack integer
    (spec 3.1)."""
    if first < 0x80:
        return 0
    try:
        return {0xCC: 1, 0xCD: 2, 0xCE: 4}[first]
    except KeyError:
        raise HeaderError("the header's length is not valid", offset=len(SIGNATURE)) from None
