"""The targets of the fuzzer without a fuzzer: the broken files, and what hypothesis thinks of."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broken.make import HERE
from obic.container import open_container
from obic.errors import ObicError
from shared.fuzz_targets import FILES, TARGETS, Choices, changed_file, container, read_bytes


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_any_bytes_give_an_obic_error_or_none(target):
    @settings(deadline=None, max_examples=60)
    @given(st.binary(max_size=200))
    def check(data):
        with contextlib.suppress(ObicError):  # any other exception fails the test
            target(Choices(data))

    check()


def test_the_targets_reach_what_they_are_for():
    """A file that is changed in nothing but its quality reads; the broken ones do not."""
    for path in FILES:
        read_bytes(path.read_bytes())
    for first in range(len(FILES)):
        assert open_container(changed_file(Choices(bytes([first, 0, 3, 0, 9])))).header.layers
    for path in HERE.glob("*.obic"):
        with contextlib.suppress(ObicError):
            container(Choices(path.read_bytes()))
