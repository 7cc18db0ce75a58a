"""Convolution and its gradients on the device.

Arguments, results and errors are those of the reference twins in `emoref_kernels.reference.conv`, except
that float64 raises DtypeError. Which technique computes is the planner's choice.
"""

from collections.abc import Sequence
from typing import Any

from emoref_kernels.checks import (
    PairLike,
    check_conv2d,
    check_conv2d_bias_grad,
    check_conv2d_input_grad,
    check_conv2d_weight_grad,
)
from emoref_kernels.cuda.array import DeviceArray, empty, on_device, returned
from emoref_kernels.cuda.conv_weight import weight_gradient
from emoref_kernels.cuda.correlate import Correlation, correlate, pack_weights
from emoref_kernels.cuda.depthwise import depthwise, depthwise_input_grad, depthwise_weight_grad
from emoref_kernels.cuda.planner import DEPTHWISE, plan_convolution
from emoref_kernels.cuda.sums import row_sums
from emoref_kernels.cuda.winograd import winograd_convolution, winograd_weight_gradient

__all__ = [
    "conv2d",
    "conv2d_bias_grad",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "convolve",
    "filter_gradient",
    "input_gradient",
]


def conv2d(
    x: Any, w: Any, b: Any = None, stride: PairLike = 1, padding: PairLike = 0, groups: int = 1
) -> Any:
    """Slide filters over images; see `emoref_kernels.reference.conv2d`."""
    return convolve(x, w, b, stride, padding, groups, mode="fast")


def convolve(x: Any, w: Any, b: Any, stride: PairLike, padding: PairLike, groups: int, mode: str) -> Any:
    """Compute :func:`conv2d` in a mode of :data:`~emoref_kernels.cuda.planner.MODES`."""
    steps, pads, y_shape = check_conv2d(x, w, b, stride, padding, groups, float64=False)
    if x.shape[0] == 0:
        return returned(empty(y_shape), x, w)
    images, filters, bias = on_device(x), on_device(w), None if b is None else on_device(b)
    kernel = w.shape[2], w.shape[3]
    extents = y_shape[2], y_shape[3]
    m = plan_convolution(x.shape[1], w.shape[0], extents, kernel, steps, pads, groups, mode)
    if m == DEPTHWISE:
        return returned(depthwise(images, filters, bias, steps, pads, y_shape), x, w)
    if m:
        return returned(winograd_convolution(images, filters, bias, pads, y_shape, m), x, w)
    size, rows, columns = kernel[0] * kernel[1], w.shape[1], w.shape[0] // groups
    taps = tuple((tap // kernel[1] - pads[0], tap % kernel[1] - pads[1]) for tap in range(size))
    strides = columns * rows * size, size, rows * size
    packed = pack_weights(filters, groups, tuple(range(size)), rows, columns, strides)
    y = empty(y_shape)
    how = Correlation(
        x.shape[0], groups, rows, columns, tuple(x.shape[2:]), extents, extents, steps, (0, 0), (1, 1), taps
    )
    correlate(images, packed, bias, how, y)
    return returned(y, x, w)


def conv2d_input_grad(
    dy: Any, w: Any, x_shape: Sequence[int], stride: PairLike = 1, padding: PairLike = 0, groups: int = 1
) -> Any:
    """Return the gradient of ``conv2d`` in its input; see `emoref_kernels.reference.conv2d_input_grad`."""
    return input_gradient(dy, w, x_shape, stride, padding, groups, mode="fast")


def input_gradient(
    dy: Any, w: Any, x_shape: Sequence[int], stride: PairLike, padding: PairLike, groups: int, mode: str
) -> Any:
    """Compute :func:`conv2d_input_grad` in a mode of :data:`~emoref_kernels.cuda.planner.MODES`."""
    steps, pads, _ = check_conv2d_input_grad(dy, w, x_shape, stride, padding, groups, float64=False)
    shape = tuple(int(extent) for extent in x_shape)
    if shape[0] == 0:
        return returned(empty(shape), dy, w)
    grads, filters = on_device(dy), on_device(w)
    kernel, extents = (w.shape[2], w.shape[3]), (shape[2], shape[3])
    m = plan_convolution(w.shape[0], shape[1], extents, kernel, steps, pads, groups, mode)
    if m == DEPTHWISE:
        return returned(depthwise_input_grad(grads, filters, shape, steps, pads), dy, w)
    if m:
        around = 2 - pads[0], 2 - pads[1]
        return returned(winograd_convolution(grads, filters, None, around, shape, m, turned=True), dy, w)
    one_phase = steps == (1, 1)
    dx = empty(shape, zero=not one_phase)
    # Pixels with one remainder modulo the stride meet the same taps: a correlation of stride 1 for each.
    for phase_h in range(min(steps[0], shape[2])):
        for phase_w in range(min(steps[1], shape[3])):
            _input_grad_phase(grads, filters, dx, groups, steps, pads, (phase_h, phase_w))
    return returned(dx, dy, w)


def _input_grad_phase(
    dy: DeviceArray,
    w: DeviceArray,
    dx: DeviceArray,
    groups: int,
    stride: tuple[int, int],
    padding: tuple[int, int],
    phase: tuple[int, int],
) -> None:
    """Compute the gradient of the pixels whose remainders modulo the stride are `phase`."""
    filters, channels, height, width = w.shape
    places, taps = [], []
    for r in range(height):
        for s in range(width):
            h, v = phase[0] + padding[0] - r, phase[1] + padding[1] - s
            if h % stride[0] == 0 and v % stride[1] == 0:
                places.append(r * width + s)
                taps.append((h // stride[0], v // stride[1]))
    if not taps:
        return
    size, rows = height * width, filters // groups
    packed = pack_weights(
        w, groups, tuple(places), rows, channels, (rows * channels * size, channels * size, size)
    )
    extents = -(-(dx.shape[2] - phase[0]) // stride[0]), -(-(dx.shape[3] - phase[1]) // stride[1])
    how = Correlation(
        dx.shape[0], groups, rows, channels, (dy.shape[2], dy.shape[3]), (dx.shape[2], dx.shape[3]), extents,
        (1, 1), phase, stride, tuple(taps),
    )  # fmt: skip
    correlate(dy, packed, None, how, dx)


def conv2d_weight_grad(
    dy: Any, x: Any, w_shape: Sequence[int], stride: PairLike = 1, padding: PairLike = 0, groups: int = 1
) -> Any:
    """Return the gradient of ``conv2d`` in its filters; see `emoref_kernels.reference.conv2d_weight_grad`."""
    return filter_gradient(dy, x, w_shape, stride, padding, groups, mode="fast")


def filter_gradient(
    dy: Any, x: Any, w_shape: Sequence[int], stride: PairLike, padding: PairLike, groups: int, mode: str
) -> Any:
    """Compute :func:`conv2d_weight_grad` in a mode of :data:`~emoref_kernels.cuda.planner.MODES`."""
    steps, pads, y_shape = check_conv2d_weight_grad(dy, x, w_shape, stride, padding, groups, float64=False)
    filters, channels, height, width = (int(extent) for extent in w_shape)
    shape = filters, channels, height, width
    if x.shape[0] == 0:
        return returned(empty(shape, zero=True), dy, x)
    grads, images = on_device(dy), on_device(x)
    extents = y_shape[2], y_shape[3]
    m = plan_convolution(x.shape[1], filters, extents, (height, width), steps, pads, groups, mode)
    if m == DEPTHWISE:
        return returned(depthwise_weight_grad(grads, images, shape, steps, pads), dy, x)
    if m:
        return returned(winograd_weight_gradient(grads, images, pads, m), dy, x)
    return returned(weight_gradient(grads, images, shape, steps, pads, groups), dy, x)


def conv2d_bias_grad(dy: Any) -> Any:
    """Return the gradient of ``conv2d`` in its bias; see `emoref_kernels.reference.conv2d_bias_grad`."""
    check_conv2d_bias_grad(dy, float64=False)
    images, filters, height, width = dy.shape
    return returned(row_sums(on_device(dy), images, filters, height * width), dy)
