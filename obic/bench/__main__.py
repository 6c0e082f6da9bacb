"""`python -m obic.bench`: rate-distortion tables from real files, written to `docs/results.md` and `.csv`."""

from __future__ import annotations

import argparse
import csv
import platform
import sys
from dataclasses import asdict, fields
from pathlib import Path

import torch

from obic import codec
from obic.bench.codec import Measured, at_rate, averages, measure, read_sets
from obic.metrics import decibels

RATES = (0.03, 0.05, 0.0648, 0.10, 0.15, 0.25)
QUALITIES = (1, 15, 30, 45, 60, 80, 100)


def curve(title: str, means: dict[int, dict[str, float]]) -> str:
    lines = [
        f"### {title}",
        "",
        "| quality | bpp | MS-SSIM | dB | PSNR dB | object | background | file bytes | mask | overhead |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for quality, mean in means.items():
        regions = [f"{mean[name]:.4f}" if name in mean else "" for name in ("object_ms_ssim", "background_ms_ssim")]
        mark = " (default)" if quality == codec.DEFAULT_QUALITY else ""
        lines.append(
            f"| {quality}{mark} | {mean['bpp']:.4f} | {mean['ms_ssim']:.4f} | {decibels(mean['ms_ssim']):.2f} | "
            f"{mean['psnr']:.2f} | {' | '.join(regions)} | {mean['bytes']:.0f} | {mean['mask_bytes']:.1f} | "
            f"{mean['overhead_bytes']:.1f} |"
        )
    return "\n".join(lines)


def rates(curves: dict[str, dict[int, dict[str, float]]]) -> str:
    head = ["### MS-SSIM at a rate, interpolated", "", "| | " + " | ".join(f"{rate} bpp" for rate in RATES) + " |"]
    lines = [*head, "|---" * (len(RATES) + 1) + "|"]
    for title, means in curves.items():
        cells = [at_rate(means, rate, "ms_ssim") for rate in RATES]
        lines.append(f"| {title} | " + " | ".join("-" if cell is None else f"{cell:.4f}" for cell in cells) + " |")
    return "\n".join(lines)


def times(curves: dict[str, dict[int, dict[str, float]]]) -> str:
    lines = [
        f"### Seconds a picture, {torch.get_num_threads()} threads, models loaded, default quality",
        "",
        "| | segment | encode | decode |",
        "|---|---|---|---|",
    ]
    for title, means in curves.items():
        mean = means[codec.DEFAULT_QUALITY]
        cells = (mean[f"{stage}_seconds"] for stage in ("segment", "encode", "decode"))
        lines.append(f"| {title} | " + " | ".join(f"{seconds:.2f}" for seconds in cells) + " |")
    return "\n".join(lines)


def write_csv(path: Path, everything: dict[str, list[Measured]]) -> None:
    """One line for each picture and quality."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["set", *(field.name for field in fields(Measured))])
        for title, rows in everything.items():
            for row in rows:
                values = asdict(row).values()
                writer.writerow([title, *(round(value, 5) if isinstance(value, float) else value for value in values)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.bench", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder that holds kodak/ or voc-eval.zip, or both")
    parser.add_argument("--kodak", type=Path, help="folder of pictures, instead of DATA/kodak")
    parser.add_argument("--voc", type=Path, help="zip of pictures with masks, instead of DATA/voc-eval.zip")
    parser.add_argument("--quick", action="store_true", help="every fourth picture, every third quality; no files")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder for results.md and results.csv")
    args = parser.parse_args()
    sets = read_sets(args.data, args.kodak, args.voc, every=4 if args.quick else 1)
    if not sets:
        parser.error("no pictures: give --data FOLDER with kodak/ or voc-eval.zip, or --kodak, or --voc")
    qualities = sorted({*QUALITIES[:: 3 if args.quick else 1], codec.DEFAULT_QUALITY})
    model, segmenter = codec.load_model(args.device, encoder=True), codec.load_segmenter(args.device)
    curves, everything = {}, {}
    for name, pictures in sets.items():
        for layers, choice in (("object and background", segmenter), ("one layer", None)):
            title = f"{name}, {layers}"
            rows = []
            for row in measure(pictures, qualities, model, choice):
                rows.append(row)
                if sys.stderr.isatty():
                    done = f"{len(rows)}/{len(pictures) * len(qualities)}"
                    print(f"\r{title}: {done}  ", end="", file=sys.stderr, flush=True)
            curves[title], everything[title] = averages(rows), rows
    sections = [curve(title, means) for title, means in curves.items()]
    text = "\n\n".join([rates(curves), *sections, times(curves)])
    print(text)
    if not args.quick:
        args.out.mkdir(exist_ok=True)
        head = (
            "# Results\n\nMade by `make bench` from files on disk, every byte counted; means over the pictures. "
            f"Model {model.fingerprint:08x}, {platform.machine()}, torch {torch.__version__}, "
            f"{torch.get_num_threads()} threads. MS-SSIM: RGB, five scales; a region's: every scale's map weighted by "
            "the mask (the true one where there is one, else the segmenter's).\n\n"
        )
        (args.out / "results.md").write_text(head + text + "\n")
        write_csv(args.out / "results.csv", everything)


if __name__ == "__main__":
    main()
