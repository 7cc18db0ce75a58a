"""Weight gradient of a convolution for groups of few filters, row by row, and the bias gradient.

With one or two filters in a group (depthwise convolutions), a tile of ROWS filters would be mostly empty.
Each weight's gradient is then a sum of inner products of rows.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import dot_run, sum_run
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import fma

__all__ = ["bias_grad_rows", "weight_grad_rows"]


@jit()
def _valid(tap, stride, extent, outputs):
    """Return the range of outputs i for which 0 <= i * stride + tap < extent; `tap` may be negative."""
    first = 0 if tap >= 0 else (stride - 1 - tap) // stride
    last = (extent - 1 - tap) // stride + 1 if tap < extent else 0
    return first, max(first, min(last, outputs))


@jit()
def _dot_strided(a, a_start, b, b_start, b_stride, count):
    """Return the inner product of a run and of equally spaced values."""
    total = np.float32(0.0)
    for j in range(count):
        total = fma(a[a_start + j], b[b_start + j * b_stride], total)
    return total


@jit()
def _weight_grad_filter(
    dy, x, images, all_filters, all_channels, filter_index, first_channel, channels, y_h, y_w, x_h, x_w,
    kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, dw,
):  # fmt: skip
    for c in range(channels):
        for r in range(kernel_h):
            first_i, last_i = _valid(r - padding_h, stride_h, x_h, y_h)
            for s in range(kernel_w):
                first_j, last_j = _valid(s - padding_w, stride_w, x_w, y_w)
                total = 0.0
                for n in range(images):
                    x_plane = (n * all_channels + first_channel + c) * x_h
                    for i in range(first_i, last_i):
                        a = ((n * all_filters + filter_index) * y_h + i) * y_w + first_j
                        b = (x_plane + i * stride_h + r - padding_h) * x_w
                        b += first_j * stride_w + s - padding_w
                        if stride_w == 1:
                            total += dot_run(dy, a, x, b, last_j - first_j)
                        else:
                            total += _dot_strided(dy, a, x, b, stride_w, last_j - first_j)
                dw[((filter_index * channels + c) * kernel_h + r) * kernel_w + s] = total


@jit()
def _weight_grad_filters(chunk, chunks, n, _, dy, x, dw, _d, _e):
    """Compute the gradient of a run of filters."""
    keep_apart()
    images, groups, filters, channels, y_h, y_w, x_h, x_w = n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]
    all_filters = groups * filters
    for index in range(all_filters * chunk // chunks, all_filters * (chunk + 1) // chunks):
        _weight_grad_filter(
            dy, x, images, all_filters, groups * channels, index, index // filters * channels, channels,
            y_h, y_w, x_h, x_w, n[8], n[9], n[10], n[11], n[12], n[13], dw,
        )  # fmt: skip


def weight_grad_rows(
    dy: NDArray[Any],
    x: NDArray[Any],
    images: int,
    groups: int,
    filters: int,
    channels: int,
    y_h: int,
    y_w: int,
    x_h: int,
    x_w: int,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    padding_h: int,
    padding_w: int,
    dw: NDArray[Any],
) -> None:
    """Compute the gradient of the weights; sums of rows are added in float64, in order."""
    numbers = np.array(
        (
            images, groups, filters, channels, y_h, y_w, x_h, x_w, kernel_h, kernel_w, stride_h, stride_w,
            padding_h, padding_w,
        ),
        np.int64,
    )  # fmt: skip
    share(_weight_grad_filters, min(numba.get_num_threads(), groups * filters), (numbers,), (dy, x, dw))


@jit()
def _bias_grad_filters(chunk, chunks, n, _, dy, db, _c, _d, _e):
    """Sum the planes of a run of filters."""
    keep_apart()
    images, filters, pixels = n[0], n[1], n[2]
    for f in range(filters * chunk // chunks, filters * (chunk + 1) // chunks):
        total = 0.0
        for image in range(images):
            total += sum_run(dy, (image * filters + f) * pixels, pixels)
        db[f] = total


def bias_grad_rows(dy: NDArray[Any], images: int, filters: int, pixels: int, db: NDArray[Any]) -> None:
    """Sum each filter's planes over all images; sums of planes are added in float64, in order."""
    numbers = np.array((images, filters, pixels), np.int64)
    share(_bias_grad_filters, min(numba.get_num_threads(), filters), (numbers,), (dy, db))
