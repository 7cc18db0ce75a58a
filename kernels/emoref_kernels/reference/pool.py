"""Pooling and its gradients, in plain NumPy.

As in the convolution, a window is scanned tap by tap: for tap (r, s) the pixels that all windows have at
that place form an array of the output's extent.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..checks import PairLike, PoolWindows
from .conv import _taps

Array = NDArray[Any]


def _pad(x: Array, windows: PoolWindows, value: float) -> Array:
    """Surround each plane by a value."""
    rows, columns = windows.padding
    return np.pad(x, ((0, 0), (0, 0), (rows, rows), (columns, columns)), constant_values=value)


def _unpad(padded: Array, windows: PoolWindows) -> Array:
    """Cut the padding off again."""
    rows, columns = windows.padding
    return padded[:, :, rows : padded.shape[2] - rows, columns : padded.shape[3] - columns].copy()


def max_pool2d(x: Array, kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0) -> Array:
    """Take the largest value of each window; padding counts as minus infinity, and a NaN wins.

    Parameters
    ----------
    x
        Images (N, C, H, W).
    kernel
        Size of the window: an integer, or a pair (height, width).
    stride
        Step of the windows; None stands for `kernel`.
    padding
        Rows and columns added on each side, at most half of `kernel`.

    Returns
    -------
    ndarray
        (N, C, OH, OW), OH = floor((H + 2 padding - kernel) / stride) + 1, and OW likewise.

    Raises
    ------
    ShapeError
        If the sizes do not fit together.
    DtypeError
        If x is neither float32 nor float64.
    """
    windows = checks.check_pool2d(x, kernel, stride, padding, float64=True)
    padded = _pad(x, windows, -np.inf)
    y = np.full(windows.y_shape, -np.inf, dtype=x.dtype)
    for _, _, rows, columns in _taps(windows.kernel, windows.stride, windows.y_shape[2:]):
        np.maximum(y, padded[:, :, rows, columns], out=y)
    return y


def max_pool2d_grad(
    dy: Array, x: Array, kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0
) -> Array:
    """Return the gradient of ``max_pool2d``: each window hands its dy to the pixel that won.

    Among equal pixels the first in scan order (row by row, left to right) wins. The first NaN of a window
    wins over all numbers. Padding never wins.

    Parameters
    ----------
    dy
        Gradient in the result (N, C, OH, OW).
    x
        Input (N, C, H, W).
    kernel, stride, padding
        As in ``max_pool2d``.

    Returns
    -------
    ndarray
        (N, C, H, W).

    Raises
    ------
    ShapeError
        If the sizes do not fit together.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    windows = checks.check_max_pool2d_grad(dy, x, kernel, stride, padding, float64=True)
    taps = list(_taps(windows.kernel, windows.stride, windows.y_shape[2:]))
    padded, inside = _pad(x, windows, -np.inf), _pad(np.ones_like(x), windows, 0) > 0
    best = np.full(windows.y_shape, -np.inf, dtype=x.dtype)
    winner = np.full(windows.y_shape, -1)
    for index, (_, _, rows, columns) in enumerate(taps):
        value = padded[:, :, rows, columns]
        first = inside[:, :, rows, columns] & (winner < 0)
        better = first | (value > best) | (np.isnan(value) & ~np.isnan(best))
        best = np.where(better, value, best)
        winner = np.where(better, index, winner)
    padded_grad = np.zeros_like(padded)
    for index, (_, _, rows, columns) in enumerate(taps):
        padded_grad[:, :, rows, columns] += np.where(winner == index, dy, 0)
    return _unpad(padded_grad, windows)


def avg_pool2d(x: Array, kernel: PairLike, stride: PairLike | None = None, padding: PairLike = 0) -> Array:
    """Take the mean of each window; padding counts as zeros, so the divisor is always the window's size.

    Parameters
    ----------
    x
        Images (N, C, H, W).
    kernel, stride, padding
        As in ``max_pool2d``.

    Returns
    -------
    ndarray
        (N, C, OH, OW), OH = floor((H + 2 padding - kernel) / stride) + 1, and OW likewise.

    Raises
    ------
    ShapeError
        If the sizes do not fit together.
    DtypeError
        If x is neither float32 nor float64.
    """
    windows = checks.check_pool2d(x, kernel, stride, padding, float64=True)
    padded = _pad(x, windows, 0)
    y = np.zeros(windows.y_shape, dtype=x.dtype)
    for _, _, rows, columns in _taps(windows.kernel, windows.stride, windows.y_shape[2:]):
        y += padded[:, :, rows, columns]
    return y / (windows.kernel[0] * windows.kernel[1])


def avg_pool2d_grad(
    dy: Array,
    x_shape: Sequence[int],
    kernel: PairLike,
    stride: PairLike | None = None,
    padding: PairLike = 0,
) -> Array:
    """Return the gradient of ``avg_pool2d``: each window hands every pixel dy / (window's size).

    Parameters
    ----------
    dy
        Gradient in the result (N, C, OH, OW).
    x_shape
        Shape of the input (N, C, H, W).
    kernel, stride, padding
        As in ``max_pool2d``.

    Returns
    -------
    ndarray
        (N, C, H, W).

    Raises
    ------
    ShapeError
        If the sizes do not fit together.
    DtypeError
        If dy is neither float32 nor float64.
    """
    windows = checks.check_avg_pool2d_grad(dy, x_shape, kernel, stride, padding, float64=True)
    share = dy / (windows.kernel[0] * windows.kernel[1])
    padded_grad = _pad(np.zeros(tuple(x_shape), dtype=dy.dtype), windows, 0)
    for _, _, rows, columns in _taps(windows.kernel, windows.stride, windows.y_shape[2:]):
        padded_grad[:, :, rows, columns] += share
    return _unpad(padded_grad, windows)


def global_avg_pool2d(x: Array) -> Array:
    """Take the mean of each plane.

    Parameters
    ----------
    x
        Images (N, C, H, W).

    Returns
    -------
    ndarray
        (N, C).

    Raises
    ------
    ShapeError
        If x has not four dimensions.
    DtypeError
        If x is neither float32 nor float64.
    """
    checks.check_global_avg_pool2d(x, float64=True)
    return x.mean(axis=(2, 3), dtype=np.float64).astype(x.dtype)


def global_avg_pool2d_grad(dy: Array, x_shape: Sequence[int]) -> Array:
    """Return the gradient of ``global_avg_pool2d``: dy / (H W) for every pixel of the plane.

    Parameters
    ----------
    dy
        Gradient in the result (N, C).
    x_shape
        Shape of the input (N, C, H, W).

    Returns
    -------
    ndarray
        (N, C, H, W).

    Raises
    ------
    ShapeError
        If the sizes do not fit together.
    DtypeError
        If dy is neither float32 nor float64.
    """
    shape = checks.check_global_avg_pool2d_grad(dy, x_shape, float64=True)
    return np.broadcast_to((dy / (shape[2] * shape[3]))[:, :, None, None], shape).copy()
