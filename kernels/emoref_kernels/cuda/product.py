"""Products of matrices, several at once: linear layers, and the middle of Winograd's convolution.

``result[e] = left[e] right[e]``, where the left factor has `rows` and the right one `columns`. Each factor
lies in memory either with the summed direction innermost or with it outermost; which decides how a block
copies its slab, so that neighbouring threads read neighbours.
"""

from functools import lru_cache
from typing import Any

import numba
import numpy as np

from emoref_kernels.cuda.array import DeviceArray, constant_table, empty
from emoref_kernels.cuda.jit import Kernel, kernel, shared_floats
from emoref_kernels.cuda.provider import cuda
from emoref_kernels.cuda.reduce import add_parts
from emoref_kernels.cuda.tile import LARGE, MEDIUM, NOWHERE, ZERO, Tile, make_multiply, splits_for, tile_for

__all__ = ["product"]

_PADDING = 4


def _make_product(tile: Tile, left_inner: bool, right_inner: bool) -> Kernel:
    """Return the kernel for a tile; `..._inner`: the summed direction is innermost in that factor."""
    rows, columns, depth, threads = tile.rows, tile.columns, tile.depth, tile.threads
    thread_rows, thread_columns = tile.thread_rows, tile.thread_columns
    row_skip, column_skip = rows // (thread_rows // 4), columns // (thread_columns // 4)
    row_length, column_length = rows + _PADDING, columns + _PADDING
    left_size, owned = depth * row_length, thread_rows * thread_columns
    left_loads, right_loads = rows * depth // threads, columns * depth // threads
    left_line, right_line = depth if left_inner else rows, depth if right_inner else columns
    left_steps, right_steps = max(threads // left_line, 1), max(threads // right_line, 1)
    thread_grid = columns // thread_columns
    multiply = make_multiply(tile, row_length, column_length)
    slabs = shared_floats(left_size + depth * column_length)

    def product_kernel(left, right, table, result):
        shared = slabs()
        values = cuda.local.array(owned, numba.float32)
        a = cuda.local.array(thread_rows, numba.float32)
        b = cuda.local.array(thread_columns, numba.float32)
        next_left = cuda.local.array(left_loads, numba.float32)
        next_right = cuda.local.array(right_loads, numba.float32)
        row_places = cuda.local.array(thread_rows, numba.int64)
        all_rows, all_columns, length = table[0], table[1], table[2]
        parts, slabs_per_part, all_slabs = table[3], table[4], table[5]
        thread = np.int64(cuda.threadIdx.x)
        part, matrix = np.int64(cuda.blockIdx.z) % parts, np.int64(cuda.blockIdx.z) // parts
        first_row, first_column = np.int64(cuda.blockIdx.y) * rows, np.int64(cuda.blockIdx.x) * columns
        left_base, right_base = matrix * all_rows * length, matrix * all_columns * length
        for i in range(thread_rows):
            for j in range(thread_columns):
                values[i * thread_columns + j] = ZERO
        first = part * slabs_per_part
        last = first + slabs_per_part
        if last > all_slabs:
            last = all_slabs
        for slab in range(first, last + 1):
            if slab < last:
                start = slab * depth
                for i in range(left_loads):
                    if left_inner:
                        k, row = start + thread % depth, first_row + thread // depth + i * left_steps
                        source = row * length + k
                    else:
                        k, row = start + thread // rows + i * left_steps, first_row + thread % rows
                        source = k * all_rows + row
                    next_left[i] = ZERO
                    if k < length and row < all_rows:
                        next_left[i] = left[left_base + source]
                for i in range(right_loads):
                    if right_inner:
                        k, column = start + thread % depth, first_column + thread // depth + i * right_steps
                        source = column * length + k
                    else:
                        k, column = (
                            start + thread // columns + i * right_steps,
                            first_column + thread % columns,
                        )
                        source = k * all_columns + column
                    next_right[i] = ZERO
                    if k < length and column < all_columns:
                        next_right[i] = right[right_base + source]
            # The loads above are on their way while the slab before is multiplied.
            if slab > first:
                multiply(shared, values, a, b, thread // thread_grid, thread % thread_grid)
            cuda.syncthreads()
            if slab < last:
                for i in range(left_loads):
                    if left_inner:
                        shared[thread % depth * row_length + thread // depth + i * left_steps] = next_left[i]
                    else:
                        shared[(thread // rows + i * left_steps) * row_length + thread % rows] = next_left[i]
                for i in range(right_loads):
                    if right_inner:
                        target = thread % depth * column_length + thread // depth + i * right_steps
                    else:
                        target = (thread // columns + i * right_steps) * column_length + thread % columns
                    shared[left_size + target] = next_right[i]
            cuda.syncthreads()

        row, column = first_row + (thread // thread_grid) * 4, first_column + (thread % thread_grid) * 4
        base = (part * table[6] + matrix) * all_rows * all_columns
        for i in range(thread_rows):
            own = row + (i // 4) * row_skip + i % 4
            row_places[i] = NOWHERE
            if own < all_rows:
                row_places[i] = base + own * all_columns
        for i in range(thread_rows):
            for j in range(thread_columns):
                own_column = column + (j // 4) * column_skip + j % 4
                if own_column < all_columns and row_places[i] >= 0:
                    result[row_places[i] + own_column] = values[i * thread_columns + j]

    inner = f"{'i' if left_inner else 'o'}{'i' if right_inner else 'o'}"
    return kernel("ffif", name=f"product_{tile.name}_{inner}", hot=True)(product_kernel)


_TILES = {
    (False, False): (LARGE, MEDIUM),
    (True, True): (MEDIUM,),
    (True, False): (MEDIUM,),
}
"""Tiles that there are for each way in which the factors lie."""

_KERNELS = {
    (tile.name, *inner): _make_product(tile, *inner)
    for inner, tiles in _TILES.items()
    for tile in dict.fromkeys(tiles)
}


@lru_cache(maxsize=4096)
def _plan(
    matrices: int, rows: int, columns: int, length: int, inner: tuple[bool, bool]
) -> tuple[Kernel, int, tuple[int, int, int], int, Any]:
    tile = tile_for(rows, _TILES[inner])
    slabs = -(-length // tile.depth)
    blocks = (-(-columns // tile.columns), -(-rows // tile.rows))
    parts = splits_for(blocks[0] * blocks[1] * matrices, slabs)
    slabs_per_part = -(-slabs // parts)
    parts = -(-slabs // slabs_per_part)
    table = constant_table((rows, columns, length, parts, slabs_per_part, slabs, matrices))
    return _KERNELS[(tile.name, *inner)], tile.threads, (*blocks, matrices * parts), parts, table


def product(
    left: DeviceArray,
    right: DeviceArray,
    shape: tuple[int, int, int, int],
    *,
    left_inner: bool = False,
    right_inner: bool = False,
    bias: DeviceArray | None = None,
) -> DeviceArray:
    """Return ``left[e] right[e]`` for every e.

    Parameters
    ----------
    left, right
        The factors, (matrices, length, rows) and (matrices, length, columns).
    shape
        (matrices, rows, columns, length).
    left_inner, right_inner
        The factor is (matrices, rows, length), or (matrices, columns, length), instead.
    bias
        One value a column, added; or None.

    Returns
    -------
    DeviceArray
        (matrices, rows, columns).
    """
    matrices, rows, columns, length = shape
    launch, threads, blocks, parts, table = _plan(matrices, rows, columns, length, (left_inner, right_inner))
    result = empty((matrices, rows, columns))
    if parts == 1 and bias is None:
        launch(blocks, threads, left, right, table, result)
        return result
    pieces = empty((parts, matrices, rows, columns))
    launch(blocks, threads, left, right, table, pieces)
    add_parts(pieces, bias, result, columns, 1)
    return result
