"""Counts the contexts of the label map's coder over real masks and writes
`obic/entropy/mask_contexts.py`.

    python -m obic.train.codec.fit_mask_contexts DATA/train-*.zip

Each mask marked `exact` in a part's index.csv is reduced to the grid at several picture sizes, so
that the table knows coarse and fine grids; a label that is not background counts as the object. The
table is part of the format (spec 4.3): a new one makes new files unreadable to old readers.
"""

import argparse
import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import obic.entropy
from obic.entropy.context_walk import walk_plane
from obic.masks import VOID, grid_labels

PICTURE_LONG_SIDES = (320, 480, 640, 960)
OUTPUT = Path(obic.entropy.__file__).with_name("mask_contexts.py")


def exact_masks(archive: Path) -> Iterator[Image.Image]:
    """The masks of one training part that were drawn by hand: 0 background, 255 void, any other
    value an object."""
    with zipfile.ZipFile(archive) as part:
        for row in csv.DictReader(io.TextIOWrapper(part.open("index.csv"), "utf-8")):
            if row["mask"] == "exact":
                yield Image.open(io.BytesIO(part.read(f"{row['name']}.png")))


def object_grid(mask: Image.Image, long_side: int) -> np.ndarray:
    """uint8 [h, w] of 0 and 1: the cells of the object when the picture's long side is `long_side`
    pixels."""
    scale = long_side / max(mask.size)
    size = [max(1, round(side * scale)) for side in mask.size]
    pixels = np.asarray(mask.resize(size, Image.Resampling.NEAREST))
    return grid_labels(((pixels > 0) & (pixels != VOID)).astype(np.uint8), 2)


def count_contexts(grid: np.ndarray, counts: np.ndarray) -> None:
    """Adds one grid to counts: int64 [1024, 2], the zeros and ones seen in each context."""

    def visit(bit: bool, context: int) -> int:
        counts[context, int(bit)] += 1
        return bit

    walk_plane(grid, np.ones_like(grid), visit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("archives", nargs="+", type=Path)
    counts = np.zeros((1024, 2), np.int64)
    for archive in parser.parse_args().archives:
        for mask in exact_masks(archive):
            for long_side in PICTURE_LONG_SIDES:
                grid = object_grid(mask, long_side)
                if grid.any():
                    count_contexts(grid, counts)
    share = (counts[:, 1] + 0.5) / (counts.sum(1) + 1)
    table = np.clip(np.rint(256 * share), 1, 255).astype(np.uint8).tobytes()
    lines = "\n".join(table[start : start + 32].hex() for start in range(0, 1024, 32))
    OUTPUT.write_text(
        '"""Room 2. The trained context table of the label map (spec, appendix B).\n\n'
        "Written by `obic.train.codec.fit_mask_contexts`. "
        'ONE_IN_256[context] / 256 is the probability of a cell of the label.\n"""\n\n'
        f'ONE_IN_256 = bytes.fromhex("""\n{lines}\n""")\n'
    )
    print(f"{counts.sum()} cells in {np.count_nonzero(counts.sum(1))} contexts -> {OUTPUT}")


if __name__ == "__main__":
    main()
