import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import emo
from emoref.emo.problems import Knapsack
from emoref.emo.problems.knapsack import pareto_by_dynamic_programming, pareto_by_enumeration
from emoref.errors import ProblemError, ShapeError

# Items a, b, c. First knapsack: weights 2, 3, 4 and capacity 5; second: 3, 2, 1 and capacity 4.
WEIGHTS = [[2, 3, 4], [3, 2, 1]]
PROFITS = [[4, 3, 6], [3, 4, 2]]
CAPACITIES = [5, 4]


@pytest.fixture
def small():
    return Knapsack.of(WEIGHTS, PROFITS, CAPACITIES)


def test_repair_by_hand(small):
    # Best profit per weight: a max(2, 1) = 2, b max(1, 2) = 2, c max(1.5, 2) = 2: equal, so a goes first.
    assert small.removal_order.tolist() == [0, 1, 2]
    other = Knapsack.of(WEIGHTS, [[4, 3, 6], [3, 5, 1]], CAPACITIES)
    # 2, 2.5, 1.5: c goes first, then a, then b.
    assert other.removal_order.tolist() == [2, 0, 1]
    X = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 1]])
    # (a, b) weighs (5, 5): too much for the second, so a goes. (a, c) is (6, 4), (b, c) is (7, 3).
    assert other.repair(X).astype(int).tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_evaluation_by_hand(small):
    X = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=bool)
    np.testing.assert_array_equal(small.evaluate(X), [[-3, -4], [-4, -3], [0, 0]])
    F, G = Knapsack.of(WEIGHTS, PROFITS, CAPACITIES, repaired=False).evaluate([[1, 1, 1]])
    np.testing.assert_array_equal(F, [[-13, -9]])
    np.testing.assert_array_equal(G, [[4, 2]])


def test_front_by_hand(small):
    # Only single items fit: a (4, 3), b (3, 4), c (6, 2). None dominates another.
    np.testing.assert_array_equal(np.sort(small.front(), axis=0), [[-6, -4], [-4, -3], [-3, -2]])
    np.testing.assert_array_equal(small.ideal, [-6, -4])
    assert small.front_hypervolume([0, 0]) == 3 * 4 + 1 * 3 + 2 * 2


@given(st.integers(0, 2**16), st.integers(1, 9), st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_dynamic_programming_is_enumeration(seed, n_items, n_obj):
    rng = np.random.default_rng(seed)
    weights, profits = rng.integers(1, 6, (2, n_obj, n_items))
    capacities = rng.integers(0, 1 + weights.sum(axis=1))
    arguments = (weights, profits, capacities)
    expected = pareto_by_enumeration(*arguments)
    np.testing.assert_array_equal(pareto_by_dynamic_programming(*arguments), expected)
    assert emo.nondominated_ranks(-expected).max() == 0


@given(st.integers(0, 2**16))
@settings(deadline=None, max_examples=30)
def test_repair_fits_and_leaves_what_fits(seed):
    problem = Knapsack(12, 3, seed)
    X = np.random.default_rng(seed).random((40, 12)) < 0.6
    before = X.copy()
    Y = problem.repair(X)
    np.testing.assert_array_equal(X, before)
    assert (problem.capacities >= Y @ problem.weights.T).all()
    assert (Y <= X).all()
    fits = (problem.capacities >= X @ problem.weights.T).all(axis=1)
    np.testing.assert_array_equal(Y[fits], X[fits])
    # Nothing is taken out that need not be: with the last item removed put back it does not fit.
    rank = np.argsort(problem.removal_order)
    for x, y in zip(X[~fits], Y[~fits], strict=True):
        out = np.flatnonzero(x & ~y)
        last = out[np.argmax(rank[out])]
        y[last] = True
        assert (problem.weights @ y > problem.capacities).any()
    np.testing.assert_array_equal(problem.evaluate(X), problem.evaluate(Y))


def test_instances():
    one, same, other = Knapsack(250, 2, 1), Knapsack(250, 2, 1), Knapsack(250, 2, 2)
    np.testing.assert_array_equal(one.weights, same.weights)
    np.testing.assert_array_equal(one.profits, same.profits)
    assert (one.weights != other.weights).any()
    for numbers in (one.weights, one.profits):
        assert numbers.min() == 10
        assert numbers.max() == 100
    np.testing.assert_array_equal(one.capacities, one.weights.sum(axis=1) // 2)


def test_a_run_finds_the_front():
    problem = Knapsack(12, 2, 3)
    algorithm = emo.NSGA2(problem, population_size=40, seed=1, repair=problem.repair)
    result = emo.minimize(problem, algorithm, generations=40)
    assert emo.gd(result.F, problem.front()) == 0.0
    assert emo.igd(result.F, problem.front()) == 0.0


def test_too_large_for_the_exact_front(monkeypatch):
    with pytest.raises(ProblemError, match="at most 20 items"):
        pareto_by_enumeration(np.ones((1, 21), dtype=int), np.ones((1, 21), dtype=int), np.array([3]))
    monkeypatch.setattr("emoref.emo.problems.knapsack.MOST_STATES", 50)
    with pytest.raises(ProblemError, match=r"of 30 items there are \d+ partial selections"):
        Knapsack(30, 2).front()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((WEIGHTS, PROFITS, [5]), ShapeError, "do not fit"),
        ((WEIGHTS, [[4, 3, 6]], CAPACITIES), ShapeError, "do not fit"),
        (([], [], []), ProblemError, "whole numbers"),
        ((np.zeros((0, 3), int), np.zeros((0, 3), int), np.zeros(0, int)), ShapeError, "do not fit"),
        (([[1, 2], [3]], PROFITS, CAPACITIES), ShapeError, "different lengths"),
        (([[2, 3, 4.5], [3, 2, 1]], PROFITS, CAPACITIES), ProblemError, "weights must be whole numbers"),
        (([[2, 3, 0], [3, 2, 1]], PROFITS, CAPACITIES), ProblemError, "at least 1"),
        ((WEIGHTS, PROFITS, [5, -1]), ProblemError, "capacities must be whole numbers of at least 0"),
    ],
)
def test_wrong_instances(arguments, error, words):
    with pytest.raises(error, match=words):
        Knapsack.of(*arguments)


def test_wrong_settings():
    for arguments in ({"n_items": 0}, {"n_obj": 0}, {"seed": -1}, {"n_items": 2.5}):
        with pytest.raises(ProblemError, match="Knapsack has"):
            Knapsack(**arguments)
    with pytest.raises(ShapeError, match=r"\(rows, 3\)"):
        Knapsack.of(WEIGHTS, PROFITS, CAPACITIES).repair([[1, 0]])
