"""Room 0. Progress reports of long work, for a listener in the same thread: a command's bar, the
benchmark."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Listener = Callable[[str, int, int], None]  # stage, done, total; done is 0 at the start

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within it, `listener(stage, done, total)` is called for every step of `track` in this
    thread."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def track(stage: str, steps: Sequence[Item]) -> Iterator[Item]:
    """The steps of a stage, one by one, each reported when it is done."""
    tell = _listener.get() or (lambda *_: None)
    tell(stage, 0, len(steps))
    for done, step in enumerate(steps, 1):
        yield step
        tell(stage, done, len(steps))
