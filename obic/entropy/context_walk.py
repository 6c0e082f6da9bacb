"""Room 2. Bits of a plane in raster order, each with the ten bits round it as its context (spec
4.3).

Source: the template is that of JBIG (ITU-T T.82, three lines).
"""

from collections.abc import Callable, Iterator

import numpy as np

from obic.entropy.mask_contexts import ONE_IN_256

CONTEXTS = len(ONE_IN_256)


def walk_plane(plane: np.ndarray, coded: np.ndarray, visit: Callable[[bool, int], int]) -> np.ndarray:
    """The plane that results from calling visit(bit, context) -> bit for each coded place, in
    raster order.

    plane: uint8 [h, w], a label at each place. coded: uint8 [h, w], 0 where the plane is known
    already, elsewhere the label that is asked about: a bit of 1 says that the plane has it there, a
    bit of 0 makes the place 0. The bit given to `visit` is the one `plane` has, for a writer. A bit
    of the context is 1 where the plane has this same label;
    its places are, the highest first: row y - 2, x - 1 to x + 1; row y - 1, x - 2 to x + 2; row y,
    x - 2 and x - 1. Places outside the plane count as 0.
    """
    padded = np.pad(plane, [(2, 0), (2, 2)])
    rows = [bytearray(row) for row in padded]
    for label, y, start, stop in _runs(coded):
        above2, above, row = rows[y : y + 3]
        far = near = left = 0
        for x in range(start + 1, start + 3):
            far = far << 1 | (above2[x] == label)
        for x in range(start, start + 4):
            near = near << 1 | (above[x] == label)
        for x in range(start, start + 2):
            left = left << 1 | (row[x] == label)
        for x in range(start + 2, stop + 2):
            far = (far << 1 | (above2[x + 1] == label)) & 7
            near = (near << 1 | (above[x + 2] == label)) & 31
            bit = visit(row[x] == label, far << 7 | near << 2 | left)
            row[x] = label if bit else 0
            left = (left << 1 | bit) & 3
    return np.frombuffer(b"".join(rows), np.uint8).reshape(padded.shape)[2:, 2:-2]


def _runs(coded: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """(label, y, start, stop) of each run of one label other than 0 in a row, in raster order."""
    walls = np.pad(coded, [(0, 0), (1, 1)])
    starts = np.argwhere((coded > 0) & (coded != walls[:, :-2]))
    stops = np.argwhere((coded > 0) & (coded != walls[:, 2:]))[:, 1] + 1
    labels = coded[tuple(starts.T)]
    yield from zip(labels.tolist(), *starts.T.tolist(), stops.tolist(), strict=True)
