"""The transforms of F(4x4, 5x5): exact identities, and vector code against plain loops."""

from fractions import Fraction

import numpy as np
import pytest

from emoref_kernels.cpu import winograd_five_tiles as tiles
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.cpu.winograd_tiles import sandwich_loops


@jit()
def five_input(out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    tiles.five_input(out, out_start, out_row, out_column, x, x_start, x_row, x_column)


@jit()
def five_input_grad(out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    tiles.five_input_grad(out, out_start, out_row, out_column, x, x_start, x_row, x_column)


@jit()
def five_output(out, out_start, out_row, out_column, x, x_start, x_row, x_column, bias, place):
    tiles.five_output(out, out_start, out_row, out_column, x, x_start, x_row, x_column, bias, place)


@jit()
def five_output_grad(out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    tiles.five_output_grad(out, out_start, out_row, out_column, x, x_start, x_row, x_column)


@jit()
def five_filter(out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    tiles.five_filter(out, out_start, out_row, out_column, x, x_start, x_row, x_column)


@jit()
def five_filter_grad(out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    tiles.five_filter_grad(out, out_start, out_row, out_column, x, x_start, x_row, x_column)


TILES = (five_input, five_input_grad, five_output, five_output_grad, five_filter, five_filter_grad)


def test_matrices_filter_exactly():
    rng = np.random.default_rng(0)
    pixels = [Fraction(int(n)) for n in rng.integers(-9, 10, tiles.SIZE)]
    taps = [Fraction(int(n)) for n in rng.integers(-9, 10, tiles.TAPS)]

    def times(matrix, values):
        return [sum(a * b for a, b in zip(row, values, strict=True)) for row in matrix]

    products = [
        a * b
        for a, b in zip(times(tiles.FILTER_MATRIX, taps), times(tiles.INPUT_MATRIX, pixels), strict=True)
    ]
    expected = [sum(taps[t] * pixels[i + t] for t in range(tiles.TAPS)) for i in range(tiles.OUTPUTS)]
    assert times(tiles.OUTPUT_MATRIX, products) == expected


@pytest.mark.parametrize("function", TILES, ids=lambda function: function.__name__)
def test_vector_code_equals_plain_loops(function):
    name = function.__name__
    matrix = tiles.LOOP_MATRICES[name]
    rng = np.random.default_rng(1)
    x, bias = (rng.standard_normal(count * LANES).astype(np.float32) for count in (100, 3))
    start = rng.standard_normal(100 * LANES).astype(np.float32)
    arguments = (LANES + 3, 9 * LANES, LANES, x, 2 * LANES + 1, 10 * LANES, LANES)
    if name == "five_output":
        arguments = (*arguments, bias, LANES + 2)
    got, expected = start.copy(), start.copy()
    function(got, *arguments)
    loops = tiles.accumulate_loops if name == "five_input_grad" else sandwich_loops
    loops(matrix, expected, *arguments)
    scale = np.abs(expected).max()
    assert np.abs(got - expected).max() < 1e-5 * scale
    written = np.zeros(start.size, dtype=bool)
    for i in range(len(matrix)):
        for j in range(len(matrix)):
            place = LANES + 3 + i * 9 * LANES + j * LANES
            written[place : place + LANES] = True
    np.testing.assert_array_equal(got[~written], start[~written])
