"""Parts of the normalisation: the compiled twins equal the plain ones bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu import normalising as fast
from emoref_kernels.reference import normalising as plain

seeds = st.integers(0, 2**32 - 1)


def values(rng, shape):
    """Return values with ties, zeros and some that overflow."""
    ways = (
        rng.random(shape),
        rng.integers(0, 3, shape).astype(float),
        rng.choice([1e308, -1e308, 1e-4], shape),
    )
    return ways[rng.integers(3)]


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 25), st.integers(1, 9), st.booleans(), seeds)
def test_every_part_equals_its_plain_twin(rows, objectives, bad, seed):
    rng = np.random.default_rng(seed)
    F = values(rng, (rows, objectives))
    if bad:
        F[rng.integers(rows), rng.integers(objectives)] = rng.choice([np.nan, np.inf])
    front = np.flatnonzero(rng.random(rows) < 0.5)
    front = front if front.size else np.array([0])
    np.testing.assert_array_equal(fast.bounds(F, front), plain.bounds(F, front))

    ideal, nadir, top = (values(rng, objectives) for _ in range(3))
    unit = fast.units(ideal, nadir, F[0], top)
    np.testing.assert_array_equal(unit, plain.units(ideal, nadir, F[0], top))
    for cut in (0.0, 1e-3):
        np.testing.assert_array_equal(
            fast.extreme_rows(F, ideal, unit, cut), plain.extreme_rows(F, ideal, unit, cut)
        )
    np.testing.assert_array_equal(fast.scale(F, ideal, nadir), plain.scale(F, ideal, nadir))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.booleans(), seeds)
def test_a_solution_is_told_from_another(objectives, right, seed):
    rng = np.random.default_rng(seed)
    points = rng.random((objectives, objectives)) + np.eye(objectives)
    plane = np.linalg.solve(points, np.ones(objectives))
    if not right:
        plane[rng.integers(objectives)] += rng.choice([1.0, np.nan, np.inf])
    assert fast.solves(points, plane) is plain.solves(points, plane) is right


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.booleans(), seeds)
def test_equal_points_are_found(rows, copied, seed):
    rng = np.random.default_rng(seed)
    points = rng.random((rows, rows))
    points[rng.integers(rows), rng.integers(rows)] = rng.choice([np.nan, np.inf, 0.0])
    if copied:
        points[rng.integers(rows)] = points[rng.integers(rows)]
    assert bool(fast.any_equal(points)) is plain.any_equal(points)


@pytest.mark.parametrize("module", [plain, fast])
def test_equal_points_by_hand(module):
    nan = np.full((2, 2), np.nan)
    assert module.any_equal(nan)
    assert module.any_equal(np.array([[0.0, 1.0], [2.0, 3.0], [0.0, 1.0]]))
    assert not module.any_equal(np.array([[0.0, 1.0], [-0.0, 1.0]]))
    assert not module.any_equal(np.array([[0.0, 1.0], [0.0, 2.0]]))


@pytest.mark.parametrize("module", [plain, fast])
def test_parts_by_hand(module):
    F = np.array([[2.0, 0.0], [0.0, 4.0], [5.0, 5.0]])
    np.testing.assert_array_equal(module.bounds(F, np.array([0, 1])), [[0, 0], [5, 5], [2, 4]])
    assert module.extreme_rows(F, np.zeros(2), np.ones(2), 0.0).tolist() == [0, 1]
    np.testing.assert_array_equal(
        module.scale(F, np.zeros(2), np.array([2.0, 0.0]))[:2], [[1.0, 1.0], [0.0, 1.0]]
    )
    infinite, some = np.full(2, np.inf), np.array([0.0, 3.0])
    np.testing.assert_array_equal(module.units(np.zeros(2), infinite, some, np.array([2.0, 9.0])), [2.0, 3.0])
