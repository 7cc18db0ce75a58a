"""The transforms of minimal filtering: their algebra in exact numbers, and the emitted code."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels.cpu import winograd_tiles
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.cpu.winograd_tiles import LOOP_MATRICES, POINTS, sandwich_loops, winograd_matrices

GUARD = np.float32(-12345.0)


def times(matrix, vector):
    return [sum((a * b for a, b in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]


@pytest.mark.parametrize("outputs", [2, 4])
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_minimal_filtering_is_exact_in_fractions(outputs, data):
    numbers = st.fractions(min_value=-9, max_value=9, max_denominator=7)
    pixels = data.draw(st.lists(numbers, min_size=outputs + 2, max_size=outputs + 2))
    taps = data.draw(st.lists(numbers, min_size=3, max_size=3))
    output_matrix, input_matrix, filter_matrix = winograd_matrices(outputs, POINTS[outputs])
    products = [a * b for a, b in zip(times(input_matrix, pixels), times(filter_matrix, taps), strict=True)]
    expected = [sum(pixels[i + t] * taps[t] for t in range(3)) for i in range(outputs)]
    assert times(output_matrix, products) == expected


def test_matrices_of_two_outputs_are_those_of_the_paper():
    # Lavin and Gray (2016), eq. 6; they write the last row of B^T, and column of A^T, with the other sign.
    output_matrix, input_matrix, filter_matrix = winograd_matrices(2, POINTS[2])
    assert [abs(value) for row in output_matrix for value in row] == [1, 1, 1, 0, 0, 1, 1, 1]
    assert [[abs(value) for value in row] for row in input_matrix] == [
        [1, 0, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 1],
    ]  # fmt: skip
    half = Fraction(1, 2)
    assert [[abs(value) for value in row] for row in filter_matrix] == [
        [1, 0, 0], [half, half, half], [half, half, half], [0, 0, 1],
    ]  # fmt: skip


@pytest.mark.parametrize("outputs", [2, 4])
@pytest.mark.parametrize("name", ["input_tile", "filter_tile", "filter_tile_grad"])
def test_emitted_transform_equals_the_matrix_product(name, outputs):
    rng = np.random.default_rng(outputs)
    matrix = LOOP_MATRICES[name][outputs]
    rows, size = matrix.shape
    x = rng.standard_normal(5 + size * (size * (LANES + 1) + 3)).astype(np.float32)
    got = np.full(9 + rows * (rows * (LANES + 2) + 5), GUARD, dtype=np.float32)
    expected = got.copy()
    arguments = (4, rows * (LANES + 2) + 5, LANES + 2, x, 3, size * (LANES + 1) + 3, LANES + 1)
    getattr(winograd_tiles, name)(outputs, got, *arguments)
    sandwich_loops(matrix, expected, *arguments)
    np.testing.assert_array_equal(got == GUARD, expected == GUARD)
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6 * np.abs(matrix).sum(axis=1).max() ** 2)
