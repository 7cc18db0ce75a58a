"""The normalisation of NSGA-III: by hand, its fallbacks, its invariances, and pymoo's own."""

import warnings

import numpy as np
import pytest

from emoref import emo
from emoref.emo.normalisation import (
    NORMALISATIONS,
    PATHS,
    Normaliser,
    achievement,
    extreme_points,
    intercepts,
    normalise,
)
from emoref.errors import ProblemError, ShapeError


def first(F, **settings):
    """Normalise a first generation."""
    F = np.array(F, dtype=np.float64)
    return normalise(F, emo.nondominated_ranks(F), Normaliser.start(F.shape[1]), **settings)


def generations(count=6, rows=40, n_obj=3, seed=0, dyadic=False):
    """Yield objective values of generations that come nearer to a sphere."""
    rng = np.random.default_rng(seed)
    for t in range(count):
        X = rng.random((rows, n_obj)) ** 2
        F = X / np.sqrt((X**2).sum(axis=1, keepdims=True)) * (1 + rng.random((rows, 1)) * 4 / (t + 1))
        yield np.rint(F * 2**20) / 2**20 if dyadic else F


def run(method, populations):
    normaliser = Normaliser.start(populations[0].shape[1])
    results = []
    for F in populations:
        results.append(normalise(F, emo.nondominated_ranks(F), normaliser, method=method))
        normaliser = results[-1].normaliser
    return results


@pytest.mark.parametrize("method", NORMALISATIONS)
def test_by_hand(method):
    # Ideal (1, 2). Relative to it the extremes are (4, 0) and (0, 8): a hyperplane with these intercepts.
    result = first([[5, 2], [1, 10], [2, 4], [3, 6]], method=method)
    assert result.path == ("hyperplane",)
    np.testing.assert_array_equal(result.normaliser.ideal, [1, 2])
    np.testing.assert_array_equal(result.normaliser.extremes, [[5, 2], [1, 10]])
    np.testing.assert_allclose(result.normaliser.nadir, [5, 10])
    np.testing.assert_allclose(result.F, [[1, 0], [0, 1], [0.25, 0.25], [0.5, 0.5]], atol=1e-15)


def test_intercepts_beyond_the_extremes():
    # Extremes (2, 0, 1), (0, 2, 0), (0, 0, 2): the plane x / 4 + y / 2 + z / 2 = 1.
    found, path = intercepts(np.array([[2.0, 0.0, 1.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]]))
    np.testing.assert_allclose(found, [4, 2, 2])
    assert path == "hyperplane"


@pytest.mark.parametrize(
    ("extremes", "path"),
    [
        ([[1.0, 0.0], [1.0, 0.0]], "duplicate"),
        ([[1.0, 1.0], [2.0, 2.0]], "singular"),
        ([[1.0, 0.0], [0.0, 0.0]], "singular"),
        ([[1.0, 2.0], [2.0, 5.0]], "nonpositive"),  # 3 x - y = 1
        ([[1.0, 0.0], [1.0, 1.0]], "nonpositive"),  # parallel to the second axis
        ([[1.0, 0.0], [0.0, 1e-7]], "nonpositive"),
    ],
)
def test_no_intercepts(extremes, path):
    assert intercepts(np.array(extremes)) == (None, path)


def test_achievement_prefers_the_axis():
    points = np.array([[3.0, 0.0], [2.0, 0.001], [0.0, 5.0]])
    np.testing.assert_allclose(achievement(points), [[3, 3e6], [1e3, 2e6], [5e6, 5]])
    np.testing.assert_array_equal(extreme_points(points, np.zeros(2), np.ones(2)), points[[0, 2]])
    # Below the cut both are on the axis, and the smaller one counts.
    np.testing.assert_array_equal(extreme_points(points, np.zeros(2), np.ones(2), 0.01), points[[1, 2]])


class TestPaths:
    def test_duplicate_takes_the_worst_of_the_front(self):
        # (0, 0, 3) and (0, 1, 0): the point nearest to the first axis is one of the two.
        result = first([[0, 0, 3], [0, 1, 0], [1, 2, 4]])
        assert result.path == ("duplicate", "zero_range")
        np.testing.assert_array_equal(result.normaliser.nadir, [1, 1, 3])

    def test_nonpositive(self):
        front = [[1, 0, 1], [0, 1, 1], [0.5, 0.5, 0.25], [0.6, 0.6, 0]]
        result = first(front)
        assert result.path[0] in ("nonpositive", "duplicate", "singular")
        np.testing.assert_array_equal(result.normaliser.nadir, [1, 1, 1])

    def test_beyond_worst(self):
        # Extremes relative to the ideal: (2, 0, 1), (0, 2, 0), (0, 0, 2); the first intercept is 4.
        F = [[2, 0, 1], [0, 2, 0], [0, 0, 2]]
        for method in ("theta", "pymoo"):
            result = first(F, method=method)
            assert result.path == ("hyperplane", "beyond_worst")
            np.testing.assert_allclose(result.normaliser.nadir, [2, 2, 2])
        result = first(F, method="deb2014")
        assert result.path == ("hyperplane",)
        np.testing.assert_allclose(result.normaliser.nadir, [4, 2, 2])

    @pytest.mark.parametrize("method", NORMALISATIONS)
    def test_zero_range(self, method):
        result = first([[0, 1, 7], [1, 0, 7]], method=method)
        assert result.path[-1] == "zero_range"
        np.testing.assert_array_equal(result.F, [[0, 1, 0], [1, 0, 0]])

    @pytest.mark.parametrize("method", NORMALISATIONS)
    @pytest.mark.parametrize("F", [[[3.0, 4.0]], [[3.0, 4.0]] * 5, [[1.0]], [[1.0], [2.0]]])
    def test_smallest_cases(self, method, F):
        result = first(F, method=method)
        assert set(result.path) <= set(PATHS)
        assert np.isfinite(result.F).all()
        np.testing.assert_array_equal(result.F[0], 0.0)

    @pytest.mark.parametrize("method", NORMALISATIONS)
    def test_huge_values_do_not_warn(self, method):
        result = first([[1e308, -1e308], [-1e308, 1e308], [0, 0]], method=method)
        assert set(result.path) <= set(PATHS)
        assert np.isfinite(result.F).all()


class TestInvariance:
    shift = np.array([0.5, -3.0, 1024.0])
    factor = np.array([2.0**-30, 1.0, 2.0**20])

    def test_translation(self):
        populations = list(generations(dyadic=True))
        for method in NORMALISATIONS:
            plain, moved = run(method, populations), run(method, [F + self.shift for F in populations])
            for a, b in zip(plain, moved, strict=True):
                assert a.path == b.path
                # The sum ideal + intercept is rounded at another magnitude.
                np.testing.assert_allclose(a.F, b.F, atol=1e-11)

    def test_scaling_is_exact_with_theta(self):
        populations = list(generations())
        plain, scaled = run("theta", populations), run("theta", [F * self.factor for F in populations])
        for a, b in zip(plain, scaled, strict=True):
            assert a.path == b.path
            np.testing.assert_array_equal(a.F, b.F)

    def test_scaling_changes_pymoo(self):
        populations = list(generations())
        plain, scaled = run("pymoo", populations), run("pymoo", [F * self.factor for F in populations])
        assert not np.allclose(plain[-1].F, scaled[-1].F)

    @pytest.mark.parametrize("method", NORMALISATIONS)
    def test_order_of_objectives(self, method):
        populations = list(generations())
        order = np.array([2, 0, 1])
        plain, permuted = run(method, populations), run(method, [F[:, order] for F in populations])
        for a, b in zip(plain, permuted, strict=True):
            np.testing.assert_allclose(a.F[:, order], b.F, atol=1e-12)

    @pytest.mark.parametrize("method", NORMALISATIONS)
    def test_order_of_rows(self, method):
        populations = list(generations())
        plain, reverse = run(method, populations), run(method, [F[::-1] for F in populations])
        np.testing.assert_array_equal(plain[-1].F, reverse[-1].F[::-1])


def test_memory():
    # The second generation lost the first objective's extreme and the ideal point; both are remembered.
    one = first([[0, 4], [1, 1], [4, 0]])
    F = np.array([[1.0, 3.0], [3.0, 1.0]])
    ranks = np.zeros(2, dtype=np.int64)
    two = normalise(F, ranks, one.normaliser)
    np.testing.assert_array_equal(two.normaliser.ideal, [0, 0])
    np.testing.assert_array_equal(two.normaliser.extremes, [[4, 0], [0, 4]])
    np.testing.assert_allclose(two.F, F / 4)
    forgetful = normalise(F, ranks, one.normaliser, method="deb2014")
    np.testing.assert_array_equal(forgetful.normaliser.extremes, F[::-1])


def test_only_fronts_that_take_part():
    F = np.array([[0.0, 2.0], [2.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    ranks = emo.nondominated_ranks(F)
    result = normalise(F, ranks, Normaliser.start(2), method="deb2014", last_rank=0)
    np.testing.assert_allclose(result.normaliser.nadir, [2, 2])
    np.testing.assert_allclose(result.F, F / 2)


def test_input_is_not_changed():
    (F,) = generations(1)
    start, before = Normaliser.start(3), F.copy()
    ranks = emo.nondominated_ranks(F)
    normalise(F, ranks, start)
    np.testing.assert_array_equal(F, before)
    assert np.isinf(start.ideal).all()
    assert len(start.extremes) == 0


@pytest.mark.parametrize("n_obj", [2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_pymoo_agrees_with_pymoo(n_obj, seed):
    theirs = pytest.importorskip("pymoo.algorithms.moo.nsga3").HyperplaneNormalization(n_obj)
    populations = list(generations(8, 20, n_obj, seed))
    for F, ours in zip(populations, run("pymoo", populations), strict=True):
        with warnings.catch_warnings():
            theirs.update(F, nds=np.flatnonzero(emo.nondominated_ranks(F) == 0))
        np.testing.assert_array_equal(ours.normaliser.ideal, theirs.ideal_point)
        np.testing.assert_array_equal(ours.normaliser.extremes, theirs.extreme_points)
        np.testing.assert_allclose(ours.normaliser.nadir, theirs.nadir_point, rtol=1e-9)


@pytest.mark.parametrize(
    ("F", "ranks", "settings", "error"),
    [
        ([[1.0, 2.0, 3.0]], [0], {"method": "best"}, ProblemError),
        ([[1.0, 2.0, np.nan]], [0], {}, ShapeError),
        ([[1.0, 2.0, 3.0]], [0, 0], {}, ShapeError),
        ([[1.0, 2.0]], [0], {}, ShapeError),
    ],
)
def test_mistakes(F, ranks, settings, error):
    with pytest.raises(error):
        normalise(np.array(F), np.array(ranks), Normaliser.start(3), **settings)
