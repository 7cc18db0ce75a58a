"""Register-blocked multiplication of matrices that lie in memory as they are, row by row.

The tile of :mod:`emoref_kernels.cpu.simd` reads A packed into panels, and finds the rows of B in a table:
right for a convolution, where the rows of B are shifted views of an image. The Winograd kernels multiply
plain matrices that other steps wrote as rows of vectors, so here each operand has one distance between its
rows, nothing is packed, and four steps of the sum are written out one after the other::

    C[m, j] (+)= sum over k of A[k, m] * B[k, j]      m < ROWS, j < vectors * LANES

As there, each element is one chain of multiply-adds in increasing k, whatever tile it belongs to.
"""

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import (
    INT64,
    INTERPRETED,
    LANES,
    ROWS,
    VECTORS,
    broadcast,
    fma,
    integer,
    multiply_add,
)

__all__ = [
    "DEPTH_STEP",
    "TALL_ROWS",
    "multiply_plain",
    "multiply_rows",
    "multiply_rows_loops",
    "multiply_tall",
    "multiply_tall_loops",
    "multiply_turned",
]

DEPTH_STEP = 4
"""The number of terms of a sum must be a multiple of this; pad with zeros."""

TALL_ROWS = ROWS * VECTORS
"""Rows of a tile that is one vector wide, so that it has as many sums as the widest one."""

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_FLOATS = types.Array(types.float32, 1, "C")
_SIGNATURE = types.void(
    _FLOATS, types.int64, types.int64, _FLOATS, types.int64, types.int64, _FLOATS, *[types.int64] * 4
)


def _vector(builder: Any, pointer: Any, index: int) -> Any:
    return builder.bitcast(builder.gep(pointer, [integer(index * LANES)]), _VECTOR.as_pointer())


def _emit(
    rows: int, vectors: int, transposed: bool, context: Any, builder: Any, signature: Any, args: Any
) -> Any:
    """Emit one tile; the arguments are those of :func:`multiply_rows_loops` but the last two."""

    def data(position: int) -> Any:
        array_type = signature.args[position]
        return context.make_array(array_type)(context, builder, args[position]).data

    c_start, c_stride, a_start, a_stride, b_start, b_stride, k_count, accumulate = (
        args[i] for i in (1, 2, 4, 5, 7, 8, 9, 10)
    )
    c_rows = [builder.gep(data(0), [c_start])]
    a_rows = [builder.gep(data(3), [a_start])]
    b_pointer = builder.gep(data(6), [b_start])
    for _ in range(1, rows):
        c_rows.append(builder.gep(c_rows[-1], [c_stride]))
        a_rows.append(builder.gep(a_rows[-1], [a_stride]))
    cells = [(row, vector) for row in range(rows) for vector in range(vectors)]

    load_block = builder.function.append_basic_block("strided.load")
    start_block = builder.function.append_basic_block("strided.start")
    loop_block = builder.function.append_basic_block("strided.loop")
    store_block = builder.function.append_basic_block("strided.store")
    from_block = builder.block
    zero = integer(0)
    builder.cbranch(builder.icmp_signed("!=", accumulate, zero), load_block, start_block)

    builder.position_at_end(load_block)
    stored = [builder.load(_vector(builder, c_rows[row], vector), align=4) for row, vector in cells]
    builder.branch(start_block)

    builder.position_at_end(start_block)
    initial = []
    for value in stored:
        phi = builder.phi(_VECTOR)
        phi.add_incoming(ir.Constant(_VECTOR, [0.0] * LANES), from_block)
        phi.add_incoming(value, load_block)
        initial.append(phi)
    builder.branch(loop_block)

    builder.position_at_end(loop_block)
    k = builder.phi(INT64)
    sums = [builder.phi(_VECTOR) for _ in cells]
    b_phi = builder.phi(b_pointer.type)
    a_phi: Any = builder.phi(b_pointer.type) if transposed else None
    values: list[Any] = list(sums)
    b_row, a_row = b_phi, a_phi
    for step in range(DEPTH_STEP):
        b_values = [builder.load(_vector(builder, b_row, vector), align=4) for vector in range(vectors)]
        for row in range(rows):
            if transposed:
                a_place = builder.gep(a_row, [integer(row)])
            else:
                a_place = builder.gep(builder.gep(a_rows[row], [k]), [integer(step)])
            a_value = broadcast(builder, builder.load(a_place), LANES)
            for vector in range(vectors):
                cell = row * vectors + vector
                values[cell] = multiply_add(builder, a_value, b_values[vector], values[cell])
        b_row = builder.gep(b_row, [b_stride])
        if transposed:
            a_row = builder.gep(a_row, [a_stride])
    next_k = builder.add(k, integer(DEPTH_STEP))
    k.add_incoming(zero, start_block)
    k.add_incoming(next_k, loop_block)
    b_phi.add_incoming(b_pointer, start_block)
    b_phi.add_incoming(b_row, loop_block)
    if transposed:
        a_phi.add_incoming(a_rows[0], start_block)
        a_phi.add_incoming(a_row, loop_block)
    for phi, before, after in zip(sums, initial, values, strict=True):
        phi.add_incoming(before, start_block)
        phi.add_incoming(after, loop_block)
    builder.cbranch(builder.icmp_signed("<", next_k, k_count), loop_block, store_block)

    builder.position_at_end(store_block)
    for (row, vector), value in zip(cells, values, strict=True):
        builder.store(value, _vector(builder, c_rows[row], vector), align=4)
    return context.get_dummy_value()


@intrinsic
def _plain_1(
    typingctx, c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate
):
    return _SIGNATURE, partial(_emit, ROWS, 1, False)


@intrinsic
def _plain_2(
    typingctx, c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate
):
    return _SIGNATURE, partial(_emit, ROWS, 2, False)


@intrinsic
def _plain_3(
    typingctx, c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate
):
    return _SIGNATURE, partial(_emit, ROWS, 3, False)


@intrinsic
def _tall(typingctx, c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate):
    return _SIGNATURE, partial(_emit, TALL_ROWS, 1, False)


@intrinsic
def _turned_1(
    typingctx, c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate
):
    return _SIGNATURE, partial(_emit, ROWS, 1, True)


@intrinsic
def _turned_2(
    typingctx, c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate
):
    return _SIGNATURE, partial(_emit, ROWS, 2, True)


@intrinsic
def _turned_3(
    typingctx, c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate
):
    return _SIGNATURE, partial(_emit, ROWS, 3, True)


@jit()
def multiply_rows_loops(
    c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate, transposed, vectors
):
    """Multiply one tile in plain loops: the meaning of :func:`multiply_rows`.

    Parameters
    ----------
    c : ndarray of float32, 1-D
        Holds the result: C[m, j] is ``c[c_start + m * c_stride + j]``.
    c_start, c_stride : int
        Place of row 0, and distance of the rows.
    a : ndarray of float32, 1-D
        A[k, m] is ``a[a_start + m * a_stride + k]``, or with `transposed`
        ``a[a_start + k * a_stride + m]``.
    a_start, a_stride : int
        Place of A[0, 0], and distance of the rows.
    b : ndarray of float32, 1-D
        B[k, j] is ``b[b_start + k * b_stride + j]``.
    b_start, b_stride : int
        Place of B[0, 0], and distance of the rows.
    k_count : int
        Number of terms, a positive multiple of :data:`DEPTH_STEP`.
    accumulate : int
        0 starts each sum from zero, 1 from what `c` holds.
    transposed : int
        Whether the rows of `a` belong to the values of k (1), or of m (0).
    vectors : int
        Width of the tile in vectors, 1 to 3.
    """
    row, step = (1, a_stride) if transposed else (a_stride, 1)
    _multiply_loops(
        c, c_start, c_stride, a, a_start, row, step, b, b_start, b_stride, k_count, accumulate, ROWS, vectors
    )


@jit()
def _multiply_loops(
    c, c_start, c_stride, a, a_start, a_row, a_step, b, b_start, b_stride, k_count, accumulate, rows, vectors
):
    for m in range(rows):
        for j in range(vectors * LANES):
            place = c_start + m * c_stride + j
            total = c[place] if accumulate else np.float32(0.0)
            for k in range(k_count):
                total = fma(a[a_start + m * a_row + k * a_step], b[b_start + k * b_stride + j], total)
            c[place] = total


@jit()
def multiply_tall_loops(
    c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate
):
    """Multiply TALL_ROWS rows by one vector in plain loops: the meaning of :func:`multiply_tall`.

    The arguments are those of :func:`multiply_rows_loops`, for an A that is not transposed.
    """
    _multiply_loops(
        c, c_start, c_stride, a, a_start, a_stride, 1, b, b_start, b_stride, k_count, accumulate, TALL_ROWS, 1
    )


@jit(inline="always")
def _plain_compiled(
    c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate, vectors
):
    if vectors == 1:
        _plain_1(c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate)
    elif vectors == 2:
        _plain_2(c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate)
    else:
        _plain_3(c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate)


@jit()
def _plain_interpreted(
    c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate, vectors
):
    multiply_rows_loops(
        c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate, 0, vectors
    )


# Kernels call the intrinsics themselves: a call with three arrays costs as much as a tile of few terms.
multiply_plain: Any = _plain_interpreted if INTERPRETED else _plain_compiled
"""As :func:`multiply_rows` without `transposed`, compiled into its caller."""

multiply_tall: Any = multiply_tall_loops if INTERPRETED else _tall
"""TALL_ROWS rows by one vector; :func:`multiply_tall_loops` says what each argument is."""


@jit(inline="always")
def _turned_compiled(
    c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate, vectors
):
    if vectors == 1:
        _turned_1(c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate)
    elif vectors == 2:
        _turned_2(c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate)
    else:
        _turned_3(c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate)


@jit()
def _turned_interpreted(
    c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate, vectors
):
    multiply_rows_loops(
        c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate, 1, vectors
    )


multiply_turned: Any = _turned_interpreted if INTERPRETED else _turned_compiled
"""As :func:`multiply_rows` with `transposed`, compiled into its caller."""


@jit()
def multiply_rows(
    c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate, transposed, vectors
):
    """Multiply one tile in vector registers; :func:`multiply_rows_loops` says what each argument is.

    Nothing checks the places: all ROWS rows and all vectors * LANES columns are read and written.
    """
    if transposed:
        multiply_turned(
            c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate, vectors
        )
    else:
        multiply_plain(
            c, c_start, c_stride, a, a_start, a_stride, b, b_start, b_stride, k_count, accumulate, vectors
        )


if INTERPRETED:
    multiply_rows = multiply_rows_loops
