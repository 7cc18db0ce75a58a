"""The weight gradient of the convolution, as a product of rows of pixels.

    dw[f, c, r, s] = sum over images n and pixels p of dy[n, f, p] * x[n, c, position of p under tap (r, s)]

The sum runs over pixels, so both operands are copied with the pixels outermost: `dy` in panels of ROWS
filters, `x` padded and with its channels innermost. For one row r of the kernel, the values under its taps
(s, c) are then neighbours in memory, and each tile of the product reads them in place, at any stride. Where
these are few (first layers), the rows under all r are copied next to each other as well ("folded"), so that
all taps (s, r, c) are neighbours.

The units of work (a band of one image's rows, or a block of small images) are dealt out to a fixed number
of parts. Each part sums into a buffer of its own, in the order of the units; then the buffers are added in
the order of the parts. The number of parts depends on the shapes alone, so the threads do not change a bit
of the result.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.gemm import BLOCK
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import add_strided, copy_run, fma_run, transpose_run
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import LANES, ROWS, TILE, multiply_panels
from emoref_kernels.cpu.winograd_cuts import workspace

__all__ = ["weight_grad"]

_SCRATCH_FLOATS = 192 * 1024
"""Most floats of padded input in a unit of work, where one row of one image allows it: 768 KB."""

_PANELS_PER_ITEM = 8
_PARTS = 16
"""Items that a product is cut into, if there are as many units: enough for the threads of most machines."""

_BUFFER_FLOATS = 16 * 1024 * 1024
"""Most floats in the buffers of all parts: 64 MB."""


class Plan(NamedTuple):
    """Extents, and how the work is cut."""

    images: int
    groups: int
    channels: int  # of one group
    x_h: int
    x_w: int
    filters: int  # of one group
    y_h: int
    y_w: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    padding_h: int
    padding_w: int
    fold: int  # kernel rows that are neighbours in the scratch memory: 1, or all
    blocks: int  # kernel rows / fold
    pixel: int  # floats from one scratch pixel to the next: fold * channels, or more
    scratch_w: int
    scratch_image: int  # floats of one image
    block_images: int  # images of a unit of work
    band: int  # output rows of a unit of work
    bands: int
    units: int
    panels: int
    panel_items: int  # parts into which the filters of a group are cut
    parts: int
    width: int  # columns of a buffer: kernel_w * pixel, up to a whole vector


_PLAN_NUMBERS = len(Plan._fields)


@jit()
def _channels_last(plan, x, start, first_row, rows, out, out_start):
    """Copy `rows` scratch rows of one image with the channels innermost.

    Columns beyond the edges of x stay as they are: zero, and never written, in any unit.
    """
    channels, plane = plan.channels, plan.x_h * plan.x_w
    count = max(min(plan.x_w, plan.scratch_w - plan.padding_w), 0)
    whole = channels // ROWS * ROWS
    step = plan.stride_h if plan.fold > 1 else 1
    for i in range(rows):
        for r in range(plan.fold):
            row = first_row + i * step + r
            target = out_start + (i * plan.scratch_w + plan.padding_w) * plan.pixel + r * channels
            if row < 0 or row >= plan.x_h:
                for column in range(count):
                    place = target + column * plan.pixel
                    for c in range(place, place + channels):
                        out[c] = 0.0
                continue
            source = start + row * plan.x_w
            for c in range(0, whole, ROWS):
                transpose_run(out, target + c, plan.pixel, x, source + c * plane, plane, count)
            for c in range(whole, channels):
                add_strided(out, target + c, x, source + c * plane, count, plan.pixel, np.float32(0.0))


@jit()
def _pack_filters(
    plan, dy, image, group, first_filter, panels, first_pixel, pixels, unit_pixels, out, out_start, rows_start
):
    """Copy the gradient of some filters at one image's pixels into panels of ROWS filters.

    From `rows_start` on there is memory for a panel that lacks filters: their rows are zeros.
    """
    plane = plan.y_h * plan.y_w
    start = ((image * plan.groups + group) * plan.filters + first_filter) * plane + first_pixel
    for panel in range(panels):
        source = start + panel * ROWS * plane
        target = out_start + panel * unit_pixels * ROWS
        left = plan.filters - first_filter - panel * ROWS
        if left >= ROWS:
            transpose_run(out, target, ROWS, dy, source, plane, pixels)
        else:
            for row in range(left):
                copy_run(out, rows_start + row * pixels, dy, source + row * plane, pixels)
            out[rows_start + left * pixels : rows_start + ROWS * pixels] = 0.0
            transpose_run(out, target, ROWS, out, rows_start, pixels, pixels)


@jit()
def _multiply_unit(plan, pixels, panels, scratch, start, packed, offsets, sums, sums_start, first):
    """Add the products of one band of pixels to the sums of one item."""
    for p in range(0, pixels, BLOCK):
        count = min(BLOCK, pixels - p)
        for block in range(plan.blocks):
            row_start = start + block * plan.scratch_w * plan.pixel
            row_sums = sums_start + block * plan.panels * ROWS * plan.width
            for column in range(0, plan.width, TILE):
                multiply_panels(
                    sums, row_sums + column, plan.width, scratch, packed + p * ROWS, pixels * ROWS, panels,
                    scratch, row_start + column, offsets, p, count, 0 if first and p == 0 else 1,
                    np.int64(ROWS), min(TILE, plan.width - column) // LANES,
                )  # fmt: skip


@jit()
def _weight_grad_item(item, plan, dy, x, offsets, sums, scratch, start, packed, missing_rows):
    """Sum the images of one part for the filters of one item.

    The memory of a thread has the input from `start` on, filters from `packed`, a panel from `missing_rows`.
    """
    part, rest = divmod(item, plan.groups * plan.panel_items)
    group, panel_item = divmod(rest, plan.panel_items)
    first_panel = plan.panels * panel_item // plan.panel_items
    panels = plan.panels * (panel_item + 1) // plan.panel_items - first_panel
    first_filter = first_panel * ROWS
    size = plan.blocks * plan.panels * ROWS * plan.width
    sums_start = (part * plan.groups + group) * size + first_filter * plan.width
    first_unit = plan.units * part // plan.parts
    for unit in range(first_unit, plan.units * (part + 1) // plan.parts):
        block, band = divmod(unit, plan.bands)
        first_image, i = block * plan.block_images, band * plan.band
        images = min(plan.block_images, plan.images - first_image)
        rows = min(plan.band, plan.y_h - i)
        pixels = rows * plan.y_w
        first_row = i * plan.stride_h - plan.padding_h
        scratch_rows = rows if plan.fold > 1 else (rows - 1) * plan.stride_h + plan.kernel_h
        for n in range(images):
            image, place = first_image + n, start + n * plan.scratch_image
            source = (image * plan.groups + group) * plan.channels * plan.x_h * plan.x_w
            _channels_last(plan, x, source, first_row, scratch_rows, scratch, place)
            _pack_filters(
                plan, dy, image, group, first_filter, panels, i * plan.y_w, pixels, images * pixels,
                scratch, packed + n * pixels * ROWS, missing_rows,
            )  # fmt: skip
        _multiply_unit(
            plan, images * pixels, panels, scratch, start, packed, offsets, sums, sums_start,
            unit == first_unit,
        )  # fmt: skip


@jit()
def _combine_filter(index, plan, sums, total, start, dw):
    """Add the parts of one filter in their order, in `total` from `start` on, and write them as (c, r, s)."""
    group, f = divmod(index, plan.filters)
    size = plan.blocks * plan.panels * ROWS * plan.width
    taps = plan.kernel_h * plan.kernel_w
    for block in range(plan.blocks):
        row = group * size + (block * plan.panels * ROWS + f) * plan.width
        copy_run(total, start, sums, row, plan.width)
        for part in range(1, plan.parts):
            fma_run(total, start, sums, row + part * plan.groups * size, plan.width, np.float32(1.0))
        for s in range(plan.kernel_w):
            for inner in range(plan.fold):
                r = block * plan.fold + inner
                source = start + (s * plan.fold + inner) * plan.channels
                target = index * plan.channels * taps + r * plan.kernel_w + s
                add_strided(dw, target, total, source, plan.channels, taps, np.float32(0.0))


@jit(inline="always")
def _plan(n):
    """Return the plan that an array begins with; all workers take arrays alone."""
    return Plan(
        n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12], n[13], n[14],
        n[15], n[16], n[17], n[18], n[19], n[20], n[21], n[22], n[23], n[24], n[25], n[26],
    )  # fmt: skip


@jit()
def _chunk(chunk, chunks, numbers, offsets, dy, x, sums, scratch, dw):
    """Sum a run of items, or add the parts of a run of filters."""
    keep_apart()
    plan, n = _plan(numbers), numbers[_PLAN_NUMBERS:]
    combine, packed, missing_rows, size = n[0], n[1], n[2], n[3]
    start = chunk * size
    if combine:
        filters = plan.groups * plan.filters
        for index in range(filters * chunk // chunks, filters * (chunk + 1) // chunks):
            _combine_filter(index, plan, sums, scratch, start, dw)
        return
    for place in range(start, start + packed):
        scratch[place] = 0.0  # what lies around the input, and is never written, stays zero
    items = plan.parts * plan.groups * plan.panel_items
    for item in range(items * chunk // chunks, items * (chunk + 1) // chunks):
        _weight_grad_item(
            item, plan, dy, x, offsets, sums, scratch, start, start + packed, start + missing_rows
        )


class _Tables(NamedTuple):
    """What a plan means for the worker."""

    sums: NDArray[np.int64]  # the numbers for the first pass,
    combine: NDArray[np.int64]  # and for the second
    offsets: NDArray[np.int64]  # where the values under tap (0, 0) of each pixel begin in scratch memory
    size: int  # floats of a thread's scratch memory


@lru_cache(maxsize=64)
def _tables(plan: Plan) -> _Tables:
    row = plan.scratch_w * plan.pixel * (1 if plan.fold > 1 else plan.stride_h)
    images = np.arange(plan.block_images, dtype=np.int64) * plan.scratch_image
    rows = np.arange(plan.band, dtype=np.int64) * row
    columns = np.arange(plan.y_w, dtype=np.int64) * (plan.stride_w * plan.pixel)
    offsets = (images[:, None, None] + rows[:, None] + columns).reshape(-1)
    packed = plan.block_images * plan.scratch_image + TILE
    missing_rows = packed + _ceil_div(plan.panels, plan.panel_items) * ROWS * offsets.size
    size = max(missing_rows + ROWS * plan.band * plan.y_w, plan.width)
    sums, combine = (
        np.array((*plan, combine, packed, missing_rows, size), np.int64) for combine in (False, True)
    )
    return _Tables(sums, combine, offsets, size)


def _weight_grad(plan: Plan, dy: NDArray[Any], x: NDArray[Any], dw: NDArray[Any]) -> None:
    tables, threads = _tables(plan), numba.get_num_threads()
    items, filters = plan.parts * plan.groups * plan.panel_items, plan.groups * plan.filters
    scratch = workspace.array("weight rows", min(threads, max(items, filters)) * tables.size)
    floats = plan.parts * plan.groups * plan.blocks * plan.panels * ROWS * plan.width
    arrays = dy, x, np.empty(floats, np.float32), scratch, dw
    share(_chunk, min(threads, items), (tables.sums, tables.offsets), arrays)
    share(_chunk, min(threads, filters), (tables.combine, tables.offsets), arrays)


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def make_plan(
    x_shape: tuple[int, int, int, int],
    w_shape: tuple[int, int, int, int],
    y_shape: tuple[int, int, int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Plan:
    """Cut the sum into parts, by the shapes alone: the cut decides the order of the additions."""
    images, all_channels, x_h, x_w = x_shape
    all_filters, channels, kernel_h, kernel_w = w_shape
    groups = all_channels // channels
    filters = all_filters // groups
    y_h, y_w = y_shape[2:]
    scratch_w = (y_w - 1) * stride[1] + kernel_w
    panels = _ceil_div(filters, ROWS)
    # Folding saves vectors in each of panels * ROWS / 2 cycles, and copies each value kernel_h times.
    row_vectors, all_vectors = (
        _ceil_div(kernel_w * channels, LANES),
        _ceil_div(kernel_h * kernel_w * channels, LANES),
    )
    saved = panels * ROWS / 2 * (kernel_h * row_vectors - all_vectors)
    fold = kernel_h if saved > 2 * (kernel_h - 1) * channels else 1
    pixel = fold * channels
    width = _ceil_div(kernel_w * pixel, LANES) * LANES
    if kernel_w == 1:
        # An odd number of vectors spreads the pixels over the sets of the cache.
        pixel = (_ceil_div(pixel, LANES) | 1) * LANES
    row_step, halo = (1, 0) if fold > 1 else (stride[0], kernel_h - 1)

    rows_allowed = (_SCRATCH_FLOATS // (pixel * scratch_w) - halo - 1) // row_step + 1
    band = min(y_h, max(rows_allowed, 1))
    bands = _ceil_div(y_h, band)
    scratch_image = ((band - 1) * row_step + halo + 1) * scratch_w * pixel
    block_images = 1
    if bands == 1:
        # Fewer than BLOCK pixels would spend more time on loading and storing the sums than on adding.
        allowed = max(_SCRATCH_FLOATS // scratch_image, 1)
        block_images = min(_ceil_div(BLOCK, y_h * y_w), allowed, images)
    units = _ceil_div(images, block_images) * bands
    blocks = kernel_h // fold
    panel_items = _ceil_div(panels, _PANELS_PER_ITEM)
    memory = groups * blocks * panels * ROWS * width
    parts = max(1, min(units, _ceil_div(_PARTS, panel_items * groups), _BUFFER_FLOATS // memory))
    return Plan(
        images, groups, channels, x_h, x_w, filters, y_h, y_w, kernel_h, kernel_w, *stride, *padding, fold,
        blocks, pixel, scratch_w, scratch_image, block_images, band, bands, units, panels, panel_items, parts,
        width,
    )  # fmt: skip


def weight_grad(
    dy: NDArray[Any],
    y_shape: tuple[int, int, int, int],
    x: NDArray[Any],
    x_shape: tuple[int, int, int, int],
    w_shape: tuple[int, int, int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dw: NDArray[Any],
) -> None:
    """Compute the gradient of the weights into `dw`.

    Parameters
    ----------
    dy, x : ndarray of float32, 1-D
        Gradient of the output and input, of `y_shape` and `x_shape`, flat; at least one image.
    w_shape : tuple of int
        (O, C / groups, R, S) of the weights.
    stride, padding : tuple of int
        (height, width).
    dw : ndarray of float32, 1-D
        Written in full.
    """
    _weight_grad(make_plan(x_shape, w_shape, y_shape, stride, padding), dy, x, dw)
