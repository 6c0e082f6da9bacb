"""Files made by earlier versions decode for ever: symbols exactly, pixels within a tolerance."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from golden.decoded import decoded_png
from obic import codec
from obic.bench.codec.exactness import symbols_hash
from obic.container import open_container
from shared.backends import BACKENDS
from shared.corpus import GOLDEN_FILES, SETS


def test_every_file_is_listed_and_every_listed_file_is_there():
    assert SETS
    for folder in SETS:
        listed = {name for where, name in GOLDEN_FILES if where == folder}
        assert {path.stem for path in folder.glob("*.obic")} == listed
        assert {path.stem for path in folder.glob("*.png")} == listed


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("folder", "name"), GOLDEN_FILES, ids=lambda value: getattr(value, "name", value))
def test_decodes_for_ever(folder, name, backend, monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(folder))
    data = (folder / f"{name}.obic").read_bytes()
    model = codec.load_model("cpu", backend=backend)
    assert symbols_hash(open_container(data), model) == json.loads((folder / "expected.json").read_text())[name]
    expected = np.asarray(Image.open(folder / f"{name}.png")).astype(int)
    decoded = np.asarray(Image.open(io.BytesIO(decoded_png(data, model)))).astype(int)
    assert decoded.shape == expected.shape
    difference = np.abs(decoded - expected)
    assert difference.max() <= (2 if backend == "numpy" else 8)  # PyTorch may compute in bfloat16
    assert (difference > 2).mean() < 2e-3
