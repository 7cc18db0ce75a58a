"""Finished Winograd tiles against plain NumPy, with guard zones around what they write."""

import numpy as np
import pytest

from emoref_kernels.cpu import winograd_finish
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import LANES

GUARD = np.float32(-12345.0)


@jit()
def finish_tile(
    outputs, y, y_start, y_row, y_column, t, t_start, t_row, t_column, z, z_start, z_row, z_column, w, scale,
    shift, residual, pooled, floor,
):  # fmt: skip
    winograd_finish.finish_tile(
        outputs, y, y_start, y_row, y_column, t, t_start, t_row, t_column, z, z_start, z_row, z_column, w,
        scale, shift, residual, pooled, floor,
    )  # fmt: skip


@pytest.mark.parametrize("outputs", [2, 4])
@pytest.mark.parametrize("residual", [0, 1])
@pytest.mark.parametrize("pooled", [0, 1])
@pytest.mark.parametrize("floor", [np.float32(0), np.float32(-np.inf)])
def test_tile_equals_plain_numpy(outputs, residual, pooled, floor):
    rng = np.random.default_rng(outputs)
    size, column = outputs + 2, LANES + 3
    t, z, w = (rng.standard_normal(700 * LANES // 4).astype(np.float32) for _ in range(3))
    z[5 + LANES] = np.nan
    got = np.full(outputs * outputs * column + 5 * LANES, GUARD)
    expected = got.copy()
    places = (7, outputs * column + 1, column, t, 3, size * column, column, z, 5, outputs * LANES, LANES)
    more = (w, 2, 2 + LANES, residual, pooled, floor)
    finish_tile(outputs, got, *places, *more)
    winograd_finish.finish_tile_loops(outputs, expected, *places, *more)
    np.testing.assert_array_equal(got == GUARD, expected == GUARD)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)
    assert np.count_nonzero(got != GUARD) == (outputs // (2 if pooled else 1)) ** 2 * LANES


def test_result_may_replace_the_residual():
    rng = np.random.default_rng(1)
    t, w = (rng.standard_normal(36 * LANES).astype(np.float32) for _ in range(2))
    z = rng.standard_normal(16 * LANES).astype(np.float32)
    apart, places = np.empty_like(z), (0, 4 * LANES, LANES)
    more = (w, 0, LANES, 1, 0, np.float32(0))
    finish_tile(4, apart, *places, t, 0, 6 * LANES, LANES, z, *places, *more)
    finish_tile(4, z, *places, t, 0, 6 * LANES, LANES, z, *places, *more)
    np.testing.assert_array_equal(z, apart)
