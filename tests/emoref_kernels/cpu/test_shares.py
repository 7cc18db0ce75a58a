"""The parallel loop that knows its worker by address."""

import numba
import numpy as np

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.shares import keep_apart, share


@jit()
def _add(part, parts, numbers, _, sums, factors, _c, _d, _e):
    keep_apart()
    for i in range(part, sums.size, parts):
        sums[i] += factors[i] * numbers[0]


@jit()
def _count(part, parts, i, j, a, b, c, d, e):
    a[part] = 100 * i.size + 10 * j.size + b.size + c.size + d.size + e.size


def run(threads, parts):
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        sums, factors = np.ones(1000, np.float32), np.arange(1000, dtype=np.float32)
        share(_add, parts, (np.array([3]),), (sums, factors))
    finally:
        numba.set_num_threads(before)
    return sums


def test_parts_are_done_once_each_with_any_threads():
    expected = 1 + 3 * np.arange(1000, dtype=np.float32)
    for threads in range(1, numba.get_num_threads() + 1):
        for parts in (1, 2, 7, 1200):
            np.testing.assert_array_equal(run(threads, parts), expected)


def test_arrays_that_are_not_given_are_empty():
    result = np.zeros(2, np.float32)
    share(_count, 2, (), (result,))
    np.testing.assert_array_equal(result, [0, 0])
    share(_count, 2, (np.arange(2), np.arange(3)), (result, *[result] * 4))
    np.testing.assert_array_equal(result, [238, 238])


def test_no_parts_do_nothing():
    sums = np.ones(3, np.float32)
    share(_add, 0, (np.array([3]),), (sums, sums))
    np.testing.assert_array_equal(sums, 1)
