"""`python -m obic.bench.codec.ratecontrol`: are sizes met from below, how closely, and what does
the search cost?

Written to `docs/ratecontrol.md`; the exit code is 1 where a file is not as it should be.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from obic import codec
from obic.bench.common.markdown import prose
from obic.bench.common.pictures import TestPicture, read_folder
from obic.bench.common.script import command, number, page
from obic.constants import MAX_QUALITY
from obic.rate import Rate
from obic.weights import CodecModel

TARGETS = {
    **{f"--bpp {bpp}": Rate(bpp=bpp) for bpp in (0.03, 0.065, 0.1, 0.2, 0.4)},
    **{f"--size {size}": Rate(size=size) for size in (3000, 10_000)},
    "--bpp 0.1 --object-boost 25": Rate(bpp=0.1, object_boost=25),
    "--bpp 0.1 --object-quality 60": Rate(bpp=0.1, object_quality=60),
    "--bpp 0.1 --background-quality 20": Rate(bpp=0.1, background_quality=20),
}
GOOD = ("met", "too small", "too large")  # outcomes; every other one says what is wrong
HEAD = """# Rate control

Made by `python -m obic.bench.codec.ratecontrol`: {pictures} Kodak pictures, the segmenter's layers, model {model:08x}.
A file is met when it has no more bytes than asked for, and either at least 98 % of them, or more than that with every
layer that is not fixed one quality higher. "None so small": all free layers stand at their lowest quality; "none so
large": at 100. The miss is the share of the target that is left. Time: analysis, search and coding, beside the same for
the quality that was found.

"""


@dataclass(frozen=True)
class Search:
    """One search. outcome: one of GOOD, or what is wrong. miss: the share of the target that is
    left. tries: files whose size was asked for. seconds: analysis, search and coding;
    fixed_seconds: without the search."""

    target: str
    picture: str
    outcome: str
    miss: float
    tries: int
    seconds: float
    fixed_seconds: float


def search(
    pictures: Iterable[TestPicture],
    targets: dict[str, Rate],
    model: CodecModel,
    segmenter: Callable[[np.ndarray], np.ndarray],
) -> Iterator[Search]:
    """Asks for every target for every picture."""
    for picture in pictures:
        found = (segmenter(picture.rgb) > 0).astype(np.uint8)
        labels = found if found.any() else None
        for name, rate in targets.items():
            yield _search_one(picture, labels, name, rate, model)


def _search_one(picture: TestPicture, labels: np.ndarray | None, name: str, rate: Rate, model: CodecModel) -> Search:
    n_layers = 1 if labels is None else 2
    tried = set()

    def size(qualities: tuple[int, ...]) -> int:
        tried.add(qualities)
        return coder.size(qualities)

    start = time.perf_counter()
    coder = codec.PictureEncoder(picture.rgb, labels, n_layers, model=model)
    chosen = rate.qualities(n_layers, picture.pixels, size)
    n_bytes = len(coder.encode(chosen))
    done = time.perf_counter()
    codec.encode_picture(picture.rgb, labels, n_layers, qualities=chosen, model=model)
    fixed = time.perf_counter() - done
    most = rate.max_bytes(picture.pixels)
    if most is None:
        raise ValueError(f"{name} asks for no size")
    outcome = _outcome(rate, chosen, n_bytes, most, coder)
    return Search(name, picture.name, outcome, 1 - n_bytes / most, len(tried), done - start, fixed)


def _outcome(rate: Rate, chosen: Sequence[int], n_bytes: int, most: int, coder: codec.PictureEncoder) -> str:
    """The verdict on the qualities that a search chose."""
    fixed = [rate.background_quality, *[rate.object_quality] * (len(chosen) - 1)] if len(chosen) > 1 else [None]
    if any(given not in (None, have) for given, have in zip(fixed, chosen, strict=True)):
        return "a fixed quality moved"
    if n_bytes > most:
        free = [quality for quality, given in zip(chosen, fixed, strict=True) if given is None]
        return "too small" if max(free, default=1) <= 3 else "above the target"
    higher = [
        min(MAX_QUALITY, quality + 1) if given is None else quality
        for quality, given in zip(chosen, fixed, strict=True)
    ]
    if higher == list(chosen):
        return "too large"
    return "met" if coder.size(higher) > most or n_bytes >= 0.98 * most else "more than a step below"


def table(rows: Sequence[Search]) -> str:
    """One line for each target: how many files are as they should be, misses of those that were
    met, and the cost."""
    lines = [
        "| asked for | met | none so small | none so large | wrong | mean miss | worst | tries | times one encode |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for target in dict.fromkeys(row.target for row in rows):
        chosen = [row for row in rows if row.target == target]
        counts = [sum(row.outcome == kind for row in chosen) for kind in GOOD]
        misses = [row.miss for row in chosen if row.outcome == "met"]
        mean, worst = (f"{of(misses):.1%}" if misses else "-" for of in (np.mean, max))
        lines.append(
            f"| `{target}` | {' | '.join(map(str, counts))} | {len(chosen) - sum(counts)} | {mean} | "
            f"{worst} | {np.mean([row.tries for row in chosen]):.1f} | "
            f"{sum(row.seconds for row in chosen) / sum(row.fixed_seconds for row in chosen):.1f} |"
        )
    return "\n".join(lines)


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.bench.codec.ratecontrol", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds kodak/")
    parser.add_argument("--every", type=number(), default=1, metavar="N", help="every Nth one; no file but with --out")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--out", type=Path, help="folder for ratecontrol.md (default: docs)")
    args = parser.parse_args()
    pictures = read_folder(args.data / "kodak")[:: args.every]
    out = page(args.out, "ratecontrol.md", whole=args.every == 1)
    model, segmenter = codec.load_model(args.device, encoder=True), codec.load_segmenter(args.device)
    rows = list(search(pictures, TARGETS, model, segmenter))
    text = table(rows)
    print(text)
    wrong = [f"{row.picture}, {row.target}: {row.outcome}" for row in rows if row.outcome not in GOOD]
    if out:
        head = HEAD.format(pictures=len(pictures), model=model.fingerprint)
        out.write_text(prose(head + text) + "\n", "utf-8")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
