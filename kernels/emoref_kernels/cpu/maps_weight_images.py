"""The weight gradient of a first layer: 3 x 3 taps on images of three channels, with all sums in registers.

    dw[f, c, r, s] = sum over images n and pixels (i, j) of dy[n, i, j, f] * x[n, i + r, j + s, c]

A vector of LANES filters of the output's gradient meets 27 values of the image: three runs of nine. Where the
processor has 32 registers, a tile holds all 27 vectors of sums, and so each value of the gradient is read
once. Two pixels next to each other share two of three columns of the image, so at stride 1 they go together:
36 values are read for both instead of 54. Processors with fewer registers take the rows of taps one after the
other. Wide layers take much memory for their gradient, and a pass reads LANES filters of each pixel; so all
passes over a unit together fetch the next unit's gradient, line by line.

Rows of an image are copied between zeros before. The work is cut into units, bands of an image's rows, and
these into groups with sums of their own; a unit's sum is a chain from zero, the units of a group are added in
their order, and then the groups in theirs. The cut depends on the shapes alone, so the threads do not change
a bit of the result.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from emoref_kernels.cpu.fused_tile import load_lanes, place_of, store_lanes
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import add_strided, copy_run, fma_run
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import (
    INT64,
    INTERPRETED,
    LANES,
    ROWS,
    VECTORS,
    broadcast,
    fma,
    integer,
    multiply_add,
)
from emoref_kernels.cpu.simd_pixels import prefetch
from emoref_kernels.cpu.winograd_cuts import ceil_div, workspace

__all__ = ["image_tile", "image_tile_loops", "image_weight_grad", "is_first_layer"]

_CHANNELS, _KERNEL = 3, 3
_RUN = _KERNEL * _CHANNELS
"""Neighbouring values of the image under a row of taps."""

_TAP_ROWS = _KERNEL if ROWS * VECTORS >= 24 else 1
"""Rows of taps of a tile, as far as the registers reach."""

_SUMS = _KERNEL * _RUN
"""Vectors of sums for LANES filters."""

_CHAIN = 512
"""Most pixels of a unit, where a row allows it: the shorter the chain, the smaller the error."""

_GROUPS = 16
"""Most groups of units with sums of their own."""

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_FLOATS = types.Array(types.float32, 1, "C")
_ONE, _ZERO = np.float32(1), np.float32(0)


# ----------------------------------------------------------------------------------------------- the tile


def _repeat(builder: Any, count: Any, values: list[Any], body: Any) -> list[Any]:
    """Emit `count` rounds, 0 or more, of ``values = body(values)``; return the values at the end."""
    before = builder.block
    round_block = builder.function.append_basic_block("image.round")
    end_block = builder.function.append_basic_block("image.end")
    builder.cbranch(builder.icmp_signed(">", count, integer(0)), round_block, end_block)

    builder.position_at_end(round_block)
    index = builder.phi(INT64)
    at_round = [builder.phi(value.type) for value in values]
    updated = body(at_round)
    next_index = builder.add(index, integer(1))
    last = builder.block
    builder.cbranch(builder.icmp_signed("<", next_index, count), round_block, end_block)
    index.add_incoming(integer(0), before)
    index.add_incoming(next_index, last)

    builder.position_at_end(end_block)
    at_end = [builder.phi(value.type) for value in values]
    for phi, end, value, update in zip(at_round, at_end, values, updated, strict=True):
        phi.add_incoming(value, before)
        phi.add_incoming(update, last)
        end.add_incoming(value, before)
        end.add_incoming(update, last)
    return at_end


def _emit_pixels(
    pixels: int, builder: Any, tap_rows: list[Any], dy_stride: Any, x_step: Any, values: Any
) -> Any:
    """Emit the products of one pixel, or of two next to each other.

    `values` are the pointers to dy and to what is fetched, the place in x, and the sums.
    """
    dy, fetched, place, *sums = values
    left = []
    for _ in range(pixels):
        prefetch(builder, fetched)
        fetched = builder.gep(fetched, [integer(LANES)])
        left.append(load_lanes(builder, dy))
        dy = builder.gep(dy, [dy_stride])
    for r, tap_row in enumerate(tap_rows):
        for k in range(_RUN + (pixels - 1) * _CHANNELS):
            value = builder.load(builder.gep(tap_row, [builder.add(place, integer(k))]))
            right = broadcast(builder, value, LANES)
            for pixel in range(pixels):
                tap = k - pixel * _CHANNELS
                if 0 <= tap < _RUN:
                    cell = r * _RUN + tap
                    sums[cell] = multiply_add(builder, left[pixel], right, sums[cell])
    steps = builder.mul(x_step, integer(pixels))
    return [dy, fetched, builder.add(place, steps), *sums]


@intrinsic
def _image_tile(
    typingctx, sums, sums_start, dy, dy_start, dy_stride, fetched, x, x_start, x_row, x_down, x_step, rows,
    pairs, singles,
):  # fmt: skip
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, _, _, _, dy_stride, _, _, _, x_row, x_down, x_step, rows, pairs, singles = args
        target = place_of(context, builder, signature, args, 0, args[1])
        tap_rows = [place_of(context, builder, signature, args, 6, args[7])]
        for _ in range(1, _TAP_ROWS):
            tap_rows.append(builder.gep(tap_rows[-1], [x_row]))

        def row_of_pixels(values: list[Any]) -> list[Any]:
            state = values
            for pixels, count in ((2, pairs), (1, singles)):
                state = _repeat(
                    builder, count, state,
                    lambda at, pixels=pixels: _emit_pixels(pixels, builder, tap_rows, dy_stride, x_step, at),
                )  # fmt: skip
            return [*state[:2], builder.add(values[2], x_down), *state[3:]]

        zeros = [ir.Constant(_VECTOR, [0.0] * LANES)] * (_TAP_ROWS * _RUN)
        first = place_of(context, builder, signature, args, 2, args[3])
        fetched = place_of(context, builder, signature, args, 2, args[5])
        _, _, _, *totals = _repeat(builder, rows, [first, fetched, integer(0), *zeros], row_of_pixels)
        for cell, total in enumerate(totals):
            place = builder.gep(target, [integer(cell * LANES)])
            store_lanes(builder, builder.fadd(load_lanes(builder, place), total), place)
        return context.get_dummy_value()

    ints = [types.int64] * 7
    return types.void(_FLOATS, types.int64, _FLOATS, *ints[:3], _FLOATS, *ints), emit


@jit()
def image_tile_loops(
    sums, sums_start, dy, dy_start, dy_stride, fetched, x, x_start, x_row, x_down, x_step, rows, pairs,
    singles,
):  # fmt: skip
    """Add the products of rows of pixels to a tile of sums in plain loops: the meaning of :data:`image_tile`.

    Parameters
    ----------
    sums : ndarray of float32, 1-D
        Sum of value t under the taps and of filter j: ``sums[sums_start + t * LANES + j]``.
    sums_start : int
        Place of the first.
    dy : ndarray of float32, 1-D
        The output's gradient, from which LANES filters of each pixel are read; pixels follow each other, also
        from one row to the next.
    dy_start, dy_stride : int
        Place of the first pixel, and distance of the pixels.
    fetched : int
        From here on, a vector of `dy` is brought near for each pixel, which others will need.
    x : ndarray of float32, 1-D
        The image.
    x_start : int
        Place of the first value under the taps of the first pixel.
    x_row, x_down, x_step : int
        Distance of rows of taps, of rows of pixels, and of pixels.
    rows : int
        Rows of pixels.
    pairs, singles : int
        Each row has `pairs` pairs of pixels and `singles` single ones. Pairs only where `x_step` is the
        number of channels, 3.
    """
    columns = 2 * pairs + singles
    for t in range(_TAP_ROWS * _RUN):
        for j in range(LANES):
            total = np.float32(0.0)
            for i in range(rows):
                for p in range(columns):
                    place = x_start + t // _RUN * x_row + t % _RUN + i * x_down + p * x_step
                    total = fma(dy[dy_start + (i * columns + p) * dy_stride + j], x[place], total)
            sums[sums_start + t * LANES + j] += total


image_tile: Any = image_tile_loops if INTERPRETED else _image_tile
"""One tile in vector registers; :func:`image_tile_loops` says what each argument is."""


# --------------------------------------------------------------------------------------------- the driver


class _Plan(NamedTuple):
    """Extents, and how the work is cut; distances are in floats."""

    x_h: int
    x_w: int
    y_h: int
    y_w: int
    stride_h: int
    stride_w: int
    padding_h: int
    padding_w: int
    filters: int
    y_stride: int
    row: int  # of the copied image
    columns: int  # of an image's row that are copied
    band: int  # rows of pixels of a unit
    bands: int
    units: int
    groups: int
    vectors: int  # of filters
    group_floats: int
    scratch_floats: int


@lru_cache(maxsize=64)
def _numbers(
    x_shape: tuple[int, ...],
    y_shape: tuple[int, ...],
    y_stride: int,
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> tuple[_Plan, NDArray[Any]]:
    """Cut the work; return the plan, and as the kernels take it."""
    images, _, x_h, x_w = x_shape
    _, filters, y_h, y_w = y_shape
    scratch_w = (y_w - 1) * stride[1] + _KERNEL
    row = scratch_w * _CHANNELS
    bands = ceil_div(y_h, max(_CHAIN // y_w, 1))
    band = ceil_div(y_h, bands)
    bands = ceil_div(y_h, band)
    units, vectors = images * bands, ceil_div(filters, LANES)
    plan = _Plan(
        x_h, x_w, y_h, y_w, *stride, *padding, filters, y_stride, row,
        max(min(scratch_w - padding[1], x_w), 0), band, bands, units, min(_GROUPS, units), vectors,
        vectors * _SUMS * LANES, ((band - 1) * stride[0] + _KERNEL) * row,
    )  # fmt: skip
    return plan, np.array(plan, dtype=np.int64)


@jit()
def _unpack(n):
    """Return the plan that an array holds: workers take arrays only."""
    return _Plan(
        n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12], n[13], n[14], n[15],
        n[16], n[17], n[18],
    )  # fmt: skip


@jit()
def _clear(values, start, count):
    for i in range(start, start + count):
        values[i] = _ZERO


@jit(inline="always")
def _sum_unit(plan, unit, dy, x, scratch, start, sums, sums_start):
    """Copy the rows of an image that a unit needs between zeros, and add its products to a group's sums."""
    image, first = unit // plan.bands, unit % plan.bands * plan.band
    rows = min(plan.band, plan.y_h - first)
    for i in range((rows - 1) * plan.stride_h + _KERNEL):
        target, source = start + i * plan.row, first * plan.stride_h - plan.padding_h + i
        if source < 0 or source >= plan.x_h:
            _clear(scratch, target, plan.row)
        else:
            place = (image * plan.x_h + source) * plan.x_w * _CHANNELS
            copy_run(scratch, target + plan.padding_w * _CHANNELS, x, place, plan.columns * _CHANNELS)
    pairs = plan.y_w // 2 if plan.stride_w == 1 else 0
    pixels, dy_start = rows * plan.y_w, (image * plan.y_h + first) * plan.y_w * plan.y_stride
    for vector in range(plan.vectors):
        # All vectors together fetch what follows this unit's gradient, in the order of memory.
        fetched = dy_start + pixels * (plan.y_stride + vector * LANES)
        for r in range(0, _KERNEL, _TAP_ROWS):
            image_tile(
                sums, sums_start + (vector * _KERNEL + r) * _RUN * LANES, dy, dy_start + vector * LANES,
                plan.y_stride, fetched, scratch, start + r * plan.row, plan.row, plan.row * plan.stride_h,
                _CHANNELS * plan.stride_w, rows, pairs, plan.y_w - 2 * pairs,
            )  # fmt: skip


@jit()
def _sum_groups(thread, threads, numbers, _, dy, x, scratch, sums, _e):
    """Add up the units of each of a thread's groups."""
    keep_apart()
    plan = _unpack(numbers)
    start = thread * plan.scratch_floats
    _clear(scratch, start, plan.scratch_floats)
    for group in range(thread, plan.groups, threads):
        _clear(sums, group * plan.group_floats, plan.group_floats)
        for unit in range(plan.units * group // plan.groups, plan.units * (group + 1) // plan.groups):
            _sum_unit(plan, unit, dy, x, scratch, start, sums, group * plan.group_floats)


@jit()
def _finish(numbers, sums, dw):
    """Add the groups in their order, to the first, and write the sums as (filter, c, r, s)."""
    plan = _unpack(numbers)
    for group in range(1, plan.groups):
        fma_run(sums, 0, sums, group * plan.group_floats, plan.group_floats, _ONE)
    for cell in range(plan.vectors * _SUMS):
        vector, value = divmod(cell, _SUMS)
        tap, channel = divmod(value, _CHANNELS)
        first = vector * LANES
        target = first * _SUMS + channel * _KERNEL * _KERNEL + tap
        add_strided(dw, target, sums, cell * LANES, min(LANES, plan.filters - first), _SUMS, _ZERO)


def is_first_layer(x_stride: int, y_stride: int, kernel: tuple[int, ...]) -> bool:
    """Return whether :func:`image_weight_grad` is made for maps of such pixels, and such a kernel."""
    return x_stride == _CHANNELS and y_stride % LANES == 0 and kernel == (_KERNEL, _KERNEL)


def image_weight_grad(
    dy: NDArray[Any],
    y_shape: tuple[int, ...],
    dy_stride: int,
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dw: NDArray[Any],
) -> None:
    """Compute the gradient of the weights of a 3 x 3 convolution of images of three channels into `dw`.

    Parameters
    ----------
    dy, x : ndarray of float32, 1-D
        Memory of the maps of the output's gradient, and of the images; at least one image.
    y_shape, x_shape : tuple of int
        Their shapes (N, C, H, W); the pixels of `x` have no padding.
    dy_stride : int
        Floats from one pixel of `dy` to the next, a multiple of LANES.
    stride, padding : tuple of int
        (height, width).
    dw : ndarray of float32, shape (O, 3, 3, 3)
        C-contiguous; written in full.
    """
    plan, numbers = _numbers(tuple(x_shape), tuple(y_shape), dy_stride, tuple(stride), tuple(padding))
    threads = min(numba.get_num_threads(), plan.groups)
    scratch = workspace.array("weight scratch", threads * plan.scratch_floats)
    sums = workspace.array("weight sums", plan.groups * plan.group_floats)
    share(_sum_groups, threads, (numbers,), (dy, x, scratch, sums))
    _finish(numbers, sums, dw.reshape(-1))
