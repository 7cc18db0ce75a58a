"""The weight and bias gradients of a convolution on channels-last maps, as products of pixels.

    dw[f, c, r, s] = sum over images n and pixels p of dy[n, p, f] * x[n, position of p under tap (r, s), c]

The sum runs over pixels. With the channels innermost, the gradient at a pixel is a row of filters, and the
image under one row of taps is a row of (s, c). A table says where both begin for each pixel
(:mod:`~emoref_kernels.cpu.simd_pixels`). They are read in place where that is possible; rows of taps above or
below the image are left out of the table. Else the rows of an image are copied between zeros, for some
channels at a time (a "slice"): where there are zeros beside the image, or where pixels under a row of taps
lie so far apart that they would crowd a few sets of the cache. Images of few channels have all taps of a
pixel copied next to each other ("folded"), but for the commonest first layers, which have a kernel of their
own (:mod:`~emoref_kernels.cpu.maps_weight_images`).

The work is cut into units, bands of an image's rows or a few small images, and the units are dealt out to
parts. Each part adds up its units in their order, in single precision; it is short, so that little is lost.
Parts are added in their order. Where the gradient is small, they form a few groups with sums of their own,
which the threads share. Where it is large, the threads share its rows and slices, and each takes its own
through all parts. Every cut depends on the shapes alone, so the threads do not change a bit of the result.

Functions with one caller become part of it before they are compiled; a chain of small ones is optimised as
often as it is long, and takes three times as long to compile.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.maps_weight_cuts import BLOCK, Plan, cut
from emoref_kernels.cpu.maps_weight_images import image_weight_grad, is_first_layer
from emoref_kernels.cpu.runs import add_strided, copy_run, copy_strided, fma_run
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import LANES, ROWS, VECTORS
from emoref_kernels.cpu.simd_pixels import copy_vectors, multiply_pixels
from emoref_kernels.cpu.winograd_cuts import ceil_div, workspace

__all__ = ["direct_weight_grad", "maps_bias_grad"]

_PLAN_NUMBERS = len(Plan._fields)
_BIAS_FLOATS = 8 * LANES
"""Floats of neighbouring pixels that are added side by side."""

_BIAS_TERMS = 1024
"""Most values that are added in single precision."""

_ONE, _ZERO = np.float32(1), np.float32(0)


@jit()
def _unpack(n):
    """Return the plan that an array holds: workers take arrays only."""
    return Plan(
        n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12], n[13], n[14], n[15],
        n[16], n[17], n[18], n[19], n[20], n[21], n[22], n[23], n[24], n[25], n[26], n[27], n[28], n[29],
        n[30], n[31], n[32], n[33], n[34], n[35], n[36], n[37], n[38], n[39], n[40], n[41], n[42], n[43],
    )  # fmt: skip


@jit()
def _clear(values, start, count):
    for i in range(start, start + count):
        values[i] = _ZERO


@jit(inline="always")
def _copy_image(plan, x, image, first, rows, channel, channels, scratch, start):
    """Copy rows of one image, `first` the one for scratch row 0, into scratch memory between zeros.

    Columns beside the image are zero already. Rows above or below it are cleared if the taps are folded; else
    nothing reads them.
    """
    left, columns = plan.padding_w, max(min(plan.scratch_w - plan.padding_w, plan.x_w), 0)
    runs, count = (1, columns * plan.pixel) if plan.pixel == plan.x_stride else (columns, channels)
    whole = count // LANES * LANES
    for i in range(rows):
        target = start + i * plan.row + left * plan.pixel
        if first + i < 0 or first + i >= plan.x_h:
            if plan.folded:
                _clear(scratch, target, columns * plan.pixel)
            continue
        source = (image * plan.x_h + first + i) * plan.x_w * plan.x_stride + channel
        for j in range(runs):
            copy_vectors(scratch, target + j * plan.pixel, x, source + j * plan.x_stride, whole)
            place = target + j * plan.pixel + whole
            copy_strided(scratch, place, x, source + j * plan.x_stride + whole, count - whole, 1)


@jit(inline="always")
def _fold(plan, images, rows, scratch, start):
    """Copy the values under all taps of each pixel of a unit next to each other, behind the scratch image.

    Each copy is taken up to whole vectors; the next one overwrites what is too much.
    """
    run = plan.kernel_w * plan.pixel
    target = start + plan.scratch_floats
    for image in range(images):
        for i in range(rows):
            source = start + image * plan.image + i * plan.stride_h * plan.row
            for _ in range(plan.y_w):
                for r in range(plan.kernel_h):
                    copy_vectors(scratch, target + r * run, scratch, source + r * plan.row, run)
                source += plan.stride_w * plan.pixel
                target += plan.width


@jit(inline="always")
def _multiply_unit(
    plan, numbers, images, first_row, rows, left, left_start, right, right_start, panels, vectors,
    sums, sums_start,
):  # fmt: skip
    """Add the products of one unit's pixels to the sums of one item."""
    tiles = (vectors + VECTORS - 1) // VECTORS
    for block in range(plan.blocks):
        bounds = _PLAN_NUMBERS + 3 * block
        low = max(numbers[bounds] - first_row, 0)
        high = min(numbers[bounds + 1] - first_row, rows)
        place = numbers[bounds + 2] + (low * plan.y_w if plan.bands > 1 else 0)
        target = sums_start + block * plan.panels * ROWS * plan.width
        count = images * (high - low) * plan.y_w
        for k in range(0, count, BLOCK):
            for tile in range(tiles):
                column = vectors * tile // tiles
                left_step = 0 if tile else plan.left_step
                multiply_pixels(
                    sums, target + column * LANES, plan.width, panels, left, left_start,
                    right, right_start + column * LANES, numbers, place + k, min(BLOCK, count - k),
                    left_step, plan.right_step, vectors * (tile + 1) // tiles - column,
                )  # fmt: skip


@jit(inline="always")
def _load_unit(plan, image, images, i, height, row, rows, column, columns, dy, x, scratch, start):
    """Copy what the products of one unit do not read in place."""
    if plan.copied:
        needed = (height - 1) * plan.stride_h + plan.kernel_h
        x_row = i * plan.stride_h - plan.padding_h
        for n in range(images):
            _copy_image(plan, x, image + n, x_row, needed, column, columns, scratch, start + n * plan.image)
    if plan.folded:
        _fold(plan, images, height, scratch, start)
    if plan.left_copied:
        source = (image * plan.y_h + i) * plan.y_w * plan.y_stride + row
        target = start + plan.scratch_floats + plan.folded_floats
        for p in range(images * height * plan.y_w):
            copy_strided(scratch, target + p * plan.y_pixel, dy, source + p * plan.y_stride, rows, 1)


@jit(inline="always")
def _sum_part(plan, numbers, part, item, dy, x, scratch, start, sums, sums_start):
    """Add up the units of one part for the rows and columns of one item."""
    slice_index, row_item = divmod(item, plan.row_items)
    row, column = row_item * plan.panels * ROWS, slice_index * plan.slice
    rows, columns = min(plan.panels * ROWS, plan.rows - row), min(plan.slice, plan.columns - column)
    used = plan.width if plan.copied or plan.kernel_w > 1 else columns
    panels, vectors = (rows + ROWS - 1) // ROWS, (used + LANES - 1) // LANES
    left, right = (x, dy) if plan.swapped else (dy, x)
    _clear(sums, sums_start, plan.item_floats)
    for unit in range(plan.units * part // plan.parts, plan.units * (part + 1) // plan.parts):
        block, band = divmod(unit, plan.bands)
        image, i = block * plan.unit_images, band * plan.band
        images, height = min(plan.unit_images, plan.images - image), min(plan.band, plan.y_h - i)
        _load_unit(plan, image, images, i, height, row, rows, column, columns, dy, x, scratch, start)
        y_start = (image * plan.y_h + i) * plan.y_w * plan.y_stride
        x_start = (image * plan.x_h + i * plan.stride_h - plan.padding_h) * plan.x_w * plan.x_stride
        left_start, right_start = (x_start, y_start) if plan.swapped else (y_start, x_start)
        left_start, right_start = left_start + row, right_start + column
        if plan.copied:
            right, right_start = scratch, start + (plan.scratch_floats if plan.folded else 0)
        if plan.left_copied:
            left, left_start = scratch, start + plan.scratch_floats + plan.folded_floats
        _multiply_unit(
            plan, numbers, images, i, height, left, left_start, right, right_start, panels, vectors,
            sums, sums_start,
        )  # fmt: skip


@jit()
def _finish_rows(plan, item, groups, sums, sums_start, step, dw):
    """Add the groups of the rows of an item in their order, to the first, and write them as (c, r, s)."""
    keep_apart()
    slice_index, row_item = divmod(item, plan.row_items)
    row, column = row_item * plan.panels * ROWS, slice_index * plan.slice
    columns = min(plan.slice, plan.columns - column)
    taps = plan.kernel_h * plan.kernel_w
    row_step, column_step = (1, plan.rows) if plan.swapped else (plan.columns * taps, taps)
    for m in range(min(plan.panels * ROWS, plan.rows - row)):
        for block in range(plan.blocks):
            total = sums_start + (block * plan.panels * ROWS + m) * plan.width
            for group in range(1, groups):
                fma_run(sums, total, sums, total + group * step, plan.width, _ONE)
            target = (row + m) * row_step + column * column_step + block * plan.kernel_w
            if column_step == 1:
                copy_run(dw, target, sums, total, columns)
                continue
            for tap in range(taps // plan.blocks):
                add_strided(dw, target + tap, sums, total + tap * plan.pixel, columns, column_step, _ZERO)


@jit()
def _finish_items(numbers, sums, dw):
    """Add the groups of all items in their order, and write them."""
    plan = _unpack(numbers)
    items = plan.slices * plan.row_items
    for item in range(items):
        start, step = item * plan.item_floats, items * plan.item_floats
        _finish_rows(plan, item, plan.groups, sums, start, step, dw)


@jit()
def _run_thread(thread, threads, numbers, _, dy, x, scratch, sums, dw):
    """Sum one thread's items, part by part; where they are whole, write them."""
    keep_apart()
    plan = _unpack(numbers)
    items, start = plan.slices * plan.row_items, thread * plan.thread_floats
    _clear(scratch, start, plan.scratch_floats)
    own = start + plan.scratch_floats + plan.folded_floats + plan.left_floats
    for index in range(thread, items * plan.groups, threads):
        group, item = divmod(index, items)
        total, total_start = (scratch, own) if plan.shared else (sums, index * plan.item_floats)
        first = plan.parts * group // plan.groups
        for part in range(first, plan.parts * (group + 1) // plan.groups):
            target, place = total, total_start
            if part > first:
                target, place = scratch, own + (plan.item_floats if plan.shared else 0)
            _sum_part(plan, numbers, part, item, dy, x, scratch, start, target, place)
            if part > first:
                fma_run(total, total_start, scratch, place, plan.item_floats, _ONE)
        if plan.shared:
            _finish_rows(plan, item, plan.groups, scratch, own, plan.item_floats, dw)


def direct_weight_grad(
    dy: NDArray[Any],
    y_shape: tuple[int, ...],
    dy_stride: int,
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    x_stride: int,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dw: NDArray[Any],
) -> None:
    """Compute the gradient of a convolution's weights, without groups, into `dw`.

    Parameters
    ----------
    dy, x : ndarray of float32, 1-D
        Memory of the maps of the output's gradient, and of the images; at least one image.
    y_shape, x_shape : tuple of int
        Their shapes (N, C, H, W).
    dy_stride, x_stride : int
        Floats from one pixel to the next.
    stride, padding : tuple of int
        (height, width).
    dw : ndarray of float32, shape (O, C, R, S)
        C-contiguous; written in full.
    """
    if is_first_layer(x_stride, dy_stride, dw.shape[2:]):
        image_weight_grad(dy, y_shape, dy_stride, x, x_shape, stride, padding, dw)
        return
    how = tuple(x_shape), x_stride, tuple(y_shape), dy_stride, dw.shape[2:], tuple(stride), tuple(padding)
    plan, numbers = cut(*how)
    items = plan.slices * plan.row_items * plan.groups
    threads = min(numba.get_num_threads(), items)
    scratch = workspace.array("weight scratch", threads * plan.thread_floats)
    sums = workspace.array("weight sums", 0 if plan.shared else items * plan.item_floats)
    out = dw.reshape(-1)
    share(_run_thread, threads, (numbers,), (dy, x, scratch, sums, out))
    if not plan.shared:
        _finish_items(numbers, sums, out)


@jit()
def _bias_blocks(part, parts, numbers, _, dy, sums, _c, _d, _e):
    """Add up blocks of pixels, groups of neighbours side by side."""
    pixels, group, block = numbers[0], numbers[1], numbers[2]
    for start in range(part * block, pixels, parts * block):
        target = start // block * group
        _clear(sums, target, group)
        for place in range(start, min(start + block, pixels), group):
            fma_run(sums, target, dy, place, min(group, pixels - place), _ONE)


def maps_bias_grad(dy: NDArray[Any], y_shape: tuple[int, ...], dy_stride: int, db: NDArray[Any]) -> None:
    """Compute the gradient of a convolution's bias into `db`: the sum over the pixels of each channel.

    Parameters
    ----------
    dy : ndarray of float32, 1-D
        Memory of the maps of the output's gradient.
    y_shape : tuple of int
        Their shape (N, C, H, W).
    dy_stride : int
        Floats from one pixel to the next.
    db : ndarray of float32, shape (C,)
        Written in full.
    """
    channels, values = y_shape[1], y_shape[0] * y_shape[2] * y_shape[3] * dy_stride
    group = max(_BIAS_FLOATS // dy_stride, 1) * dy_stride
    block = _BIAS_TERMS * group
    blocks = ceil_div(values, block)
    sums = np.empty((blocks, group // dy_stride, dy_stride), dtype=np.float32)
    numbers = np.array((values, group, block), dtype=np.int64)
    share(_bias_blocks, min(numba.get_num_threads(), blocks), (numbers,), (dy, sums.reshape(-1)))
    db[:] = sums.sum(axis=(0, 1), dtype=np.float64)[:channels]
