"""Tiles of pixels named by a table against plain loops, bit for bit, with guard zones."""

import numpy as np
import pytest

from emoref_kernels.cpu import simd_pixels
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import LANES, ROWS
from emoref_kernels.cpu.simd_pixels import copy_vectors_loops, multiply_pixels, multiply_pixels_loops

GUARD = np.float32(-12345.0)


@pytest.mark.parametrize("vectors", [1, 2, 3])
@pytest.mark.parametrize("panels", [1, 3])
@pytest.mark.parametrize("count", [1, 7])
def test_tiles_equal_plain_loops(vectors, panels, count):
    rng = np.random.default_rng(count)
    a, b = (rng.standard_normal(1000).astype(np.float32) for _ in range(2))
    places = rng.integers(0, 1000 - panels * ROWS - 8, 2 * (count + 5))
    places[1::2] = rng.integers(0, 1000 - 3 * LANES - 8, count + 5)
    stride = 3 * LANES + 7
    got = np.full(panels * ROWS * stride + 40, GUARD, dtype=np.float32)
    written = np.zeros(got.size, dtype=bool)
    for m in range(panels * ROWS):
        row = slice(11 + m * stride, 11 + m * stride + vectors * LANES)
        got[row] = rng.standard_normal(vectors * LANES)
        written[row] = True
    expected = got.copy()
    arguments = (11, stride, panels, a, 5, b, 3, places, 2, count, 1 << 20, 48, vectors)
    multiply_pixels(got, *arguments)
    multiply_pixels_loops(expected, *arguments)
    np.testing.assert_array_equal(got, expected)
    assert np.all(got[~written] == GUARD)


def test_one_tile_by_hand():
    a = np.zeros(2 * ROWS, dtype=np.float32)
    b = np.arange(2 * LANES, dtype=np.float32)
    a[0], a[ROWS] = 2.0, 3.0
    c = np.ones(ROWS * LANES, dtype=np.float32)
    # Terms: 2 * (0, 1, ...) and 3 * (LANES, LANES + 1, ...), added to 1 in row 0; the other rows get nothing.
    multiply_pixels(c, 0, LANES, 1, a, 0, b, 0, np.array([0, 0, ROWS, LANES]), 0, 2, 0, 0, 1)
    np.testing.assert_array_equal(c[:LANES], 1 + 2 * b[:LANES] + 3 * b[LANES:])
    np.testing.assert_array_equal(c[LANES:], 1)


@jit()
def copy_vectors(out, out_start, x, x_start, count):
    simd_pixels.copy_vectors(out, out_start, x, x_start, count)


@pytest.mark.parametrize("count", [1, LANES, LANES + 1])
def test_copies_go_on_to_a_whole_vector(count):
    x = np.arange(5 * LANES, dtype=np.float32)
    got = np.full(5 * LANES, GUARD, dtype=np.float32)
    expected = got.copy()
    copy_vectors(got, 3, x, 5, count)
    copy_vectors_loops(expected, 3, x, 5, count)
    np.testing.assert_array_equal(got, expected)
    assert np.count_nonzero(got != GUARD) == -(-count // LANES) * LANES
