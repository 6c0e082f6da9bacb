"""The public names, and the example of the README."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import obic

ROOT = Path(__file__).parent.parent


def test_every_public_name_is_there():
    for name in obic.__all__:
        assert getattr(obic, name) is not None
    assert set(obic.__all__) <= set(dir(obic))


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="decode_everything"):
        obic.decode_everything  # noqa: B018


def test_the_example_of_the_readme_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.open(ROOT / "examples" / "chelsea.png").save("photo.png")
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names = {}
    exec(example, names)
    assert names["decoded"].shape == names["rgb"].shape == (300, 451, 3)
    assert names["rgba"].shape == (300, 451, 4)
    assert np.ptp(names["rgba"][..., 3]) == 255
    assert len(names["smaller"]) < len(names["data"])


def test_the_readme_names_files_that_exist():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
