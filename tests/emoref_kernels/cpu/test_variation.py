"""Crossover, mutation and games of two: the compiled twins equal the plain ones bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu import variation as fast
from emoref_kernels.reference import variation as plain

seeds = st.integers(0, 2**32 - 1)
etas = st.sampled_from([0.0, 1.0, 15.0, 20.0, 30.0])


def box(rng, n):
    """Return bounds, of which some are equal and some far from zero."""
    lower = rng.choice([0.0, -1.0, 1e6, -1e-9], n)
    return lower, lower + rng.choice([0.0, 1e-9, 1.0, 1e3], n)


def within(rng, lower, upper, rows):
    """Return candidates, of which some lie on the bounds."""
    share = np.clip(rng.random((rows, len(lower))) * 1.4 - 0.2, 0.0, 1.0)
    return np.clip(lower + share * (upper - lower), lower, upper)


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 12), st.integers(1, 9), etas, st.booleans(), seeds)
def test_crossover_equals_the_plain_twin(pairs, n, eta, swap, seed):
    rng = np.random.default_rng(seed)
    lower, upper = box(rng, n)
    A, B = within(rng, lower, upper, pairs), within(rng, lower, upper, pairs)
    B[rng.random(B.shape) < 0.2] = A.flat[0] if A.size else 0.0
    B = np.clip(B, lower, upper)
    draws = rng.random(pairs + 3 * pairs * n)
    arguments = (A, B, draws, lower, upper, 0.8, eta, swap)
    before = A.copy(), B.copy()
    children = fast.sbx(*arguments)
    np.testing.assert_array_equal(children, plain.sbx(*arguments))
    assert children.shape == (2 * pairs, n)
    assert ((children >= lower) & (children <= upper)).all()
    np.testing.assert_array_equal((A, B), before)


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 20), st.integers(1, 9), etas, st.sampled_from([0.0, 0.3, 1.0]), seeds)
def test_mutation_equals_the_plain_twin(rows, n, eta, probability, seed):
    rng = np.random.default_rng(seed)
    lower, upper = box(rng, n)
    X = within(rng, lower, upper, rows)
    arguments = (X, rng.random((2, rows, n)), lower, upper, probability, eta)
    before = X.copy()
    mutated = fast.polynomial_mutation(*arguments)
    np.testing.assert_array_equal(mutated, plain.polynomial_mutation(*arguments))
    assert ((mutated >= lower) & (mutated <= upper)).all()
    np.testing.assert_array_equal(X, before)


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 12), st.integers(0, 30), seeds)
def test_winners_equal_the_plain_twins(candidates, games, seed):
    rng = np.random.default_rng(seed)
    pairs, coins = rng.integers(0, candidates, (games, 2)), rng.random(games)
    ranks = rng.integers(0, 3, candidates)
    distances = rng.choice([0.0, 1.0, np.inf, np.nan], candidates)
    np.testing.assert_array_equal(
        fast.crowded_winners(pairs, coins, ranks, distances),
        plain.crowded_winners(pairs, coins, ranks, distances),
    )
    violation = rng.choice([0.0, 0.5, np.inf], candidates)
    np.testing.assert_array_equal(
        fast.lenient_winners(pairs, coins, violation), plain.lenient_winners(pairs, coins, violation)
    )


@pytest.mark.parametrize("module", [plain, fast])
def test_winners_by_hand(module):
    pairs = np.array([[0, 1], [1, 0], [0, 2], [2, 0], [1, 1]])
    coins = np.array([0.9, 0.9, 0.4, 0.5, 0.0])
    ranks, distances = np.array([0, 1, 0]), np.array([1.0, np.inf, 1.0])
    assert module.crowded_winners(pairs, coins, ranks, distances).tolist() == [0, 0, 0, 0, 1]
    violation = np.array([1.0, 0.0, 1.0])
    assert module.lenient_winners(pairs, coins, violation).tolist() == [1, 1, 0, 0, 1]


@pytest.mark.parametrize("module", [plain, fast])
def test_crossover_by_hand(module):
    # With eta = 0 and bounds that leave room for beta up to 3, alpha is 2 - 1/3; u = 0 gives beta 0 and the
    # mean of the parents, twice. Where coins or draws say no, children are the parents.
    A, B = np.array([[1.0, 1.0, 1.0]]), np.array([[3.0, 3.0, 1.0]])
    draws = np.array([0.0, *(0.0, 0.7, 0.0), *(0.0, 0.0, 0.0), *(0.0, 0.0, 0.0)])
    children = module.sbx(A, B, draws, np.full(3, -1.0), np.full(3, 5.0), 1.0, 0.0, True)
    np.testing.assert_array_equal(children, [[2.0, 1.0, 1.0], [2.0, 3.0, 1.0]])
