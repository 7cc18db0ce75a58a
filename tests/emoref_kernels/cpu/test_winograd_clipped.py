"""Transforms of tiles that reach over the edge: those of tiles with zeros outside, bit by bit."""

import numpy as np
import pytest

from emoref_kernels.cpu import winograd_clipped, winograd_tiles
from emoref_kernels.cpu.simd import LANES

GUARD = np.float32(-12345.0)

# top, bottom, left, right
PARTS = {
    "whole": (0, 9, -3, 6),
    "corner": (1, 6, 1, 6),
    "end": (-4, 3, -8, 2),
    "one pixel": (1, 2, 1, 2),
    "nothing": (3, 2, 0, 6),
}


def read_arguments(outputs, size):
    x = np.random.default_rng(outputs).standard_normal(5 + size * (size * (LANES + 1) + 3)).astype(np.float32)
    out = np.full(4 + (outputs + 2) * ((outputs + 2) * (LANES + 2) + 5), GUARD)
    return x, out, (4, (outputs + 2) * (LANES + 2) + 5, LANES + 2), (3, size * (LANES + 1) + 3, LANES + 1)


@pytest.mark.parametrize("outputs", [2, 4])
@pytest.mark.parametrize("name", ["input_tile", "output_tile_grad"])
@pytest.mark.parametrize("part", PARTS)
def test_what_is_outside_counts_as_zero(name, part, outputs):
    size = outputs + 2 if name == "input_tile" else outputs
    top, bottom, left, right = PARTS[part]
    x, got, places, (start, row, column) = read_arguments(outputs, size)
    tile = np.zeros((size, size, LANES), dtype=np.float32)
    outside = x.copy()
    x[:] = np.nan
    for i in range(max(top, 0), min(bottom, size)):
        for j in range(max(left, 0), min(right, size)):
            place = start + i * row + j * column
            tile[i, j] = x[place : place + LANES] = outside[place : place + LANES]
    expected = got.copy()
    tile = tile.reshape(-1)
    transform = getattr(winograd_clipped, f"clipped_{name}")
    transform(outputs, expected, *places, tile, 0, size * LANES, LANES, 0, size, 0, size)
    if name == "input_tile":
        plain = expected.copy()
        winograd_tiles.input_tile(outputs, plain, *places, tile, 0, size * LANES, LANES)
        np.testing.assert_array_equal(plain, expected)
    transform(outputs, got, *places, x, start, row, column, top, bottom, left, right)
    np.testing.assert_array_equal(got, expected)
    got[:] = GUARD
    matrix = winograd_tiles.LOOP_MATRICES[name][outputs]
    winograd_clipped.read_loops(matrix, got, *places, x, start, row, column, top, bottom, left, right)
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6 * np.abs(matrix).sum(axis=1).max() ** 2)


@pytest.mark.parametrize("outputs", [2, 4])
@pytest.mark.parametrize("part", [(9, 9), (1, 1), (2, 1), (1, 3)])
def test_what_is_outside_is_not_written(part, outputs):
    rng = np.random.default_rng(outputs)
    size = outputs + 2
    x, _, _, places = read_arguments(outputs, size)
    bias = rng.standard_normal(LANES + 2).astype(np.float32)
    whole = np.empty((outputs, outputs, LANES), dtype=np.float32)
    apart = outputs * LANES, LANES
    winograd_clipped.clipped_output_tile(
        outputs, whole.reshape(-1), 0, *apart, x, *places, bias, 2, outputs, outputs
    )
    row, column = outputs * (LANES + 2) + 5, LANES + 2
    got, by_loops, expected = (np.full(4 + outputs * row, GUARD) for _ in range(3))
    for i in range(min(part[0], outputs)):
        for j in range(min(part[1], outputs)):
            place = 4 + i * row + j * column
            expected[place : place + LANES] = whole[i, j]
    winograd_clipped.clipped_output_tile(outputs, got, 4, row, column, x, *places, bias, 2, *part)
    np.testing.assert_array_equal(got, expected)
    matrix = winograd_tiles.LOOP_MATRICES["output_tile"][outputs]
    winograd_clipped.write_loops(matrix, by_loops, 4, row, column, x, *places, bias, 2, *part)
    np.testing.assert_allclose(by_loops, expected, rtol=0, atol=1e-4)
