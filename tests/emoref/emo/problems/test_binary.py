from itertools import product

import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems import COCZ, LOTZ, OneMinMax
from emoref.errors import ProblemError


@pytest.mark.parametrize(
    ("make", "F"),
    [
        # 1 1 0 1 0 0: three ones of six; two leading ones, two trailing zeros; halves 110 and 100.
        (OneMinMax, [-3, -3]),
        (LOTZ, [-2, -2]),
        (COCZ, [-3, -4]),
    ],
)
def test_by_hand(make, F):
    np.testing.assert_array_equal(make(6).evaluate([[1, 1, 0, 1, 0, 0]]), [F])


@pytest.mark.parametrize("make", [OneMinMax, LOTZ, COCZ])
@pytest.mark.parametrize("n_var", [2, 5, 8])
def test_front_is_that_of_all_strings(make, n_var):
    problem = make(n_var)
    X = np.array(list(product([False, True], repeat=n_var)))
    F = problem.evaluate(X)
    best = np.unique(F[emo.nondominated_ranks(F) == 0], axis=0)
    np.testing.assert_array_equal(np.unique(problem.front(), axis=0), best)
    np.testing.assert_array_equal(problem.evaluate(problem.pareto_set()), problem.front())
    if make is OneMinMax:
        assert emo.nondominated_ranks(F).max() == 0


def test_leading_ones_of_extremes():
    X = np.array([[1, 1, 1], [0, 0, 0], [0, 1, 1]], dtype=bool)
    np.testing.assert_array_equal(LOTZ(3).evaluate(X), [[-3, 0], [0, -3], [0, 0]])


def test_candidates_must_be_bits():
    assert LOTZ(3).evaluate(np.array([[1.0, 0.0, 1.0]])).tolist() == [[-1.0, 0.0]]
    with pytest.raises(ProblemError, match=r"LOTZ.evaluate: X\[0, 2\] is 0.5; variable 2 may have 0 and 1"):
        LOTZ(3).evaluate([[1.0, 0.0, 0.5]])


def test_a_run_finds_the_front():
    problem = LOTZ(10)
    algorithm = emo.NSGA2(problem, population_size=40, seed=1)
    result = emo.minimize(problem, algorithm, generations=60)
    assert emo.igd(result.F, problem.front()) == 0.0


@pytest.mark.parametrize(("make", "least"), [(OneMinMax, 1), (LOTZ, 1), (COCZ, 2)])
def test_too_few_bits(make, least):
    make(least)
    with pytest.raises(ProblemError, match=f"at least {least}"):
        make(least - 1)
