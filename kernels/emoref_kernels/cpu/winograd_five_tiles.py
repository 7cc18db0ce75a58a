"""Minimal filtering of 5 x 5 filters: the transforms of F(4x4, 5x5), one tile of LANES channels at a time.

The construction is that of :mod:`~emoref_kernels.cpu.winograd_tiles`, with filters of five taps:

    y = A^T [(G g G^T) * (B^T d B)] A

where g is the filter, d a tile of 8 x 8 pixels, and y its 4 x 4 outputs: 64 multiplications instead of 400.
Both gradients follow by transposing each linear step. That of the pixels is B [(G g G^T) * (A dy A^T)] B^T,
added where tiles overlap, and that of the filter G^T [(A dy A^T) * (B^T d B)] G.
"""

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from emoref_kernels.cpu.simd import INTERPRETED, LANES, integer
from emoref_kernels.cpu.winograd_tiles import (
    Matrix,
    as_floats,
    multiply_vectors,
    place_at,
    sandwich_loops,
    transposed,
    winograd_matrices,
)

__all__ = [
    "FILTER_MATRIX",
    "INPUT_MATRIX",
    "LOOP_MATRICES",
    "OUTPUTS",
    "OUTPUT_MATRIX",
    "POINTS",
    "SIZE",
    "TAPS",
    "accumulate_loops",
    "five_filter",
    "five_filter_grad",
    "five_input",
    "five_input_grad",
    "five_output",
    "five_output_grad",
]

TAPS, OUTPUTS = 5, 4
SIZE = TAPS + OUTPUTS - 1
"""Rows and columns of a tile's pixels."""

POINTS = tuple(Fraction(*pair) for pair in ((0, 1), (1, 1), (-1, 1), (2, 1), (-2, 1), (1, 2), (-1, 2)))
"""Where the polynomials are evaluated, beside infinity.

Of all pairs of opposite eighths up to 3, these had the least root mean square error in random convolutions.
A and B are exact in single precision.
"""


_VECTOR = ir.VectorType(ir.FloatType(), LANES)


OUTPUT_MATRIX, INPUT_MATRIX, FILTER_MATRIX = winograd_matrices(OUTPUTS, POINTS, TAPS)


def _product(builder: Any, matrix: Matrix, values: list[Any]) -> list[Any]:
    """Emit matrix times a column of vectors; a last row that only picks the last value is taken out."""
    pick = (*[Fraction(0)] * (len(values) - 1), Fraction(1))
    if len(matrix) == len(values) and matrix[-1] == pick:
        # The rows that are left are fewer than the columns, so that pairs of columns are found.
        return [*multiply_vectors(builder, matrix[:-1], values), values[-1]]
    return multiply_vectors(builder, matrix, values)


def _emit_sandwich(
    matrix: Matrix, accumulate: bool, context: Any, builder: Any, signature: Any, args: Any
) -> Any:
    """Emit out (+)= matrix x matrix^T (+ addend); the arguments are those of ``sandwich_loops``."""

    def data(position: int) -> Any:
        array = context.make_array(signature.args[position])(context, builder, args[position])
        return builder.gep(array.data, [args[position + 1]])

    out, x, size = data(0), data(4), len(matrix[0])
    addend = None
    if len(args) > 8:
        addend = builder.load(place_at(builder, data(8), args[6], args[7], 0, 0), align=4)
    # Loops over columns and rows: unrolled, 64 vectors would not fit the registers either, and compiling
    # them would take several times as long.
    halves = cgutils.alloca_once(builder, _VECTOR, size=len(matrix) * size)
    with cgutils.for_range(builder, integer(size)) as loop:
        column = builder.gep(x, [builder.mul(loop.index, args[7])])
        places = [place_at(builder, column, args[6], args[7], i, 0) for i in range(size)]
        values = _product(builder, matrix, [builder.load(place, align=4) for place in places])
        for i, value in enumerate(values):
            place = builder.add(loop.index, integer(i * size))
            builder.store(value, builder.gep(halves, [place]))
    with cgutils.for_range(builder, integer(len(matrix))) as loop:
        half = builder.gep(halves, [builder.mul(loop.index, integer(size))])
        values = [builder.load(builder.gep(half, [integer(j)])) for j in range(size)]
        row = builder.gep(out, [builder.mul(loop.index, args[2])])
        for j, value in enumerate(_product(builder, matrix, values)):
            place = place_at(builder, row, args[2], args[3], 0, j)
            before = builder.load(place, align=4) if accumulate else addend
            builder.store(value if before is None else builder.fadd(value, before), place, align=4)
    return context.get_dummy_value()


_FLOATS = types.Array(types.float32, 1, "C")
_ARGUMENTS = (_FLOATS, *[types.int64] * 3, _FLOATS, *[types.int64] * 3)
_SIGNATURE = types.void(*_ARGUMENTS)
_BIASED_SIGNATURE = types.void(*_ARGUMENTS, _FLOATS, types.int64)


@intrinsic
def _input(typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    return _SIGNATURE, partial(_emit_sandwich, INPUT_MATRIX, False)


@intrinsic
def _input_grad(typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    return _SIGNATURE, partial(_emit_sandwich, transposed(INPUT_MATRIX), True)


@intrinsic
def _output(typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column, bias, place):
    return _BIASED_SIGNATURE, partial(_emit_sandwich, OUTPUT_MATRIX, False)


@intrinsic
def _output_grad(typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    return _SIGNATURE, partial(_emit_sandwich, transposed(OUTPUT_MATRIX), False)


@intrinsic
def _filter(typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    return _SIGNATURE, partial(_emit_sandwich, FILTER_MATRIX, False)


@intrinsic
def _filter_grad(typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    return _SIGNATURE, partial(_emit_sandwich, transposed(FILTER_MATRIX), False)


LOOP_MATRICES = {
    "five_input": as_floats(INPUT_MATRIX),
    "five_input_grad": as_floats(INPUT_MATRIX).T,
    "five_output": as_floats(OUTPUT_MATRIX),
    "five_output_grad": as_floats(OUTPUT_MATRIX).T,
    "five_filter": as_floats(FILTER_MATRIX),
    "five_filter_grad": as_floats(FILTER_MATRIX).T,
}
"""The matrix of each function below; ``sandwich_loops`` is what they mean, all but ``five_input_grad``."""


def accumulate_loops(
    matrix: NDArray[Any], out: NDArray[Any], start: int, row: int, column: int, *x: Any
) -> None:
    """Add matrix x matrix^T to `out` in plain NumPy: the meaning of :data:`five_input_grad`."""
    size = len(matrix)
    product = np.empty(size * size * LANES, np.float32)
    sandwich_loops(matrix, product, 0, size * LANES, LANES, *x)
    for i in range(size):
        for j in range(size):
            place = start + i * row + j * column
            out[place : place + LANES] += product[(i * size + j) * LANES :][:LANES]


def _interpreted(name: str) -> Any:
    loops = accumulate_loops if name == "five_input_grad" else sandwich_loops
    return partial(loops, LOOP_MATRICES[name])


# Kernels call the intrinsics themselves: each function around one would be compiled, and optimised again.
five_input: Any = _interpreted("five_input") if INTERPRETED else _input
"""``five_input(out, out_start, out_row, out_column, x, x_start, x_row, x_column)`` is B^T d B of a tile."""

five_input_grad: Any = _interpreted("five_input_grad") if INTERPRETED else _input_grad
"""With the same arguments: adds B m B^T of 8 x 8 products to 8 x 8 pixels."""

five_output: Any = _interpreted("five_output") if INTERPRETED else _output
"""With ``bias, place`` behind them: A^T m A of 8 x 8 products, 4 x 4 pixels, plus a vector of the bias."""

five_output_grad: Any = _interpreted("five_output_grad") if INTERPRETED else _output_grad
"""A dy A^T of 4 x 4 pixels."""

five_filter: Any = _interpreted("five_filter") if INTERPRETED else _filter
"""G g G^T of 5 x 5 taps."""

five_filter_grad: Any = _interpreted("five_filter_grad") if INTERPRETED else _filter_grad
"""G^T s G of 8 x 8 sums of products, 5 x 5 taps."""
