"""Tiles of fused inference against plain loops, bit for bit, with guard zones around what they write."""

import numpy as np
import pytest

from emoref_kernels.cpu import fused_phases, fused_tile, fused_vectors
from emoref_kernels.cpu.fused_phases import PHASE_ROWS
from emoref_kernels.cpu.fused_tile import Tile
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import LANES, ROWS

GUARD = np.float32(-12345.0)
MINUS_INF = np.float32(-np.inf)


@jit()
def dense_tile(y, x, z, w, affine, tables, tile, floor, vectors):
    fused_tile.dense_tile(y, x, z, w, affine, tables, tile, floor, vectors)


@jit()
def depthwise_tile(y, x, z, w, affine, tables, tile, floor):
    fused_tile.depthwise_tile(y, x, z, w, affine, tables, tile, floor)


@jit()
def phase_tile(
    z, z_start, z_row, z_phase, w, w_base, u, u_start, right, tables, w_rows, u_runs, below, runs, n
):
    fused_phases.phase_tile(
        z, z_start, z_row, z_phase, w, w_base, u, u_start, right, tables, w_rows, u_runs, below, runs, n
    )


@jit()
def add_channels(y, y_start, z, z_start, z_phase, places, first, count, scale, shift, floor):
    fused_phases.add_channels(y, y_start, z, z_start, z_phase, places, first, count, scale, shift, floor)


def normal(rng, size):
    return rng.standard_normal(size).astype(np.float32)


def tile_case(rng, runs, run_length, residual, pooled):
    width = 3 * LANES
    tables = np.zeros(60, np.int64)
    tables[:ROWS] = rng.permutation(ROWS) * (width + 7)
    tables[20 : 20 + ROWS] = rng.integers(0, 90, ROWS)
    tables[30 : 30 + runs] = rng.integers(0, 30, runs)
    tables[40 : 40 + runs] = rng.integers(0, 9, runs)
    tables[50 : 50 + ROWS] = rng.integers(0, 90, ROWS)
    arrays = [normal(rng, 400) for _ in range(2)] + [normal(rng, 1500), normal(rng, 200)]
    return (
        arrays,
        tables,
        Tile(0, 5, 20, 3, 2, width, 30, 40, runs, run_length, 1, 80, 50, 4, residual, pooled),
    )


@pytest.mark.parametrize("vectors", [1, 2, 3])
@pytest.mark.parametrize(("residual", "pooled"), [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize(("runs", "run_length"), [(1, 1), (1, 13), (4, 1), (5, 3)])
@pytest.mark.parametrize("floor", [np.float32(0), MINUS_INF])
def test_dense_tile_equals_plain_loops(vectors, residual, pooled, runs, run_length, floor):
    rng = np.random.default_rng(runs)
    (x, z, w, affine), tables, tile = tile_case(rng, runs, run_length, residual, pooled)
    x[tables[20] + 3 : tables[20] + 40 : 7] = np.nan
    got = np.full(ROWS * (3 * LANES + 7) + 20, GUARD)
    expected = got.copy()
    dense_tile(got, x, z, w, affine, tables, tile, floor, vectors)
    fused_tile.dense_tile_loops(expected, x, z, w, affine, tables, tile, floor, vectors)
    np.testing.assert_array_equal(got, expected)
    written = np.zeros(got.size, bool)
    for place in tables[: ROWS // 4 if pooled else ROWS]:
        written[5 + place : 5 + place + vectors * LANES] = True
    assert (got[~written] == GUARD).all()
    assert (got[written] != GUARD).all()


@pytest.mark.parametrize(("residual", "pooled"), [(0, 0), (1, 1)])
def test_depthwise_tile_equals_plain_loops(residual, pooled):
    rng = np.random.default_rng(9)
    (x, z, w, affine), tables, tile = tile_case(rng, 9, 1, residual, pooled)
    got = np.full(ROWS * (3 * LANES + 7) + 20, GUARD)
    expected = got.copy()
    depthwise_tile(got, x, z, w, affine, tables, tile, np.float32(0))
    fused_tile.depthwise_tile_loops(expected, x, z, w, affine, tables, tile, np.float32(0))
    np.testing.assert_array_equal(got, expected)


def test_dense_tile_agrees_with_float64():
    rng = np.random.default_rng(1)
    (x, z, w, affine), tables, tile = tile_case(rng, 3, 5, 1, 0)
    got = np.full(ROWS * (3 * LANES + 7) + 20, GUARD)
    dense_tile(got, x, z, w, affine, tables, tile, np.float32(0), 2)
    for m in range(ROWS):
        total = np.zeros(2 * LANES)
        for r in range(3):
            for k in range(5):
                place = 2 + (tables[40 + r] + k) * tile.w_stride
                total += float(x[3 + tables[20 + m] + tables[30 + r] + k]) * w[place : place + 2 * LANES]
        total = total * affine[1 : 1 + 2 * LANES] + affine[80 : 80 + 2 * LANES]
        total += z[4 + tables[50 + m] :][: 2 * LANES]
        place = 5 + tables[m]
        np.testing.assert_allclose(got[place : place + 2 * LANES], np.maximum(total, 0), atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 2, 5])
def test_phase_tile_equals_plain_loops(kernel):
    rng = np.random.default_rng(kernel)
    w, u = normal(rng, 400), normal(rng, 2000)
    tables = rng.integers(0, 300, PHASE_ROWS + 2 + 2 * kernel)
    got = np.full(PHASE_ROWS * 5 * LANES + 20, GUARD)
    expected = got.copy()
    arguments = (3, 5 * LANES, LANES, w, 1, u, 7, 40, tables, 2, 2 + PHASE_ROWS, 2 + PHASE_ROWS + kernel)
    arguments = (*arguments, kernel, kernel)
    phase_tile(got, *arguments)
    fused_phases.phase_tile_loops(expected, *arguments)
    np.testing.assert_array_equal(got, expected)
    assert (got[:3] == GUARD).all()
    assert (got[3 + PHASE_ROWS * 5 * LANES - LANES :] == GUARD).all()


@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize("floor", [np.float32(0), MINUS_INF])
def test_add_channels_equals_plain_loops(count, floor):
    rng = np.random.default_rng(count)
    z, places = normal(rng, 900), rng.integers(0, 500, 12)
    if count == 7:
        z[places[4] :: 3] = np.nan
    got = np.full(LANES + 8, GUARD)
    expected = got.copy()
    arguments = (4, z, 5, 60, places, 2, count, np.float32(1.5), np.float32(-0.25), floor)
    add_channels(got, *arguments)
    fused_phases.add_channels_loops(expected, *arguments)
    np.testing.assert_array_equal(got, expected)
    assert (got[:4] == GUARD).all()
    assert (got[4 + LANES :] == GUARD).all()


@jit()
def finish_vector(y, y_start, x, x_start, z, z_start, w, scale, shift, residual, floor):
    fused_vectors.finish_vector(y, y_start, x, x_start, z, z_start, w, scale, shift, residual, floor)


@jit()
def merge_vector(y, y_start, x, x_start, larger):
    fused_vectors.merge_vector(y, y_start, x, x_start, larger)


@pytest.mark.parametrize("residual", [0, 1])
@pytest.mark.parametrize("floor", [np.float32(0), MINUS_INF])
def test_finish_vector_equals_plain_loops(residual, floor):
    rng = np.random.default_rng(3)
    x, z, w = (normal(rng, 4 * LANES) for _ in range(3))
    x[5], z[9] = np.nan, np.inf
    got = np.full(LANES + 8, GUARD)
    expected = got.copy()
    arguments = (4, x, 2, z, 7, w, 1, 3 + LANES, residual, floor)
    finish_vector(got, *arguments)
    fused_vectors.finish_vector_loops(expected, *arguments)
    np.testing.assert_array_equal(got, expected)
    assert (got[:4] == GUARD).all()
    assert (got[4 + LANES :] == GUARD).all()


@pytest.mark.parametrize("larger", [0, 1])
def test_merge_vector_equals_plain_loops(larger):
    rng = np.random.default_rng(4)
    got, x = normal(rng, 2 * LANES), normal(rng, 2 * LANES)
    got[4], x[3] = np.nan, np.nan
    expected = got.copy()
    merge_vector(got, 3, x, 2, larger)
    fused_vectors.merge_vector_loops(expected, 3, x, 2, larger)
    np.testing.assert_array_equal(got, expected)
    assert np.isnan(got[[4, 4]]).all()
