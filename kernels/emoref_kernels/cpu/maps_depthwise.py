"""Depthwise convolution of channels-last maps, and its gradients: every channel has a filter of its own.

A result is a sum of products of vectors of channels, pixels times taps. The loops are those of
:mod:`~emoref_kernels.cpu.depthwise_vectors`; the tables of :mod:`~emoref_kernels.cpu.depthwise_plans` say
which pixels meet which taps. Threads share images and blocks of channels.

The gradient of the filters is summed in parts of about 1000 pixels in single precision, and then over the
parts, in order, in double precision. The shapes alone decide what is a part.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.depthwise_plans import BLOCK, SINGLE, Plan, results_plan, sums_plan
from emoref_kernels.cpu.depthwise_vectors import Row, Window, column_sums, tap_sums, window_sum
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.maps import pixel_stride
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.winograd_cuts import ceil_div, workspace

__all__ = ["depthwise_conv", "depthwise_input_grad", "depthwise_weight_grad"]

_NO_BIAS = np.zeros(0, np.float32)


@jit(inline="always")
def _plan(numbers):
    """Return the NamedTuple that an array holds; workers take arrays only."""
    return Plan(
        numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6], numbers[7],
        numbers[8], numbers[9], numbers[10], numbers[11], numbers[12], numbers[13], numbers[14], numbers[15],
        numbers[16], numbers[17], numbers[18], numbers[19],
    )  # fmt: skip


# ---------------------------------------------------------------------------------- forward, gradient of x


@jit()
def _pack(w, order, taps, channels, stride, bias, packed):
    """Write the taps as vectors, in an order, and the bias behind them."""
    for t in range(taps):
        for c in range(channels):
            packed[t * stride + c] = w[c * taps + order[t]]
        for c in range(channels, stride):
            packed[t * stride + c] = 0.0
    for c in range(stride):
        packed[taps * stride + c] = bias[c] if c < bias.size else np.float32(0.0)


@jit(inline="always")
def _row_of_results(p, tables, row, y, y_start, x, x_start, w, channel, count):
    """Compute one row of a result for one block of channels."""
    stride, x_row, w_row = p.stride, p.x_w * p.stride, p.taps_w * p.stride
    first_tap, rows, source = tables[3 * row], tables[3 * row + 1], tables[3 * row + 2]
    x_start += source * x_row
    for item in range(p.items):
        place = 3 * p.y_h + 6 * item
        kind, columns, a, b = tables[place], tables[place + 1], tables[place + 4], tables[place + 5]
        target, pixel = y_start + tables[place + 2] * stride, x_start + tables[place + 3] * stride
        if kind == SINGLE:
            start = channel + first_tap * w_row + a * stride
            bias = channel + p.taps_h * w_row
            window = Window(target, bias, pixel, stride, x_row, start, stride, w_row, rows, b, count)
            window_sum(y, w, x, w, window)
        else:
            many = Row(
                target, stride, p.y_w * stride, pixel - first_tap * x_row, stride, x_row, channel, stride,
                columns, first_tap, first_tap + rows, a, b, count,
            )  # fmt: skip
            column_sums(y, x, w, many, kind)


@jit()
def _chunk_of_results(chunk, chunks, numbers, tables, y, x, w, _d, _e):
    """Compute the results of a share of the images and blocks of channels."""
    keep_apart()
    p = _plan(numbers)
    units = p.images * ((p.stride + BLOCK - 1) // BLOCK)
    for unit in range(units * chunk // chunks, units * (chunk + 1) // chunks):
        image, channel = unit % p.images, unit // p.images * BLOCK
        x_start = image * p.x_h * p.x_w * p.stride + channel
        y_start = image * p.y_h * p.y_w * p.stride + channel
        for row in range(p.y_h):
            target = y_start + row * p.y_w * p.stride
            _row_of_results(p, tables, row, y, target, x, x_start, w, channel, min(BLOCK, p.stride - channel))


# ------------------------------------------------------------------------------------------ gradient of w


@jit(inline="always")
def _image_of_sums(p, tables, image, row_first, row_last, dy, x, sums, start, channel, count):
    """Add the products of some rows of one image to the sums from `start` on."""
    stride, x_row, y_row = p.stride, p.x_w * p.stride, p.y_w * p.stride
    x_start = image * p.x_h * x_row + channel
    y_start = image * p.y_h * y_row + channel
    if p.columns:
        for row in range(row_first, row_last):
            source = row * p.step_h + p.top
            many = Row(
                y_start + row * y_row + p.column * stride, stride, y_row,
                x_start + source * x_row + p.left * stride, stride, x_row, start, stride, p.columns,
                -source, p.x_h - source, p.first, p.last, count,
            )  # fmt: skip
            tap_sums(dy, x, sums, many, p.step_w)
    for item in range(p.items):
        place = 6 * item
        tap, column, columns, source = tables[place], tables[place + 1], tables[place + 2], tables[place + 3]
        low, high = max(tables[place + 4], row_first), min(tables[place + 5], row_last)
        own = start + tap * stride
        pixel = x_start + (low * p.step_h + p.top + tap // p.taps_w) * x_row + source * stride
        window = Window(
            own, own, pixel, p.step_w * stride, p.step_h * x_row, y_start + low * y_row + column * stride,
            stride, y_row, high - low, columns, count,
        )  # fmt: skip
        window_sum(sums, sums, x, dy, window)


@jit()
def _chunk_of_sums(chunk, chunks, numbers, tables, sums, dy, x, _d, _e):
    """Sum the products of a share of the parts and blocks of channels."""
    keep_apart()
    p = _plan(numbers)
    taps = p.taps_h * p.taps_w
    units = p.parts * ((p.stride + BLOCK - 1) // BLOCK)
    for unit in range(units * chunk // chunks, units * (chunk + 1) // chunks):
        part, channel = unit % p.parts, unit // p.parts * BLOCK
        count = min(BLOCK, p.stride - channel)
        start = part * taps * p.stride + channel
        first, band = part // p.bands * p.group, part % p.bands
        low, high = p.y_h * band // p.bands, p.y_h * (band + 1) // p.bands
        for image in range(first, min(first + p.group, p.images)):
            _image_of_sums(p, tables, image, low, high, dy, x, sums, start, channel, count)


@jit()
def _add_parts(sums, parts, taps, channels, stride, dw):
    """Write the sums of the parts."""
    for t in range(taps):
        for c in range(channels):
            total = 0.0
            for part in range(parts):
                total += sums[(part * taps + t) * stride + c]
            dw[c * taps + t] = total


# --------------------------------------------------------------------------------------------- on maps


def _convolve(
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    w: NDArray[Any],
    bias: NDArray[Any],
    stride: tuple[int, int],
    padding: tuple[int, int],
    y: NDArray[Any],
    y_shape: tuple[int, ...],
    gradient: bool,
) -> None:
    channels, _, *kernel = w.shape
    taps, distance = kernel[0] * kernel[1], pixel_stride(channels)
    plan = results_plan(x_shape, y_shape, (kernel[0], kernel[1]), stride, padding, gradient)
    packed = workspace.array("depthwise filters", (taps + 1) * distance)
    _pack(np.ascontiguousarray(w).reshape(-1), plan.order, taps, channels, distance, bias, packed)
    chunks = min(numba.get_num_threads(), x_shape[0] * ceil_div(distance, BLOCK))
    if chunks:
        share(_chunk_of_results, chunks, (plan.numbers, plan.tables), (y, x, packed))


def depthwise_conv(
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    w: NDArray[Any],
    bias: NDArray[Any],
    stride: tuple[int, int],
    padding: tuple[int, int],
    y: NDArray[Any],
    y_shape: tuple[int, ...],
) -> None:
    """Compute a depthwise convolution of maps into `y`.

    Parameters
    ----------
    x : ndarray of float32, 1-D
        Memory of maps of `x_shape` (see :class:`~emoref_kernels.cpu.maps.Maps`).
    x_shape : tuple of int
        (N, C, H, W).
    w : ndarray of float32, shape (C, 1, R, S)
        Filters.
    bias : ndarray of float32, 1-D
        One value a channel, or of length 0.
    stride, padding : tuple of int
        (rows, columns).
    y : ndarray of float32, 1-D
        Memory of the result, maps of `y_shape`; written in full.
    y_shape : tuple of int
        (N, C, OH, OW).
    """
    _convolve(x, x_shape, w, bias, stride, padding, y, y_shape, gradient=False)


def depthwise_input_grad(
    dy: NDArray[Any],
    y_shape: tuple[int, ...],
    w: NDArray[Any],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dx: NDArray[Any],
    x_shape: tuple[int, ...],
) -> None:
    """Compute the gradient of the input of :func:`depthwise_conv` into `dx`.

    Parameters
    ----------
    dy : ndarray of float32, 1-D
        Memory of the gradient of the output, maps of `y_shape`.
    y_shape : tuple of int
        (N, C, OH, OW).
    w, stride, padding
        As for :func:`depthwise_conv`.
    dx : ndarray of float32, 1-D
        Memory of the result, maps of `x_shape`; pixels that no window covers get 0.
    x_shape : tuple of int
        (N, C, H, W).
    """
    _convolve(dy, y_shape, w, _NO_BIAS, stride, padding, dx, x_shape, gradient=True)


def depthwise_weight_grad(
    dy: NDArray[Any],
    y_shape: tuple[int, ...],
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dw: NDArray[Any],
) -> None:
    """Compute the gradient of the filters of :func:`depthwise_conv` into `dw`.

    Parameters
    ----------
    dy, x : ndarray of float32, 1-D
        Memory of the gradient of the output, and of the images: maps of `y_shape` and `x_shape`.
    y_shape, x_shape : tuple of int
        (N, C, OH, OW) and (N, C, H, W).
    stride, padding : tuple of int
        (rows, columns).
    dw : ndarray of float32, shape (C, 1, R, S)
        Result.
    """
    channels, _, *kernel = dw.shape
    taps, distance = kernel[0] * kernel[1], pixel_stride(channels)
    plan = sums_plan(x_shape, y_shape, (kernel[0], kernel[1]), stride, padding)
    sums = workspace.array("depthwise sums", plan.parts * taps * distance)
    sums[: plan.parts * taps * distance] = 0.0
    chunks = min(numba.get_num_threads(), plan.parts * ceil_div(distance, BLOCK))
    if chunks:
        share(_chunk_of_sums, chunks, (plan.numbers, plan.tables), (sums, dy, x))
    result = np.empty(dw.shape, np.float32)
    _add_parts(sums, plan.parts, taps, channels, distance, result.reshape(-1))
    dw[...] = result
