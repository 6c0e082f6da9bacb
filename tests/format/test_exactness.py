"""The same symbols from the same file, whatever computes: threads, memory layout, library,
precision, device.

`make exactness` prints the hashes of the golden files' symbols, to compare machines;
docs/reliability.md has a table.
"""

import itertools
import json
import os
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from obic import Codec, codec
from obic.bench.codec.exactness import main, symbols_hash
from obic.container import open_container
from obic.entropy import LayerCoder
from obic.errors import ObicError
from shared.pictures import disc, picture
from shared.places import GOLDEN

EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
FILES = {name: (GOLDEN / f"{name}.obic").read_bytes() for name in EXPECTED}
THREADS, LAYOUTS, ONEDNN = (1, 2, 4), (torch.contiguous_format, torch.channels_last), (True, False)
SETTINGS = list(itertools.product(THREADS, LAYOUTS, ONEDNN))


class In(nn.Module):
    """A network that computes in another type, on inputs of any."""

    def __init__(self, network: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.network, self.dtype = deepcopy(network).to(dtype), dtype
        self.grain = network.grain

    def forward(self, *inputs):
        return self.network(*(tensor.to(self.dtype) for tensor in inputs))


@contextmanager
def setting(model, threads, layout, onednn):
    """The model at work in a setting of the matrix; afterwards as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    model.backend.network.to(memory_format=layout)
    torch.backends.mkldnn.enabled = onednn
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = True
        model.backend.network.to(memory_format=torch.contiguous_format)
        torch.set_num_threads(before)


def golden_symbols(model):
    return {name: symbols_hash(open_container(data), model) for name, data in FILES.items()}


def largest_difference(name, model):
    """Of the pixels of a golden file from those it had when it was made."""
    decoded = codec.decode_picture(open_container(FILES[name]), model).rgb.astype(int)
    return np.abs(decoded - np.asarray(Image.open(GOLDEN / f"{name}.png")).astype(int)).max()


@pytest.mark.parametrize(("threads", "layout", "onednn"), SETTINGS)
def test_a_decoder_in_any_setting(torch_decoder, threads, layout, onednn):
    """Every golden file: the symbols exactly, the pixels nearly (bfloat16 has 8 bits where float32
    has 24)."""
    synthesis = torch_decoder.backend.network.synthesis
    with setting(torch_decoder, threads, layout, onednn):
        for dtype, tolerance in ((torch.float32, 2), (torch.float64, 2), (torch.bfloat16, 8)):
            torch_decoder.backend.network.synthesis = In(synthesis, dtype)
            assert max(largest_difference(name, torch_decoder) for name in ("two-layers", "odd-size")) <= tolerance
        assert golden_symbols(torch_decoder) == EXPECTED


@pytest.mark.parametrize(("threads", "layout", "onednn"), SETTINGS)
def test_an_encoder_in_any_setting(torch_encoder, threads, layout, onednn):
    """What was coded in any setting decodes to the integers that were coded, in this and in the
    plain one."""
    with setting(torch_encoder, threads, layout, onednn):
        coder = codec.PictureEncoder(picture(70, 100), disc(70, 100), 2, model=torch_encoder, pixel_alpha=True)
        data = coder.encode((60, 90))
        coder.verify(data)
    coder.verify(data)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_and_a_cpu_read_each_others_files(tiny_encoder, monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    gpu = codec.load_model("cuda", encoder=True)
    assert golden_symbols(gpu) == EXPECTED
    assert max(largest_difference(name, gpu) for name in ("two-layers", "odd-size")) <= 2
    for maker, reader in ((gpu, tiny_encoder), (tiny_encoder, gpu)):
        coder = codec.PictureEncoder(picture(70, 100), disc(70, 100), 2, model=maker)
        data = coder.encode((60, 90))
        coder.verify(data)
        made, read = (symbols_hash(open_container(data), model) for model in (maker, reader))
        assert made == read


def test_the_command_prints_the_hashes(monkeypatch, capsys):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    torch_alone = ["--backend", "torch", "--threads", str(torch.get_num_threads())]
    assert main([*torch_alone, *(str(GOLDEN / f"{name}.obic") for name in FILES)]) == 0
    platform, *lines, together = capsys.readouterr().out.splitlines()
    assert f"torch {torch.__version__.split('+')[0]}" in platform
    assert [line.split()[0] for line in lines] == [EXPECTED[name][:16] for name in sorted(FILES)]
    assert together.endswith(f" all {len(FILES)}")
    assert main([str(GOLDEN / "missing.obic")]) == 1


def test_noise_in_every_float_part_does_not_change_symbols(torch_decoder):
    """Rounding of 1e-3 everywhere in the decoder's networks moves pixels a little, symbols not at
    all."""
    with torch.no_grad():
        for parameter in torch_decoder.backend.network.parameters():
            parameter.mul_(1 + 1e-3 * torch.randn_like(parameter))
    assert golden_symbols(torch_decoder) == EXPECTED
    assert 0 < largest_difference("two-layers", torch_decoder) < 16


# --- what is written is read back -----------------------------------------------------------------


@pytest.fixture
def faulty(monkeypatch):
    """An entropy coder that codes one integer wrong."""

    def encode(coder, z, r):
        return original(coder, z, r + (r == r.max()))

    original = LayerCoder.encode
    monkeypatch.setattr(LayerCoder, "encode", encode)


def test_other_integers_are_noticed(tiny_encoder, faulty):
    coder = codec.PictureEncoder(picture(70, 100), disc(70, 100), 2, model=tiny_encoder)
    with pytest.raises(ObicError, match="other integers"):
        coder.verify(coder.encode((60, 90)))


@pytest.mark.parametrize("options", [("--mask", "none"), ("--mask", "half.png", "--alpha", "pixel", "--size", 600)])
def test_the_command_writes_only_what_decodes(obic, monkeypatch, options, request):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    Image.fromarray(picture(70, 100)).save("x.png")
    Image.fromarray(disc(70, 100)).save("half.png")
    line = ("encode", "x.png", *options, "--verify")
    assert obic(*line) == (0, b"", "")
    Path("x.obic").unlink()
    request.getfixturevalue("faulty")
    code, out, err = obic(*line)
    assert (code, out, err.count("\n")) == (1, b"", 1)
    assert "other integers" in err and "nothing is written" in err
    assert sorted(os.listdir()) == ["half.png", "x.png"]
    assert obic(*line[:-1]).code == 0, "without --verify nobody looks"


def test_python_gives_only_what_decodes(monkeypatch, request):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    maker = Codec("cpu")
    assert maker.encode(picture(70, 100), mask="none", verify=True) == maker.encode(picture(70, 100), mask="none")
    request.getfixturevalue("faulty")
    with pytest.raises(ObicError, match="other integers"):
        maker.encode(picture(70, 100), mask="none", verify=True)


def test_bytes_that_do_not_decode_are_noticed(tiny_encoder):
    coder = codec.PictureEncoder(picture(70, 100), disc(70, 100), 2, model=tiny_encoder, pixel_alpha=True)
    data = coder.encode((60, 90))
    coder.verify(data)
    for damaged in (data[:-1], data + b"!", data[:-40] + bytes(40)):
        with pytest.raises(ObicError, match="does not decode"):
            coder.verify(damaged)
