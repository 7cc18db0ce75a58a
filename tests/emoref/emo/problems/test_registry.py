"""What every problem must do, and how problems are found by name."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import emo
from emoref.emo import problems
from emoref.emo.problem import Variables, evaluate
from emoref.errors import ProblemError, ShapeError

SMALL = {"knapsack": {"n_items": 10}, "lotz": {"n_var": 8}, "oneminmax": {"n_var": 8}, "cocz": {"n_var": 8}}
TWO_ONLY = {"zdt1", "zdt2", "zdt3", "zdt4", "zdt5", "zdt6", "lotz", "cocz", "oneminmax"}
THREE_AT_LEAST = {"maf8", "maf9", "maf13"}
PUBLISHED_ONLY = {"scaleddtlz1", "scaleddtlz2", "c2convexdtlz2"}


def instances():
    for name in problems.names():
        for n_obj in (2, 3, 5):
            if name in TWO_ONLY and n_obj > 2:
                continue
            if name in THREE_AT_LEAST | PUBLISHED_ONLY and n_obj == 2:
                continue
            if name == "knapsack" and n_obj == 5:
                continue
            objectives = {} if name in TWO_ONLY else {"n_obj": n_obj}
            yield pytest.param(name, objectives | SMALL.get(name, {}), id=f"{name}-{n_obj}")


def candidates(problem, rows, seed=0):
    rng = np.random.default_rng(seed)
    X = problem.lower + rng.random((rows, problem.n_var)) * (problem.upper - problem.lower)
    return X > 0.5 if problem.kind == "binary" else X


@pytest.mark.parametrize(("name", "arguments"), list(instances()))
def test_front(name, arguments):
    problem = problems.build(name, **arguments)
    front = problem.front(200)
    assert front.shape[1] == problem.n_obj
    assert emo.nondominated_ranks(front).max() == 0
    np.testing.assert_allclose(problem.residual(front), 0.0, atol=1e-12)
    width = problem.nadir - problem.ideal
    assert (front >= problem.ideal - 1e-12).all()
    assert (front <= problem.nadir + 1e-12).all()
    np.testing.assert_allclose(((front - problem.ideal) / width).min(axis=0), 0.0, atol=0.02)
    np.testing.assert_allclose(((front - problem.ideal) / width).max(axis=0), 1.0, atol=0.02)


@pytest.mark.parametrize(("name", "arguments"), list(instances()))
def test_nothing_evaluated_is_before_the_front(name, arguments):
    problem = problems.build(name, **arguments)
    values = evaluate(problem, candidates(problem, 200))
    feasible = (values.G <= 0.0).all(axis=1)
    front = problem.front(500)
    # A point that dominates a point of the front by more than rounding and sampling would be a defect.
    margin = 1e-9 * (problem.nadir - problem.ideal)
    for F in values.F[feasible]:
        assert not (F + margin < front).all(axis=1).any()


@pytest.mark.parametrize(("name", "arguments"), list(instances()))
def test_rows_do_not_influence_each_other(name, arguments):
    problem = problems.build(name, **arguments)
    X = candidates(problem, 12)
    together = evaluate(problem, X)
    order = np.random.default_rng(1).permutation(12)
    for values, rows in (
        (evaluate(problem, X[order]), order),
        (evaluate(problem, X[3:4]), [3]),
        (evaluate(problem, np.asfortranarray(X)), np.arange(12)),
    ):
        np.testing.assert_array_equal(values.F, together.F[rows])
        np.testing.assert_array_equal(values.G, together.G[rows])


@pytest.mark.parametrize("name", problems.names())
def test_problems_can_be_sent_to_workers(name):
    problem = problems.build(name, **SMALL.get(name, {}))
    front = problem.front(20)
    copy = pickle.loads(pickle.dumps(problem))
    X = candidates(problem, 3)
    np.testing.assert_array_equal(evaluate(copy, X).F, evaluate(problem, X).F)
    np.testing.assert_array_equal(copy.front(20), front)


@pytest.mark.parametrize("name", problems.names())
def test_candidates_are_checked_and_left_alone(name):
    problem = problems.build(name, **SMALL.get(name, {}))
    Variables.of(problem)
    X = candidates(problem, 3)
    before = X.copy()
    problem.evaluate(X)
    np.testing.assert_array_equal(X, before)

    title = type(problem).__name__
    for shape in ((3, problem.n_var + 1), (3, problem.n_var - 1), (problem.n_var,)):
        with pytest.raises(ShapeError, match=rf"{title}.evaluate: .*\(rows, {problem.n_var}\)"):
            problem.evaluate(np.zeros(shape))
    for bad in (np.nan, np.inf, -np.inf):
        wrong = X.astype(np.float64)
        wrong[1, 1] = bad
        with pytest.raises(ProblemError, match=rf"{title}.evaluate: X\[1, 1\] is {bad}"):
            problem.evaluate(wrong)
    with pytest.raises(ProblemError, match="variable 0 may have"):
        problem.evaluate(problem.upper[None] + 1.0)
    with pytest.raises(ProblemError, match="real numbers"):
        problem.evaluate([["a"] * problem.n_var])


@given(st.integers(2, 6), st.integers(1, 8))
@settings(deadline=None, max_examples=10)
def test_targets_are_on_their_lines_and_on_the_front(n_obj, divisions):
    W = emo.das_dennis(n_obj, divisions)
    known = [name for name in problems.names() if name not in TWO_ONLY | PUBLISHED_ONLY | {"knapsack"}]
    for name in known:
        if name in THREE_AT_LEAST and n_obj < 3:
            continue
        problem = problems.build(name, n_obj=n_obj)
        if problem.true_front.lines_miss:
            with pytest.raises(ProblemError, match="most lines miss it"):
                problem.targets(W)
            continue
        T = problem.targets(W)
        assert len(T) <= len(W)
        np.testing.assert_allclose(problem.residual(T), 0.0, atol=1e-9)
        N = (T - problem.ideal) / (problem.nadir - problem.ideal)
        nearest = np.abs(N / N.sum(axis=1, keepdims=True) - W[:, None]).max(axis=2).min(axis=0)
        assert (nearest < 1e-9).all()


@pytest.mark.parametrize("name", ["zdt1", "zdt2", "zdt4", "zdt6"])
def test_targets_of_zdt(name):
    problem = problems.build(name)
    W = emo.das_dennis(2, 10)
    T = problem.targets(W)
    N = (T - problem.ideal) / (problem.nadir - problem.ideal)
    np.testing.assert_allclose(N / N.sum(axis=1, keepdims=True), W, atol=1e-12)
    np.testing.assert_allclose(problem.residual(T), 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("dtlz1", {}),
        ("dtlz2", {}),
        ("scaleddtlz1", {}),
        ("inverteddtlz1", {}),
        ("inverteddtlz2", {}),
        ("inverteddtlz2", {"n_obj": 2}),
        ("convexdtlz2", {}),
        ("c3dtlz1", {}),
        ("c3dtlz1", {"n_obj": 2}),
        ("maf4", {}),
        ("wfg4", {}),
    ],
)
def test_hypervolume_of_the_front_is_the_limit_of_samples(name, arguments):
    problem = problems.build(name, **arguments)
    reference = 1.2 * problem.nadir
    exact = problem.front_hypervolume(reference)
    missing = [1.0 - emo.hypervolume(problem.front(n), reference) / exact for n in (200, 3200)]
    # Halving the distances of a lattice halves what is missing: sixteen times as many points do it twice.
    ratio = 16.0 if problem.n_obj == 2 else 4.0
    assert 0.0 < missing[1] < 0.05
    assert missing[0] / missing[1] == pytest.approx(ratio, rel=0.25)


def test_hypervolume_needs_a_reference_beyond_the_nadir_point():
    dtlz2 = problems.DTLZ2(3)
    with pytest.raises(ProblemError, match="at least the nadir point"):
        dtlz2.front_hypervolume([1.1, 1.1, 0.9])
    with pytest.raises(ProblemError, match="finite"):
        dtlz2.front_hypervolume([1.1, 1.1, np.nan])
    with pytest.raises(ShapeError, match=r"it must be \(3,\)"):
        dtlz2.front_hypervolume([1.1, 1.1])
    with pytest.raises(ProblemError, match="no closed form is known for the hypervolume of WFG1"):
        problems.WFG1(3).front_hypervolume([10.0] * 3)


def test_residual_checks_its_argument():
    with pytest.raises(ShapeError, match=r"\(rows, 3\)"):
        problems.DTLZ2(3).residual(np.zeros((4, 2)))


@pytest.mark.parametrize("count", [0, -1, 2.5, True])
def test_wrong_number_of_points(count):
    with pytest.raises(ProblemError, match=r"ZDT1\.front has count"):
        problems.ZDT1().front(count)


def test_all_problems_asked_for_are_there():
    expected = [f"zdt{i}" for i in range(1, 7)] + [f"dtlz{i}" for i in range(1, 8)]
    expected += [f"wfg{i}" for i in range(1, 10)] + [f"maf{i}" for i in range(1, 16)]
    expected += [f"smop{i}" for i in range(1, 9)]
    expected += ["c1dtlz1", "c1dtlz3", "c2dtlz2", "c3dtlz1", "c3dtlz4", "c2convexdtlz2", "convexdtlz2"]
    expected += ["inverteddtlz1", "inverteddtlz2", "scaleddtlz1", "scaleddtlz2"]
    expected += ["knapsack", "lotz", "oneminmax", "cocz"]
    assert problems.names() == sorted(expected)


@pytest.mark.parametrize("name", ["C1-DTLZ1", "c1_dtlz1", "C1 DTLZ1", "c1dtlz1"])
def test_spelling_does_not_matter(name):
    assert isinstance(problems.build(name, n_obj=4), problems.C1DTLZ1)


def test_unknown_names():
    with pytest.raises(ProblemError, match="no test problem is called 'dtlz22'; did you mean 'dtlz2'"):
        problems.build("dtlz22")
    with pytest.raises(ProblemError, match="known: c1dtlz1, "):
        problems.build("?")
    with pytest.raises(ProblemError, match="DTLZ2 has no setting 'n_objs'; did you mean 'n_obj'"):
        problems.build("dtlz2", n_objs=3)
