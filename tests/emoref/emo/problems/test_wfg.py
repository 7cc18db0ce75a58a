import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems import WFG1, WFG2, WFG3, WFG4, WFG5, WFG6, WFG7, WFG8, WFG9
from emoref.emo.problems.wfg import _rounded_to_optimum
from emoref.errors import ProblemError

ALL = [WFG1, WFG2, WFG3, WFG4, WFG5, WFG6, WFG7, WFG8, WFG9]


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(("n_obj", "k", "length"), [(2, 4, 20), (3, 4, 6), (5, 8, 10), (8, 14, 20)])
def test_values_of_pymoo(make, n_obj, k, length):
    problems = pytest.importorskip("pymoo.problems")
    ours = make(n_obj, k, length)
    theirs = problems.get_problem(make.__name__.lower(), n_var=k + length, n_obj=n_obj, k=k)
    X = np.random.default_rng(0).random((60, k + length)) * ours.upper
    np.testing.assert_allclose(ours.evaluate(X), theirs.evaluate(X.copy()), rtol=1e-9, atol=1e-10)


def test_wfg4_by_hand():
    # k = 2, l = 1: z = (0.35 * 2, 4, 0.7 * 3). Distance is 0.35, so x3 = 0. s_multi is 0 at 0.35 and 1 at 1:
    # x = (0, 1), and h = (sin 0 sin 90, sin 0 cos 90, cos 0).
    F = WFG4(3, 2, 1).evaluate([[0.7, 4.0, 2.1]])
    np.testing.assert_allclose(F, [[0.0, 0.0, 6.0]], atol=1e-14)


def test_wfg3_by_hand():
    # k = 2, l = 2, all of z at its upper end. Position (1, 1); s_linear(1) = 1, r_nonsep(1, 1) = 2/3 = x3.
    # A2 = 0, so x2 = 2/3 / 2 + 1/2 = 5/6 and x1 = 1: h = (5/6, 1/6, 0).
    F = WFG3(3, 2, 2).evaluate([[2.0, 4.0, 6.0, 8.0]])
    np.testing.assert_allclose(F, [[2 / 3 + 2 * 5 / 6, 2 / 3 + 4 / 6, 2 / 3]])


def test_wfg1_by_hand():
    # k = 1, l = 1: y = (1/2, 1). t1 = 0.5**0.02 and x2 = t2 = 1.
    x = 0.5**0.02
    convex = 1 - np.cos(np.pi * x / 2)
    mixed = 1 - x + np.sin(10 * np.pi * x) / (10 * np.pi)
    F = WFG1(2, 1, 1).evaluate([[1.0, 4.0]])
    np.testing.assert_allclose(F, [[1 + 2 * convex, 1 + 4 * mixed]])


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(("n_obj", "k", "length"), [(2, 4, 20), (3, 2, 10), (5, 8, 10)])
def test_pareto_set_is_on_the_front(make, n_obj, k, length):
    problem = make(n_obj, k, length)
    position = np.random.default_rng(3).random((100, k))
    position[0], position[1] = 0.0, 1.0
    F = problem.evaluate(problem.pareto_set(position))
    np.testing.assert_allclose(problem.residual(F), 0.0, atol=1e-12)


def test_gaps_of_wfg2():
    pieces = WFG2(2).front_pieces
    assert len(pieces) == 6
    assert pieces[0, 0] == 0.0
    assert pieces[-1, 1] == 1.0
    problem = WFG2(2, 1, 2)
    x1 = np.linspace(0.0, 1.0, 2001)
    F = problem.evaluate(problem.pareto_set(x1[:, None]))
    inside = ((x1[:, None] >= pieces[:, 0]) & (x1[:, None] <= pieces[:, 1])).any(axis=1)
    near_an_end = np.abs(x1[:, None] - pieces.ravel()).min(axis=1) < 1e-3
    np.testing.assert_array_equal((emo.nondominated_ranks(F) == 0)[~near_an_end], inside[~near_an_end])


def test_wfg3_has_more_than_the_line():
    # z1, z2 at their ends, and distance d: f = (1 + 2 d, 2 - d, d). A point (t, 2 t, 6 (1 - t)) of the line
    # that is not worse in f3 has t >= 1 - d / 6, so f2 = 2 t > 2 - d.
    problem = WFG3(3, 2, 2)
    F = problem.evaluate([[2.0, 4.0, 0.7 * 3 + 0.6, 0.7 * 4 + 0.8]])
    d = F[0, 2]
    np.testing.assert_allclose(F, [[1 + 2 * d, 2 - d, d]])
    line = problem.front(2001)
    assert not (line <= F).all(axis=1).any()
    assert problem.residual(F)[0] > 0.1


def test_line_of_wfg3():
    front = WFG3(3).front(3)
    np.testing.assert_allclose(front, [[0, 0, 6], [0.5, 1, 3], [1, 2, 0]])


def test_rounding_of_the_quotient():
    i = np.arange(1.0, 5001.0)
    quotient = 0.35 * (2 * i) / (2 * i)
    assert (quotient != 0.35).any()
    assert (_rounded_to_optimum(quotient) == 0.35).all()
    assert (_rounded_to_optimum(np.array([0.35 + 1e-14, 0.35 - 1e-14])) != 0.35).all()


def test_pymoo_does_not_reach_the_front_of_wfg1():
    # Its optimal solutions are 0.35 * 2 i, and 0.35 * 2 i / (2 i) is not always 0.35.
    problems = pytest.importorskip("pymoo.problems")
    ours = WFG1(3, 4, 20)
    theirs = problems.get_problem("wfg1", n_var=24, n_obj=3, k=4)
    X = ours.pareto_set(np.random.default_rng(0).random((50, 4)))
    assert ours.residual(theirs.evaluate(X.copy())).min() > 0.01
    assert ours.residual(ours.evaluate(X)).max() < 1e-12


def test_pymoo_has_dominated_points_in_the_front_of_wfg2():
    problems = pytest.importorskip("pymoo.problems")
    theirs = problems.get_problem("wfg2", n_var=24, n_obj=2, k=4)
    front = theirs.pareto_front(emo.das_dennis(2, 99))
    assert (emo.nondominated_ranks(front) > 0).mean() > 0.2


def test_bounds_and_defaults():
    problem = WFG4(2)
    assert (problem.k, problem.l, problem.n_var) == (4, 20, 24)
    assert problem.upper.tolist() == [2.0 * i for i in range(1, 25)]
    assert WFG4(5).k == 8
    assert WFG4(3, 2, 5).n_var == 7


def test_pymoo_refuses_few_position_parameters():
    problems = pytest.importorskip("pymoo.problems")
    with pytest.raises(ValueError, match="greater or equal than 4"):
        problems.get_problem("wfg4", n_var=7, n_obj=3, k=2)


@pytest.mark.parametrize(
    ("make", "settings", "words"),
    [
        (WFG1, {"n_obj": 1}, "n_obj = 1; it must be an integer of at least 2"),
        (WFG1, {"n_obj": 4, "k": 4}, "a multiple of M - 1 = 3, for instance 3"),
        (WFG1, {"n_obj": 4, "k": 2}, "for instance 3"),
        (WFG1, {"k": 0}, "k = 0"),
        (WFG1, {"l": 0}, "l = 0"),
        (WFG1, {"l": 2.0}, "l = 2.0"),
        (WFG2, {"l": 5}, "l must be even, for instance 6"),
        (WFG3, {"l": 1}, "l must be even, for instance 2"),
    ],
)
def test_wrong_settings(make, settings, words):
    with pytest.raises(ProblemError, match=words):
        make(**settings)
