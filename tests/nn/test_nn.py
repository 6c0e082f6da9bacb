"""The network's own rules: what each part may see, and that the training path does what coding
does."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from obic import inference
from obic.entropy import LayerCoder
from obic.entropy.tables import gaussian_tables
from obic.metrics import ms_ssim
from obic.nn.blocks import Block
from obic.nn.context import PASSES, pass_masks
from obic.nn.gain import interpolate
from obic.nn.hyper_networks import index_to_scale, log_scale_to_index
from obic.nn.model import CodecNetwork
from obic.nn.rate_distortion import code_layers, distortion, distortion_weight, gaussian_bits, prices, slopes
from obic.shape import Shape, quality_to_level
from obic.train.codec.checkpoint import new_network
from obic.train.codec.crops import HIGH, MIDDLE, OFTEN, Batches, any_quality, draw_rows
from obic.train.codec.estimate import cost, estimate
from obic.train.codec.fit_hyper_prior import fitted_hyper_prior
from obic.train.codec.fit_tables import fitted_tables
from obic.train.codec.loss import LOSS_BOUND, WHOLE_UNTIL, bounded, draw_layers, training_loss
from obic.train.codec.weights_file import codec_arrays
from obic.train.common.data import Sample, load_samples
from obic.train.common.manifest import file_bytes
from obic.train.common.optim import Clipping, Optimisers, orthogonalise
from obic.train.vivid.__main__ import mostly_low_quality
from obic.weights import codec_from_bytes, fingerprint_of, scale_map_of

TINY = Shape(fine=24, fine_blocks=1, coarse=32, coarse_blocks=1, latent=16, hyper=8, hyper_width=16, context=32)


@pytest.fixture
def network() -> CodecNetwork:
    torch.manual_seed(0)
    return new_network(TINY)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 4), (8, 7)])
def test_every_element_is_coded_in_exactly_one_pass(height, width):
    masks = pass_masks(16, height, width)
    assert masks.shape == (PASSES, 16, height, width)
    assert (masks.sum(0) == 1).all()
    if height % 2 == 0 and width % 2 == 0:
        assert (masks.sum((1, 2, 3)) == 16 * height * width // 4).all()


def test_interpolation_hits_the_levels_and_lies_between():
    table = torch.tensor([[0.0, 4.0], [2.0, 0.0], [6.0, 8.0]])
    levels = torch.tensor([0.0, 1.0, 2.0, 0.5, 1.25])
    expected = torch.tensor([[0.0, 4.0], [2.0, 0.0], [6.0, 8.0], [1.0, 2.0], [3.0, 2.0]])
    assert torch.allclose(interpolate(table, levels), expected)


def test_scale_and_index_are_inverse():
    index = torch.linspace(1, 63, 100)
    assert torch.allclose(log_scale_to_index(index_to_scale(index).log()), index, atol=1e-4)
    assert index_to_scale(torch.tensor(1.0)).item() == pytest.approx(0.11)
    assert index_to_scale(torch.tensor(63.0)).item() == pytest.approx(32)


def test_the_transforms_are_local(network):
    """A change far away changes nothing here: pictures can be coded in bands."""
    first = np.random.default_rng(0).integers(0, 256, (512, 64, 3), np.uint8)
    second = first.copy()
    second[400:] = 0
    model = codec_from_bytes(file_bytes(codec_arrays(network, gaussian_tables())), TINY, encoder=True)
    a, b = inference.analyse_all(model.backend, [first, second])
    assert np.array_equal(a[:16], b[:16]) and not np.array_equal(a, b)


def test_a_block_adds_no_more_than_so_much_however_large_its_input():
    torch.manual_seed(0)
    block = Block(16)
    x = torch.randn(1, 16, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        block.double().start()
        block.log_damping.fill_(0.0)
        small, large, huge = (block(x * factor) - x * factor for factor in (1, 1e5, 1e7))
        assert large.abs().max() < 5 * small.abs().max()
        assert torch.allclose(large, huge, rtol=0, atol=0.01 * large.abs().max().item())
        usual = Block(16, damped=False).double()
        usual.load_state_dict(block.state_dict(), strict=False)
        assert torch.allclose(block(x * 1e-3), usual(x * 1e-3), rtol=0, atol=1e-8)


def test_shapes_from_before_damping_are_what_they_were():
    old = {name: value for name, value in TINY.as_dict().items() if name != "damped"}
    assert TINY.as_dict() == {**old, "damped": 1} and Shape.of(TINY.as_dict()) == TINY
    assert Shape.of(old).as_dict() == old and not Shape.of(old).damped


def test_the_context_sees_the_layer_alone(network):
    """Two layers side by side: features of one change nothing in the other."""
    torch.manual_seed(0)
    features = torch.randn(1, 16, 8, 8) * 5
    changed = features.clone()
    changed[..., 4:] += 7
    cells = torch.zeros(1, 1, 8, 8)
    cells[..., :4] = 1
    quality = torch.tensor([50.0])
    with torch.no_grad():
        a = code_layers(network, features, cells, quality, noisy=False)[0]
        b = code_layers(network, changed, cells, quality, noisy=False)[0]
    assert torch.equal(a, b) and (a[..., 4:] == 0).all() and a.any()


def test_training_path_and_inference_agree(network):
    """The features a trainer sees after rounding are those a decoder gets from the integers."""
    network.load_state_dict({name: value.half().float() for name, value in network.state_dict().items()})
    model = codec_from_bytes(file_bytes(codec_arrays(network, gaussian_tables())), TINY, encoder=True)
    rgb = np.random.default_rng(0).integers(0, 256, (96, 80, 3), np.uint8)
    cells = np.ones((6, 5), bool)
    cells[:2, :2] = False
    coder = LayerCoder(model.entropy, cells, 70)
    features = inference.analyse_all(model.backend, [rgb])
    z, residual = inference.encode_cells(model, features, coder)
    decoded, conditions = (torch.from_numpy(each).permute(0, 3, 1, 2)
                           for each in inference.decode_cells(model, z, residual, coder))
    planes = torch.from_numpy(cells).float()[None, None]
    with torch.inference_mode():
        features = torch.from_numpy(features).permute(0, 3, 1, 2)
        trained, expected, rates = code_layers(network, features, planes, torch.tensor([70.0]), noisy=False)
    assert residual.any() and torch.allclose(conditions, expected)
    assert ((decoded - trained).abs() < 1e-3).float().mean() > 0.99  # all but what a rounded table index moves
    assert 8 * len(coder.encode(z, residual)) == pytest.approx((rates.hyper + rates.residual).item(), rel=0.05)


def test_prices_turn_bits_under_noise_into_bits_of_rounded_symbols():
    rows = torch.arange(8, 25)  # scales of 0.2 to 0.9
    scales = index_to_scale(rows.float()).double()[:, None]
    noisy_places = torch.arange(-6, 6, 1 / 64, dtype=torch.float64)
    costs = []
    for places, step in ((noisy_places, 1 / 64), (torch.arange(-6, 7, dtype=torch.float64), 1)):
        bits = gaussian_bits(places, scales)
        costs.append((2**-bits * bits).sum(1) * step)
    noisy, rounded = (cost.diff() for cost in costs)
    of_steps = (prices()[rows[1:]] + prices()[rows[:-1]]) / 2
    assert torch.allclose(of_steps.double() * noisy, rounded, atol=3e-3)
    assert (prices()[30:] == 1).all() and (prices() > 0).all()


def test_slopes_are_those_of_what_survives_rounding():
    rows = torch.arange(6, 40)  # scales of 0.18 to 3.4
    scales = index_to_scale(rows.float()).double()[:, None]
    places = torch.arange(-30 + 1 / 512, 30, 1 / 256, dtype=torch.float64)  # none between two symbols
    density = torch.exp(-0.5 * (places / scales).square()) / scales / (2 * torch.pi) ** 0.5 / 256
    survives = (density * places * places.round()).sum(1).diff()
    there = scales[:, 0].square().diff()
    of_steps = (slopes()[rows[1:]] + slopes()[rows[:-1]]) / 2
    assert torch.allclose(of_steps.double() * there, survives, rtol=0.02)
    assert (slopes() > 0).all() and (slopes()[:4] < 0.2).all() and torch.allclose(slopes()[30:], torch.tensor(1.0))


def test_the_gradient_passes_rounding_as_far_as_its_scale_lets_through(network):
    """Where nothing survives rounding the synthesis gets the mean, and that is what the gradient is
    for."""
    features = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    cells, quality = torch.ones(1, 1, 4, 4), torch.tensor([50.0])
    shares = []
    for bias in (math.log(0.1), math.log(4.0)):  # the scale of every element
        for each in network.scale_index.parameters():
            each.data.zero_()
        network.scale_index.bias.data.fill_(bias)
        decoded = code_layers(network, features, cells, quality)[0]
        into_features, into_mean = torch.autograd.grad(
            decoded.sum(), [features, network.get_parameter("context.exits.3.1.bias")])
        shares.append((into_features.abs().sum(), into_mean[: len(into_mean) // 2].abs().sum()))
    (few, much_mean), (many, little_mean) = shares
    assert few < 0.2 * many and little_mean < 0.2 * much_mean


def test_gaussian_bits():
    assert gaussian_bits(torch.tensor(0.0), torch.tensor(0.05)).item() == pytest.approx(0, abs=1e-4)
    whole = 2 ** -gaussian_bits(torch.arange(-30.0, 31), torch.tensor(3.0))
    assert whole.sum().item() == pytest.approx(1, abs=1e-4)


def test_distortion_weight_rises_with_the_level():
    weights = distortion_weight(torch.tensor([0.0, 3.5, 7.0, 9.0]))
    assert weights.tolist() == pytest.approx([0.05, 1, 20, 110.8], rel=1e-3)


def test_a_shift_of_colour_is_worse_than_one_of_brightness_where_it_lies():
    torch.manual_seed(0)
    pixels = 0.3 + 0.4 * torch.rand(1, 3, 192, 192)
    regions = torch.zeros(1, 2, 192, 192)
    regions[:, 0, :, :80] = regions[:, 1, :, 112:] = 1
    brighter, redder = pixels.clone(), pixels.clone()
    brighter[..., :80] += 0.1
    redder[..., :80] += 0.1 * torch.tensor([1.5**0.5, -(1.5**0.5), 0])[:, None, None]  # as large, on average 0
    (light, _), (colour, elsewhere) = (distortion(each, pixels, regions, 1, 10)[0] for each in (brighter, redder))
    assert colour > light + 0.05 and elsewhere < 0.01
    assert torch.allclose(distortion(brighter, pixels, regions, 0), distortion(redder, pixels, regions, 0))


def test_ms_ssim():
    torch.manual_seed(0)
    a = torch.rand(2, 3, 192, 200)
    b = (a + 0.1 * torch.randn_like(a)).clamp(0, 1)
    assert torch.allclose(ms_ssim(a, a), torch.ones(2))
    both = ms_ssim(a, b)
    assert (both < 0.99).all() and torch.allclose(both, ms_ssim(b, a))
    assert torch.allclose(ms_ssim(a, b, torch.ones(2, 1, 192, 200))[:, 0], both, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ms_ssim(a, b), both)
    half = a.clone()
    half[..., 100:] = b[..., 100:]
    left = torch.zeros(2, 1, 192, 200)
    left[..., :60] = 1
    assert ms_ssim(a, half, left).min() > 0.98 > ms_ssim(a, half).max()


def test_ms_ssim_of_whole_pictures_sees_the_border():
    torch.manual_seed(0)
    a = torch.rand(1, 3, 192, 192)
    spoilt = a.clone()
    spoilt[..., :4] = 0.5  # inside half a window of the border
    assert ms_ssim(a, spoilt, whole=True) < ms_ssim(a, spoilt) - 0.01
    assert torch.allclose(ms_ssim(a, a, whole=True), torch.ones(1))
    assert ms_ssim(a[..., :16, :16], spoilt[..., :16, :16], whole=True).isfinite().all()


def test_rows_of_labels():
    labels = torch.zeros(3, 4, 4)
    labels[1, :2] = 1
    labels[2] = 1
    rows = draw_rows(torch.stack([1 - labels, labels], 1), random.Random(0), mostly_low_quality)
    assert rows.pictures.tolist() == [0, 1, 1, 2] and rows.numbers.tolist() == [0, 0, 1, 1]
    assert 1 <= rows.quality.min() and rows.quality.max() <= 100
    assert torch.equal(rows.joined(rows.cells), torch.ones(3, 1, 4, 4))
    assert rows.joined(rows.cells, torch.tensor([0.0, 1, 0, 1])).mean((1, 2, 3)).tolist() == [0, 0.5, 1]


def test_early_training_sees_whole_pictures_at_middle_qualities():
    labels = torch.zeros(40, 4, 4)
    labels[:, :2] = 1
    layers, rows = draw_layers(labels, WHOLE_UNTIL - 1, random.Random(0))
    assert rows.numbers.tolist() == [0] * 40 and layers[:, 0].all() and not layers[:, 1].any()
    assert MIDDLE[0] <= rows.quality.min() and rows.quality.max() <= MIDDLE[1]
    layers, rows = draw_layers(labels, WHOLE_UNTIL, random.Random(0))
    assert rows.numbers.tolist() == [0, 1] * 40 and torch.equal(layers[:, 1], labels)
    assert rows.quality.min() < MIDDLE[0] and rows.quality.max() > MIDDLE[1]


def test_most_qualities_are_drawn_where_most_pictures_are_coded():
    generator = random.Random(0)
    drawn = [any_quality(generator) for _ in range(2000)]
    often, high = (sum(low <= quality <= top for quality in drawn) / len(drawn) for low, top in (OFTEN, HIGH))
    assert min(drawn) < 6 and 0.66 < often < 0.8  # 0.65 and 0.25 * 0.31
    assert max(drawn) > 96 and 0.12 < high < 0.23  # 0.1 and 0.25 * 0.3


def test_orthogonalise():
    torch.manual_seed(0)
    for shape in ((2, 40, 20), (2, 20, 40)):
        result = orthogonalise(torch.randn(shape)).double()
        assert torch.linalg.svdvals(result).max() < 1.3 and torch.linalg.svdvals(result).min() > 0.5


def test_a_gradient_out_of_line_is_bounded_by_what_is_usual():
    layer = torch.nn.Linear(3, 3, bias=False)
    clipping = Clipping(layer.parameters(), factor=2.0)

    def clipped(value):
        layer.weight.grad = torch.full((3, 3), value)
        clipping.step()
        return layer.weight.grad[0, 0].item()

    assert clipped(1.0) == pytest.approx(1) and clipped(1.5) == pytest.approx(1.5)
    assert clipped(1e9) == pytest.approx(2, rel=0.02)  # twice the usual one
    assert clipped(float("nan")) == 0 and clipped(float("inf")) == 0
    assert clipped(1.0) == pytest.approx(1)
    for _ in range(300):  # what is usual follows
        clipped(10.0)
    assert clipped(15.0) == pytest.approx(15)


def test_a_row_that_runs_away_pulls_no_harder_than_others():
    losses = torch.tensor([0.0, 0.3, LOSS_BOUND, 50.0, 1e20], requires_grad=True)
    result = bounded(losses)
    result.sum().backward()
    assert torch.equal(result[:3], losses[:3]) and torch.equal(losses.grad[:2], torch.ones(2))
    assert result[3] < result[4] < 50 and (losses * losses.grad)[3:].tolist() == pytest.approx([LOSS_BOUND] * 2)


def test_emphasis_is_the_power_of_lambda_that_a_quality_weighs_with(network, monkeypatch):
    pixels, labels = torch.rand(1, 3, 64, 64), torch.zeros(1, 4, 4)
    for quality in (20.0, 90.0):
        monkeypatch.setattr("obic.train.codec.loss.any_quality", lambda generator, quality=quality: quality)
        losses = []
        for emphasis in (0.0, 0.5):
            torch.manual_seed(0)
            losses.append(training_loss(network, pixels, labels, WHOLE_UNTIL, random.Random(0), emphasis)[0].item())
        weight = distortion_weight(quality_to_level(torch.tensor(quality), network.shape.levels)).item()
        assert losses[1] == pytest.approx(losses[0] * weight**0.5, rel=1e-4)


def test_weight_decay_bounds_what_muon_makes_of_a_matrix():
    def norm(weight_decay):
        torch.manual_seed(0)
        layer = torch.nn.Linear(40, 40)
        optimisers = Optimisers(layer, 0.05, weight_decay=weight_decay, warmup=1)
        for _ in range(100):
            layer.weight.grad = torch.eye(40)
            optimisers.step(0.0)
        return torch.linalg.svdvals(layer.weight).max()

    limit = 0.2 * 40**0.5 / 0.5  # where a step adds what the decay takes
    assert norm(0.5) < 1.2 * limit < 2 * limit < norm(0.0)


def test_a_few_steps_of_training_lower_the_loss(network):
    y, x = np.mgrid[:300, :280]
    rgb = np.dstack([np.sin(x / 20) * 100 + 120, y / 300 * 255, np.cos(y / 30) * 100 + 120]).astype(np.uint8)
    mask = (np.hypot(y - 150, x - 140) < 80).astype(np.uint8)
    batches = Batches([Sample("a", rgb, mask)], 192, 2, "cpu", seed=0)
    optimisers, some = Optimisers(network, 0.005, 0.002, warmup=2), [batches.draw() for _ in range(4)]

    def mean_loss():  # of the same crops at the same qualities with the same noise
        torch.manual_seed(0)
        generator = random.Random(0)
        return np.mean([training_loss(network, *each, 0, generator)[0].item() for each in some])

    before = mean_loss()
    for _ in range(60):
        loss, *_ = training_loss(network, *batches.draw(), 0, batches.random)
        loss.backward()
        optimisers.step(0.0)
    assert mean_loss() < 0.5 * before
    loss, *_ = training_loss(network, *batches.draw(), WHOLE_UNTIL, random.Random(0))
    loss.backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert missing == []


def test_the_integer_map_is_the_trained_one(network):
    arrays = codec_arrays(network, gaussian_tables())
    scale_map = scale_map_of(arrays)
    z = np.random.default_rng(0).integers(-9, 10, (8, 3, 2)).astype(np.int32)
    level = torch.tensor([quality_to_level(40.0, network.shape.levels)])
    with torch.no_grad():
        exact = network.scale_index(torch.from_numpy(z).float()[None], level)[0].numpy()
    assert np.abs(scale_map.table_rows(z, 40) - np.clip(np.floor(exact), 0, 63)).mean() < 0.03


def test_fitted_tables_follow_what_was_counted():
    counts = np.zeros((64, 130))
    counts[20, 64], counts[20, 65] = 900_000, 100_000
    rows = fitted_tables(counts).counts
    assert rows[20, 64] / 2**24 == pytest.approx(0.9, abs=0.01)
    assert rows[20, 63] == pytest.approx(rows[20, 65], rel=1e-3)
    assert rows[30, 64] < rows[10, 64]


def test_fingerprint_covers_all_a_decoder_uses_and_nothing_else(network):
    arrays = codec_arrays(network, gaussian_tables())
    first = fingerprint_of(arrays, TINY)
    for name in arrays:
        changed = dict(arrays)
        changed[name] = arrays[name] + np.ones((), arrays[name].dtype)
        assert (fingerprint_of(changed, TINY) == first) == name.startswith("encoder."), name


def test_samples_from_a_folder(tmp_path):
    Image.new("RGB", (80, 60), (200, 0, 0)).save(tmp_path / "a.webp")
    Image.new("L", (80, 60), 15).save(tmp_path / "a.png")
    Image.new("RGB", (50, 40)).save(tmp_path / "b.jpg")
    samples = load_samples([tmp_path], long_side=40)
    found = [(sample.name, sample.rgb.shape, sample.mask is None) for sample in samples]
    assert found == [("a", (30, 40, 3), False), ("b", (32, 40, 3), True)]
    assert samples[0].mask.max() == 15
    with pytest.raises(FileNotFoundError):
        load_samples([_empty(tmp_path)])


def _empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def test_the_fitted_prior_of_z_costs_less_than_the_trained_one(network):
    with torch.no_grad():
        network.hyper_analysis.layers[-1].bias.copy_(torch.arange(8) - 4.0)  # means that zero-mean tables pay for
    model = codec_from_bytes(file_bytes(codec_arrays(network, gaussian_tables())), TINY, encoder=True)
    rgb = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    batches = Batches([Sample("a", rgb, None)], 256, 1, "cpu", seed=0)
    prior = fitted_hyper_prior(model, batches, 12)
    assert np.abs(prior.offset - (np.arange(8) - 4)).max() <= 1
    cells = np.ones((16, 16), bool)
    features = inference.analyse_all(model.backend, [rgb])
    sizes = []
    for each in (model.entropy.hyper_prior, prior):
        coder = LayerCoder(replace(model.entropy, hyper_prior=each), cells, 50)
        sizes.append(len(coder.encode(*inference.encode_cells(model, features, coder))))
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize(("level", "weight"), [(0.0, 0.05), (7.0, 20)])
def test_a_cost_is_that_of_equation_4_over_the_root_of_lambda(level, weight):
    assert cost(level, 0.3, 0.9) == pytest.approx(weight**0.5 * 0.1 + 0.3 / weight**0.5)


def test_an_estimate_rises_with_quality(network):
    torch.manual_seed(0)
    low, high = estimate(network, [torch.rand(3, 200, 190)], [1.0, 100.0])
    assert 0 < low[0] < high[0] and 0 <= low[1] <= 1
