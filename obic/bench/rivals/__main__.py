"""`python -m obic.bench`: obic and other codecs on Kodak and PASCAL VOC, from files, every byte
counted.

Writes results.md, results.json, plots and pictures to --out, and the results section of --readme.
What was measured stays in --cache, so that an interrupted run goes on where it was and new weights
cost only what depends on them; delete that file after a change of the code that makes or measures
files. The measurements of other codecs, which take longer than obic's, come with the repository and
count for the same pictures and the same versions of those codecs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from obic import codec
from obic.bench.common.coders import RIVALS
from obic.bench.common.pictures import TestPicture
from obic.bench.common.script import command, number, writable
from obic.bench.common.sets import KODAK, VOC, read_sets
from obic.bench.rivals import figures, plan, readme, results_page
from obic.bench.rivals.run import Cache, coders, jobs, read_rows, run, write_rows
from obic.bench.rivals.summary import RATE, summarise
from obic.bench.segmenter.scores import empty_pictures, labelled_pictures, presence, score
from obic.bench.speed.stages import measure_speed

SHEET_PICTURES, SHEET_SIDE = ("kodim04", "kodim07", "kodim15", "kodim20"), 224
SHEET_RIVALS = ("HEVC intra", "AVIF", "WebP", "JPEG 2000", "JPEG")
EXAMPLE_PICTURES = Path(__file__).parents[3] / "examples"
RIVALS_FILE = Path(__file__).parents[3] / "docs" / "rivals.json.xz"


@command
def main() -> None:
    args = arguments()
    writable(args.cache)
    model, segmenter = codec.load_model(args.device, encoder=True), codec.load_segmenter(args.device)
    sets, plans = read_sets(args.data / "kodak", args.data / "voc-eval.zip", segmenter), plan.PLANS
    if args.quick:
        sets, plans = plan.shortened(sets)
    whole = not args.quick and len(sets) == len(plan.PLANS)
    out = args.out or (Path("docs") if whole else None)
    if out:
        writable(out / "results.md"), writable(out / "results.json")

    seconds = measure_speed(next(iter(sets.values()))[:4], model, segmenter)
    scores = None
    if VOC in sets:
        step = plan.QUICK_EVERY[VOC] if args.quick else 1
        scores = score(segmenter, islice(labelled_pictures(args.data / "voc-eval.zip"), 0, None, step))
        if zips := sorted(args.data.glob("train-*.zip")):
            scores |= presence(segmenter, islice(empty_pictures(zips), 0, None, step))
    known = [] if args.anew else read_rows(RIVALS_FILE)
    rows = run(list(jobs(sets, plans)), Cache(args.cache, known), args.jobs, args.device)
    result = summarise(rows, f"{model.fingerprint:08x}", scores, seconds)
    print(json.dumps(result, indent=1) if args.json else results_page.report(result))
    if out:
        write(out, result, sets, args.device)
    if whole and out:
        write_rows(out / RIVALS_FILE.name, (row for row in rows if row["codec"] in RIVALS))
    if args.readme and whole:
        readme.write(args.readme, result)


def write(folder: Path, result: dict[str, Any], sets: Mapping[str, Sequence[TestPicture]], device: str) -> None:
    """results.md, results.json, the plots, and for Kodak the sheet; into `result` goes what it says
    of the example."""
    for name, of_set in result["curves"].items():
        figures.plot_rates(of_set, name, folder / f"rate-{results_page.slug(name)}.svg", published=name == KODAK)
    figures.plot_boost(result["boost"], result["default_boost"], folder / "boost.svg")
    if chosen := [picture for picture in sets.get(KODAK, []) if picture.name in SHEET_PICTURES]:
        each = [dict(coders(picture, (plan.DEFAULT, *SHEET_RIVALS), device)) for picture in chosen]
        columns = {name.removesuffix(plan.DEFAULT[4:]): [one[name] for one in each] for name in each[0]}
        figures.sheet(chosen, columns, RATE, SHEET_SIDE, folder / "sheet.webp")
    result["example_bytes"] = figures.example(EXAMPLE_PICTURES / "chelsea.png", folder / "example.webp")
    figures.cutouts(EXAMPLE_PICTURES / "astronaut.png", folder / "cutouts.webp")
    (folder / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "results.md").write_text(results_page.report(result), "utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m obic.bench", description=__doc__.split("\n\n", 1)[1])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds kodak/ or voc-eval.zip, or both")
    parser.add_argument("--quick", action="store_true", help="a few pictures at three rates; no files but with --out")
    parser.add_argument("-j", "--jobs", type=number(), default=os.cpu_count(), help="processes (default: one a core)")
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"), help="for obic (default: cpu)")
    parser.add_argument("--cache", type=Path, default=Path("runs/bench.jsonl"), help="measurements (%(default)s)")
    parser.add_argument("--anew", action="store_true", help="measure other codecs again as well")
    parser.add_argument("--json", action="store_true", help="print results.json instead of results.md")
    parser.add_argument("--out", type=Path, help="folder for the files (default: docs, if all sets are measured)")
    parser.add_argument("--readme", type=Path, help="put the results between its markers, if all sets are measured")
    args = parser.parse_args()
    if args.readme:
        try:
            readme.around(args.readme)
        except ValueError as error:
            parser.error(str(error))
    return args


def run_command() -> None:
    """`main` as a command: what ends it early ends its workers too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which ends the workers too
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command goes on from here")


if __name__ == "__main__":
    run_command()
