import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems import WFG1, WFG2


@pytest.mark.parametrize("n_obj", [2, 3, 5])
def test_targets_of_wfg1(n_obj):
    problem = WFG1(n_obj)
    W = emo.das_dennis(n_obj, 6)
    T = problem.targets(W)
    N = T / problem.scale
    np.testing.assert_allclose(N / N.sum(axis=1, keepdims=True), W, atol=1e-9)
    assert emo.nondominated_ranks(T).max() == 0


@pytest.mark.parametrize("n_obj", [2, 3, 4])
def test_front_of_wfg2_is_what_solutions_reach(n_obj):
    problem = WFG2(n_obj, n_obj - 1, 2)
    front = problem.front(400)
    # Solutions with distance 0 are on the front or dominated by a point of it, up to the sample's spacing.
    position = np.random.default_rng(0).random((2000, n_obj - 1))
    F = problem.evaluate(problem.pareto_set(position)) / problem.scale
    assert emo.igd_plus(F, front / problem.scale) < 0.05
    assert emo.gd_plus(front / problem.scale, F) < 0.05
