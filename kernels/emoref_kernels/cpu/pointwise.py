"""Pointwise convolution of planes, and the gradient of its input: every pixel by itself.

    y[n, f, p] = bias[f] + sum over c of w[f, c] * x[n, c, the pixel that p sees]

A 1 x 1 filter does not see where a row ends, so the pixels of a plane are taken in vectors of neighbours. A
tile is up to three vectors, of one image or of several. Its values in all channels are copied next to each
other, so that they stay in the first-level cache while the filters go by, panel by panel; at a stride, only
the pixels that the windows see are copied. The vectors of the result are stored where they belong. While
the first panels are multiplied, the pixels of the next tile are brought near.

Where a plane does not end with a whole vector, its last vector begins earlier and shares pixels with the one
before: both get the same values.

The gradient of the input is the same product with the weights transposed. At a stride, its values lie between
zeros, which the owner of a pixel writes with it: those up to the next pixel that is seen, and below.

Each value is one chain of multiply-adds in the order of the channels, as in
:mod:`~emoref_kernels.cpu.correlate`. Its bits depend neither on the other images and filters nor on the cut.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.gemm import pack_panel
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import add_strided, copy_run, copy_strided
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import LANES, ROWS, TILE, VECTORS
from emoref_kernels.cpu.simd_pixels import LINE, address_of
from emoref_kernels.cpu.simd_planes import PlaneTile, halve_run, plane_tile, spread_run
from emoref_kernels.cpu.winograd_cuts import ceil_div, whole, workspace

__all__ = ["pointwise_conv", "pointwise_fits", "pointwise_input_grad"]

_HALF = LANES // 2

_ZERO = np.float32(0)
_NO_BIAS = np.zeros(0, np.float32)
_TAP = np.zeros(1, np.int64)

_STRETCHES, _PIECES = 1, 2
"""How the pixels of a vector lie in the large plane if not side by side: half vectors of every other column,
or as the rows and the stride will have it."""

_PACKING = 5
"""Packing the weights of a filter takes as long as copying so many vectors of pixels, as measured."""


class _Plan(NamedTuple):
    """Extents, and how the work is cut.

    The *large* plane is the input's, the *small* one that of the pixels which windows see. The gradient goes
    from small to large.
    """

    images: int
    depth: int  # channels that are summed over
    filters: int
    pixels: int  # of the small plane,
    vectors: int  # and vectors of them
    width: int  # of the small plane
    large_h: int
    large_w: int
    stride_h: int
    stride_w: int
    spread: int  # 1: from small to large at a stride
    lie: int  # 0, or one of the ways above
    w_row: int  # distance of the weights of two filters,
    w_depth: int  # and of two channels
    panels: int
    panel_parts: int  # parts that the panels are cut into; each copies the pixels that it needs
    size: int  # floats of scratch memory of a part


@jit(inline="always")
def _plan(n):
    """Return the plan of an array of its numbers; all workers take arrays alone."""
    return _Plan(
        n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12], n[13], n[14], n[15],
        n[16],
    )  # fmt: skip


@jit(inline="always")
def _first_pixel(n, vector):
    """Return the image of a vector, and its first pixel in the small plane."""
    image, place = divmod(vector, n.vectors)
    return image, min(place * LANES, n.pixels - LANES)


@jit(inline="always")
def _seen(n, pixel):
    """Return the row and the column of the large plane that belong to a pixel of the small one."""
    row, column = divmod(pixel, n.width)
    return row * n.stride_h, column * n.stride_w


@jit()
def _gather(n, vector, x, plane, out, start):
    """Copy a vector of pixels in all channels into rows of TILE."""
    image, pixel = _first_pixel(n, vector)
    source = image * n.depth * plane
    if n.spread or not n.lie:
        for c in range(n.depth):
            copy_run(out, start + c * TILE, x, source + c * plane + pixel, LANES)
        return
    done = 0
    while done < LANES:
        row, column = _seen(n, pixel + done)
        first, target = source + row * n.large_w + column, start + done
        if n.lie == _STRETCHES:
            count = _HALF
            # A constant length makes this a few instructions.
            for c in range(n.depth):
                halve_run(out, target + c * TILE, x, first + c * plane, _HALF)
        else:
            count = min(n.width - column // n.stride_w, LANES - done)
            for c in range(n.depth):
                copy_strided(out, target + c * TILE, x, first + c * plane, count, n.stride_w)
        done += count


@jit()
def _place_between_zeros(n, vector, tile, start, zeros, rows, y, y_start):
    """Write a vector of some filters to the pixels that it sees, and the zeros that belong to it.

    `y_start` is the plane of the first of the filters in the first image.
    """
    image, pixel = _first_pixel(n, vector)
    plane = n.large_h * n.large_w
    done = 0
    while done < LANES:
        row, column = _seen(n, pixel + done)
        first = y_start + image * n.filters * plane + row * n.large_w + column
        high = min(n.stride_h, n.large_h - row)
        source = start + done
        if n.lie == _STRETCHES:
            count = _HALF
            for m in range(rows):
                target = first + m * plane
                spread_run(y, target, tile, source + m * TILE, _HALF)
                for i in range(1, high):
                    copy_run(y, target + i * n.large_w, tile, zeros, LANES)
        else:
            count = min(n.width - column // n.stride_w, LANES - done)
            wide = min(count * n.stride_w, n.large_w - column)
            for m in range(rows):
                target = first + m * plane
                for i in range(high):
                    for j in range(wide):
                        y[target + i * n.large_w + j] = _ZERO
                add_strided(y, target, tile, source + m * TILE, count, n.stride_w, _ZERO)
        done += count


@jit()
def _ahead(n, vector, line, x, plane):
    """Return the address of a line of the pixels of a tile that begins with `vector`."""
    if n.spread or not n.lie:
        image, pixel = _first_pixel(n, vector + line * LINE // LANES)
        return address_of(x, image * n.depth * plane + pixel)
    seen = line * LINE // n.stride_w
    image, pixel = _first_pixel(n, vector + seen // LANES)
    row, column = _seen(n, pixel + seen % LANES)
    return address_of(x, image * n.depth * plane + row * n.large_w + column)


@jit(inline="always")
def _pack(n, first_filter, panels, w, tap, bias, scratch, packed, addends):
    """Pack the weights of some panels, and their bias with zeros for filters that do not exist."""
    for panel in range(panels):
        row = first_filter + panel * ROWS
        pack_panel(
            w, row * n.w_row, n.w_row, n.filters - row, n.depth, n.w_depth, tap, scratch,
            packed + panel * ROWS * n.depth,
        )  # fmt: skip
        for m in range(ROWS):
            given = bias.size and row + m < n.filters
            scratch[addends + panel * ROWS + m] = bias[row + m] if given else _ZERO


@jit(inline="always")
def _multiply(n, vector, own, first_filter, panels, lines, places, tables, bias, x, y, scratch):
    """Compute a tile of `own` vectors for some panels of filters; `places` are those in scratch memory."""
    packed, addends, pixels, tile, zeros = places
    small, large = n.pixels, n.large_h * n.large_w
    x_plane = small if n.spread else large
    for v in range(own):
        _gather(n, vector + v, x, x_plane, scratch, pixels + v * LANES)
        image, pixel = _first_pixel(n, vector + v)
        tables[v] = image * n.filters * small + pixel
    for panel in range(panels):
        row, a = first_filter + panel * ROWS, packed + panel * ROWS * n.depth
        rows = min(ROWS, n.filters - row)
        addend = addends + panel * ROWS if bias.size else -1
        # Behind the pixels there is nothing to fetch: the line asked for is near already.
        near = panel >= lines
        ahead = address_of(scratch, a) if near else _ahead(n, vector + VECTORS, panel, x, x_plane)
        step = 0 if near else x_plane
        if rows == ROWS and not n.spread:
            where = PlaneTile(
                row * small, small, a, pixels, 0, VECTORS, 2 * VECTORS, n.depth, 0, addend, ahead, step
            )
            plane_tile(y, scratch, scratch, scratch, tables, where, own)
            continue
        where = PlaneTile(
            tile, TILE, a, pixels, VECTORS, VECTORS, 2 * VECTORS, n.depth, 0, addend, ahead, step
        )
        plane_tile(scratch, scratch, scratch, scratch, tables, where, own)
        for v in range(own):
            if n.spread:
                _place_between_zeros(n, vector + v, scratch, tile + v * LANES, zeros, rows, y, row * large)
                continue
            for m in range(rows):
                copy_run(y, (row + m) * small + tables[v], scratch, tile + m * TILE + v * LANES, LANES)


@jit()
def _part(part, parts, numbers, tap, x, w, bias, y, scratch):
    """Compute some panels of filters for some vectors of pixels."""
    keep_apart()
    n = _plan(numbers)
    panel_part, vector_part = divmod(part, parts // n.panel_parts)
    vector_parts = parts // n.panel_parts
    first_panel = n.panels * panel_part // n.panel_parts
    panels = n.panels * (panel_part + 1) // n.panel_parts - first_panel
    first_filter, packed = first_panel * ROWS, part * n.size
    addends = packed + panels * ROWS * n.depth
    pixels = addends + panels * ROWS
    tile = pixels + n.depth * TILE
    zeros = tile + ROWS * TILE
    _pack(n, first_filter, panels, w, tap, bias, scratch, packed, addends)
    for k in range(zeros, zeros + LANES):
        scratch[k] = _ZERO
    # Places of a tile's vectors in the result, their places in a tile of its own, and the rows of pixels.
    tables = np.empty(2 * VECTORS + n.depth, np.int64)
    for v in range(VECTORS):
        tables[VECTORS + v] = v * LANES
    for c in range(n.depth):
        tables[2 * VECTORS + c] = c * TILE
    every = n.images * n.vectors
    first, last = every * vector_part // vector_parts, every * (vector_part + 1) // vector_parts
    if n.pixels % LANES:
        # The last vector of a plane belongs to the thread that has the one before: they share pixels.
        first += 1 if first % n.vectors == n.vectors - 1 else 0
        last += 1 if last % n.vectors == n.vectors - 1 else 0
    lines = VECTORS * LANES // LINE
    if n.lie and not n.spread:
        lines *= n.stride_w
    places = packed, addends, pixels, tile, zeros
    for vector in range(first, last, VECTORS):
        own = min(VECTORS, last - vector)
        _multiply(n, vector, own, first_filter, panels, lines, places, tables, bias, x, y, scratch)


@lru_cache(maxsize=64)
def _cut(
    images: int,
    depth: int,
    filters: int,
    small: tuple[int, int],
    large: tuple[int, int],
    stride: tuple[int, int],
    gradient: bool,
    threads: int,
) -> tuple[NDArray[np.int64], int, int]:
    """Return the numbers of the plan, the number of parts, and their scratch memory in floats."""
    pixels = small[0] * small[1]
    vectors, panels = ceil_div(pixels, LANES), ceil_div(filters, ROWS)
    panel_parts = min(threads, panels) if filters > _PACKING * images * vectors else 1
    parts = panel_parts if panel_parts > 1 else min(threads, ceil_div(images * vectors, VECTORS))
    lie = 0
    if stride != (1, 1):
        halves = stride[1] == 2 and small[1] % _HALF == 0 and large[1] == 2 * small[1]
        lie = _STRETCHES if halves else _PIECES
    size = whole(ceil_div(panels, panel_parts) * ROWS * (depth + 1) + (depth + ROWS) * TILE + LANES, LANES)
    w_row, w_depth = (1, filters) if gradient else (depth, 1)
    plan = _Plan(
        images, depth, filters, pixels, vectors, small[1], *large, *stride, int(gradient and lie > 0), lie,
        w_row, w_depth, panels, panel_parts, size,
    )  # fmt: skip
    return np.array(plan, np.int64), parts, parts * size


def pointwise_fits(
    kernel: tuple[int, int], padding: tuple[int, int], groups: int, pixels: int, filters: int
) -> bool:
    """Return whether a convolution, or the gradient of its input, is one of this module.

    Parameters
    ----------
    kernel, padding : tuple of int
        (height, width) of the filters, and zeros around the input.
    groups : int
        Number of groups.
    pixels : int
        Pixels of the output of an image.
    filters : int
        Filters; channels of the input for its gradient.
    """
    return kernel == (1, 1) and padding == (0, 0) and groups == 1 and pixels >= LANES and filters > 2


def pointwise_conv(
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    w: NDArray[Any],
    bias: NDArray[Any],
    stride: tuple[int, int],
    y: NDArray[Any],
    y_shape: tuple[int, ...],
) -> None:
    """Compute a pointwise convolution into `y`.

    Parameters
    ----------
    x : ndarray of float32, 1-D
        Input of `x_shape` (N, C, H, W), flat; at least one image.
    x_shape, y_shape : tuple of int
        Shapes of the input and of the output.
    w : ndarray of float32, 1-D
        Filters (O, C), flat.
    bias : ndarray of float32, 1-D
        One value a filter, or of length 0.
    stride : tuple of int
        Rows and columns from one pixel that is seen to the next.
    y : ndarray of float32, 1-D
        Result of `y_shape` (N, O, OH, OW), flat; written in full.
    """
    images, depth, large_h, large_w = x_shape
    filters, small_h, small_w = y_shape[1:]
    small, large, threads = (small_h, small_w), (large_h, large_w), numba.get_num_threads()
    numbers, parts, size = _cut(images, depth, filters, small, large, stride, False, threads)
    share(_part, parts, (numbers, _TAP), (x, w, bias, y, workspace.array("pointwise", size)))


def pointwise_input_grad(
    dy: NDArray[Any],
    y_shape: tuple[int, ...],
    w: NDArray[Any],
    stride: tuple[int, int],
    dx: NDArray[Any],
    x_shape: tuple[int, ...],
) -> None:
    """Compute the gradient of the input of :func:`pointwise_conv` into `dx`.

    Parameters
    ----------
    dy : ndarray of float32, 1-D
        Gradient of the output of `y_shape` (N, O, OH, OW), flat; at least one image.
    y_shape, x_shape : tuple of int
        Shapes of the output and of the input.
    w : ndarray of float32, 1-D
        Filters (O, C), flat.
    stride : tuple of int
        As for the convolution.
    dx : ndarray of float32, 1-D
        Result of `x_shape` (N, C, H, W), flat; written in full, with zeros where no window looks.
    """
    images, depth, small_h, small_w = y_shape
    channels, large_h, large_w = x_shape[1:]
    small, large, threads = (small_h, small_w), (large_h, large_w), numba.get_num_threads()
    numbers, parts, size = _cut(images, depth, channels, small, large, stride, True, threads)
    share(_part, parts, (numbers, _TAP), (dy, w, _NO_BIAS, dx, workspace.array("pointwise", size)))
