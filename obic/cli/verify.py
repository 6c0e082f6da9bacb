"""Room 5. `obic verify`: structure and checksums of every layer. Imports neither numpy nor torch."""

from obic.cli.common import obic_command, open_obic, print_text
from obic.errors import FormatError

EXAMPLES = """
obic verify photo.obic && echo whole
cat photo.obic | obic verify -
"""


@obic_command(epilog=EXAMPLES)
def command(source: str) -> None:
    """Check structure and checksums.

    Reads the whole file. The exit code is 3 if any layer is damaged.
    """
    container = open_obic(source)
    checks = container.verify()
    names = container.header.layer_names
    for check in checks:
        what = check.section if check.index is None else f"{check.section} ({names[check.index]})"
        print_text(f"{what:24s} {'whole' if check.error is None else 'damaged'}")
    damaged = [check for check in checks if check.error is not None]
    if damaged:
        more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
        raise FormatError(f"{damaged[0].error}{more}")
