"""Planes to pixels and back against NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu import transposes
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import LANES

GUARD = np.float32(-12345.0)


@jit()
def transpose_square(out, out_start, out_stride, x, x_start, x_stride):
    transposes.transpose_square(out, out_start, out_stride, x, x_start, x_stride)


def test_a_square_equals_plain_loops():
    x = np.random.default_rng(0).standard_normal(LANES * (LANES + 9)).astype(np.float32)
    got, expected = np.zeros_like(x), np.zeros_like(x)
    transpose_square(got, 5, LANES + 3, x, 7, LANES + 8)
    transposes.LOOPS["transpose_square"](expected, 5, LANES + 3, x, 7, LANES + 8)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("more", [0, 1, LANES])
@settings(deadline=None, max_examples=200)
@given(channels=st.integers(1, 2 * LANES + 3), plane=st.integers(1, 2 * LANES + 5))
def test_there_and_back(more, channels, plane):
    stride = channels + more
    x = np.random.default_rng(plane).standard_normal((channels, plane)).astype(np.float32)
    pixels = np.full(plane * stride + 20, GUARD, np.float32)
    transposes.pixels_of_planes(np.pad(x.reshape(-1), 3), 3, channels, plane, pixels, 10, stride)
    found = pixels[10:-10].reshape(plane, stride)
    np.testing.assert_array_equal(found[:, :channels], x.T)
    assert not found[:, channels:].any()
    planes = np.full(x.size + 20, GUARD, np.float32)
    transposes.planes_of_pixels(pixels, 10, stride, planes, 10, channels, plane)
    np.testing.assert_array_equal(planes[10:-10], x.reshape(-1))
    for memory in (pixels, planes):
        assert np.all(memory[:10] == GUARD)
        assert np.all(memory[-10:] == GUARD)
