"""`python -m obic.bench.speed`: time and memory per picture, small to large, stage by stage, with
targets and other codecs beside. Writes `docs/speed.md`."""

from __future__ import annotations

import argparse
import io
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from obic import codec
from obic.bench.common.coders import RIVALS
from obic.bench.common.markdown import prose, table
from obic.bench.common.measure import nearest
from obic.bench.common.pictures import PictureError, pixels_of
from obic.bench.common.script import command, number, page
from obic.bench.speed.stages import STAGES, Process, Seconds, measure_stages, run_obic
from obic.container import open_container
from obic.weights import CodecModel

USUAL_SIZE, LARGE_SIZE, HUGE_SIZE = "768x512", "12 MP", "100 MP"
PICTURE_SIZES = {"320x320": (320, 320), USUAL_SIZE: (768, 512), LARGE_SIZE: (4000, 3000), HUGE_SIZE: (10000, 10000)}
FIRST = "kodim23"  # has objects
REPEATS = 5  # of pictures up to 768x512; larger ones are coded once
# What `obic` takes with numpy beside what it takes with PyTorch, from start to end: at most so
# much; and at most GB.
RATIOS = (
    *(("320x320", "decode", 0.25), (USUAL_SIZE, "decode", 0.4), (USUAL_SIZE, "encode", 0.5)),
    (LARGE_SIZE, "decode", 1.0),
)
PEAKS = ((LARGE_SIZE, "decode", 0.6), (LARGE_SIZE, "encode", 1.2))
WORKERS, BATCH, ROUNDS = 4, 16, 16  # of the throughput: threads, pictures together, and how often

# Stated by others, on other machines; nothing of it was measured here.
PUBLISHED = (
    ("CompressAI, bmshj2018-hyperprior", "Kodak, GPU", "0.043 s", "0.023 s", "CompressAI's results/image/kodak"),
    ("CompressAI, mbt2018-mean", "Kodak, GPU", "0.039 s", "0.022 s", "the same"),
    ("CompressAI, mbt2018 (autoregressive)", "Kodak, GPU", "2.6 s", "5.7 s", "the same"),
    ("CompressAI, cheng2020-anchor", "Kodak, GPU", "2.6 s", "5.7 s", "the same"),
    ("DCVC-RT-Intra", "Kodak, RTX 4090", "", "96.5 a second", "microsoft/DCVC"),
    ("DCVC-UF-Intra", "Kodak, RTX 4090", "", "339 a second", "microsoft/DCVC"),
    ("DCVC-RT-Intra", "1088x1920, one EPYC 9V84 thread", "5.4 s", "7.6 s", "the PULSE paper, 2026"),
    ("mean-scale hyperprior", "1088x1920, one EPYC 9V84 thread", "2.1 s", "2.4 s", "the same"),
    ("JPEG AI", "1088x1920, one EPYC 9V84 thread", "2.6 s", "0.643 s", "the same"),
    ("PULSE", "1088x1920, one EPYC 9V84 thread", "0.920 s", "0.126 s", "the same"),
)


Processes = dict[tuple[str, str, str], Process]  # by backend, size and command


class Target(NamedTuple):
    """A goal: at most `goal`, or at least that many pictures per second."""

    what: str
    unit: str
    measured: float
    goal: float
    stretch: float | None = None


def mosaic(folder: Path, width: int, height: int) -> np.ndarray:
    """uint8 [height, width, 3]: the Kodak pictures side by side until they fill it, `FIRST` first.

    Raises PictureError where the folder holds none of 768x512 pixels, or 512x768.
    """
    files = sorted(folder.glob("*.png"), key=lambda file: (file.stem < FIRST, file.stem))
    pictures = [pixels_of(file.read_bytes(), file, "RGB") for file in files]
    pictures = [rgb if rgb.shape == (512, 768, 3) else rgb.transpose(1, 0, 2) for rgb in pictures]
    pictures = [rgb for rgb in pictures if rgb.shape == (512, 768, 3)]
    if not pictures:
        raise PictureError(f"{folder}: no pictures (PNG of 768x512 pixels, or 512x768)")
    places = np.add.outer(7 * np.arange(-(-height // 512)), np.arange(-(-width // 768))) % len(pictures)
    rows = [np.concatenate([pictures[place] for place in row], 1)[:, :width] for row in places]
    return np.concatenate(rows)[:height]


def measure_rivals(rgb: dict[str, np.ndarray], n_bytes: int) -> list[list[str]]:
    """Lines of a table: seconds of others on the same pictures, at about the bytes that obic has at
    768x512."""
    lines = []
    for name in ("AVIF", "HEVC intra", "JPEG XL"):
        rival, image = RIVALS[name], Image.fromarray(rgb[USUAL_SIZE])
        size = cache(lambda quality, rival=rival, image=image: len(rival.save(image, quality)))
        quality = nearest(n_bytes, rival.qualities, size)
        for title, pixels in rgb.items():
            start = time.perf_counter()
            data = rival.save(Image.fromarray(pixels), quality)
            coded = time.perf_counter()
            Image.open(io.BytesIO(data)).load()
            decoded = time.perf_counter()
            bpp = 8 * len(data) / (pixels.size // 3)
            lines.append([name, title, f"{bpp:.3f}", f"{coded - start:.3f}", f"{decoded - coded:.3f}", rival.settings])
    return lines


def per_second(data: bytes, model: CodecModel) -> float:
    """Pictures decoded per second, BATCH at a time: one thread decodes integers while another
    synthesises."""

    def decode(_: int) -> None:
        codec.decode_pictures([open_container(data) for _ in range(BATCH)], model)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(decode, range(WORKERS)))  # warms up
        start = time.perf_counter()
        list(pool.map(decode, range(ROUNDS)))
        return ROUNDS * BATCH / (time.perf_counter() - start)


def stage_table(measured: dict[str, tuple[Seconds, Seconds, bytes]]) -> str:
    """Seconds by stage. measured: encoding, decoding and file, by the name of a size."""
    lines = []
    for title, (encoding, decoding, _) in measured.items():
        megapixels = PICTURE_SIZES[title][0] * PICTURE_SIZES[title][1] / 1e6
        for side, seconds in (("encode", encoding), ("decode", decoding)):
            cells = [f"{seconds[stage]:.3f}" if seconds.get(stage) else "" for stage in STAGES]
            lines.append([title, side, *cells, f"{seconds['total']:.3f}", f"{seconds['total'] / megapixels:.2f}"])
    return table(["", "", *STAGES, "**total**", "a megapixel"], lines)


def target_table(targets: Sequence[Target]) -> str:
    """Targets beside what was measured."""
    lines = []
    for what, unit, measured, goal, stretch in targets:
        asked = f"{goal:g} {unit}" + (f" ({stretch:g})" if stretch else "")
        lines.append([what, f"{measured:.3g} {unit}", asked, f"{measured / goal:.2f}"])
    return table(["", "measured", "target (stretch)", "measured / target"], lines)


def cpu_targets(measured: dict[str, tuple[Seconds, Seconds, bytes]], processes: Processes) -> list[Target]:
    """measured: PyTorch's."""
    encoding, decoding, _ = measured[USUAL_SIZE]
    targets = [
        Target("decode 768x512, models loaded, torch", "s", decoding["total"], 0.4, 0.25),
        Target("encode 768x512, segmentation included, torch", "s", encoding["total"], 0.8, 0.6),
    ]
    for title, side, goal in RATIOS:
        if title in measured:
            ratio = processes["numpy", title, side].seconds / processes["torch", title, side].seconds
            targets.append(Target(f"`obic {side}` {title} as a process, numpy / torch", "", ratio, goal))
    for title, side, goal in PEAKS:
        if title in measured:
            peak = processes["numpy", title, side].peak_bytes / 1e9
            targets.append(Target(f"most memory of `obic {side}`, {title}, numpy", "GB", peak, goal))
    return targets


def run_processes(files: dict[str, Path], threads: int) -> Processes:
    """`obic encode` and `obic decode` of every picture on the CPU, by backend, size and command:
    the fastest of three runs, or one for the largest, the backends in turn."""
    processes: Processes = {}
    for title, path in files.items():
        for _ in range(1 if title == HUGE_SIZE else 3):
            for backend in ("numpy", "torch"):
                for side, source, target in (("encode", ".png", ".obic"), ("decode", ".obic", ".out.png")):
                    arguments = (side, path.with_suffix(source), "-o", path.with_suffix(target))
                    took = run_obic(*arguments, threads=threads, backend=backend)
                    before = processes.get((backend, title, side), took)
                    processes[backend, title, side] = min(before, took)
    return processes


def process_table(processes: Processes) -> str:
    """Seconds and memory of whole commands, numpy beside PyTorch."""
    lines = []
    for title, side in dict.fromkeys(key[1:] for key in processes):
        own, other = (processes[backend, title, side] for backend in ("numpy", "torch"))
        each = [f"{took.seconds:.2f} ({took.cpu_seconds:.2f}), {took.peak_bytes / 1e9:.2f} GB" for took in (own, other)]
        lines.append([title, f"obic {side}", *each, f"{own.seconds / other.seconds:.2f}"])
    return table(["", "", "numpy: seconds (of all cores), most memory", "torch", "numpy / torch"], lines)


def report(folder: Path, pictures: dict[str, np.ndarray], threads: int) -> str:
    """The whole of docs/speed.md. folder: an empty one for the pictures, uint8 [H, W, 3] by the
    names of their sizes.
    """
    files = {title: folder / f"{title.replace(' ', '-')}.png" for title in pictures}
    for title, path in files.items():
        Image.fromarray(pictures[title]).save(path, compress_level=1)
    processes = run_processes(files, threads)
    stages, targets, n_bytes = [], "", 0
    for backend, device in (("numpy", "cpu"), ("torch", "cpu"), ("torch", "cuda")):
        if device == "cuda" and not torch.cuda.is_available():
            continue
        model = codec.load_model(device, encoder=True, backend=backend)
        segmenter = codec.load_segmenter(device, backend)
        measured = {
            title: measure_stages(path, model, segmenter, device, REPEATS if title in ("320x320", USUAL_SIZE) else 1)
            for title, path in files.items()
        }
        if device == "cuda":
            speed = per_second(measured[USUAL_SIZE][2], model)
            rate = Target("768x512 decoded, many at a time", "a second", speed, 100)
            stages += [f"## GPU: {torch.cuda.get_device_name()}", target_table([rate]), stage_table(measured)]
            continue
        stages += [f"## Stages, {backend}, {threads} threads", stage_table(measured)]
        if backend == "torch":
            n_bytes, targets = len(measured[USUAL_SIZE][2]), target_table(cpu_targets(measured, processes))
    small = {title: rgb for title, rgb in pictures.items() if title != HUGE_SIZE}
    return "\n\n".join([
        "## Targets", targets,
        "## Whole processes: start, import, weights, picture files", process_table(processes),
        *stages,
        "## Others on the same pictures, one run each",
        table(["", "picture", "bpp", "encode s", "decode s", "settings"], measure_rivals(small, n_bytes)),
        "## Published speeds of learned codecs, from other machines",
        table(["", "setting", "encode", "decode", "stated by"], PUBLISHED),
    ])


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.bench.speed", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds kodak/")
    parser.add_argument("--threads", type=number(), default=2, help="on the CPU (default: 2)")
    parser.add_argument("--huge", action="store_true", help="100 megapixels too: some minutes and 4 GB")
    parser.add_argument("--small", action="store_true", help="320x320 and 768x512 alone; no file but with --out")
    parser.add_argument("--out", type=Path, help="folder for speed.md (default: docs)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # for numpy's strips
    sizes = list(PICTURE_SIZES)[: 2 if args.small else 4 if args.huge else 3]
    pictures = {title: mosaic(args.data / "kodak", *PICTURE_SIZES[title]) for title in sizes}
    path = page(args.out, "speed.md", whole=not args.small)
    with tempfile.TemporaryDirectory() as folder:
        text = report(Path(folder), pictures, args.threads)
    text = (
        "# Speed and memory\n\nMade by `make bench-speed` on pictures put together from Kodak's; default quality, "
        "object and background. Seconds:\nmedians of five runs up to 768x512, one run above. read: a PNG file; pixels: "
        "writing one; neither is in the total.\nother: label map, container and the rest. "
        f"{platform.system()}, {platform.machine()}, torch {torch.__version__}, Python {platform.python_version()}.\n\n"
        f"{text}\n"
    )
    print(text, end="")
    if path:
        path.write_text(prose(text))


if __name__ == "__main__":
    main()
