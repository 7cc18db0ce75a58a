"""Winograd convolution on images that lie channels-last between zeros: the form for fused networks.

A buffer has the shape (images, height + 2 halo, width + 2 halo, depth), C-contiguous; `depth` is the number
of channels up to a whole vector, and the halo and the missing channels hold zeros. The kernels here read a
buffer in place and write the inner part of another, so that a network's layers follow one another
without any conversion, and what follows a convolution is done on a tile while it is in the cache: bias
(scale and shift of a batch norm, once its scale is in the filters), residual, ReLU, 2x2 max pooling.

They are plain compiled functions for a few images each, to be called inside somebody else's parallel loop
with that thread's own scratch memory; :func:`padded_conv` says how much they need. A map may have any
extent: tiles that reach over the edge go through a copy between zeros.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from emoref_kernels.cpu.fused_tile import at_least, larger_of, load_lanes, place_of, store_lanes
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import copy_run, fma_run
from emoref_kernels.cpu.simd import INTERPRETED, LANES, ROWS, broadcast
from emoref_kernels.cpu.winograd_blocks import column_tiles, multiply_position
from emoref_kernels.cpu.winograd_cuts import row_floats
from emoref_kernels.cpu.winograd_filters import transform_filters
from emoref_kernels.cpu.winograd_tiles import input_tile, output_tile, output_tile_grad

__all__ = [
    "LOOPS",
    "PaddedConv",
    "add_filter_grad",
    "convolve_padded",
    "floor_vector",
    "padded_conv",
    "padded_filters",
    "padded_sums",
    "pool_vector",
]

_FLOATS = types.Array(types.float32, 1, "C")
_TILE_FLOATS = 320 * 1024
_PATCH = 36 * LANES


class PaddedConv(NamedTuple):
    """A 3 x 3 convolution of stride 1 and padding 1 on padded buffers; made by :func:`padded_conv`.

    Attributes
    ----------
    outputs : int
        m of F(m x m, 3 x 3).
    height, width : int
        Of the map, without halo.
    depth, filters : int
        Channels of the input and of the result, in whole vectors.
    x_halo, y_halo, residual_halo : int
        Rows and columns of zeros around the input, the result and the residual; the input's is at least 1.
    relu, pooled, residual : int
        Not 0: negative results become 0; 2x2 max pooling follows; a residual of the result's extents (before
        pooling) is added.
    tiles_h, tiles_w, block : int
        Tiles of an image, and how many go through the steps together.
    v_row, v_step, m_row, m_step : int
        Distances of tiles and of positions, for the input and for the result.
    u_step : int
        Distance of positions in the filters and in their gradient's sums.
    scratch : int
        Floats of scratch memory.
    """

    outputs: int
    height: int
    width: int
    depth: int
    filters: int
    x_halo: int
    y_halo: int
    residual_halo: int
    relu: int
    pooled: int
    residual: int
    tiles_h: int
    tiles_w: int
    block: int
    v_row: int
    v_step: int
    m_row: int
    m_step: int
    u_step: int
    scratch: int


def padded_conv(
    channels: int,
    filters: int,
    extents: tuple[int, int],
    outputs: int = 4,
    *,
    x_halo: int = 1,
    y_halo: int = 1,
    residual_halo: int = -1,
    relu: bool = False,
    pooled: bool = False,
    block: int = 0,
) -> PaddedConv:
    """Describe a convolution on padded buffers.

    Parameters
    ----------
    channels, filters : int
        Of the layer; buffers hold them up to whole vectors.
    extents : tuple of int
        Rows and columns of the map.
    outputs : int
        m of F(m x m, 3 x 3): 4, or 2 in the mode "exact".
    x_halo, y_halo : int
        Zeros around the input (at least 1) and the result.
    residual_halo : int
        Zeros around the residual; negative: there is none.
    relu, pooled : bool
        Whether ReLU and 2x2 max pooling follow, in this order, after the residual.
    block : int
        Tiles that go through the steps together; 0: as many as stay in the second-level cache.

    Returns
    -------
    PaddedConv
        What the kernels take.
    """
    depth, width = -(-channels // LANES) * LANES, -(-filters // LANES) * LANES
    tiles_h, tiles_w = -(-extents[0] // outputs), -(-extents[1] // outputs)
    positions = (outputs + 2) ** 2
    tiles = block or max(_TILE_FLOATS // (positions * (depth + width)), ROWS)
    tiles = -(-tiles // ROWS) * ROWS
    v_row, m_row = row_floats(depth), row_floats(width)
    v_step, m_step = tiles * v_row + LANES, tiles * m_row + LANES
    return PaddedConv(
        outputs, *extents, depth, width, x_halo, y_halo, max(residual_halo, 0), int(relu), int(pooled),
        int(residual_halo >= 0), tiles_h, tiles_w, tiles, v_row, v_step, m_row, m_step, depth * width + LANES,
        positions * (v_step + m_step) + _PATCH,
    )  # fmt: skip


def padded_filters(
    w: NDArray[Any], outputs: int, scale: NDArray[Any] | None = None, *, turned: bool = False
) -> NDArray[Any]:
    """Return the transformed filters for :func:`convolve_padded`.

    Parameters
    ----------
    w : ndarray of float32, shape (O, C, 3, 3)
        Filters.
    outputs : int
        m of F(m x m, 3 x 3).
    scale : ndarray of float32, shape (O,), optional
        Factor of each filter, such as a batch norm's.
    turned : bool
        Whether they are for the gradient of the input.

    Returns
    -------
    ndarray of float32, 1-D
        For each position a matrix of channels by filters.
    """
    scaled = w if scale is None else w * scale[:, None, None, None]
    flat = np.ascontiguousarray(scaled, dtype=np.float32).reshape(-1)
    return transform_filters(flat, w.shape, outputs, turned)


def padded_sums(p: PaddedConv) -> int:
    """Return the floats of the sums of :func:`add_filter_grad`."""
    return (p.outputs + 2) ** 2 * p.u_step


# ------------------------------------------------------------------------------------- vectors of a tile


@intrinsic
def _floor_vector(typingctx, y, y_place, t, t_place, floor):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = load_lanes(builder, place_of(context, builder, signature, args, 2, args[3]))
        value = at_least(builder, value, broadcast(builder, args[4], LANES))
        store_lanes(builder, value, place_of(context, builder, signature, args, 0, args[1]))
        return context.get_dummy_value()

    return types.void(_FLOATS, types.int64, _FLOATS, types.int64, types.float32), emit


@intrinsic
def _pool_vector(typingctx, y, y_place, t, t_place, t_row, floor):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        left = place_of(context, builder, signature, args, 2, args[3])
        step = ir.Constant(ir.IntType(64), LANES)
        value = load_lanes(builder, left)
        below = builder.gep(left, [args[4]])
        for other in (builder.gep(left, [step]), below, builder.gep(below, [step])):
            value = larger_of(builder, load_lanes(builder, other), value)
        value = at_least(builder, value, broadcast(builder, args[5], LANES))
        store_lanes(builder, value, place_of(context, builder, signature, args, 0, args[1]))
        return context.get_dummy_value()

    return types.void(_FLOATS, types.int64, _FLOATS, types.int64, types.int64, types.float32), emit


@jit()
def _floor_loops(y, y_place, t, t_place, floor):
    for lane in range(LANES):
        value = t[t_place + lane]
        y[y_place + lane] = floor if value < floor else value


@jit()
def _pool_loops(y, y_place, t, t_place, t_row, floor):
    for lane in range(LANES):
        best = t[t_place + lane]
        for other in (LANES, t_row, t_row + LANES):
            value = t[t_place + other + lane]
            best = value if value > best or value != value else best
        y[y_place + lane] = floor if best < floor else best


LOOPS = {"floor_vector": _floor_loops, "pool_vector": _pool_loops}
"""The plain-loop twin of each vector function: its meaning."""

floor_vector: Any = _floor_loops if INTERPRETED else _floor_vector
"""``floor_vector(y, y_place, t, t_place, floor)`` copies a vector; what is below `floor` becomes `floor`."""

pool_vector: Any = _pool_loops if INTERPRETED else _pool_vector
"""``pool_vector(y, y_place, t, t_place, t_row, floor)`` writes the largest of `floor` and 2 x 2 vectors."""


# ------------------------------------------------------------------------------------------------- tiles


@jit()
def _load_tile(p, forward, depth, halo, step, x, image, i, j, scratch, target, patch):
    """Transform one tile of a buffer whose image begins at `image`."""
    reach = 1 if forward else 0
    span = p.outputs + 2 * reach
    row, column = i * p.outputs + halo - reach, j * p.outputs + halo - reach
    rows, columns = p.height + 2 * halo, p.width + 2 * halo
    size = p.outputs + 2
    inside = row + span <= rows and column + span <= columns
    for c in range(0, depth, LANES):
        source, x_row, x_column = image + (row * columns + column) * depth + c, columns * depth, depth
        if inside:
            if forward:
                input_tile(p.outputs, scratch, target + c, size * step, step, x, source, x_row, x_column)
            else:
                output_tile_grad(
                    p.outputs, scratch, target + c, size * step, step, x, source, x_row, x_column
                )
            continue
        for r in range(span):
            for s in range(span):
                place = patch + (r * span + s) * LANES
                if row + r < rows and column + s < columns:
                    copy_run(scratch, place, x, source + r * x_row + s * x_column, LANES)
                else:
                    for lane in range(LANES):
                        scratch[place + lane] = 0.0
        if forward:
            input_tile(p.outputs, scratch, target + c, size * step, step, scratch, patch, span * LANES, LANES)
        else:
            output_tile_grad(
                p.outputs, scratch, target + c, size * step, step, scratch, patch, span * LANES, LANES
            )


@jit()
def _load_tiles(p, forward, x, x_start, first, count, scratch, start):
    """Transform `count` tiles from number `first` on, and zero those up to a whole number of ROWS."""
    depth, halo, row, step = p.depth, p.x_halo, p.v_row, p.v_step
    if not forward:
        depth, halo, row, step = p.filters, p.y_halo, p.m_row, p.m_step
    patch = start + p.scratch - _PATCH
    positions = (p.outputs + 2) ** 2
    begin = start if forward else start + positions * p.v_step
    floats = (p.height + 2 * halo) * (p.width + 2 * halo) * depth
    for tile in range(count):
        image, place = divmod(first + tile, p.tiles_h * p.tiles_w)
        i, j = divmod(place, p.tiles_w)
        _load_tile(
            p,
            forward,
            depth,
            halo,
            step,
            x,
            x_start + image * floats,
            i,
            j,
            scratch,
            begin + tile * row,
            patch,
        )
    for tile in range(count, (count + ROWS - 1) // ROWS * ROWS):
        for position in range(positions):
            for c in range(depth):
                scratch[begin + position * step + tile * row + c] = 0.0


@jit()
def _finish_tile(p, i, j, c, scratch, patch, residual, r_image, y, y_image):
    """Write the valid pixels of one tile for LANES channels, with what follows the convolution."""
    m = p.outputs
    rows, columns = min(m, p.height - i * m), min(m, p.width - j * m)
    floor = np.float32(0.0) if p.relu else np.float32(-np.inf)
    if p.residual:
        line = p.width + 2 * p.residual_halo
        corner = (i * m + p.residual_halo) * line + j * m + p.residual_halo
        for r in range(rows):
            for s in range(columns):
                place = r_image + (corner + r * line + s) * p.filters + c
                fma_run(scratch, patch + (r * m + s) * LANES, residual, place, LANES, np.float32(1.0))
    if p.pooled:
        line = p.width // 2 + 2 * p.y_halo
        corner = (i * m // 2 + p.y_halo) * line + j * m // 2 + p.y_halo
        for r in range(rows // 2):
            for s in range(columns // 2):
                place = y_image + (corner + r * line + s) * p.filters + c
                pool_vector(y, place, scratch, patch + 2 * (r * m + s) * LANES, m * LANES, floor)
        return
    line = p.width + 2 * p.y_halo
    corner = (i * m + p.y_halo) * line + j * m + p.y_halo
    for r in range(rows):
        for s in range(columns):
            place = y_image + (corner + r * line + s) * p.filters + c
            floor_vector(y, place, scratch, patch + (r * m + s) * LANES, floor)


@jit()
def _store_tiles(p, first, count, bias, bias_start, residual, r_start, y, y_start, scratch, start):
    """Transform the products of `count` tiles and write them."""
    m, size = p.outputs, p.outputs + 2
    products, patch = start + size * size * p.v_step, start + p.scratch - _PATCH
    y_h, y_w = (p.height // 2, p.width // 2) if p.pooled else (p.height, p.width)
    y_floats = (y_h + 2 * p.y_halo) * (y_w + 2 * p.y_halo) * p.filters
    r_floats = (p.height + 2 * p.residual_halo) * (p.width + 2 * p.residual_halo) * p.filters
    for tile in range(count):
        image, place = divmod(first + tile, p.tiles_h * p.tiles_w)
        i, j = divmod(place, p.tiles_w)
        for c in range(0, p.filters, LANES):
            output_tile(
                m, scratch, patch, m * LANES, LANES, scratch, products + tile * p.m_row + c,
                size * p.m_step, p.m_step, bias, bias_start + c,
            )  # fmt: skip
            _finish_tile(
                p, i, j, c, scratch, patch, residual, r_start + image * r_floats, y,
                y_start + image * y_floats,
            )  # fmt: skip


# ------------------------------------------------------------------------------------------- the kernels


@jit()
def convolve_padded(
    p, images, x, x_start, u, u_start, bias, bias_start, residual, r_start, y, y_start, scratch, start
):
    """Convolve some images, and do what follows.

    Parameters
    ----------
    p : PaddedConv
        The layer.
    images : int
        Their number.
    x, x_start : ndarray of float32, 1-D, and int
        Input buffer, and where its first image begins; the same holds for the other arrays.
    u : ndarray of float32, 1-D
        Filters from :func:`padded_filters`.
    bias : ndarray of float32, 1-D
        One value for each of ``p.filters`` channels.
    residual : ndarray of float32, 1-D
        Buffer of the residual; any array if there is none. It may be the result's: each value is read before
        it is written.
    y : ndarray of float32, 1-D
        Buffer of the result; its halo is left alone.
    scratch : ndarray of float32, 1-D
        ``p.scratch`` floats that nobody else uses meanwhile.

    Notes
    -----
    A value depends on its own tile alone, so its bits do not depend on `images` or on ``p.block``.
    """
    positions, tiles = (p.outputs + 2) ** 2, images * p.tiles_h * p.tiles_w
    products = start + positions * p.v_step
    for first in range(0, tiles, p.block):
        count = min(p.block, tiles - first)
        _load_tiles(p, 1, x, x_start, first, count, scratch, start)
        for position in range(positions):
            for column_tile in range(column_tiles(p.filters)):
                multiply_position(
                    count, p.filters, p.depth, column_tile, scratch, start + position * p.v_step, p.v_row, 0,
                    u, u_start + position * p.u_step, 0, scratch, products + position * p.m_step, p.m_row, 0,
                )  # fmt: skip
        _store_tiles(p, first, count, bias, bias_start, residual, r_start, y, y_start, scratch, start)


@jit()
def add_filter_grad(p, images, x, x_start, dy, dy_start, sums, sums_start, accumulate, scratch, start):
    """Sum, position by position, the products that the gradient of the filters needs.

    Parameters
    ----------
    p : PaddedConv
        The layer; `dy` has ``p.y_halo`` around it, and is not pooled.
    images, x, x_start, scratch, start
        As in :func:`convolve_padded`.
    dy, dy_start : ndarray of float32, 1-D, and int
        Gradient of the convolution's result.
    sums, sums_start : ndarray of float32, 1-D, and int
        :func:`padded_sums` floats, for :func:`~emoref_kernels.cpu.winograd_filters.filter_gradient`.
    accumulate : int
        1 to add to the sums, 0 to begin.
    """
    positions, tiles = (p.outputs + 2) ** 2, images * p.tiles_h * p.tiles_w
    gradients = start + positions * p.v_step
    for first in range(0, tiles, p.block):
        count = min(p.block, tiles - first)
        _load_tiles(p, 1, x, x_start, first, count, scratch, start)
        _load_tiles(p, 0, dy, dy_start, first, count, scratch, start)
        depth = (count + ROWS - 1) // ROWS * ROWS
        for position in range(positions):
            for column_tile in range(column_tiles(p.depth)):
                multiply_position(
                    p.filters, p.depth, depth, column_tile, scratch, gradients + position * p.m_step, p.m_row,
                    1, scratch, start + position * p.v_step, p.v_row, sums,
                    sums_start + position * p.u_step, p.depth, 1 if first else accumulate,
                )  # fmt: skip
