"""Association and niching: the compiled twins equal the plain ones bit for bit."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu import niching as fast
from emoref_kernels.reference import niching as plain


def unit(lines):
    return lines / np.sqrt((lines**2).sum(axis=1, keepdims=True))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40), st.integers(1, 12), st.integers(1, 30), st.booleans(), st.integers(0, 2**32 - 1))
def test_association_equals_the_plain_twin(points, objectives, lines, ties, seed):
    rng = np.random.default_rng(seed)
    F = rng.integers(0, 3, (points, objectives)).astype(float) if ties else rng.random((points, objectives))
    W = rng.integers(1, 4, (lines, objectives)).astype(float) if ties else rng.random((lines, objectives))
    W = unit(W)
    for found, expected in zip(fast.associate(F, W), plain.associate(F, W), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_association_by_hand():
    F, lines = np.array([[3.0, 4.0], [2.0, 1.0], [1.0, 1.0]]), np.eye(2)
    for module in (plain, fast):
        niches, distances = module.associate(F, lines)
        assert niches.tolist() == [1, 0, 0]
        assert distances.tolist() == [3.0, 1.0, 1.0]


def test_points_that_are_not_finite_are_marked():
    F = np.array([[1.0, np.nan], [np.inf, 1.0], [1.0, 2.0]])
    with np.errstate(invalid="ignore"):
        expected = plain.associate(F, unit(np.array([[1.0, 2.0], [2.0, 1.0]])))
    found = fast.associate(F, unit(np.array([[1.0, 2.0], [2.0, 1.0]])))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
def test_large_sets_give_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(1)
    F, W = rng.random((3000, 10)), unit(rng.random((275, 10)))
    before, results = numba.get_num_threads(), []
    for threads in (1, 2):
        numba.set_num_threads(threads)
        results.append(fast.associate(F, W))
    numba.set_num_threads(before)
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_large_sets_equal_the_plain_twin():
    rng = np.random.default_rng(2)
    F, W = rng.random((1601, 10)), unit(rng.random((275, 10)))
    for found, expected in zip(fast.associate(F, W), plain.associate(F, W), strict=True):
        np.testing.assert_array_equal(found, expected)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 40), st.integers(1, 12), st.data(), st.integers(0, 2**32 - 1))
def test_niching_equals_the_plain_twin(members, niches, data, seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 3, niches)
    own = rng.integers(0, niches, members)
    distances = rng.integers(0, 4, members).astype(float)
    draws = rng.random((data.draw(st.integers(0, members)), 2))
    before = counts.copy()
    expected = plain.fill_niches(counts, own, distances, draws)
    np.testing.assert_array_equal(fast.fill_niches(counts, own, distances, draws), expected)
    np.testing.assert_array_equal(counts, before)
    assert len(set(expected.tolist())) == len(draws)


@pytest.mark.parametrize("module", [plain, fast])
def test_niching_by_hand(module):
    # Niche 0 has a point already; niche 1 is empty, and its nearest member is row 2.
    counts = np.array([1, 0])
    niches, distances = np.array([0, 1, 1, 0]), np.array([0.1, 0.5, 0.2, 0.3])
    draws = np.array([[0.0, 0.9], [0.9, 0.0], [0.0, 0.99]])
    # Then both hold one: 0.9 draws niche 1, whose only member is row 1. Then niche 0, the second of [0, 3].
    assert module.fill_niches(counts, niches, distances, draws).tolist() == [2, 1, 3]


@pytest.mark.parametrize("module", [plain, fast])
def test_a_draw_next_to_one_stays_inside(module):
    draws = np.full((3, 2), np.nextafter(1.0, 0.0))
    chosen = module.fill_niches(np.ones(3, np.int64), np.array([0, 1, 2]), np.zeros(3), draws)
    assert chosen.tolist() == [2, 1, 0]
