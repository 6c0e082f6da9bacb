"""numpy and PyTorch: the same networks, and files that either reads of the other."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from obic import Codec, backends, codec
from obic.backends import choose_backend, load_backend, strips, torch_backend
from obic.backends.strips import cores
from obic.bench.codec.exactness import symbols_hash
from obic.container import open_container
from obic.entropy.tables import gaussian_tables
from obic.errors import UsageError
from obic.networks import Networks
from obic.shape import Shape, pass_numbers
from obic.train.codec.checkpoint import new_network
from obic.train.codec.weights_file import codec_arrays
from obic.weights import ENCODER, NETWORK
from shared.pictures import disc, picture
from shared.places import GOLDEN

TINY = Shape(
    fine=24, fine_blocks=2, coarse=32, coarse_blocks=1, latent=16, hyper=8, hyper_width=16, context=32,
    context_blocks=1, levels=4,
)  # fmt: skip
SHAPES = {"damped": TINY, "as before": replace(TINY, damped=False, scale_hidden=0, context_blocks=2)}


@pytest.fixture(params=SHAPES)
def both(request, monkeypatch):
    """The same random networks on either backend, in float32."""
    monkeypatch.setattr(torch_backend, "inference_precision", lambda device: torch.autocast("cpu", enabled=False))
    torch.manual_seed(0)
    network = new_network(SHAPES[request.param])
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    arrays = codec_arrays(network, gaussian_tables())
    own = {name.removeprefix(ENCODER).removeprefix(NETWORK): each for name, each in arrays.items() if "." in name}
    own = {name: each for name, each in own.items() if not name.startswith(("scale_map.", "hyper_context."))}
    return [load_backend(name, own, SHAPES[request.param], "cpu") for name in ("numpy", "torch")]


def close(one, other):
    one, other = np.asarray(one), np.asarray(other)
    assert one.shape == other.shape and one.dtype == other.dtype
    assert np.abs(one - other).max() <= 1e-3 * max(1, np.abs(other).max())


def coded(values, number):
    """Of mean or step [B, h, w, M] what the pass codes; 0 elsewhere."""
    values = np.asarray(values)
    return np.where(pass_numbers(values.shape[3], *values.shape[1:3]) == number, values, 0)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (19, 40)])  # of cells; the last in several strips
def test_every_network_is_the_same_on_both(both, size, monkeypatch):
    monkeypatch.setattr(strips, "cores", lambda: 2)
    random = np.random.default_rng(0)

    def maps(channels, batch=1, factor=1):
        shape = (batch, factor * size[0], factor * size[1], channels)
        return random.standard_normal(shape).astype(np.float32)

    pixels = random.integers(0, 256, (2, 16 * size[0], 16 * size[1], 3)).astype(np.uint8)
    scaled, conditions, z = maps(16, factor=4), maps(2, factor=4), maps(8)
    known, hyper, around = maps(16), maps(16), maps(2)
    results, shown = [], []
    for backend in both:
        on = backend.array
        results.append([
            backend.analysis(pixels),
            backend.hyper_analysis(on(scaled), on(conditions)),
            backend.hyper_synthesis(on(z)),
            *(coded(each, number) for number in range(4)
              for each in backend.context(number, on(known), on(hyper), on(around))),
        ])
        shown.append(backend.synthesis(on(0.1 * known), on(around), on(np.zeros((1, *size, 0), np.float32))))
    assert np.abs(np.subtract(*shown, dtype=int)).max() <= 1
    for one, other in zip(*results, strict=True):
        close(one, other)


def test_the_context_where_the_layer_is(both):
    random = np.random.default_rng(1)
    known, hyper = (random.standard_normal((2, 23, 30, 16)).astype(np.float32) for _ in range(2))
    here = np.zeros((2, 23, 30), bool)
    here[0, 3:9, 4:7] = here[0, 20:, 28:] = here[0, 0, 0] = here[1, 11, :] = True
    conditions = here[..., None] * np.float32([1, -0.3])
    for number in range(4):
        results = [backend.context(number, *map(backend.array, (known, hyper, conditions))) for backend in both]
        for one, other in zip(*results, strict=True):
            assert np.isfinite(one).all()
            close(coded(one, number)[here], coded(other, number)[here])
        assert results[0][1].all(), "no step is 0"


def test_files_of_one_are_read_by_the_other():
    models = [codec.load_model("cpu", encoder=True, backend=name) for name in ("numpy", "torch")]
    for maker, reader in (models, models[::-1]):
        data = codec.encode_picture(picture(70, 100), disc(70, 100), 2, qualities=(60, 90), model=maker)
        made, read = (symbols_hash(open_container(data), model) for model in (maker, reader))
        assert made == read
        pixels = [codec.decode_picture(open_container(data), model).rgb.astype(int) for model in (maker, reader)]
        difference = np.abs(pixels[0] - pixels[1])
        assert difference.max() <= 8 and (difference > 2).mean() < 1e-3


def test_vivid_is_the_same_on_both():
    data = codec.encode_picture(picture(70, 100), None, 1, qualities=(30,), model=codec.load_model(encoder=True))
    models = [codec.load_model("cpu", look="vivid", backend=name) for name in ("numpy", "torch")]
    pixels = [codec.decode_picture(open_container(data), model).rgb.astype(int) for model in models]
    difference = np.abs(pixels[0] - pixels[1])
    assert difference.max() <= 8 and (difference > 2).mean() < 1e-2


@pytest.fixture
def without_torch(monkeypatch):
    """As if PyTorch were not installed."""
    monkeypatch.setattr(backends, "has_torch", lambda: False)


def test_the_choice(monkeypatch):
    assert choose_backend("numpy", "auto", 10**9) == "numpy" and choose_backend("torch", "cpu", 1) == "torch"
    assert choose_backend("auto", "cpu", 1) == "torch", "it is imported already"
    with monkeypatch.context() as patch:
        patch.setattr(backends, "has_torch", lambda: True)
        patch.delitem(sys.modules, "torch")
        assert choose_backend("auto", "auto", 10**5) == "numpy"
        assert choose_backend("auto", "auto", 10**7) == "torch"
        assert choose_backend("auto", "cuda", 1) == "torch"


def test_without_torch(without_torch, monkeypatch):
    assert choose_backend("auto", "auto", 10**9) == "numpy"
    for arguments in ({"backend": "torch"}, {"device": "cuda"}):
        with pytest.raises(UsageError, match=r"pip install 'obic\[torch\]'"):
            Networks(**arguments)
    with pytest.raises(UsageError, match="effort needs PyTorch: pip install"):
        Networks().settle(1, gradients=True)


@pytest.mark.parametrize("failure", [None, AttributeError, OSError, TypeError])
def test_only_a_process_of_our_own_keeps_memory(monkeypatch, failure):
    """And it does without where the C library has no such thing."""
    loaded = []

    def library(name):
        loaded.append(name)
        if failure:
            raise failure
        return SimpleNamespace(mallopt=lambda parameter, value: 1)

    monkeypatch.setattr(strips.ctypes, "CDLL", library)
    Networks("cpu", "numpy").settle(1)
    Networks("cpu", "torch", own_process=True).settle(1)
    assert not loaded
    Networks("cpu", "numpy", own_process=True).settle(1)
    assert loaded == [None]


@pytest.mark.parametrize("arguments", [{"backend": "jax"}, {"device": "tpu"}, {"backend": "numpy", "device": "cuda"}])
def test_what_there_is_not(arguments):
    with pytest.raises(UsageError):
        Codec(**arguments)


def test_effort_takes_the_backend_that_has_gradients(monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    with pytest.raises(UsageError, match="effort 0"):
        Codec(backend="numpy").encode(picture(32, 32), mask="none", effort=1)
    maker = Codec()
    monkeypatch.setattr(maker._networks, "backend", "numpy")  # as it was chosen for an earlier picture
    analysed = maker.analyse([picture(32, 32)])
    assert isinstance(analysed[0].features, np.ndarray)
    assert maker.encode(analysed[0], mask="none", effort=1) and maker._networks.backend == "torch"


def test_the_environment_names_a_backend(monkeypatch):
    monkeypatch.setenv("OBIC_BACKEND", "numpy")
    assert Codec()._networks.backend == "numpy" and Codec(backend="torch")._networks.backend == "torch"


@pytest.mark.skipif(strips.blas.get is None, reason="numpy is not linked with OpenBLAS")
def test_a_product_in_a_strip_takes_one_core(monkeypatch):
    monkeypatch.setattr(strips, "cores", lambda: 2)
    before, seen = strips.blas.get(), []

    def work(strip):
        seen.append(strips.blas.get())
        if len(seen) == 2:
            raise ZeroDivisionError

    strips.blas.set(3)
    try:
        with pytest.raises(ZeroDivisionError), strips.blas.on_one_core():  # two users at a time
            strips.over_strips(work, np.empty((100, 5000), np.float32))
        assert set(seen) == {1} and len(seen) > 1 and strips.blas.get() == 3
    finally:
        strips.blas.set(before)


def test_cores_as_told(monkeypatch):
    for told, count in (("3", 3), ("1", 1)):
        cores.cache_clear()
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        assert cores() == count
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    cores.cache_clear()
    assert cores() >= 1
    monkeypatch.undo()
    cores.cache_clear()
