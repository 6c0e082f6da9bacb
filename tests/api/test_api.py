"""The public names, and the example of the README."""

import re

import pytest
from PIL import Image

import obic
from shared.places import ROOT


def test_every_public_name_is_there():
    for name in obic.__all__:
        assert getattr(obic, name) is not None
    assert set(obic.__all__) <= set(dir(obic))


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="decode_everything"):
        obic.decode_everything  # noqa: B018


def test_the_examples_of_the_documents_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.open(ROOT / "examples" / "chelsea.png").save("photo.png")
    plain, of_pillow, of_ray = _examples("docs/python.md")
    compile(of_ray, "docs/python.md", "exec")
    (of_readme,) = _examples("README.md")
    names = {}
    exec(plain, names)
    assert names["decoded"].size == names["cut_out"].size == (451, 300)
    assert names["cut_out"].getextrema()[3] == (0, 255)
    assert len(names["smaller"]) < len(names["data"]) <= 10_000
    assert names["names"] == ("background", "object")
    assert len(names["files"]) == 2
    exec(of_pillow, names)
    assert (names["image"].size, names["image"].mode) == ((451, 300), "RGBA")
    assert capsys.readouterr().out == "object 3\n"
    exec(of_readme, names)
    assert names["picture"].size == (451, 300)


def _examples(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
