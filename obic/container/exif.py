"""Room 1. EXIF made to agree with the coded pixels, without the pictures that it may hold (spec
3.5).

Directories are copied entry by entry, so that types, text of any encoding and rational numbers stay
what they were. Source: TIFF 6.0, section 2; Exif 3.0 (CIPA DC-008-2023), 4.6.
"""

import re
import struct
from typing import Any

from obic.errors import FormatError

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 129: 1}  # bytes, by type
SHORT, LONG = 3, 4
WIDTH, LENGTH, ORIENTATION = 0x0100, 0x0101, 0x0112
EXIF, GPS, INTEROP = 0x8769, 0x8825, 0xA005  # directories
COLOR_SPACE, PIXEL_X, PIXEL_Y = 0xA001, 0xA002, 0xA003
SUBJECT_AREA, SUBJECT_LOCATION = 0x9214, 0xA214
INTEROP_INDEX, RELATED_WIDTH, RELATED_LENGTH = 0x0001, 0x1001, 0x1002
SWAPPED = ((0x011A, 0x011B), (0xA20E, 0xA20F))  # across and down: resolution, resolution in the focal plane

KEPT = {  # what the standard and Windows know, but for what says how a file is coded: all else is a maker's own
    0: {
        *(WIDTH, LENGTH, 0x010D, 0x010E, 0x010F, 0x0110, ORIENTATION, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B),
        *(0x013C, 0x4746, 0x4749, 0x8298, EXIF, GPS, *range(0x9C9B, 0x9CA0)),
    },
    EXIF: {
        *(0x829A, 0x829D, 0x8822, 0x8824, 0x8827, 0x8828, *range(0x8830, 0x8836), 0x9000, 0x9003, 0x9004),
        *(*range(0x9010, 0x9013), 0x9101, *range(0x9201, 0x920B), SUBJECT_AREA, 0x9286, *range(0x9290, 0x9293)),
        *(*range(0x9400, 0x9406), 0xA000, COLOR_SPACE, PIXEL_X, PIXEL_Y, 0xA004, INTEROP, 0xA20B, 0xA20C, 0xA20E),
        *(0xA20F, 0xA210, SUBJECT_LOCATION, 0xA215, 0xA217, *range(0xA300, 0xA303), *range(0xA401, 0xA40D), 0xA420),
        *(*range(0xA430, 0xA43D), *range(0xA460, 0xA463), 0xA500),
    },
    GPS: {*range(0x20)},
    INTEROP: {INTEROP_INDEX, 0x0002, 0x1000, RELATED_WIDTH, RELATED_LENGTH},
}
PICTURE = re.compile(rb"\xff\xd8\xff|\x89PNG|RIFF....WEBP|GIF8[79]a|ftyp(heic|avif|mif1)", re.DOTALL)

Directory = dict[int, Any]  # by tag: (type, count, bytes), or another directory


def true_exif(
    data: bytes, width: int, height: int, *, orientation: int = 1, srgb: bool = True
) -> tuple[bytes, bool]:
    """EXIF, from the TIFF header on, of an upright picture of width x height, and whether any of it
    was damaged.

    Kept are the tags of the standard: no thumbnail, no maker's note, no directory or value that
    could hold a picture. Sizes are those given, the orientation is 1. orientation: 1..8, what the
    pixels were turned by; srgb: whether they are in sRGB now. Nothing is left (b"") where there was
    nothing to keep. Raises FormatError if the first directory cannot be read.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        raise FormatError("the EXIF data does not begin with a TIFF header")
    reader = _Reader(data, order)
    first = reader.directory(struct.unpack_from(order + "I", data, 4)[0], 0)
    photo = first.get(EXIF, {})
    interop = photo.get(INTEROP, {})
    true = [(first, WIDTH, LONG, width), (first, LENGTH, LONG, height), (first, ORIENTATION, SHORT, 1)]
    true += [(photo, PIXEL_X, LONG, width), (photo, PIXEL_Y, LONG, height)]
    true += [(interop, RELATED_WIDTH, LONG, width), (interop, RELATED_LENGTH, LONG, height)]
    true += [(photo, COLOR_SPACE, SHORT, 1)] if srgb else []
    for directory, tag, kind, value in true:
        if tag in directory:
            directory[tag] = kind, 1, struct.pack(order + {SHORT: "H", LONG: "I"}[kind], value)
    if srgb and INTEROP_INDEX in interop:
        interop[INTEROP_INDEX] = 2, 4, b"R98\0"
    if orientation > 1:
        photo.pop(SUBJECT_AREA, None)
        photo.pop(SUBJECT_LOCATION, None)
    if orientation > 4:
        for directory, (across, down) in zip((first, photo), SWAPPED, strict=True):
            if across in directory and down in directory:
                directory[across], directory[down] = directory[down], directory[across]
    return (data[:4] + struct.pack(order + "I", 8) + _write(order, first, 8) if first else b""), reader.damaged


class _Reader:
    """Reads the directories of EXIF data. `damaged`: whether something could not be read and is
    left out."""

    def __init__(self, data: bytes, order: str):
        self.damaged = False
        self._data = data
        self._order = order
        self._left = len(data)  # bytes of values: they do not overlap

    def directory(self, start: int, group: int) -> Directory:
        """What is kept of the directory at `start`, which is of the kind `group`. Raises
        FormatError for the first."""
        try:
            (entries,) = struct.unpack_from(self._order + "H", self._data, start)
            places = range(start + 2, start + 2 + 12 * entries, 12)
            fields = [struct.unpack_from(self._order + "HHI4s", self._data, place) for place in places]
        except struct.error as error:
            if group == 0:
                raise FormatError("the EXIF data is cut off") from error
            self.damaged = True
            return {}
        directory: Directory = {}
        for tag, kind, count, field in fields:
            if tag not in KEPT[group] or tag in directory:
                continue
            (place,) = struct.unpack(self._order + "I", field)
            if tag in KEPT:
                if below := self.directory(place, tag):
                    directory[tag] = below
                continue
            size = SIZES.get(kind, 0) * count
            value = field[:size] if size <= 4 else self._data[place : place + min(size, self._left)]
            self._left -= len(value)
            if size == 0 or len(value) < size:
                self.damaged = True
            elif not PICTURE.search(value):
                directory[tag] = kind, count, value
        return directory


def _write(order: str, directory: Directory, start: int) -> bytes:
    """A directory that stands at `start`, and behind it its long values and the directories that it
    leads to."""
    fields, values = [struct.pack(order + "H", len(directory))], b""
    behind = start + 2 + 12 * len(directory) + 4
    for tag, entry in sorted(directory.items()):
        place = behind + len(values)
        if isinstance(entry, dict):
            kind, count, value = LONG, 1, struct.pack(order + "I", place)
            values += _write(order, entry, place)
        else:
            kind, count, value = entry
            if len(value) > 4:
                values += value + bytes(len(value) % 2)
                value = struct.pack(order + "I", place)
        fields.append(struct.pack(order + "HHI4s", tag, kind, count, value))
    return b"".join(fields) + bytes(4) + values
