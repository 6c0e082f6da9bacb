"""Layers from a map of classes: names, order, connected objects, specks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obic.connected import connected_cells
from obic.errors import UsageError
from obic.layers import MAX_INSTANCES, split_layers
from obic.masks import grid_labels

NAMES = ("background", "bird", "cat", "dog")


def cells(text):
    """A map of classes with one digit for each cell of 16x16 pixels, "." for 0."""
    rows = [[0 if mark == "." else int(mark) for mark in line] for line in text.split()]
    return np.kron(np.array(rows, np.uint8), np.ones((16, 16), np.uint8))


def grid(labels):
    """The first pixel of each cell, as text."""
    return " ".join("".join("." if label == 0 else str(label) for label in row) for row in labels[::16, ::16])


def flood(labels):
    """Connected cells, one at a time: what `connected_cells` must equal."""
    padded, result = np.pad(labels, 1), np.zeros((labels.shape[0] + 2, labels.shape[1] + 2), int)
    for y, x in np.argwhere(padded > 0):
        todo = [] if result[y, x] else [(y, x)]
        while todo:
            i, j = todo.pop()
            if padded[i, j] == padded[y, x] and not result[i, j]:
                result[i, j] = 1 + (y - 1) * labels.shape[1] + x - 1
                todo += [(i + di, j + dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)]
    return result[1:-1, 1:-1]


@settings(deadline=None, max_examples=150)
@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    share=st.sampled_from([0.3, 0.5, 0.7, 0.95]),
    kinds=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_connected_cells(height, width, share, kinds, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(1, kinds + 1, (height, width)) * (random.random((height, width)) < share)
    assert np.array_equal(connected_cells(labels), flood(labels))


def test_a_spiral_is_one_object():
    spiral = np.zeros((41, 41), int)
    y, x, dy, dx = 0, -1, 0, 1
    for turn in range(40):
        for _ in range(41 - 2 * ((turn + 1) // 2) if turn else 41):
            y, x = y + dy, x + dx
            spiral[y, x] = 1
        dy, dx = dx, -dy
    assert 0.4 < spiral.mean() < 0.6
    assert set(connected_cells(spiral).ravel()) == {0, 1}


def test_no_object_is_one_layer():
    for kind in ("object", "class", "instance", "none"):
        assert split_layers(cells("... ..."), kind) == (None, ("picture",))
    assert split_layers(cells("11. 11."), "none") == (None, ("picture",))


def test_all_objects_together():
    labels, names = split_layers(cells("1.. .23"), "object", NAMES)
    assert (grid(labels), names) == ("1.. .11", ("background", "object"))


def test_a_layer_for_each_class():
    labels, names = split_layers(cells("3.. .11"), "class", NAMES)
    assert (grid(labels), names) == ("2.. .11", ("background", "bird", "dog"))
    assert split_layers(cells("3.. .11"), "class")[1] == ("background", "object-1", "object-2")
    assert split_layers(cells("3.. .33"), "class")[1] == ("background", "object")


def test_a_class_that_owns_no_cell_is_no_layer():
    classes = cells("11.. 11..")
    classes[3, 60] = 2
    labels, names = split_layers(classes, "class", NAMES)
    assert names == ("background", "bird")
    assert labels[3, 60] == 0
    classes[:] = 0
    classes[3, 60] = 2
    assert split_layers(classes, "class", NAMES) == (None, ("picture",))


def test_instances_the_largest_first():
    labels, names = split_layers(cells("22...11111 22...11111 ...1...... .22...3333 .22......."), "instance", NAMES)
    assert names == ("background", "bird-1", "cat-1", "cat-2", "dog-1")
    assert grid(labels) == "22...11111 22...11111 ...3...... .33...4444 .33......."


def test_corners_join_and_classes_part():
    labels, names = split_layers(cells("11..22 ..1122"), "instance", NAMES)
    assert names == ("background", "bird-1", "cat-1")
    assert grid(labels) == "11..22 ..1122"


def test_specks_are_background_unless_there_is_nothing_else():
    assert grid(split_layers(cells("1111.11. .......1"), "instance")[0]) == "1111.... ........"
    labels, names = split_layers(cells("11..1"), "instance")
    assert (grid(labels), names) == ("11...", ("background", "object-1"))


def test_specks_become_part_of_the_largest_object_they_touch():
    labels, names = split_layers(cells("1113222 1113222 1..3222 ......3"), "instance", NAMES)
    assert names == ("background", "cat-1", "bird-1")
    assert grid(labels) == "2221111 2221111 2..1111 ......1"
    assert grid(split_layers(cells("1111 1111 .... .2.. ..3."), "instance")[0]) == "1111 1111 .... .... ...."


def test_fifteen_instances_at_most():
    labels, names = split_layers(cells(" ".join(["11.11.11.11", "11.11.11.11", "..........."] * 5)), "instance", NAMES)
    assert labels.max() == MAX_INSTANCES == 15
    assert names == ("background", *(f"bird-{number}" for number in range(1, 16)))


def test_pixels_of_an_instance():
    """Ragged edges stay; the pixels of a cell belong to one object, so the cells stay whose they
    were."""
    random = np.random.default_rng(3)
    classes = cells("1111.... 1111.222 .....222 33333222 33333222")
    classes[random.random(classes.shape) < 0.3] = 0
    classes[(random.random(classes.shape) < 0.05) & (classes > 0)] = 2
    classes[random.random(classes.shape) < 0.05] = 255
    classes = classes[:-5, :-3]
    labels, _ = split_layers(classes, "instance", NAMES)
    assert np.array_equal(*(grid_labels(each, 4, coverage=0) > 0 for each in (labels, classes)))
    assert 0.5 < (labels[:32, :64] > 0).mean() < 0.7
    for label in (1, 2, 3):
        assert len(set(classes[labels == label])) == 1


def test_void_is_background():
    classes = cells("11.. 11..")
    classes[:, 32:] = 255
    for kind in ("object", "class", "instance"):
        assert split_layers(classes, kind)[0].max() == 1


def test_unknown_kinds():
    with pytest.raises(UsageError, match="instance"):
        split_layers(cells("1"), "person")
