"""Training runs: as a process on a folder of one's own, in several processes, resumed, and from packed weights."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import multiprocessing

from obic.entropy import HyperPrior
from obic.entropy.tables import gaussian_tables
from obic.nn.hyperprior import log_scale_to_index
from obic.nn.rate_distortion import code_layers
from obic.shape import Shape
from obic.train import codec, parallel
from obic.train.checkpoint import checkpoint_log, grown, load_checkpoint, new_network, save_checkpoint
from obic.train.codec import train
from obic.train.command import Budget
from obic.train.crops import Batches
from obic.train.data import Sample
from obic.train.manifest import write_codec
from obic.train.optim import Average
from obic.train.pack import codec_arrays, file_bytes, hyper_arrays
from obic.train.revive import revive

TINY = Shape(fine=24, fine_blocks=1, coarse=32, coarse_blocks=1, latent=16, hyper=8, hyper_width=16, context=32)
SMALL = ("--minutes", "0.04", "--batch", "1", "--crop", "64", "--device", "cpu", "--threads", "1")


@pytest.fixture
def pictures(tmp_path):
    """A folder with a picture that has a mask and one that has none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (80, 96, 3), np.uint8)
    Image.fromarray(noise).save(folder / "a.webp")
    Image.fromarray(np.uint8(np.eye(80, 96) * 255)).save(folder / "a.png")
    Image.fromarray(noise[::-1]).save(folder / "b.jpg")
    return folder


def run(*arguments, **environment):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **environment})


def test_a_run_leaves_a_checkpoint_and_curves_and_resumes(pictures, tmp_path):
    out = tmp_path / "runs" / "codec.pt"
    done = run("-m", "obic.train", "--data", pictures, "--out", out, "--revive", "--blocks", 2, 1, *SMALL)
    assert done.returncode == 0 and done.stdout == "" and "0 channels are raised" in done.stderr
    assert "2 pictures" in done.stderr and "0 min left" in done.stderr
    log = checkpoint_log(out)
    with out.with_suffix(".csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert int(last["step"]) == log["steps"] > 0 and log["progress"] == 1 and float(last["bpp"]) > 0

    shape = load_checkpoint(out).shape
    assert (shape.fine_blocks, shape.coarse_blocks) == (2, 1)
    fewer = run("-m", "obic.train", "--data", pictures, "--init", out, "--out", out, "--blocks", 1, 1, *SMALL)
    assert fewer.returncode == 2 and "does not grow" in fewer.stderr and "Traceback" not in fewer.stderr
    again = run("-m", "obic.train", "--data", pictures, "--resume", out, "--out", out, *SMALL)
    assert again.returncode == 2 and "at its end" in again.stderr and "Traceback" not in again.stderr
    half = torch.load(out, weights_only=True)
    half["log"]["progress"] = 0.5
    torch.save(half, out)
    done = run("-m", "obic.train", "--data", pictures, "--resume", out, "--out", out, *SMALL)
    whole = checkpoint_log(out)
    assert done.returncode == 0 and whole["progress"] == 1
    assert whole["steps"] > log["steps"] and whole["minutes"] > log["minutes"]  # of both runs
    with out.with_suffix(".csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == sorted(steps) and steps[-1] == whole["steps"] and log["steps"] in steps
    other = run("-m", "obic.train", "--data", pictures, "--resume", out, "--blocks", 3, 3, *SMALL)
    assert other.returncode == 2 and "--blocks and --done are for new ones" in other.stderr


def test_a_signal_ends_a_budget_after_the_step_and_a_second_one_everything():
    with pytest.raises(SystemExit) as end, Budget(60) as budget:
        first = budget.spent()
        assert not budget.over
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert first < budget.spent() < 60 and budget.over and budget.interrupted
        budget.end("try again")
    assert end.value.code == 128 + signal.SIGTERM
    with Budget(1e-9) as budget:
        budget.spent()
    assert budget.over and not budget.interrupted
    budget.end("not said")


def test_an_interrupted_run_is_saved_and_goes_on(pictures, tmp_path):
    out = tmp_path / "codec.pt"
    command = (sys.executable, "-m", "obic.train", "--data", pictures, "--out", out, *SMALL, "--minutes", "9")
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        assert "2 pictures, 1 with masks" in process.stderr.readline()
        while not out.with_suffix(".csv").exists():  # the last thing before the first step
            time.sleep(0.1)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 128 + signal.SIGINT
    assert f"go on with --resume {out}" in said and "Traceback" not in said
    log = checkpoint_log(out)
    assert log["steps"] > 0 and 0 < log["progress"] < 0.5
    done = run("-m", "obic.train", "--data", pictures, "--resume", out, "--out", out, *SMALL)
    assert done.returncode == 0 and checkpoint_log(out)["steps"] > log["steps"]


@pytest.mark.parametrize(("options", "code", "says"), [
    (("--minutes", "-1"), 2, "not a number above 0"),
    (("--minutes", "0"), 2, "not a number above 0"),
    (("--crop", "100"), 2, "not a multiple of 16"),
    (("--batch", "0"), 2, "from 1 on"),
    (("--device", "banana"), 2, "no device 'banana'"),
    (("--out", "."), 2, "not a file's name"),
    (("--init", "nowhere.pt"), 1, "nowhere.pt"),
    (("--init", "."), 2, "not a folder of weights"),
    (("--resume", __file__), 1, "is not a checkpoint"),
    (("--data", "nowhere"), 1, "no such file or folder: nowhere"),
    (("--data", "empty"), 1, "no pictures"),
    (("--data", __file__), 1, "neither a folder nor a zip"),
])  # fmt: skip
def test_what_does_not_fit_is_said_in_one_line(pictures, tmp_path, monkeypatch, capsys, options, code, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr("sys.argv", ["train", "--data", str(pictures), *SMALL, *options])
    with pytest.raises(SystemExit) as end:
        codec.main()
    said = capsys.readouterr().err if code == 2 else str(end.value)
    assert end.value.code == code or (code == 1 and isinstance(end.value.code, str))
    assert says in said and (code == 2 or "\n" not in said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "pictures"]


@pytest.mark.slow
def test_torchrun_with_two_processes(pictures, tmp_path):
    out = tmp_path / "codec.pt"
    done = run("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2,
               "-m", "obic.train", "--data", pictures, "--out", out, *SMALL)
    assert done.returncode == 0, done.stderr
    assert "2 process(es)" in done.stderr and len(re.findall("pictures, ", done.stderr)) == 1
    load_checkpoint(out)


def _train_one(rank, folder):
    os.environ.update(WORLD_SIZE="2", RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    network = new_network(TINY)
    noise = np.random.default_rng(rank).integers(0, 256, (64, 64, 3), np.uint8)
    batches = Batches([Sample("a", noise, None)], 64, 1, "cpu", seed=rank)
    train(network, batches, 0.02, folder / f"{rank}.pt", muon_lr=0.005, adam_lr=1e-3)
    torch.save(network.state_dict(), folder / f"{rank}.state")
    torch.distributed.destroy_process_group()


def test_processes_with_crops_of_their_own_hold_equal_weights(tmp_path):
    multiprocessing.spawn(_train_one, (tmp_path,), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.state", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (tmp_path / "0.pt").exists() and not (tmp_path / "1.pt").exists()
    assert parallel.count() == 1  # of this process


@pytest.mark.parametrize("side", [40, 64, 200])  # of a picture that is padded, just cut, and scaled now and then
def test_crops_are_cut_on_the_device(side):
    rgb = np.zeros((side, side, 3), np.uint8)
    batches = Batches([Sample("a", rgb, rgb[..., 0])], 64, 4, "meta", seed=0)  # it holds no data, and mixes with none
    for _ in range(3):
        pixels, labels = batches.draw()
        assert pixels.shape == (4, 3, 64, 64) and labels.shape == (4, 4, 4)
        assert pixels.device.type == labels.device.type == "meta"


def _share_out_one(rank, folder):
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    stacks = [torch.arange(n * 6.0).view(n, 2, 3) for n in (1, 4, 5)]
    parallel.share_out(stacks, lambda stack: stack**2 + 1)
    torch.save(stacks, folder / f"{rank}.stacks")
    torch.distributed.destroy_process_group()


def test_processes_share_work_out(tmp_path):
    multiprocessing.spawn(_share_out_one, (tmp_path,), nprocs=2)
    for rank in (0, 1):
        for stack in torch.load(tmp_path / f"{rank}.stacks"):
            assert torch.equal(stack, torch.arange(float(stack.numel())).view_as(stack) ** 2 + 1)


def test_channels_that_have_died_below_a_level_are_raised():
    network = new_network(TINY)
    gain, inverse, scale = network.gain.log_gain, network.gain.log_inverse, network.scale_index.bias
    with torch.no_grad():
        for table, value in ((gain, -9.0), (inverse, 9.0), (scale, -7.0)):
            table[:4, [2, 7]] = value
        gain[:, 5] = torch.linspace(-9, -1, len(gain))  # dead at every level
    before = [table.clone() for table in (gain, inverse, scale)]
    raised = revive(network)
    assert raised.nonzero().tolist() == [[level, channel] for level in range(4) for channel in (2, 7)]
    for channel in (2, 7):
        assert torch.allclose(gain[:5, channel], gain[4, channel] - 0.8 * torch.arange(4, -1, -1.0))
        assert torch.allclose(inverse[:5, channel], -gain[:5, channel], atol=1e-5)
        assert torch.allclose(scale[:5, channel], scale[4, channel] - 0.8 * torch.arange(4, -1, -1.0))
    for table, old in zip((gain, inverse, scale), before, strict=True):
        assert torch.equal(table[~raised], old[~raised])
    assert not revive(network).any()


def test_what_is_skipped_still_learns():
    torch.manual_seed(0)
    network = new_network(TINY)
    with torch.no_grad():
        network.scale_index.bias.fill_(-9.0)  # below every row of the tables
    features = torch.randn(1, TINY.latent, 4, 4, requires_grad=True)
    decoded, _, rates = code_layers(network, features, torch.ones(1, 1, 4, 4), torch.tensor([50.0]), noisy=False)
    assert decoded.abs().max() < 0.1 and rates.residual.item() == 0
    decoded.sum().backward()
    assert (features.grad.abs() > 0.5).all()


def test_packed_weights_become_a_network_again(tmp_path):
    torch.manual_seed(0)
    network = new_network(TINY)
    for parameter in network.scale_index.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    draw = np.random.default_rng(0)
    slope = np.linspace(0, 1, 100)[:, None]
    index = np.rint(20 + slope * draw.integers(-9, 9, (4, 1, 8))).astype(int)
    offset = np.rint(slope * draw.integers(-20, 20, 8)).astype(int)
    prior = HyperPrior(index, offset, draw.integers(-99, 99, (3, 8, 72)), 10)
    arrays = codec_arrays(network, gaussian_tables()) | hyper_arrays(prior)
    write_codec(tmp_path, file_bytes(arrays), {"fingerprint": "00000001", "file": "a.npz", "shape": TINY.as_dict()})
    loaded = load_checkpoint(tmp_path)
    again = codec_arrays(loaded, gaussian_tables())
    arrays["hyper_index"] = arrays["hyper_index"][0]
    near = {"scale_map.weight": 1, "scale_map.bias": 4, "hyper_index": 1, "hyper_offset": 1}
    near |= {"scale_map.hidden_bias": 1, "scale_map.from_hidden": 1}
    for name in again:
        difference = np.abs(arrays[name].astype(float) - again[name])
        assert difference.max() <= near.get(name, 0), name
    assert np.array_equal(loaded.hyper_gaussian.weight.numpy() * 2**10, prior.weight)
    of_passes = log_scale_to_index(loaded.hyper_gaussian.log_scale)[:, [0, -1]].detach().numpy()
    assert np.allclose(of_passes, index[:, [0, -1]] + 0.5, atol=0.8)


def test_a_network_grows_by_blocks_and_is_nearly_what_it_was():
    torch.manual_seed(0)
    network = new_network(TINY)
    larger = grown(network, replace(TINY, coarse_blocks=3))
    pixels = torch.rand(1, 3, 64, 64)
    before, after = network.analysis(pixels), larger.analysis(pixels)
    assert 0 < (after - before).abs().max() < 0.1 * before.abs().max()
    with pytest.raises(ValueError, match="has no place"):
        grown(network, replace(TINY, latent=24))


def test_a_checkpoint_holds_the_averaged_weights(tmp_path):
    network = new_network(TINY)
    average = Average(network)
    save_checkpoint(tmp_path / "a.pt", network, average, {"steps": 3})
    loaded = load_checkpoint(tmp_path / "a.pt").state_dict()
    assert all(torch.allclose(loaded[name], value, atol=1e-2) for name, value in average.state.items())
    assert checkpoint_log(tmp_path / "a.pt") == {"steps": 3}
