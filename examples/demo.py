"""What `make demo` runs: the commands of obic on one photograph, a small table, and a side-by-side
picture.

python examples/demo.py [PICTURE] [--out FOLDER]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from obic.cli.info import describe
from obic.cli.main import main as obic
from obic.container import open_container
from obic.metrics import decibels, ms_ssim

HERE = Path(__file__).parent
GAP = 8  # pixels between the pictures of the side-by-side


def run(*words: object) -> None:
    """Show a command line and run it; stop where it fails."""
    line = [str(word) for word in words]
    print("$ obic", *line, flush=True)
    if code := obic(line):
        sys.exit(code)


def similarity(original: Path, decoded: Path, mask: Path) -> dict[str, float]:
    """MS-SSIM of the whole picture and of each layer's region."""
    a, b = (pixels(path).permute(2, 0, 1)[None] for path in (original, decoded))
    inside = pixels(mask)[None, None, :, :, 0]
    regions = torch.cat([torch.ones_like(inside), inside, 1 - inside], 1)
    return dict(zip(("whole file", "object", "background"), ms_ssim(b, a, regions)[0].tolist(), strict=True))


def pixels(path: Path) -> torch.Tensor:
    """float32 [H, W, 3] in 0..1."""
    return torch.tensor(np.asarray(Image.open(path).convert("RGB"))).float() / 255


def table(report: dict, scores: dict[str, float]) -> str:
    rows = [(layer["name"], layer["bytes"]) for layer in report["layers"]]
    rows += [("mask", report["mask_bytes"]), ("overhead", report["overhead_bytes"]), ("whole file", report["bytes"])]
    lines = [f"{'':12s} {'bytes':>7s} {'bpp':>7s} {'MS-SSIM':>8s} {'dB':>6s}"]
    for name, count in rows:
        bpp = 8 * count / (report["width"] * report["height"])
        score = f"{scores[name]:8.4f} {decibels(scores[name]):6.2f}" if name in scores else ""
        lines.append(f"{name:12s} {count:7,} {bpp:7.4f} {score}".rstrip())
    return "\n".join(lines)


def side_by_side(paths: list[Path], target: Path) -> None:
    """The pictures in a row; transparent ones on grey."""
    pictures = [Image.open(path).convert("RGBA") for path in paths]
    width = sum(picture.width for picture in pictures) + GAP * (len(pictures) - 1)
    row = Image.new("RGBA", (width, pictures[0].height), "gray")
    left = 0
    for picture in pictures:
        row.alpha_composite(picture, (left, 0))
        left += picture.width + GAP
    row.convert("RGB").save(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("picture", type=Path, nargs="?", default=HERE / "chelsea.png")
    parser.add_argument("--out", type=Path, default=Path("demo"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    name = args.out / args.picture.stem
    mask, coded, decoded = Path(f"{name}-mask.png"), Path(f"{name}.obic"), Path(f"{name}-decoded.png")
    part, cut_out = Path(f"{name}-object.obic"), Path(f"{name}-object.png")

    run("mask", args.picture, "-o", mask)
    run("encode", args.picture, "--mask", mask, "-o", coded)
    run("decode", coded, "-o", decoded)
    report = describe(open_container(coded))
    if len(report["layers"]) == 1:
        sys.exit("no object was found in this picture: there is nothing to extract")
    run("extract", coded, "--layer", "object", "-o", part)
    run("decode", part, "-o", cut_out)

    side_by_side([args.picture, decoded, cut_out], args.out / "side-by-side.png")
    print("\n" + table(report, similarity(args.picture, decoded, mask)))
    print(f"\nthe object alone: {part.stat().st_size:,} bytes in {part}")
    print(f"original, decoded, object: {args.out / 'side-by-side.png'}")


if __name__ == "__main__":
    main()
