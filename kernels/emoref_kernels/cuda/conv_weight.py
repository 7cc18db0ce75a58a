"""The gradient of the filters as an implicit product of matrices.

Rows are filters, columns are (channel, tap) pairs, and the sum runs over all pixels of all images, in slabs
of neighbouring pixels. A thread keeps the same pairs throughout and works out one pixel a slab. The sum is
long and the result small, so it is cut into parts, which are added in order.
"""

from functools import cache
from typing import Any

import numba
import numpy as np

from emoref_kernels.checks import Shape4
from emoref_kernels.cuda.array import DeviceArray, constant_table, empty
from emoref_kernels.cuda.jit import Kernel, kernel, shared_floats
from emoref_kernels.cuda.provider import cuda
from emoref_kernels.cuda.reduce import add_parts
from emoref_kernels.cuda.tile import NOWHERE, TILES, ZERO, Tile, make_multiply, splits_for, tile_for

__all__ = ["weight_gradient"]

_PADDING = 4
"""Values behind each step of a slab, so that neighbours that copy do not meet in one bank."""


def _make_kernel(tile: Tile) -> Kernel:
    rows, columns, depth, threads = tile.rows, tile.columns, tile.depth, tile.threads
    thread_rows, thread_columns = tile.thread_rows, tile.thread_columns
    row_skip, column_skip = rows // (thread_rows // 4), columns // (thread_columns // 4)
    row_length, column_length = rows + _PADDING, columns + _PADDING
    left_size, owned = depth * row_length, thread_rows * thread_columns
    steps = threads // depth
    left_loads, right_loads = rows // steps, columns // steps
    thread_grid = columns // thread_columns
    multiply = make_multiply(tile, row_length, column_length)
    slabs = shared_floats(left_size + depth * column_length)

    def weight_kernel(dy, x, table, dw):
        shared = slabs()
        values = cuda.local.array(owned, numba.float32)
        a = cuda.local.array(thread_rows, numba.float32)
        b = cuda.local.array(thread_columns, numba.float32)
        next_left = cuda.local.array(left_loads, numba.float32)
        next_right = cuda.local.array(right_loads, numba.float32)
        shift_h = cuda.local.array(right_loads, numba.int32)
        shift_w = cuda.local.array(right_loads, numba.int32)
        sources = cuda.local.array(right_loads, numba.int64)
        row_places = cuda.local.array(thread_rows, numba.int64)
        filters, pairs, pixels = table[0], table[1], table[2]
        x_height, x_width, width, y_plane = table[3], table[4], table[6], table[5] * table[6]
        kernel_w, taps, parts, slabs_per_part = table[7], table[8], table[9], table[10]
        x_plane = x_height * x_width
        thread = np.int64(cuda.threadIdx.x)
        part, group = np.int64(cuda.blockIdx.z) % parts, np.int64(cuda.blockIdx.z) // parts
        first_filter = np.int64(cuda.blockIdx.y) * rows
        first_pair = np.int64(cuda.blockIdx.x) * columns
        own_depth, own_row = thread % depth, thread // depth
        for i in range(right_loads):
            pair = first_pair + own_row + i * steps
            shift_h[i] = -(1 << 30)
            shift_w[i] = 0
            sources[i] = 0
            if pair < pairs:
                tap = pair % taps
                shift_h[i] = tap // kernel_w - table[13]
                shift_w[i] = tap % kernel_w - table[14]
                sources[i] = (group * (pairs // taps) + pair // taps) * x_plane
        for i in range(thread_rows):
            for j in range(thread_columns):
                values[i * thread_columns + j] = ZERO
        dy_base = (group * filters + first_filter + own_row) * y_plane
        first = part * slabs_per_part
        last = first + slabs_per_part
        if last > table[17]:
            last = table[17]
        for slab in range(first, last + 1):
            if slab < last:
                pixel = slab * depth + own_depth
                image, place = pixel // y_plane, pixel % y_plane
                top, left = (place // width) * table[11], (place % width) * table[12]
                dy_place = dy_base + image * table[15] + place
                x_place = image * table[16]
                for i in range(left_loads):
                    next_left[i] = ZERO
                    if pixel < pixels and first_filter + own_row + i * steps < filters:
                        next_left[i] = dy[dy_place + i * steps * y_plane]
                for i in range(right_loads):
                    h, w = top + shift_h[i], left + shift_w[i]
                    next_right[i] = ZERO
                    if pixel < pixels and h >= 0 and h < x_height and w >= 0 and w < x_width:
                        next_right[i] = x[x_place + sources[i] + h * x_width + w]
            # The loads above are on their way while the slab before is multiplied.
            if slab > first:
                multiply(shared, values, a, b, thread // thread_grid, thread % thread_grid)
            cuda.syncthreads()
            if slab < last:
                for i in range(left_loads):
                    shared[own_depth * row_length + own_row + i * steps] = next_left[i]
                for i in range(right_loads):
                    shared[left_size + own_depth * column_length + own_row + i * steps] = next_right[i]
            cuda.syncthreads()

        row = first_filter + (thread // thread_grid) * 4
        column = first_pair + (thread % thread_grid) * 4
        target = (part * (table[18] // filters) + group) * filters * pairs
        for i in range(thread_rows):
            own = row + (i // 4) * row_skip + i % 4
            row_places[i] = NOWHERE
            if own < filters:
                row_places[i] = target + own * pairs
        for i in range(thread_rows):
            for j in range(thread_columns):
                pair = column + (j // 4) * column_skip + j % 4
                if pair < pairs and row_places[i] >= 0:
                    dw[row_places[i] + pair] = values[i * thread_columns + j]

    return kernel("ffif", name=f"weight_gradient_{tile.name}", hot=True)(weight_kernel)


_KERNELS = {tile.name: (_make_kernel(tile), tile) for tile in TILES}


@cache
def _plan(
    x_shape: Shape4,
    y_shape: Shape4,
    w_shape: Shape4,
    stride: tuple[int, int],
    padding: tuple[int, int],
    groups: int,
) -> tuple[Kernel, int, tuple[int, int, int], int, Any]:
    filters, pairs = w_shape[0] // groups, w_shape[1] * w_shape[2] * w_shape[3]
    launch, tile = _KERNELS[tile_for(filters).name]
    pixels = y_shape[0] * y_shape[2] * y_shape[3]
    slabs = -(-pixels // tile.depth)
    blocks = (-(-pairs // tile.columns), -(-filters // tile.rows))
    parts = splits_for(blocks[0] * blocks[1] * groups, slabs)
    slabs_per_part = -(-slabs // parts)
    parts = -(-slabs // slabs_per_part)
    table = constant_table((
        filters, pairs, pixels, *x_shape[2:], *y_shape[2:], w_shape[3], w_shape[2] * w_shape[3],
        parts, slabs_per_part, *stride, *padding, y_shape[1] * y_shape[2] * y_shape[3],
        x_shape[1] * x_shape[2] * x_shape[3], slabs, w_shape[0],
    ))  # fmt: skip
    return launch, tile.threads, (*blocks, groups * parts), parts, table


def weight_gradient(
    dy: DeviceArray,
    x: DeviceArray,
    w_shape: Shape4,
    stride: tuple[int, int],
    padding: tuple[int, int],
    groups: int,
) -> DeviceArray:
    """Return the gradient of the filters, (O, C / groups, R, S), of a non-empty batch."""
    launch, threads, blocks, parts, table = _plan(x.shape, dy.shape, w_shape, stride, padding, groups)
    dw = empty(w_shape)
    if parts == 1:
        launch(blocks, threads, dy, x, table, dw)
        return dw
    pieces = empty((parts, *w_shape))
    launch(blocks, threads, dy, x, table, pieces)
    add_parts(pieces, None, dw, 1, dw.size)
    return dw
