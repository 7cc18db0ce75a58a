"""Small steps of a selection: the compiled twins equal the plain ones."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu import fronts as fast
from emoref_kernels.reference import fronts as plain


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 30), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_finite_rows_equal_the_plain_twin(rows, columns, seed):
    F = np.random.default_rng(seed).choice([0.0, -1e308, np.nan, np.inf, -np.inf], (rows, columns))
    np.testing.assert_array_equal(fast.finite_rows(F), plain.finite_rows(F))
    np.testing.assert_array_equal(fast.finite_rows(F.T), plain.finite_rows(F.T))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=40))
def test_rows_by_rank_equal_the_plain_twin(values):
    ranks = np.array(values)
    np.testing.assert_array_equal(fast.rows_by_rank(ranks), plain.rows_by_rank(ranks))
