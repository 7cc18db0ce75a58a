"""Pooling of channels-last maps and its gradients.

What a window means, which of several equal pixels wins and what NaN does is said in
:mod:`emoref_kernels.reference.pool`; the windows of a row are treated by
:mod:`~emoref_kernels.cpu.maps_pool_windows`.

The rows of results are independent. In a gradient, windows may overlap, so an image belongs to one thread,
which adds its windows in scan order; its rows are set to zero shortly before the first window reaches them,
so that they are still in the cache then. Padding channels are pooled like the others, and stay zero.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu import pool
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.maps_pool_windows import add_shares, clear_run, hand_on, take_largest, take_mean
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import LANES

__all__ = [
    "avg_pool_maps",
    "avg_pool_maps_grad",
    "global_avg_maps",
    "global_avg_maps_grad",
    "max_pool_maps",
    "max_pool_maps_grad",
]

Array = NDArray[Any]
Pair = tuple[int, int]


# --------------------------------------------------------------------------------------- rows and images

_LARGEST, _MEAN, _LARGEST_GRAD, _MEAN_GRAD = range(4)


class Windows(NamedTuple):
    """How windows slide over maps; every number is an extent or a step."""

    task: int
    images: int
    x_h: int
    x_w: int
    width: int  # floats of a pixel
    y_h: int
    y_w: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    padding_h: int
    padding_w: int
    fresh: int  # 1: windows of 2 x 2, side by side


@jit(inline="always")
def _windows(n):
    """Return the NamedTuple that an array holds; workers take arrays only."""
    return Windows(
        n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12], n[13]
    )  # fmt: skip


@jit(inline="always")
def _row(numbers, p, image, i, a, x, scale, out):
    """Do the task for one row of windows; `a` is x, or dy for a gradient."""
    x_row, width, jump = p.x_w * p.width, p.width, p.stride_w * p.width
    top = i * p.stride_h - p.padding_h
    first_row, last_row = max(top, 0), min(top + p.kernel_h, p.x_h)
    rows, j = last_row - first_row, 0
    while j < p.y_w:
        left = j * p.stride_w - p.padding_w
        first, last = max(left, 0), min(left + p.kernel_w, p.x_w)
        columns, count = last - first, 1
        if columns == p.kernel_w:
            # All windows that lie inside, at once.
            count = min((p.x_w - last) // p.stride_w + 1, p.y_w - j)
        x_place = (image * p.x_h + first_row) * x_row + first * width
        y_place = ((image * p.y_h + i) * p.y_w + j) * width
        # Read here: of a task known before, the compiler would make a loop of its own for each.
        task = numbers[0]
        if task == _LARGEST:
            take_largest(out, y_place, a, x_place, x_row, jump, rows, columns, width, count)
        elif task == _MEAN:
            take_mean(out, y_place, a, x_place, x_row, jump, rows, columns, width, count, scale)
        elif task == _LARGEST_GRAD:
            hand_on(out, x, x_place, a, y_place, x_row, jump, rows, columns, width, count, p.fresh)
        else:
            add_shares(out, x_place, a, y_place, x_row, jump, rows, columns, width, count, scale)
        j += count


@jit()
def _chunk(chunk, chunks, numbers, _, a, x, out, _d, _e):
    """Do the task for a share of the rows of windows, or of the images for a gradient."""
    keep_apart()
    p = _windows(numbers)
    scale = np.float32(1.0 / (p.kernel_h * p.kernel_w))
    x_row, y_rows = p.x_w * p.width, p.y_h
    gradient = p.task in (_LARGEST_GRAD, _MEAN_GRAD)
    unit = y_rows if gradient else 1
    units = p.images * y_rows // unit
    reached = 0
    for row in range(units * chunk // chunks * unit, units * (chunk + 1) // chunks * unit):
        image, i = row // y_rows, row % y_rows
        if gradient:
            # Rows before `reached` are zero, or hold what windows gave. Fresh windows need no zeros.
            first = reached if i else 0
            reached = max(first, min(i * p.stride_h - p.padding_h + p.kernel_h, p.x_h))
            if i == y_rows - 1:
                reached = p.x_h
            for r in range(first, reached):
                kept = 2 * p.y_w * p.width if p.fresh and r < 2 * y_rows else 0
                clear_run(out, (image * p.x_h + r) * x_row + kept, x_row - kept)
        _row(numbers, p, image, i, a, x, scale, out)


def _run(
    task: int,
    a: Array,
    x: Array,
    x_shape: tuple[int, ...],
    width: int,
    y_extents: Pair,
    windows: tuple[Pair, Pair, Pair],
    out: Array,
) -> None:
    """Do a task for all images; `windows` are kernel, stride and padding."""
    images, _, x_h, x_w = x_shape
    kernel, stride, padding = windows
    fresh = task == _LARGEST_GRAD and windows == ((2, 2), (2, 2), (0, 0))
    numbers = np.array(
        Windows(task, images, x_h, x_w, width, *y_extents, *kernel, *stride, *padding, int(fresh)), np.int64
    )
    units = images * y_extents[0] if task in (_LARGEST, _MEAN) else images
    share(_chunk, min(numba.get_num_threads(), units), (numbers,), (a, x, out))


# -------------------------------------------------------------------------------------------- functions


def _planes(values: Array, shape: tuple[int, ...]) -> Array:
    """Return maps without padding, the images, as planes."""
    return np.ascontiguousarray(values.reshape(shape[0], *shape[2:], shape[1]).transpose(0, 3, 1, 2))


def _write(planes: Array, out: Array) -> None:
    out[:] = planes.transpose(0, 2, 3, 1).reshape(-1)


def max_pool_maps(
    x: Array,
    x_shape: tuple[int, ...],
    stride_floats: int,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    y: Array,
    y_shape: tuple[int, ...],
) -> None:
    """Take the largest value of each window.

    Parameters
    ----------
    x : ndarray of float32, 1-D
        Memory of the maps.
    x_shape : tuple of int
        (N, C, H, W).
    stride_floats : int
        Floats from one pixel to the next.
    kernel, stride, padding : tuple of int
        (height, width) each; padding counts as minus infinity.
    y : ndarray of float32, 1-D
        Memory of the result.
    y_shape : tuple of int
        (N, C, OH, OW).
    """
    if stride_floats % LANES:
        _write(pool.max_pool2d(_planes(x, x_shape), kernel, stride, padding), y)
        return
    windows = kernel, stride, padding
    _run(_LARGEST, x, x, x_shape, stride_floats, (y_shape[2], y_shape[3]), windows, y)


def max_pool_maps_grad(
    dy: Array,
    y_shape: tuple[int, ...],
    x: Array,
    x_shape: tuple[int, ...],
    stride_floats: int,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dx: Array,
) -> None:
    """Hand the gradient of each window to the pixel that won: the first of equals, or the first NaN.

    Parameters
    ----------
    dy : ndarray of float32, 1-D
        Gradient of the result of :func:`max_pool_maps`.
    y_shape : tuple of int
        Its shape (N, C, OH, OW).
    x, x_shape, stride_floats, kernel, stride, padding
        As given to :func:`max_pool_maps`.
    dx : ndarray of float32, 1-D
        Result, as `x`.
    """
    if stride_floats % LANES:
        planes = _planes(dy, y_shape), _planes(x, x_shape)
        _write(pool.max_pool2d_grad(*planes, kernel, stride, padding), dx)
        return
    windows = kernel, stride, padding
    _run(_LARGEST_GRAD, dy, x, x_shape, stride_floats, (y_shape[2], y_shape[3]), windows, dx)


def avg_pool_maps(
    x: Array,
    x_shape: tuple[int, ...],
    stride_floats: int,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    y: Array,
    y_shape: tuple[int, ...],
) -> None:
    """Take the mean of each window, padding being zeros.

    The arguments are those of :func:`max_pool_maps`.
    """
    if stride_floats % LANES:
        _write(pool.avg_pool2d(_planes(x, x_shape), kernel, stride, padding), y)
        return
    windows = kernel, stride, padding
    _run(_MEAN, x, x, x_shape, stride_floats, (y_shape[2], y_shape[3]), windows, y)


def avg_pool_maps_grad(
    dy: Array,
    y_shape: tuple[int, ...],
    x_shape: tuple[int, ...],
    stride_floats: int,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dx: Array,
) -> None:
    """Hand every pixel its share of the gradient of its windows.

    The arguments are those of :func:`max_pool_maps_grad`, but for `x`, which has no say.
    """
    if stride_floats % LANES:
        _write(pool.avg_pool2d_grad(_planes(dy, y_shape), x_shape, kernel, stride, padding), dx)
        return
    windows = kernel, stride, padding
    _run(_MEAN_GRAD, dy, dy, x_shape, stride_floats, (y_shape[2], y_shape[3]), windows, dx)


def _whole(x_shape: tuple[int, ...]) -> tuple[Pair, Pair, Pair]:
    """Return the windows that are the whole maps."""
    extents = x_shape[2], x_shape[3]
    return extents, extents, (0, 0)


def global_avg_maps(x: Array, x_shape: tuple[int, ...], stride_floats: int, y: Array) -> None:
    """Take the mean of each channel of each image.

    Parameters
    ----------
    x : ndarray of float32, 1-D
        Memory of the maps.
    x_shape : tuple of int
        (N, C, H, W).
    stride_floats : int
        Floats from one pixel to the next.
    y : ndarray of float32, shape (N, C)
        Result, without padding.
    """
    if stride_floats % LANES:
        y[:] = pool.global_avg_pool2d(_planes(x, x_shape))
        return
    means = np.empty((x_shape[0], stride_floats), np.float32)
    _run(_MEAN, x, x, x_shape, stride_floats, (1, 1), _whole(x_shape), means.reshape(-1))
    y[:] = means[:, : x_shape[1]]


def global_avg_maps_grad(dy: Array, x_shape: tuple[int, ...], stride_floats: int, dx: Array) -> None:
    """Hand every pixel its share of the gradient `dy` (N, C) of :func:`global_avg_maps`; `dx` is as `x`."""
    if stride_floats % LANES:
        _write(pool.global_avg_pool2d_grad(dy, x_shape), dx)
        return
    gradients = np.zeros((x_shape[0], stride_floats), np.float32)
    gradients[:, : x_shape[1]] = dy
    flat = gradients.reshape(-1)
    _run(_MEAN_GRAD, flat, flat, x_shape, stride_floats, (1, 1), _whole(x_shape), dx)
