"""The worth of the decisions of LearntOBIC, each against its alternative: `python -m
obic.bench.codec.ablation --help`.

masking: in the feature domain (eq. 1) against the pixel domain (fig. 3). hyperprior: one for each
layer (eq. 2, 3) against one for the picture. backbone: ResNet-34 against ResNet-101 in DeepLab
(table 1). The networks are the shipped ones throughout: none is trained anew for the alternative.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from PIL import Image, ImageFilter

from obic import codec, inference
from obic.bench.common.coders import hyper_bytes, layer_hyper_bytes
from obic.bench.common.markdown import table
from obic.bench.common.measure import compare
from obic.bench.common.pictures import PictureError, TestPicture
from obic.bench.common.script import command, number, writable
from obic.bench.common.sets import CROPS, KODAK, read_sets
from obic.bench.segmenter.scores import labelled_pictures, score
from obic.constants import PART_PIXEL_MASK
from obic.container import mux, open_container
from obic.entropy.layer import LayerCoder
from obic.masks import encode_label_map, encode_pixel_mask, grid_labels
from obic.segment.builtin import DeepLabSegmenter, read_arrays, read_segmenter
from obic.segment.deeplab import DeepLab
from obic.segment.shapes import BACKBONES
from obic.weights import CodecModel, segmenter_bytes

CODED_QUALITIES = (25, 45, 65)  # equal for both layers
EDGE = 17  # pixels: the width of the band round the object's edge
GREY = 128  # what a pixel-domain layer holds where it is not: 0 to the network
SECTION_BEGIN, SECTION_END = "<!-- {}:begin -->", "<!-- {}:end -->"

Figures = dict[str, float]
Variant = Callable[[TestPicture, int, CodecModel], tuple[np.ndarray, Figures]]


def labels_of(picture: TestPicture) -> np.ndarray:
    """Labels of pixels, uint8 [H, W]: 1 in the object, 0 elsewhere."""
    return picture.region(1).astype(np.uint8)


def feature_masking(picture: TestPicture, quality: int, model: CodecModel) -> tuple[np.ndarray, Figures]:
    """The codec as it is: the pixels decoded, and where the file's bytes are."""
    encoder = codec.PictureEncoder(picture.rgb, labels_of(picture), 2, model=model)
    data = encoder.encode((quality, quality))
    container = open_container(data)
    z = sum(layer_hyper_bytes(container, label, model) for label in (0, 1))
    residual = sum(container.layer_bytes(label) for label in (0, 1)) - z
    figures = {"bytes": len(data), "mask": container.mask_bytes, "z": z, "residual": residual}
    return codec.decode_picture(container, model).rgb, figures


def pixel_masking(picture: TestPicture, quality: int, model: CodecModel) -> tuple[np.ndarray, Figures]:
    """Each layer is a picture of its own, grey where the other is, with every cell it touches; both
    are decoded alone and joined by the pixel mask, which the decoder then needs."""
    labels = labels_of(picture)
    owners = grid_labels(labels, 2, coverage=0)
    pixel_mask = encode_pixel_mask(labels, owners)
    joined, streams = np.zeros_like(picture.rgb), {}
    for label in (0, 1):
        inside = labels == label
        cells = grid_labels(inside.astype(np.uint8), 2, coverage=0) == 1
        features = inference.analyse_all(model.backend, [np.where(inside[..., None], picture.rgb, np.uint8(GREY))])
        coder = LayerCoder(model.entropy, cells, quality)
        z, residual = inference.encode_cells(model, features, coder)
        streams[label] = coder.encode(z, residual)
        decoded = inference.decode_cells(model, z, residual, coder)
        joined[inside] = inference.synthesise_all(model.backend, *decoded, [labels.shape])[0][inside]
    grid = encode_label_map(owners, 2) or b""
    size = _file_size(picture, quality, grid, streams, {PART_PIXEL_MASK: pixel_mask})
    return joined, {"bytes": size, "mask": len(grid) + len(pixel_mask)}


def shared_hyperprior(picture: TestPicture, quality: int, model: CodecModel) -> tuple[np.ndarray, Figures]:
    """One hyper-latent for the whole picture, which both layers' residuals lean on: neither can be
    had without it."""
    labels = labels_of(picture)
    owners = grid_labels(labels, 2)
    features = inference.analyse_all(model.backend, [picture.rgb])
    everywhere = np.ones(owners.shape, bool)
    z, _ = inference.encode_cells(model, features, LayerCoder(model.entropy, everywhere, quality))
    layers, streams = [], {}
    for label in (0, 1):
        coder = LayerCoder(model.entropy, owners == label, quality)
        own_z, residual = inference.encode_cells(model, features, coder, z=coder.codable(z))
        stream = coder.encode(own_z, residual)
        streams[label] = bytes(round(len(stream) - hyper_bytes(z, coder.cells, quality, model)))  # as if without z
        layers.append(inference.decode_cells(model, own_z, residual, coder))
    features, conditions = (sum(parts) for parts in zip(*layers, strict=True))
    (rgb,) = inference.synthesise_all(model.backend, features, conditions, [labels.shape])
    grid, z_bytes = encode_label_map(owners, 2) or b"", hyper_bytes(z, everywhere, quality, model)
    size = _file_size(picture, quality, grid, streams) + z_bytes
    return rgb, {"bytes": size, "mask": len(grid), "z": z_bytes, "residual": sum(map(len, streams.values()))}


def _file_size(
    picture: TestPicture, quality: int, mask: bytes, streams: dict[int, bytes], parts: dict[int, bytes] | None = None
) -> int:
    height, width = picture.rgb.shape[:2]
    return len(mux(
        width=width, height=height, model=0, mask=mask, qualities=(quality, quality), streams=streams, parts=parts))


def measured(pictures: Sequence[TestPicture], variants: dict[str, Variant], model: CodecModel) -> Iterator[list[str]]:
    """Rows of a table: the means of each variant at each quality."""
    for quality in CODED_QUALITIES:
        for name, variant in variants.items():
            figures = []
            for picture in pictures:
                rgb, parts = variant(picture, quality, model)
                edge = _edge(labels_of(picture))
                figures.append({
                    **compare(rgb, picture.rgb, picture.regions),
                    **{part: 8 * size / picture.pixels for part, size in parts.items()},
                    "edge": _psnr(rgb[edge], picture.rgb[edge]),
                })
            mean = {key: np.mean([each[key] for each in figures]) for key in figures[0]}
            yield [str(quality), name, *(f"{mean[key]:.4f}" for key in ("bytes", "mask")),
                   *(f"{mean[key]:.4f}" if key in mean else "" for key in ("z", "residual")),
                   f"{mean['ms_ssim']:.4f}", f"{mean['object_ms_ssim']:.4f}", f"{mean['psnr']:.2f}",
                   f"{mean['edge']:.2f}"]


ABLATIONS: dict[str, dict[str, Variant]] = {
    "masking": {"features": feature_masking, "pixels": pixel_masking},
    "hyperprior": {"of each layer": feature_masking, "shared": shared_hyperprior},
}
HEADINGS = ["quality", "", "bpp", "of it mask", "z", "residual", "MS-SSIM", "in the object", "PSNR", "at the edge"]


def _edge(labels: np.ndarray) -> np.ndarray:
    """bool [H, W]: the band round the object's edge."""
    mask = Image.fromarray(labels * np.uint8(255))
    wide, narrow = (mask.filter(kind(EDGE)) for kind in (ImageFilter.MaxFilter, ImageFilter.MinFilter))
    return np.asarray(wide) != np.asarray(narrow)


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-6)))


@torch.inference_mode()
def backbones(data: Path, segmenters: Mapping[str, DeepLabSegmenter], side: int) -> Iterator[list[str]]:
    """Rows of a table: size, arithmetic and time of DeepLab with each backbone, and the IoU of
    `segmenters` on them."""
    from torch.utils.flop_counter import FlopCounterMode

    for name in BACKBONES:
        network = DeepLab(name).eval()
        giga = []
        for size in (side, 512):
            picture = torch.zeros(1, 3, size, size)
            with FlopCounterMode(display=False) as counter:
                network(picture)
            giga.append(counter.get_total_flops() / 1e9)
        start = perf_counter()
        network(torch.zeros(1, 3, side, side))
        seconds = perf_counter() - start
        parameters = sum(p.numel() for p in network.parameters()) / 1e6
        iou, miou = "not trained", "not trained"
        if name in segmenters:
            result = score(segmenters[name], labelled_pictures(data / "voc-eval.zip"))
            iou, miou = f"{result['fg_iou']:.3f}", f"{result['miou']:.3f}"
        yield [name, f"{parameters:.1f}", *(f"{flops:.1f}" for flops in giga), f"{seconds:.2f}", iou, miou]


def backbone_of(source: Path | bytes) -> str:
    """Of a segmenter's weights file, or its bytes."""
    return str(read_arrays(source)["backbone"])


def mask_sources(
    crops: Sequence[TestPicture], segmenter: DeepLabSegmenter, model: CodecModel
) -> Iterator[list[str]]:
    """Rows of a table: the most that a better segmenter could give: its masks against the true
    ones."""
    for name in ("segmenter's", "true"):
        figures = []
        for picture in crops:
            labels = labels_of(picture) if name == "true" else (segmenter(picture.rgb) > 0).astype(np.uint8)
            n_layers = 2 if labels.any() else 1
            encoder = codec.PictureEncoder(picture.rgb, labels if n_layers == 2 else None, n_layers, model=model)
            qualities = codec.layer_qualities(codec.DEFAULT_QUALITY, n_layers)
            data = encoder.encode(qualities)
            container = open_container(data)
            figures.append({
                "bpp": 8 * len(data) / picture.pixels, "mask": container.mask_bytes,
                **compare(codec.decode_picture(container, model).rgb, picture.rgb, picture.regions),
            })
        mean = {key: np.mean([each[key] for each in figures]) for key in figures[0]}
        yield [name, f"{mean['bpp']:.4f}", f"{mean['mask']:.1f}",
               *(f"{mean[key]:.4f}" for key in ("ms_ssim", "object_ms_ssim", "background_ms_ssim"))]


def chosen_pictures(
    data: Path, segmenter: Callable[[np.ndarray], np.ndarray], every: dict[str, int]
) -> dict[str, list[TestPicture]]:
    """Of the two sets every n-th picture of those with an object and a background. Raises
    PictureError."""
    places = data / "kodak", data / "voc-eval.zip"
    for place in places:
        if not place.exists():
            raise PictureError(f"{place} is not there")
    sets = read_sets(*places, segmenter)
    chosen = {}
    for name, step in every.items():
        both = [each for each in sets[name] if each.region(1).any() and each.region(0).any()]
        if not both:
            raise PictureError(f"{data}: no picture of {name} has an object and a background")
        chosen[name] = both[::step]
    return chosen


def replace_section(path: Path, name: str, text: str) -> None:
    """Puts text between the markers of a section of a Markdown file."""
    before, after = around_section(path, name)
    path.write_text(f"{before}\n{text}\n{after}")


def around_section(path: Path, name: str) -> tuple[str, str]:
    """The text before and after a section, with its markers. Raises SystemExit if one of them is
    not there."""
    start, end = (marker.format(name) for marker in (SECTION_BEGIN, SECTION_END))
    before, _, rest = path.read_text().partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{path} has no section {start} ... {end}: say another file with --out")
    return before + start, end + after


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m obic.bench.codec.ablation", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with kodak/ and voc-eval.zip")
    parser.add_argument("--every", type=number(), default=2, help="use every n-th Kodak picture")
    parser.add_argument("--crops-every", type=number(), default=6, help="use every n-th VOC crop")
    parser.add_argument("--segmenters", type=Path, nargs="+", default=[], help="weights on other backbones than the "
                        "shipped ones', for their IoU")
    parser.add_argument("--out", type=Path, default=Path("docs/ablations.md"), help="its sections are written anew")
    args = parser.parse_args()
    for name in (*ABLATIONS, "backbone", "masks"):
        around_section(args.out, name)
    writable(args.out)
    model, segmenter = codec.load_model(encoder=True), codec.load_segmenter()
    chosen = chosen_pictures(args.data, segmenter, {KODAK: args.every, CROPS: args.crops_every})
    for name, variants in ABLATIONS.items():
        tables = [
            f"{set_name}, {len(pictures)} pictures:\n\n{table(HEADINGS, list(measured(pictures, variants, model)))}"
            for set_name, pictures in chosen.items()
        ]
        replace_section(args.out, name, "\n\n".join(tables))
    side = segmenter.long_side
    headings = ["backbone", "M parameters", f"GFLOPs at {side}x{side}", "at 512x512", "seconds", "foreground IoU",
                "mIoU"]
    segmenters = {backbone_of(path): read_segmenter(path, "torch") for path in args.segmenters}
    segmenters[backbone_of(segmenter_bytes())] = segmenter
    replace_section(args.out, "backbone", table(headings, list(backbones(args.data, segmenters, side))))
    headings = ["masks", "bpp", "mask bytes", "MS-SSIM", "in the object", "in the background"]
    replace_section(args.out, "masks", table(headings, list(mask_sources(chosen[CROPS], segmenter, model))))


if __name__ == "__main__":
    main()
