"""Filters of 3 x 3 on their way to Winograd's form, and their gradients on the way back."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import fma_run, transpose_run
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import LANES, ROWS
from emoref_kernels.cpu.winograd_blocks import column_tiles
from emoref_kernels.cpu.winograd_cuts import whole, workspace
from emoref_kernels.cpu.winograd_tiles import filter_tile, filter_tile_grad

__all__ = ["filter_gradient", "filter_step", "transform_filters", "transform_filters_into"]


# A constant argument would be a type of its own, and the function compiled once more for it; np.int64 is not.


@jit(inline="always")
def _transform_vector(
    vector,
    outputs,
    w,
    filter_step,
    depth_step,
    turned,
    filters,
    channels,
    depth,
    width,
    tap_values,
    u,
    u_step,
):
    """Transform LANES filters and all their channels."""
    vectors, tiles = width // LANES, column_tiles(width)
    tile = 0
    while vectors * (tile + 1) // tiles <= vector:
        tile += 1
    first = vectors * tile // tiles
    tile_width = (vectors * (tile + 1) // tiles - first) * LANES
    start = first * LANES * depth + (vector - first) * LANES
    first_filter = vector * LANES
    own = min(LANES, filters - first_filter)
    size = outputs + 2
    for i in range(9 * LANES):
        tap_values[i] = 0.0
    for c in range(channels):
        source = first_filter * filter_step + c * depth_step
        whole = own // ROWS * ROWS
        for f in range(0, whole, ROWS):
            transpose_run(
                tap_values, f, np.int64(LANES), w, source + f * filter_step, filter_step, np.int64(9)
            )
        for f in range(whole, own):
            for t in range(9):
                tap_values[t * LANES + f] = w[source + f * filter_step + t]
        origin, step = (8 * LANES, -LANES) if turned else (0, LANES)
        filter_tile(
            outputs, u, start + c * tile_width, size * u_step, u_step, tap_values, origin, 3 * step, step
        )
    for c in range(channels, depth):
        for p in range(size * size):
            for lane in range(LANES):
                u[p * u_step + start + c * tile_width + lane] = 0.0


@jit()
def _transform_part(part, parts, numbers, _, w, u, c, d, e):
    """Transform a part of the vectors of filters."""
    keep_apart()
    n = numbers
    width = n[7]
    vectors = width // LANES
    tap_values = np.empty(9 * LANES, np.float32)
    for vector in range(vectors * part // parts, vectors * (part + 1) // parts):
        _transform_vector(vector, n[0], w, n[1], n[2], n[3], n[4], n[5], n[6], width, tap_values, u, n[8])


def transform_filters_into(
    outputs: int,
    w: NDArray[Any],
    filter_step: int,
    depth_step: int,
    turned: int,
    filters: int,
    channels: int,
    depth: int,
    width: int,
    u: NDArray[Any],
    u_step: int,
) -> None:
    """Write G g G^T of all filters to `u`, with the depth and width that the caller wants.

    Parameters
    ----------
    outputs : int
        m of F(m x m, 3 x 3): 2 or 4.
    w : ndarray of float32, 1-D
        Filters; filter f and channel c begin at ``f * filter_step + c * depth_step``.
    filter_step, depth_step : int
        Floats from one filter, and from one channel, to the next.
    turned : int
        1 turns each filter by 180 degrees, 0 does not.
    filters, channels : int
        How many there are.
    depth, width : int
        Channels and filters with the zeros that fill them up; `width` is a multiple of LANES.
    u : ndarray of float32, 1-D
        The result: for each position a matrix of depth by width, column tile by column tile.
    u_step : int
        Floats from one position to the next.
    """
    numbers = np.array(
        [outputs, filter_step, depth_step, turned, filters, channels, depth, width, u_step], dtype=np.int64
    )
    share(_transform_part, min(numba.get_num_threads(), width // LANES), (numbers,), (w, u))


def transform_filters(
    w: NDArray[Any], shape: tuple[int, ...], outputs: int, turned: bool, kept: bool = False
) -> NDArray[Any]:
    """Return G g G^T of all filters, packed for :func:`winograd_conv`.

    Parameters
    ----------
    w : ndarray of float32, 1-D
        Filters of `shape` (O, C, 3, 3), flat.
    shape : tuple of int
        Their shape.
    outputs : int
        m of F(m x m, 3 x 3): 2 or 4.
    turned : bool
        Whether to swap O and C and turn each filter by 180 degrees, as the gradient of the input needs it.
    kept : bool
        Whether to use memory that the thread keeps: the next call then overwrites the result.

    Returns
    -------
    ndarray of float32, 1-D
        For each position a matrix of channels by filters, column tile by column tile.
    """
    filters, channels = int(shape[0]), int(shape[1])
    steps = channels * 9, 9
    if turned:
        filters, channels, steps = channels, filters, (9, channels * 9)
    depth, width = whole(channels, LANES), whole(filters, LANES)
    floats = filter_floats(channels, filters, outputs)
    u = workspace.array("filters", floats) if kept else np.empty(floats, dtype=np.float32)
    transform_filters_into(
        outputs, w, *steps, int(turned), filters, channels, depth, width, u, filter_step(depth, width)
    )
    return u


def filter_step(depth: int, width: int) -> int:
    """Return the floats from one position to the next."""
    # One vector more than needed: else a power of two would put all positions into one set of a cache.
    return depth * width + LANES


def filter_floats(channels: int, filters: int, outputs: int) -> int:
    """Return the number of floats of transformed filters."""
    return (outputs + 2) ** 2 * filter_step(whole(channels, LANES), whole(filters, LANES))


@jit(inline="always")
def _finish_filter(f, outputs, parts, channels, depth, sums, s_size, s_step, taps, dw):
    """Add the parts of one filter in their order, transform them, and write them as (c, r, s)."""
    size, place = outputs + 2, f * depth
    for p in range(size * size):
        for part in range(1, parts):
            start = p * s_step + place
            fma_run(sums, start, sums, part * s_size + start, depth, np.float32(1.0))
    whole = 9 // ROWS * ROWS
    for c in range(0, depth, LANES):
        filter_tile_grad(outputs, taps, 0, 3 * LANES, LANES, sums, place + c, size * s_step, s_step)
        target, own = (f * channels + c) * 9, min(LANES, channels - c)
        for t in range(0, whole, ROWS):
            transpose_run(dw, target + t, np.int64(9), taps, t * LANES, np.int64(LANES), own)
        for t in range(whole, 9):
            for lane in range(own):
                dw[target + lane * 9 + t] = taps[t * LANES + lane]


@jit()
def _finish_part(part, parts, numbers, _, sums, dw, c, d, e):
    """Finish a part of the filters."""
    keep_apart()
    n = numbers
    filters = n[2]
    taps = np.empty(9 * LANES, np.float32)
    for f in range(filters * part // parts, filters * (part + 1) // parts):
        _finish_filter(f, n[0], n[1], n[3], n[4], sums, n[5], n[6], taps, dw)


def filter_gradient(
    sums: NDArray[Any], parts: int, filters: int, channels: int, outputs: int, dw: NDArray[Any]
) -> None:
    """Turn sums of products, position by position, into the gradient of the filters.

    Parameters
    ----------
    sums : ndarray of float32, 1-D
        For each part, and each position, a matrix of filters by channels, both up to whole vectors. The
        first part becomes the sum of all.
    parts : int
        Parts, which are added in their order.
    filters, channels : int
        Of the layer.
    outputs : int
        m of F(m x m, 3 x 3).
    dw : ndarray of float32, 1-D
        Result (filters, channels, 3, 3), flat.
    """
    depth = whole(channels, LANES)
    s_step = filter_step(depth, whole(filters, LANES))
    s_size = (outputs + 2) ** 2 * s_step
    numbers = np.array([outputs, parts, filters, channels, depth, s_size, s_step], dtype=np.int64)
    share(_finish_part, min(numba.get_num_threads(), filters), (numbers,), (sums, dw))
