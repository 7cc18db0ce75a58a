from math import comb

import numpy as np
import pytest

from emoref import emo
from emoref.emo.reference_points import MOST_POINTS
from emoref.errors import ProblemError, ShapeError


@pytest.mark.parametrize(
    ("n_obj", "divisions", "count"),
    # Deb and Jain 2014, table I.
    [(3, 12, 91), (5, 6, 210), (8, (3, 2), 156), (10, (3, 2), 275), (15, (2, 1), 135)],
)
def test_published_sizes(n_obj, divisions, count):
    W = emo.das_dennis(n_obj, divisions)
    assert W.shape == (count, n_obj)
    np.testing.assert_array_equal(emo.check_reference_points(W, n_obj), W)


@pytest.mark.parametrize(("n_obj", "p"), [(1, 4), (2, 1), (2, 7), (3, 5), (4, 3), (6, 2)])
def test_counts_and_order(n_obj, p):
    W = emo.das_dennis(n_obj, p)
    assert len(W) == comb(n_obj + p - 1, p)
    np.testing.assert_allclose(W.sum(axis=1), 1.0, rtol=1e-15)
    assert (W.min(axis=1) > 0).sum() == comb(p - 1, n_obj - 1)
    assert sorted(W.tolist()) == W.tolist()
    np.testing.assert_array_equal(W * p, np.rint(W * p))


def test_inner_layer_is_half_the_size():
    # The corners of the second layer of three objectives are (1, 0, 0) / 2 + 1 / 6 and so on.
    W = emo.das_dennis(3, (1, 1))
    np.testing.assert_allclose(W[:3], np.eye(3)[::-1])
    np.testing.assert_allclose(W[3:], np.eye(3)[::-1] / 2 + 1 / 6)


def test_third_layer():
    W = emo.das_dennis(2, (1, 1, 1))
    np.testing.assert_allclose(W[4:], [[1 / 3, 2 / 3], [2 / 3, 1 / 3]])


def test_a_point_of_two_layers_is_there_once():
    # The centre belongs to both.
    assert len(emo.das_dennis(3, (3, 3))) == 10 + 10 - 1


def test_same_points_as_pymoo():
    directions = pytest.importorskip("pymoo.util.ref_dirs")
    for n_obj, p in [(2, 9), (3, 12), (5, 4)]:
        theirs = directions.get_reference_directions("das-dennis", n_obj, n_partitions=p)
        np.testing.assert_allclose(emo.das_dennis(n_obj, p), theirs, atol=1e-15)


def test_divisions_of_a_size():
    for n_obj, p in [(2, 1), (2, 99), (3, 12), (5, 6)]:
        assert emo.das_dennis_divisions(n_obj, comb(n_obj + p - 1, p)) == p


@pytest.mark.parametrize(
    ("n_obj", "size", "words"),
    [
        (3, 92, r"C\(3 \+ p - 1, p\); use 91 \(p = 12\) or 105 \(p = 13\)"),
        (3, 2, r"use 3 \(p = 1\)"),
        (1, 5, "one reference point"),
        (3, 0, "size is 0"),
    ],
)
def test_impossible_sizes(n_obj, size, words):
    with pytest.raises(ProblemError, match=words):
        emo.das_dennis_divisions(n_obj, size)


@pytest.mark.parametrize(
    ("n_obj", "divisions", "words"),
    [
        (0, 3, "n_obj is 0"),
        (2.0, 3, "n_obj is 2.0"),
        (3, 0, "divisions is 0"),
        (3, (3, -1), "divisions is -1"),
        (3, (), "divisions is empty"),
        (3, (1.5,), "divisions is 1.5"),
        (15, 12, r"C\(15 \+ 12 - 1, 12\) = 9657700"),
    ],
)
def test_wrong_arguments(n_obj, divisions, words):
    with pytest.raises(ProblemError, match=words):
        emo.das_dennis(n_obj, divisions)
    assert MOST_POINTS < 9657700


@pytest.mark.parametrize(
    ("points", "error", "words"),
    [
        ([[0.5, 0.6]], ProblemError, "reference point 0 is"),
        ([[0.5, 0.5], [-0.5, 1.5]], ProblemError, "reference point 1 is"),
        ([[float("nan"), 1.0]], ProblemError, "reference point 0 is"),
        ([[float("inf"), 0.0]], ProblemError, "reference point 0 is"),
        ([[0.5, 0.5], [0.2, 0.8], [0.5, 0.5]], ProblemError, "reference point 2.*twice"),
        ([["a", "b"]], ProblemError, "real numbers"),
        ([[1.0, 0.0, 0.0]], ShapeError, "shape"),
        ([1.0, 0.0], ShapeError, "shape"),
        (np.empty((0, 2)), ShapeError, "shape"),
        ([[1.0], [0.5, 0.5]], ShapeError, "different lengths"),
    ],
)
def test_wrong_points(points, error, words):
    with pytest.raises(error, match=words):
        emo.check_reference_points(points, 2)


def test_points_are_copied():
    W = np.array([[0.5, 0.5]])
    checked = emo.check_reference_points(W, 2)
    checked[0] = 7
    assert W[0, 0] == 0.5
