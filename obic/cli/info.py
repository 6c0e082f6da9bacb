"""Room 5. `obic info`: where the bytes of a file are. Imports neither numpy nor torch."""

import json

import click

from obic.cli.common import obic_command, open_obic, print_text
from obic.container import Container

EXAMPLES = """
obic info photo.obic
obic info photo.obic --json | jq .bpp
"""


@obic_command(
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    epilog=EXAMPLES,
)
def command(source: str, as_json: bool) -> None:
    """Show size, layers and bytes.

    Reads the header only; what it says of the layers is checked by "obic verify".
    """
    report = describe(open_obic(source))
    print_text(json.dumps(report) if as_json else as_text(report))


def describe(container: Container) -> dict:
    """The facts of a file. bytes == overhead_bytes + mask_bytes + optional_bytes + the sum of the layers' bytes.

    Sizes in pixels, `bpp` in bits a pixel of the whole picture, `model` as eight hexadecimal digits.
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


def as_text(report: dict) -> str:
    """The facts of `describe` as lines for people."""
    lines = [
        f"{report['width']}x{report['height']} pixels, {report['bytes']:,} bytes, {report['bpp']:.4f} bpp, "
        f"model {report['model']}"
    ]
    for layer in report["layers"]:
        state = f"quality {layer['quality']}" if layer["present"] else "absent"
        lines.append(f"{layer['index']:>3} {layer['name']:14s} {layer['bytes']:>9,} bytes  {state}")
    for part in ("mask", "optional", "overhead"):
        if count := report[f"{part}_bytes"]:
            lines.append(f"    {part:14s} {count:>9,} bytes")
    return "\n".join(lines)
