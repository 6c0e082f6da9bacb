"""Room 5. `obic info`: where the bytes of a file are. Imports neither numpy nor torch."""

from typing import Any

import click

from obic.cli.batch import OBIC_SUFFIXES, Batch, Job
from obic.cli.options import Settings, obic_command, verbose_option
from obic.container import PART_TITLES, Container

EXAMPLES = """
obic info photo.obic
obic info photo.obic --json | jq .bpp
obic info coded/ --json                     one line for each file below a folder
obic info https://example.org/photo.obic    reads the header alone
"""


@obic_command(
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object a file."),
    verbose_option,
    epilog=EXAMPLES,
)
def command(sources: tuple[str, ...], settings: Settings) -> None:
    """Show size, layers and bytes.

    Reads the header only; what it says of the layers is checked by "obic verify".
    """

    Batch(sources, OBIC_SUFFIXES, settings).run(_info)


def _info(job: Job) -> dict[str, Any] | str:
    facts = describe(job.open())
    if job.settings.as_json:
        return facts
    return as_text(facts) if job.alone else f"{job.source}: {as_text(facts)}"


def describe(container: Container) -> dict[str, Any]:
    """The facts of a file. bytes == overhead_bytes + mask_bytes + optional_bytes + the sum of the
    layers' bytes.

    Sizes in pixels, `bpp` in bits a pixel of the whole picture, `model` as eight hexadecimal
    digits.
    """
    header = container.header
    return {
        "width": header.width,
        "height": header.height,
        "bytes": container.total_bytes,
        "bpp": round(8 * container.total_bytes / (header.width * header.height), 6),
        "model": f"{header.model:08x}",
        "mask_bytes": container.mask_bytes,
        "optional_bytes": container.optional_bytes,
        "overhead_bytes": container.overhead_bytes,
        "parts": [
            {"kind": part.kind, "name": PART_TITLES.get(part.kind), "bytes": part.length} for part in header.parts
        ],
        "layers": [
            {
                "index": entry.index,
                "name": header.layer_names[entry.index],
                "bytes": container.layer_bytes(entry.index),
                "quality": entry.quality,
                "present": entry.length is not None,
            }
            for entry in header.layers
        ],
    }


def as_text(report: dict[str, Any]) -> str:
    """The facts of `describe` as lines for people."""
    lines = [
        f"{report['width']}x{report['height']} pixels, {report['bytes']:,} bytes, {report['bpp']:.4f} bpp, "
        f"model {report['model']}"
    ]
    lines += layer_lines(report)
    names = [part["name"] or f"unknown part {part['kind']}" for part in report["parts"]]
    contents = f"  {', '.join(names)}"
    for part in ("mask", "optional", "overhead"):
        if count := report[f"{part}_bytes"]:
            lines.append(f"    {part:14s} {count:>9,} bytes{contents if part == 'optional' else ''}")
    return "\n".join(lines)


def layer_lines(report: dict[str, Any]) -> list[str]:
    """A line for each layer of `describe`, by index."""
    lines = []
    for layer in report["layers"]:
        state = f"quality {layer['quality']}" if layer["present"] else "absent"
        lines.append(f"{layer['index']:>3} {layer['name']:14s} {layer['bytes']:>9,} bytes  {state}")
    return lines
