"""Dense convolution of channels-last maps and the gradient of its input, as matrix products without copies.

A row of the product is a pixel of the map that is written, a column one of its channels. The left operand is
read where it lies (:mod:`~emoref_kernels.cpu.maps_direct_plan` says which pixels share their terms), the
weights are packed once, tile by tile of columns, in the order in which they are read. A piece of work is
some tiles of pixels, small enough to stay in a cache while all columns of weights pass by.

Each result is one chain of fused multiply-adds from zero, plus the bias: forward over the rows of the kernel,
its columns and the channels, all rising; in the gradient over the rows and columns of the kernel, falling,
and the filters, rising. Taps on the padding are left out. Neither the batch nor the threads change its bits.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.gemm import flat
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.maps_direct_plan import Case, Plan, Segment, Work, make_plan
from emoref_kernels.cpu.maps_direct_tile import TILE_VECTORS, DirectTile, direct_tile, tile_rows
from emoref_kernels.cpu.runs import add_strided, copy_run, copy_strided, transpose_run
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import LANES, ROWS
from emoref_kernels.cpu.winograd_cuts import whole, workspace

__all__ = ["direct_conv", "direct_input_grad", "direct_pieces", "prepare"]

_NO_BIAS = np.zeros(0, dtype=np.float32)
_ZERO = np.float32(0)
_SEGMENT = len(Segment._fields)


# ---------------------------------------------------------------------------------------------- weights

# Functions with a single caller are copied into it: each compiled one is compiled again within its callers.


@jit(inline="always")
def _pack_forward(w, start, terms, taps, depth, count, out, target, width):
    """Pack `count` filters side by side: term (tap, channel) of filter m goes to column m of its row."""
    inner, outer = (depth, 1) if taps == 1 else (taps, depth)
    step = width if taps == 1 else depth * width
    blocks = count // ROWS * ROWS
    for m in range(0, blocks, ROWS):
        for k in range(outer):
            source = start + m * terms + k * inner
            transpose_run(out, target + m + k * width, step, w, source, terms, inner)
    for m in range(blocks, count):
        for k in range(outer):
            add_strided(out, target + m + k * width, w, start + m * terms + k * inner, inner, step, _ZERO)


@jit(inline="always")
def _pack_gradient(w, start, terms, taps, depth, count, tap_blocks, out, target, width):
    """Pack `count` channels side by side: term (tap, filter) of channel m goes to column m of its row."""
    first, step = tap_blocks[0], tap_blocks[1] - tap_blocks[0]
    blocks = count // ROWS * ROWS
    for tap in range(taps):
        # At a stride the taps do not follow one another at equal distances.
        if tap_blocks[tap] != first + tap * step:
            blocks = 0
    for k in range(depth):
        source, place = start + k * terms, target + k * width
        for m in range(0, blocks, ROWS):
            row = place + first * depth * width + m
            transpose_run(out, row, step * depth * width, w, source + m * taps, taps, taps)
        if blocks < count:
            source += blocks * taps
            for tap in range(taps):
                row = place + tap_blocks[tap] * depth * width + blocks
                copy_strided(out, row, w, source + tap, count - blocks, taps)


@jit()
def _tile_columns(columns, t):
    """Return the first column of a tile and the one behind its last, in whole vectors."""
    vectors = (columns + LANES - 1) // LANES
    tiles = (vectors + TILE_VECTORS - 1) // TILE_VECTORS
    return vectors * t // tiles * LANES, vectors * (t + 1) // tiles * LANES


@jit()
def _pack(w, filters, channels, taps, gradient, tap_blocks, out):
    """Pack the weights: for each tile of columns a matrix of terms by columns, zero behind the last one."""
    columns, depth = (channels, filters) if gradient else (filters, channels)
    tiles = (columns + TILE_VECTORS * LANES - 1) // (TILE_VECTORS * LANES)
    copied = gradient and taps == 1
    if copied:
        # The filters are the rows already; each is read from end to end.
        for k in range(depth):
            for t in range(tiles):
                first, last = _tile_columns(columns, t)
                place = first * depth + k * (last - first)
                copy_run(out, place, w, k * columns + first, min(last, columns) - first)
    for t in range(tiles):
        first, last = _tile_columns(columns, t)
        width, count, target = last - first, min(last, columns) - first, first * taps * depth
        terms = channels * taps
        if gradient and not copied:
            _pack_gradient(w, first * taps, terms, taps, depth, count, tap_blocks, out, target, width)
        elif not copied:
            _pack_forward(w, first * terms, terms, taps, depth, count, out, target, width)
        if count < width:
            for k in range(taps * depth):
                for m in range(count, width):
                    out[target + k * width + m] = 0.0


# --------------------------------------------------------------------------------------------- products


@jit(inline="always")
def _work(numbers):
    n = numbers
    return Work(n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9])


@jit(inline="always")
def _fill(tables, y_rows, rows, y_base, columns, column, width, y):
    """Write the pixels that no tap reaches: the bias."""
    for m in range(rows):
        copy_run(y, y_base + tables[y_rows + m], columns, column, width)


@jit(inline="always")
def _piece(work, first, last, x_base, y_base, x, w, columns, tables, y):
    """Compute the segments of one piece, one tile of columns after the other."""
    for t in range((work.columns + TILE_VECTORS - 1) // TILE_VECTORS):
        column, behind = _tile_columns(work.columns * LANES, t)
        vectors = (behind - column) // LANES
        height = tile_rows(vectors)
        for index in range(first, last):
            k = work.segments + index * _SEGMENT
            y_rows, x_rows, rows, runs = tables[k], tables[k + 1], tables[k + 2], tables[k + 5]
            if runs == 0:
                _fill(tables, y_rows, rows, y_base + column, columns, column, vectors * LANES, y)
                continue
            for m in range(0, rows, height):
                tile = DirectTile(
                    y_rows + m, y_base + column, x_rows + m, x_base, column * work.terms, vectors * LANES,
                    tables[k + 3], tables[k + 4], runs, tables[k + 6], column, work.columns * LANES + column,
                )  # fmt: skip
                direct_tile(y, x, w, columns, tables, tile, vectors)


@jit()
def direct_pieces(chunk, chunks, numbers, tables, x, w, columns, y, _):
    """Do a share of all pieces of all groups; the arguments are what :func:`prepare` returns, x and y."""
    keep_apart()
    work = _work(numbers)
    items = (work.groups - 1) * work.pieces + work.last_pieces
    for item in range(items * chunk // chunks, items * (chunk + 1) // chunks):
        group = min(item // work.pieces, work.groups - 1)
        piece = item - group * work.pieces
        place = piece + (work.last_piece if group == work.groups - 1 else work.first_piece)
        _piece(
            work, tables[place], tables[place + 1], group * work.x_group, group * work.y_group, x, w, columns,
            tables, y,
        )  # fmt: skip


@jit()
def _narrow(wide, wide_stride, pixels, stride, y):
    """Copy the first `stride` floats of each pixel."""
    for p in range(pixels):
        for c in range(stride):
            y[p * stride + c] = wide[p * wide_stride + c]


def prepare(
    case: Case, w: NDArray[Any], bias: NDArray[Any], threads: int
) -> tuple[Plan, NDArray[Any], NDArray[Any]]:
    """Return the plan of a case for so many threads, the packed weights, and the columns' array.

    `w` is (O, C, R, S) whichever way it is used; pixels that are written are whole vectors apart.
    """
    plan, width = make_plan(case, threads), case.stride
    packed = workspace.array("direct_w", plan.work.terms * width)
    filters, depth, taps = w.shape[0], w.shape[1], plan.taps.size
    _pack(flat(w), filters, depth, taps, int(case.gradient), plan.taps.reshape(-1), packed)
    columns = np.zeros(2 * width, dtype=np.float32)
    columns[: bias.size] = bias
    columns[width : width + (depth if case.gradient else filters)] = 1.0
    return plan, packed, columns


def _run(case: Case, w: NDArray[Any], bias: NDArray[Any], x: NDArray[Any], y: NDArray[Any]) -> None:
    """Compute a case; `w` is (O, C, R, S) whichever way it is used."""
    if case.kernel == case.step == (1, 1) and case.padding == (0, 0):
        # Pixels are independent: each is an image of its own.
        pixels = case.images * case.height * case.width
        case = case._replace(images=pixels, height=1, width=1, in_height=1, in_width=1)
    channels = w.shape[1] if case.gradient else w.shape[0]
    width = whole(channels, LANES)
    target = y
    if case.stride % LANES:
        target = workspace.array("direct_y", case.images * case.height * case.width * width)
    threads = numba.get_num_threads()
    plan, packed, columns = prepare(case._replace(stride=width), w, bias, threads)
    work = plan.work
    chunks = min(threads, (work.groups - 1) * work.pieces + work.last_pieces)
    numbers = np.array(work, dtype=np.int64)
    share(direct_pieces, chunks, (numbers, plan.tables), (x, packed, columns, target))
    if target is not y:
        _narrow(target, width, case.images * case.height * case.width, case.stride, y)


def direct_conv(
    x: NDArray[Any],
    x_shape: tuple[int, int, int, int],
    x_stride: int,
    w: NDArray[Any],
    bias: NDArray[Any],
    stride: tuple[int, int],
    padding: tuple[int, int],
    y: NDArray[Any],
    y_shape: tuple[int, int, int, int],
    y_stride: int,
) -> None:
    """Compute a dense convolution of maps into `y`.

    Parameters
    ----------
    x : ndarray of float32, 1-D
        Memory of maps of `x_shape` (N, C, H, W).
    x_shape : tuple of int
        Their shape.
    x_stride : int
        Floats from one pixel to the next.
    w : ndarray of float32, shape (O, C, R, S)
        Filters.
    bias : ndarray of float32, 1-D
        One value a filter, or of length 0.
    stride, padding : tuple of int
        Rows and columns.
    y : ndarray of float32, 1-D
        Memory of the result of `y_shape` (N, O, P, Q); all of it is written.
    y_shape : tuple of int
        Its shape.
    y_stride : int
        Floats from one pixel to the next: O, or O rounded up to whole vectors.
    """
    images, channels, height, width = x_shape
    case = Case(
        images, y_shape[2], y_shape[3], y_stride, height, width, channels, x_stride,
        (w.shape[2], w.shape[3]), stride, padding, False,
    )  # fmt: skip
    if images:
        _run(case, w, bias, x, y)


def direct_input_grad(
    dy: NDArray[Any],
    y_shape: tuple[int, int, int, int],
    dy_stride: int,
    w: NDArray[Any],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dx: NDArray[Any],
    x_shape: tuple[int, int, int, int],
    dx_stride: int,
) -> None:
    """Compute the gradient of the input of a dense convolution of maps into `dx`.

    Parameters
    ----------
    dy : ndarray of float32, 1-D
        Memory of the gradient of the output, maps of `y_shape` (N, O, P, Q).
    y_shape : tuple of int
        Their shape.
    dy_stride : int
        Floats from one pixel to the next.
    w : ndarray of float32, shape (O, C, R, S)
        Filters.
    stride, padding : tuple of int
        Rows and columns.
    dx : ndarray of float32, 1-D
        Memory of the result of `x_shape` (N, C, H, W); all of it is written.
    x_shape : tuple of int
        Its shape.
    dx_stride : int
        Floats from one pixel to the next: C, or C rounded up to whole vectors.
    """
    images, filters, height, width = y_shape
    case = Case(
        images, x_shape[2], x_shape[3], dx_stride, height, width, filters, dy_stride,
        (w.shape[2], w.shape[3]), stride, padding, True,
    )  # fmt: skip
    if images:
        _run(case, w, _NO_BIAS, dy, dx)
