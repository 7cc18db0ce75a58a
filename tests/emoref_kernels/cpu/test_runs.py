"""Vector loops over runs against plain loops, with guard zones around what they write."""

import numpy as np
import pytest

from emoref_kernels.cpu import runs
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import LANES, ROWS


@jit()
def copy_run(out, out_start, x, x_start, count):
    runs.copy_run(out, out_start, x, x_start, count)


@jit()
def add_run(out, out_start, x, x_start, count, addend):
    runs.add_run(out, out_start, x, x_start, count, addend)


@jit()
def fma_run(out, out_start, x, x_start, count, factor):
    runs.fma_run(out, out_start, x, x_start, count, factor)


@jit()
def copy_strided(out, out_start, x, x_start, count, stride):
    runs.copy_strided(out, out_start, x, x_start, count, stride)


@jit()
def add_strided(out, out_start, x, x_start, count, stride, addend):
    runs.add_strided(out, out_start, x, x_start, count, stride, addend)


@jit()
def gather_run(out, out_start, x, x_start, count, table, table_start):
    runs.gather_run(out, out_start, x, x_start, count, table, table_start)


@jit()
def sum_run(a, a_start, count):
    return runs.sum_run(a, a_start, count)


@jit()
def dot_run(a, a_start, b, b_start, count):
    return runs.dot_run(a, a_start, b, b_start, count)


@jit()
def transpose_block(out, out_start, out_stride, x, x_start, x_stride):
    runs.transpose_block(out, out_start, out_stride, x, x_start, x_stride)


GUARD = np.float32(-12345.0)
LENGTHS = [*range(2 * LANES + 2), 5 * LANES + 3]
FACTOR = np.float32(0.7)
TABLE = np.random.default_rng(4).integers(0, 300, 200)
MAPS = [
    (copy_run, (), 1),
    (add_run, (FACTOR,), 1),
    (fma_run, (FACTOR,), 1),
    (copy_strided, (3,), 1),
    (gather_run, (TABLE, 5), 1),
    (add_strided, (3, FACTOR), 3),
]


@pytest.mark.parametrize(("function", "more", "step"), MAPS)
def test_maps_equal_plain_loops(function, more, step):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(600).astype(np.float32)
    for count in LENGTHS:
        got = np.full(400, GUARD, dtype=np.float32)
        places = 7 + step * np.arange(count)
        got[places] = rng.standard_normal(count)
        expected = got.copy()
        function(got, 7, x, 11, count, *more)
        runs.LOOPS[function.__name__](expected, 7, x, 11, count, *more)
        np.testing.assert_array_equal(got, expected)
        assert np.all(np.delete(got, places) == GUARD)


@pytest.mark.parametrize("function", [sum_run, dot_run])
def test_sums_agree_with_float64(function):
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 400)).astype(np.float32)
    for count in LENGTHS:
        factors = b[9 : 9 + count].astype(np.float64) if function is dot_run else np.ones(count)
        expected = float(np.sum(a[3 : 3 + count] * factors))
        arguments = (a, 3, b, 9, count) if function is dot_run else (a, 3, count)
        assert function(*arguments) == pytest.approx(expected, abs=2e-5)
        assert runs.LOOPS[function.__name__](*arguments) == pytest.approx(expected, abs=2e-5)


def test_block_is_transposed():
    x = np.arange(40 * ROWS, dtype=np.float32)
    got = np.full(40 * ROWS, GUARD, dtype=np.float32)
    expected = got.copy()
    transpose_block(got, 5, ROWS + 3, x, 2, ROWS + 7)
    runs.LOOPS["transpose_block"](expected, 5, ROWS + 3, x, 2, ROWS + 7)
    np.testing.assert_array_equal(got, expected)
    assert np.count_nonzero(got != GUARD) == ROWS * ROWS


@pytest.mark.parametrize("count", [0, 1, ROWS - 1, ROWS, 2 * ROWS + 3])
def test_rows_are_laid_side_by_side(count):
    x = np.random.default_rng(2).standard_normal((ROWS, 50)).astype(np.float32)
    got = np.full((count + 2, ROWS + 1), GUARD, dtype=np.float32)
    runs.transpose_run(got.reshape(-1), ROWS + 1, ROWS + 1, x.reshape(-1), 4, 50, count)
    np.testing.assert_array_equal(got[1 : count + 1, :ROWS], x[:, 4 : 4 + count].T)
    got[1 : count + 1, :ROWS] = GUARD
    assert np.all(got == GUARD)
