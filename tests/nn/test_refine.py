"""The latent improved for one picture."""


import numpy as np
import pytest
import torch
from PIL import Image

from obic import codec
from obic.bench.codec.effort import measured
from obic.bench.common.pictures import TestPicture
from obic.container import open_container
from obic.errors import UsageError
from obic.nn import refine
from obic.nn.rate_distortion import distortion, distortion_weight
from obic.shape import quality_to_level
from shared.places import TESTS

GOLDEN = TESTS / "golden" / "v1"


def picture(height=96, width=128):
    y, x = np.mgrid[:height, :width]
    rgb = 128 + 90 * np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 5)], 2)
    return rgb.astype(np.uint8)


def labels(height=96, width=128):
    found = np.zeros((height, width), np.uint8)
    found[16:64, 32:96] = 1
    return found


def cost(encoder, model, rgb, qualities):
    """Eq. 4 of a real file, in bits a pixel."""
    data = encoder.encode(qualities)
    encoder.verify(data)
    decoded = codec.decode_picture(open_container(data), model).rgb
    a, b = (torch.tensor(each).permute(2, 0, 1)[None].float() / 255 for each in (decoded, rgb))
    regions = torch.stack([torch.from_numpy(labels() == label).float() for label in (0, 1)])[None]
    levels = model.backend.shape.levels
    weight = distortion_weight(quality_to_level(torch.tensor(qualities).float(), levels))
    lost = (weight * regions.mean((0, 2, 3)) * distortion(a, b, regions)[0]).sum()
    return lost.item() + 8 * len(data) / rgb[..., 0].size


@pytest.mark.parametrize("side", [48, 6])
def test_refining_lowers_the_cost(torch_encoder, monkeypatch, side):
    """In one tile, and in several."""
    monkeypatch.setattr(refine, "TILE", side**2)
    rgb, qualities = picture(), (60, 75)
    encoder = codec.PictureEncoder(rgb, labels(), 2, model=torch_encoder)
    before = cost(encoder, torch_encoder, rgb, qualities)
    encoder = encoder.refined(qualities, 30)
    assert cost(encoder, torch_encoder, rgb, qualities) < before


def test_refining_gives_the_same_file_every_time(torch_encoder):
    files = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        encoder = codec.PictureEncoder(picture(), labels(), 2, model=torch_encoder)
        encoder = encoder.refined((40, 40), 5)
        files.append(encoder.encode((40, 40)))
    assert files[0] == files[1]


@pytest.mark.parametrize("size", [(1, 1), (17, 40), (32, 32)])
def test_tiny_pictures(torch_encoder, size):
    encoder = codec.PictureEncoder(picture(*size), None, 1, model=torch_encoder)
    encoder = encoder.refined((50,), 20)
    assert codec.decode_picture(open_container(encoder.encode((50,))), torch_encoder).rgb.shape == (*size, 3)


def test_effort_on_the_command_line(obic, tmp_path, monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    Image.fromarray(picture(48, 64)).save(tmp_path / "x.png")
    sizes = {}
    for effort in (0, 1):
        done = obic("encode", "x.png", "-o", f"{effort}.obic", "--mask", "none", "--bpp", "1", "--effort", effort)
        assert done.code == 0, done.stderr
        sizes[effort] = (tmp_path / f"{effort}.obic").stat().st_size
    assert max(sizes.values()) <= 48 * 64 / 8
    assert (tmp_path / "0.obic").read_bytes() != (tmp_path / "1.obic").read_bytes()
    assert obic("encode", "x.png", "-o", "2.obic", "--effort", "9").code == 2


def test_the_benchmark_of_effort_measures_it(torch_encoder, monkeypatch):
    monkeypatch.setattr("obic.bench.codec.effort.EFFORT_STEPS", (0, 20))
    pictures = [TestPicture("x", picture(192, 192), None)]
    plain, refined = (measured(pictures, 60, effort, torch_encoder) for effort in (0, 1))
    assert refined[:3] != plain[:3]


def test_refining_needs_gradients():
    model = codec.load_model(encoder=True, backend="numpy")
    with pytest.raises(UsageError, match="backend='torch'"):
        codec.PictureEncoder(picture(32, 32), None, 1, model=model).refined((50,), 1)
