"""Room 1. The `.obic` container: bytes in, bytes out, no numbers of the picture. Standard library and msgpack alone.

`mux` writes a file, `open_container` reads one range by range. Spec 3.
"""

from obic.container.demux import Check, Container, open_container
from obic.container.header import Header, LayerEntry, Limits, PartEntry, default_names
from obic.container.mux import mux
from obic.container.source import ByteSource, BytesSource, FileSource, PipeSource

__all__ = [
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
    "default_names",
    "mux",
    "open_container",
]
