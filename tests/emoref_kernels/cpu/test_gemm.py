"""Matrix multiplication: orientations, guard zones, and bits that do not depend on the neighbours."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu import gemm
from emoref_kernels.cpu.linear import linear, linear_bias_grad, linear_input_grad, linear_weight_grad
from emoref_kernels.cpu.simd import ROWS, TILE

GUARD = np.float32(-12345.0)
NO_BIAS = np.zeros(0, dtype=np.float32)


def random(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 3 * ROWS + 1),
    columns=st.integers(1, 2 * TILE + 5),
    depth=st.integers(1, 2 * gemm.BLOCK + 3),
    orientation=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    biased=st.booleans(),
)
def test_product_agrees_with_float64(rows, columns, depth, orientation, biased):
    rng = np.random.default_rng(0)
    a, b = random(rng, rows, depth), random(rng, depth, columns)
    bias = random(rng, rows) if biased else NO_BIAS
    a_flat = (a.T if orientation[0] else a).copy().reshape(-1)
    b_flat = (b.T if orientation[1] else b).copy().reshape(-1)
    a_strides = (1, rows) if orientation[0] else (depth, 1)
    b_strides = (1, depth) if orientation[1] else (columns, 1)
    c_strides = (1, rows) if orientation[2] else (columns, 1)
    c = np.full(rows * columns + 16, GUARD, dtype=np.float32)
    gemm.matrix_multiply(
        a_flat, *a_strides, b_flat, *b_strides, rows, columns, depth, bias, c[8:], *c_strides
    )
    got = c[8:-8].reshape((columns, rows) if orientation[2] else (rows, columns))
    got = got.T if orientation[2] else got
    expected = a.astype(np.float64) @ b + (bias[:, None] if biased else 0.0)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * np.sqrt(depth))
    assert np.all(c[:8] == GUARD)
    assert np.all(c[-8:] == GUARD)


def test_rows_do_not_depend_on_their_neighbours():
    rng = np.random.default_rng(1)
    x, w, b = random(rng, 130, 300), random(rng, 37, 300), random(rng, 37)
    y = linear(x, w, b)
    np.testing.assert_array_equal(linear(x[41:67], w, b), y[41:67])
    np.testing.assert_array_equal(linear(x[128:129], w[::5], b[::5]), y[128:129, ::5])
    dx = linear_input_grad(y, w)
    np.testing.assert_array_equal(linear_input_grad(y[3:4], w), dx[3:4])


def test_bits_do_not_depend_on_the_threads():
    rng = np.random.default_rng(2)
    x, w = random(rng, 100, 210), random(rng, 77, 210)
    dy = linear(x, w)
    results = []
    most = numba.get_num_threads()
    try:
        for threads in range(1, most + 1):
            numba.set_num_threads(threads)
            results.append((linear(x, w), linear_input_grad(dy, w), linear_weight_grad(dy, x)))
    finally:
        numba.set_num_threads(most)
    for result in results[1:]:
        for got, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(got, expected)


def test_strided_and_read_only_arrays_are_taken():
    rng = np.random.default_rng(3)
    x, w = random(rng, 20, 14), random(rng, 6, 7)
    expected = linear(x[:, ::2].copy(), w)
    np.testing.assert_array_equal(linear(x[:, ::2], w), expected)
    x.setflags(write=False)
    w.setflags(write=False)
    np.testing.assert_array_equal(linear(x[:, ::2], w), expected)


def test_empty_batch():
    x, w = np.zeros((0, 5), np.float32), np.ones((3, 5), np.float32)
    dy = np.zeros((0, 3), np.float32)
    assert linear(x, w).shape == (0, 3)
    assert linear_input_grad(dy, w).shape == (0, 5)
    np.testing.assert_array_equal(linear_weight_grad(dy, x), np.zeros((3, 5)))
    np.testing.assert_array_equal(linear_bias_grad(dy), np.zeros(3))


@pytest.mark.parametrize("rows", [1, ROWS - 1, ROWS])
def test_panel_with_missing_rows_is_filled_with_zeros(rows):
    rng = np.random.default_rng(4)
    depth = 5
    w = random(rng, ROWS, depth, 4)
    taps = np.array([0, 2, 3], dtype=np.int64)
    out = np.full(depth * 3 * ROWS + 4, GUARD, dtype=np.float32)
    gemm.pack_panel(w.reshape(-1), 0, depth * 4, rows, depth, 4, taps, out, 2)
    got = out[2:-2].reshape(depth, 3, ROWS)
    np.testing.assert_array_equal(got[:, :, :rows], w[:rows, :, [0, 2, 3]].transpose(1, 2, 0))
    assert np.all(got[:, :, rows:] == 0.0)
    assert np.all(out[[0, 1, -2, -1]] == GUARD)
