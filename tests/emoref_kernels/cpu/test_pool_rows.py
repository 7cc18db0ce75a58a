"""Vector loops of 2 x 2 max pooling against plain ones, with ties, NaN and guard zones."""

import numpy as np
import pytest

from emoref_kernels.cpu import pool_rows
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.reference import pool as reference

GUARD = np.float32(-12345.0)


@jit()
def max_pool_row(y, y_start, x, x_start, x_row, count):
    pool_rows.max_pool_row(y, y_start, x, x_start, x_row, count)


@jit()
def max_pool_grad_row(dx, dx_start, dy, dy_start, x, x_start, x_row, count):
    pool_rows.max_pool_grad_row(dx, dx_start, dy, dy_start, x, x_start, x_row, count)


def pixels(rng, count):
    """Draw from few values, so that there are ties, with some NaN and infinities."""
    values = np.array([0.0, 1.0, 2.0, 3.0, -1.0, np.nan, np.inf, -np.inf], dtype=np.float32)
    return rng.choice(values, count, p=[0.2, 0.2, 0.2, 0.2, 0.05, 0.05, 0.05, 0.05])


@pytest.mark.parametrize("count", [0, 1, 2, 3, LANES - 1, LANES, LANES + 1, 3 * LANES + 2])
def test_rows_equal_plain_loops(count):
    rng = np.random.default_rng(count)
    row = 2 * count + 3
    x, dy = pixels(rng, 2 * row + 9), rng.standard_normal(count + 9).astype(np.float32)
    for function, arguments in (
        (max_pool_row, (x, 4, row, count)),
        (max_pool_grad_row, (dy, 3, x, 4, row, count)),
    ):
        got = np.full(2 * row + 40, GUARD, dtype=np.float32)
        expected = got.copy()
        function(got, 8, *arguments)
        pool_rows.LOOPS[function.__name__](expected, 8, *arguments)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("size", [(2, 2), (7, 9), (8, 34), (3, 2)])
def test_planes_agree_with_the_reference(size):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (3, 2, *size)).astype(np.float32)
    expected = reference.max_pool2d(x, 2)
    dy = rng.standard_normal(expected.shape).astype(np.float32)
    y, dx = np.empty(expected.size, np.float32), np.full(x.size + 8, GUARD, np.float32)
    pool_rows.max_pool_planes(6, *size, x.reshape(-1), y)
    pool_rows.max_pool_grad_planes(6, *size, dy.reshape(-1), x.reshape(-1), dx[:-8])
    np.testing.assert_array_equal(y.reshape(expected.shape), expected)
    np.testing.assert_array_equal(dx[:-8].reshape(x.shape), reference.max_pool2d_grad(dy, x, 2))
    assert np.all(dx[-8:] == GUARD)
