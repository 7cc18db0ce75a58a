import math

import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems import DTLZ1, DTLZ2, DTLZ3, DTLZ4, DTLZ5, DTLZ6, DTLZ7
from emoref.errors import ProblemError, ShapeError

ALL = [DTLZ1, DTLZ2, DTLZ3, DTLZ4]

# Closed forms: 1.1**M less pi**(M/2) / (2**M Gamma(M/2 + 1)), and 1.1**M less 1 / M!.
SPHERES = [(2, 0.424602), (3, 0.807401), (5, 1.446017), (8, 2.127734), (10, 2.591252), (15, 4.177237)]
PLANES = [(2, 0.71), (3, 1.164333), (5, 1.602177), (8, 2.143564), (10, 2.593742), (15, 4.177248)]


@pytest.mark.parametrize(
    ("make", "x", "F"),
    [
        # k = 1, x3 = 0.6: cos(2 pi) = 1, so g = 100 (1 + 0.01 - 1) = 1
        (DTLZ1, [0.5, 0.25, 0.6], [0.125, 0.375, 0.5]),
        # g = 0.25; cos(pi / 3) = 1 / 2
        (DTLZ2, [2 / 3, 0.0, 0.0], [0.625, 0.0, 1.25 * math.sqrt(3) / 2]),
        (DTLZ3, [2 / 3, 1.0, 0.6], [0.0, 1.0, math.sqrt(3)]),
        (DTLZ4, [(2 / 3) ** 0.01, 0.0, 0.5], [0.5, 0.0, math.sqrt(3) / 2]),
        # g = 1/4 draws x2 = 0 to 1 / (2 * 1.25) = 0.4: the angle is 36 degrees.
        (
            DTLZ5,
            [2 / 3, 0.0, 0.0],
            [0.625 * math.cos(math.pi / 5), 0.625 * math.sin(math.pi / 5), 1.25 * math.sqrt(3) / 2],
        ),
        # g = 1 draws x2 = 1 to 3/4.
        (DTLZ6, [0.0, 1.0, 1.0], [2 * math.cos(3 * math.pi / 8), 2 * math.sin(3 * math.pi / 8), 0.0]),
        # g = 1 + 9 * 0.5; sin(3 pi / 2) = -1 and sin(3 pi / 6) = 1
        (DTLZ7, [0.5, 1 / 6, 0.5], [0.5, 1 / 6, 6.5 * 3 - 1 / 3]),
    ],
)
def test_one_point_by_hand(make, x, F):
    problem = make(3, k=1)
    assert problem.n_var == 3
    np.testing.assert_allclose(problem.evaluate(np.array([x]))[0], F, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "k"),
    [(DTLZ1, 5), (DTLZ2, 10), (DTLZ3, 10), (DTLZ4, 10), (DTLZ5, 10), (DTLZ6, 10), (DTLZ7, 20)],
)
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


@pytest.mark.parametrize("make", [DTLZ5, DTLZ6])
@pytest.mark.parametrize("n_obj", [2, 3, 5])
def test_curve(make, n_obj):
    problem = make(n_obj)
    position = np.random.default_rng(4).random((50, n_obj - 1))
    F = problem.evaluate(problem.pareto_set(position))
    np.testing.assert_allclose(problem.residual(F), 0.0, atol=1e-15)
    scaled = make(n_obj, base=10.0)
    np.testing.assert_allclose(scaled.residual(F * scaled.scale), 0.0, atol=1e-14)
    np.testing.assert_allclose(scaled.front(9), problem.front(9) * scaled.scale)


@pytest.mark.parametrize("make", [DTLZ5, DTLZ6])
def test_the_curve_is_not_the_whole_front_from_four_objectives_on(make):
    # x1 = 0 and so f4 = 0; of the curve only (1/2, 1/2, 1/sqrt(2), 0) has f4 = 0, and here f1 > 1/2 > f2.
    problem = make(4)
    x = np.ones(problem.n_var)
    x[0], x[2] = 0.0, 0.0
    F = problem.evaluate(x[None])
    assert F[0, 3] == 0.0
    assert F[0, 1] < 0.5
    assert not (problem.front(2001) <= F).all(axis=1).any()
    # With three objectives (1 + g) sin(pi / (4 (1 + g))) is never below sin(pi / 4).
    problem = make(3)
    X = np.random.default_rng(5).integers(0, 2, (500, problem.n_var)).astype(float)
    X[:, 0] = np.random.default_rng(6).random(500)
    curve = problem.front(5001)
    assert (curve[None] <= problem.evaluate(X)[:, None] + 1e-3).all(axis=2).any(axis=1).all()


def test_pieces_of_dtlz7():
    problem = DTLZ7(3)
    pieces = problem.front_pieces()
    np.testing.assert_allclose(pieces, [[0, 0.251412], [0.631627, 0.859401]], atol=1e-6)
    grid = np.linspace(0.0, 1.0, 61)
    position = np.array(np.meshgrid(grid, grid)).reshape(2, -1).T
    F = problem.evaluate(problem.pareto_set(position))
    np.testing.assert_allclose(problem.residual(F), 0.0, atol=1e-12)
    # Of a grid the dominated points are those outside the pieces, but for places near an end.
    each = position[..., None]
    inside = ((each >= pieces[:, 0]) & (each <= pieces[:, 1])).any(axis=2).all(axis=1)
    near = (np.abs(position[..., None] - pieces.ravel()).min(axis=2) < 0.02).any(axis=1)
    np.testing.assert_array_equal((emo.nondominated_ranks(F) == 0)[~near], inside[~near])
    with pytest.raises(ProblemError, match="scaled DTLZ7"):
        DTLZ7(3, base=10.0).front()


def test_front_of_dtlz7_in_pymoo_is_dominated():
    theirs = pytest.importorskip("pymoo.problems.many.dtlz")
    front = theirs.DTLZ7(n_var=23, n_obj=4).pareto_front()[:2000]
    assert (emo.nondominated_ranks(front) > 0).mean() > 0.3


@pytest.mark.parametrize(("n_obj", "volume"), SPHERES)
def test_hypervolume_of_the_sphere(n_obj, volume):
    for make in (DTLZ2, DTLZ3, DTLZ4):
        assert make(n_obj).front_hypervolume([1.1] * n_obj) == pytest.approx(volume, abs=6e-7)


@pytest.mark.parametrize(("n_obj", "volume"), PLANES)
def test_hypervolume_of_the_plane(n_obj, volume):
    # Normalised by 1/2.
    assert DTLZ1(n_obj).front_hypervolume([0.55] * n_obj) * 2.0**n_obj == pytest.approx(volume, abs=6e-7)
