"""Winograd convolution of 3 x 3 filters at stride 1: forward, and the gradients of input and filters.

F(m x m, 3 x 3) computes m x m outputs with (m + 2)^2 multiplications instead of 9 m^2: 2.25 instead of 9 for
each output with m = 4, 4 with m = 2 (:mod:`~emoref_kernels.cpu.winograd_tiles` has the transforms and their
source). What remains is (m + 2)^2 matrix products, tiles by channels times channels by filters.

Where the transformed filters are small, a thread takes a block of tiles through all steps, so that the
block stays in its cache ("together"). Where they are large, reading them for each block would take
longer than multiplying; then the steps follow one another for as many tiles as memory allows, and the threads
share the positions ("in phases"). The cut changes no bit of a convolution: an output depends on its own tile
alone, as a chain of multiply-adds over the channels. Only the gradient of the filters sums over
tiles; it is cut by the shapes alone.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import LANES, ROWS
from emoref_kernels.cpu.winograd_blocks import (
    Grid,
    Side,
    column_tiles,
    load_unit,
    multiply_position,
    store_unit,
)
from emoref_kernels.cpu.winograd_cuts import make_grid, make_side, unit_pixels_of, whole, with_step, workspace
from emoref_kernels.cpu.winograd_filters import filter_gradient, filter_step

__all__ = ["winograd_conv", "winograd_weight_grad"]

_TOGETHER_FLOATS = 1024 * 1024
"""Most floats of transformed filters for which a thread takes its tiles through all steps: 4 MB."""

_TOGETHER_SUMS = 192 * 1024
"""The same for the sums of their gradient, of which each part has its own: 768 KB."""

_BLOCK_FLOATS = 320 * 1024
"""Floats of a thread's transformed tiles with F(4x4), about as many as the second-level cache holds: 1.25 MB.

F(2x2) goes through four times as many tiles, and is faster by a tenth where half as many floats stay in
the cache.
"""

_PHASE_FLOATS = 1024 * 1024, 16 * 1024 * 1024
"""Least and most floats of all transformed tiles where the steps follow one another: 4 and 64 MB."""

_PARTS = 16
"""Parts of the sum over tiles, each with sums of its own, where these are small."""


def _phase_floats(filter_floats: int) -> int:
    """Return the size of a block that the threads share: the filters are read once for each block."""
    return min(max(5 * filter_floats // 2, _PHASE_FLOATS[0]), _PHASE_FLOATS[1])


_LOAD, _LOAD_GRADIENT, _MULTIPLY, _STORE = range(4)


class Work(NamedTuple):
    """What one pass over the blocks does; both convolution and filter gradient are passes of this kind."""

    first_step: int  # steps from this one
    last_step: int  # to the one before this
    shared: int  # 1: the threads share the items of one block; 0: each takes whole parts of the sum
    block: int  # that block
    parts: int  # sums that are independent: the blocks of a convolution, or parts of a gradient
    gradient: int  # 1 for the gradient of the filters
    pixel_size: int  # floats of each thread's pixels, which come first in the common memory
    v_first: int  # where the transformed images begin,
    v_size: int  # and floats of each thread's: 0 where the threads share them
    t_first: int  # the same for products, or transformed gradients
    t_size: int
    w_size: int  # floats of each part's sums
    w_step: int  # floats from one position of the filters, or their sums, to the next


# Functions with a single caller are copied into it: each compiled one is compiled again within its callers.


@jit(inline="always")
def _step_items(step, work, grid, source, result, units):
    """Return the number of independent items of a step for a block."""
    if step == _LOAD:
        return units * source.chunks
    if step == _MULTIPLY:
        columns = source.depth if work.gradient else result.depth
        return (grid.outputs + 2) ** 2 * column_tiles(columns)
    return units * result.chunks


@jit(inline="always")
def _load_item(step, item, grid, source, result, first, units, x, dy, pixels, memory, v_start, t_start):
    """Transform one unit of the images, or of the gradient."""
    side, tensor, start = source, x, v_start
    if step == _LOAD_GRADIENT:
        side, tensor, start = result, dy, t_start
    slot, chunk = divmod(item, side.chunks)
    last = 1 if slot == units - 1 else 0
    forward = 1 if step == _LOAD else 0
    load_unit(grid, side, tensor, first + slot, slot, last, chunk, forward, pixels, memory, start)


@jit(inline="always")
def _multiply_item(item, work, grid, source, result, units, memory, v_start, t_start, w, w_start, accumulate):
    """Multiply the matrices of one position in one tile of columns."""
    tiles = (units * grid.unit_tiles + ROWS - 1) // ROWS * ROWS
    if work.gradient:
        p, column_tile = divmod(item, column_tiles(source.depth))
        a, b, c = memory, memory, w
        rows, columns, depth = result.depth, source.depth, tiles
        a_place, b_place = t_start + p * result.step, v_start + p * source.step
        c_place = w_start + p * work.w_step
        a_row, b_row, c_row = result.row, source.row, source.depth
    else:
        p, column_tile = divmod(item, column_tiles(result.depth))
        a, b, c = memory, w, memory
        rows, columns, depth = tiles, result.depth, source.depth
        a_place, b_place, c_place = v_start + p * source.step, p * work.w_step, t_start + p * result.step
        a_row, b_row, c_row = source.row, 0, result.row
    multiply_position(
        rows, columns, depth, column_tile, a, a_place, a_row, work.gradient, b, b_place, b_row, c, c_place,
        c_row, accumulate,
    )  # fmt: skip


@jit(inline="always")
def _unpack(numbers):
    """Return the descriptions of a pass from the array that holds them one after the other."""
    n = numbers
    work = Work(n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12])
    grid = Grid(n[13], n[14], n[15], n[16], n[17], n[18], n[19], n[20], n[21], n[22], n[23])
    source = Side(n[24], n[25], n[26], n[27], n[28], n[29], n[30], n[31], n[32], n[33], n[34], n[35])
    result = Side(n[36], n[37], n[38], n[39], n[40], n[41], n[42], n[43], n[44], n[45], n[46], n[47])
    return work, grid, source, result


@jit()
def _pass_part(thread, threads, numbers, _, x, other, memory, w, bias):
    """Do one thread's part of a pass; `other` is the result of a convolution, or the gradient of its output.

    There is this one function for all passes: whatever is in it is compiled once.
    """
    keep_apart()
    work, grid, source, result = _unpack(numbers)
    pixels = memory[thread * work.pixel_size : (thread + 1) * work.pixel_size]
    v_start, t_start = work.v_first + thread * work.v_size, work.t_first + thread * work.t_size
    first_part, last_part = (0, 1) if work.shared else (thread, work.parts)
    for part in range(first_part, last_part, threads):
        first_block = work.block if work.shared else grid.blocks * part // work.parts
        last_block = work.block + 1 if work.shared else grid.blocks * (part + 1) // work.parts
        for block in range(first_block, last_block):
            first = block * grid.block_units
            units = min(grid.block_units, grid.units - first)
            accumulate = 1 if block > (0 if work.shared else first_block) else 0
            for step in range(work.first_step, work.last_step):
                if step == _LOAD_GRADIENT and not work.gradient:
                    continue
                items = _step_items(step, work, grid, source, result, units)
                first_item = items * thread // threads if work.shared else 0
                last_item = items * (thread + 1) // threads if work.shared else items
                for item in range(first_item, last_item):
                    if step == _MULTIPLY:
                        _multiply_item(
                            item, work, grid, source, result, units, memory, v_start, t_start, w,
                            part * work.w_size, accumulate if work.gradient else 0,
                        )  # fmt: skip
                    elif step == _STORE:
                        slot, chunk = divmod(item, result.chunks)
                        store_unit(
                            grid, result, memory, t_start, first + slot, slot, chunk, bias, pixels, other
                        )
                    else:
                        _load_item(
                            step, item, grid, source, result, first, units, x, other, pixels, memory,
                            v_start, t_start,
                        )  # fmt: skip


class Plan(NamedTuple):
    """How one convolution, or gradient of filters, is computed; the shapes and the threads alone decide."""

    passes: tuple[tuple[int, NDArray[Any]], ...]  # their numbers of threads, and what these are told
    memory: int  # floats of pixels and transformed tiles
    parts: int  # of the sum of a gradient,
    sums: int  # and floats of them all


def _plan_of(work: Work, last_step: int, threads: int, grid: Grid, sides: tuple[Side, Side]) -> Plan:
    """Give a pass over the blocks memory; where the threads share the blocks, make it a pass for each step.

    Memory holds pixels, then transformed tiles of both sides, of each thread or common to all.
    """
    positions, count = (grid.outputs + 2) ** 2, threads if work.shared else min(threads, work.parts)
    v_floats, t_floats = positions * sides[0].step, positions * sides[1].step
    copies = 1 if work.shared else count
    v_first = threads * work.pixel_size
    t_first = v_first + copies * v_floats
    v_size, t_size = (0, 0) if work.shared else (v_floats, t_floats)
    work = work._replace(v_first=v_first, v_size=v_size, t_first=t_first, t_size=t_size, last_step=last_step)
    all_work = [work]
    if work.shared:
        steps = [step for step in range(last_step) if step != _LOAD_GRADIENT or work.gradient]
        all_work = [
            work._replace(first_step=step, last_step=step + 1, block=block)
            for block in range(grid.blocks)
            for step in steps
        ]
    passes = tuple((count, np.array((*one, *grid, *sides[0], *sides[1]), dtype=np.int64)) for one in all_work)
    return Plan(passes, t_first + copies * t_floats, work.parts, work.parts * work.w_size)


@lru_cache(maxsize=256)
def _conv_plan(
    x_shape: tuple[int, ...],
    filters: int,
    padding: tuple[int, ...],
    outputs: int,
    channels_last: bool,
    threads: int,
) -> Plan:
    images, channels, x_h, x_w = x_shape
    y_h, y_w = x_h + 2 * padding[0] - 2, x_w + 2 * padding[1] - 2
    depth, width = whole(channels, LANES), whole(filters, LANES)
    together = (outputs + 2) ** 2 * depth * width <= _TOGETHER_FLOATS
    block_floats = _BLOCK_FLOATS * outputs // 4
    floats = block_floats if together else _phase_floats((outputs + 2) ** 2 * depth * width)
    grid = make_grid(images, (y_h, y_w), outputs, depth, width, floats, threads if together else 1)
    unit_pixels = unit_pixels_of(grid)
    origin = -padding[0], -padding[1]
    source = with_step(make_side(channels, (x_h, x_w), origin, outputs + 2, unit_pixels, channels_last), grid)
    result = with_step(make_side(filters, (y_h, y_w), (0, 0), outputs, unit_pixels, channels_last), grid)
    pixel_size = 0 if channels_last else unit_pixels * max(source.chunk, result.chunk)
    u_step = filter_step(depth, width)
    work = Work(0, 0, int(not together), 0, grid.blocks, 0, pixel_size, 0, 0, 0, 0, 0, u_step)
    return _plan_of(work, _STORE + 1, threads, grid, (source, result))


@lru_cache(maxsize=256)
def _gradient_plan(
    x_shape: tuple[int, ...],
    filters: int,
    padding: tuple[int, ...],
    outputs: int,
    channels_last: bool,
    threads: int,
) -> Plan:
    images, channels, x_h, x_w = x_shape
    y_h, y_w = x_h + 2 * padding[0] - 2, x_w + 2 * padding[1] - 2
    depth, width = whole(channels, LANES), whole(filters, LANES)
    positions = (outputs + 2) ** 2
    together = positions * depth * width <= _TOGETHER_SUMS
    floats = _BLOCK_FLOATS if together else _phase_floats(positions * depth * width)
    grid = make_grid(images, (y_h, y_w), outputs, depth, width, floats, 1)
    unit_pixels = unit_pixels_of(grid)
    origin = -padding[0], -padding[1]
    x_side = with_step(make_side(channels, (x_h, x_w), origin, outputs + 2, unit_pixels, channels_last), grid)
    dy_side = with_step(make_side(filters, (y_h, y_w), (0, 0), outputs, unit_pixels, channels_last), grid)
    s_step = width * depth + LANES
    pixel_size = 0 if channels_last else unit_pixels * max(x_side.chunk, dy_side.chunk)
    parts = min(_PARTS, grid.blocks) if together else 1
    s_size = positions * s_step
    work = Work(0, 0, int(not together), 0, parts, 1, pixel_size, 0, 0, 0, 0, s_size, s_step)
    return _plan_of(work, _MULTIPLY + 1, threads, grid, (x_side, dy_side))


def _run(plan: Plan, x: NDArray[Any], other: NDArray[Any], w: NDArray[Any], *bias: NDArray[Any]) -> None:
    """Do all passes, one after the other."""
    arrays = x, other, workspace.array("tiles", plan.memory), w, *bias
    for count, numbers in plan.passes:
        share(_pass_part, count, (numbers,), arrays)


def winograd_conv(
    x: NDArray[Any],
    x_shape: tuple[int, int, int, int],
    u: NDArray[Any],
    filters: int,
    bias: NDArray[Any],
    padding: tuple[int, int],
    outputs: int,
    y: NDArray[Any],
    channels_last: bool = False,
) -> None:
    """Compute a convolution of 3 x 3 filters at stride 1 into `y`.

    Parameters
    ----------
    x : ndarray of float32, 1-D
        Images of `x_shape` (N, C, H, W), flat; at least one image.
    x_shape : tuple of int
        Their shape.
    u : ndarray of float32, 1-D
        Filters from :func:`transform_filters`.
    filters : int
        Their number.
    bias : ndarray of float32, 1-D
        One value a filter, or of length 0.
    padding : tuple of int
        Rows and columns of zeros on each side.
    outputs : int
        m of F(m x m, 3 x 3).
    y : ndarray of float32, 1-D
        Result (N, filters, H + 2 padding - 2, W + 2 padding - 2), flat.
    channels_last : bool
        Whether `x` and `y` are not planes but the memory of :class:`~emoref_kernels.cpu.maps.Maps` of these
        shapes, with at least 4 channels. The bits are the same; padding channels of `y` become zeros.
    """
    threads = numba.get_num_threads()
    plan = _conv_plan(tuple(x_shape), filters, tuple(padding), outputs, channels_last, threads)
    bias_row = np.zeros(whole(filters, LANES), dtype=np.float32)
    bias_row[: bias.size] = bias
    _run(plan, x, y, u, bias_row)


def winograd_weight_grad(
    dy: NDArray[Any],
    x: NDArray[Any],
    x_shape: tuple[int, int, int, int],
    filters: int,
    padding: tuple[int, int],
    outputs: int,
    dw: NDArray[Any],
    channels_last: bool = False,
) -> None:
    """Compute the gradient of 3 x 3 filters at stride 1 into `dw`.

    Parameters
    ----------
    dy, x : ndarray of float32, 1-D
        Gradient of the output, and images of `x_shape` (N, C, H, W), flat; at least one image.
    x_shape : tuple of int
        Shape of the images.
    filters : int
        Number of filters.
    padding : tuple of int
        Rows and columns of zeros on each side.
    outputs : int
        m of F(m x m, 3 x 3).
    dw : ndarray of float32, 1-D
        Result (filters, C, 3, 3), flat.
    channels_last : bool
        Whether `dy` and `x` are the memory of :class:`~emoref_kernels.cpu.maps.Maps`, with at least 4
        channels. The bits are the same.
    """
    threads = numba.get_num_threads()
    plan = _gradient_plan(tuple(x_shape), filters, tuple(padding), outputs, channels_last, threads)
    sums = workspace.array("sums", plan.sums)
    _run(plan, x, dy, sums)
    filter_gradient(sums, plan.parts, filters, x_shape[1], outputs, dw)
