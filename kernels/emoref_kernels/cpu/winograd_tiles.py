"""Minimal filtering: the transforms of the Winograd convolution, one tile of LANES channels at a time.

Winograd (1980) showed that m outputs of a filter of r taps need only m + r - 1 multiplications, F(m, r).
Lavin and Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016), section 4, nest it with
itself for images: with matrices A, B and G,

    y = A^T [(G g G^T) * (B^T d B)] A                                                        (their eq. 8)

where g is the 3 x 3 filter, d a tile of (m + 2)^2 pixels, y its m^2 outputs, and * goes value by value. The
gradient of g given that of y follows by transposing each linear step: G^T [(A dy A^T) * (B^T d B)] G.

All transforms are products T x T^T, so one emitter writes them all. It reads a matrix, finds the
pairs of rows or columns that differ by signs only (the points a and -a), computes what they share once, and
unrolls the rest into vector instructions.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import INTERPRETED, LANES, integer, multiply_add

__all__ = [
    "LOOP_MATRICES",
    "OUTPUT_MATRICES",
    "POINTS",
    "Matrix",
    "as_floats",
    "filter_tile",
    "filter_tile_grad",
    "input_tile",
    "multiply_vectors",
    "place_at",
    "sandwich_loops",
    "transposed",
    "winograd_matrices",
]

Matrix = tuple[tuple[Fraction, ...], ...]

POINTS: dict[int, tuple[Fraction, ...]] = {
    2: (Fraction(0), Fraction(1), Fraction(-1)),
    4: (Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2)),
}
"""Where F(m, 3) evaluates its polynomials, by m; infinity is one more point.

Lavin and Gray take 0, 1, -1, 2, -2 for m = 4. emoref's own choice, not published, has powers nearer to 1:
the largest error of a random convolution is a third of theirs, at no cost. All powers are dyadic
fractions, so that A and B are exact in single precision.
"""


def transposed(matrix: Matrix) -> Matrix:
    """Return the transpose."""
    return tuple(zip(*matrix, strict=True))


def _times_linear(polynomial: list[Fraction], root: Fraction) -> list[Fraction]:
    """Multiply a polynomial (lowest power first) by (x - root)."""
    shifted = [Fraction(0), *polynomial]
    return [s - root * p for s, p in zip(shifted, [*polynomial, Fraction(0)], strict=True)]


def winograd_matrices(
    outputs: int, points: Sequence[Fraction], taps: int = 3
) -> tuple[Matrix, Matrix, Matrix]:
    """Return the exact matrices A^T, B^T and G of F(outputs, taps) for a choice of points.

    The Toom-Cook construction: polynomials are evaluated at the points and at infinity, multiplied there,
    and interpolated; B^T and A^T are the transposes of interpolation and evaluation.

    Parameters
    ----------
    outputs : int
        Outputs of a tile along one axis.
    points : sequence of Fraction
        outputs + taps - 2 different numbers.
    taps : int
        Taps of the filter.

    Returns
    -------
    output_matrix : outputs rows, outputs + taps - 1 columns
        A^T.
    input_matrix : outputs + taps - 1 rows and columns
        B^T.
    filter_matrix : outputs + taps - 1 rows, taps columns
        G.
    """
    zero, one = Fraction(0), Fraction(1)
    output_rows = [[point**i for point in points] + [zero] for i in range(outputs)]
    output_rows[-1][-1] = one
    input_rows, filter_rows = [], []
    whole = [one]
    for j, point in enumerate(points):
        whole = _times_linear(whole, point)
        others, scale = [one], one
        for other in (*points[:j], *points[j + 1 :]):
            others = _times_linear(others, other)
            scale *= point - other
        input_rows.append((*others, zero))
        filter_rows.append(tuple(point**i / scale for i in range(taps)))
    input_rows.append(tuple(whole))
    filter_rows.append((*[zero] * (taps - 1), one))
    return tuple(tuple(row) for row in output_rows), tuple(input_rows), tuple(filter_rows)


# ------------------------------------------------------------------------------------------ the emitter

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)


def _constant(value: Fraction) -> Any:
    return ir.Constant(_VECTOR, [float(np.float32(float(value)))] * LANES)


def _combine(builder: Any, terms: list[tuple[Fraction, Any]]) -> Any:
    """Emit the sum of coefficient times value; None where all coefficients are zero."""
    wanted = [(coefficient, value) for coefficient, value in terms if coefficient]
    if not wanted:
        return None
    wanted.sort(key=lambda term: (term[0] != 1, abs(term[0]) != 1))
    coefficient, total = wanted[0]
    if coefficient != 1:
        total = builder.fmul(_constant(coefficient), total)
    for coefficient, value in wanted[1:]:
        if coefficient == 1:
            total = builder.fadd(total, value)
        elif coefficient == -1:
            total = builder.fsub(total, value)
        else:
            total = multiply_add(builder, _constant(coefficient), value, total)
    return total


def _mirrored(first: Sequence[Fraction], second: Sequence[Fraction]) -> bool:
    """Tell whether two rows differ in the signs of some values, and in nothing else."""
    pairs = list(zip(first, second, strict=True))
    return all(abs(a) == abs(b) for a, b in pairs) and any(a != b for a, b in pairs)


def multiply_vectors(builder: Any, matrix: Matrix, values: list[Any]) -> list[Any]:
    """Emit matrix times a column of vectors."""
    columns = transposed(matrix)
    for j in range(len(columns) - 1):
        if len(matrix) < len(columns) and _mirrored(columns[j], columns[j + 1]):
            return _with_column_pair(builder, matrix, values, j)
    results: list[Any] = []
    while len(results) < len(matrix):
        row = matrix[len(results)]
        following = matrix[len(results) + 1] if len(results) + 1 < len(matrix) else None
        if following is not None and _mirrored(row, following):
            terms = list(zip(row, following, values, strict=True))
            even = _combine(builder, [(a, value) for a, b, value in terms if a == b])
            odd = _combine(builder, [(a, value) for a, b, value in terms if a != b])
            results += [builder.fadd(even, odd), builder.fsub(even, odd)]
        else:
            results.append(_combine(builder, list(zip(row, values, strict=True))))
    return results


def _with_column_pair(builder: Any, matrix: Matrix, values: list[Any], j: int) -> list[Any]:
    """Emit the product where columns j and j + 1 differ by signs: their sum or difference meets each row."""
    both = (builder.fadd(values[j], values[j + 1]), builder.fsub(values[j], values[j + 1]))
    rows = []
    for row in matrix:
        same = row[j] == row[j + 1]
        pair = (row[j], Fraction(0)) if same else (Fraction(0), row[j])
        rows.append((*row[:j], *row[j + 2 :], *pair))
    return multiply_vectors(builder, tuple(rows), [*values[:j], *values[j + 2 :], *both])


def place_at(builder: Any, pointer: Any, row: Any, column: Any, i: int, j: int) -> Any:
    """Emit the pointer to vector (i, j) of a tile whose rows and columns are so far apart."""
    offset = builder.add(builder.mul(row, integer(i)), builder.mul(column, integer(j)))
    return builder.bitcast(builder.gep(pointer, [offset]), _VECTOR.as_pointer())


def _emit_sandwich(matrix: Matrix, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit out = matrix x matrix^T; the arguments are those of :func:`sandwich_loops` without a bias."""

    def data(position: int) -> Any:
        array = context.make_array(signature.args[position])(context, builder, args[position])
        return builder.gep(array.data, [args[position + 1]])

    out, out_row, out_column = data(0), args[2], args[3]
    x, x_row, x_column = data(4), args[6], args[7]
    size = len(matrix[0])
    halves = []
    for j in range(size):
        column = [builder.load(place_at(builder, x, x_row, x_column, i, j), align=4) for i in range(size)]
        halves.append(multiply_vectors(builder, matrix, column))
    for i in range(len(matrix)):
        row = multiply_vectors(builder, matrix, [half[i] for half in halves])
        for j, value in enumerate(row):
            builder.store(value, place_at(builder, out, out_row, out_column, i, j), align=4)
    return context.get_dummy_value()


_FLOATS = types.Array(types.float32, 1, "C")
_ARGUMENTS = (_FLOATS, *[types.int64] * 3, _FLOATS, *[types.int64] * 3)
_SIGNATURE = types.void(*_ARGUMENTS)

_OUTPUT_2, _INPUT_2, _FILTER_2 = winograd_matrices(2, POINTS[2])
_OUTPUT_4, _INPUT_4, _FILTER_4 = winograd_matrices(4, POINTS[4])

OUTPUT_MATRICES = {2: _OUTPUT_2, 4: _OUTPUT_4}
"""A^T in exact numbers, by the outputs of a tile."""


@intrinsic
def _input_2(typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    return _SIGNATURE, partial(_emit_sandwich, _INPUT_2)


@intrinsic
def _input_4(typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    return _SIGNATURE, partial(_emit_sandwich, _INPUT_4)


@intrinsic
def _filter_2(typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    return _SIGNATURE, partial(_emit_sandwich, _FILTER_2)


@intrinsic
def _filter_4(typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    return _SIGNATURE, partial(_emit_sandwich, _FILTER_4)


@intrinsic
def _filter_grad_2(typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    return _SIGNATURE, partial(_emit_sandwich, transposed(_FILTER_2))


@intrinsic
def _filter_grad_4(typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    return _SIGNATURE, partial(_emit_sandwich, transposed(_FILTER_4))


# ------------------------------------------------------------------------- the functions of the kernels


def sandwich_loops(
    matrix: NDArray[Any],
    out: NDArray[Any],
    out_start: int,
    out_row: int,
    out_column: int,
    x: NDArray[Any],
    x_start: int,
    x_row: int,
    x_column: int,
    bias: NDArray[Any] | None = None,
    place: int = 0,
) -> None:
    """Compute out = matrix x matrix^T (+ bias) in plain NumPy: the meaning of the tile functions.

    Value (i, j) of `x` is the vector of LANES floats at ``x_start + i * x_row + j * x_column``, and likewise
    for `out`; `bias` is the vector at `place`, added to every value.
    """
    size = matrix.shape[1]
    lanes = np.arange(LANES)
    rows, columns = np.arange(size)[:, None, None], np.arange(size)[None, :, None]
    tile = x[x_start + rows * x_row + columns * x_column + lanes].astype(np.float64)
    result = np.einsum("ik,klv,jl->ijv", matrix, tile, matrix)
    if bias is not None:
        result += bias[place : place + LANES]
    rows, columns = np.arange(len(matrix))[:, None, None], np.arange(len(matrix))[None, :, None]
    out[out_start + rows * out_row + columns * out_column + lanes] = result


def as_floats(matrix: Matrix) -> NDArray[Any]:
    """Return the matrix as an array of float64."""
    return np.array([[float(value) for value in row] for row in matrix])


LOOP_MATRICES = {
    "input_tile": {2: as_floats(_INPUT_2), 4: as_floats(_INPUT_4)},
    "output_tile": {2: as_floats(_OUTPUT_2), 4: as_floats(_OUTPUT_4)},
    "output_tile_grad": {2: as_floats(_OUTPUT_2).T, 4: as_floats(_OUTPUT_4).T},
    "filter_tile": {2: as_floats(_FILTER_2), 4: as_floats(_FILTER_4)},
    "filter_tile_grad": {2: as_floats(_FILTER_2).T, 4: as_floats(_FILTER_4).T},
}
"""The matrix of each transform, by the outputs of a tile; those of outputs are in other modules."""


@jit(inline="always")
def input_tile(outputs, out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    """Compute B^T d B of one tile of pixels; :func:`sandwich_loops` says what each argument is."""
    if outputs == 4:
        _input_4(out, out_start, out_row, out_column, x, x_start, x_row, x_column)
    else:
        _input_2(out, out_start, out_row, out_column, x, x_start, x_row, x_column)


@jit(inline="always")
def filter_tile(outputs, out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    """Compute G g G^T of one filter of 3 x 3 taps."""
    if outputs == 4:
        _filter_4(out, out_start, out_row, out_column, x, x_start, x_row, x_column)
    else:
        _filter_2(out, out_start, out_row, out_column, x, x_start, x_row, x_column)


@jit(inline="always")
def filter_tile_grad(outputs, out, out_start, out_row, out_column, x, x_start, x_row, x_column):
    """Compute G^T s G, the 3 x 3 gradient of a filter from its sums of products."""
    if outputs == 4:
        _filter_grad_4(out, out_start, out_row, out_column, x, x_start, x_row, x_column)
    else:
        _filter_grad_2(out, out_start, out_row, out_column, x, x_start, x_row, x_column)


if INTERPRETED:

    def _interpreted(name: str) -> Any:
        def tile(outputs: int, *arguments: Any) -> None:
            sandwich_loops(LOOP_MATRICES[name][outputs], *arguments)

        return tile

    input_tile = _interpreted("input_tile")
    filter_tile, filter_tile_grad = _interpreted("filter_tile"), _interpreted("filter_tile_grad")
