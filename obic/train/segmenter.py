"""Training of the segmenter, from scratch or from earlier weights, on a GPU or on CPU cores.

    python -m obic.train.segmenter data/train-*.zip --out runs/segmenter --minutes 100
    torchrun --nproc-per-node 2 -m obic.train.segmenter data/train-*.zip --out runs/segmenter --threads 1 \\
        --init weights/segmenter.npz --done 0.3
    python -m obic.train.segmenter data/train-*.zip --pack runs/segmenter/last.pt --out weights/segmenter.npz

The resolution grows with the time spent, so that most of the steps are cheap. With `--teacher` it also learns from a
network that has seen more pictures, which `obic.train.teacher` makes.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from obic.bench.segmentation import score
from obic.segment.deeplab import BACKBONES, CLASSES, DeepLab
from obic.segment.segmenter import DeepLabSegmenter, fold_norms, load_segmenter, pack
from obic.train import parallel
from obic.train.curves import say
from obic.train.data import VOID, Sample, load_samples
from obic.train.distil import Distillation, load_teacher, teacher_side
from obic.train.optim import Average, Optimisers
from obic.train.precision import mixed_precision
from obic.train.unfold import unfold_norms

UNKNOWN = 254  # an object of no known class
LOGIT_STRIDE = 4  # the losses compare masks at a quarter of the crop's resolution
# How often a set is drawn, per picture: what an object is, is VOC's to say; the rest brings variety.
SET_WEIGHTS = {"voc": 2.0, "sbd": 1.5, "ecssd": 0.8, "humanseg": 0.8, "davis": 0.6, "ccp": 0.4}
OTHER_SETS = 0.7
COMMON = 0.1  # a class in a smaller share of the pictures is drawn more often
CLASS_LABELS = np.arange(1, CLASSES + 1, dtype=np.uint8)
PSEUDO_WEIGHT = 0.7  # a teacher's mask counts less than a person's
WINDOWS, PASTE_WINDOWS = (0.55, 1.15), (0.7, 2.0)  # of a crop, in long sides of its picture
# Of the masks' foreground, overlap and classes; of the teacher's features, foreground and classes.
LOSS_WEIGHTS = (1.0, 0.5, 0.4, 1.0, 1.0, 0.5)
PASTES = 0.3  # of the crops get the objects of another picture
# To choose from when packing.
LONG_SIDES, THRESHOLDS = (192, 208, 224, 240, 256, 288), (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5)
# (share of the time at which a stage ends, side of the crop, pictures a step)
STAGES = ((0.18, 96, 96), (0.50, 128, 64), (0.80, 160, 40), (1.0, 208, 24))


def random_crop(
    rgb: Tensor, mask: Tensor, side: int, windows: tuple[float, float] = WINDOWS
) -> tuple[Tensor, Tensor]:
    """A random window of a picture, flipped half the time, scaled to a square, on the picture's device.

    rgb: uint8 [H, W, 3]; mask: uint8 [H, W]; windows: the smallest and the largest, in long sides of the picture.
    Returns rgb uint8 [3, side, side] and labels uint8 [side, side]. Beyond the picture: grey and void.
    """
    height, width = mask.shape
    window = max(height, width) * random.uniform(*windows)
    stretch = random.uniform(0.85, 1.18)
    high, wide = max(16, round(window * stretch)), max(16, round(window / stretch))
    top, left = _offset(height, high), _offset(width, wide)
    box = (slice(max(top, 0), min(top + high, height)), slice(max(left, 0), min(left + wide, width)))
    inside = tuple(slice(s.start - o, s.stop - o) for s, o in zip(box, (top, left), strict=True))
    picture, labels = rgb.new_full((high, wide, 3), 118), mask.new_full((high, wide), VOID)
    picture[inside], labels[inside] = rgb[box], mask[box]
    if random.random() < 0.5:
        picture, labels = picture.flip(1), labels.flip(1)
    picture = F.interpolate(picture.permute(2, 0, 1)[None].float(), (side, side), mode="bilinear", antialias=True)[0]
    centres = (torch.arange(side, device=mask.device) + 0.5) / side
    labels = labels[(centres * high).long()[:, None], (centres * wide).long()]
    return picture.round().to(torch.uint8), labels


def pasted(below: tuple[Tensor, Tensor], above: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The objects of one crop on another: new surroundings for them (Ghiasi et al. 2021, "Simple Copy-Paste").

    Both and the result: rgb uint8 [3, S, S] and labels uint8 [S, S].
    """
    objects = (above[1] > 0) & (above[1] != VOID)
    return torch.where(objects, above[0], below[0]), torch.where(objects, above[1], below[1])


def _offset(length: int, window: int) -> int:
    slack = length - window
    return random.randint(min(slack, 0), max(slack, 0))


def jitter(rgb: Tensor) -> Tensor:
    """Random brightness, contrast, saturation and white balance. rgb: float [B, 3, H, W] in 0..1, and so the result."""
    def draw(*shape: int, spread: float) -> Tensor:
        return 1 + spread * (2 * torch.rand(len(rgb), *shape, 1, 1, device=rgb.device) - 1)

    grey = rgb.mean(1, keepdim=True)
    saturation = draw(1, spread=0.4) * (torch.rand(len(rgb), 1, 1, 1, device=rgb.device) > 0.08)
    rgb = grey + (rgb - grey) * saturation
    centre = rgb.mean((1, 2, 3), keepdim=True)
    rgb = centre + (rgb - centre) * draw(1, spread=0.3)
    return (rgb * draw(1, spread=0.3) * draw(3, spread=0.08)).clamp(0, 1)


def drawing_chances(samples: list[Sample]) -> list[float]:
    """How often each sample is drawn: the weight of its set, times the repeat factor of the rarest VOC class in it
    (Gupta et al. 2019, "LVIS", section 4.2)."""
    present = [np.intersect1d(s.mask, CLASS_LABELS) for s in samples]
    share = np.bincount(np.concatenate(present), minlength=CLASSES + 1) / len(samples)
    repeats = np.sqrt(np.maximum(1.0, COMMON / np.maximum(share, 1e-9)))
    return [SET_WEIGHTS.get(s.source, OTHER_SETS) * max((repeats[label] for label in labels), default=1.0)
            for s, labels in zip(samples, present, strict=True)]


def batches(samples: list[Sample], device: torch.device) -> Iterator:
    """Endless: send (side, count) and get rgb float [B, 3, S, S], labels int64 [B, S/4, S/4], weights float [B].

    The pictures lie on the device and are cut there.
    """
    pictures = [(torch.from_numpy(s.rgb).to(device), torch.from_numpy(s.mask).to(device)) for s in samples]
    chances = drawing_chances(samples)
    lends = [chance * (s.mask_kind != "pseudo") for s, chance in zip(samples, chances, strict=True)]

    def crop(number: int) -> tuple[Tensor, Tensor]:
        below = random_crop(*pictures[number], side)
        if not any(lends) or random.random() >= PASTES:
            return below
        return pasted(below, random_crop(*random.choices(pictures, lends)[0], side, PASTE_WINDOWS))

    side, count = yield
    while True:
        chosen = random.choices(range(len(samples)), chances, k=count)
        crops, labels = zip(*map(crop, chosen), strict=True)
        centres = slice(LOGIT_STRIDE // 2, None, LOGIT_STRIDE)
        labels = torch.stack(labels)[:, centres, centres].long()
        sure = [PSEUDO_WEIGHT if samples[number].mask_kind == "pseudo" else 1.0 for number in chosen]
        side, count = yield jitter(torch.stack(crops).float() / 255), labels, torch.tensor(sure, device=device)


def loss_terms(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Foreground cross-entropy, foreground 1 - soft IoU (each picture's, where it has an object), class cross-entropy.

    logits: float [B, 21, h, w], the network's; labels: int64 [B, H, W], 0..20, 254, 255; weights: float [B].
    """
    logits = F.interpolate(logits.float(), labels.shape[1:], mode="bilinear", align_corners=False)
    valid = (labels != VOID).float() * weights[:, None, None]
    target = ((labels > 0) & (labels != VOID)).float()
    foreground = logits[:, 0]
    entropy = F.binary_cross_entropy_with_logits(foreground, target, reduction="none")
    entropy = (entropy * valid).sum() / valid.sum().clamp(min=1)
    chance = foreground.sigmoid()
    both = (chance * target * valid).sum((1, 2))
    either = ((chance + target - chance * target) * valid).sum((1, 2))
    has_object = ((target * valid).sum((1, 2)) > 0).float()
    overlap = ((1 - both / either.clamp(min=1)) * has_object).sum() / has_object.sum().clamp(min=1)
    known = torch.where((labels > 0) & (labels < UNKNOWN), labels - 1, -1)
    classes = F.cross_entropy(logits[:, 1:], known, ignore_index=-1, reduction="sum") / (known >= 0).sum().clamp(min=1)
    return entropy, overlap, classes


def scaled(rgb: Tensor, side: int) -> Tensor:
    """Crops [B, 3, S, S] at another size, [B, 3, side, side]."""
    return rgb if rgb.shape[-1] == side else F.interpolate(rgb, (side, side), mode="bilinear", antialias=True)


def held_out_scores(model: nn.Module, samples: list[Sample], long_side: int) -> dict[str, float]:
    """The figures of `obic.bench.segmentation.score` over whole pictures, in the precision of training."""
    segmenter = DeepLabSegmenter(model.eval(), long_side)
    with mixed_precision(model.mean.device):
        return score(segmenter, ((sample.rgb, sample.mask) for sample in samples))


def save(path: Path, model: DeepLab, average: Average, distillation: Distillation | None, progress: float,
         score: float) -> None:
    """Write a checkpoint atomically: weights, their average, what turns them into a teacher's, and how far the run was;
    no optimiser state.

    Of several processes the first one writes.
    """
    if parallel.rank():
        return
    state = {"backbone": model.backbone, "model": model.state_dict(), "average": average.state,
             "match": distillation.learned() if distillation else None, "progress": progress, "held_out_iou": score}
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def split(samples: list[Sample], held_out: int) -> tuple[list[Sample], list[Sample]]:
    """Training samples and, for choices, `held_out` of the VOC samples, the same ones every time.

    Raises ValueError when that leaves none: without held-out pictures no figure of a run means anything.
    """
    order = sorted((s for s in samples if s.source == "voc"), key=lambda s: random.Random(s.name).random())
    if not order[:held_out]:
        raise ValueError("nothing to hold out: no picture of the set 'voc' in the data, or --held-out is 0")
    kept = {s.name for s in order[:held_out]}
    return [s for s in samples if s.name not in kept], order[:held_out]


class Start(NamedTuple):
    """What a run begins with: the network, the share of the schedule that lies behind, and where there are any, the
    average of the weights and what a `Distillation` had learned."""

    network: DeepLab
    done: float
    average: dict[str, Tensor] | None = None
    match: dict[str, Tensor] | None = None


def start(args: argparse.Namespace, source: Iterator) -> Start:
    """From scratch, from packed weights, or from a checkpoint. source: `batches`."""
    path = args.resume or args.init
    if not path:
        return Start(DeepLab(args.backbone), args.done)
    if args.init and path.suffix == ".npz":
        pictures = [source.send((STAGES[1][1], 64))[0].cpu() for _ in range(8)]
        begun = Start(unfold_norms(load_segmenter(path).network, pictures), args.done)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
        done = state["progress"] if args.resume else args.done
        begun = Start(DeepLab(state["backbone"]), done, state["average"], state.get("match"))
        begun.network.load_state_dict(state["model"])
    if begun.network.backbone != args.backbone:
        raise SystemExit(f"{path} has another backbone: say --backbone {begun.network.backbone}")
    if begun.done >= 1:
        raise SystemExit(f"the schedule of {path} is at its end: start another with --init")
    return begun


def train(args: argparse.Namespace) -> None:
    device = torch.device(parallel.join(args.device))
    random.seed(args.seed + parallel.rank())
    torch.manual_seed(args.seed + parallel.rank())
    args.out.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    samples = [s for s in load_samples(args.data, args.memory_side, args.limit) if s.mask is not None]
    training, held_out = split(samples, args.held_out)
    say(f"{len(training)} pictures to train on, {len(held_out)} held out, loaded in {time.monotonic() - begin:.0f} s")

    source = batches(training, device)
    next(source)
    model, done, averaged, match = start(args, source)
    model = model.to(device, memory_format=torch.channels_last).train()
    distillation = Distillation(load_teacher(args.teacher), model, match).to(device).train() if args.teacher else None
    trained = nn.ModuleList([model, distillation] if distillation else [model])
    parallel.start_equal(trained)
    average = Average(model, args.average)
    if averaged:
        average.state, average.updates = {name: value.to(device) for name, value in averaged.items()}, 10_000
    optimisers = Optimisers(trained, args.muon_lr, args.adam_lr, weight_decay=args.weight_decay)
    shadow = DeepLab(args.backbone).to(device, memory_format=torch.channels_last)

    budget, step, seen, losses, best = args.minutes * 60, 0, 0, [], 0.0
    next_report = args.report * 60
    while True:
        spent = parallel.agreed(time.monotonic() - begin)
        progress = min(1.0, done + (1 - done) * spent / budget)
        _, side, count = next(stage for stage in STAGES if progress <= stage[0])
        count = max(2, round(count * args.batch_scale))
        rgb, labels, weights = source.send((teacher_side(side) if distillation else side, count))
        rgb = rgb.contiguous(memory_format=torch.channels_last)
        with mixed_precision(device):
            logits = model(scaled(rgb, side))
            taught = distillation(rgb, logits) if distillation else ()
        terms = (*loss_terms(logits, labels, weights), *taught)
        loss = sum(weight * term for weight, term in zip(LOSS_WEIGHTS, terms, strict=False))
        loss.backward()
        parallel.average_gradients(trained)
        optimisers.step(progress)
        average.update(model)
        losses.append([float(term.detach()) for term in terms])
        step, seen = step + 1, seen + count * parallel.count()
        if spent > next_report or progress >= 1:
            next_report = spent + args.report * 60
            shadow.load_state_dict(average.state)
            result = held_out_scores(shadow, held_out, round(side * 1.2))
            iou = result["fg_iou"]
            terms = " ".join(f"{value:.3f}" for value in np.mean(losses, axis=0))
            say(f"step {step} {progress:6.1%} side {side} loss {terms} | held-out fg IoU {iou:.4f} mIoU "
                f"{result['miou']:.3f} | {seen / spent:.1f} pictures/s, {max(budget - spent, 0) / 60:.0f} min left")
            losses = []
            save(args.out / "last.pt", model, average, distillation, progress, iou)
            if iou >= best:
                best = iou
                save(args.out / "best.pt", model, average, distillation, progress, iou)
        if progress >= 1:
            say(json.dumps({"steps": step, "pictures": seen, "held_out_fg_iou": round(iou, 4)}))
            return


@torch.inference_mode()
def choose_operating_point(network: DeepLab, samples: list[Sample]) -> tuple[int, float, float]:
    """The long side and the threshold on the foreground logit with the best pooled foreground IoU, and that IoU."""
    best = (0, 0.0, -1.0)
    for long_side in LONG_SIDES:
        segmenter = DeepLabSegmenter(network, long_side)
        both, either = np.zeros(len(THRESHOLDS)), np.zeros(len(THRESHOLDS))
        for sample in samples:
            foreground = segmenter.logits(sample.rgb)[0].cpu().numpy()
            counted, target = sample.mask != VOID, sample.mask > 0
            for i, threshold in enumerate(THRESHOLDS):
                guess = foreground > threshold
                both[i] += (guess & target & counted).sum()
                either[i] += ((guess | target) & counted).sum()
        i = int(np.argmax(both / either))
        iou = both[i] / either[i]
        print(f"long side {long_side}: held-out fg IoU {iou:.4f} at threshold {THRESHOLDS[i]}", flush=True)
        best = max(best, (long_side, THRESHOLDS[i], iou), key=lambda point: point[2])
    return best


def mixture(old: nn.Module, new: nn.Module, share: float) -> dict[str, Tensor]:
    """Between the folded weights of a network and those of a run that began with them: share 0..1, of the new ones
    (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models")."""
    before = old.state_dict()
    return {name: before[name].lerp(value, share) for name, value in new.state_dict().items()}


def pack_checkpoint(args: argparse.Namespace) -> None:
    """Write the averaged weights of a checkpoint, mixed with earlier ones or not, as int8, with the operating point
    that suits the held-out pictures."""
    state = torch.load(args.pack, map_location="cpu", weights_only=True)
    network = DeepLab(state["backbone"])
    network.load_state_dict(state["average"])
    network = fold_norms(network)
    if args.mix:
        old = load_segmenter(args.mix).network
        if old.backbone != network.backbone:
            raise SystemExit(f"--mix {args.mix} has another backbone: {old.backbone}, {args.pack} {network.backbone}")
        network.load_state_dict(mixture(old, network, args.share))
    _, held_out = split(load_samples(args.data, args.memory_side), args.held_out)
    long_side, threshold, _ = choose_operating_point(network, held_out)
    arrays = pack(network, state["backbone"], long_side, threshold)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out, **arrays)
    size = args.out.stat().st_size
    print(json.dumps({"file": str(args.out), "bytes": size, "long_side": long_side, "threshold": threshold}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", type=Path, help="zips or folders of pictures with masks")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run, or with --pack the file to write")
    parser.add_argument("--minutes", type=float, default=100, help="time budget, loading included")
    parser.add_argument("--backbone", choices=sorted(BACKBONES), default="resnet34")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--init", type=Path, help="start from a checkpoint, or from packed weights (.npz)")
    begin.add_argument("--resume", type=Path, help="go on with a checkpoint (.pt) where its schedule stood")
    parser.add_argument("--done", type=float, default=0.0, help="share of the schedule already behind, 0..1")
    parser.add_argument("--teacher", type=Path, help="what obic.train.teacher wrote: learn from that network as well")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0: torch's choice")
    parser.add_argument("--muon-lr", type=float, default=0.005)
    parser.add_argument("--adam-lr", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--average", type=float, default=0.998, help="decay of the weights' moving average")
    parser.add_argument("--batch-scale", type=float, default=1.0, help="multiplies the pictures a step")
    parser.add_argument("--memory-side", type=int, default=320, help="long side of the pictures in memory")
    parser.add_argument("--held-out", type=int, default=150, help="VOC pictures kept for choices")
    parser.add_argument("--limit", type=int, help="at most so many pictures")
    parser.add_argument("--report", type=float, default=4, help="minutes between reports")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pack", type=Path, metavar="CHECKPOINT", help="do not train: write its weights as int8")
    parser.add_argument("--mix", type=Path, help="with --pack: packed weights that the run began with, to mix with")
    parser.add_argument("--share", type=float, default=0.7, help="with --mix: of the new weights, 0..1")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    (pack_checkpoint if args.pack else train)(args)


if __name__ == "__main__":
    main()
