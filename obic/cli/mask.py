"""Room 5. `obic mask`: the segmenter alone."""

from obic.cli.batch import MASK_BESIDE, PICTURE_SUFFIXES, Batch, Job
from obic.cli.options import (
    Settings,
    networks_options,
    obic_command,
    objects_options,
    picture_options,
    results_options,
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
    *results_options,
    *objects_options,
    *picture_options,
    *networks_options,
    verbose_option,
    epilog=EXAMPLES,
)
def command(
    sources: tuple[str, ...], settings: Settings, boxes: tuple[Box, ...], points: tuple[Point, ...]
) -> None:
    """Write the mask that "encode" would use.

    A PNG to look at, edit and give back with "obic encode --mask". Into a folder of its own it
    keeps the name of its picture, so that "obic encode --mask DIR" finds it.
    """
    batch = Batch(sources, PICTURE_SUFFIXES, settings)
    networks, prompts = batch.networks(), Prompts(boxes, points)
    ending = MASK_BESIDE if settings.output_dir is None else ".png"
    batch.run(lambda job: _mask(job, networks, ending, prompts))


def _mask(job: Job, networks: Networks, ending: str, prompts: Prompts) -> None:
    """Segment one input and write its mask."""
    out = job.output(ending)
    with job.stage("read"):
        picture = job.picture()
    with job.stage("load"):
        from obic.images import write_mask
        from obic.segment.prompted import find

        networks.settle(picture.rgb.size // 3)
        segment = networks.segmenter()
    with job.stage("segment"):
        labels, _, notes = find(segment, picture.rgb, prompts)
    job.note(*notes)
    if not labels.any():
        job.note("no object was found; the mask is empty")
    out.write(write_mask(labels))
    job.note_replaced(out)
