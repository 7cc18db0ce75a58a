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
        (3, 92, r"C\(3 \+ p - 1, p\); use 91 \(p = 12\) or 105 \(p = 13\), or riesz_points"),
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


class TestAspirationPoints:
    simplex = emo.das_dennis(3, 1)

    def test_by_hand(self):
        # (1, 1, 2) / 4 is where the line meets the plane; the corners of the small triangle are
        # mu * (e_k - 1/3) away from it.
        W = emo.around_aspiration_points(np.array([[1.0, 1.0, 2.0]]), self.simplex, mu=0.3)
        centre = np.array([0.25, 0.25, 0.5])
        np.testing.assert_allclose(W[:3], centre + 0.3 * (self.simplex - 1 / 3))
        np.testing.assert_array_equal(W[3:], self.simplex)

    def test_outside_is_drawn_to_the_border(self):
        # Round (0, 1): (-0.1, 1.1) becomes (0, 1), which is a corner too and therefore comes once.
        W = emo.around_aspiration_points(np.array([[0.0, 0.5]]), emo.das_dennis(2, 1), mu=0.2)
        np.testing.assert_allclose(W, [[0, 1], [0.1, 0.9], [1, 0]])

    def test_at_the_ideal_point_the_centre(self):
        W = emo.around_aspiration_points(np.zeros((1, 3)), np.full((1, 3), 1 / 3), mu=1.0)
        np.testing.assert_allclose(W, np.vstack([np.full((1, 3), 1 / 3), np.eye(3)]))

    @pytest.mark.parametrize("mu", [0.01, 0.3, 1.0])
    def test_always_reference_points(self, mu):
        A = np.random.default_rng(0).normal(0.3, 0.5, (9, 3))
        A[-1] = A[0]
        W = emo.around_aspiration_points(A, emo.das_dennis(3, 3), mu)
        np.testing.assert_array_equal(emo.check_reference_points(W, 3), W)
        assert len(W) <= 8 * 10 + 3

    @pytest.mark.parametrize("order", [(1, 2, 0), (2, 1, 0)])
    def test_order_of_objectives(self, order):
        A, W = np.random.default_rng(0).random((2, 3)), emo.das_dennis(3, 2)
        plain = emo.around_aspiration_points(A, W)
        np.testing.assert_allclose(
            emo.around_aspiration_points(A[:, order], W[:, order]), plain[:, order], atol=1e-15
        )

    def test_same_points_as_pymoo(self):
        theirs = pytest.importorskip("pymoo.algorithms.moo.rnsga3")
        A, W = np.array([[0.2, 0.4, 0.3], [0.9, 0.1, 0.05]]), emo.das_dennis(3, 3)
        ours = emo.around_aspiration_points(A, W, mu=0.2)
        other = theirs.get_ref_dirs_from_points(A, W, mu=0.2)
        # Ours leaves out copies; theirs has all.
        distances = np.abs(ours[:, None] - other).max(axis=2)
        assert distances.min(axis=0).max() < 1e-9
        assert distances.min(axis=1).max() < 1e-9

    @pytest.mark.parametrize(
        ("A", "mu", "error", "words"),
        [
            (np.zeros((2, 2)), 0.1, ShapeError, "as many columns"),
            (np.zeros(3), 0.1, ShapeError, "as many columns"),
            (np.full((1, 3), np.nan), 0.1, ShapeError, "finite"),
            (np.zeros((1, 3)), 0.0, ProblemError, "mu is 0.0"),
            (np.zeros((1, 3)), 1.5, ProblemError, "mu is 1.5"),
        ],
    )
    def test_mistakes(self, A, mu, error, words):
        with pytest.raises(error, match=words):
            emo.around_aspiration_points(A, self.simplex, mu)
