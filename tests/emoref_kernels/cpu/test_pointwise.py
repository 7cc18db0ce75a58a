"""Pixels that 1 x 1 windows see, against NumPy's slices."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu.pointwise import picked_pixels, seen_pixels, spread_pixels

GUARD = np.float32(-12345.0)


@settings(deadline=None, max_examples=500)
@given(
    planes=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 70)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_picking_and_spreading(planes, size, stride):
    x = np.random.default_rng(0).standard_normal((*planes, *size)).astype(np.float32)
    picked = picked_pixels(x.reshape(-1), x.shape, stride)
    np.testing.assert_array_equal(picked, x[:, :, :: stride[0], :: stride[1]])
    assert picked.shape[2:] == seen_pixels(size, stride)
    memory = np.full(x.size + 64, GUARD, np.float32)
    spread_pixels(picked.reshape(-1), memory[32:-32], x.shape, stride)
    expected = np.zeros_like(x)
    expected[:, :, :: stride[0], :: stride[1]] = picked
    np.testing.assert_array_equal(memory[32:-32].reshape(x.shape), expected)
    assert np.all(memory[:32] == GUARD)
    assert np.all(memory[-32:] == GUARD)
