"""Room 4. The choices that `obic encode` and `Codec.encode` share, and the function that carries
them out.

Light to import: numpy and the networks are loaded when a picture is coded.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from obic.container import default_names
from obic.errors import UsageError
from obic.metadata import kept
from obic.prompts import EVERYWHERE, Prompts
from obic.rate import EFFORT_STEPS, Rate

if TYPE_CHECKING:
    from obic.backends import Array
    from obic.images import Picture, Source
    from obic.layers import Layers
    from obic.networks import Networks
    from obic.segment import Segmenter

MaskKind = Literal["auto", "none", "given"]
LayerKind = Literal["object", "class", "instance", "none"]
Alpha = Literal["grid", "pixel"]
Stage = Callable[[str], AbstractContextManager[None]]

MANY_LAYERS = 21  # more than PASCAL VOC has classes


def mask_kind(mask: object) -> MaskKind:
    """What a choice of mask means for a recipe: "auto" and "none" themselves, anything else a mask
    that is given."""
    if isinstance(mask, str) and mask == "auto":
        return "auto"
    if isinstance(mask, str) and mask == "none":
        return "none"
    return "given"


@dataclass(frozen=True)
class Recipe:
    """How a picture is coded. Raises UsageError where the choices do not fit together.

    mask: "auto" for what the segmenter sees, "none" for one layer, "given" for a mask that comes
    with each picture. layer_kind: how objects become layers (`split_layers`); None: "object" of the
    segmenter's, every value of a given mask's. alpha: the edge of objects, from the cells, or kept
    "pixel" by pixel. metadata: kinds of optional parts. verify: decode the file made, and fail if
    that does not give the integers that were coded. effort: 0..3, how long to look for a better
    latent (`obic.nn.refine`). prompts: where the segmenter is to look; nothing: everywhere.
    """

    rate: Rate
    mask: MaskKind = "auto"
    layer_kind: LayerKind | None = None
    alpha: Alpha = "grid"
    metadata: frozenset[int] = frozenset()
    verify: bool = False
    effort: int = 0
    prompts: Prompts = EVERYWHERE

    def __post_init__(self) -> None:
        if self.effort not in range(len(EFFORT_STEPS)):
            raise UsageError(f"there is no effort {self.effort!r}; choose 0 to {len(EFFORT_STEPS) - 1}")
        if self.alpha not in get_args(Alpha):
            raise UsageError(f"there is no alpha {self.alpha!r}; choose grid or pixel")
        kind = self.layer_kind
        if kind not in (None, *get_args(LayerKind)):
            raise UsageError(f"there are no layers of the kind {kind!r}; choose object, class, instance or none")
        if kind is not None and self.mask != "auto" and (kind == "none") != (self.mask == "none"):
            mask = "a mask" if self.mask == "given" else "no mask"
            raise UsageError(f"{mask} and layers of the kind {kind!r} contradict each other")
        if any(self.prompts) and (self.mask != "auto" or kind == "none"):
            raise UsageError("boxes and points say what the segmenter is to find, so the mask has to be auto")

    @property
    def has_objects(self) -> bool:
        """Whether objects get layers of their own."""
        return "none" not in (self.mask, self.layer_kind)


class Coded(NamedTuple):
    """The file, notes on its layers, and a warning where it is larger than it may be."""

    data: bytes
    notes: list[str]
    warning: str | None


def encode(
    picture: Picture,
    recipe: Recipe,
    networks: Networks,
    *,
    mask: Source | None = None,
    features: Array | None = None,
    stage: Stage = lambda name: nullcontext(),
) -> Coded:
    """The `.obic` file of a picture.

    mask: for the recipe's "given", a picture of the same size. features: as for `PictureEncoder`.
    stage: entered for "load", "segment", "encode" (in it "refine") and "verify". Raises UsageError
    or FormatError for the mask, LimitError for too much metadata, ObicError where the rate is
    strict and no file is as small, or where the file made does not pass "verify".
    """
    pixels = picture.rgb.size // 3
    with stage("load"):
        from obic.encoder import PictureEncoder

        networks.settle(pixels, gradients=recipe.effort > 0)
        model = networks.codec(encoder=True)
        segment = networks.segmenter() if recipe.has_objects and recipe.mask == "auto" else None
    if segment:
        with stage("segment"):
            (labels, names), notes = _layers_from_segmenter(segment, picture, recipe)
    elif recipe.has_objects:
        if mask is None:
            raise UsageError("the recipe asks for a mask, and there is none")
        (labels, names), notes = _layers_from_mask(mask, picture, recipe)
    else:
        labels, names, notes = None, default_names(1), []
    if recipe.has_objects and labels is None:
        notes.append("no object was found; the picture is coded as one layer")
    with stage("encode"):
        coder = PictureEncoder(
            picture.rgb,
            labels,
            len(names),
            model=model,
            names=names,
            parts=kept(picture.metadata, recipe.metadata),
            pixel_alpha=recipe.alpha == "pixel",
            features=features,
        )
        qualities = recipe.rate.qualities(len(names), pixels, coder.size)
        if recipe.effort:
            with stage("refine"):
                coder = coder.refined(qualities, EFFORT_STEPS[recipe.effort])
            qualities = recipe.rate.qualities(len(names), pixels, coder.size)
        data = coder.encode(qualities)
    if recipe.verify:
        with stage("verify"):
            coder.verify(data)
    return Coded(data, notes, recipe.rate.check(len(data), pixels))


def _layers_from_segmenter(segment: Segmenter, picture: Picture, recipe: Recipe) -> tuple[Layers, list[str]]:
    """The layers in what the segmenter sees, and notes on them."""
    from obic.layers import split_layers
    from obic.segment import CLASS_NAMES
    from obic.segment.prompted import find

    found = find(segment, picture.rgb, recipe.prompts)
    class_names = getattr(segment, "class_names", CLASS_NAMES)
    return split_layers(found.classes, recipe.layer_kind or "object", class_names, found.parts), [*found.notes]


def _layers_from_mask(mask: Source, picture: Picture, recipe: Recipe) -> tuple[Layers, list[str]]:
    """The layers in a mask that came with the picture, and notes on them."""
    from obic.images import read_mask
    from obic.layers import split_layers

    labels, n_layers = read_mask(mask, *picture.rgb.shape[:2])
    notes = []
    if n_layers > MANY_LAYERS and recipe.layer_kind is None:
        notes.append(f"the mask makes {n_layers} layers; cut soft edges to two values if they are not meant")
    return split_layers(labels, recipe.layer_kind), notes
