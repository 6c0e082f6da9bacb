"""Room 5. `obic merge`: layers of one picture from several files into one. Imports neither numpy
nor torch."""

import click

from obic.cli.options import Settings, obic_command, overwrite_option
from obic.cli.streams import Output, open_source
from obic.container import merge, open_container
from obic.errors import UsageError

EXAMPLES = """
obic merge photo-object.obic photo-background.obic -o photo.obic
curl -s https://example.org/photo-background.obic | obic merge photo-object.obic - -o photo.obic
"""


@obic_command(
    click.option("-o", "--output", metavar="OUT", type=click.Path(), required=True, help="Output file."),
    overwrite_option,
    epilog=EXAMPLES,
)
def command(sources: tuple[str, ...], settings: Settings) -> None:
    """Put layers back into one file.

    The files must hold layers of one picture, coded with one mask and one model, as "obic extract"
    makes them. The bytes of the layers are copied. A layer that several files have must be the same
    in all of them.
    """
    if sources.count("-") > 1:
        raise UsageError("standard input can be only one of the files")
    assert settings.output is not None  # click demands it
    outs = [Output(settings.output, source=source, overwrite=settings.overwrite) for source in sources]
    outs[0].write(merge([open_container(open_source(source), settings.limits) for source in sources]))
