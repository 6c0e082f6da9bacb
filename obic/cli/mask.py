"""Room 5. `obic mask`: the segmenter alone."""

from obic.cli.batch import PICTURE_SUFFIXES, Batch, Job
from obic.cli.common import (
    Stages,
    backend_option,
    background_color_option,
    box_option,
    device_option,
    jobs_option,
    obic_command,
    output_dir_option,
    output_option,
    overwrite_option,
    point_option,
    read_input,
    segmenter_option,
    verbose_option,
)
from obic.networks import Networks
from obic.prompts import Box, Point, Prompts

EXAMPLES = """
obic mask photo.png                  photo-mask.png: black background, white object
obic encode photo.png --mask photo-mask.png
obic mask photo.png --box 10%,20%,60%,90% --point 900,400
obic mask photo.png --segmenter torchvision:deeplabv3_resnet101
obic mask --segmenter list           what there is, and under which licence
"""


@obic_command(
    output_option,
    output_dir_option,
    segmenter_option,
    box_option,
    point_option,
    background_color_option,
    backend_option,
    device_option,
    jobs_option,
    overwrite_option,
    verbose_option,
    epilog=EXAMPLES,
)
def command(
    sources: tuple[str, ...],
    output: str | None,
    output_dir: str | None,
    background_color: str,
    device: str,
    backend: str,
    segmenter: str,
    boxes: tuple[Box, ...],
    points: tuple[Point, ...],
    jobs: int,
    overwrite: bool,
    verbose: bool,
) -> None:
    """Write the mask that "encode" would use.

    A PNG to look at, edit and give back with "obic encode --mask". Into a folder of its own it keeps the name of its
    picture, so that "obic encode --mask DIR" finds it.
    """
    batch = Batch(sources, PICTURE_SUFFIXES, output=output, output_dir=output_dir, overwrite=overwrite, workers=jobs)
    networks = Networks(device, backend, segmenter=segmenter, workers=jobs, pictures=len(batch.inputs))
    ending = ".png" if output_dir is not None else "-mask.png"
    batch.run(lambda job: _mask(job, networks, ending, Prompts(boxes, points), background_color, verbose))


def _mask(
    job: Job, networks: Networks, ending: str, prompts: Prompts, background_color: str, verbose: bool
) -> None:
    """Segment one input and write its mask."""
    stage = Stages(verbose, job.say)
    out = job.output(ending)
    with stage("read"):
        from obic.images import read_picture, write_mask

        data, limit = read_input(job.source), job.settings.max_pixels
        picture = read_picture(data, background=background_color, max_pixels=limit)
    with stage("load"):
        from obic.segment.prompted import find

        networks.settle(picture.rgb.size // 3)
        segment = networks.segmenter()
    with stage("segment"):
        labels, _, notes = find(segment, picture.rgb, prompts)
    for note in notes:
        job.say(f"note: {note}")
    if not labels.any():
        job.say("note: no object was found; the mask is empty")
    out.write(write_mask(labels))
    job.say_replaced(out)
