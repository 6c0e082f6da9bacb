"""The networks of web/ in any shape that a model may have: widths that nothing suits, damped, with
a look, in tiles."""

import numpy as np
import pytest
import torch
from PIL import Image

from obic import codec, weights
from obic.container import open_container
from obic.entropy import gaussian_tables
from obic.shape import Shape
from obic.train.codec.checkpoint import new_network
from obic.train.codec.weights_file import codec_arrays
from obic.train.common.manifest import file_bytes, sha256, write_codec, write_look
from obic.train.vivid.look_file import with_grain
from shared.javascript import Reader, assert_near, needs_reader
from shared.pictures import disc, picture

pytestmark = needs_reader

ODD = Shape(
    fine=18, fine_blocks=3, coarse=27, coarse_blocks=2, latent=12, hyper=5, hyper_width=10, context=22,
    context_blocks=2, levels=3, damped=True, scale_hidden=7,
)  # fmt: skip


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    reader = Reader(tmp_path_factory.mktemp("reader"))
    yield reader
    reader.process.stdin.close()
    assert reader.process.wait(10) == 0


@pytest.fixture(scope="module")
def odd(tmp_path_factory, reader):
    """A model of a shape that nothing suits, with a look of its own, known to the reader: its
    folder of weights."""
    folder = tmp_path_factory.mktemp("odd")
    torch.manual_seed(3)
    network = new_network(ODD)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    arrays = codec_arrays(network, gaussian_tables())
    fingerprint = f"{weights.fingerprint_of(arrays, ODD):08x}"
    data = file_bytes(arrays)
    about = {"fingerprint": fingerprint, "file": "odd.npz", "sha256": sha256(data), "shape": ODD.as_dict()}
    write_codec(folder, data, about)
    look = with_grain(network.synthesis, ODD, 3)
    look.layers[0].weight.data[:, -3:] = 0.3 * torch.randn(27, 3, 1, 1)
    state = {name: value.detach().half().numpy() for name, value in look.state_dict().items()}
    write_look(folder, "vivid", file_bytes(state), {})
    reader.know(folder)
    return folder


@pytest.mark.parametrize("look", ["faithful", "vivid"])
@pytest.mark.parametrize("side", [None, 4])
def test_any_shape_in_tiles_or_whole(reader, odd, look, side, monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(odd))
    rgb, labels, model = picture(200, 150), disc(200, 150), codec.load_model("cpu", encoder=True, backend="numpy")
    data = codec.encode_picture(rgb, labels, 2, qualities=(40, 90), model=model)
    expected = codec.decode_picture(open_container(data), codec.load_model("cpu", look=look, backend="numpy"))
    pixels, _ = reader.picture(data, look=look, **({} if side is None else {"side": side}))
    assert_near(pixels, np.asarray(Image.fromarray(expected.pixels).convert("RGBA")))
    assert expected.rgb.std() > 1
