"""Room 3. ICC, EXIF and XMP: what a picture brings, and what of it a file keeps (spec 3.5).

Metadata are a dictionary of bytes by kind of optional part (`constants.PART_*`). They are kept as they are, but for the
orientation: it is applied to the pixels, so what is kept says 1, upright.
"""

import re
import struct
from collections.abc import Collection, Mapping

from obic.constants import PART_EXIF, PART_ICC, PART_XMP
from obic.container import PART_TITLES, Container, Limits
from obic.errors import FormatError, LimitError, UsageError

METADATA_PARTS = (PART_EXIF, PART_ICC, PART_XMP)
EXIF_PREFIX = b"Exif\0\0"  # of the JPEG segment; the part begins behind it
ORIENTATION = 0x0112  # EXIF 2.3, 4.6.4; its type is SHORT
SHORT = 3
DAMAGED_EXIF = "the EXIF data is damaged; any orientation it holds is ignored"

Metadata = dict[int, bytes]


def kinds_from_text(text: str) -> frozenset[int]:
    """The kinds that "none", "all" or a list such as "exif,icc" means. Raises UsageError for anything else."""
    if text == "none":
        return frozenset()
    titles = [PART_TITLES[kind] for kind in METADATA_PARTS] if text == "all" else text.split(",")
    by_title = {PART_TITLES[kind]: kind for kind in METADATA_PARTS}
    if unknown := [title for title in titles if title not in by_title]:
        raise UsageError(f"{unknown[0]!r} is no metadata; choose none, all, or some of {','.join(by_title)}")
    return frozenset(by_title[title] for title in titles)


def metadata_of_picture(info: Mapping, notes: list[str]) -> Metadata:
    """What Pillow's `info` of a picture holds, upright. Damaged EXIF is left out with a note."""
    found = {PART_ICC: info.get("icc_profile"), PART_XMP: info.get("xmp"), PART_EXIF: info.get("exif")}
    metadata = {kind: bytes(data) for kind, data in found.items() if isinstance(data, bytes) and data}
    if PART_XMP in metadata:
        metadata[PART_XMP] = re.sub(rb'(tiff:Orientation(?:="|>))[2-8]', rb"\g<1>1", metadata[PART_XMP])
    if PART_EXIF in metadata:
        try:
            metadata[PART_EXIF] = upright_exif(metadata[PART_EXIF].removeprefix(EXIF_PREFIX))
        except FormatError:
            del metadata[PART_EXIF]
            notes.append(DAMAGED_EXIF)
    return metadata


def upright_exif(data: bytes) -> bytes:
    """EXIF, from the TIFF header on, whose orientation is 1 if it has any. Every other byte stays.

    Raises FormatError if its first directory cannot be read.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        raise FormatError("the EXIF data does not begin with a TIFF header")
    try:
        (directory,) = struct.unpack_from(order + "I", data, 4)
        (entries,) = struct.unpack_from(order + "H", data, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(order + "HHI", data, entry)
            if (tag, kind, count) == (ORIENTATION, SHORT, 1):
                upright = bytearray(data)
                struct.pack_into(order + "H", upright, entry + 8, 1)
                return bytes(upright)
    except struct.error as error:
        raise FormatError("the EXIF data is cut off") from error
    return data


def kept(metadata: Metadata, kinds: Collection[int]) -> Metadata:
    """The parts of those kinds. Raises LimitError if a reader would refuse one for its size."""
    chosen = {kind: data for kind, data in metadata.items() if kind in kinds}
    limit = Limits().max_part_bytes
    for kind, data in chosen.items():
        if len(data) > limit:
            raise LimitError(f"the {PART_TITLES[kind]} data has {len(data):,} bytes; the limit is {limit:,}")
    return chosen


def metadata_of_file(container: Container, *, damaged: str = "error") -> tuple[Metadata, list[int]]:
    """The metadata of an `.obic` file, and the kinds that are damaged.

    damaged: "error" raises FormatError instead; "skip" leaves them out.
    """
    metadata, lost = {}, []
    for part in container.header.parts:
        if part.kind in METADATA_PARTS:
            try:
                metadata[part.kind] = container.read_part(part.kind)
            except FormatError:
                if damaged == "error":
                    raise
                lost.append(part.kind)
    return metadata, lost


def describe(metadata: Metadata) -> str:
    """The titles and sizes of parts, for people: "exif (1,234 bytes), icc (560 bytes)"."""
    return ", ".join(f"{PART_TITLES[kind]} ({len(data):,} bytes)" for kind, data in sorted(metadata.items()))
