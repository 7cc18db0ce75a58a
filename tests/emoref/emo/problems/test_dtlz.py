import math

import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems import DTLZ1, DTLZ2, DTLZ3, DTLZ4
from emoref.errors import ProblemError, ShapeError

ALL = [DTLZ1, DTLZ2, DTLZ3, DTLZ4]


@pytest.mark.parametrize(
    ("make", "x", "F"),
    [
        # k = 1, x3 = 0.6: cos(2 pi) = 1, so g = 100 (1 + 0.01 - 1) = 1
        (DTLZ1, [0.5, 0.25, 0.6], [0.125, 0.375, 0.5]),
        # g = 0.25; cos(pi / 3) = 1 / 2
        (DTLZ2, [2 / 3, 0.0, 0.0], [0.625, 0.0, 1.25 * math.sqrt(3) / 2]),
        (DTLZ3, [2 / 3, 1.0, 0.6], [0.0, 1.0, math.sqrt(3)]),
        (DTLZ4, [(2 / 3) ** 0.01, 0.0, 0.5], [0.5, 0.0, math.sqrt(3) / 2]),
    ],
)
def test_one_point_by_hand(make, x, F):
    problem = make(3, k=1)
    assert problem.n_var == 3
    np.testing.assert_allclose(problem.evaluate(np.array([x]))[0], F, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("make", "k"), [(DTLZ1, 5), (DTLZ2, 10), (DTLZ3, 10), (DTLZ4, 10)])
@pytest.mark.parametrize("n_obj", [2, 3, 5])
def test_values_of_pymoo(make, k, n_obj):
    problems = pytest.importorskip("pymoo.problems")
    ours = make(n_obj)
    assert ours.n_var == n_obj - 1 + k
    theirs = problems.get_problem(make.__name__.lower(), n_var=ours.n_var, n_obj=n_obj)
    X = np.random.default_rng(0).random((40, ours.n_var))
    np.testing.assert_allclose(ours.evaluate(X), theirs.evaluate(X), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("make", ALL)
def test_targets_are_on_front_and_on_their_rays(make):
    problem = make(3)
    W = emo.das_dennis(3, 12)
    targets = problem.targets(W)
    if make is DTLZ1:
        np.testing.assert_allclose(targets.sum(axis=1), 0.5)
    else:
        np.testing.assert_allclose((targets**2).sum(axis=1), 1.0)
    np.testing.assert_allclose(np.cross(W, targets), 0.0, atol=1e-15)
    assert emo.nondominated_ranks(targets).max() == 0


@pytest.mark.parametrize("make", ALL)
def test_front_is_attained(make):
    problem = make(3)
    rng = np.random.default_rng(1)
    X = np.full((50, problem.n_var), 0.5)
    X[:, :2] = rng.random((50, 2))
    F = problem.evaluate(X)
    size = F.sum(axis=1) * 2 if make is DTLZ1 else (F**2).sum(axis=1)
    np.testing.assert_allclose(size, 1.0, rtol=1e-12)


def test_scaled():
    X = np.random.default_rng(2).random((5, 12))
    W = emo.das_dennis(3, 4)
    for make in (DTLZ1, DTLZ2):
        plain, scaled = make(3, k=10), make(3, k=10, base=10)
        np.testing.assert_array_equal(scaled.scale, [1, 10, 100])
        np.testing.assert_allclose(scaled.evaluate(X), plain.evaluate(X) * [1, 10, 100])
        np.testing.assert_allclose(scaled.targets(W), plain.targets(W) * [1, 10, 100])


def test_hypervolume_of_the_targets():
    # The perfect result of 91 points, reference point 1.1 in each normalised objective.
    W = emo.das_dennis(3, 12)
    assert emo.hypervolume(DTLZ2(3).targets(W), [1.1] * 3) == pytest.approx(0.744851, abs=1e-6)
    assert emo.hypervolume(2 * DTLZ1(3).targets(W), [1.1] * 3) == pytest.approx(1.120352, abs=1e-6)


def test_igd_against_a_dense_front_has_a_floor():
    W = emo.das_dennis(3, 12)
    dense = DTLZ2(3).pareto_front(139)
    assert emo.igd(DTLZ2(3).targets(W), dense) == pytest.approx(0.0545, abs=3e-4)


def test_wrong_settings():
    for settings in ({"n_obj": 1}, {"k": 0}, {"base": 0.0}, {"base": float("nan")}):
        with pytest.raises(ProblemError, match="DTLZ2 has"):
            DTLZ2(**settings)
    with pytest.raises(ShapeError, match="reference points"):
        DTLZ2(3).targets([[0.5, 0.5]])
