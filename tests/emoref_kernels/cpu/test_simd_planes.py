"""Tiles of vectors anywhere, and runs that leave out or put in every other value, against plain loops."""

import numpy as np
import pytest

from emoref_kernels.cpu import simd_planes
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import LANES, ROWS, VECTORS
from emoref_kernels.cpu.simd_planes import PlaneTile


@jit()
def plane_tile(y, a, x, bias, tables, tile, vectors):
    simd_planes.plane_tile(y, a, x, bias, tables, tile, vectors)


@jit()
def halve_run(out, out_start, x, x_start, count):
    simd_planes.halve_run(out, out_start, x, x_start, count)


@jit()
def spread_run(out, out_start, x, x_start, count):
    simd_planes.spread_run(out, out_start, x, x_start, count)


@pytest.mark.parametrize("vectors", range(1, VECTORS + 1))
@pytest.mark.parametrize(("more", "bias"), [(0, -1), (0, 3), (1, 3)])
def test_a_tile_equals_plain_loops(vectors, more, bias):
    rng = np.random.default_rng(vectors)
    y, a, x = (rng.standard_normal(size).astype(np.float32) for size in (1500, 200, 600))
    terms, sources = rng.integers(0, 200, 9), rng.integers(0, 300, vectors)
    targets = rng.permutation(5)[:vectors] * (LANES + 1)
    tables = np.concatenate([np.zeros(2, np.int64), targets, sources, terms])
    tile = PlaneTile(11, 5 * LANES + 7, 5, 7, 2, 2 + vectors, 2 + 2 * vectors, 9, more, bias, 0, 0)
    got, expected = y.copy(), y.copy()
    plane_tile(got, a, x, a, tables, tile, vectors)
    simd_planes.LOOPS["plane_tile"](expected, a, x, a, tables, tile, vectors)
    np.testing.assert_array_equal(got, expected)
    assert np.count_nonzero(got != y) == ROWS * vectors * LANES


@pytest.mark.parametrize("count", [0, 1, 2, 3, LANES - 1, LANES, LANES + 1, 3 * LANES + 5])
@pytest.mark.parametrize("function", [halve_run, spread_run])
def test_runs_equal_plain_loops(function, count):
    rng = np.random.default_rng(count)
    y, x = (rng.standard_normal(200).astype(np.float32) for _ in range(2))
    got, expected = y.copy(), y.copy()
    function(got, 9, x, 200 - max(2 * count - 1, 0) if function is halve_run else 200 - count, count)
    start = 200 - max(2 * count - 1, 0) if function is halve_run else 200 - count
    simd_planes.LOOPS[function.__name__](expected, 9, x, start, count)
    np.testing.assert_array_equal(got, expected)
