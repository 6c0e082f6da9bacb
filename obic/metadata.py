"""Room 3. ICC, EXIF and XMP: what a picture comes with, and which of it a file keeps (spec 3.5).

Metadata are a dictionary of bytes by kind of optional part (`constants.PART_*`). What is kept is
true of the pixels as they are coded, and holds no picture: thumbnails show what was cut away, or
masked, or looks otherwise now.
"""

from collections.abc import Collection, Mapping
from typing import Any

from obic.constants import PART_EXIF, PART_ICC, PART_XMP
from obic.container import PART_TITLES, TRUE, Container, Limits
from obic.errors import FormatError, LimitError, UsageError

METADATA_PARTS = (PART_EXIF, PART_ICC, PART_XMP)
EXIF_PREFIX = b"Exif\0\0"  # of the JPEG segment; the part begins behind it
DAMAGED_EXIF = "the EXIF data is damaged; any orientation it holds is ignored"
PILLOW_NAMES = {PART_ICC: "icc_profile", PART_EXIF: "exif", PART_XMP: "xmp"}

Metadata = dict[int, bytes]


def kinds_from_text(text: str) -> frozenset[int]:
    """The kinds that "none", "all" or a list such as "exif,icc" means. Raises UsageError for
    anything else."""
    if text == "none":
        return frozenset()
    titles = [PART_TITLES[kind] for kind in METADATA_PARTS] if text == "all" else text.split(",")
    by_title = {PART_TITLES[kind]: kind for kind in METADATA_PARTS}
    if unknown := [title for title in titles if title not in by_title]:
        raise UsageError(f"{unknown[0]!r} is no metadata; choose none, all, or some of {','.join(by_title)}")
    return frozenset(by_title[title] for title in titles)


def metadata_of_picture(
    info: Mapping[Any, Any], width: int, height: int, *, orientation: int, srgb: bool, notes: list[str]
) -> Metadata:
    """EXIF and XMP in Pillow's `info` of a picture, true of its pixels as they are coded
    (`true_exif`, `true_xmp`).

    What of them is damaged is left out with a note.
    """
    metadata = {}
    for kind, make_true in TRUE.items():
        data = info.get(PILLOW_NAMES[kind])
        data = data.encode() if isinstance(data, str) else data
        while isinstance(data, bytes) and data.startswith(EXIF_PREFIX):  # some writers put it there twice
            data = data.removeprefix(EXIF_PREFIX)
        if not isinstance(data, bytes) or not data:
            continue
        try:
            data, damaged = make_true(data, width, height, orientation=orientation, srgb=srgb)
            if data:
                metadata[kind] = data
            if damaged:
                notes.append("part of the EXIF data is damaged and left out")
        except FormatError as error:
            note = DAMAGED_EXIF if kind == PART_EXIF else f"{error}; it is left out"
            notes += [note] if note not in notes else []
    return metadata


def kept(metadata: Metadata, kinds: Collection[int]) -> Metadata:
    """The parts of those kinds. Raises LimitError if a reader would refuse one for its size."""
    chosen = {kind: data for kind, data in metadata.items() if kind in kinds}
    limit = Limits().max_part_bytes
    for kind, data in chosen.items():
        if len(data) > limit:
            raise LimitError(f"the {PART_TITLES[kind]} data has {len(data):,} bytes; the limit is {limit:,}")
    return chosen


def metadata_of_file(
    container: Container, kinds: Collection[int] = METADATA_PARTS, *, damaged: str = "error"
) -> tuple[Metadata, list[int]]:
    """The metadata of those kinds in an `.obic` file, true of its picture, and the kinds that
    cannot be read.

    The colour profile is always among them: without it nobody knows what the pixels mean. damaged:
    "error" raises FormatError where a checksum differs; "skip" leaves these out, too.
    """
    metadata, lost = {}, []
    for part in container.header.parts:
        if part.kind == PART_ICC or (part.kind in METADATA_PARTS and part.kind in kinds):
            try:
                data = container.true_part(part)
            except FormatError:
                if damaged == "error":
                    raise
                data = None
            if data is None:
                lost.append(part.kind)
            elif data:
                metadata[part.kind] = data
    return metadata, lost


def pillow_info(metadata: Metadata) -> dict[str, bytes]:
    """The metadata under the names that Pillow has for them in `info` and in `save`."""
    info = {PILLOW_NAMES[kind]: data for kind, data in metadata.items()}
    if PART_EXIF in metadata:
        info["exif"] = EXIF_PREFIX + metadata[PART_EXIF]
    return info


def describe(metadata: Metadata) -> str:
    """The titles and sizes of parts, for people: "exif (1,234 bytes), icc (560 bytes)"."""
    return ", ".join(f"{PART_TITLES[kind]} ({len(data):,} bytes)" for kind, data in sorted(metadata.items()))
