"""Convolutions of planes by way of maps: results, bits, and what is written."""

import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emoref_kernels import load_backend
from emoref_kernels.cpu import maps_of_planes
from emoref_kernels.cpu.maps_of_planes import maps_conv, maps_input_grad
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.reference import conv as reference

GUARD = np.float32(-12345.0)


def both(x, w, b, stride, padding):
    """Return the output and the gradient of the input for a gradient that is the output."""
    y_shape = reference.conv2d(x[:1], w, b, stride, padding).shape
    results = []
    for shape in ((len(x), *y_shape[1:]), x.shape):
        memory = np.full(int(np.prod(shape)) + 64, GUARD, np.float32)
        if not results:
            maps_conv(x.reshape(-1), x.shape, w, b, stride, padding, memory[32:-32], shape)
        else:
            y = results[0]
            maps_input_grad(y.reshape(-1), y.shape, w, stride, padding, memory[32:-32], shape)
        assert np.all(memory[:32] == GUARD)
        assert np.all(memory[-32:] == GUARD)
        results.append(memory[32:-32].reshape(shape).copy())
    return results


def arrays(images, channels, size, filters, kernel):
    rng = np.random.default_rng(0)
    shapes = (images, channels, *size), (filters, channels, *kernel), (filters,)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@settings(deadline=None, max_examples=500)
@given(
    images=st.integers(1, 5),
    channels=st.integers(1, LANES + 4),
    filters=st.integers(1, LANES + 4),
    size=st.tuples(st.integers(1, 10), st.integers(1, 10)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_any_shape_agrees_with_the_reference(images, channels, filters, size, kernel, stride, padding):
    assume(all(k <= extent + 2 * pad for k, extent, pad in zip(kernel, size, padding, strict=True)))
    x, w, b = arrays(images, channels, size, filters, kernel)
    y, dx = both(x, w, b, stride, padding)
    wide = [array.astype(np.float64) for array in (x, w, b, y)]
    expected = reference.conv2d(*wide[:3], stride, padding)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6 * max(np.abs(expected).max(), 1))
    expected = reference.conv2d_input_grad(wide[3], wide[1], x.shape, stride, padding)
    np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=1e-6 * max(np.abs(expected).max(), 1))


def test_the_bits_are_those_of_maps_on_any_threads_and_in_any_company(monkeypatch):
    x, w, b = arrays(7, 9, (11, 13), 21, (3, 3))
    maps, how = load_backend("cpu", layout="channels-last"), ((2, 2), (1, 1))
    y = np.asarray(maps.conv2d(x, w, b, *how))
    dx = np.asarray(maps.conv2d_input_grad(y, w, x.shape, *how))
    most = numba.get_num_threads()
    try:
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            for got, expected in zip(both(x, w, b, *how), (y, dx), strict=True):
                np.testing.assert_array_equal(got, expected)
    finally:
        numba.set_num_threads(most)
    monkeypatch.setattr(maps_of_planes, "_BLOCK_FLOATS", 1)
    for got, expected in zip(both(x[2:5], w, b, *how), (y[2:5], dx[2:5]), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_the_back_end_takes_this_way_at_a_stride(mode):
    x, w, b = arrays(3, 8, (9, 9), 8, (3, 3))
    how = (2, 2), (1, 1)
    k = load_backend("cpu", mode)
    y, dx = both(x, w, b, *how)
    np.testing.assert_array_equal(k.conv2d(x, w, b, *how), y)
    np.testing.assert_array_equal(k.conv2d_input_grad(y, w, x.shape, *how), dx)
