"""Training runs: as a process on a folder of one's own, in several processes, resumed, and from
packed weights."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import multiprocessing

from obic.entropy import HyperPrior
from obic.entropy.tables import gaussian_tables
from obic.nn.hyper_networks import log_scale_to_index
from obic.nn.rate_distortion import LOWEST_SLOPE, code_layers
from obic.shape import Shape, level_to_quality
from obic.train import pack
from obic.train.codec import __main__ as codec
from obic.train.codec.checkpoint import Places, checkpoint_log, load_checkpoint, new_network, read_codec
from obic.train.codec.course import Course, Log, train
from obic.train.codec.crops import Batches
from obic.train.codec.growth import LEAST_RISE, grown
from obic.train.codec.loss import WHOLE_UNTIL
from obic.train.codec.revive import revive_channels, revive_units
from obic.train.codec.small_copy import write_small_copy
from obic.train.codec.weights_file import codec_arrays, hyper_arrays
from obic.train.common import parallel
from obic.train.common.command import Budget
from obic.train.common.data import Sample
from obic.train.common.manifest import file_bytes, write_codec

TINY = Shape(fine=24, fine_blocks=1, coarse=32, coarse_blocks=1, latent=16, hyper=8, hyper_width=16, context=32)
SMALL = ("--minutes", "0.003", "--batch", "1", "--crop", "64", "--device", "cpu", "--threads", "1")


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


@dataclass(frozen=True)
class TinyShape(Shape):
    """What a course begins with, where that is to be quick."""

    fine: int = 24
    coarse: int = 32
    latent: int = 16
    hyper: int = 8
    hyper_width: int = 16
    context: int = 32
    scale_hidden: int = 16


@pytest.fixture
def tiny_course(monkeypatch):
    monkeypatch.setattr(codec, "Shape", TinyShape)


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_a_checkpoint_and_curves_and_goes_on(pictures, tmp_path, run, tiny_course):
    out, copy = tmp_path / "runs" / "course.pt", tmp_path / "elsewhere" / "copy.pt"
    train = (codec.main, "--data", pictures, *SMALL)
    begun = run(*train, "--out", out, "--copy", copy, "--blocks", 2, 1, "--muon-lr", 0.003)
    assert begun.returncode == 0 and begun.stdout == ""
    assert "2 pictures" in begun.stderr and "0 crops so far" in begun.stderr and "0 min left" in begun.stderr
    log = checkpoint_log(out)
    last = rows_of(out.with_suffix(".csv"))[-1]
    assert int(last["step"]) == int(last["crops"]) == log["steps"] == log["crops"] > 0
    assert float(last["worst"]) >= float(last["loss"]) > 0 and float(last["bpp"]) > 0 and float(last["rate"]) == 1
    assert float(last["crops_a_minute"]) > 0
    shape = load_checkpoint(out).shape
    assert (shape.fine_blocks, shape.coarse_blocks) == (2, 1)
    assert out.read_bytes() == copy.read_bytes()

    refused = run(*train, "--out", out)
    assert refused.returncode == 1 and "go on with --resume" in refused.stderr and "Traceback" not in refused.stderr
    out.write_bytes(copy.read_bytes()[:-99])  # as by a full disk
    again = run(*train, "--out", out, "--copy", copy, "--resume")
    assert again.returncode == 0, again.stderr
    assert f"left aside: {out} is not a checkpoint" in again.stderr and f"going on with {copy}" in again.stderr
    further = checkpoint_log(out)
    assert further["crops"] > log["crops"] and further["minutes"] > log["minutes"]  # of both runs
    assert further["muon_lr"] == 0.003  # as the course had it
    crops = [int(row["crops"]) for row in rows_of(out.with_suffix(".csv"))]
    assert crops == sorted(crops) and crops[-1] == further["crops"] and log["crops"] in crops


def test_a_decay_is_a_branch_that_ends(pictures, tmp_path, run, tiny_course):
    held, small = tmp_path / "course.pt", tmp_path / "course.npz"
    train = (codec.main, "--data", pictures, *SMALL)
    course = Course(new_network(TINY), Batches(samples(), 64, 1, "cpu", 0), Log(crops=99))
    course.step()
    Places(held).save(course.state())
    before = held.read_bytes()
    onto = run(*train, "--init", held, "--out", held, "--decay", 5)
    assert onto.returncode == 1 and "is there already" in onto.stderr and held.read_bytes() == before
    branch = run(*train, "--init", held, "--out", tmp_path / "decayed.pt", "--decay", 5, "--minutes", 9)
    assert branch.returncode == 0 and held.read_bytes() == before, branch.stderr
    log = checkpoint_log(tmp_path / "decayed.pt")
    assert log["crops"] == 105 and log["decay_from"] == 100
    further = run(*train, "--resume", "--out", tmp_path / "decayed.pt")
    assert further.returncode == 1 and "is at its end" in further.stderr and "Traceback" not in further.stderr

    packed = run(pack.main, held, "--small-copy", small)
    assert packed.returncode == 0 and small.stat().st_size < len(before) / 4
    from_small = run(*train, "--init", small, "--out", tmp_path / "other.pt", "--revive")
    assert from_small.returncode == 0 and "0 channels are raised" in from_small.stderr
    assert checkpoint_log(tmp_path / "other.pt")["crops"] > 100
    deeper = run(*train, "--init", small, "--out", tmp_path / "deeper.pt", "--blocks", 2, 1)
    assert deeper.returncode == 0 and load_checkpoint(tmp_path / "deeper.pt").shape.fine_blocks == 2, deeper.stderr
    fewer = run(*train, "--init", tmp_path / "deeper.pt", "--out", tmp_path / "fewer.pt", "--blocks", 1, 1)
    assert fewer.returncode == 1 and "does not grow" in fewer.stderr and "Traceback" not in fewer.stderr


def samples(side=80):
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return [Sample("a", noise, np.uint8(np.eye(side)))]


def begun_course(crops=WHOLE_UNTIL, seed=0, shape=TINY):
    torch.manual_seed(seed)
    return Course(new_network(shape), Batches(samples(), 64, 2, "cpu", seed), Log(crops=crops))


@pytest.mark.parametrize("crops", [0, WHOLE_UNTIL])
def test_two_sittings_give_what_one_gives(tmp_path, crops):
    whole, first = begun_course(crops), begun_course(crops)
    figures = [whole.step() for _ in range(7)]
    torch.manual_seed(0)
    first = begun_course(crops)
    assert [first.step() for _ in range(4)] == figures[:4]
    Places(tmp_path / "a.pt").save(first.state())
    second = begun_course(seed=9)
    second.restore(read_codec(tmp_path / "a.pt"))
    assert [second.step() for _ in range(3)] == figures[4:]
    assert second.log == whole.log and second.optimisers.clipping.usual == whole.optimisers.clipping.usual
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name
        assert torch.equal(whole.average.state[name], second.average.state[name]), name


def test_a_course_goes_on_from_files_that_hold_less(tmp_path):
    course = begun_course()
    course.step()
    state = course.state()
    half = {part: {name: value.half() for name, value in state[part].items()} for part in ("raw", "state")}
    log = {"steps": 5, "crops": 80, "minutes": 1.0}
    both, average = ({"shape": TINY.as_dict(), "log": log, **{part: half[part] for part in parts}}
                     for parts in (("raw", "state"), ("state",)))
    for name, content in (("both.pt", both), ("average.pt", average)):
        torch.save(content, tmp_path / name)
    write_small_copy(tmp_path / "small.npz", read_codec(tmp_path / "average.pt"))
    for name, part, near in (("both.pt", "raw", 0), ("average.pt", "state", 0), ("small.npz", "state", 0.01)):
        other = begun_course(seed=3)
        other.restore(read_codec(tmp_path / name))
        assert (other.log.crops, other.log.rate, other.optimisers.steps) == (80, 1.0, 0)
        for key, value in other.network.state_dict().items():
            assert torch.allclose(value, half[part][key].float(), atol=near * value.abs().max().item()), key
        other.step()
        assert other.log.crops == 82


def test_a_minute_that_runs_away_is_undone(tmp_path, monkeypatch, capsys):
    course, places = begun_course(), Places(tmp_path / "a.pt", tmp_path / "b.pt")
    course.log.usual = 1e-9
    before = {name: value.clone() for name, value in course.network.state_dict().items()}
    train(course, places, 1e-6)
    assert "is usual: back to 40000 crops, from here on at 0.70" in capsys.readouterr().err
    kept = read_codec(tmp_path / "b.pt")
    assert kept["log"]["rate"] == course.log.rate == 0.7 and kept["log"]["crops"] == WHOLE_UNTIL
    assert all(torch.equal(before[name], value) for name, value in kept["raw"].items())
    lowered = next(iter(course.optimisers.optimisers)).param_groups[0]
    course.step()
    assert lowered["lr"] == pytest.approx(0.7 * 0.004 / course.optimisers.warmup)
    course.log.rate = 0.12
    places.save(course.state())
    monkeypatch.setattr(Course, "step", lambda self: (float("nan"),) * 4)
    with pytest.raises(ValueError, match="too often"):
        train(course, places, 1e-6)
    assert read_codec(tmp_path / "a.pt")["log"]["rate"] == 0.12


def test_what_is_usual_follows_the_loss_and_takes_nothing_in_that_is_beyond_it():
    course = begun_course()
    assert not course.sound(float("nan")) and course.log.usual is None
    assert course.sound(2.0) and course.log.usual == 2
    assert course.sound(1.0) and course.log.usual == pytest.approx(1.9)
    assert not course.sound(19.1) and not course.sound(float("inf")) and course.log.usual == pytest.approx(1.9)


def test_the_rate_is_held_or_falls_with_the_crops_and_the_average_keeps_up():
    course = begun_course()
    course.optimisers.warmup = 1
    course.step()
    group = course.optimisers.optimisers[1].param_groups[0]
    assert group["lr"] == 0.001 and course.average.decay == pytest.approx(1 - 2 / 16_000, rel=1e-4)
    course.log.decay_from, course.log.decay_crops = course.log.crops, 8
    rates = []
    for _ in range(4):
        course.step()
        rates.append(group["lr"])
    assert rates == pytest.approx([0.001 * (1 - 0.99 * share) for share in (0, 0.25, 0.5, 0.75)])
    assert course.log.decayed == 1 and course.memory == pytest.approx(0.4)


def test_averaged_weights_are_kept_now_and_then(tmp_path):
    course = begun_course(crops=99_998)
    train(course, Places(tmp_path / "a.pt"), 1e-6)
    kept = torch.load(tmp_path / "a-100k.pt", weights_only=True)
    assert kept.keys() == {"shape", "state", "log"} and kept["log"]["crops"] == 100_000
    assert all(value.dtype == torch.float16 for value in kept["state"].values())
    load_checkpoint(tmp_path / "a-100k.pt")


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


def test_an_interrupted_run_is_saved_and_goes_on(pictures, tmp_path, run):
    out = tmp_path / "codec.pt"
    command = (sys.executable, "-m", "obic.train", "--data", pictures, "--out", out, "--blocks", 1, 1, *SMALL,
               "--minutes", 9)
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        assert "2 pictures, 1 with masks" in process.stderr.readline()
        while not out.exists():  # the last thing before the first step
            time.sleep(0.1)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 128 + signal.SIGINT
    assert "go on with --resume" in said and "Traceback" not in said
    log = checkpoint_log(out)
    assert log["steps"] > 0
    done = run(codec.main, "--data", pictures, "--resume", "--out", out, *SMALL)
    assert done.returncode == 0 and checkpoint_log(out)["steps"] > log["steps"]


@pytest.mark.parametrize(("options", "code", "says"), [
    (("--minutes", "-1"), 2, "not a number above 0"),
    (("--minutes", "0"), 2, "not a number above 0"),
    (("--crop", "100"), 2, "not a multiple of 16"),
    (("--batch", "0"), 2, "from 1 on"),
    (("--device", "banana"), 2, "no device 'banana'"),
    (("--out", "."), 2, "not a file's name"),
    (("--init", "nowhere.pt"), 1, "nowhere.pt"),
    (("--init", "."), 1, "not a folder of weights"),
    (("--init", __file__), 1, "is not a checkpoint"),
    (("--resume",), 1, "nothing to go on with"),
    (("--resume", "--decay", "9"), 2, "--decay are for --init"),
    (("--revive",), 2, "--revive is for --init"),
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
    command = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2,
               "-m", "obic.train", "--data", pictures, "--out", out, "--blocks", 1, 1, *SMALL)
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "2 process(es)" in done.stderr and len(re.findall("pictures, ", done.stderr)) == 1
    load_checkpoint(out)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are listed by /proc")
def test_a_process_ends_without_threads_of_its_group():
    script = """
import atexit, os
def threads():
    return [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
atexit.register(lambda: print(*threads()))
from obic.train.common import parallel
parallel.join("cpu")
import torch._dynamo  # as optimisers and the compiler do
print(len(threads()))"""
    alone = {"WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | alone)
    before, after = done.stdout.split("\n", 1)
    assert int(before) > 1 and "gloo" not in after, done.stderr


def _one_of_two(rank, folder):
    torch.set_num_threads(1)
    parallel.start_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(rank)
    network = new_network(TINY)
    noise = np.random.default_rng(rank).integers(0, 256, (64, 64, 3), np.uint8)
    batches = Batches([Sample("a", noise, None)], 64, 1, "cpu", seed=rank)
    train(Course(network, batches, Log()), Places(folder / f"{rank}.pt"), 0.005)
    torch.save(network.state_dict(), folder / f"{rank}.state")
    stacks = [torch.arange(n * 6.0).view(n, 2, 3) for n in (1, 4, 5)]
    parallel.share_out(stacks, lambda stack: stack**2 + 1)
    assert parallel.means_and_largest([float(rank), 4.0], rank - 7.0) == ([0.5, 4.0], -6.0)
    assert parallel.gathered({"rank": rank}) == [{"rank": 0}, {"rank": 1}]
    torch.save(stacks, folder / f"{rank}.stacks")
    torch.distributed.destroy_process_group()


def test_two_processes_share_work_out_and_hold_equal_weights(tmp_path):
    multiprocessing.spawn(_one_of_two, (tmp_path,), nprocs=2)  # each with crops of its own
    first, second = (torch.load(tmp_path / f"{rank}.state", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (tmp_path / "0.pt").exists() and not (tmp_path / "1.pt").exists()
    for rank in (0, 1):
        for stack in torch.load(tmp_path / f"{rank}.stacks"):
            assert torch.equal(stack, torch.arange(float(stack.numel())).view_as(stack) ** 2 + 1)
    assert parallel.count() == 1  # of this process


@pytest.mark.parametrize("side", [40, 64, 200])  # of a picture that is padded, just cut, and scaled now and then
def test_crops_are_cut_on_the_device(side):
    rgb = np.zeros((side, side, 3), np.uint8)
    batches = Batches([Sample("a", rgb, rgb[..., 0])], 64, 4, "meta", seed=0)  # it holds no data, and mixes with none
    for _ in range(3):
        pixels, labels = batches.draw()
        assert pixels.shape == (4, 3, 64, 64) and labels.shape == (4, 4, 4)
        assert pixels.device.type == labels.device.type == "meta"


def test_channels_that_have_died_below_a_level_are_raised():
    network = new_network(TINY)
    gain, inverse, scale = network.gain.log_gain, network.gain.log_inverse, network.scale_index.bias
    with torch.no_grad():
        for table, value in ((gain, -9.0), (inverse, 9.0), (scale, -7.0)):
            table[:4, [2, 7]] = value
        gain[:, 5] = torch.linspace(-9, -1, len(gain))  # dead at every level
    before = [table.clone() for table in (gain, inverse, scale)]
    raised = revive_channels(network)
    assert raised.nonzero().tolist() == [[level, channel] for level in range(4) for channel in (2, 7)]
    for channel in (2, 7):
        assert torch.allclose(gain[:5, channel], gain[4, channel] - 0.8 * torch.arange(4, -1, -1.0))
        assert torch.allclose(inverse[:5, channel], -gain[:5, channel], atol=1e-5)
        assert torch.allclose(scale[:5, channel], scale[4, channel] - 0.8 * torch.arange(4, -1, -1.0))
    for table, old in zip((gain, inverse, scale), before, strict=True):
        assert torch.equal(table[~raised], old[~raised])
    assert not revive_channels(network).any()


def test_units_that_have_died_begin_anew_and_change_nothing_at_first():
    torch.manual_seed(0)
    network, x = new_network(TINY), torch.randn(2, TINY.fine, 8, 8)
    assert revive_units(network) == 0  # nothing is dead at the start
    block = network.analysis.layers[1][0]
    with torch.no_grad():
        for weight in (block.gate.weight[3:6], block.gate.weight[3 + TINY.fine : 6 + TINY.fine]):
            weight *= 0.001  # a value and its gate
        block.gate_out.weight[:, 3:6] *= 0.001
        block.gate_out.weight[:, 9] = 0  # one that is heard by nobody
    before, kept = block(x), block.gate.weight[6].clone()
    assert revive_units(network) == 4
    assert (block(x) - before).abs().max() < 1e-5
    assert torch.equal(block.gate.weight[6], kept)
    block(x).square().sum().backward()
    assert (block.gate_out.weight.grad[:, [3, 4, 5, 9]].abs().amax(0) > 1e-3).all()


def test_what_is_skipped_still_learns_a_little():
    torch.manual_seed(0)
    network = new_network(TINY)
    with torch.no_grad():
        network.scale_index.bias.fill_(-9.0)  # below every row of the tables
    features = torch.randn(1, TINY.latent, 4, 4, requires_grad=True)
    decoded, _, rates = code_layers(network, features, torch.ones(1, 1, 4, 4), torch.tensor([50.0]), noisy=False)
    assert decoded.abs().max() < 0.1 and rates.residual.item() == 0
    decoded.sum().backward()
    assert (features.grad.abs() > 0.5 * LOWEST_SLOPE).all()


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


def test_a_network_grows_by_blocks_that_change_nothing_and_can_learn():
    torch.manual_seed(0)
    network = new_network(TINY)
    larger = grown(network, replace(TINY, coarse_blocks=3))
    pixels = torch.rand(1, 3, 64, 64)
    before, after = network.analysis(pixels), larger.analysis(pixels)
    assert torch.equal(before, after)
    after.square().sum().backward()
    first, added = (larger.get_submodule(f"analysis.layers.3.{number}") for number in (0, 2))
    assert torch.equal(added.gate.weight, first.gate.weight) and torch.equal(added.mix_in.weight, first.mix_in.weight)
    assert added.mix_out.weight.grad.abs().max() > 0 and added.gate_out.weight.grad.abs().max() > 0
    with pytest.raises(ValueError, match="has no place"):
        grown(network, replace(TINY, latent=24))


def test_a_network_with_more_levels_does_the_same_at_those_it_had():
    torch.manual_seed(0)
    network = new_network(replace(TINY, levels=8))
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    larger = grown(network, replace(TINY, levels=10))
    features, cells = 4 * torch.randn(1, 16, 8, 8), torch.ones(1, 1, 8, 8)
    cells[..., 5:] = 0
    results = []
    for each, level in ((network, 0.0), (larger, 0.0), (network, 5.3), (larger, 5.3), (network, 7.0), (larger, 7.0)):
        quality = torch.tensor([level_to_quality(level, each.shape.levels)])
        decoded, conditions, rates = code_layers(each, features, cells, quality, noisy=False)
        results.append((each.synthesis(decoded, conditions), rates.hyper, rates.residual))
    for before, after in zip(results[::2], results[1::2], strict=True):
        for one, other in zip(before, after, strict=True):
            assert torch.allclose(one, other, rtol=1e-3, atol=1e-3)
    for table in (larger.gain.log_gain, -larger.gain.log_inverse, larger.scale_index.bias):
        assert (table[8:] - table[7:9] >= LEAST_RISE - 1e-6).all()
