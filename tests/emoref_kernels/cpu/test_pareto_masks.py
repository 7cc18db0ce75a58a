"""Masks of 64 neighbours: against NumPy, in both widths of integers."""

import numpy as np
import pytest

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.pareto_masks import WIDTH, at_most, least, lowest_bit


@jit()
def masks_of(column, at, bound, otherwise):
    mask = at_most(column, at, bound)
    return mask, least(column, at, mask, otherwise), lowest_bit(mask) if mask != 0 else np.int64(-1)


def as_bits(mask):
    return np.unpackbits(np.array([mask], np.int64).view(np.uint8), bitorder="little").astype(bool)


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_masks_equal_comparisons(dtype):
    rng = np.random.default_rng(0)
    for _ in range(200):
        column = rng.integers(-5, 200, 3 * WIDTH).astype(dtype)
        at, bound, otherwise = (
            int(rng.integers(2 * WIDTH)),
            int(rng.integers(-7, 202)),
            int(rng.integers(200)),
        )
        block = column[at : at + WIDTH]
        mask, smallest, first = masks_of(column, at, bound, otherwise)
        np.testing.assert_array_equal(as_bits(mask), block <= bound)
        assert smallest == min([otherwise, *block[block <= bound]])
        assert first == (np.argmax(block <= bound) if (block <= bound).any() else -1)
