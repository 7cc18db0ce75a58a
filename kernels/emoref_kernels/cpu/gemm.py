"""Matrix multiplication on the register tiles of :mod:`emoref_kernels.cpu.simd`, and its packing of A and B.

Matrices are flat arrays with a distance between rows and one between columns, so that one function serves
a linear layer and both its gradients, whichever operand is transposed.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import add_run, copy_run, copy_strided, transpose_run
from emoref_kernels.cpu.simd import LANES, ROWS, TILE, multiply_panels

__all__ = ["BLOCK", "copy_block", "flat", "matrix_multiply", "pack_panel", "tile_offsets"]

BLOCK = 128
"""Terms of the sum for which a tile of packed B is held in the first-level cache (24 KB at 48 columns)."""

_PANELS_PER_ITEM = 16
_NO_OFFSETS = np.zeros(1, dtype=np.int64)


def flat(array: NDArray[Any]) -> NDArray[Any]:
    """Return a float32 array as the 1-D, C-contiguous, writeable array that every compiled kernel takes.

    It is a view, unless the array is strided, misaligned or read-only; one kind of argument means that
    each kernel is compiled once.
    """
    return (array if array.flags.carray else array.copy(order="C")).reshape(-1)


@jit()
def pack_panel(w, start, row_stride, rows, depth, depth_stride, tap_offsets, out, out_start):
    """Copy up to ROWS rows of A side by side, so that one step of the sum reads ROWS neighbours.

    The term with channel c and tap t of row m is
    ``w[start + m * row_stride + c * depth_stride + tap_offsets[t]]``; it goes to
    ``out[out_start + (c * taps + t) * ROWS + m]``. Missing rows are filled with zeros.
    """
    taps = tap_offsets.size
    if rows < ROWS:
        for k in range(depth * taps * ROWS):
            out[out_start + k] = 0.0
    together = tap_offsets[taps - 1] - tap_offsets[0] == taps - 1
    if rows >= ROWS and together and depth_stride == taps:
        transpose_run(out, out_start, ROWS, w, start + tap_offsets[0], row_stride, depth * taps)
        return
    for c in range(depth):
        source = start + c * depth_stride
        target = out_start + c * taps * ROWS
        if rows >= ROWS and together:
            transpose_run(out, target, ROWS, w, source + tap_offsets[0], row_stride, taps)
        else:
            for t in range(taps):
                copy_strided(out, target + t * ROWS, w, source + tap_offsets[t], min(rows, ROWS), row_stride)


@jit()
def copy_block(b, start, row_stride, column_stride, rows, columns, out, out_start):
    """Copy `rows` by `columns` values of B into rows of TILE, with zeros up to a whole vector."""
    width = (columns + LANES - 1) // LANES * LANES
    if columns < width:
        for k in range(rows):
            for j in range(columns, width):
                out[out_start + k * TILE + j] = 0.0
    if column_stride == 1:
        for k in range(rows):
            copy_run(out, out_start + k * TILE, b, start + k * row_stride, columns)
    else:
        whole = columns // ROWS * ROWS if row_stride == 1 else 0
        for j in range(0, whole, ROWS):
            transpose_run(out, out_start + j, TILE, b, start + j * column_stride, column_stride, rows)
        for k in range(rows):
            place = start + whole * column_stride + k * row_stride
            copy_strided(out, out_start + k * TILE + whole, b, place, columns - whole, column_stride)


@jit()
def tile_offsets(rows):
    """Return the row offsets of a packed block of B."""
    offsets = np.empty(rows, np.int64)
    for k in range(rows):
        offsets[k] = k * TILE
    return offsets


@jit()
def _pack_item(
    item, a, a_row, a_k, rows, panels, b, b_k, b_column, columns, depth, offsets, packed_a, packed_b
):
    """Pack one panel of A, or one block of B."""
    if item < panels:
        row = item * ROWS
        pack_panel(a, row * a_row, a_row, rows - row, depth, a_k, offsets, packed_a, row * depth)
    else:
        blocks = (depth + BLOCK - 1) // BLOCK
        tile, block = divmod(item - panels, blocks)
        column, k = tile * TILE, block * BLOCK
        copy_block(
            b,
            column * b_column + k * b_k,
            b_k,
            b_column,
            min(BLOCK, depth - k),
            min(TILE, columns - column),
            packed_b,
            (tile * depth + k) * TILE,
        )


@jit()
def _store(tile, rows, columns, bias, first_row, c, start, row_stride, column_stride):
    """Write a tile of C to its place, and add the bias of each row if there is one."""
    if column_stride == 1:
        for m in range(rows):
            addend = bias[first_row + m] if bias.size else np.float32(0.0)
            add_run(c, start + m * row_stride, tile, m * TILE, columns, addend)
        return
    whole = rows // ROWS * ROWS if row_stride == 1 else 0
    for m in range(0, whole, ROWS):
        transpose_run(c, start + m, column_stride, tile, m * TILE, TILE, columns)
    for j in range(columns):
        for m in range(whole, rows):
            c[start + m * row_stride + j * column_stride] = tile[m * TILE + j]
    if bias.size:
        for j in range(columns):
            for m in range(rows):
                c[start + m * row_stride + j * column_stride] += bias[first_row + m]


@jit()
def _multiply_item(
    item, row_items, packed_a, packed_b, offsets, rows, columns, depth, bias, c, c_row, c_column
):
    """Compute the rows of one item in one tile of columns."""
    column_tile, row_item = divmod(item, row_items)
    row = row_item * _PANELS_PER_ITEM * ROWS
    column = column_tile * TILE
    own_rows = min(_PANELS_PER_ITEM * ROWS, rows - row)
    own_columns = min(TILE, columns - column)
    panels = (own_rows + ROWS - 1) // ROWS
    vectors = (own_columns + LANES - 1) // LANES
    tile = np.empty(panels * ROWS * TILE, np.float32)
    for k in range(0, depth, BLOCK):
        multiply_panels(
            tile,
            0,
            TILE,
            packed_a,
            row * depth + k * ROWS,
            depth * ROWS,
            panels,
            packed_b,
            column * depth,
            offsets,
            k,
            min(BLOCK, depth - k),
            1 if k else 0,
            ROWS,
            vectors,
        )
    _store(tile, own_rows, own_columns, bias, row, c, row * c_row + column * c_column, c_row, c_column)


@jit(parallel=True)
def matrix_multiply(a, a_row, a_k, b, b_k, b_column, rows, columns, depth, bias, c, c_row, c_column):
    """Compute C[m, j] = bias[m] + sum over k of A[m, k] * B[k, j].

    Parameters
    ----------
    a, b, c : ndarray of float32, 1-D
        A[m, k] is ``a[m * a_row + k * a_k]``, B[k, j] is ``b[k * b_k + j * b_column]``, and C[m, j] is
        written to ``c[m * c_row + j * c_column]``.
    rows, columns, depth : int
        Numbers of m, j and k, each at least 1.
    bias : ndarray of float32, 1-D
        One value a row, added after the sum; of length 0 where there is none.

    Notes
    -----
    Each element is one chain of multiply-adds in increasing k, by one thread: a row of C has the same bits
    whatever other rows, columns and threads there are.
    """
    # np.int64(item): the index of a parallel loop is unsigned, and Numba makes unsigned // signed a float.
    panels = (rows + ROWS - 1) // ROWS
    tiles = (columns + TILE - 1) // TILE
    packed_a = np.empty(panels * depth * ROWS, np.float32)
    packed_b = np.empty(tiles * depth * TILE, np.float32)
    for item in numba.prange(panels + tiles * ((depth + BLOCK - 1) // BLOCK)):
        _pack_item(
            np.int64(item),
            a,
            a_row,
            a_k,
            rows,
            panels,
            b,
            b_k,
            b_column,
            columns,
            depth,
            _NO_OFFSETS,
            packed_a,
            packed_b,
        )
    offsets = tile_offsets(depth)
    row_items = (panels + _PANELS_PER_ITEM - 1) // _PANELS_PER_ITEM
    for item in numba.prange(tiles * row_items):
        _multiply_item(
            np.int64(item),
            row_items,
            packed_a,
            packed_b,
            offsets,
            rows,
            columns,
            depth,
            bias,
            c,
            c_row,
            c_column,
        )
