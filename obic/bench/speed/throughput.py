"""`python -m obic.bench.speed.throughput`: pictures per second, with workers (`-j`) and in batches
(`batch_size`).

Written to `docs/throughput.md`. Workers are measured with the commands, start included; batches
from Python.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from obic.api import Codec
from obic.bench.common.markdown import prose
from obic.bench.common.pictures import PictureError
from obic.bench.common.script import command, number, page
from obic.bench.speed.stages import run_obic

HEAD = """# Many pictures

Made by `python -m obic.bench.speed.throughput`: pictures per second over {pictures} Kodak pictures, device {device},
{threads} threads. Workers:
`obic encode FOLDER -j N` and `obic decode`, start included, beside `-j 1`. Batches: `Codec.encode_all` and `decode_all`
with one worker, models loaded.

"""

Value = TypeVar("Value")


def with_workers(folder: Path, jobs: Sequence[int], threads: int, device: str) -> list[tuple[str, float, float]]:
    """A label, and the seconds to encode and to decode all pictures of a folder, for each number of
    workers."""
    rows = []
    for workers in jobs:
        with tempfile.TemporaryDirectory() as place:
            options = ("-j", str(workers), "--output-dir")
            encoding = run_obic("encode", folder, *options, f"{place}/coded", threads=threads, device=device)
            decoding = run_obic("decode", f"{place}/coded", *options, f"{place}/out", threads=threads, device=device)
        rows.append((f"`-j {workers}`", encoding.seconds, decoding.seconds))
    return rows


def in_batches(folder: Path, sizes: Sequence[int], device: str) -> list[tuple[str, float, float]]:
    """The same for each size of a batch."""
    codec, pictures = Codec(device), sorted(folder.iterdir())
    codec.decode_all(codec.encode_all(pictures[:1]))  # loads the networks
    rows = []
    for size in sizes:
        files, encoding = _timed(partial(codec.encode_all, pictures, workers=1, batch_size=size))
        _, decoding = _timed(partial(codec.decode_all, files, workers=1, batch_size=size))
        rows.append((f"`batch_size={size}`", encoding, decoding))
    return rows


def _timed(work: Callable[[], Value]) -> tuple[Value, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def table(rows: Sequence[tuple[str, float, float]], pictures: int) -> str:
    """Pictures a second, and how many times those of the first row."""
    lines = ["| | encode | | decode | |", "|---|---|---|---|---|"]
    for label, *seconds in rows:
        cells = [f"{pictures / new:.2f} | {old / new:.2f}x" for new, old in zip(seconds, rows[0][1:], strict=True)]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.bench.speed.throughput", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds kodak/")
    parser.add_argument("--jobs", type=number(), nargs="+", default=[1, 2, 4], metavar="N")
    parser.add_argument("--batches", type=number(), nargs="+", default=[1, 4, 8], metavar="N")
    parser.add_argument("--threads", type=number(), default=torch.get_num_threads(), help="of all workers together")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--every", type=number(), default=1, metavar="N", help="every Nth one; no file but with --out")
    parser.add_argument("--out", type=Path, help="folder for throughput.md (default: docs)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    files = sorted((args.data / "kodak").glob("*.png"))[:: args.every]
    if not files:
        raise PictureError(f"{args.data / 'kodak'}: no pictures (PNG)")
    out, pictures = page(args.out, "throughput.md", whole=args.every == 1), len(files)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for path in files:
            shutil.copy(path, folder)
        workers = with_workers(folder, args.jobs, args.threads, args.device)
        batches = in_batches(folder, args.batches, args.device)
    text = f"{table(workers, pictures)}\n\n{table(batches, pictures)}\n"
    print(text, end="")
    if out:
        head = HEAD.format(pictures=pictures, device=args.device, threads=args.threads)
        out.write_text(prose(head + text), "utf-8")


if __name__ == "__main__":
    main()
