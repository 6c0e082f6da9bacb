"""The measurement of speed: the stages make up the whole, processes tell their own memory."""

import numpy as np
import pytest

from obic.bench.speed.stages import STAGES, Process, code_once, run_obic
from shared.pictures import disc, picture
from shared.places import GOLDEN


def test_stages_add_up(tiny_encoder):
    rgb = picture(200, 220)
    encoding, decoding, data = code_once(rgb, tiny_encoder, lambda rgb: disc(*rgb.shape[:2]), "cpu")
    for seconds in (encoding, decoding):
        assert sum(seconds[stage] for stage in STAGES) == pytest.approx(seconds["total"])
        assert min(seconds.values()) >= 0
    assert {stage for stage in STAGES if encoding[stage]} == set(STAGES) - {"read", "synthesis", "pixels"}
    assert {stage for stage in STAGES if decoding[stage]} == {"hyper", "context", "entropy", "synthesis", "other"}
    assert data.startswith(b"\x8fob")


def test_a_process_tells_its_own_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("OBIC_WEIGHTS", str(GOLDEN))
    held = np.ones(1 << 27)  # 1 GB here is not 1 GB there
    done = run_obic("decode", GOLDEN / "two-layers.obic", "-o", tmp_path / "a.png", threads=1, backend="numpy")
    assert held.all() and (tmp_path / "a.png").exists()
    assert 0 < done.cpu_seconds < 60 and done.seconds > 0 and 1e7 < done.peak_bytes < 1e9


def test_the_tables(tmp_path):
    pytest.importorskip("pillow_heif")
    from PIL import Image

    from obic.bench.speed.__main__ import USUAL_SIZE as USUAL
    from obic.bench.speed.__main__ import Target, mosaic, process_table, stage_table, target_table

    for number, size in ((1, (768, 512)), (23, (512, 768))):
        Image.new("RGB", size, (number, 0, 0)).save(tmp_path / f"kodim{number:02}.png")
    rgb = mosaic(tmp_path, 1000, 700)
    assert rgb.shape == (700, 1000, 3) and rgb[0, [0, 999], 0].tolist() == [23, 1]
    seconds = dict.fromkeys(STAGES, 0.0) | {"entropy": 0.1, "total": 0.1}
    assert stage_table({USUAL: (seconds, seconds, b"")}).endswith("|  |  |  |  |  | 0.100 |  |  |  | 0.100 | 0.25 |")
    processes = {(name, USUAL, "decode"): Process(took, 2 * took, 10**8) for name, took in (("numpy", 1), ("torch", 4))}
    assert "| 1.00 (2.00), 0.10 GB | 4.00 (8.00), 0.10 GB | 0.25 |" in process_table(processes)
    assert "| decode | 0.2 s | 0.4 s (0.1) | 0.50 |" in target_table([Target("decode", "s", 0.2, 0.4, 0.1)])


def test_throughput_counts_every_picture(tiny_encoder, monkeypatch):
    pytest.importorskip("pillow_heif")
    from obic.bench.speed import __main__ as speed

    decoded = []
    monkeypatch.setattr(speed.codec, "decode_pictures", lambda containers, model: decoded.extend(containers))
    assert speed.per_second((GOLDEN / "two-layers.obic").read_bytes(), tiny_encoder) > 0
    assert len(decoded) == speed.BATCH * (speed.WORKERS + speed.ROUNDS)
