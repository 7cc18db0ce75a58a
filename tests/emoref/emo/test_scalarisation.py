import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.emo import boundary_intersection, tchebycheff, weighted_sum

F = np.array([[1.0, 6.0], [4.0, 4.0], [0.0, 2.0]])
W = np.array([0.25, 0.75])


def test_by_hand():
    assert weighted_sum(F, W).tolist() == [4.75, 4.0, 1.5]
    assert tchebycheff(F, W).tolist() == [4.5, 3.0, 1.5]
    # (3, 4) is 3 along the first axis and 4 from it; on the diagonal it is 7 / sqrt(2) and 1 / sqrt(2).
    point = np.array([3.0, 4.0])
    assert boundary_intersection(point, np.array([1.0, 0.0]), theta=2.0) == 11.0
    along, away = 7 / np.sqrt(2), 1 / np.sqrt(2)
    assert boundary_intersection(point, np.array([0.5, 0.5])) == pytest.approx(along + 5 * away)


def test_a_weight_of_zero_still_tells_points_apart():
    values = tchebycheff(np.array([[0.0, 2.0], [0.0, 3.0]]), np.array([1.0, 0.0]))
    np.testing.assert_allclose(values, [2e-6, 3e-6])


@pytest.mark.parametrize("function", [weighted_sum, tchebycheff, boundary_intersection])
def test_rows_and_weights_are_paired(function):
    rng = np.random.default_rng(0)
    values, weights = rng.random((7, 3)), rng.dirichlet(np.ones(3), 7)
    expected = [float(function(f, w)) for f, w in zip(values, weights, strict=True)]
    np.testing.assert_allclose(function(values, weights), expected, rtol=1e-14)
    assert function(values[0], weights).shape == (7,)


@given(st.integers(0, 10_000), st.integers(2, 6))
@settings(deadline=None, max_examples=60)
def test_what_dominates_is_not_worse(seed, n_obj):
    rng = np.random.default_rng(seed)
    point, weights = rng.random(n_obj), rng.dirichlet(np.ones(n_obj))
    worse = point + rng.random(n_obj) * (rng.random(n_obj) < 0.5)
    assert weighted_sum(point, weights) <= weighted_sum(worse, weights)
    assert tchebycheff(point, weights) <= tchebycheff(worse, weights)


@given(st.integers(0, 10_000), st.integers(2, 6))
@settings(deadline=None, max_examples=40)
def test_minima_on_a_plane(seed, n_obj):
    # On the simplex, Tchebycheff's best point is proportional to 1 / w, boundary intersection's to w.
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(n_obj)) * 0.8 + 0.2 / n_obj
    others = rng.dirichlet(np.ones(n_obj), 200)
    inverse = (1 / weights) / (1 / weights).sum()
    assert tchebycheff(inverse, weights) <= tchebycheff(others, weights).min()
    assert boundary_intersection(weights, weights) <= boundary_intersection(others, weights).min()


def test_against_pymoo():
    decomposition = pytest.importorskip("pymoo.decomposition.pbi")
    theirs = pytest.importorskip("pymoo.decomposition.tchebicheff")
    rng = np.random.default_rng(1)
    values, weights = rng.random((20, 3)), rng.dirichlet(np.ones(3), 20)
    ideal = np.zeros(3)
    np.testing.assert_allclose(
        boundary_intersection(values, weights),
        decomposition.PBI().do(values, weights, ideal_point=ideal, utopian_epsilon=0.0),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        tchebycheff(values, weights),
        theirs.Tchebicheff().do(values, weights, ideal_point=ideal, utopian_epsilon=0.0),
        rtol=1e-12,
    )
