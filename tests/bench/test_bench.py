"""The benchmark: figures, the search for a size, curves, the cache, and the whole of it on small
pictures."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from obic.bench.common import captions, markdown
from obic.bench.common.coders import RIVALS, RivalCoder
from obic.bench.common.haarpsi import haarpsi
from obic.bench.common.measure import compare, nearest
from obic.bench.common.pictures import TestPicture, centre_crop
from obic.bench.common.rate_curves import at_rate, bd_rate, curves
from obic.bench.common.sets import CROPS, KODAK
from obic.bench.rivals import figures, plan, readme, results_page, run
from obic.bench.rivals.summary import best_boost, summarise
from obic.container import open_container
from obic.rate import OBJECT_BOOST


def picture(number=0, side=192):
    """A smooth picture with a textured object in its middle."""
    y, x = np.mgrid[:side, :side]
    rgb = np.stack([x * 255 // side, y * 255 // side, 128 + 60 * np.sin((x + y + 9 * number) / 20)], -1)
    regions = np.zeros((side, side), np.uint8)
    regions[48:144, 64:128] = 1
    rgb[regions == 1] += 30 * np.sin(x * y / 300)[regions == 1, None]
    return TestPicture(f"smooth-{number}", rgb.clip(0, 255).astype(np.uint8), regions)


def tensor(rgb):
    return torch.tensor(rgb).permute(2, 0, 1)[None].float()


def test_haarpsi_is_the_published_index():
    y, x = np.mgrid[:96, :128]
    a = np.stack([128 + 90 * np.sin(x / 5 + y / 17), 128 + 90 * np.cos(y / 7), 40 + (x * y) % 150], -1) / 255
    b = a.copy()
    b[:, 64:] = b[:, 64:].round(1)
    halves = torch.zeros(1, 3, 96, 128)
    halves[:, 0], halves[:, 1, :, :56], halves[:, 2, :, 72:] = 1, 1, 1
    whole, left, right = haarpsi(tensor(a), tensor(b), halves)[0].tolist()
    assert whole == pytest.approx(0.95132, abs=2e-5)  # piq 0.8.0, which pads the border otherwise
    assert left == pytest.approx(1, abs=1e-5) and right < whole


def test_regions_are_compared_apart():
    original = picture()
    decoded = original.rgb.astype(int)
    decoded[original.regions == 1] += np.where(decoded[original.regions == 1] < 128, 10, -10)
    decoded[:8] = 255 - decoded[:8]
    regions = original.regions.copy()
    regions[:8] = 255  # neither
    found = compare(decoded.astype(np.uint8), original.rgb, regions)
    assert found["object_psnr"] == pytest.approx(20 * math.log10(255 / 10), abs=1e-3)
    assert found["background_psnr"] == pytest.approx(100) and found["background_shift"] == 0
    assert found["object_haarpsi"] < 1 and found["psnr"] < found["object_psnr"]
    assert "object_psnr" not in compare(original.rgb, original.rgb, np.zeros_like(regions))


@given(st.lists(st.floats(0.005, 0.3), min_size=1, max_size=100), st.floats(50, 1e6))
def test_the_nearest_file_is_found(steps, goal):
    sizes = 100 * np.exp(np.cumsum(steps))
    asked = []
    found = nearest(goal, range(len(sizes)), lambda quality: asked.append(quality) or sizes[quality])
    distance = np.abs(np.log(sizes / goal))
    assert distance[found] <= max(distance.min() + 1e-12, 0.01)
    assert len(set(asked)) <= 25


def curve(rates, scale=1.0, **more):
    """MS-SSIM of 10 dB at 0.1 bpp, 3 dB more at twice the rate; PSNR likewise from 25."""
    gains = [3 * math.log2(rate / 0.1) for rate in rates]
    return [
        {"bpp": rate * scale, "target": rate, "floor": 0, "ms_ssim": 1 - 10 ** (-1 - gain / 10), "psnr": 25 + gain}
        for rate, gain in zip(rates, gains, strict=True)
    ]


def test_values_at_a_rate():
    line = curve((0.05, 0.1, 0.2))
    assert at_rate(line, 0.1, "ms_ssim") == pytest.approx(0.9)
    assert at_rate(line, 0.1 * 2**0.5, "psnr") == pytest.approx(26.5)
    assert at_rate(line, 0.0495, "psnr") == pytest.approx(22 + 3 * math.log2(0.0495 / 0.05))  # a hair below
    assert at_rate(line, 0.04, "psnr") is None and at_rate(line, 0.22, "psnr") is None
    assert at_rate([line[0], line[0], *line], 0.1, "psnr") == pytest.approx(25), "several targets, one smallest file"


def test_bd_rate_of_a_tenth_fewer_bits():
    rates = (0.05, 0.0648, 0.1, 0.15, 0.25)
    assert bd_rate(curve(rates), curve(rates, 0.9), "ms_ssim") == pytest.approx(-10, abs=0.01)
    assert bd_rate(curve(rates), curve(rates), "psnr") == pytest.approx(0, abs=0.01)
    assert bd_rate(curve((0.01, 0.02, 0.04)), curve((0.1, 0.2, 0.4)), "psnr") is None


def test_the_best_boost_is_interpolated():
    lines = [{"boost": boost, "background_gain": -boost / 20} for boost in (-12, 0, 6, 12, 24)]
    assert best_boost(lines) == 10
    assert best_boost(lines[:3]) == 6


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_go_up_and_back(name):
    original = picture()
    coder = RivalCoder(original.rgb, RIVALS[name])
    small, large = (coder.encode(coder.qualities[len(coder.qualities) * share // 10]) for share in (1, 7))
    assert len(small) < len(large)
    assert np.abs(coder.decode(large).astype(int) - original.rgb).mean() < 4
    boxes = len(small) - coder.parts(small)["payload"]
    assert (100 < boxes < len(small)) if name in ("HEVC intra", "AVIF") else boxes == 0


def test_crops():
    crop = centre_crop(picture(side=400), 320)
    assert crop.rgb.shape == (320, 320, 3) and np.array_equal(crop.rgb, picture(side=400).rgb[40:360, 40:360])
    assert np.array_equal(np.argwhere(crop.regions)[[0, -1]], [(8, 24), (103, 87)])
    assert centre_crop(picture(), 320) is None


def test_an_interrupted_cache_goes_on(tmp_path):
    path = tmp_path / "cache" / "rows.jsonl"
    row = dict.fromkeys(run.IDENTITY, 1) | {"bytes": 5}
    run.Cache(path).add([row, row | {"target": 2}])
    path.write_text(path.read_text()[:-3])  # as if the power had gone
    cache = run.Cache(path)
    assert cache.get((1,) * 6) == row and cache.get((1, 1, 1, 1, 1, 2)) is None
    cache.add([row | {"target": 2}])
    assert [json.loads(line)["target"] for line in path.read_text().splitlines()] == [1, 2]


RATES = (0.0648, 0.1, 0.15)
PLAN = dict.fromkeys((plan.DEFAULT, plan.EQUAL, plan.ONE_LAYER, "HEVC intra", "JPEG"), RATES) | {
    plan.boosted(24): (plan.BOOST_RATE,),
    plan.ONE_QUALITY: (20, 50),
}


@pytest.fixture(scope="module", autouse=True)
def tiny_networks(tiny_encoder):
    """The tiny model, and a segmenter that knows where the object is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_networks", lambda device: (tiny_encoder, lambda rgb: picture().regions))
        patch.setattr(run, "models", lambda names: dict.fromkeys(names, "tiny"))
        yield


@pytest.fixture(scope="module")
def measured(tiny_networks):
    """(jobs, rows) of two pictures as Kodak and one as crops."""
    sets = {KODAK: [picture(0), picture(1)], CROPS: [picture(2)]}
    work = list(run.jobs(sets, dict.fromkeys(sets, PLAN)))
    return work, [row for job in work for row in run.run_job(job, "cpu")]


def test_rows_tell_where_the_bytes_are(measured):
    work, rows = measured
    assert sorted(tuple(row[name] for name in run.IDENTITY) for row in rows) == sorted(
        identity for job in work for identity in job.identities()
    )
    for row in rows:
        if row["codec"].startswith("obic"):
            sides = ("background",) if row["codec"] == plan.ONE_LAYER else ("background", "object")
            parts = [row["header_bytes"], row["mask_bytes"]]
            parts += [row[f"{side}_{part}_bytes"] for side in sides for part in ("z", "residual")]
            assert sum(parts) == pytest.approx(row["bytes"]) and min(parts[2:]) > 0
    fixed = [row for row in rows if row["codec"] == plan.ONE_QUALITY]
    assert fixed and all(row["quality"] == row["target"] for row in fixed)
    job = next(job for job in work if plan.DEFAULT in job.rates)
    data = dict(run.coders(job.picture, [plan.DEFAULT], "cpu"))[plan.DEFAULT].encode(40)
    assert [layer.quality for layer in open_container(data).header.layers] == [40 - OBJECT_BOOST, 40 + OBJECT_BOOST]


def test_what_is_there_is_not_measured_again(measured, tmp_path):
    work, rows = measured
    cache = run.Cache(tmp_path / "rows.jsonl")
    cache.add(rows)
    assert run.run(work, cache, workers=1, device="none of that name") == rows
    run.write_rows(tmp_path / "rows.xz", reversed(rows))
    known = run.Cache(tmp_path / "nothing.jsonl", run.read_rows(tmp_path / "rows.xz"))
    assert run.run(work, known, workers=1, device="none of that name") == rows
    assert not run.read_rows(tmp_path / "no.xz")
    other = replace(work[0], content="other pixels")
    assert other.without(cache).identities() == other.identities()
    more = replace(work[0], rates={name: (*rates, 0.2) for name, rates in work[0].rates.items()})
    assert list(more.without(cache).rates.values()) == [[0.2]] * len(work[0].rates)


def test_the_report_says_it_all(measured, tmp_path):
    scores = {"fg_iou": 0.8, "miou": 0.5, "pictures": 3}
    seconds = {"segment": 0.1, "encode": 0.2, "decode": 0.3}
    result = summarise(measured[1], "0123abcd", scores, seconds)
    json.dumps(result)
    report = results_page.report(result)
    for heading in ("## Targets", "## Kodak, 2 pictures", "### Object", "## The cost of the split", "## Object boost"):
        assert heading in report
    assert markdown.prose(results_page.ONE_QUALITY_NOTE) in report and "0.20 s to encode" in report
    assert "| 20 bpp" not in report, "a quality is no rate"
    kodak = {target["what"]: target for target in result["targets"]}["Kodak, MS-SSIM at 0.1 bpp, two layers"]
    assert not kodak["met"] and kodak["value"] < 0.955
    assert {line["boost"] for line in result["boost"][KODAK]} == {0, OBJECT_BOOST, 24}
    for name, of_set in result["curves"].items():
        figures.plot_rates(of_set, name, tmp_path / f"{results_page.slug(name)}.svg", published=True)
    figures.plot_boost(result["boost"], OBJECT_BOOST, tmp_path / "boost.svg")
    assert len(list(tmp_path.glob("*.svg"))) == 3

    page = tmp_path / "README.md"
    page.write_text(f"before {readme.BEGIN} old {readme.END} after")
    readme.write(page, result | {"example_bytes": 1970})
    text = page.read_text()
    assert text.startswith("before <!--") and text.endswith("--> after") and " old " not in text
    assert "1,970 bytes" in text and f"Of {len(result['targets'])} [targets]" in text.replace("\n", " ")
    rows = [line.split(" | ")[0].strip("| *") for line in text.splitlines() if line.startswith("| ")][2:]
    assert rows == [*readme.MEASURED[:2], *(f"{name} (published)" for name in readme.OTHERS)], "WebP was not measured"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="lacks"):
        readme.write(page, result | {"example_bytes": 1970})


def test_a_sheet_of_pictures(tmp_path):
    pictures = [picture(0), picture(1)]
    coders = {name: [RivalCoder(each.rgb, RIVALS[name]) for each in pictures] for name in ("JPEG", "WebP")}
    figures.sheet(pictures, coders, 0.2, 64, tmp_path / "sheet.webp")
    sheet = Image.open(tmp_path / "sheet.webp")
    assert sheet.size == (3 * 64 + 2 * captions.GAP, 2 * (64 + captions.CAPTION))
    corner = np.asarray(sheet.convert("RGB"))[:64, :64].astype(int)
    assert np.abs(corner - pictures[0].rgb[63:127, 63:127]).mean() < 8, "the original, round its object"


def test_means_over_the_pictures_with_a_region():
    row = {"set": "s", "codec": "c", "target": 0.1, "bpp": 0.1, "bytes": 120, "payload": 100, "floor": True, "psnr": 20}
    other = {"bpp": 0.2, "bytes": 200, "payload": 200, "floor": False, "psnr": 30.0, "object_psnr": 10.0}
    (point,) = curves([row, row | other, row])["s"]["c"]
    assert point["target"] == 0.1, "exactly, which a mean would not be"
    assert point["pictures"] == 3 and point["floor"] == 2
    assert point["psnr"] == pytest.approx(70 / 3, abs=1e-6) and point["object_psnr"] == 10
    assert point["file_bpp"] == pytest.approx((0.12 + 0.2 + 0.12) / 3, abs=1e-6)


def test_a_cell_says_what_it_is():
    line = [point | {"floor": 2 * (number == 0)} for number, point in enumerate(curve((0.1, 0.2)))]
    psnr = [("psnr", "{:.1f}".format)]
    cells = {rate: results_page.rate_cell(line, rate, "bpp", psnr) for rate in (0.05, 0.08, 0.1, 0.3)}
    assert cells == {0.05: "-", 0.08: "25.0 (at 0.100)", 0.1: "25.0 [2]", 0.3: "-"}
    line[-1]["target"] = 0.3  # asked for, and not reached
    assert results_page.rate_cell(line, 0.3, "bpp", psnr) == "28.0 (at 0.200)"
