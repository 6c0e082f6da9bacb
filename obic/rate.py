"""Room 2. Rate control: the quality of each layer, from one for the picture or from a size of the
file."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from obic.constants import MAX_QUALITY, MIN_QUALITY
from obic.container.header import file_order
from obic.errors import ObicError, UsageError

DEFAULT_QUALITY = 57
EFFORT_STEPS = (0, 60, 200, 600)  # of refining the latent, for each effort
OBJECT_BOOST = 7  # the object's quality lies this much above, the background's this much below what is asked for

Qualities = tuple[int, ...]


def layer_qualities(
    quality: int,
    n_layers: int,
    object_quality: int | None = None,
    background_quality: int | None = None,
    object_boost: int = OBJECT_BOOST,
) -> Qualities:
    """The quality of each layer, by index, from one for the picture; explicit ones win.

    The objects get `quality + object_boost`, the background `quality - object_boost`, both clipped
    to 1..100.
    With one layer there is nothing to move bits between: it gets `quality`, or the object's if that
    alone is given.
    """
    if n_layers == 1:
        given = object_quality if object_quality is not None else background_quality
        return (_clip(quality) if given is None else given,)
    background = _clip(quality - object_boost) if background_quality is None else background_quality
    return (background, *[_clip(quality + object_boost) if object_quality is None else object_quality] * (n_layers - 1))


@dataclass(frozen=True)
class Rate:
    """What the user asks for: a quality of 1..100, or the best file of at most `bpp` bits a pixel
    or `size` bytes.

    With none of them it is DEFAULT_QUALITY. object_quality and background_quality: 1..100, fixed; a
    size counts more where there is but one layer. object_boost as in `layer_qualities`. strict: a
    file that cannot be as small as asked for is an error. Raises UsageError where these do not fit
    together.
    """

    quality: int | None = None
    bpp: float | None = None
    size: int | None = None
    strict: bool = False
    object_quality: int | None = None
    background_quality: int | None = None
    object_boost: int = OBJECT_BOOST

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.quality, self.bpp, self.size)) > 1:
            raise UsageError("quality, bpp and size each say how large the file is; give one of them")
        for quality in (self.quality, self.object_quality, self.background_quality):
            if quality is not None and quality != _clip(quality):
                raise UsageError(f"a quality is {MIN_QUALITY} to {MAX_QUALITY}, not {quality}")
        for target in (self.bpp, self.size):
            if target is not None and not 0 < target < math.inf:
                raise UsageError(f"bits a pixel and bytes are finite numbers above 0, not {target}")
        if self.strict and self.bpp is self.size is None:
            raise UsageError("strict belongs to bpp or size")

    def qualities(self, n_layers: int, pixels: int, size: Callable[[Qualities], int]) -> Qualities:
        """The quality of each layer, by index, for a picture of so many pixels.

        size: qualities -> bytes of the file; asked only where a size is asked for.
        """
        max_bytes = self.max_bytes(pixels)
        if max_bytes is None:
            return self._at(DEFAULT_QUALITY if self.quality is None else self.quality, n_layers)
        # One layer has to meet the size by itself, whatever was meant for an object or a background
        # that is not there.
        rate = replace(self, object_quality=None, background_quality=None) if n_layers == 1 else self
        # Beyond 1..100 by the boost, so that in the end every layer stands at its lowest or highest
        # quality.
        reach = abs(self.object_boost)
        steps = (rate._at(quality, n_layers) for quality in range(MIN_QUALITY - reach, MAX_QUALITY + reach + 1))
        return largest_within(max_bytes, list(dict.fromkeys(steps)), size)

    def max_bytes(self, pixels: int) -> int | None:
        """The most bytes that the file of a picture of so many pixels may have; None for any
        number."""
        return self.size if self.bpp is None else max(1, int(self.bpp * pixels / 8))

    def check(self, n_bytes: int, pixels: int) -> str | None:
        """What to warn of where the file has more bytes than it may. Raises ObicError instead if
        that is strict."""
        most = self.max_bytes(pixels)
        if most is None or n_bytes <= most:
            return None
        message = f"the smallest file there is has {n_bytes:,} bytes, more than the {most:,} asked for"
        if self.strict:
            raise ObicError(message)
        return message

    def _at(self, quality: int, n_layers: int) -> Qualities:
        return layer_qualities(quality, n_layers, self.object_quality, self.background_quality, self.object_boost)


def largest_within(max_bytes: int, steps: Sequence[Qualities], size: Callable[[Qualities], int]) -> Qualities:
    """The qualities of the largest file of at most `max_bytes`; those of the smallest file where
    none fits.

    steps: qualities of all layers, ascending. size: qualities -> bytes, almost always increasing.
    The result fits and lies between two neighbours in `steps` of which the upper one does not fit:
    single layers, objects first, stand on the upper one where there is room for that.
    """
    fits, too_large = -1, len(steps)  # both untried
    guesses = 5  # the range is halved after so many, in case bytes rise otherwise than guessed
    while too_large - fits > 1:
        middle = (fits + too_large) // 2
        if guesses and fits >= 0 and too_large < len(steps):  # bytes rise by about the same factor at each step
            guesses -= 1
            low, high = (math.log(size(steps[known])) for known in (fits, too_large))
            guess = fits + round((math.log(max_bytes) - low) / (high - low) * (too_large - fits))
            middle = min(max(guess, fits + 1), too_large - 1)
        if size(steps[middle]) <= max_bytes:
            fits = middle
        else:
            too_large = middle
    if fits < 0:
        return min(steps[:3], key=size)  # a picture's bytes may fall a little where its quality rises
    chosen = steps[fits]
    for index in file_order(len(chosen)) if too_large < len(steps) else []:
        raised = (*chosen[:index], steps[too_large][index], *chosen[index + 1 :])
        if size(raised) <= max_bytes:
            chosen = raised
    return chosen


def bytes_of(text: str) -> int:
    """A size such as "3000", "10k" (10,000 bytes) or "1.5M". Raises UsageError where it is none."""
    unit = text[-1:].lower()
    factor = {"k": 1000, "m": 1000_000}.get(unit, 1)
    try:
        size = int(float(text[:-1] if factor > 1 else text) * factor)
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise UsageError(f"{text!r} is no size; give bytes, as 3000, 10k or 1.5M")
    return size


def _clip(quality: int) -> int:
    return min(max(quality, MIN_QUALITY), MAX_QUALITY)
