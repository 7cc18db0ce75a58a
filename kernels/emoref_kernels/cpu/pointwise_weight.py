"""The weight gradient of a pointwise convolution on planes: a sum over pixels.

    dw[f, c] = sum over images n and pixels p of dy[n, f, p] * x[n, c, the pixel that p sees]

The pixels of `dy` lie side by side, and are read as they are. Those of `x` are turned, a few hundred at a
time, so that the channels of a pixel are side by side; at a stride, those that are seen are picked first.
For tiles of a few vectors of channels, the pixels of a unit (some small images, or a band of rows) then stay
in the first-level cache while all filters go by.

The units are dealt out to a fixed number of parts with sums of their own, which are added in their order.
The shapes alone decide the units and the parts, so the threads do not change a bit of the result.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import add_strided, copy_run, copy_strided, fma_run, transpose_run
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import LANES, ROWS
from emoref_kernels.cpu.simd_pixels import address_of
from emoref_kernels.cpu.simd_planes import halve_run
from emoref_kernels.cpu.simd_rows import ROW_VECTORS, RowTile, row_tile
from emoref_kernels.cpu.winograd_cuts import ceil_div, workspace

__all__ = ["pointwise_weight_fits", "pointwise_weight_grad"]

_PIXELS = 192
"""About so many pixels make a unit: fewer would spend more time on loading and storing the sums."""

_PARTS, _LEAST_PARTS = 8, 4
_SUMS_FLOATS = 256 * 1024
"""Parts, if there are as many units; fewer where the sums of all parts would need more than 1 MB."""

_HALF = LANES // 2
_ZERO, _ONE = np.float32(0), np.float32(1)


class _Plan(NamedTuple):
    """Extents, and how the work is cut."""

    images: int
    channels: int
    filters: int
    y_h: int
    y_w: int
    x_h: int
    x_w: int
    stride_h: int
    stride_w: int
    block_images: int  # images of a unit,
    band: int  # and rows of `dy` of each
    bands: int
    units: int
    parts: int
    vectors: int  # of the channels
    tiles: int
    picked: int  # where in the scratch memory the pixels that are seen are picked
    size: int  # floats of scratch memory of a thread


@jit(inline="always")
def _plan(n):
    """Return the plan of an array of its numbers; all workers take arrays alone."""
    return _Plan(
        n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12], n[13], n[14], n[15],
        n[16], n[17],
    )  # fmt: skip


@jit()
def _pick(n, x, source, rows, out, start):
    """Copy the pixels that are seen of one channel, from the row at `source` on."""
    for i in range(rows):
        row, target = source + i * n.stride_h * n.x_w, start + i * n.y_w
        if n.stride_w == 2 and n.y_w % _HALF == 0:
            # A constant length makes this a few instructions.
            for j in range(0, n.y_w, _HALF):
                halve_run(out, target + j, x, row + 2 * j, _HALF)
        else:
            copy_strided(out, target, x, row, n.y_w, n.stride_w)


@jit()
def _turn(n, x, image, first_row, rows, scratch, start, pixel):
    """Turn one image's pixels under some rows of `dy`; they become those from number `pixel` on.

    In the memory from `start` on, each tile of channels has the pixels of the unit one after another.
    """
    pixels, plane = rows * n.y_w, n.x_h * n.x_w
    unit_pixels = n.block_images * n.band * n.y_w
    first = image * n.channels * plane + first_row * n.stride_h * n.x_w
    for tile in range(n.tiles):
        vector = n.vectors * tile // n.tiles
        width = (n.vectors * (tile + 1) // n.tiles - vector) * LANES
        channel = vector * LANES
        for c in range(channel, min(channel + width, n.channels), ROWS):
            own = min(ROWS, n.channels - c)
            target = start + channel * unit_pixels + pixel * width + c - channel
            source = first + c * plane
            if n.stride_h * n.stride_w > 1:
                for m in range(own):
                    _pick(n, x, source + m * plane, rows, scratch, start + n.picked + m * pixels)
                source = start + n.picked
                if own == ROWS:
                    transpose_run(scratch, target, width, scratch, source, pixels, pixels)
                else:
                    for m in range(own):
                        add_strided(scratch, target + m, scratch, source + m * pixels, pixels, width, _ZERO)
            elif own == ROWS:
                transpose_run(scratch, target, width, x, source, plane, pixels)
            else:
                for m in range(own):
                    add_strided(scratch, target + m, x, source + m * plane, pixels, width, _ZERO)


@jit()
def _sum_part(n, part, dy, x, sums, scratch, start):
    """Sum the units of one part."""
    keep_apart()
    row, plane = n.vectors * LANES, n.y_h * n.y_w
    panels = (n.filters + ROWS - 1) // ROWS
    own_sums = part * panels * ROWS * row
    for k in range(own_sums, own_sums + panels * ROWS * row):
        sums[k] = _ZERO
    unit_pixels = n.block_images * n.band * n.y_w
    for unit in range(n.units * part // n.parts, n.units * (part + 1) // n.parts):
        block, band = divmod(unit, n.bands)
        image, first_row = block * n.block_images, band * n.band
        images, rows = min(n.block_images, n.images - image), min(n.band, n.y_h - first_row)
        pixels = rows * n.y_w
        for i in range(images):
            _turn(n, x, image + i, first_row, rows, scratch, start, i * pixels)
        y_start = image * n.filters * plane + first_row * n.y_w
        for tile in range(n.tiles):
            vector = n.vectors * tile // n.tiles
            vectors = n.vectors * (tile + 1) // n.tiles - vector
            for panel in range(panels):
                # The last panel begins earlier if it lacks filters.
                y_place = y_start + min(panel * ROWS, n.filters - ROWS) * plane
                where = RowTile(
                    own_sums + panel * ROWS * row + vector * LANES, row, y_place, plane,
                    start + vector * LANES * unit_pixels, vectors * LANES, images, n.filters * plane, pixels,
                    address_of(dy, y_place + ROWS * plane),
                )  # fmt: skip
                row_tile(sums, dy, scratch, where, vectors)


@jit()
def _combine(n, f, sums, dw):
    """Add the parts of one filter in their order."""
    row, panels = n.vectors * LANES, (n.filters + ROWS - 1) // ROWS
    panel = f // ROWS
    place = (panel * ROWS + f - min(panel * ROWS, n.filters - ROWS)) * row
    for part in range(1, n.parts):
        fma_run(sums, place, sums, part * panels * ROWS * row + place, n.channels, _ONE)
    copy_run(dw, f * n.channels, sums, place, n.channels)


@jit()
def _sum_chunk(chunk, chunks, numbers, _, dy, x, sums, scratch, _e):
    """Sum a run of parts."""
    keep_apart()
    n = _plan(numbers)
    for part in range(n.parts * chunk // chunks, n.parts * (chunk + 1) // chunks):
        _sum_part(n, part, dy, x, sums, scratch, chunk * n.size)


@jit()
def _add_chunk(chunk, chunks, numbers, _, sums, dw, _c, _d, _e):
    """Add the parts of a run of filters."""
    n = _plan(numbers)
    for f in range(n.filters * chunk // chunks, n.filters * (chunk + 1) // chunks):
        _combine(n, f, sums, dw)


@lru_cache(maxsize=64)
def _cut(
    images: int,
    channels: int,
    filters: int,
    y_extents: tuple[int, int],
    x_extents: tuple[int, int],
    stride: tuple[int, int],
) -> tuple[_Plan, NDArray[np.int64]]:
    """Return the plan, and the array of its numbers."""
    y_h, y_w = y_extents
    vectors = ceil_div(channels, LANES)
    block_images = min(max(_PIXELS // (y_h * y_w), 1), images)
    band = ceil_div(y_h, max(y_h * y_w // _PIXELS, 1))
    bands = ceil_div(y_h, band)
    units = ceil_div(images, block_images) * bands
    parts = min(max(_SUMS_FLOATS // (channels * filters), _LEAST_PARTS), _PARTS, units)
    picked = block_images * band * y_w * vectors * LANES
    size = picked + (ROWS * band * y_w if stride != (1, 1) else 0) + LANES
    plan = _Plan(
        images, channels, filters, y_h, y_w, *x_extents, *stride, block_images, band, bands, units, parts,
        vectors, ceil_div(vectors, ROW_VECTORS), picked, size,
    )  # fmt: skip
    return plan, np.array(plan, np.int64)


def pointwise_weight_fits(
    kernel: tuple[int, int], padding: tuple[int, int], groups: int, filters: int
) -> bool:
    """Return whether the gradient of a convolution's weights is one of this module."""
    return kernel == (1, 1) and padding == (0, 0) and groups == 1 and filters >= ROWS


def pointwise_weight_grad(
    dy: NDArray[Any],
    y_shape: tuple[int, ...],
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    stride: tuple[int, int],
    dw: NDArray[Any],
) -> None:
    """Compute the gradient of the weights into `dw`.

    Parameters
    ----------
    dy, x : ndarray of float32, 1-D
        Gradient of the output, of `y_shape` (N, O, OH, OW), and input, of `x_shape` (N, C, H, W), flat; at
        least one image, and at least ROWS filters.
    y_shape, x_shape : tuple of int
        Their shapes.
    stride : tuple of int
        Rows and columns from one pixel that is seen to the next.
    dw : ndarray of float32, 1-D
        Result (O, C), flat; written in full.
    """
    images, channels, x_h, x_w = x_shape
    filters, y_h, y_w = y_shape[1:]
    plan, numbers = _cut(images, channels, filters, (y_h, y_w), (x_h, x_w), stride)
    threads = numba.get_num_threads()
    chunks = min(threads, plan.parts)
    floats = plan.parts * ceil_div(filters, ROWS) * ROWS * plan.vectors * LANES
    sums = workspace.array("pointwise sums", floats)
    share(_sum_chunk, chunks, (numbers,), (dy, x, sums, workspace.array("pointwise", chunks * plan.size)))
    share(_add_chunk, min(threads, filters), (numbers,), (sums, dw))
