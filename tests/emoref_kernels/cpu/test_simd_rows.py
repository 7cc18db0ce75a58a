"""The tile of rows and turned values, bit for bit against plain loops."""

import numpy as np
import pytest

from emoref_kernels.cpu import simd_rows
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import LANES, ROWS
from emoref_kernels.cpu.simd_rows import ROW_VECTORS, RowTile


@jit()
def compute(c, a, b, tile, vectors):
    simd_rows.row_tile(c, a, b, tile, vectors)


@pytest.mark.parametrize("vectors", range(1, ROW_VECTORS + 1))
@pytest.mark.parametrize(("images", "pixels"), [(1, 1), (1, 19), (3, 8)])
def test_the_tile_equals_plain_loops(vectors, images, pixels):
    rng = np.random.default_rng(0)
    c_row, a_row, b_row = 3 * LANES + 1, 61, 2 * LANES + 3
    c, a, b = (
        rng.standard_normal(size).astype(np.float32)
        for size in (ROWS * c_row + 20, 700 + ROWS * a_row, images * pixels * b_row + 2 * LANES + 20)
    )
    tile = RowTile(11, c_row, 5, a_row, 7, b_row, images, 200, pixels, 0)
    got, expected = c.copy(), c.copy()
    compute(got, a, b, tile, vectors)
    simd_rows.LOOPS["row_tile"](expected, a, b, tile, vectors)
    np.testing.assert_array_equal(got, expected)
    written = {11 + m * c_row + j for m in range(ROWS) for j in range(vectors * LANES)}
    untouched = [i for i in range(c.size) if i not in written]
    np.testing.assert_array_equal(got[untouched], c[untouched])
