"""Correlation as an implicit product of matrices: the forward convolution and the gradient of its input.

Rows of the product are filters, columns are pixels of the result, of all images in a row, and the sum runs
over taps and channels. The matrix of patches is never formed: a block gathers from the images what a slab of
it holds. Weights are packed first, for each group as (taps * channels, filters), so that a warp reads
neighbours.

Slabs run over the channels of one tap, then of the next, so that a thread works out once a slab where its
pixel lies and whether it is on the padding. With few channels (the first layer) that would multiply mostly
zeros; there, slabs run over taps and channels as one (:data:`FEW_CHANNELS`).

What a launch needs to know is a table of integers on the device, made once for each shape.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np

from emoref_kernels.cuda.array import DeviceArray, constant_table, empty
from emoref_kernels.cuda.jit import THREADS, Kernel, kernel, shared_floats
from emoref_kernels.cuda.provider import cuda
from emoref_kernels.cuda.reduce import add_parts
from emoref_kernels.cuda.tile import NOWHERE, TILES, ZERO, Tile, make_multiply, splits_for, tile_for

__all__ = ["FEW_CHANNELS", "Correlation", "correlate", "pack_weights"]

FEW_CHANNELS = 8
"""Up to here, slabs run over taps and channels as one."""

_HEADER = 32
"""Integers of a table before the taps."""


class Correlation(NamedTuple):
    """A correlation of planes with filters, and where its results go.

    Attributes
    ----------
    images, groups : int
        Numbers of images and groups.
    channels, filters : int
        Channels and filters of one group.
    x_extents, y_extents : tuple of int
        Rows and columns of the planes read and written.
    extents : tuple of int
        Rows and columns of results that are computed.
    stride : tuple of int
        Steps in x from one result to the next.
    start, step : tuple of int
        Place of the first result in y, and steps from one to the next.
    taps : tuple of (int, int)
        Rows and columns in x of each tap, counted from the result's place times stride.
    """

    images: int
    groups: int
    channels: int
    filters: int
    x_extents: tuple[int, int]
    y_extents: tuple[int, int]
    extents: tuple[int, int]
    stride: tuple[int, int]
    start: tuple[int, int]
    step: tuple[int, int]
    taps: tuple[tuple[int, int], ...]


@kernel("ffinnnnnnn")
def _pack_weights(w, packed, tap_places, taps, rows, columns, w_group, w_row, w_column, groups):
    # packed[g, tap, row, column] = w[g * w_group + row * w_row + column * w_column + tap_places[tap]]
    i = cuda.grid(1)
    if i < groups * taps * rows * columns:
        column, rest = i % columns, i // columns
        row, rest = rest % rows, rest // rows
        tap, group = rest % taps, rest // taps
        packed[i] = w[group * w_group + row * w_row + column * w_column + tap_places[tap]]


def pack_weights(
    w: DeviceArray, groups: int, taps: tuple[int, ...], rows: int, columns: int, strides: tuple[int, int, int]
) -> DeviceArray:
    """Return weights as (groups, taps, rows, columns): rows are summed over, columns are results.

    Parameters
    ----------
    w
        Weights (O, C / groups, R, S).
    groups
        Number of groups.
    taps
        Place of each tap that takes part in a filter plane, r * S + s.
    rows, columns
        Numbers of one group.
    strides
        Distance in w of groups, of rows and of columns.
    """
    packed = empty((groups, len(taps), rows, columns))
    blocks = -(-packed.size // THREADS)
    _pack_weights(
        blocks, THREADS, w, packed, constant_table(taps), len(taps), rows, columns, *strides, groups
    )
    return packed


def _make_correlate(tile: Tile, flattened: bool) -> Kernel:
    """Return the kernel for a tile; `flattened`: slabs run over taps and channels as one."""
    rows, columns, depth, threads = tile.rows, tile.columns, tile.depth, tile.threads
    thread_rows, thread_columns = tile.thread_rows, tile.thread_columns
    row_skip, column_skip = rows // (thread_rows // 4), columns // (thread_columns // 4)
    left_size, owned = depth * rows, thread_rows * thread_columns
    left_loads, right_loads = depth * rows // threads, depth * columns // threads
    left_steps, right_steps = max(threads // rows, 1), threads // columns
    thread_grid = columns // thread_columns
    multiply = make_multiply(tile, rows, columns)
    slabs = shared_floats(left_size + depth * columns)

    def correlate_kernel(x, packed, bias, table, y):
        shared = slabs()
        values = cuda.local.array(owned, numba.float32)
        a = cuda.local.array(thread_rows, numba.float32)
        b = cuda.local.array(thread_columns, numba.float32)
        row_places = cuda.local.array(thread_rows, numba.int64)
        column_places = cuda.local.array(thread_columns, numba.int64)
        next_left = cuda.local.array(left_loads, numba.float32)
        next_right = cuda.local.array(right_loads, numba.float32)
        channels, filters, pixels, taps = table[0], table[1], table[2], table[3]
        x_height, x_width, height, width = table[4], table[5], table[6], table[7]
        x_plane, x_image = table[8], table[9]
        slabs_per_tap, slabs_per_part, all_slabs, parts = table[10], table[11], table[12], table[13]
        thread = np.int64(cuda.threadIdx.x)
        part = np.int64(cuda.blockIdx.z) % parts
        group = np.int64(cuda.blockIdx.z) // parts
        first_filter = np.int64(cuda.blockIdx.y) * rows
        first_pixel = np.int64(cuda.blockIdx.x) * columns

        # What this thread copies: one filter (or several, `left_steps` apart) and one pixel.
        left_row, left_depth = thread % rows, thread // rows
        right_depth = thread // columns
        pixel = first_pixel + thread % columns
        is_pixel = pixel < pixels
        is_filter = first_filter + left_row < filters
        image, place = pixel // (height * width), pixel % (height * width)
        top = (place // width) * table[14]
        left = (place % width) * table[15]
        x_base = image * x_image + group * channels * x_plane
        packed_base = group * taps * channels * filters + first_filter + left_row
        for i in range(thread_rows):
            for j in range(thread_columns):
                values[i * thread_columns + j] = ZERO
        first = part * slabs_per_part
        last = first + slabs_per_part
        if last > all_slabs:
            last = all_slabs
        tap = first // slabs_per_tap
        channel = (first % slabs_per_tap) * depth
        for slab in range(first, last + 1):
            if slab < last:
                if flattened:
                    for i in range(left_loads):
                        k = channel + left_depth + i * left_steps
                        next_left[i] = ZERO
                        if is_filter and k < channels * taps:
                            next_left[i] = packed[packed_base + k * filters]
                    for i in range(right_loads):
                        k = channel + right_depth + i * right_steps
                        next_right[i] = ZERO
                        if is_pixel and k < channels * taps:
                            own_tap = k // channels
                            h, w = top + table[32 + 2 * own_tap], left + table[33 + 2 * own_tap]
                            if h >= 0 and h < x_height and w >= 0 and w < x_width:
                                next_right[i] = x[x_base + (k % channels) * x_plane + h * x_width + w]
                else:
                    h, w = top + table[32 + 2 * tap], left + table[33 + 2 * tap]
                    inside = is_pixel and h >= 0 and h < x_height and w >= 0 and w < x_width
                    source = x_base + (channel + right_depth) * x_plane + h * x_width + w
                    weight = packed_base + (tap * channels + channel + left_depth) * filters
                    for i in range(left_loads):
                        next_left[i] = ZERO
                        if is_filter and channel + left_depth + i * left_steps < channels:
                            next_left[i] = packed[weight + i * left_steps * filters]
                    for i in range(right_loads):
                        next_right[i] = ZERO
                        if inside and channel + right_depth + i * right_steps < channels:
                            next_right[i] = x[source + i * right_steps * x_plane]
                channel += depth
                if channel >= channels and not flattened:
                    channel = 0
                    tap += 1
            # The loads above are on their way while the slab before is multiplied.
            if slab > first:
                multiply(shared, values, a, b, thread // thread_grid, thread % thread_grid)
            cuda.syncthreads()
            if slab < last:
                for i in range(left_loads):
                    shared[(left_depth + i * left_steps) * rows + left_row] = next_left[i]
                for i in range(right_loads):
                    shared[left_size + (right_depth + i * right_steps) * columns + thread % columns] = (
                        next_right[i]
                    )
            cuda.syncthreads()

        # Places first, then stores: the loop over all of a thread's values must stay small, or it is not
        # unrolled, and values with an index that is no constant leave their registers.
        row = first_filter + (thread // thread_grid) * 4
        column = first_pixel + (thread % thread_grid) * 4
        target = part * table[16] + group * filters * table[17]
        for i in range(thread_rows):
            own_row = row + (i // 4) * row_skip + i % 4
            row_places[i] = NOWHERE
            if own_row < filters:
                row_places[i] = target + own_row * table[17]
                if table[24] != 0:
                    a[i] = bias[group * filters + own_row]
        if table[24] != 0:
            for i in range(thread_rows):
                for j in range(thread_columns):
                    values[i * thread_columns + j] += a[i]
        for j in range(thread_columns):
            pixel = column + (j // 4) * column_skip + j % 4
            column_places[j] = NOWHERE
            if pixel < pixels:
                image, place = pixel // (height * width), pixel % (height * width)
                h = table[19] + (place // width) * table[21]
                w = table[20] + (place % width) * table[22]
                column_places[j] = image * table[18] + h * table[23] + w
        for i in range(thread_rows):
            for j in range(thread_columns):
                if (row_places[i] | column_places[j]) >= 0:
                    y[row_places[i] + column_places[j]] = values[i * thread_columns + j]

    name = f"correlate_{tile.name}{'_flat' if flattened else ''}"
    return kernel("fffif", name=name, hot=not flattened)(correlate_kernel)


_KERNELS = {(tile.name, False): _make_correlate(tile, False) for tile in TILES} | {
    (tile.name, True): _make_correlate(tile, True) for tile in {tile_for(16), tile_for(64)}
}


@lru_cache(maxsize=4096)
def _plan(c: Correlation, biased: bool) -> tuple[Kernel, Tile, tuple[int, int, int], int, Any]:
    """Return kernel, tile, blocks, parts and table of a correlation."""
    flattened = c.channels < FEW_CHANNELS
    tiles = tuple(tile for tile in TILES if (tile.name, flattened) in _KERNELS)
    tile = tile_for(c.filters, tiles)
    pixels = c.images * c.extents[0] * c.extents[1]
    taps = len(c.taps)
    length = c.channels * taps if flattened else c.channels
    slabs_per_tap = -(-length // tile.depth)
    all_slabs = slabs_per_tap if flattened else slabs_per_tap * taps
    blocks = (-(-pixels // tile.columns), -(-c.filters // tile.rows))
    parts = splits_for(blocks[0] * blocks[1] * c.groups, all_slabs)
    slabs_per_part = -(-all_slabs // parts)
    parts = -(-all_slabs // slabs_per_part)
    y_plane = c.y_extents[0] * c.y_extents[1]
    y_image = c.groups * c.filters * y_plane
    header = [
        c.channels, c.filters, pixels, taps, *c.x_extents, *c.extents,
        c.x_extents[0] * c.x_extents[1], c.groups * c.channels * c.x_extents[0] * c.x_extents[1],
        slabs_per_tap, slabs_per_part, all_slabs, parts, *c.stride,
        c.images * y_image, y_plane, y_image, *c.start, *c.step, c.y_extents[1], int(biased and parts == 1),
    ]  # fmt: skip
    header += [0] * (_HEADER - len(header))
    table = constant_table(tuple(header) + tuple(offset for tap in c.taps for offset in tap))
    return _KERNELS[tile.name, flattened], tile, (*blocks, c.groups * parts), parts, table


def correlate(
    x: DeviceArray, packed: DeviceArray, bias: DeviceArray | None, c: Correlation, y: DeviceArray
) -> None:
    """Correlate `x` with packed weights into `y`, from :attr:`Correlation.start` on.

    A long sum with few results is cut into parts, which are added in order, so that the result does not
    depend on when blocks run. That happens only where all of `y` is computed in one go.
    """
    covers = c.step == (1, 1) and c.start == (0, 0) and c.extents == c.y_extents
    launch, tile, blocks, parts, table = _plan(c, bias is not None)
    given = packed if bias is None else bias
    if parts == 1:
        launch(blocks, tile.threads, x, packed, given, table, y)
        return
    pieces = empty((parts, y.size)) if covers else empty((parts, y.size), zero=True)
    launch(blocks, tile.threads, x, packed, given, table, pieces)
    plane = c.y_extents[0] * c.y_extents[1]
    add_parts(pieces, bias, y, c.groups * c.filters, plane, keep=not covers)
