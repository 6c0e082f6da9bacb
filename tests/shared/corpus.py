"""The golden files, and the broken ones with what the specification says of each."""

import json

from broken.make import HERE
from obic import errors
from shared.places import TESTS
from shared.specification import table

SETS = sorted(path.parent for path in TESTS.glob("golden/v*/expected.json"))
GOLDEN_FILES = [(folder, name) for folder in SETS for name in json.loads((folder / "expected.json").read_text())]
BROKEN_FILES = sorted(path.stem for path in HERE.glob("*.obic"))
RULES = {row[0]: (getattr(errors, row[2]), row[3].split(",")[0]) for row in table("11 Errors")}
MISSING = {  # the layers that are missing when damage is skipped; all other files stay errors
    "layer-cut": [0],
    "layer-cut--in-checksum": [0],
    "layer-cut--part": [0, 2, 3],
    "layer-sum": [0],
    "layer-sum--object": [1],
    "layer-sum--itself": [0],
    "layer-sum--part": [0, 2, 3],
    "symbols": [1],
    "symbols--zero-behind": [1],
    "symbols--not-shortest": [1],
    "symbols--long-escape": [1],
    "pixel-mask": [0, 2, 3],
    "pixel-mask--unknown-coding": [0, 2, 3],
    "trailing": [],
}


def rule(name):
    return name.split("--")[0]
