"""Room 2. What a user says of the objects: which segmenter finds them, and the boxes or points
where they are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from obic.errors import UsageError

BUILTIN = "builtin"  # the name of the segmenter that comes along


class Place(NamedTuple):
    """A coordinate: so many pixels from the left or the top, or a share of that side of the
    picture."""

    value: float
    share: bool = False

    def on(self, side: int) -> float:
        """In pixels, of a side of so many."""
        return self.value * side if self.share else self.value


class Box(NamedTuple):
    """The edges of a box: pixels x0 to x1 - 1 and y0 to y1 - 1, if they are whole numbers."""

    x0: Place
    y0: Place
    x1: Place
    y1: Place
    text: str

    def on(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) in pixels. Raises UsageError unless it lies in the picture,
        and holds a pixel."""
        left, right = (round(place.on(width)) for place in (self.x0, self.x1))
        top, bottom = (round(place.on(height)) for place in (self.y0, self.y1))
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise UsageError(f"the box {self.text} does not lie in the picture, which is {width}x{height}, or is empty")
        return top, left, bottom, right


class Point(NamedTuple):
    """A point of an object."""

    x: Place
    y: Place
    text: str

    def on(self, height: int, width: int) -> tuple[int, int]:
        """(row, column) of its pixel. Raises UsageError unless it lies in the picture."""
        x, y = self.x.on(width), self.y.on(height)
        if not (0 <= x <= width and 0 <= y <= height):
            raise UsageError(f"the point {self.text} does not lie in the picture, which is {width}x{height}")
        return min(int(y), height - 1), min(int(x), width - 1)


class Prompts(NamedTuple):
    """What a user says of the objects in a picture."""

    boxes: tuple[Box, ...] = ()
    points: tuple[Point, ...] = ()


EVERYWHERE = Prompts()

Numbers = str | Iterable[float | str]


def prompts(boxes: Iterable[Numbers] = (), points: Iterable[Numbers] = ()) -> Prompts:
    """From texts such as "10,20,60%,80%", or from sequences of numbers and shares. Raises
    UsageError for others."""
    return Prompts(tuple(map(box, _several("boxes", boxes))), tuple(map(point, _several("points", points))))


def box(given: Numbers) -> Box:
    """A box from "X0,Y0,X1,Y1" or four numbers or shares. Raises UsageError."""
    x0, y0, x1, y1 = _places(given, "box", "X0,Y0,X1,Y1")
    return Box(x0, y0, x1, y1, _text(given))


def point(given: Numbers) -> Point:
    """A point from "X,Y" or two numbers or shares. Raises UsageError."""
    x, y = _places(given, "point", "X,Y")
    return Point(x, y, _text(given))


def _several(name: str, given: Iterable[Numbers]) -> list[Numbers]:
    several: list[Numbers] = [given] if isinstance(given, str) else list(given)
    if any(not isinstance(each, str) and not isinstance(each, Iterable) for each in several):
        raise UsageError(f"{name} is a list, also of one: {name}=[{','.join(map(str, several))!r}]")
    return several


def _text(given: Numbers) -> str:
    return given if isinstance(given, str) else ",".join(str(each) for each in given)


def _places(given: Numbers, what: str, form: str) -> list[Place]:
    parts = _text(given).split(",")
    try:
        places = [Place(float(part[:-1]) / 100, True) if part.endswith("%") else Place(float(part)) for part in parts]
    except ValueError:
        places = []
    if len(places) != len(form.split(",")) or not all(math.isfinite(place.value) for place in places):
        raise UsageError(f"the {what} {_text(given)!r} is not of the form {form}, in pixels or shares such as 40%")
    return places
