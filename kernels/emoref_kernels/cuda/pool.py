"""Pooling and its gradients on the device: one thread a value of the result.

Arguments, results and errors are those of the reference twins in `emoref_kernels.reference.pool`, except
that float64 raises DtypeError. A gradient is gathered: a thread owns a pixel and looks at the windows that
hold it, so that nothing is added with atomics.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from emoref_kernels import checks
from emoref_kernels.checks import PairLike, PoolWindows
from emoref_kernels.cuda.array import DeviceArray, constant_table, empty, on_device, returned
from emoref_kernels.cuda.jit import THREADS, Kernel, device, kernel
from emoref_kernels.cuda.provider import cuda
from emoref_kernels.cuda.sums import plane_sums

__all__ = [
    "avg_pool2d",
    "avg_pool2d_grad",
    "global_avg_pool2d",
    "global_avg_pool2d_grad",
    "max_pool2d",
    "max_pool2d_grad",
]

_ZERO = np.float32(0)
_LOWEST = np.float32(-np.inf)


@device
def _winner(x, start, h, w, table):
    """Return where in its plane the largest value of the window at (h, w) lies; the first NaN wins.

    The table holds size of the result, H, W, OH, OW, and kernel, stride and padding, (height, width) each.
    """
    best, place = _LOWEST, np.int64(-1)
    for r in range(table[5]):
        for s in range(table[6]):
            row, column = h + r, w + s
            if row >= 0 and row < table[1] and column >= 0 and column < table[2]:
                value = x[start + row * table[2] + column]
                if place < 0 or value > best or (value != value and best == best):
                    best, place = value, row * table[2] + column
    return place


@kernel("ffi")
def _max_pool(x, y, table):
    i = cuda.grid(1)
    if i < table[0]:
        width, plane = table[4], table[3] * table[4]
        place = i % plane
        h = (place // width) * table[7] - table[9]
        w = (place % width) * table[8] - table[10]
        start = (i // plane) * table[1] * table[2]
        where = _winner(x, start, h, w, table)
        y[i] = _LOWEST
        if where >= 0:
            y[i] = x[start + where]


@kernel("fffi")
def _max_pool_grad(dy, x, dx, table):
    i = cuda.grid(1)
    if i < table[0]:
        x_width, x_plane = table[2], table[1] * table[2]
        place, image = i % x_plane, i // x_plane
        h, w = place // x_width + table[9], place % x_width + table[10]
        total = _ZERO
        # In the order of the windows' first tap that holds the pixel to the last: rows from below.
        for r in range(table[5]):
            row = (h - r) // table[7]
            if h - r >= 0 and (h - r) % table[7] == 0 and row < table[3]:
                for s in range(table[6]):
                    column = (w - s) // table[8]
                    if w - s >= 0 and (w - s) % table[8] == 0 and column < table[4]:
                        top, left = row * table[7] - table[9], column * table[8] - table[10]
                        if _winner(x, image * x_plane, top, left, table) == place:
                            total += dy[image * table[3] * table[4] + row * table[4] + column]
        dx[i] = total


@kernel("ffi")
def _avg_pool(x, y, table):
    i = cuda.grid(1)
    if i < table[0]:
        width, plane = table[4], table[3] * table[4]
        place = i % plane
        h = (place // width) * table[7] - table[9]
        w = (place % width) * table[8] - table[10]
        start = (i // plane) * table[1] * table[2]
        total = _ZERO
        for r in range(table[5]):
            for s in range(table[6]):
                row, column = h + r, w + s
                if row >= 0 and row < table[1] and column >= 0 and column < table[2]:
                    total += x[start + row * table[2] + column]
        y[i] = total / np.float32(table[5] * table[6])


@kernel("ffi")
def _avg_pool_grad(dy, dx, table):
    i = cuda.grid(1)
    if i < table[0]:
        x_width, x_plane = table[2], table[1] * table[2]
        place, image = i % x_plane, i // x_plane
        h, w = place // x_width + table[9], place % x_width + table[10]
        total, count = _ZERO, np.float32(table[5] * table[6])
        for r in range(table[5]):
            row = (h - r) // table[7]
            if h - r >= 0 and (h - r) % table[7] == 0 and row < table[3]:
                for s in range(table[6]):
                    column = (w - s) // table[8]
                    if w - s >= 0 and (w - s) % table[8] == 0 and column < table[4]:
                        total += dy[image * table[3] * table[4] + row * table[4] + column] / count
        dx[i] = total


@kernel("ffnns")
def _spread(dy, dx, size, plane, factor):
    i = cuda.grid(1)
    if i < size:
        dx[i] = dy[i // plane] * factor


def _launch(
    launch: Kernel, windows: PoolWindows, x_shape: Sequence[int], result: DeviceArray, *arrays: DeviceArray
) -> DeviceArray:
    table = constant_table((
        result.size, int(x_shape[2]), int(x_shape[3]), *windows.y_shape[2:], *windows.kernel, *windows.stride,
        *windows.padding,
    ))  # fmt: skip
    launch(-(-result.size // THREADS), THREADS, *arrays, result, table)
    return result


def max_pool2d(x: Any, kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0) -> Any:
    """Take the largest value of each window; see `emoref_kernels.reference.max_pool2d`."""
    windows = checks.check_pool2d(x, kernel, stride, padding, float64=False)
    return returned(_launch(_max_pool, windows, x.shape, empty(windows.y_shape), on_device(x)), x)


def max_pool2d_grad(
    dy: Any, x: Any, kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0
) -> Any:
    """Return the gradient of ``max_pool2d``; see `emoref_kernels.reference.max_pool2d_grad`."""
    windows = checks.check_max_pool2d_grad(dy, x, kernel, stride, padding, float64=False)
    dx = _launch(_max_pool_grad, windows, x.shape, empty(x.shape), on_device(dy), on_device(x))
    return returned(dx, dy, x)


def avg_pool2d(x: Any, kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0) -> Any:
    """Take the mean of each window; see `emoref_kernels.reference.avg_pool2d`."""
    windows = checks.check_pool2d(x, kernel, stride, padding, float64=False)
    return returned(_launch(_avg_pool, windows, x.shape, empty(windows.y_shape), on_device(x)), x)


def avg_pool2d_grad(
    dy: Any, x_shape: Sequence[int], kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0
) -> Any:
    """Return the gradient of ``avg_pool2d``; see `emoref_kernels.reference.avg_pool2d_grad`."""
    windows = checks.check_avg_pool2d_grad(dy, x_shape, kernel, stride, padding, float64=False)
    return returned(_launch(_avg_pool_grad, windows, x_shape, empty(x_shape), on_device(dy)), dy)


def global_avg_pool2d(x: Any) -> Any:
    """Take the mean of each plane; see `emoref_kernels.reference.global_avg_pool2d`."""
    checks.check_global_avg_pool2d(x, float64=False)
    plane = x.shape[2] * x.shape[3]
    sums = plane_sums(on_device(x), x.shape[0] * x.shape[1], plane, 1.0 / plane)
    return returned(sums.reshape(x.shape[:2]), x)


def global_avg_pool2d_grad(dy: Any, x_shape: Sequence[int]) -> Any:
    """Return the gradient of ``global_avg_pool2d``; see `emoref_kernels.reference.global_avg_pool2d_grad`."""
    shape = checks.check_global_avg_pool2d_grad(dy, x_shape, float64=False)
    dx, plane = empty(shape), shape[2] * shape[3]
    _spread(-(-dx.size // THREADS), THREADS, on_device(dy), dx, dx.size, plane, 1.0 / plane)
    return returned(dx, dy)
