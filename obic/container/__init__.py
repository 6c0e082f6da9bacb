"""Room 1. The `.obic` container: bytes in, bytes out, no numbers of the picture. Standard library
and msgpack alone.

`mux` writes a file, `open_container` reads one range by range, `merge` joins files of one picture.
Spec 3 and 9.
"""

from obic.container.demux import TRUE, Check, Container, open_container
from obic.container.header import PART_TITLES, Header, LayerEntry, Limits, PartEntry, default_names
from obic.container.merging import merge
from obic.container.mux import mux
from obic.container.remote import RemoteSource, files_below, is_address
from obic.container.source import ByteSource, BytesSource, FileSource, PipeSource, as_source, read_file

__all__ = [
    "PART_TITLES",
    "TRUE",
    "ByteSource",
    "BytesSource",
    "Check",
    "Container",
    "FileSource",
    "Header",
    "LayerEntry",
    "Limits",
    "PartEntry",
    "PipeSource",
    "RemoteSource",
    "as_source",
    "default_names",
    "files_below",
    "is_address",
    "merge",
    "mux",
    "open_container",
    "read_file",
]
