"""Room 5. `obic mask`: the segmenter alone."""

from obic.cli.common import (
    Output,
    Stages,
    background_color_option,
    derived_name,
    device_option,
    obic_command,
    output_option,
    overwrite_option,
    read_input,
    say,
    verbose_option,
)

EXAMPLES = """
obic mask photo.png                  photo-mask.png: black background, white object
obic encode photo.png --mask photo-mask.png
"""


@obic_command(
    output_option,
    background_color_option,
    device_option,
    overwrite_option,
    verbose_option,
    epilog=EXAMPLES,
)
def command(
    source: str, output: str | None, background_color: str, device: str, overwrite: bool, verbose: bool
) -> None:
    """Write the mask that "encode" would use.

    A PNG to look at, edit and give back with "obic encode --mask".
    """
    stage = Stages(verbose)
    out = Output(output or derived_name(source, "-mask.png"), source=source, overwrite=overwrite)
    with stage("read"):
        from obic.images import read_picture, write_mask

        picture = read_picture(read_input(source), background=background_color)
    with stage("load"):
        from obic.codec import load_segmenter

        segment = load_segmenter(device)
    with stage("segment"):
        labels = segment(picture.rgb)
    if not labels.any():
        say("note: no object was found; the mask is empty")
    out.write(write_mask(labels))
