"""Classes taken out of a data set, and images brought to a common shape."""

import numpy as np
import pytest

from emoref.data import Dataset, in_shape, load, select_classes
from emoref.errors import DataError


def tiny(shape=(1, 4, 4), labels=(0, 1, 2, 1, 0, 2)):
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(len(labels), *shape), dtype=np.uint8)
    return Dataset("tiny", images, np.array(labels), ("ant", "bee", "cow"), (0.3,), (0.5,))


def test_classes_are_numbered_anew_in_the_order_given():
    some = select_classes(tiny(), ["cow", 0])
    assert some.classes == ("cow", "ant")
    assert some.labels.tolist() == [1, 0, 1, 0]
    assert np.array_equal(some.images, tiny().images[[0, 2, 4, 5]])


def test_two_halves_make_the_whole():
    whole = load("fashion-mnist-small", "test")
    halves = [select_classes(whole, range(5)), select_classes(whole, range(5, 10))]
    assert sum(len(half) for half in halves) == len(whole)
    assert set(halves[1].labels.tolist()) == set(range(5))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["cat"], "has no class 'cat'"),
        ([3], "has no class 3; expected 0 to 2"),
        ([0, "ant"], "name one of them twice"),
        ([], "no class is chosen"),
    ],
)
def test_impossible_classes(chosen, message):
    with pytest.raises(DataError, match=message):
        select_classes(tiny(), chosen)


def test_a_class_without_images():
    with pytest.raises(DataError, match="class 'cow' has no images"):
        select_classes(tiny(labels=(0, 1)), [0, 2])


def test_a_common_shape_pads_and_repeats():
    some = in_shape(tiny(), (3, 7, 6))
    assert some.image_shape == (3, 7, 6)
    assert np.array_equal(some.images[:, 2, 1:5, 1:5], tiny().images[:, 0])
    assert some.images.sum() == 3 * tiny().images.sum(dtype=np.int64)
    assert some.mean == (0.3,) * 3
    assert in_shape(some, (3, 7, 6)) is some


@pytest.mark.parametrize("shape", [(1, 3, 4), (1, 4, 3)])
def test_images_are_never_cut(shape):
    with pytest.raises(DataError, match="do not fit into"):
        in_shape(tiny(), shape)


def test_colours_are_never_lost():
    with pytest.raises(DataError, match="do not fit into"):
        in_shape(tiny(shape=(3, 4, 4)), (1, 8, 8))
