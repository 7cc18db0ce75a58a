import math

import numpy as np
import pytest

from emoref import emo
from emoref.emo.problems import MaF8, MaF9
from emoref.emo.problems.maf_fronts import inside_polygon
from emoref.errors import ProblemError, ShapeError


def test_distances_to_corners_by_hand():
    # Corners of a square: (1, 0), (0, -1), (-1, 0), (0, 1).
    problem = MaF8(4)
    np.testing.assert_allclose(problem.vertices, [[1, 0], [0, -1], [-1, 0], [0, 1]], atol=1e-15)
    F = problem.evaluate([[0.0, 0.0], [4.0, 3.0]])
    np.testing.assert_allclose(F, [[1] * 4, [math.sqrt(18), math.sqrt(32), math.sqrt(34), math.sqrt(20)]])


def test_distances_to_lines_by_hand():
    # Lines |x| + |y| = 1, in the order of the corners, from each to the next.
    F, G = MaF9(4).evaluate([[0.0, 0.0], [1.0, 1.0]])
    root = math.sqrt(0.5)
    np.testing.assert_allclose(F, [[root] * 4, [root, 3 * root, root, root]])
    assert (G < 0).all()


@pytest.mark.parametrize("n_obj", [3, 4, 5, 10])
def test_the_polygon_is_the_pareto_set_of_maf8(n_obj):
    problem = MaF8(n_obj)
    X = np.random.default_rng(0).uniform(-4.0, 4.0, (300, 2))
    inside = inside_polygon(X, problem.vertices)
    F = problem.evaluate(X)
    np.testing.assert_allclose(problem.residual(F[inside]), 0.0, atol=1e-12)
    # The nearest point of a convex set is nearer to all its points.
    outside = X[~inside]
    nearest = problem.true_front._into_polygon(outside)
    assert inside_polygon(nearest, problem.vertices).all()
    assert (problem.evaluate(nearest) < F[~inside]).all()


@pytest.mark.parametrize("n_obj", [3, 4, 5, 6, 7, 10])
def test_the_polygon_is_the_pareto_set_of_maf9(n_obj):
    problem = MaF9(n_obj)
    X = np.random.default_rng(0).uniform(-4.0, 4.0, (300, 2))
    F, G = problem.evaluate(X)
    inside = inside_polygon(X, problem.vertices)
    np.testing.assert_allclose(problem.residual(F[inside]), 0.0, atol=1e-12)
    # A point y of the polygon is at least as good as f if 0 <= n y + c <= f: a linear programme.
    optimize = pytest.importorskip("scipy.optimize")
    normals, offsets = problem._lines
    A = np.vstack([normals, -normals])
    for f in F[~inside & (G[:, 0] <= 0)][:60]:
        limits = np.concatenate([f - offsets, offsets]) + 1e-9
        assert optimize.linprog([0, 0], A, limits, bounds=[(None, None)] * 2).status == 0
    # In the infeasible areas there is none, for the most part.
    bad = F[~inside & (G[:, 0] > 0)][:60]
    found = [
        optimize.linprog([0, 0], A, np.concatenate([f - offsets, offsets]), bounds=[(None, None)] * 2).status
        for f in bad
    ]
    assert len(bad) == 0 or np.mean(found) > 0


def test_infeasible_areas():
    # Pentagon: five tips of a star, each with its mirror image.
    problem = MaF9(5)
    assert len(problem.areas) == 5
    assert len(MaF9(3).areas) == len(MaF9(4).areas) == 0
    # Tips are as far out as the square of the golden ratio times the pentagon's inner radius ...
    for area in problem.areas:
        tip = area.mean(axis=0)
        assert problem.infeasible(tip[None] * 0.95).all()
        assert problem.infeasible(tip[None] * 1.05).all()
        np.testing.assert_allclose(np.sort(problem.distances(tip[None])[0])[:2], 0.0, atol=1e-12)
    assert not problem.infeasible(np.zeros((1, 2))).any()
    assert not problem.infeasible(np.array([[9000.0, 9000.0]])).any()
    # ... and would be optimal: no point of the polygon is on both lines.
    tip = problem.areas[0].mean(axis=0)
    assert not (problem.front(4000) <= problem.distances(tip[None]) + 1e-9).all(axis=1).any()


def test_repair_of_maf9():
    problem = MaF9(5)
    X = np.array([area.mean(axis=0) * 0.95 for area in problem.areas] + [[0.1, 0.1]])
    before = X.copy()
    Y = problem.repair(X, np.random.default_rng(1))
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(Y[-1], X[-1])
    assert not problem.infeasible(Y).any()
    np.testing.assert_array_equal(Y, problem.repair(X, np.random.default_rng(1)))
    with pytest.raises(ShapeError, match="repair"):
        problem.repair(np.zeros((2, 3)), np.random.default_rng(1))


def test_maf9_runs_with_repair():
    problem = MaF9(5)
    algorithm = emo.NSGA2(problem, population_size=20, seed=1, repair=problem.repair)
    result = emo.minimize(problem, algorithm, generations=3)
    assert (result.population.G <= 0).all()


def test_inside_polygon_either_way_round():
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float)
    P = np.array([[0.5, 0.5], [1.0, 0.5], [1.1, 0.5]])
    for corners in (square, square[::-1]):
        assert inside_polygon(P, corners).tolist() == [True, True, False]


@pytest.mark.parametrize("make", [MaF8, MaF9])
def test_too_few_objectives(make):
    with pytest.raises(ProblemError, match="n_obj = 2; it must be an integer of at least 3"):
        make(2)
