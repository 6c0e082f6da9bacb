"""Room 1. Reads a file's header, and of the rest no more than the sub-streams that are asked for
(spec 3 and 9)."""

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import IO

import msgpack

from obic.constants import PART_EXIF, PART_ICC, PART_XMP, SIGNATURE
from obic.container.exif import true_exif
from obic.container.header import (
    Header,
    Limits,
    PartEntry,
    checksum,
    checksum_size,
    file_order,
    length_prefix,
    listing_bytes,
    parse_header,
)
from obic.container.mux import assemble
from obic.container.source import ByteSource, as_source
from obic.container.xmp import true_xmp
from obic.errors import (
    ChecksumError,
    FormatError,
    HeaderError,
    LimitError,
    NotObicError,
    TruncatedError,
    UsageError,
)

DEFAULT_LIMITS = Limits()
TRUE = {PART_EXIF: true_exif, PART_XMP: true_xmp}


@dataclass(frozen=True)
class Check:
    """The state of one section of a file: `error` is None where it is whole. `index`: of a layer,
    else None."""

    section: str
    index: int | None
    error: FormatError | None


class Container:
    """An open `.obic` file: its header is read and checked, everything else waits until it is asked
    for.

    total_bytes == overhead_bytes + mask_bytes + optional_bytes + sum of layer_bytes(i), exactly.
    """

    def __init__(self, source: ByteSource, header: Header, prologue_bytes: int):
        self.header = header
        self._source = source
        self._layer_offsets: dict[int, int] = {}
        self._part_offsets: dict[int, int] = {}
        offset = prologue_bytes
        for index in file_order(header.n_layers):
            self._layer_offsets[index] = offset
            offset += _with_checksum(self.layer_bytes(index))
        for part in header.parts:
            if part.inline is None:
                self._part_offsets[part.kind] = offset
                offset += _with_checksum(part.length)
        self.total_bytes = offset

    @property
    def mask_bytes(self) -> int:
        """Bytes of the coded label map."""
        return len(self.header.mask or b"")

    @property
    def optional_bytes(self) -> int:
        """Bytes of the optional parts, with their list in the header and their checksums."""
        behind = (_with_checksum(part.length) for part in self.header.parts if part.inline is None)
        return listing_bytes(self.header) + sum(behind)

    @property
    def overhead_bytes(self) -> int:
        """Bytes that carry no picture: signature, header without the mask, lengths, checksums of
        the layers."""
        layers = sum(self.layer_bytes(index) for index in range(self.header.n_layers))
        return self.total_bytes - self.mask_bytes - self.optional_bytes - layers

    def layer_bytes(self, index: int) -> int:
        """Bytes of the sub-stream of layer `index`; 0 when it is empty or absent."""
        return self.header.layers[index].length or 0

    def layer_index(self, layer: str | int) -> int:
        """The index of a layer given by name or index ("object", "1", 1). Raises UsageError if
        there is none."""
        names = self.header.layer_names
        if layer in names:
            return names.index(layer)
        if isinstance(layer, str) and layer.isascii() and layer.isdecimal():
            layer = int(layer)
        if isinstance(layer, int) and 0 <= layer < len(names):
            return layer
        listed = ", ".join(f"{index} {name}" for index, name in enumerate(names))
        raise UsageError(f"there is no layer {layer!r}; the file has {listed}")

    def layer_indices(self, layer: str | int) -> list[int]:
        """The indices of the layers that a name stands for. Raises UsageError if there is none.

        That is the layer of this name or index (`layer_index`). If there is none, but layers
        "name-1", "name-2", ..., it is those of them that are in this file, or all where none of
        them is.
        """
        header = self.header
        if layer not in header.layer_names:
            parts = [name.rpartition("-") for name in header.layer_names]
            group = [index for index, (stem, _, number) in enumerate(parts) if stem == layer and number.isdecimal()]
            if group:
                return [index for index in group if header.layers[index].length is not None] or group
        return [self.layer_index(layer)]

    def read_layer(self, index: int) -> bytes:
        """The sub-stream of one layer, checked. Reads its range and its checksum, nothing else.

        Raises UsageError (unknown or absent layer), TruncatedError or ChecksumError.
        """
        index = self.layer_index(index)
        entry = self.header.layers[index]
        if entry.length is None:
            raise UsageError(f"layer {index} ({self.header.layer_names[index]}) is absent from this file")
        return self._read(self._layer_offsets[index], entry.length, f"layer {index}")

    def read_part(self, kind: int) -> bytes | None:
        """The bytes of an optional part, checked; None if the file has none of this kind.

        Raises TruncatedError or ChecksumError.
        """
        for part in self.header.parts:
            if part.kind == kind:
                return self._read_entry(part)
        return None

    def true_part(self, part: PartEntry) -> bytes | None:
        """The bytes of an optional part, without what in EXIF and XMP is untrue of the picture, or
        shows it (spec 3.5).

        Empty where nothing is left, None where EXIF or XMP cannot be read. Raises TruncatedError or
        ChecksumError.
        """
        data = self._read_entry(part)
        if part.kind not in TRUE:
            return data
        header = self.header
        srgb = all(other.kind != PART_ICC for other in header.parts)
        try:
            return TRUE[part.kind](data, header.width, header.height, srgb=srgb)[0]
        except FormatError:
            return None

    def read_true_parts(self, leave_out: Collection[int] = ()) -> dict[int, tuple[PartEntry, bytes]]:
        """What another file takes over of the optional parts: entry and bytes by kind, as
        `true_part` gives them.

        leave_out: kinds. Metadata that cannot be read are left out, too. Raises TruncatedError or
        ChecksumError.
        """
        parts = {}
        for part in self.header.parts:
            if part.kind not in leave_out and (data := self.true_part(part)):
                parts[part.kind] = replace(part, length=len(data)), data
        return parts

    def prefetch(self, layers: Iterable[int] | None = None) -> None:
        """Tells the source that these layers, by index, and the optional parts will be read; None:
        the whole file.

        A source whose requests are expensive fetches adjoining ranges with one; others do nothing.
        """
        fetch = getattr(self._source, "prefetch", None)
        if fetch is None:
            return
        wanted = range(self.header.n_layers) if layers is None else layers
        lengths = [(self._layer_offsets[index], self.layer_bytes(index)) for index in wanted]
        lengths += [(self._part_offsets[p.kind], p.length) for p in self.header.parts if p.inline is None]
        ranges = [(offset, _with_checksum(length)) for offset, length in lengths if length]
        fetch(ranges if layers is not None else [*ranges, (self.total_bytes, 1)])

    def check_end(self) -> None:
        """Raises FormatError if bytes follow the end of the file's last part."""
        if self._source.read_at(self.total_bytes, 1):
            raise FormatError("bytes follow the end of the picture", offset=self.total_bytes)

    def verify(self) -> list[Check]:
        """The state of every section, in file order: layers, optional parts, the end. Reads the
        whole file."""
        self.prefetch()
        checks = []
        for index in file_order(self.header.n_layers):
            if self.header.layers[index].length is not None:
                checks.append(_check(f"layer {index}", index, self.read_layer, index))
        for part in self.header.parts:
            checks.append(_check(f"optional part {part.kind}", None, self.read_part, part.kind))
        checks.append(_check("end", None, self.check_end))
        return checks

    def subset(self, layers: Iterable[str | int], leave_out: Collection[int] = ()) -> bytes:
        """A smaller valid file with the given layers alone (`layer_indices`), by byte copy (spec
        9).

        It keeps the label map, every quality and the optional parts (`read_true_parts`) but those
        of the kinds `leave_out`; the other layers become absent. Reads the ranges of those layers
        and of the optional parts. Raises as `read_layer` does.
        """
        wanted = {index for layer in layers for index in self.layer_indices(layer)}
        self.prefetch(wanted)
        streams = {index: self.read_layer(index) for index in file_order(self.header.n_layers) if index in wanted}
        entries = (entry if entry.index in wanted else replace(entry, length=None) for entry in self.header.layers)
        parts = self.read_true_parts(leave_out)
        header = replace(self.header, layers=tuple(entries), parts=tuple(entry for entry, _ in parts.values()))
        return assemble(header, streams, {kind: data for kind, (_, data) in parts.items()})

    def _read_entry(self, part: PartEntry) -> bytes:
        if part.inline is not None:
            return part.inline
        return self._read(self._part_offsets[part.kind], part.length, f"optional part {part.kind}")

    def _read(self, offset: int, length: int, section: str) -> bytes:
        if length == 0:
            return b""
        data = self._source.read_at(offset, _with_checksum(length))
        if len(data) < _with_checksum(length):
            raise TruncatedError("the file ends here", offset=offset + len(data), section=section)
        if checksum(data[:length]) != data[length:]:
            raise ChecksumError("the bytes are damaged: the checksum differs", offset=offset, section=section)
        return data[:length]


def open_container(
    origin: bytes | str | os.PathLike[str] | IO[bytes] | ByteSource,
    limits: Limits = DEFAULT_LIMITS,
) -> Container:
    """Reads and checks the header of a file, and nothing behind it; a file cut off later still
    opens.

    Raises NotObicError, TruncatedError, ChecksumError, HeaderError, UnsupportedError or LimitError.
    """
    source = as_source(origin)
    start = source.read_at(0, len(SIGNATURE) + 1)
    if start[: len(SIGNATURE)] != SIGNATURE[: len(start)]:
        raise NotObicError("not an .obic file: the signature is missing")
    if len(start) <= len(SIGNATURE):
        raise TruncatedError("the file ends within the signature", offset=len(start))
    more = length_prefix(start[-1])
    start += source.read_at(len(start), more) if more else b""
    if len(start) < len(SIGNATURE) + 1 + more:
        raise TruncatedError("the file ends within the header's length", offset=len(start))
    length = msgpack.unpackb(start[len(SIGNATURE) :])
    if msgpack.packb(length) != start[len(SIGNATURE) :]:
        raise HeaderError("the header's length is not in canonical form", offset=len(SIGNATURE))
    if length > limits.max_header_bytes:
        raise LimitError(f"the header has {length} bytes; the limit is {limits.max_header_bytes}")

    end = len(start) + length
    size = checksum_size(end)
    data = start + source.read_at(len(start), length + size)
    if len(data) < end + size:
        raise TruncatedError("the file ends within the header", offset=len(data), section="header")
    if checksum(data[:end]) != data[end:]:
        raise ChecksumError("the header is damaged: the checksum differs", section="header")
    return Container(source, parse_header(data[len(start) : end], limits), end + size)


def _with_checksum(length: int) -> int:
    return length + checksum_size(length)


def _check(section: str, index: int | None, read: Callable[..., object], *arguments: int) -> Check:
    try:
        read(*arguments)
    except FormatError as error:
        return Check(section, index, error)
    return Check(section, index, None)
