"""Matrix multiplication on the register tiles of :mod:`emoref_kernels.cpu.simd`, and its packing of A and B.

Matrices are flat arrays with a distance between rows and one between columns, so that one function serves
a linear layer and both its gradients, whichever operand is transposed.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import add_run, copy_run, copy_strided, transpose_run
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import LANES, ROWS, TILE, multiply_panels
from emoref_kernels.cpu.winograd_cuts import ceil_div, workspace

__all__ = ["BLOCK", "flat", "matrix_multiply", "pack_panel"]

BLOCK = 128
"""Terms of the sum for which a tile of packed B is held in the first-level cache (24 KB at 48 columns)."""

_PANELS_PER_ITEM = 16
_PACK, _MULTIPLY = range(2)


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
        transpose_run(out, out_start, np.int64(ROWS), w, start + tap_offsets[0], row_stride, depth * taps)
        return
    for c in range(depth):
        source = start + c * depth_stride
        target = out_start + c * taps * ROWS
        if row_stride == 1:
            for t in range(taps):
                copy_run(out, target + t * ROWS, w, source + tap_offsets[t], min(rows, ROWS))
        elif rows >= ROWS and together:
            transpose_run(out, target, np.int64(ROWS), w, source + tap_offsets[0], row_stride, taps)
        else:
            for t in range(taps):
                copy_strided(out, target + t * ROWS, w, source + tap_offsets[t], min(rows, ROWS), row_stride)


@jit()
def _copy_block(b, start, row_stride, column_stride, rows, columns, out, out_start):
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
            transpose_run(
                out, out_start + j, np.int64(TILE), b, start + j * column_stride, column_stride, rows
            )
        for k in range(rows):
            place = start + whole * column_stride + k * row_stride
            copy_strided(out, out_start + k * TILE + whole, b, place, columns - whole, column_stride)


@jit(inline="always")
def _pack_item(item, n, a, b, offsets, packed):
    """Pack one panel of A, or one block of B behind all panels."""
    if item < n.panels:
        row = item * ROWS
        # An entry of the offsets that is 0 makes each term of the sum a tap of its own.
        pack_panel(
            a, row * n.a_row, n.a_row, n.rows - row, n.depth, n.a_k, offsets[:1], packed, row * n.depth
        )
    else:
        blocks = (n.depth + BLOCK - 1) // BLOCK
        tile, block = divmod(item - n.panels, blocks)
        column, k = tile * TILE, block * BLOCK
        _copy_block(
            b, column * n.b_column + k * n.b_k, n.b_k, n.b_column, min(BLOCK, n.depth - k),
            min(TILE, n.columns - column), packed, n.panels * ROWS * n.depth + (tile * n.depth + k) * TILE,
        )  # fmt: skip


@jit()
def _store(tile, rows, columns, bias, first_row, c, start, row_stride, column_stride):
    """Write a tile of C to its place, and add the bias of each row if there is one."""
    if column_stride == 1:
        for m in range(rows):
            addend = bias[first_row + m] if bias.size else np.float32(0.0)
            add_run(c, start + m * row_stride, tile, m * TILE, columns, addend)
    else:
        whole = rows // ROWS * ROWS if row_stride == 1 else 0
        for m in range(0, whole, ROWS):
            transpose_run(c, start + m, column_stride, tile, m * TILE, np.int64(TILE), columns)
        for j in range(columns):
            for m in range(whole, rows):
                c[start + m * row_stride + j * column_stride] = tile[m * TILE + j]
        if bias.size:
            for j in range(columns):
                for m in range(rows):
                    c[start + m * row_stride + j * column_stride] += bias[first_row + m]


@jit(inline="always")
def _multiply_item(item, n, packed, offsets, bias, c, tile):
    """Compute the rows of one item in one tile of columns."""
    column_tile, row_item = divmod(item, n.row_items)
    row = row_item * _PANELS_PER_ITEM * ROWS
    column = column_tile * TILE
    own_rows = min(_PANELS_PER_ITEM * ROWS, n.rows - row)
    own_columns = min(TILE, n.columns - column)
    for k in range(0, n.depth, BLOCK):
        multiply_panels(
            tile, 0, TILE, packed, row * n.depth + k * ROWS, n.depth * ROWS, (own_rows + ROWS - 1) // ROWS,
            packed, (n.panels * ROWS + column) * n.depth, offsets, k, min(BLOCK, n.depth - k), 1 if k else 0,
            ROWS, (own_columns + LANES - 1) // LANES,
        )  # fmt: skip
    place = row * n.c_row + column * n.c_column
    _store(tile, own_rows, own_columns, bias, row, c, place, n.c_row, n.c_column)


class _Product(NamedTuple):
    """What the kernel needs to know beside its arrays."""

    step: int  # _PACK or _MULTIPLY
    items: int  # of the step
    a_row: int
    a_k: int
    b_k: int
    b_column: int
    rows: int
    columns: int
    depth: int
    c_row: int
    c_column: int
    panels: int  # of A; its packed blocks of B lie behind them
    row_items: int


@jit()
def _part(part, parts, numbers, offsets, a, b, bias, c, packed):
    """Do a part of the items of a step."""
    keep_apart()
    s = numbers
    n = _Product(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], s[11], s[12])
    tile = np.empty(_PANELS_PER_ITEM * ROWS * TILE, np.float32)
    for item in range(n.items * part // parts, n.items * (part + 1) // parts):
        if n.step == _PACK:
            _pack_item(item, n, a, b, offsets, packed)
        else:
            _multiply_item(item, n, packed, offsets, bias, c, tile)


@lru_cache(maxsize=64)
def _tile_offsets(depth: int) -> NDArray[np.int64]:
    """Return where the rows of a packed tile of B begin."""
    return np.arange(0, depth * TILE, TILE, dtype=np.int64)


def matrix_multiply(
    a: NDArray[Any],
    a_row: int,
    a_k: int,
    b: NDArray[Any],
    b_k: int,
    b_column: int,
    rows: int,
    columns: int,
    depth: int,
    bias: NDArray[Any],
    c: NDArray[Any],
    c_row: int,
    c_column: int,
) -> None:
    """Compute C[m, j] = bias[m] + sum over k of A[m, k] * B[k, j].

    Parameters
    ----------
    a, b, c : ndarray of float32, 1-D
        A[m, k] is ``a[m * a_row + k * a_k]``, B[k, j] is ``b[k * b_k + j * b_column]``, and C[m, j] is
        written to ``c[m * c_row + j * c_column]``.
    a_row, a_k, b_k, b_column, c_row, c_column : int
        Distances, as above.
    rows, columns, depth : int
        Numbers of m, j and k, each at least 1.
    bias : ndarray of float32, 1-D
        One value a row, added after the sum; of length 0 where there is none.

    Notes
    -----
    Each element is one chain of multiply-adds in increasing k, by one thread: a row of C has the same bits
    whatever other rows, columns and threads there are.
    """
    panels, tiles = ceil_div(rows, ROWS), ceil_div(columns, TILE)
    packed = workspace.array("packed", (panels * ROWS + tiles * TILE) * depth)
    row_items = ceil_div(panels, _PANELS_PER_ITEM)
    threads, blocks = numba.get_num_threads(), ceil_div(depth, BLOCK)
    product = (a_row, a_k, b_k, b_column, rows, columns, depth, c_row, c_column, panels, row_items)
    numbers = np.array((0, 0, *product), dtype=np.int64)
    for step, items in ((_PACK, panels + tiles * blocks), (_MULTIPLY, tiles * row_items)):
        numbers[0], numbers[1] = step, items
        share(_part, min(threads, items), (numbers, _tile_offsets(depth)), (a, b, bias, c, packed))
