import math

import numpy as np
import pytest

from emoref import emo
from emoref.emo.problem import evaluate
from emoref.emo.problems import (
    C1DTLZ1,
    C1DTLZ3,
    C2DTLZ2,
    C3DTLZ1,
    C3DTLZ4,
    DTLZ1,
    DTLZ2,
    C2ConvexDTLZ2,
    ConvexDTLZ2,
    InvertedDTLZ1,
    InvertedDTLZ2,
    ScaledDTLZ1,
    ScaledDTLZ2,
)
from emoref.errors import ProblemError

CONSTRAINED = [C1DTLZ1, C1DTLZ3, C2DTLZ2, C3DTLZ1, C3DTLZ4]


@pytest.mark.parametrize("make", CONSTRAINED)
@pytest.mark.parametrize("n_obj", [3, 5, 8])
def test_constraints_of_pymoo(make, n_obj):
    theirs = pytest.importorskip("pymoo.problems.many.cdtlz")
    ours = make(n_obj)
    other = getattr(theirs, make.__name__)(n_var=ours.n_var, n_obj=n_obj)
    X = np.random.default_rng(0).random((60, ours.n_var))
    X[:30, n_obj - 1 :] = 0.5 + 0.02 * X[:30, n_obj - 1 :]
    values = evaluate(ours, X)
    F, G = other.evaluate(X, return_values_of=["F", "G"])
    np.testing.assert_allclose(values.F, F, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(values.G, G, rtol=1e-9, atol=1e-10)
    np.testing.assert_array_equal(values.G <= 0, G <= 0)


@pytest.mark.parametrize(
    ("make", "name"), [(ScaledDTLZ1, "ScaledDTLZ1"), (InvertedDTLZ1, None), (ConvexDTLZ2, "ConvexDTLZ2")]
)
def test_values_of_pymoo(make, name):
    dtlz = pytest.importorskip("pymoo.problems.many.dtlz")
    ours = make(3)
    X = np.random.default_rng(1).random((40, ours.n_var))
    # pymoo has these as wrappers, whose base is passed without its number of variables; so call the parts.
    base = {"ConvexDTLZ2": "DTLZ2"}.get(name, "DTLZ1")
    F = getattr(dtlz, base)(n_var=ours.n_var, n_obj=3).evaluate(X)
    if make is ScaledDTLZ1:
        expected = F * dtlz.ScaledProblem.get_scale(3, 10)
    elif make is InvertedDTLZ1:
        expected = dtlz.InvertedDTLZ1(n_var=ours.n_var, n_obj=3).evaluate(X)
    else:
        expected = F ** np.array([4.0, 4.0, 2.0])
    np.testing.assert_allclose(ours.evaluate(X), expected, rtol=1e-9, atol=1e-10)


def test_inverted_by_hand():
    # As in test_dtlz: DTLZ1 is (1/8, 3/8, 1/2) with g = 1; DTLZ2 is (5/8, 0, ...) with g = 1/4.
    np.testing.assert_allclose(InvertedDTLZ1(3, k=1).evaluate([[0.5, 0.25, 0.6]]), [[0.875, 0.625, 0.5]])
    F = InvertedDTLZ2(3, k=1).evaluate([[2 / 3, 0.0, 0.0]])
    np.testing.assert_allclose(F, [[0.625, 1.25, 1.25 - 1.25 * math.sqrt(3) / 2]])


def test_published_scales():
    assert [ScaledDTLZ1(m).scale[1] for m in (3, 5, 8, 10, 15)] == [10, 10, 3, 2, 1.2]
    assert [ScaledDTLZ2(m).scale[1] for m in (3, 5, 8, 10, 15)] == [10, 10, 3, 3, 2]
    W = emo.das_dennis(3, 4)
    np.testing.assert_allclose(ScaledDTLZ1(3).targets(W), DTLZ1(3, base=10).targets(W))
    with pytest.raises(ProblemError, match="no published base for 4 objectives, only for 3, 5, 8"):
        ScaledDTLZ1(4)
    assert ScaledDTLZ2(4, base=7).scale[1] == 7


@pytest.mark.parametrize("make", [*CONSTRAINED, C2ConvexDTLZ2])
@pytest.mark.parametrize("n_obj", [3, 5])
def test_front_is_feasible_and_nothing_feasible_is_before_it(make, n_obj):
    problem = make(n_obj)
    front = problem.front(400)
    assert (problem.constraints(front) <= 1e-12).all()
    # Along any direction, the plain front and beyond: whatever is feasible is dominated by or on the front.
    directions = np.random.default_rng(2).dirichlet(np.ones(n_obj), 300)
    plain = (DTLZ1 if issubclass(make, DTLZ1) else DTLZ2)(n_obj)
    if make is C2ConvexDTLZ2:
        plain = ConvexDTLZ2(n_obj)
    surface = plain.true_front.on_rays(directions)
    for factor in (1.0, 1.01, 1.3, 1.9, 2.5):
        F = surface * factor
        feasible = F[(problem.constraints(F) <= 0.0).all(axis=1)]
        assert (problem.residual(feasible) >= -1e-12).all()


def test_radii():
    assert [C1DTLZ3(m).radius for m in (3, 5, 8, 10, 15)] == [9, 12.5, 12.5, 15, 15]
    assert [C2DTLZ2(m).radius for m in (3, 5, 15)] == [0.4, 0.5, 0.5]
    assert [C2ConvexDTLZ2(m).radius for m in (3, 5, 8, 10, 15)] == [0.225, 0.225, 0.26, 0.26, 0.27]
    with pytest.raises(ProblemError, match="no published radius for 4 objectives"):
        C2ConvexDTLZ2(4)
    assert C2ConvexDTLZ2(4, radius=0.2).radius == 0.2
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(ProblemError, match="positive number"):
            C2DTLZ2(3, radius=bad)


def test_obstacle_of_c1():
    # Norms 1, 4, 6, 9, 10 and constraints (s - 16) (s - 81) with s their squares.
    norms = np.array([1.0, 4.0, 6.0, 9.0, 10.0])
    F = norms[:, None] * np.array([[0.6, 0.0, 0.8]])
    np.testing.assert_allclose(C1DTLZ3(3).constraints(F)[:, 0], [-15 * 80, 0, 20 * 45, 0, -84 * 19])
    np.testing.assert_allclose(C1DTLZ1(2).constraints(np.array([[0.25, 0.3], [0.3, 0.3]])), [[0], [0.1]])


def test_pieces_of_c2():
    # Corner, middle, and half way between two corners, which is sqrt(2 - sqrt(2)) = 0.765 from either.
    F = np.array([[1, 0, 0], [1 / math.sqrt(3)] * 3, [math.sqrt(0.5), math.sqrt(0.5), 0]])
    np.testing.assert_allclose(C2DTLZ2(3).constraints(F)[:2], -0.16, atol=1e-12)
    middle = ((F[2] - F[1]) ** 2).sum()
    np.testing.assert_allclose(C2DTLZ2(3).constraints(F)[2], min(2 - math.sqrt(2), middle) - 0.16)
    # Convex: (0.6, 0.2, 0.1) is off the diagonal by (0.3, -0.1, -0.2).
    np.testing.assert_allclose(C2ConvexDTLZ2(3).constraints(np.array([[0.6, 0.2, 0.1]])), 0.225**2 - 0.14)


def test_front_of_c3_by_hand():
    # f1 + f2 + min = 1 holds at (1/3, 1/3) and (1, 0); f1**2 + f2**2 - 3/4 max**2 = 1 where 5/4 a**2 = 1.
    W = np.array([[0.5, 0.5], [1.0, 0.0]])
    np.testing.assert_allclose(C3DTLZ1(2).targets(W), [[1 / 3, 1 / 3], [1, 0]])
    a = math.sqrt(0.8)
    np.testing.assert_allclose(C3DTLZ4(2).targets(W), [[a, a], [2, 0]])


def test_scale_does_not_change_feasibility():
    X = np.random.default_rng(3).random((50, 12))
    plain, scaled = C2DTLZ2(3), C2DTLZ2(3, base=10)
    F, G = plain.evaluate(X)
    np.testing.assert_allclose(scaled.evaluate(X)[0], F * [1, 10, 100])
    np.testing.assert_allclose(scaled.evaluate(X)[1], G, atol=1e-12)
    W = emo.das_dennis(3, 12)
    np.testing.assert_allclose(scaled.targets(W), plain.targets(W) * [1, 10, 100])


def test_where_pymoo_differs():
    theirs = pytest.importorskip("pymoo.problems.many.cdtlz")
    dtlz = pytest.importorskip("pymoo.problems.many.dtlz")
    assert theirs.C2DTLZ2(n_obj=2).r == 0.2 != C2DTLZ2(2).radius
    assert [theirs.C1DTLZ3(n_obj=m).r for m in (4, 10, 12)] == [9.0, 12.5, 12.5]
    assert [C1DTLZ3(m).radius for m in (4, 10, 12)] == [12.5, 15.0, 15.0]
    assert [dtlz.DTLZ2(n_obj=m).n_var for m in (3, 5)] == [10, 10]
    assert [DTLZ2(m).n_var for m in (3, 5)] == [12, 14]
    assert theirs.C1DTLZ1().n_var == 12 != C1DTLZ1().n_var
    with pytest.raises(AttributeError):
        dtlz.InvertedDTLZ1(n_var=7, n_obj=3).pareto_front(emo.das_dennis(3, 4))


def test_front_of_c3dtlz1_in_pymoo_is_infeasible():
    theirs = pytest.importorskip("pymoo.problems.many.cdtlz")
    front = theirs.C3DTLZ1(n_var=7, n_obj=3).pareto_front(emo.das_dennis(3, 12))
    assert (C3DTLZ1(3).constraints(front) > 0.1).any(axis=1).all()
