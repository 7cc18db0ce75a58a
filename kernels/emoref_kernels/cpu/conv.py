"""Convolution and its gradients, in float32; the twins of :mod:`emoref_kernels.reference.conv`.

Here the arguments are checked, a technique is chosen (:mod:`~emoref_kernels.cpu.planner`), and the work is
stated as Winograd's products of tiles (:mod:`~emoref_kernels.cpu.winograd`, and
:mod:`~emoref_kernels.cpu.winograd_five` for 5 x 5 filters), as sliding products
(:mod:`~emoref_kernels.cpu.correlate`), as products of pixels (:mod:`~emoref_kernels.cpu.conv_weight`;
:mod:`~emoref_kernels.cpu.pointwise` for 1 x 1 filters), or as output pixels that hand on their gradient
(:mod:`~emoref_kernels.cpu.scatter`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.checks import (
    PairLike,
    check_conv2d,
    check_conv2d_bias_grad,
    check_conv2d_input_grad,
    check_conv2d_weight_grad,
)
from emoref_kernels.cpu.conv_rows import bias_grad_rows, weight_grad_rows
from emoref_kernels.cpu.conv_weight import weight_grad
from emoref_kernels.cpu.correlate import Place, correlate
from emoref_kernels.cpu.depthwise import depthwise_planes, depthwise_weight_grad
from emoref_kernels.cpu.gemm import flat
from emoref_kernels.cpu.maps_of_planes import maps_conv, maps_input_grad
from emoref_kernels.cpu.plane_dots import dots_fit, dots_weight_grad
from emoref_kernels.cpu.planner import DEPTHWISE, MAPS, SCATTER, plan_convolution, plan_input_grad
from emoref_kernels.cpu.pointwise import pointwise_conv, pointwise_fits, pointwise_input_grad
from emoref_kernels.cpu.pointwise_weight import pointwise_weight_fits, pointwise_weight_grad
from emoref_kernels.cpu.scatter import scatter_input_grad
from emoref_kernels.cpu.weight_panels import pack_weights, tile_height
from emoref_kernels.cpu.winograd import winograd_conv, winograd_weight_grad
from emoref_kernels.cpu.winograd_filters import transform_filters
from emoref_kernels.cpu.winograd_five import five_conv, five_input_gradient, five_weight_gradient

__all__ = [
    "conv2d",
    "conv2d_bias_grad",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "convolve",
    "input_gradient",
    "weight_gradient",
]

_NO_BIAS = np.zeros(0, dtype=np.float32)

_MERGED_FLOATS = 16 * 1024
"""Most floats of the rows that a pointwise convolution sees as one: 64 KB of all channels together."""


def conv2d(
    x: NDArray[Any],
    w: NDArray[Any],
    b: NDArray[Any] | None = None,
    stride: PairLike = 1,
    padding: PairLike = 0,
    groups: int = 1,
) -> NDArray[Any]:
    """Return the 2-D cross-correlation of a batch of images with filters.

    Parameters
    ----------
    x : ndarray of float32, shape (N, C, H, W)
        Images.
    w : ndarray of float32, shape (O, C / groups, R, S)
        Filters.
    b : ndarray of float32, shape (O,), optional
        Bias, one value a filter.
    stride, padding : int or (int, int)
        Step of the window, and rows and columns of zeros on each side: (height, width).
    groups : int
        Number of groups; each sees its own C / groups channels.

    Returns
    -------
    ndarray of float32, shape (N, O, OH, OW)
        Its bits depend neither on the other images nor on the number of threads. Where the technique is
        the direct product, each value is a chain of fused multiply-adds over channel, kernel row and
        kernel column, plus the bias, and does not depend on the other filters either.

    Raises
    ------
    ShapeError, DtypeError
        If the arguments do not fit together, or are not float32.
    """
    return convolve(x, w, b, stride, padding, groups, mode="fast")


def convolve(
    x: NDArray[Any],
    w: NDArray[Any],
    b: NDArray[Any] | None,
    stride: PairLike,
    padding: PairLike,
    groups: int,
    mode: str,
) -> NDArray[Any]:
    """Compute :func:`conv2d` in a mode of :data:`~emoref_kernels.cpu.planner.MODES`."""
    steps, pads, y_shape = check_conv2d(x, w, b, stride, padding, groups, float64=False)
    all_filters, channels, kernel_h, kernel_w = w.shape
    filters = all_filters // groups
    y = np.empty(y_shape, dtype=np.float32)
    if x.shape[0] == 0:
        return y
    bias = _NO_BIAS if b is None else flat(b)
    y_h, y_w = y_shape[2:]
    if pointwise_fits((kernel_h, kernel_w), pads, groups, y_h * y_w, all_filters):
        pointwise_conv(flat(x), x.shape, flat(w), bias, steps, y.reshape(-1), y_shape)
        return y
    technique = plan_convolution(
        x.shape[1], all_filters, (y_h, y_w), (kernel_h, kernel_w), steps, pads, groups, mode
    )
    if technique.outputs and kernel_h == 5:
        five_conv(flat(x), x.shape, flat(w), filters, bias, pads, y.reshape(-1))
        return y
    if technique.outputs:
        u = transform_filters(flat(w), w.shape, technique.outputs, turned=False, kept=True)
        winograd_conv(flat(x), x.shape, u, filters, bias, pads, technique.outputs, y.reshape(-1))
        return y
    if technique.name == DEPTHWISE:
        depthwise_planes(flat(x), x.shape, flat(w), bias, steps[0], pads, y.reshape(-1), y_shape)
        return y
    if technique.name == MAPS:
        maps_conv(flat(x), x.shape, w, bias, steps, pads, y.reshape(-1), y_shape)
        return y
    taps = np.arange(kernel_h * kernel_w, dtype=np.int64)
    size = channels * taps.size
    packed = pack_weights(flat(w), groups, filters * size, filters, size, channels, taps.size, taps)
    tap_h, tap_w = taps // kernel_w - pads[0], taps % kernel_w - pads[1]
    x_shape = (x.shape[0], x.shape[1], x.shape[2], x.shape[3])
    if (kernel_h, kernel_w, *steps, *pads) == (1, 1, 1, 1, 0, 0):
        y_h, y_w = _merged_rows(channels, y_h, y_w)
        x_shape = (*x_shape[:2], y_h, y_w)
    place = Place(y_h, y_w, y_h, y_w)
    correlate(flat(x), x_shape, packed, groups, filters, bias, steps, tap_h, tap_w, place, y.reshape(-1))
    return y


def _merged_rows(channels: int, height: int, width: int) -> tuple[int, int]:
    """Return extents of the same plane with as many of its rows made one as a small memory holds.

    A pointwise convolution does not see where a row ends, and long rows are copied and stored faster.
    """
    for rows in range(1, height):
        if height % rows == 0 and channels * (height // rows) * width <= _MERGED_FLOATS:
            return rows, height // rows * width
    return height, width


def conv2d_input_grad(
    dy: NDArray[Any],
    w: NDArray[Any],
    x_shape: Sequence[int],
    stride: PairLike = 1,
    padding: PairLike = 0,
    groups: int = 1,
) -> NDArray[Any]:
    """Return the gradient of the input of :func:`conv2d`.

    Parameters
    ----------
    dy : ndarray of float32, shape (N, O, OH, OW)
        Gradient of the output.
    w : ndarray of float32, shape (O, C / groups, R, S)
        Filters.
    x_shape : sequence of int
        (N, C, H, W) of the input.
    stride, padding, groups
        As for :func:`conv2d`.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Gradient of the input; pixels that no window covers get 0.

    Raises
    ------
    ShapeError, DtypeError
        If the arguments do not fit together, or are not float32.
    """
    return input_gradient(dy, w, x_shape, stride, padding, groups, mode="fast")


def input_gradient(
    dy: NDArray[Any],
    w: NDArray[Any],
    x_shape: Sequence[int],
    stride: PairLike,
    padding: PairLike,
    groups: int,
    mode: str,
) -> NDArray[Any]:
    """Compute :func:`conv2d_input_grad` in a mode of :data:`~emoref_kernels.cpu.planner.MODES`."""
    steps, pads, _ = check_conv2d_input_grad(dy, w, x_shape, stride, padding, groups, float64=False)
    images, _, x_h, x_w = (int(extent) for extent in x_shape)
    channels, kernel_h, kernel_w = w.shape[1:]
    dx = np.empty((images, channels * groups, x_h, x_w), dtype=np.float32)
    if images == 0:
        return dx
    if pointwise_fits((kernel_h, kernel_w), pads, groups, dy.shape[2] * dy.shape[3], channels):
        pointwise_input_grad(flat(dy), dy.shape, flat(w), steps, dx.reshape(-1), dx.shape)
        return dx
    technique = plan_input_grad(
        channels * groups, w.shape[0], (x_h, x_w), (kernel_h, kernel_w), steps, pads, groups, mode
    )
    if technique.name == SCATTER:
        scatter_input_grad(flat(dy), dy.shape, flat(w), w.shape, steps, pads, dx.reshape(-1), dx.shape)
        return dx
    if technique.name == MAPS:
        maps_input_grad(flat(dy), dy.shape, w, steps, pads, dx.reshape(-1), dx.shape)
        return dx
    if technique.outputs and kernel_h == 5:
        five_input_gradient(flat(dy), flat(w), w.shape[0], pads, dx.reshape(-1), dx.shape)
        return dx
    if technique.outputs:
        u = transform_filters(flat(w), w.shape, technique.outputs, turned=True, kept=True)
        around = 2 - pads[0], 2 - pads[1]
        winograd_conv(flat(dy), dy.shape, u, channels, _NO_BIAS, around, technique.outputs, dx.reshape(-1))
        return dx
    if technique.name == DEPTHWISE:
        depthwise_planes(
            flat(dy), dy.shape, flat(w), _NO_BIAS, steps[0], pads, dx.reshape(-1), dx.shape, gradient=True
        )
        return dx
    # Input pixels with one remainder modulo the stride meet the same taps: a product of stride 1 each.
    for phase_h in range(min(steps[0], x_h)):
        rows = _phase_taps(kernel_h, phase_h, steps[0], pads[0])
        for phase_w in range(min(steps[1], x_w)):
            columns = _phase_taps(kernel_w, phase_w, steps[1], pads[1])
            _input_grad_phase(dy, w, dx, groups, steps, pads, (phase_h, phase_w), rows, columns)
    return dx


def _phase_taps(kernel: int, phase: int, stride: int, padding: int) -> NDArray[np.int64]:
    """Return the kernel positions that meet input positions of one remainder modulo the stride."""
    taps = np.arange(kernel, dtype=np.int64)
    return taps[(phase + padding - taps) % stride == 0]


def _input_grad_phase(
    dy: NDArray[Any],
    w: NDArray[Any],
    dx: NDArray[Any],
    groups: int,
    stride: tuple[int, int],
    padding: tuple[int, int],
    phase: tuple[int, int],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> None:
    """Compute the gradient of the input pixels whose remainders modulo the stride are `phase`."""
    if rows.size == 0 or columns.size == 0:
        dx[:, :, phase[0] :: stride[0], phase[1] :: stride[1]] = 0.0
        return
    all_filters, channels, kernel_h, kernel_w = w.shape
    filters, size = all_filters // groups, kernel_h * kernel_w
    tap_h = np.repeat((phase[0] + padding[0] - rows) // stride[0], columns.size)
    tap_w = np.tile((phase[1] + padding[1] - columns) // stride[1], rows.size)
    taps = (rows[:, None] * kernel_w + columns).reshape(-1)
    packed = pack_weights(
        flat(w), groups, filters * channels * size, channels, size, filters, channels * size, taps
    )
    x_h, x_w = dx.shape[2:]
    dy_shape = (dy.shape[0], dy.shape[1], dy.shape[2], dy.shape[3])
    if (kernel_h, kernel_w, *stride, *padding) == (1, 1, 1, 1, 0, 0):
        x_h, x_w = _merged_rows(filters, x_h, x_w)
        dy_shape = (*dy_shape[:2], x_h, x_w)
    place = Place(
        -(-(x_h - phase[0]) // stride[0]), -(-(x_w - phase[1]) // stride[1]), x_h, x_w, *phase, *stride
    )
    correlate(
        flat(dy), dy_shape, packed, groups, channels, _NO_BIAS, (1, 1), tap_h, tap_w, place, dx.reshape(-1)
    )


def conv2d_weight_grad(
    dy: NDArray[Any],
    x: NDArray[Any],
    w_shape: Sequence[int],
    stride: PairLike = 1,
    padding: PairLike = 0,
    groups: int = 1,
) -> NDArray[Any]:
    """Return the gradient of the filters of :func:`conv2d`.

    Parameters
    ----------
    dy : ndarray of float32, shape (N, O, OH, OW)
        Gradient of the output.
    x : ndarray of float32, shape (N, C, H, W)
        Images.
    w_shape : sequence of int
        (O, C / groups, R, S) of the filters.
    stride, padding, groups
        As for :func:`conv2d`.

    Returns
    -------
    ndarray of float32, shape (O, C / groups, R, S)
        Gradient of the filters, in an order of additions that the shapes alone decide; zeros for an empty
        batch.

    Raises
    ------
    ShapeError, DtypeError
        If the arguments do not fit together, or are not float32.
    """
    return weight_gradient(dy, x, w_shape, stride, padding, groups, mode="fast")


def weight_gradient(
    dy: NDArray[Any],
    x: NDArray[Any],
    w_shape: Sequence[int],
    stride: PairLike,
    padding: PairLike,
    groups: int,
    mode: str,
) -> NDArray[Any]:
    """Compute :func:`conv2d_weight_grad` in a mode of :data:`~emoref_kernels.cpu.planner.MODES`."""
    steps, pads, y_shape = check_conv2d_weight_grad(dy, x, w_shape, stride, padding, groups, float64=False)
    all_filters, channels, kernel_h, kernel_w = (int(extent) for extent in w_shape)
    dw = np.zeros((all_filters, channels, kernel_h, kernel_w), dtype=np.float32)
    if x.shape[0] == 0:
        return dw
    technique = plan_convolution(
        x.shape[1], all_filters, (y_shape[2], y_shape[3]), (kernel_h, kernel_w), steps, pads, groups, mode
    )
    if technique.outputs and kernel_h == 5:
        five_weight_gradient(flat(dy), flat(x), x.shape, all_filters, pads, dw.reshape(-1))
    elif technique.outputs:
        winograd_weight_grad(flat(dy), flat(x), x.shape, all_filters, pads, technique.outputs, dw.reshape(-1))
    elif technique.name == DEPTHWISE:
        depthwise_weight_grad(flat(dy), dy.shape, flat(x), x.shape, steps[0], pads, dw.reshape(-1))
    elif groups == 1 and dots_fit(x.shape, y_shape, steps, pads):
        dots_weight_grad(flat(dy), y_shape, flat(x), x.shape, dw.shape, steps, pads, dw.reshape(-1))
    elif pointwise_weight_fits((kernel_h, kernel_w), pads, groups, all_filters):
        pointwise_weight_grad(flat(dy), y_shape, flat(x), x.shape, steps, dw.reshape(-1))
    elif tile_height(all_filters // groups) == 1:
        weight_grad_rows(
            flat(dy), flat(x), x.shape[0], groups, all_filters // groups, channels, y_shape[2], y_shape[3],
            x.shape[2], x.shape[3], kernel_h, kernel_w, *steps, *pads, dw.reshape(-1),
        )  # fmt: skip
    else:
        weight_grad(flat(dy), y_shape, flat(x), x.shape, dw.shape, steps, pads, dw.reshape(-1))
    return dw


def conv2d_bias_grad(dy: NDArray[Any]) -> NDArray[Any]:
    """Return the gradient of the bias of :func:`conv2d`: the sum of `dy` over images and pixels.

    Parameters
    ----------
    dy : ndarray of float32, shape (N, O, OH, OW)
        Gradient of the output.

    Returns
    -------
    ndarray of float32, shape (O,)
        Gradient of the bias.

    Raises
    ------
    ShapeError, DtypeError
        If `dy` has another number of dimensions, or is not float32.
    """
    check_conv2d_bias_grad(dy, float64=False)
    images, filters, y_h, y_w = dy.shape
    db = np.empty(filters, dtype=np.float32)
    bias_grad_rows(flat(dy), images, filters, y_h * y_w, db)
    return db
