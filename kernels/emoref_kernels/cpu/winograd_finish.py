"""From the products of a Winograd tile to finished pixels, in one go.

:func:`finish_tile` does what follows a convolution while a tile's pixels are in registers: it transforms the
products, applies an affine map (bias, batch norm), adds a residual, rectifies, and perhaps takes the largest
value of each 2x2 window. Its transform is that of
:func:`~emoref_kernels.cpu.winograd_clipped.clipped_output_tile`.
"""

from functools import partial
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from emoref_kernels.cpu.fused_tile import at_least, larger_of, load_lanes, place_of
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import INTERPRETED, LANES, broadcast, integer, multiply_add
from emoref_kernels.cpu.winograd_tiles import (
    LOOP_MATRICES,
    OUTPUT_MATRICES,
    Matrix,
    multiply_vectors,
    place_at,
)

__all__ = ["finish_tile", "finish_tile_loops"]

_FLOATS = types.Array(types.float32, 1, "C")
_SIGNATURE = types.void(
    *[_FLOATS, *[types.int64] * 3] * 3, _FLOATS, *[types.int64] * 4, types.float32
)  # fmt: skip


def _emit(matrix: Matrix, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit a tile; the arguments are those of :func:`finish_tile_loops` but the first."""
    data = partial(place_of, context, builder, signature, args)
    y, t, z = ((data(i, args[i + 1]), args[i + 2], args[i + 3]) for i in (0, 4, 8))
    scale, shift = (load_lanes(builder, data(12, args[i])) for i in (13, 14))
    floor = broadcast(builder, args[17], LANES)
    is_residual, is_pooled = (builder.icmp_signed("!=", args[i], integer(0)) for i in (15, 16))
    size, rows = len(matrix[0]), len(matrix)
    halves = [
        multiply_vectors(
            builder, matrix, [builder.load(place_at(builder, *t, i, j), align=4) for i in range(size)]
        )
        for j in range(size)
    ]
    for i in range(0, rows, 2):
        cells = [(i + a, j) for a in range(2) for j in range(rows)]
        values = [
            multiply_add(builder, value, scale, shift)
            for a in range(2)
            for value in multiply_vectors(builder, matrix, [half[i + a] for half in halves])
        ]
        before = builder.block
        with builder.if_then(is_residual):
            totals = [
                builder.fadd(value, builder.load(place_at(builder, *z, *cell), align=4))
                for cell, value in zip(cells, values, strict=True)
            ]
            inside = builder.block
        phis = [builder.phi(value.type) for value in values]
        for phi, value, total in zip(phis, values, totals, strict=True):
            phi.add_incoming(value, before)
            phi.add_incoming(total, inside)
        values = [at_least(builder, phi, floor) for phi in phis]
        with builder.if_else(is_pooled) as (pooled, plain):
            with pooled:
                for j in range(0, rows, 2):
                    best = larger_of(builder, values[j], values[j + 1])
                    best = larger_of(builder, best, values[rows + j])
                    best = larger_of(builder, best, values[rows + j + 1])
                    builder.store(best, place_at(builder, *y, i // 2, j // 2), align=4)
            with plain:
                for cell, value in zip(cells, values, strict=True):
                    builder.store(value, place_at(builder, *y, *cell), align=4)
    return context.get_dummy_value()


@intrinsic
def _finish_2(
    typingctx, y, y_start, y_row, y_column, t, t_start, t_row, t_column, z, z_start, z_row, z_column, w,
    scale, shift, residual, pooled, floor,
):  # fmt: skip
    return _SIGNATURE, partial(_emit, OUTPUT_MATRICES[2])


@intrinsic
def _finish_4(
    typingctx, y, y_start, y_row, y_column, t, t_start, t_row, t_column, z, z_start, z_row, z_column, w,
    scale, shift, residual, pooled, floor,
):  # fmt: skip
    return _SIGNATURE, partial(_emit, OUTPUT_MATRICES[4])


def finish_tile_loops(
    outputs, y, y_start, y_row, y_column, t, t_start, t_row, t_column, z, z_start, z_row, z_column, w, scale,
    shift, residual, pooled, floor,
):  # fmt: skip
    """Finish one tile of LANES channels in plain NumPy: the meaning of :func:`finish_tile`.

    Parameters
    ----------
    outputs : int
        m of F(m x m, 3 x 3): 2 or 4.
    y, t, z : ndarray of float32, 1-D
        Result, products and residual; may be one array. Value (i, j) is the vector at
        ``start + i * row + j * column``.
    w : ndarray of float32, 1-D
        Holds LANES factors from `scale` on, and LANES summands from `shift` on.
    residual : int
        Not 0: z is added before rectification; else it is not read.
    pooled : int
        Not 0: the largest value of each 2x2 window is written, else every value.
    floor : float32
        What is smaller becomes this: 0 for ReLU, minus infinity for none. NaN stays.
    """
    matrix, lanes = LOOP_MATRICES["output_tile"][outputs], np.arange(LANES)

    def places(start: int, row: int, column: int, count: int) -> Any:
        i, j = np.arange(count)[:, None, None], np.arange(count)[None, :, None]
        return start + i * row + j * column + lanes

    tile = t[places(t_start, t_row, t_column, outputs + 2)].astype(np.float64)
    values = np.einsum("ik,klv,jl->ijv", matrix, tile, matrix)
    values = values * w[scale : scale + LANES] + w[shift : shift + LANES]
    if residual:
        values += z[places(z_start, z_row, z_column, outputs)]
    values = np.where(values < floor, floor, values)
    if pooled:
        half = outputs // 2
        values = values.reshape(half, 2, half, 2, LANES).max(axis=(1, 3))
    y[places(y_start, y_row, y_column, len(values))] = values


@jit(inline="always")
def _finish_compiled(
    outputs, y, y_start, y_row, y_column, t, t_start, t_row, t_column, z, z_start, z_row, z_column, w, scale,
    shift, residual, pooled, floor,
):  # fmt: skip
    if outputs == 4:
        _finish_4(
            y, y_start, y_row, y_column, t, t_start, t_row, t_column, z, z_start, z_row, z_column, w, scale,
            shift, residual, pooled, floor,
        )  # fmt: skip
    else:
        _finish_2(
            y, y_start, y_row, y_column, t, t_start, t_row, t_column, z, z_start, z_row, z_column, w, scale,
            shift, residual, pooled, floor,
        )  # fmt: skip


finish_tile: Any = finish_tile_loops if INTERPRETED else _finish_compiled
"""One finished tile; :func:`finish_tile_loops` says what each argument is."""
