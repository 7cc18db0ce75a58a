"""Pooling and its gradients, compiled with Numba for float32.

Arguments, results and errors are those of the reference twins in `emoref_kernels.reference.pool`, except
that float64 raises DtypeError.

A window's maximum, or sum, is taken first down its columns and then along the row of results, so that the
inner loops run over whole rows, without a test for the border. Kernels see x as (planes, H, W); planes are
independent, and each is owned by one thread. They come in blocks so that a block's row of scratch is
allocated once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from emoref_kernels import checks
from emoref_kernels.checks import PairLike
from emoref_kernels.cpu.gemm import flat
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.pool_rows import max_pool_grad_planes, max_pool_planes

Array = NDArray[Any]

_ZERO = np.float32(0)
_MINUS_INF = np.float32(-np.inf)
_BLOCKS = 64


@jit(inline="always")
def _larger(value, best):
    # NaN wins: it fails every comparison but the last, and nothing is larger than it.
    return value if (value > best) | (value != value) else best


@jit(inline="always")
def _beats(value, best):
    """Tell whether a value takes over from an earlier one: it is larger, or the first NaN."""
    return (value > best) | ((value != value) & (best == best))


@jit()
def _largest_of_columns(columns, kernel, stride, row):
    """Write into row[j] the largest of columns[j * stride : j * stride + kernel]."""
    if kernel == 2 and stride == 2:
        for j in range(row.size):
            row[j] = _larger(columns[2 * j + 1], columns[2 * j])
        return
    for j in range(row.size):
        row[j] = columns[j * stride]
    for s in range(1, kernel):
        if stride == 2:
            for j in range(row.size):
                row[j] = _larger(columns[2 * j + s], row[j])
        else:
            for j in range(row.size):
                row[j] = _larger(columns[j * stride + s], row[j])


@jit(parallel=True)
def _max_pool(x, kernel, stride, padding, y):
    planes, height, width = x.shape
    rows, row_length = y.shape[1], y.shape[2]
    reach = (row_length - 1) * stride[1] + kernel[1]
    # Columns right of the last window are left out.
    met = min(width, reach - padding[1])
    blocks = min(planes, _BLOCKS)
    for block in prange(blocks):
        columns = np.full(reach, _MINUS_INF, dtype=np.float32)
        inner = columns[padding[1] : padding[1] + met]
        for plane in range(block * planes // blocks, (block + 1) * planes // blocks):
            for i in range(rows):
                top = i * stride[0] - padding[0]
                first, last = max(top, 0), min(top + kernel[0], height)
                for k in range(met):
                    inner[k] = x[plane, first, k]
                for r in range(first + 1, last):
                    for k in range(met):
                        inner[k] = _larger(x[plane, r, k], inner[k])
                _largest_of_columns(columns, kernel[1], stride[1], y[plane, i])


@jit()
def _max_grad_plane(dy, x, kernel, stride, padding, dx):
    """Hand on one plane's dy for any windows; dx is zero at the start."""
    height, width = x.shape
    for i in range(dy.shape[0]):
        top = i * stride[0] - padding[0]
        first_row, last_row = max(top, 0), min(top + kernel[0], height)
        for j in range(dy.shape[1]):
            left = j * stride[1] - padding[1]
            first_column, last_column = max(left, 0), min(left + kernel[1], width)
            best = x[first_row, first_column]
            best_row, best_column = first_row, first_column
            for r in range(first_row, last_row):
                for s in range(first_column, last_column):
                    value = x[r, s]
                    if _beats(value, best):
                        best, best_row, best_column = value, r, s
            dx[best_row, best_column] += dy[i, j]


@jit(parallel=True)
def _max_pool_grad(dy, x, kernel, stride, padding, dx):
    for plane in prange(x.shape[0]):
        _max_grad_plane(dy[plane], x[plane], kernel, stride, padding, dx[plane])


@jit(parallel=True)
def _avg_pool(x, kernel, stride, padding, y):
    planes, height, width = x.shape
    rows, row_length = y.shape[1], y.shape[2]
    reach = (row_length - 1) * stride[1] + kernel[1]
    met = min(width, reach - padding[1])
    scale = np.float32(1.0 / (kernel[0] * kernel[1]))
    blocks = min(planes, _BLOCKS)
    for block in prange(blocks):
        columns = np.zeros(reach, dtype=np.float32)
        inner = columns[padding[1] : padding[1] + met]
        for plane in range(block * planes // blocks, (block + 1) * planes // blocks):
            for i in range(rows):
                top = i * stride[0] - padding[0]
                first, last = max(top, 0), min(top + kernel[0], height)
                for k in range(met):
                    inner[k] = x[plane, first, k]
                for r in range(first + 1, last):
                    for k in range(met):
                        inner[k] += x[plane, r, k]
                for j in range(row_length):
                    total = _ZERO
                    for s in range(kernel[1]):
                        total += columns[j * stride[1] + s]
                    y[plane, i, j] = total * scale


@jit(parallel=True)
def _avg_pool_grad(dy, kernel, stride, padding, dx):
    planes, height, width = dx.shape
    rows, row_length = dy.shape[1], dy.shape[2]
    reach = (row_length - 1) * stride[1] + kernel[1]
    met = min(width, reach - padding[1])
    scale = np.float32(1.0 / (kernel[0] * kernel[1]))
    blocks = min(planes, _BLOCKS)
    for block in prange(blocks):
        columns = np.empty(reach, dtype=np.float32)
        inner = columns[padding[1] : padding[1] + met]
        for plane in range(block * planes // blocks, (block + 1) * planes // blocks):
            for i in range(rows):
                columns[:] = _ZERO
                for j in range(row_length):
                    for s in range(kernel[1]):
                        columns[j * stride[1] + s] += dy[plane, i, j] * scale
                top = i * stride[0] - padding[0]
                for r in range(max(top, 0), min(top + kernel[0], height)):
                    for k in range(met):
                        dx[plane, r, k] += inner[k]


@jit(parallel=True, fastmath={"reassoc"})
def _plane_means(x, y):
    planes, pixels = x.shape
    for plane in prange(planes):
        # The compiler splits the sum over a fixed number of vector lanes; a plane is one thread's.
        total = 0.0
        for p in range(pixels):
            total += x[plane, p]
        y[plane] = total / pixels


def _planes(x: Array) -> Array:
    """See (N, C, H, W) as a C-contiguous (N C, H, W)."""
    batch, channels, height, width = x.shape
    return np.ascontiguousarray(x).reshape(batch * channels, height, width)


def _is_two_by_two(windows: checks.PoolWindows) -> bool:
    """Tell whether windows are those of :mod:`~emoref_kernels.cpu.pool_rows`."""
    return (windows.kernel, windows.stride, windows.padding) == ((2, 2), (2, 2), (0, 0))


def max_pool2d(x: Array, kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0) -> Array:
    """Take the largest value of each window; see `emoref_kernels.reference.max_pool2d`."""
    windows = checks.check_pool2d(x, kernel, stride, padding, float64=False)
    y = np.empty(windows.y_shape, dtype=np.float32)
    if _is_two_by_two(windows):
        batch, channels, height, width = x.shape
        max_pool_planes(batch * channels, height, width, flat(x), y.reshape(-1))
        return y
    _max_pool(_planes(x), windows.kernel, windows.stride, windows.padding, _planes(y))
    return y


def max_pool2d_grad(
    dy: Array, x: Array, kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0
) -> Array:
    """Return the gradient of ``max_pool2d``; see `emoref_kernels.reference.max_pool2d_grad`."""
    windows = checks.check_max_pool2d_grad(dy, x, kernel, stride, padding, float64=False)
    if _is_two_by_two(windows):
        dx = np.empty(x.shape, dtype=np.float32)
        batch, channels, height, width = x.shape
        max_pool_grad_planes(batch * channels, height, width, flat(dy), flat(x), dx.reshape(-1))
        return dx
    dx = np.zeros(x.shape, dtype=np.float32)
    _max_pool_grad(_planes(dy), _planes(x), windows.kernel, windows.stride, windows.padding, _planes(dx))
    return dx


def avg_pool2d(x: Array, kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0) -> Array:
    """Take the mean of each window; see `emoref_kernels.reference.avg_pool2d`."""
    windows = checks.check_pool2d(x, kernel, stride, padding, float64=False)
    y = np.empty(windows.y_shape, dtype=np.float32)
    _avg_pool(_planes(x), windows.kernel, windows.stride, windows.padding, _planes(y))
    return y


def avg_pool2d_grad(
    dy: Array,
    x_shape: Sequence[int],
    kernel: PairLike,
    stride: PairLike | None = None,
    padding: PairLike = 0,
) -> Array:
    """Return the gradient of ``avg_pool2d``; see `emoref_kernels.reference.avg_pool2d_grad`."""
    windows = checks.check_avg_pool2d_grad(dy, x_shape, kernel, stride, padding, float64=False)
    dx = np.zeros(tuple(x_shape), dtype=np.float32)
    _avg_pool_grad(_planes(dy), windows.kernel, windows.stride, windows.padding, _planes(dx))
    return dx


def global_avg_pool2d(x: Array) -> Array:
    """Take the mean of each plane; see `emoref_kernels.reference.global_avg_pool2d`."""
    checks.check_global_avg_pool2d(x, float64=False)
    batch, channels, height, width = x.shape
    y = np.empty((batch, channels), dtype=np.float32)
    _plane_means(np.ascontiguousarray(x).reshape(batch * channels, height * width), y.reshape(-1))
    return y


def global_avg_pool2d_grad(dy: Array, x_shape: Sequence[int]) -> Array:
    """Return the gradient of ``global_avg_pool2d``; see `emoref_kernels.reference.global_avg_pool2d_grad`."""
    shape = checks.check_global_avg_pool2d_grad(dy, x_shape, float64=False)
    share = dy / (shape[2] * shape[3])
    return np.broadcast_to(share[:, :, None, None], shape).copy()
