"""Finding equal rows: the compiled twin equals the plain one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu import rows as fast
from emoref_kernels.reference import rows as plain


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 4), st.integers(1, 5), st.integers(0, 9999))
def test_new_rows_equal_the_plain_twin(count, known, length, values, seed):
    rng = np.random.default_rng(seed)
    words = rng.integers(0, values, (count, length), dtype=np.uint64)
    existing = rng.integers(0, values, (known, length), dtype=np.uint64)
    np.testing.assert_array_equal(fast.new_rows(words, existing), plain.new_rows(words, existing))


@pytest.mark.parametrize("module", [plain, fast])
def test_new_rows_by_hand(module):
    words = np.array([[1, 2], [3, 4], [1, 2], [2, 1]], np.uint64)
    assert module.new_rows(words, np.array([[3, 4]], np.uint64)).tolist() == [True, False, False, True]
    assert module.new_rows(words, np.empty((0, 2), np.uint64)).tolist() == [True, True, False, True]


def test_rows_that_differ_in_the_highest_bit_only_are_told_apart():
    words = np.array([[0], [2**63], [1], [2**63 + 1]], np.uint64)
    assert fast.new_rows(words, words[:0]).all()
