import math

import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems import SMOP1, SMOP2, SMOP3, SMOP4, SMOP5, SMOP6, SMOP7, SMOP8
from emoref.emo.problems.smop import g1, g2, g3, g4
from emoref.errors import ProblemError

ALL = [SMOP1, SMOP2, SMOP3, SMOP4, SMOP5, SMOP6, SMOP7, SMOP8]
BEST = math.pi / 3


def distances_one_by_one(problem, y):
    """g of one solution, from the definitions, variable by variable."""

    def f1(x, t):
        return (x - t) ** 2

    def f2(x, t):
        return 2 * (x - t) ** 2 + math.sin(2 * math.pi * (x - t)) ** 2

    def f3(x, t):
        return 4 - (x - t) - 4 * math.exp(-100 * (x - t) ** 2)

    n, k = len(y), problem.n_nonzero
    first, rest = y[:k], y[k:]
    name = type(problem).__name__
    if name == "SMOP1":
        return sum(f1(x, BEST) for x in first) + sum(f2(x, 0) for x in rest)
    if name == "SMOP2":
        return sum(f2(x, BEST) for x in first) + sum(f3(x, 0) for x in rest)
    if name == "SMOP3":
        g = sum(f1(x, BEST) for x in first)
        for start in range(0, n - k, 10):
            squares = sum(x**2 for x in rest[start : start + 10])
            g += 50 - squares if squares > 0 else 0
        return g
    if name == "SMOP4":
        return sum(sorted(f3(x, 0) for x in y)[: n - k])
    if name == "SMOP5":
        return sum(f1(x, BEST) * f2(x, 0) for x in y) + abs(k - sum(x != 0 for x in y))
    if name == "SMOP6":
        waves = [math.sin(6 * math.pi * (x - BEST)) ** 2 for x in y]
        each = [(f1(x, BEST) + i / (n - 1) * waves[i], x) for i, x in enumerate(y)]
        each.sort(key=lambda pair: pair[0])
        return sum(g for rank, (g, x) in enumerate(each) if rank < k or x != 0)
    if name == "SMOP7":
        g = sum(f2(x, BEST) for x in first)
        return g + sum(f2(x, 0.9 * rest[(i + 1) % len(rest)]) for i, x in enumerate(rest))
    g = sum(f3(y[i], (y[i + 1] + math.pi) % 2) for i in range(k))
    return g + sum(f3(y[i], 0.9 * y[i + 1]) for i in range(k, n - 1))


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(("n_obj", "n_var", "theta"), [(2, 100, 0.1), (3, 38, 0.25)])
def test_distances_one_by_one(make, n_obj, n_var, theta):
    problem = make(n_obj, n_var, theta)
    rng = np.random.default_rng(0)
    X = problem.lower + rng.random((10, n_var)) * (problem.upper - problem.lower)
    # Some are sparse, one has all of a group of ten at 0.
    X[:5, n_obj - 1 :] *= rng.random((5, problem.n_distance)) < 0.3
    X[5, -10:] = 0.0
    X[6, n_obj - 1 :] = 0.0
    expected = [distances_one_by_one(problem, list(x[n_obj - 1 :])) for x in X]
    np.testing.assert_allclose(problem.g(X[:, n_obj - 1 :]), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("n_obj", [2, 3])
def test_published_solutions_are_sparse_and_on_the_front(make, n_obj):
    problem = make(n_obj, 100)
    position = np.random.default_rng(1).random((50, n_obj - 1))
    X = problem.pareto_set(position)
    # Some of the chain of SMOP8 may be 0 by chance of its numbers; none is.
    assert ((X[:, n_obj - 1 :] != 0).sum(axis=1) == problem.n_nonzero).all()
    F = problem.evaluate(X)
    np.testing.assert_allclose(problem.residual(F), 0.0, atol=1e-7)
    np.testing.assert_allclose(problem.g(X[:, n_obj - 1 :]), 0.0, atol=1e-12)


@pytest.mark.parametrize("make", [SMOP1, SMOP3, SMOP5, SMOP6, SMOP7])
def test_nothing_is_better_than_the_published_solutions(make):
    problem = make(2, 30)
    rng = np.random.default_rng(2)
    near = problem.pareto_set(np.zeros((2000, 1)))[:, 1:]
    for size in (1e-6, 1e-3, 1e-1):
        moved = near + size * rng.standard_normal(near.shape) * (rng.random(near.shape) < 0.3)
        assert (problem.g(np.clip(moved, -1, 2)) >= 0.0).all()


@pytest.mark.parametrize("make", [SMOP2, SMOP4, SMOP8])
def test_g3_spoils_sparsity_a_little(make):
    # Around its published optimum g3 is 400 d**2 - d, so -1/1600 at d = 1/800: not sparse, and better.
    d = 1 / 800
    assert g3(np.array([d]), 0.0)[0] == pytest.approx(-1 / 1600, rel=0.01)
    problem = make(2, 100)
    X = problem.pareto_set(np.full((1, 1), 0.5))
    y = X[:, 1:].copy()
    if make is SMOP8:
        # x_i - 0.9 x_(i+1) = d for all, from the end: the chain tends to 10 d.
        for i in range(problem.n_distance - 2, problem.n_nonzero - 1, -1):
            y[0, i] = 0.9 * y[0, i + 1] + d
        for i in range(problem.n_nonzero - 1, -1, -1):
            y[0, i] = np.mod(y[0, i + 1] + np.pi, 2.0) + d
    else:
        y[0, problem.n_nonzero :] = d
        if make is SMOP4:
            y[0, : problem.n_nonzero] = d
    terms = {SMOP2: 89, SMOP4: 89, SMOP8: 98}[make]
    assert problem.g(y)[0] == pytest.approx(-terms / 1600, rel=0.01)
    better, published = problem.evaluate(np.hstack([X[:, :1], y])), problem.evaluate(X)
    assert (better < published).all()
    assert emo.nondominated_ranks(np.vstack([published, better])).tolist() == [1, 0]


def test_parts_by_hand():
    quarter = np.array([0.25])
    assert g1(quarter, 0.75)[0] == 0.25
    assert g2(quarter, 0.0)[0] == pytest.approx(1.125)
    assert g3(np.array([2.0]), 0.0)[0] == pytest.approx(2.0)
    assert g4(np.array([BEST + 1 / 12]), 0.5)[0] == pytest.approx(1 / 144 + 0.5)


def test_number_of_nonzeros():
    assert SMOP1().n_nonzero == 10
    assert SMOP1(2, 31).n_nonzero == 3
    assert SMOP1(2, 32).n_nonzero == 4
    # 0.1 * 70 is more than 7 in floating point.
    assert SMOP1(2, 71).n_nonzero == 7
    assert SMOP1(2, 11, theta=1.0).n_nonzero == 10


@pytest.mark.parametrize(
    ("make", "settings", "words"),
    [
        (SMOP1, {"n_obj": 1}, "n_obj = 1"),
        (SMOP1, {"n_obj": 3, "n_var": 3}, "n_var = 3; with 3 objectives it needs at least 4"),
        (SMOP1, {"n_var": 10.5}, "n_var = 10.5"),
        (SMOP1, {"theta": 0.0}, "theta = 0.0; it must be above 0 and at most 1"),
        (SMOP1, {"theta": 1.5}, "theta = 1.5"),
        (SMOP1, {"theta": math.nan}, "theta = nan"),
        (SMOP8, {"n_var": 11, "theta": 1.0}, "one at least must be 0"),
    ],
)
def test_wrong_settings(make, settings, words):
    with pytest.raises(ProblemError, match=words):
        make(**settings)
