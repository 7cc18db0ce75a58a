"""Steps of fused inference on channels-last maps, and the loop that runs them over blocks of images.

A map lies in memory as (images, height + 2 halo, width + 2 halo, stride) floats: the channels of a pixel are
neighbours, padded with zeros to whole vectors, and a border of zeros stands for the padding of the layer that
reads it. A vector of results is some filters at one pixel, whose weights are read as vectors too.

A network is a list of steps, each a row of numbers (:class:`Step`) that says where its maps, weights and
tables are. A thread takes a block of images through all steps before it takes the next block, so that maps
are still in the cache when they are read. No result depends on the block that its image is in.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from emoref_kernels.cpu.fused_tile import Tile, dense_tile, depthwise_tile
from emoref_kernels.cpu.fused_vectors import MINUS_INF, ZERO, finish_vector, merge_vector
from emoref_kernels.cpu.fused_winograd import winograd_maps, winograd_phase
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import add_strided, copy_run, copy_strided
from emoref_kernels.cpu.simd import LANES, ROWS, VECTORS

__all__ = ["OPERATIONS", "Step", "run_steps"]

OPERATIONS = (
    "load", "store", "convolve", "depthwise", "winograd", "max_pool", "avg_pool", "mean", "flatten", "finish",
    "copy",
)  # fmt: skip
_LOAD, _STORE, _CONVOLVE, _DEPTHWISE, _WINOGRAD, _MAX, _AVG, _MEAN, _FLATTEN, _FINISH, _COPY = range(
    len(OPERATIONS)
)


class Step(NamedTuple):
    """One step: numbers only.

    Attributes
    ----------
    operation : int
        Index into :data:`OPERATIONS`.
    x, x_shared, x_image, y, y_shared, y_image, z, z_shared, z_image : int
        Where the argument, the result and the residual begin: in the thread's own memory, or, if shared, in
        the memory for all images. Floats from one image to the next.
    residual : int
        Not 0: z is added before ReLU.
    channels, height, width, stride, row : int
        Of the argument: extents, floats from one pixel to the next, and from one row to the next.
    filters, y_height, y_width, y_stride, y_row : int
        Of the result.
    x_first, y_first, z_first : int
        Floats before the first pixel inside the halo; for pooling, before the first window.
    group, rows : int
        Images that share tiles, and entries of the row tables for them.
    x_rows, y_rows, z_rows : int
        Where in the tables the places of the pixels begin.
    x_runs, w_runs, runs, run_length : int
        Terms of a sum; see :class:`~emoref_kernels.cpu.fused_tile.Tile`.
    w, scale, shift : int
        Where the weights begin, and the factors and summands of the channels.
    relu, pooled : int
        Whether ReLU and 2x2 max pooling follow.
    kernel, step, padding : int
        Of pooling; for Winograd's algorithm, `step` is m of F(m x m, 3x3).
    depth, block, scratch, patch : int
        Of Winograd's algorithm: terms of a sum, tiles at a time, where the memory of the transformed tiles
        begins, and where that of a tile at the edge.
    z_row : int
        Floats from one row of the residual to the next.
    z_stride : int
        Floats from one pixel of the residual to the next.
    ones, zeros : int
        Where so many of them lie among the weights as a tile has columns.
    """

    operation: int
    x: int
    x_shared: int
    x_image: int
    y: int
    y_shared: int
    y_image: int
    z: int
    z_shared: int
    z_image: int
    residual: int
    channels: int
    height: int
    width: int
    stride: int
    row: int
    filters: int
    y_height: int
    y_width: int
    y_stride: int
    y_row: int
    x_first: int
    y_first: int
    z_first: int
    group: int
    rows: int
    x_rows: int
    y_rows: int
    z_rows: int
    x_runs: int
    w_runs: int
    runs: int
    run_length: int
    w: int
    scale: int
    shift: int
    relu: int
    pooled: int
    kernel: int
    step: int
    padding: int
    depth: int
    block: int
    scratch: int
    patch: int
    z_row: int
    z_stride: int
    ones: int
    zeros: int


_NUMBERS = len(Step._fields)


@jit()
def _load_step(tables, start, index):
    k = start + index * _NUMBERS
    t = tables
    return Step(
        t[k], t[k + 1], t[k + 2], t[k + 3], t[k + 4], t[k + 5], t[k + 6], t[k + 7], t[k + 8], t[k + 9],
        t[k + 10], t[k + 11], t[k + 12], t[k + 13], t[k + 14], t[k + 15], t[k + 16], t[k + 17], t[k + 18],
        t[k + 19], t[k + 20], t[k + 21], t[k + 22], t[k + 23], t[k + 24], t[k + 25], t[k + 26], t[k + 27],
        t[k + 28], t[k + 29], t[k + 30], t[k + 31], t[k + 32], t[k + 33], t[k + 34], t[k + 35], t[k + 36],
        t[k + 37], t[k + 38], t[k + 39], t[k + 40], t[k + 41], t[k + 42], t[k + 43], t[k + 44], t[k + 45],
        t[k + 46], t[k + 47], t[k + 48],
    )  # fmt: skip


@jit()
def _load_images(s, x, x_start, images, y, scratch):
    """Copy planes of images to channels-last maps."""
    plane = s.height * s.width
    for n in range(images):
        for c in range(s.channels):
            source = x_start + (n * s.channels + c) * plane
            target = y + n * s.y_image + s.y_first + c
            for i in range(s.height):
                add_strided(scratch, target + i * s.y_row, x, source + i * s.width, s.width, s.y_stride, ZERO)


@jit()
def _store_images(s, x, images, y, y_start, scratch):
    """Copy channels-last maps to planes of images."""
    plane = s.height * s.width
    for n in range(images):
        for c in range(s.channels):
            target = y_start + (n * s.channels + c) * plane
            source = x + n * s.x_image + s.x_first + c
            for i in range(s.height):
                copy_strided(y, target + i * s.width, scratch, source + i * s.row, s.width, s.stride)


@jit()
def _convolve(s, x, y, z, images, weights, tables, scratch):
    """Convolve maps, or multiply features: tiles of pixels by filters."""
    vectors = (s.filters + LANES - 1) // LANES
    tiles = (vectors + VECTORS - 1) // VECTORS
    terms = s.runs * s.run_length
    floor = ZERO if s.relu else MINUS_INF
    for n in range(0, images, s.group):
        for t in range(tiles):
            column = vectors * t // tiles * LANES
            own = vectors * (t + 1) // tiles - column // LANES
            for m in range(0, s.rows, ROWS):
                tile = Tile(
                    s.y_rows + (m // 4 if s.pooled else m), y + n * s.y_image + column,
                    s.x_rows + m, x + n * s.x_image, s.w + column * terms, own * LANES, s.x_runs, s.w_runs,
                    s.runs, s.run_length, s.scale + column, s.shift + column,
                    s.z_rows + m, z + n * s.z_image + column, s.residual, s.pooled,
                )  # fmt: skip
                dense_tile(scratch, scratch, scratch, weights, weights, tables, tile, floor, own)


@jit()
def _depthwise(s, x, y, z, images, weights, tables, scratch):
    """Convolve each channel with its own filter."""
    floor = ZERO if s.relu else MINUS_INF
    for n in range(0, images, s.group):
        for c in range(0, s.channels, LANES):
            for m in range(0, s.rows, ROWS):
                tile = Tile(
                    s.y_rows + (m // 4 if s.pooled else m), y + n * s.y_image + c,
                    s.x_rows + m, x + n * s.x_image + c, s.w + c, s.y_stride, s.x_runs, s.w_runs,
                    s.runs, s.run_length, s.scale + c, s.shift + c,
                    s.z_rows + m, z + n * s.z_image + c, s.residual, s.pooled,
                )  # fmt: skip
                depthwise_tile(scratch, scratch, scratch, weights, weights, tables, tile, floor)


@jit()
def _pool(s, x, y, images, weights, scratch):
    """Take the maximum or the mean of windows; what lies beyond the edges does not count, or counts as 0."""
    larger = 1 if s.operation == _MAX else 0
    for n in range(images):
        for i in range(s.y_height):
            top = i * s.step - s.padding
            for j in range(s.y_width):
                left = j * s.step - s.padding
                first_r, last_r = max(top, 0), min(top + s.kernel, s.height)
                first_s, last_s = max(left, 0), min(left + s.kernel, s.width)
                for c in range(0, s.stride, LANES):
                    target = y + n * s.y_image + s.y_first + i * s.y_row + j * s.y_stride + c
                    source = x + n * s.x_image + s.x_first + c
                    copy_run(scratch, target, scratch, source + first_r * s.row + first_s * s.stride, LANES)
                    for r in range(first_r, last_r):
                        for q in range(first_s, last_s):
                            if r > first_r or q > first_s:
                                place = source + r * s.row + q * s.stride
                                merge_vector(scratch, target, scratch, place, larger)
                    if not larger:
                        finish_vector(
                            scratch, target, scratch, target, scratch, target, weights, s.scale, s.shift, 0,
                            MINUS_INF,
                        )  # fmt: skip


@jit()
def _mean(s, x, y, images, weights, scratch):
    """Take the mean of each channel's plane."""
    for n in range(images):
        for c in range(0, s.stride, LANES):
            target = y + n * s.y_image + c
            source = x + n * s.x_image + s.x_first + c
            copy_run(scratch, target, scratch, source, LANES)
            for p in range(1, s.height * s.width):
                i, j = divmod(p, s.width)
                merge_vector(scratch, target, scratch, source + i * s.row + j * s.stride, 0)
            finish_vector(
                scratch, target, scratch, target, scratch, target, weights, s.scale, s.shift, 0, MINUS_INF
            )


@jit()
def _flatten(s, x, y, images, scratch):
    """Copy maps to features, channel by channel."""
    for n in range(images):
        for c in range(s.channels):
            for i in range(s.height):
                target = y + n * s.y_image + (c * s.height + i) * s.width
                source = x + n * s.x_image + s.x_first + i * s.row + c
                copy_strided(scratch, target, scratch, source, s.width, s.stride)


@jit()
def _finish(s, x, y, z, images, weights, scratch):
    """Batch norm, addition, ReLU: value by value."""
    floor = ZERO if s.relu else MINUS_INF
    for n in range(images):
        for i in range(s.height):
            for j in range(s.width):
                source = x + n * s.x_image + s.x_first + i * s.row + j * s.stride
                target = y + n * s.y_image + s.y_first + i * s.y_row + j * s.y_stride
                other = z + n * s.z_image + s.z_first + i * s.z_row + j * s.z_stride
                for c in range(0, s.channels, LANES):
                    finish_vector(
                        scratch, target + c, scratch, source + c, scratch, other + c, weights, s.scale + c,
                        s.shift + c, s.residual, floor,
                    )  # fmt: skip


@jit()
def _copy(s, x, y, images, scratch):
    """Copy channels to other channels; y_first says to which."""
    for n in range(images):
        for i in range(s.height):
            for j in range(s.width):
                source = x + n * s.x_image + s.x_first + i * s.row + j * s.stride
                target = y + n * s.y_image + s.y_first + i * s.y_row + j * s.y_stride
                copy_run(scratch, target, scratch, source, s.channels)


@jit()
def _run_step(s, first, images, start, x, y, weights, tables, scratch):
    """Run one step for the images from `first` on; `start` is where the thread's memory begins."""
    x_base = s.x + (first * s.x_image if s.x_shared else start)
    y_base = s.y + (first * s.y_image if s.y_shared else start)
    z_base = s.z + (first * s.z_image if s.z_shared else start)
    if s.operation == _LOAD:
        _load_images(s, x, first * s.channels * s.height * s.width, images, y_base, scratch)
    elif s.operation == _STORE:
        _store_images(s, x_base, images, y, first * s.channels * s.height * s.width, scratch)
    elif s.operation == _CONVOLVE:
        _convolve(s, x_base, y_base, z_base, images, weights, tables, scratch)
    elif s.operation == _DEPTHWISE:
        _depthwise(s, x_base, y_base, z_base, images, weights, tables, scratch)
    elif s.operation == _WINOGRAD:
        winograd_maps(s, x_base, y_base, z_base, images, start, weights, scratch)
    elif s.operation == _MAX or s.operation == _AVG:
        _pool(s, x_base, y_base, images, weights, scratch)
    elif s.operation == _MEAN:
        _mean(s, x_base, y_base, images, weights, scratch)
    elif s.operation == _FLATTEN:
        _flatten(s, x_base, y_base, images, scratch)
    elif s.operation == _FINISH:
        _finish(s, x_base, y_base, z_base, images, weights, scratch)
    else:
        _copy(s, x_base, y_base, images, scratch)


@jit()
def _run_chunk(
    chunk, chunks, phase, block, first, count, steps, step_count, shared, own, x, y, weights, tables, scratch
):
    """Take every chunks-th block of images through all steps, or do a share of one phase of one step."""
    start = shared + chunk * own
    if phase >= 0:
        s = _load_step(tables, steps, 0)
        winograd_phase(
            s, phase, chunk, chunks, s.x + first * s.x_image, s.y + first * s.y_image,
            s.z + first * s.z_image, count, start, weights, scratch,
        )  # fmt: skip
        return
    for begin in range(first + chunk * block, first + count, chunks * block):
        images = min(block, first + count - begin)
        for k in range(step_count):
            s = _load_step(tables, steps, k)
            _run_step(s, begin, images, start, x, y, weights, tables, scratch)


@jit(parallel=True)
def run_steps(
    chunks, phase, block, first, count, steps, step_count, shared, own, x, y, weights, tables, scratch
):
    """Run steps on `count` images.

    Parameters
    ----------
    chunks : int
        Pieces that run in parallel.
    phase : int
        Negative: each piece takes blocks of images through all steps. From 0 on: the pieces share this phase
        of :data:`~emoref_kernels.cpu.fused_winograd.PHASES` of the only step, whose maps are shared.
    block : int
        Images of a block.
    first, count : int
        First image and number of images.
    steps, step_count : int
        Where the numbers of the steps begin in the tables, and how many steps there are.
    shared, own : int
        Floats of `scratch` that hold maps of all images, and of the memory of each piece behind them.
    x, y : ndarray of float32, 1-D
        What "load" reads and "store" writes: planes of all images.
    weights : ndarray of float32, 1-D
        Weights, factors and summands.
    tables : ndarray of int64, 1-D
        Everything else.
    scratch : ndarray of float32, 1-D
        The maps; zero where nothing has been written.
    """
    for index in prange(chunks):
        # np.int64: the index is unsigned, and Numba makes unsigned // signed a float.
        _run_chunk(
            np.int64(index), chunks, phase, block, first, count, steps, step_count, shared, own, x, y,
            weights, tables, scratch,
        )  # fmt: skip
