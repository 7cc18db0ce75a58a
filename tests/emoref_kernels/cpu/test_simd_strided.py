"""Tiles of plain matrices in vector registers against plain loops, bit for bit, with guard zones."""

import numpy as np
import pytest

from emoref_kernels.cpu import simd_strided
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import LANES, ROWS
from emoref_kernels.cpu.simd_strided import (
    DEPTH_STEP,
    TALL_ROWS,
    multiply_rows,
    multiply_rows_loops,
    multiply_tall_loops,
)

GUARD = np.float32(-12345.0)


@pytest.mark.parametrize("vectors", [1, 2, 3])
@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("accumulate", [0, 1])
@pytest.mark.parametrize("depth", [DEPTH_STEP, 9 * DEPTH_STEP])
def test_tile_equals_plain_loops(vectors, transposed, accumulate, depth):
    rng = np.random.default_rng(depth)
    a = rng.standard_normal((depth + 3) * (ROWS + 5) + ROWS * (depth + 3)).astype(np.float32)
    b = rng.standard_normal((depth + 1) * (3 * LANES + 2)).astype(np.float32)
    stride = 3 * LANES + 7
    got = np.full(ROWS * stride + 40, GUARD, dtype=np.float32)
    written = np.zeros(got.size, dtype=bool)
    for m in range(ROWS):
        row = slice(11 + m * stride, 11 + m * stride + vectors * LANES)
        got[row] = rng.standard_normal(vectors * LANES)
        written[row] = True
    expected = got.copy()
    a_stride = ROWS + 5 if transposed else depth + 3
    arguments = (11, stride, a, 3, a_stride, b, 2, 3 * LANES + 1, depth, accumulate, transposed, vectors)
    multiply_rows(got, *arguments)
    multiply_rows_loops(expected, *arguments)
    np.testing.assert_array_equal(got, expected)
    assert np.all(got[~written] == GUARD)


@jit()
def multiply_tall(c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate):
    simd_strided.multiply_tall(
        c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate
    )


@pytest.mark.parametrize("accumulate", [0, 1])
@pytest.mark.parametrize("depth", [DEPTH_STEP, 5 * DEPTH_STEP])
def test_tall_tile_equals_plain_loops(accumulate, depth):
    rng = np.random.default_rng(depth)
    a = rng.standard_normal(TALL_ROWS * (depth + 3) + 3).astype(np.float32)
    b = rng.standard_normal(depth * (LANES + 2) + 2).astype(np.float32)
    got = rng.standard_normal(TALL_ROWS * (LANES + 7) + 22).astype(np.float32)
    expected = got.copy()
    arguments = (11, LANES + 7, a, 3, depth + 3, b, 2, LANES + 2, depth, accumulate)
    multiply_tall(got, *arguments)
    multiply_tall_loops(expected, *arguments)
    np.testing.assert_array_equal(got, expected)


def test_tile_agrees_with_float64():
    rng = np.random.default_rng(1)
    depth, columns = 48, 2 * LANES
    a, b = rng.standard_normal((ROWS, depth)), rng.standard_normal((depth, columns))
    c = np.empty(ROWS * columns, dtype=np.float32)
    flat = a.astype(np.float32).reshape(-1), b.astype(np.float32).reshape(-1)
    multiply_rows(c, 0, columns, flat[0], 0, depth, flat[1], 0, columns, depth, 0, 0, 2)
    np.testing.assert_allclose(c.reshape(ROWS, columns), a @ b, rtol=0, atol=2e-5)
