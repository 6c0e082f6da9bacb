"""Room 1. Joins files that hold layers of one picture into one, by byte copy (spec 9)."""

from collections.abc import Sequence
from dataclasses import replace

from obic.container.demux import Container
from obic.container.header import Header, LayerEntry, PartEntry
from obic.container.mux import assemble
from obic.errors import UsageError


def merge(containers: Sequence[Container]) -> bytes:
    """The file that has every layer of the given ones: what `Container.subset` took apart, put
    together again.

    The files must come from one picture: the same size, model, label map and layer names. A layer,
    or an optional part (`Container.read_true_parts`), that several of them have must be the same in
    all. A layer's quality is that of the file that has it. Raises UsageError where they do not
    belong together, and what reading their layers and parts raises.
    """
    first = containers[0].header
    for number, container in enumerate(containers[1:], 2):
        _check_same_picture(container.header, first, number)
    layers: dict[int, tuple[LayerEntry, bytes]] = {}
    parts: dict[int, tuple[PartEntry, bytes]] = {}
    for number, container in enumerate(containers, 1):
        present = [entry for entry in container.header.layers if entry.length is not None]
        container.prefetch([entry.index for entry in present])
        for entry in present:
            layer = (entry, container.read_layer(entry.index))
            if layers.setdefault(entry.index, layer) != layer:
                name = first.layer_names[entry.index]
                raise UsageError(f"layer {entry.index} ({name}) of file {number} differs from that of a file before it")
        for kind, part in container.read_true_parts().items():
            if parts.setdefault(kind, part) != part:
                raise UsageError(f"optional part {kind} of file {number} differs from that of a file before it")
    header = replace(
        first,
        layers=tuple(layers[entry.index][0] if entry.index in layers else entry for entry in first.layers),
        parts=tuple(parts[kind][0] for kind in sorted(parts)),
    )
    streams = {index: stream for index, (_, stream) in layers.items()}
    return assemble(header, streams, {kind: data for kind, (_, data) in parts.items()})


def _check_same_picture(header: Header, first: Header, number: int) -> None:
    """Raises UsageError with what sets file `number` apart from the first."""
    for what, own, other in (
        ("size", f"{header.width}x{header.height}", f"{first.width}x{first.height}"),
        ("model", f"{header.model:08x}", f"{first.model:08x}"),
        ("number of layers", header.n_layers, first.n_layers),
        ("layer names", ", ".join(header.layer_names), ", ".join(first.layer_names)),
    ):
        if own != other:
            raise UsageError(f"file {number} is of another picture: its {what} is {own}, that of the first {other}")
    if header.mask != first.mask:
        raise UsageError(f"file {number} is of another picture, or of another mask of it: the label maps differ")
