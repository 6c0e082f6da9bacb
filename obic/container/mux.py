"""Room 1. Writes a file from its sub-streams (spec 3)."""

from collections.abc import Mapping, Sequence

from obic.constants import PART_NAMES
from obic.container.header import Header, LayerEntry, PartEntry, checksum, default_names, file_order, prologue
from obic.errors import HeaderError, UsageError


def mux(
    *,
    width: int,
    height: int,
    model: int,
    mask: bytes | None,
    qualities: Sequence[int],
    streams: Mapping[int, bytes],
    names: Sequence[str] | None = None,
    parts: Mapping[int, bytes] | None = None,
) -> bytes:
    """The bytes of one `.obic` file.

    `qualities`: one of 1..100 for each layer, by index. `streams`: the sub-stream of each layer by
    index; a layer that is not in it is marked absent. `mask`: the coded label map, None for one
    layer. `names`: by index, stored only where they differ from the default ones. `parts`: optional
    parts by kind (`constants.PART_*`).
    Raises UsageError where the format does not allow one of them.
    """
    if extra := set(streams) - set(range(len(qualities))):
        raise UsageError(f"layer {min(extra)} has a sub-stream but no quality")
    layers = tuple(
        LayerEntry(index, quality, len(streams[index]) if index in streams else None)
        for index, quality in enumerate(qualities)
    )
    parts = dict(parts or {})
    entries = [PartEntry(kind, len(data)) for kind, data in parts.items()]
    if names is not None and tuple(names) != default_names(len(qualities)):
        text = "\n".join(names).encode()
        entries.append(PartEntry(PART_NAMES, len(text), text))
    header = Header(width, height, model, mask, layers, tuple(sorted(entries, key=lambda entry: entry.kind)))
    try:
        return assemble(header, streams, parts)
    except HeaderError as error:
        raise UsageError(str(error)) from error


def assemble(header: Header, streams: Mapping[int, bytes], parts: Mapping[int, bytes]) -> bytes:
    """A file from a finished header, the sub-streams it lists by index, and the parts behind them
    by kind."""
    pieces = [prologue(header)]
    for index in file_order(header.n_layers):
        if header.layers[index].length is not None:
            pieces += [streams[index], checksum(streams[index])]
    for part in header.parts:
        if part.inline is None:
            pieces += [parts[part.kind], checksum(parts[part.kind])]
    return b"".join(pieces)
