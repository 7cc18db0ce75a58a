"""Winograd's transforms of tiles that may reach over the edge of a map, on the map where it lies.

On maps with the channels innermost a tile is read from its pixels, and written to them, without a copy. But
the tiles at the edge, which are most tiles of a small map, have pixels that do not exist. These transforms
take the part of a tile that does: what is outside counts as zero, and is not written. Otherwise they are
those of :mod:`~emoref_kernels.cpu.winograd_tiles`, bit by bit.
"""

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from emoref_kernels.cpu.fused_tile import load_lanes, place_of, store_lanes
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import INTERPRETED, LANES, integer
from emoref_kernels.cpu.winograd_tiles import (
    LOOP_MATRICES,
    OUTPUT_MATRICES,
    POINTS,
    Matrix,
    multiply_vectors,
    place_at,
    sandwich_loops,
    transposed,
    winograd_matrices,
)

__all__ = [
    "clipped_input_tile",
    "clipped_output_tile",
    "clipped_output_tile_grad",
    "read_loops",
    "write_loops",
]

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_ZERO = ir.Constant(_VECTOR, [0.0] * LANES)
_FLOATS = types.Array(types.float32, 1, "C")
_PLACES = (_FLOATS, *[types.int64] * 3) * 2
_READ_SIGNATURE = types.void(*_PLACES, *[types.int64] * 4)
_WRITE_SIGNATURE = types.void(*_PLACES, _FLOATS, *[types.int64] * 3)


def _within(builder: Any, index: int, first: Any, end: Any) -> Any:
    """Emit first <= index < end."""
    place = integer(index)
    return builder.and_(builder.icmp_signed("<=", first, place), builder.icmp_signed("<", place, end))


def _prefetch(builder: Any, pointer: Any) -> None:
    """Emit the request to bring a cache line to the first-level cache, for reading; any address will do."""
    place, number = builder.bitcast(pointer, ir.IntType(8).as_pointer()), ir.IntType(32)
    function_type = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
    function = builder.module.declare_intrinsic("llvm.prefetch", [place.type], function_type)
    builder.call(function, [place, ir.Constant(number, 0), ir.Constant(number, 3), ir.Constant(number, 1)])


def _emit_read(outputs: int, matrix: Matrix, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit out = matrix x matrix^T of the part of x that exists; see `read_loops`."""
    data = partial(place_of, context, builder, signature, args)
    out, x, size = (data(0, args[1]), args[2], args[3]), data(4, args[5]), len(matrix[0])
    zeros = cgutils.global_constant(builder, "winograd.zeros", _ZERO)
    zeros = builder.bitcast(zeros, x.type)
    # A row outside is read from zeros, again and again; a column outside is not read.
    rows, steps = [], []
    for i in range(size):
        inside = _within(builder, i, args[8], args[9])
        row = builder.gep(x, [builder.mul(args[6], integer(i))])
        rows.append(builder.select(inside, row, zeros))
        steps.append(builder.select(inside, args[7], integer(0)))
    halves = []
    around = (size - outputs) // 2
    for j in range(size):
        # The tile below will need these pixels. No prefetcher of a processor follows so many short rows.
        for i in range(size, size + outputs) if around <= j < around + outputs else ():
            _prefetch(builder, place_at(builder, x, args[6], args[7], i, j))
        before = builder.block
        with builder.if_then(_within(builder, j, args[10], args[11])):
            distances = [builder.mul(step, integer(j)) for step in steps]
            places = [builder.gep(row, [distance]) for row, distance in zip(rows, distances, strict=True)]
            column = multiply_vectors(builder, matrix, [load_lanes(builder, place) for place in places])
            inside_block = builder.block
        half = [builder.phi(_VECTOR) for _ in column]
        for phi, value in zip(half, column, strict=True):
            phi.add_incoming(_ZERO, before)
            phi.add_incoming(value, inside_block)
        halves.append(half)
    for i in range(len(matrix)):
        row = multiply_vectors(builder, matrix, [half[i] for half in halves])
        for j, value in enumerate(row):
            store_lanes(builder, value, place_at(builder, *out, i, j))
    return context.get_dummy_value()


def _emit_write(matrix: Matrix, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the part of out = matrix x matrix^T + bias that exists; see `write_loops`."""
    data = partial(place_of, context, builder, signature, args)
    out, x, size = (data(0, args[1]), args[2], args[3]), (data(4, args[5]), args[6], args[7]), len(matrix[0])
    bias = load_lanes(builder, data(8, args[9]))
    halves = []
    for j in range(size):
        column = [load_lanes(builder, place_at(builder, *x, i, j)) for i in range(size)]
        halves.append(multiply_vectors(builder, matrix, column))
    inside_rows, inside_columns = (
        [builder.icmp_signed("<", integer(i), end) for i in range(len(matrix))] for end in args[10:]
    )
    # The first pixel is written last. Until then it takes what lies outside.
    for i in reversed(range(len(matrix))):
        row = multiply_vectors(builder, matrix, [half[i] for half in halves])
        for j, value in reversed(list(enumerate(row))):
            inside = builder.and_(inside_rows[i], inside_columns[j])
            place = builder.select(inside, place_at(builder, *out, i, j), place_at(builder, *out, 0, 0))
            store_lanes(builder, builder.fadd(value, bias), place)
    return context.get_dummy_value()


_INPUT_2, _INPUT_4 = (winograd_matrices(m, POINTS[m])[1] for m in (2, 4))


@intrinsic
def _input_2(
    typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column, top, bottom, left, right
):  # fmt: skip
    return _READ_SIGNATURE, partial(_emit_read, 2, _INPUT_2)


@intrinsic
def _input_4(
    typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column, top, bottom, left, right
):  # fmt: skip
    return _READ_SIGNATURE, partial(_emit_read, 4, _INPUT_4)


@intrinsic
def _grad_2(
    typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column, top, bottom, left, right
):  # fmt: skip
    return _READ_SIGNATURE, partial(_emit_read, 2, transposed(OUTPUT_MATRICES[2]))


@intrinsic
def _grad_4(
    typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column, top, bottom, left, right
):  # fmt: skip
    return _READ_SIGNATURE, partial(_emit_read, 4, transposed(OUTPUT_MATRICES[4]))


@intrinsic
def _output_2(
    typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column, bias, place, bottom, right
):  # fmt: skip
    return _WRITE_SIGNATURE, partial(_emit_write, OUTPUT_MATRICES[2])


@intrinsic
def _output_4(
    typingctx, out, out_start, out_row, out_column, x, x_start, x_row, x_column, bias, place, bottom, right
):  # fmt: skip
    return _WRITE_SIGNATURE, partial(_emit_write, OUTPUT_MATRICES[4])


# ------------------------------------------------------------------------- the functions of the kernels


def read_loops(
    matrix: NDArray[Any],
    out: NDArray[Any],
    out_start: int,
    out_row: int,
    out_column: int,
    x: NDArray[Any],
    x_start: int,
    x_row: int,
    x_column: int,
    top: int,
    bottom: int,
    left: int,
    right: int,
) -> None:
    """Compute out = matrix x matrix^T in plain NumPy, where only a part of x exists.

    Parameters
    ----------
    matrix : ndarray of float64, 2-D
        One of :data:`~emoref_kernels.cpu.winograd_tiles.LOOP_MATRICES`.
    out, out_start, out_row, out_column, x, x_start, x_row, x_column
        As in :func:`~emoref_kernels.cpu.winograd_tiles.sandwich_loops`.
    top, bottom, left, right : int
        Value (i, j) of x is read where ``top <= i < bottom`` and ``left <= j < right``, else it is zero.
    """
    size = matrix.shape[1]
    tile = np.zeros((size, size, LANES), dtype=np.float32)
    for i in range(max(top, 0), min(bottom, size)):
        for j in range(max(left, 0), min(right, size)):
            place = x_start + i * x_row + j * x_column
            tile[i, j] = x[place : place + LANES]
    sandwich_loops(matrix, out, out_start, out_row, out_column, tile.reshape(-1), 0, size * LANES, LANES)


def write_loops(
    matrix: NDArray[Any],
    out: NDArray[Any],
    out_start: int,
    out_row: int,
    out_column: int,
    x: NDArray[Any],
    x_start: int,
    x_row: int,
    x_column: int,
    bias: NDArray[Any],
    place: int,
    bottom: int,
    right: int,
) -> None:
    """Compute out = matrix x matrix^T + bias in plain NumPy, of which only a part is written.

    Parameters
    ----------
    matrix, out, out_start, out_row, out_column, x, x_start, x_row, x_column, bias, place
        As in :func:`~emoref_kernels.cpu.winograd_tiles.sandwich_loops`.
    bottom, right : int
        Value (i, j) is written where ``i < bottom`` and ``j < right``; both are at least 1.
    """
    size = len(matrix)
    tile = np.empty(size * size * LANES, dtype=np.float32)
    sandwich_loops(matrix, tile, 0, size * LANES, LANES, x, x_start, x_row, x_column, bias, place)
    values = tile.reshape(size, size, LANES)
    for i in range(min(bottom, size)):
        for j in range(min(right, size)):
            target = out_start + i * out_row + j * out_column
            out[target : target + LANES] = values[i, j]


@jit()
def clipped_input_tile(
    outputs, out, out_start, out_row, out_column, x, x_start, x_row, x_column, top, bottom, left, right
):
    """Compute B^T d B of the part of a tile of pixels that exists, as `read_loops` says."""
    if outputs == 4:
        _input_4(out, out_start, out_row, out_column, x, x_start, x_row, x_column, top, bottom, left, right)
    else:
        _input_2(out, out_start, out_row, out_column, x, x_start, x_row, x_column, top, bottom, left, right)


@jit()
def clipped_output_tile(
    outputs, out, out_start, out_row, out_column, x, x_start, x_row, x_column, bias, place, bottom, right
):
    """Compute the part of A^T m A, plus the bias, that exists, as `write_loops` says."""
    if outputs == 4:
        _output_4(
            out, out_start, out_row, out_column, x, x_start, x_row, x_column, bias, place, bottom, right
        )
    else:
        _output_2(
            out, out_start, out_row, out_column, x, x_start, x_row, x_column, bias, place, bottom, right
        )


@jit()
def clipped_output_tile_grad(
    outputs, out, out_start, out_row, out_column, x, x_start, x_row, x_column, top, bottom, left, right
):
    """Compute A dy A^T of the part of a tile of output gradients that exists, as `read_loops` says."""
    if outputs == 4:
        _grad_4(out, out_start, out_row, out_column, x, x_start, x_row, x_column, top, bottom, left, right)
    else:
        _grad_2(out, out_start, out_row, out_column, x, x_start, x_row, x_column, top, bottom, left, right)


if INTERPRETED:

    def _interpreted(name: str, loops: Any) -> Any:
        def tile(outputs: int, *arguments: Any) -> None:
            loops(LOOP_MATRICES[name][outputs], *arguments)

        return tile

    clipped_input_tile = _interpreted("input_tile", read_loops)
    clipped_output_tile = _interpreted("output_tile", write_loops)
    clipped_output_tile_grad = _interpreted("output_tile_grad", read_loops)
