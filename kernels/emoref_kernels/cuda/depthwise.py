"""Depthwise convolution on the device: each channel with a filter of its own, of any size and stride.

One channel a filter leaves a product of matrices nothing to share, so a thread owns one value of the result
and reads what it needs; the caches serve the neighbours.
"""

import numpy as np

from emoref_kernels.cuda.array import DeviceArray, constant_table, empty
from emoref_kernels.cuda.jit import THREADS, kernel, shared_floats
from emoref_kernels.cuda.provider import cuda
from emoref_kernels.cuda.reduce import block_sum

__all__ = ["depthwise", "depthwise_input_grad", "depthwise_weight_grad"]

_ZERO = np.float32(0)
_partial = shared_floats(THREADS)


@kernel("fffif")
def _depthwise(x, w, bias, table, y):
    # The table: size of y, C, H, W, OH, OW, kernel, stride, padding (height, width each), with bias.
    i = cuda.grid(1)
    if i < table[0]:
        plane = table[4] * table[5]
        place, image = i % plane, i // plane
        channel = image % table[1]
        h = (place // table[5]) * table[8] - table[10]
        column = (place % table[5]) * table[9] - table[11]
        start, weight = image * table[2] * table[3], channel * table[6] * table[7]
        total = _ZERO
        for r in range(table[6]):
            if h + r >= 0 and h + r < table[2]:
                for s in range(table[7]):
                    if column + s >= 0 and column + s < table[3]:
                        total += x[start + (h + r) * table[3] + column + s] * w[weight + r * table[7] + s]
        if table[12] != 0:
            total += bias[channel]
        y[i] = total


@kernel("ffif")
def _depthwise_input_grad(dy, w, table, dx):
    i = cuda.grid(1)
    if i < table[0]:
        x_plane, plane = table[2] * table[3], table[4] * table[5]
        place, image = i % x_plane, i // x_plane
        h, column = place // table[3] + table[10], place % table[3] + table[11]
        weight = (image % table[1]) * table[6] * table[7]
        total = _ZERO
        for r in range(table[6]):
            if h - r >= 0 and (h - r) % table[8] == 0 and (h - r) // table[8] < table[4]:
                start = image * plane + (h - r) // table[8] * table[5]
                for s in range(table[7]):
                    left = column - s
                    if left >= 0 and left % table[9] == 0 and left // table[9] < table[5]:
                        total += dy[start + left // table[9]] * w[weight + r * table[7] + s]
        dx[i] = total


@kernel("ffif")
def _depthwise_weight_grad(dy, x, table, dw):
    # One block a weight.
    partial = _partial()
    thread, tap = np.int64(cuda.threadIdx.x), np.int64(cuda.blockIdx.x)
    channel, plane = np.int64(cuda.blockIdx.y), table[4] * table[5]
    r, s = tap // table[7] - table[10], tap % table[7] - table[11]
    total = _ZERO
    for i in range(thread, table[0] // table[1], THREADS):
        image, place = (i // plane) * table[1] + channel, i % plane
        h, column = (place // table[5]) * table[8] + r, (place % table[5]) * table[9] + s
        if h >= 0 and h < table[2] and column >= 0 and column < table[3]:
            total += dy[image * plane + place] * x[image * table[2] * table[3] + h * table[3] + column]
    partial[thread] = total
    total = block_sum(partial, thread)
    if thread == 0:
        dw[channel * table[6] * table[7] + tap] = total


def _table(
    size: int,
    x_shape: tuple[int, ...],
    y_shape: tuple[int, ...],
    kernel_extents: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    biased: bool = False,
) -> DeviceArray:
    return constant_table((size, *x_shape[1:], *y_shape[2:], *kernel_extents, *stride, *padding, int(biased)))


def depthwise(
    x: DeviceArray,
    w: DeviceArray,
    bias: DeviceArray | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    y_shape: tuple[int, ...],
) -> DeviceArray:
    """Convolve each channel of x (N, C, H, W) with its filter of w (C, 1, R, S)."""
    y = empty(y_shape)
    table = _table(y.size, x.shape, y_shape, w.shape[2:], stride, padding, bias is not None)
    _depthwise(-(-y.size // THREADS), THREADS, x, w, w if bias is None else bias, table, y)
    return y


def depthwise_input_grad(
    dy: DeviceArray,
    w: DeviceArray,
    x_shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> DeviceArray:
    """Return the gradient in x of :func:`depthwise`."""
    dx = empty(x_shape)
    table = _table(dx.size, x_shape, dy.shape, w.shape[2:], stride, padding)
    _depthwise_input_grad(-(-dx.size // THREADS), THREADS, dy, w, table, dx)
    return dx


def depthwise_weight_grad(
    dy: DeviceArray,
    x: DeviceArray,
    w_shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> DeviceArray:
    """Return the gradient in w of :func:`depthwise`."""
    dw = empty(w_shape)
    table = _table(dy.size, x.shape, dy.shape, w_shape[2:], stride, padding)
    _depthwise_weight_grad((w_shape[2] * w_shape[3], w_shape[0]), THREADS, dy, x, table, dw)
    return dw
