"""How well the edge of a mask follows the object, before and after it is refined.

Written to `docs/edges.md`. The masks are the segmenter's, of VOC pictures whose objects are drawn
by hand.

    python -m obic.bench.segmenter.mask_edges --data data --every 3 --weights runs/segmenter/last.pt --long-side 384
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from obic.bench.codec.bilevel import obic_bytes
from obic.bench.common.markdown import prose
from obic.bench.common.script import command, number, page
from obic.bench.segmenter.scores import labelled_pictures
from obic.masks import VOID
from obic.segment.builtin import DeepLabSegmenter, read_segmenter
from obic.segment.edges import CHOSEN, Settings, box_mean, leaning, refined
from obic.segment.labels import resized
from obic.segment.whole import whole

BAND = 8  # pixels on either side of the true edge
VOID_LINE = 3  # pixels of them, about, that are void: VOC draws a line of 5 along edges
TUNED_ON = 3  # every so many-th picture, on which the settings were chosen: it is left out
SOFT = 4  # pixels on either side of the edge, where alpha would be soft
SOFT_EVERY = 4  # of the pictures, for the bytes: WebP takes its time
SETTINGS = {
    "as the network has it": None,
    "refined": CHOSEN,
    "half the weight": CHOSEN._replace(weight=CHOSEN.weight / 2),
    "twice the weight": CHOSEN._replace(weight=CHOSEN.weight * 2),
    "half the radius": CHOSEN._replace(radius=CHOSEN.radius // 2),
    "twice the radius": CHOSEN._replace(radius=CHOSEN.radius * 2),
    "a tenth of the noise": CHOSEN._replace(noise=CHOSEN.noise / 10),
    "ten times the noise": CHOSEN._replace(noise=CHOSEN.noise * 10),
    "twice the grid": CHOSEN._replace(grid=CHOSEN.grid * 2, radius=CHOSEN.radius * 2, reach=CHOSEN.reach * 2),
}
HEAD = """# The edge of the mask

Made by `python -m obic.bench.segmenter.mask_edges`: {pictures} pictures of VOC, of those that the settings were not
chosen on (every {tuned}rd). The network's map, an eighth as large as the picture it sees, is enlarged and refined by
colour (`obic/segment/edges.py`). Foreground IoU is pooled over all pixels, the band's over those within {band} pixels
of the true edge. Seconds are of one CPU core, a picture, without the network's.

The bytes below each table are what the edge takes in a file, a picture: the pixel mask (`--alpha pixel`), and a soft
alpha, which obic has not: how sure the segmenter is of each pixel within {soft} of the edge, as WebP without loss.

"""


class Seen(NamedTuple):
    """A picture uint8 [H, W, 3], its true labels uint8 [H, W], and the network's logits of "an
    object", float32."""

    rgb: np.ndarray
    truth: np.ndarray
    logits: np.ndarray


def band(truth: np.ndarray) -> np.ndarray:
    """bool [H, W]: no void, and within 8 pixels (of a chessboard's king) of the edge between object
    and background."""
    near = BAND + VOID_LINE
    known = truth != VOID
    both = [box_mean((known & side).astype(np.float32), near) > 0 for side in (truth > 0, truth == 0)]
    return known & both[0] & both[1]


def look(path: Path, data: Path, every: int, long_side: int | None) -> tuple[float, list[Seen]]:
    """The threshold of a file of weights, or of a checkpoint of training, and what it sees."""
    segmenter = _segmenter(path)
    segmenter.long_side = long_side or segmenter.long_side
    every_picture = enumerate(labelled_pictures(data / "voc-eval.zip"))
    pictures = islice((pair for place, pair in every_picture if place % TUNED_ON), 0, None, every)
    seen = [Seen(rgb, truth, segmenter.logits(rgb)[..., 0]) for rgb, truth in pictures]
    return segmenter.threshold, seen


def _segmenter(path: Path) -> DeepLabSegmenter:
    if path.suffix != ".pt":
        return read_segmenter(path, "torch")
    import torch

    from obic.segment.deeplab import DeepLab
    from obic.segment.torch_deeplab import TorchDeepLab, fold_norms

    state = torch.load(path, map_location="cpu", weights_only=True)
    network = DeepLab(state["backbone"])
    network.load_state_dict(state["average"])
    return DeepLabSegmenter(TorchDeepLab(fold_norms(network)), long_side=384)


def measure(seen: list[Seen], threshold: float, settings: Settings | None) -> tuple[float, float, float]:
    """Foreground IoU, that of the band, and seconds a picture."""
    counts, seconds = np.zeros((2, 2)), 0.0
    for rgb, truth, logits in seen:
        objects = whole(logits, threshold)
        begin = time.process_time()
        if settings is None:
            found = resized(objects, *truth.shape) > threshold
        else:
            found = refined(objects, rgb, threshold, settings)
        seconds += time.process_time() - begin
        for row, counted in zip(counts, (truth != VOID, band(truth)), strict=True):
            true = truth > 0
            row += [(found & true & counted).sum(), ((found | true) & counted).sum()]
    whole_iou, band_iou = (float(both / max(1, either)) for both, either in counts)
    return whole_iou, band_iou, seconds / len(seen)


def soft_alpha(seen: Seen, mask: np.ndarray, threshold: float, levels: int) -> int:
    """Bytes of how sure the segmenter is of each pixel near the edge, in so many levels, by WebP
    without loss."""
    near = box_mean(mask.astype(np.float32), SOFT)
    share = (leaning(whole(seen.logits, threshold) - threshold, seen.rgb) + 1) / 2
    share = np.where((near > 0) & (near < 1), share, mask)
    alpha = np.rint(np.rint(share * (levels - 1)) * (255 / (levels - 1))).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(alpha).save(buffer, "WEBP", lossless=True, method=6)
    return buffer.tell()


def alpha_bytes(seen: list[Seen], threshold: float) -> str:
    """A sentence: means over the pictures with an object."""
    masks = [refined(whole(each.logits, threshold), each.rgb, threshold) for each in seen]
    found = [(mask, each) for mask, each in zip(masks, seen, strict=True) if mask.any()]
    hard = np.mean([obic_bytes(mask) for mask, _ in found])
    fine, coarse = (
        np.mean([soft_alpha(each, mask, threshold, levels) for mask, each in found]) for levels in (256, 16)
    )
    return f"Pixel mask: {hard:.0f} bytes; soft alpha of 256 levels: {fine:.0f}, of 16: {coarse:.0f}."


def rows(seen: list[Seen], threshold: float) -> Iterator[str]:
    """Of a table, one for each of SETTINGS."""
    for name, settings in SETTINGS.items():
        iou, edge, seconds = measure(seen, threshold, settings)
        yield f"| {name} | {iou:.4f} | {edge:.4f} | {seconds:.3f} |"


@command
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m obic.bench.segmenter.mask_edges", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds voc-eval.zip")
    parser.add_argument("--weights", type=Path, nargs="+", default=[Path("weights/segmenter.npz")],
                        help="files of weights, or checkpoints of obic.train.segmenter")
    parser.add_argument("--long-side", type=number(16), help="that the network sees, instead of what the weights say")
    parser.add_argument("--every", type=number(), default=1, metavar="N", help="every Nth one; no file but with --out")
    parser.add_argument("--out", type=Path, help="folder for edges.md (default: docs)")
    args = parser.parse_args()
    path = page(args.out, "edges.md", whole=args.every == 1)
    lines, pictures = [], 0
    for weights in args.weights:
        threshold, seen = look(weights, args.data, args.every, args.long_side)
        pictures = len(seen)
        lines += [f"## {weights}", "", "| mask | foreground IoU | in the band | seconds |", "|---|---|---|---|"]
        lines += [*rows(seen, threshold), "", alpha_bytes(seen[::SOFT_EVERY], threshold), ""]
    text = "\n".join(lines)
    print(text, end="")
    if path:
        head = HEAD.format(tuned=TUNED_ON, pictures=pictures, band=BAND, soft=SOFT)
        path.write_text(prose(head + text), "utf-8")


if __name__ == "__main__":
    main()
