"""The reader in JavaScript (web/) reads what this one reads, and refuses what this one refuses.

`make web` builds it; without node, or before it is built, these tests are skipped.
"""

import hashlib
import importlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from broken.make import GOLDEN, HERE, assemble
from obic import codec, web, weights
from obic.constants import PART_PIXEL_MASK
from obic.container import Container, mux, open_container
from obic.errors import ObicError
from obic.masks import decode_label_map, decode_pixel_mask, grid_size
from shared.corpus import BROKEN_FILES, GOLDEN_FILES, MISSING, RULES, SETS, rule
from shared.fuzz_targets import LIMITS, Choices, changed_file
from shared.javascript import WEB, Reader, assert_near, needs_reader

pytestmark = needs_reader


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    reader = Reader(tmp_path_factory.mktemp("reader"))
    for folder in SETS:
        reader.know(folder)
    yield reader
    reader.process.stdin.close()
    assert reader.process.wait(10) == 0


@pytest.fixture(scope="module")
def reference():
    """The tiny model of the second golden set, on the backend that computes in float32
    everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OBIC_WEIGHTS", str(GOLDEN.parent / "v2"))
        return codec.load_model("cpu", backend="numpy")


# --- the golden and the broken files --------------------------------------------------------------


@pytest.mark.parametrize(("folder", "name"), GOLDEN_FILES, ids=lambda value: getattr(value, "name", value))
def test_golden_files(reader, folder, name):
    data = (folder / f"{name}.obic").read_bytes()
    assert reader.sections(data)["symbols"] == json.loads((folder / "expected.json").read_text())[name]
    pixels, facts = reader.picture(data)
    assert_near(pixels, np.asarray(Image.open(folder / f"{name}.png").convert("RGBA")))
    assert not facts["maskDamaged"]


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_broken_files(reader, name):
    data = (HERE / f"{name}.obic").read_bytes()
    pixels, error = reader.picture(data)
    assert (pixels, error["error"]) == (None, RULES[rule(name)][0].__name__)
    assert "\n" not in error["message"] and len(error["message"]) < 200
    pixels, facts = reader.picture(data, damaged="skip")
    if name in MISSING:
        assert facts["missing"] == MISSING[name]
        assert facts["maskDamaged"] == name.endswith(("--part", "mask", "--unknown-coding"))
        assert (pixels[..., 3].min() < 255) == bool(MISSING[name])
    else:
        assert (pixels, facts["error"]) == (None, RULES[rule(name)][0].__name__)


@pytest.mark.parametrize("layers", [["object"], ["0"], [4], ["left above", 4]], ids=str)
def test_layers_alone(reader, layers, reference):
    name = "two-layers" if layers[0] in ("object", "0") else "pixel-mask"
    data = (GOLDEN.parent / "v2" / f"{name}.obic").read_bytes()
    container = open_container(data)
    indices = [container.layer_index(layer) for layer in layers]
    pixels, facts = reader.picture(data, layers=layers)
    assert_near(pixels, codec.extract_picture(container, indices, reference))
    assert facts["missing"] == [index for index in range(container.header.n_layers) if index not in indices]


def test_a_name_for_several_layers(reader, reference):
    data = (GOLDEN.parent / "v2" / "five-layers.obic").read_bytes()
    container = open_container(data)
    pixels, facts = reader.picture(data, layers=["object"])
    assert_near(pixels, codec.extract_picture(container, container.layer_indices("object"), reference))
    assert facts["missing"] == [0]


def test_a_layer_that_is_not_there(reader):
    data = (GOLDEN / "object-alone.obic").read_bytes()
    assert reader.picture(data, layers=["sky"])[1]["error"] == "UsageError"
    assert reader.picture(data, layers=["background"])[1]["error"] == "UsageError"


# --- any bytes ------------------------------------------------------------------------------------


def attempt(work, *arguments):
    """What the work gives, or the name of the error it raises on purpose."""
    try:
        return work(*arguments)
    except ObicError as error:
        return type(error).__name__


def digest(*arrays) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array) for array in arrays)).hexdigest()


def sections(data: bytes, model: weights.CodecModel) -> dict:
    """What `Reader.sections` gives, by this reader; an error is its name."""
    container = attempt(open_container, data, LIMITS)
    if not isinstance(container, Container):
        return {"header": container}
    header = container.header
    size = header.height, header.width
    labels = attempt(decode_label_map, header.mask, *grid_size(*size), header.n_layers)
    mask, broken = attempt(container.read_part, PART_PIXEL_MASK), isinstance(labels, str)
    if isinstance(mask, bytes):
        mask = None if broken else attempt(decode_pixel_mask, mask, labels, *size)
    return {
        "header": {
            "width": header.width,
            "height": header.height,
            "model": header.model,
            "layers": [
                {"index": entry.index, "name": name, "quality": entry.quality, "length": entry.length}
                for entry, name in zip(header.layers, header.layer_names, strict=True)
            ],
            "bytes": {"total": container.total_bytes, "mask": container.mask_bytes, "parts": container.optional_bytes},
        },
        "labels": labels if broken else digest(labels),
        "pixelMask": mask if not isinstance(mask, np.ndarray) else digest(mask),
        "layers": [
            layer_section(container, entry.index, model, broken)
            for entry in header.layers
            if entry.length is not None
        ],
        "end": attempt(container.check_end),
    }


def layer_section(container: Container, index: int, model: weights.CodecModel, labels_broken: bool) -> str | None:
    if labels_broken or container.header.model != model.fingerprint:
        stream = attempt(container.read_layer, index)
        return stream if isinstance(stream, str) else None
    integers = attempt(codec.decode_symbols, container, index, model)
    return integers if isinstance(integers, str) else digest(*integers)


def without_messages(answer):
    """The answer of the reader with the names of errors in place of errors."""
    if isinstance(answer, dict):
        return answer.get("error") or {name: without_messages(value) for name, value in answer.items()}
    return [without_messages(value) for value in answer] if isinstance(answer, list) else answer


def assert_same(reader: Reader, data: bytes, model: weights.CodecModel) -> None:
    """Both readers say the same of a file, section by section."""
    theirs = without_messages(
        reader.sections(
            data,
            maxPixels=LIMITS.max_pixels,
            maxHeaderBytes=LIMITS.max_header_bytes,
            maxPartBytes=LIMITS.max_part_bytes,
        )
    )
    theirs.pop("symbols", None)
    ours = sections(data, model)
    if (theirs["header"], ours["header"]) != ("UnsupportedError", "HeaderError"):  # another version, of another form
        assert theirs == ours


any_bytes = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@any_bytes
@given(st.binary(max_size=200))
def test_changed_files(reader, reference, data):
    assert_same(reader, changed_file(Choices(data)), reference)


@any_bytes
@given(st.binary(max_size=60))
def test_any_header(reader, reference, data):
    assert_same(reader, assemble(data, []), reference)


def test_broken_files_section_by_section(reader, monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    model = codec.load_model("cpu", backend="numpy")
    for path in HERE.glob("*.obic"):
        assert_same(reader, path.read_bytes(), model)


@any_bytes
@given(st.text(st.characters(exclude_categories=["Cn"]), max_size=12))  # what is not assigned changes with Unicode
def test_names(reader, name):
    """A name is refused by both, or by none."""
    data = mux(width=9, height=9, model=1, mask=b"m", qualities=(1, 2), streams={}, names=("first one", "x" * 9))
    encoded = name.encode("utf-8", "surrogatepass")[:9].ljust(9, b"x")
    data = data.replace(b"x" * 9, encoded)
    body = data[7:-2]
    data = assemble(body, [])
    ours = attempt(open_container, data)
    theirs = reader.sections(data)["header"]
    if isinstance(ours, Container):
        assert [layer["name"] for layer in theirs["layers"]] == list(ours.header.layer_names)
    else:
        assert theirs["error"] == ours


def test_nothing_is_allocated_for_what_a_header_claims(reader):
    """Files of a few bytes that claim much: refused, and the process stays as small as it was."""
    side = 2**13
    large = mux(width=side, height=side, model=1, mask=b"\xff", qualities=(1, 2), streams={0: b"\1", 1: b"\1"})
    claims = {
        (HERE / "limit.obic").read_bytes(): "LimitError",
        (HERE / "limit--header.obic").read_bytes(): "LimitError",
        assemble(b"\xdc\xff\xff", []): "HeaderError",
        assemble(b"\x96" + b"\xc6\xff\xff\xff\xff", []): "HeaderError",
        large: "FormatError",
        large[:20]: "TruncatedError",
    }
    before = reader.ask(memory=True)["bytes"]
    for data, error in claims.items():
        assert reader.picture(data)[1]["error"] == error
    assert reader.ask(memory=True)["bytes"] - before < 50e6


# --- the networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", ["simd", "plain"])
def test_builds(reader, speed):
    folder = SETS[-1]
    pixels, _ = reader.picture((folder / "five-layers.obic").read_bytes(), speed=speed)
    assert_near(pixels, np.asarray(Image.open(folder / "five-layers.png").convert("RGBA")))


def test_a_model_that_is_damaged_is_refused(reader, tmp_path):
    ((name, make),) = web.models_in(GOLDEN).items()
    data = make()
    for bad in (data[:-1], data[:500] + b"\0" + data[501:], b"PK" + data[2:], b""):
        (tmp_path / name).write_bytes(bad)
        assert reader.ask(model=str(tmp_path / name))["error"] == "FormatError"


def test_the_command_writes_what_the_reader_looks_for(tmp_path, capsys):
    assert web.main([str(GOLDEN), "--out", str(tmp_path / "models")]) == 0
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["model-99f473ba.bin"]
    assert web.main([str(tmp_path), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_compiled_code_is_that_of_the_source(monkeypatch):
    pytest.importorskip("ziglang", reason="the compiler is not installed: make wasm")
    monkeypatch.syspath_prepend(WEB / "native")
    assert importlib.import_module("build").text() == (WEB / "src" / "wasm.ts").read_text()
