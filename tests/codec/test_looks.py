"""A second synthesis for the same files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import obic as package
from obic import codec
from obic.bench.common.captions import CAPTION, GAP
from obic.bench.vivid import __main__ as looks
from obic.bench.vivid.patches import detail, dots, frechet
from obic.container import open_container
from obic.errors import ObicError, UnsupportedError, UsageError
from obic.looks import LOOKS
from obic.segment.deeplab import DeepLab
from obic.shape import Shape
from obic.train import pack
from obic.train.codec.checkpoint import load_checkpoint, new_network
from obic.train.codec.crops import Batches
from obic.train.common.curves import Curves
from obic.train.common.data import Sample
from obic.train.common.manifest import write_look
from obic.train.vivid import __main__ as vivid
from obic.train.vivid.look_file import look_bytes, mixed_with_own, with_grain
from obic.train.vivid.wasserstein import Views, wasserstein
from obic.weights import load_codec
from shared.places import TESTS

GOLDEN = TESTS / "golden" / "v1"
FILE = GOLDEN / "two-layers.obic"
TINY = Shape(fine=24, fine_blocks=1, coarse=32, coarse_blocks=1, latent=16, hyper=8, hyper_width=16, context=32)


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """The tiny codec with a vivid look, whose pictures are darker."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("manifest.json", "codec-99f473ba.npz"):
        shutil.copy(GOLDEN / name, folder)
    network = load_checkpoint(folder)
    synthesis = with_grain(network.synthesis, network.shape, 2)
    with torch.no_grad():
        synthesis.layers[-1].conv.bias -= 0.25
    state = {name: value.half() for name, value in synthesis.state_dict().items()}
    write_look(folder, "vivid", look_bytes({"synthesis": state}), {"steps": 0, "on": "nothing"})
    monkeypatch.setenv("OBIC_WEIGHTS", str(folder))
    return folder


def test_a_look_is_another_synthesis_of_the_same_latent(weights):
    container = open_container(FILE.read_bytes())
    faithful, vivid = (codec.load_model("cpu", container.header.model, look=look) for look in ("faithful", "vivid"))
    assert faithful.fingerprint == vivid.fingerprint
    first, second = (codec.decode_symbols(container, 1, model) for model in (faithful, vivid))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    bright, dark = (codec.decode_picture(container, model).rgb.astype(int) for model in (faithful, vivid))
    assert np.median(bright - dark) in (63, 64)


def test_commands_and_functions_know_looks(obic, weights):
    assert obic("decode", FILE, "-o", "faithful.png").code == 0
    assert obic("decode", FILE, "--look", "vivid", "-o", "vivid.png").code == 0
    faithful, vivid = (np.asarray(Image.open(name)) for name in ("faithful.png", "vivid.png"))
    assert vivid.mean() < faithful.mean() - 40
    own = package.Codec("cpu")
    assert np.array_equal(np.asarray(own.decode(FILE, look="vivid")), vivid)
    assert np.array_equal(np.asarray(own.decode(FILE)), faithful)
    assert np.array_equal(np.asarray(own.decode_all([FILE], look="vivid")[0]), vivid)

    assert obic("extract", FILE, "--layer", "object", "--look", "vivid", "-o", "object.png").code == 0
    cut_out = np.asarray(Image.open("object.png"))
    seen = cut_out[..., 3] > 0
    assert np.array_equal(np.asarray(own.extract(FILE, "object", look="vivid"))[seen], cut_out[seen])
    assert np.asarray(own.extract(FILE, "object"))[seen].mean() > cut_out[seen].mean() + 20


def test_a_look_is_for_pixels(obic, weights):
    result = obic("extract", FILE, "--layer", "object", "--look", "vivid", "-o", "object.obic")
    assert result.code == 2 and "--look is for pixels" in result.err and not Path("object.obic").exists()
    with pytest.raises(UsageError, match="unknown look 'dreamy'"):
        codec.load_model("cpu", look="dreamy")


def test_a_codec_without_the_look_says_so(obic, monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    result = obic("decode", FILE, "--look", "vivid", "-o", "picture.png")
    assert result.code == 4 and result.err.count("\n") == 1 and "has no look 'vivid'" in result.err
    assert not Path("picture.png").exists()
    with pytest.raises(UnsupportedError, match="'faithful'"):
        load_codec(look="vivid")


def test_a_damaged_look_is_not_used(weights):
    path = weights / "codec-99f473ba-vivid.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ObicError, match="damaged"):
        load_codec(look="vivid")
    load_codec()


def test_a_look_belongs_to_one_codec(weights, tmp_path, monkeypatch):
    torch.save({"codec": "00000001", "synthesis": {}, "log": {}}, tmp_path / "vivid.pt")
    monkeypatch.setattr("sys.argv", ["pack", str(tmp_path / "vivid.pt"), "--look", "vivid", "--out", str(weights)])
    with pytest.raises(SystemExit, match=r"^error: the look was trained for codec 00000001, "):
        pack.main()


@pytest.mark.parametrize(("content", "options", "says"), [
    (b"?", ("--look", "vivid"), "is not a checkpoint"),
    ({"shape": {}}, ("--look", "vivid"), "has no 'codec'"),
    ({"codec": "99f473ba"}, ("--data", "."), "has no 'shape'"),
])
def test_what_cannot_be_packed_changes_nothing(weights, tmp_path, monkeypatch, content, options, says):
    path = tmp_path / "some.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    before = {each.name: each.read_bytes() for each in weights.iterdir()}
    monkeypatch.setattr("sys.argv", ["pack", str(path), *options, "--out", str(weights)])
    with pytest.raises(SystemExit, match=f"^error: .*{says}"):
        pack.main()
    assert before == {each.name: each.read_bytes() for each in weights.iterdir()}


def test_weights_that_are_not_there_are_not_replaced_by_others(obic, tmp_path, monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(tmp_path / "typo"))
    done = obic("decode", FILE, "-o", tmp_path / "a.png")
    assert done.code == 1 and "typo, which has no manifest.json" in done.err
    assert not (tmp_path / "a.png").exists()


def test_weights_fitted_anew_keep_their_networks_and_looks(weights, tmp_path, monkeypatch):
    rgb = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(rgb).save(tmp_path / "pictures" / "a.png")
    before = {look: load_codec(backend="torch", encoder=True, look=look) for look in LOOKS}
    options = ("--data", str(tmp_path / "pictures"), "--crops", "3", "--out", str(weights))
    monkeypatch.setattr("sys.argv", ["pack", str(weights), *options])
    pack.main()
    assert len(list(weights.glob("codec-*"))) == 2
    for look in LOOKS:
        after = load_codec(backend="torch", encoder=True, look=look)
        assert len(after.entropy.hyper_prior.table_rows) == 4 and after.fingerprint != before[look].fingerprint
        state = after.backend.network.state_dict()
        assert all(torch.equal(state[name], value) for name, value in before[look].backend.network.state_dict().items())
    data = codec.encode_picture(rgb, None, 1, qualities=(70,), model=load_codec(encoder=True))
    assert codec.decode_picture(open_container(data), load_codec()).rgb.shape == rgb.shape


def test_a_vivid_synthesis_is_trained_alone_and_learns_to_use_its_noise(tmp_path):
    torch.manual_seed(0)
    network = new_network(TINY)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    saved, curves = [], Curves(tmp_path / "vivid.csv", ("loss", "distortion", "wasserstein"))
    batches = Batches([Sample("a", rgb, None)], 64, 1, "cpu", seed=0)
    vivid.train(network, Views(DeepLab()), batches, 0.02, lambda *each: saved.append(each), curves, muon_lr=0.005)
    state, log = saved[-1]
    assert log["steps"] > 1
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert state["layers.0.weight"][:, -vivid.GRAIN :].abs().max() > 0
    assert not torch.equal(state["layers.1.0.gate.weight"], before["synthesis.layers.1.0.gate.weight"])

    earlier = {name: value + 0.1 for name, value in state.items() if not name.endswith("damping")}
    vivid.train(network, Views(DeepLab()), batches, 0.001, lambda *each: saved.append(each), curves, 0.0, earlier)
    assert all(torch.allclose(saved[-1][0][name], value, atol=0.01) for name, value in earlier.items())


def test_a_look_can_be_mixed_with_the_codecs_own_synthesis(weights):
    network = load_checkpoint(weights)
    own = with_grain(network.synthesis, network.shape, 2).state_dict()
    made = {"codec": "99f473ba", "synthesis": {name: value + 1 for name, value in own.items()}, "log": {"steps": 0}}
    mixed = mixed_with_own(weights, made, 0.75)
    assert mixed["log"] == {"steps": 0, "share": 0.75} and mixed["codec"] == made["codec"]
    assert all(torch.allclose(value.float(), own[name] + 0.75, atol=0.01) for name, value in mixed["synthesis"].items())
    assert mixed_with_own(weights, made, 1.0) == made


def test_wasserstein_distortion_looks_at_statistics_not_at_places():
    torch.manual_seed(0)
    views = Views(DeepLab())
    one, other, flat = torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128), torch.full((1, 3, 128, 128), 0.5)
    small, large = (torch.rand(1, 3, side, side).repeat(1, 1, 128 // side, 128 // side) for side in (8, 16))
    with torch.no_grad():
        true = views(one)
        pictures = (one, other, flat, small, large)
        same, alike, smooth, *patterns = (wasserstein(views(each), true) for each in pictures)
    assert same < 1e-6 < alike < smooth / 3 and alike < min(patterns) / 3


def test_wasserstein_distortion_sees_more_where_nothing_hides_it():
    torch.manual_seed(0)
    views = Views(DeepLab())
    picture, spots = torch.full((1, 3, 128, 256), 0.5), torch.zeros(1, 3, 128, 256)
    picture[..., 128:] = torch.rand(1, 3, 128, 128)
    spots[..., ::16, 8:128:16] = 0.1
    with torch.no_grad():
        true = views(picture)
        in_the_sky, in_texture = (wasserstein(views(picture + each), true) for each in (spots, spots.roll(128, 3)))
    assert in_the_sky > 5 * in_texture


def test_the_table_and_the_sheet(weights, tmp_path, monkeypatch):
    (tmp_path / "kodak").mkdir()
    rgb = np.random.default_rng(0).integers(0, 256, (192, 208, 3), np.uint8)
    Image.fromarray(rgb).save(tmp_path / "kodak" / "a.png")
    monkeypatch.setattr("sys.argv", ["looks", "--data", str(tmp_path), "--out", str(tmp_path / "docs")])
    looks.main()
    page = (tmp_path / "docs" / "looks.md").read_text()
    assert page.count("| faithful |") == page.count("| vivid |") == len(looks.LOW_RATES)
    assert Image.open(tmp_path / "docs" / "looks.webp").size == (3 * 208 + 2 * GAP, 192 + CAPTION)


def test_what_the_table_of_looks_measures():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(4000, 3)), generator.normal(size=(4000, 3))
    assert frechet(a, b) < 0.02
    assert frechet(a, 2 * b) == pytest.approx(3, abs=0.3)  # (2 - 1)^2 in each of three directions
    assert frechet(a, b + 1) == pytest.approx(3, abs=0.3)
    noise = generator.integers(0, 256, (32, 32, 3), np.uint8)
    assert detail(np.full_like(noise, 90)) == 0 < detail(noise // 2) < detail(noise)


@pytest.mark.parametrize("period", [8, 16])
def test_dots_are_what_repeats_from_cell_to_cell(period):
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 4, (256, 256, 3)) + 128
    dotted = noise.copy()
    dotted[::period, ::period] += 16
    noise, dotted = noise.astype(np.uint8), dotted.astype(np.uint8)
    assert abs(dots(noise, noise)) < 0.1
    assert dots(dotted, noise) == pytest.approx(2 * 16**2 / period**2 * 2, rel=0.3)  # steps up and down, either way
