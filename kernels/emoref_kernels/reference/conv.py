"""Convolution and its three gradients, in plain NumPy.

The filter is applied tap by tap. For one tap (r, s) the input pixels that it meets form an array of the
output's extent, and what is left is a matrix product over channels. Groups are an axis of their own:
an input of C channels is seen as (groups, C / groups), and weights of O filters as (groups, O / groups).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks
from ..checks import Pair, PairLike, Shape4

Array = NDArray[Any]


def _pad(x: Array, padding: Pair) -> Array:
    """Surround each plane by zeros."""
    rows, columns = padding
    return np.pad(x, ((0, 0), (0, 0), (rows, rows), (columns, columns)))


def _taps(kernel: Pair, stride: Pair, out: Pair) -> Iterator[tuple[int, int, slice, slice]]:
    """Yield each filter tap (r, s) with the rows and the columns of the padded input that it meets."""
    for r in range(kernel[0]):
        for s in range(kernel[1]):
            rows = slice(r, r + stride[0] * (out[0] - 1) + 1, stride[0])
            columns = slice(s, s + stride[1] * (out[1] - 1) + 1, stride[1])
            yield r, s, rows, columns


def _as_matrices(maps: Array, groups: int) -> Array:
    """See maps (N, C, H, W) as one matrix a group: (N, groups, C / groups, H W)."""
    batch, channels, height, width = maps.shape
    return maps.reshape(batch, groups, channels // groups, height * width)


def _as_filters(w: Array, groups: int) -> Array:
    """See weights (O, C / groups, R, S) as (groups, O / groups, C / groups, R, S)."""
    return w.reshape(groups, w.shape[0] // groups, *w.shape[1:])


def conv2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    stride: PairLike = 1,
    padding: PairLike = 0,
    groups: int = 1,
) -> Array:
    """Slide filters over images (cross-correlation, as all deep-learning frameworks mean it).

    ``y[n, o, i, j] = b[o] + sum of w[o, c, r, s] * xp[n, c0 + c, i * stride + r, j * stride + s]`` over
    c, r and s, where xp is x surrounded by zeros and c0 is the first channel of the group to which filter o
    belongs.

    Parameters
    ----------
    x
        Images (N, C, H, W).
    w
        Filters (O, C / groups, R, S).
    b
        One value a filter (O,), or None for none.
    stride, padding
        An integer, or a pair (height, width).
    groups
        Number of groups of channels and filters; C for a depthwise convolution.

    Returns
    -------
    ndarray
        (N, O, OH, OW), OH = floor((H + 2 padding - R) / stride) + 1, and OW likewise.

    Raises
    ------
    ShapeError
        If the sizes do not fit together.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    stride, padding, y_shape = checks.check_conv2d(x, w, b, stride, padding, groups, float64=True)
    out = y_shape[2:]
    padded, filters = _pad(x, padding), _as_filters(w, groups)
    y = np.zeros((y_shape[0], groups, y_shape[1] // groups, out[0] * out[1]), dtype=x.dtype)
    for r, s, rows, columns in _taps(w.shape[2:], stride, out):
        y += filters[:, :, :, r, s] @ _as_matrices(padded[:, :, rows, columns], groups)
    y = y.reshape(y_shape)
    return y if b is None else y + b[:, None, None]


def conv2d_input_grad(
    dy: Array,
    w: Array,
    x_shape: Sequence[int],
    stride: PairLike = 1,
    padding: PairLike = 0,
    groups: int = 1,
) -> Array:
    """Return the gradient of ``conv2d`` in its input.

    Every product of the forward sum sends ``w[o, c, r, s] * dy[n, o, i, j]`` back to the pixel it came
    from, ``xp[n, c0 + c, i * stride + r, j * stride + s]``; what falls on the padding is dropped.

    Parameters
    ----------
    dy
        Gradient in the result (N, O, OH, OW).
    w
        Filters (O, C / groups, R, S).
    x_shape
        Shape of the input (N, C, H, W).
    stride, padding, groups
        As in ``conv2d``.

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
    stride, padding, y_shape = checks.check_conv2d_input_grad(
        dy, w, x_shape, stride, padding, groups, float64=True
    )
    out = y_shape[2:]
    batch, channels, height, width = x_shape
    dy_matrices, filters = _as_matrices(dy, groups), _as_filters(w, groups)
    padded: Array = np.zeros(
        (batch, channels, height + 2 * padding[0], width + 2 * padding[1]), dtype=dy.dtype
    )
    for r, s, rows, columns in _taps(w.shape[2:], stride, out):
        share = filters[:, :, :, r, s].swapaxes(1, 2) @ dy_matrices
        padded[:, :, rows, columns] += share.reshape(batch, channels, *out)
    return padded[:, :, padding[0] : padding[0] + height, padding[1] : padding[1] + width].copy()


def conv2d_weight_grad(
    dy: Array,
    x: Array,
    w_shape: Sequence[int],
    stride: PairLike = 1,
    padding: PairLike = 0,
    groups: int = 1,
) -> Array:
    """Return the gradient of ``conv2d`` in its weights.

    ``dw[o, c, r, s] = sum over n, i, j of dy[n, o, i, j] * xp[n, c0 + c, i * stride + r, j * stride + s]``.

    Parameters
    ----------
    dy
        Gradient in the result (N, O, OH, OW).
    x
        Input (N, C, H, W).
    w_shape
        Shape of the filters (O, C / groups, R, S).
    stride, padding, groups
        As in ``conv2d``.

    Returns
    -------
    ndarray
        (O, C / groups, R, S).

    Raises
    ------
    ShapeError
        If the sizes do not fit together.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    stride, padding, y_shape = checks.check_conv2d_weight_grad(
        dy, x, w_shape, stride, padding, groups, float64=True
    )
    out: Pair = y_shape[2:]
    w_extents: Shape4 = (w_shape[0], w_shape[1], w_shape[2], w_shape[3])
    padded, dy_matrices = _pad(x, padding), _as_matrices(dy, groups)
    dw = np.empty(w_extents, dtype=dy.dtype)
    dw_groups = _as_filters(dw, groups)
    for r, s, rows, columns in _taps(w_extents[2:], stride, out):
        pixels = _as_matrices(padded[:, :, rows, columns], groups)
        dw_groups[:, :, :, r, s] = (dy_matrices @ pixels.swapaxes(2, 3)).sum(axis=0)
    return dw


def conv2d_bias_grad(dy: Array) -> Array:
    """Return the gradient of ``conv2d`` in its bias: the sum of dy over images and pixels.

    Parameters
    ----------
    dy
        Gradient in the result (N, O, OH, OW).

    Returns
    -------
    ndarray
        (O,).

    Raises
    ------
    ShapeError
        If dy has not four dimensions.
    DtypeError
        If dy is neither float32 nor float64.
    """
    checks.check_conv2d_bias_grad(dy, float64=True)
    return dy.sum(axis=(0, 2, 3), dtype=np.float64).astype(dy.dtype)
