"""Room 5. `obic verify`: structure and checksums of every layer. Imports neither numpy nor
torch."""

from obic.cli.batch import OBIC_SUFFIXES, Batch, Job
from obic.cli.options import Settings, obic_command
from obic.errors import FormatError

EXAMPLES = """
obic verify photo.obic && echo whole
obic verify coded/
cat photo.obic | obic verify -
"""


@obic_command(epilog=EXAMPLES)
def command(sources: tuple[str, ...], settings: Settings) -> None:
    """Check structure and checksums.

    Reads the whole file. The exit code is 3 if any layer is damaged; 1 if that is so for one file
    of several.
    """
    Batch(sources, OBIC_SUFFIXES, settings).run(_verify)


def _verify(job: Job) -> None:
    """Print the state of each section of one file. Raises FormatError if one is damaged."""
    container = job.open()
    checks = container.verify()
    names = container.header.layer_names
    lines = [] if job.alone else [f"{job.source}:"]
    for check in checks:
        what = check.section if check.index is None else f"{check.section} ({names[check.index]})"
        lines.append(f"{what:24s} {'whole' if check.error is None else 'damaged'}")
    job.print("\n".join(lines))
    damaged = [check for check in checks if check.error is not None]
    if damaged:
        more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
        raise FormatError(f"{damaged[0].error}{more}")
