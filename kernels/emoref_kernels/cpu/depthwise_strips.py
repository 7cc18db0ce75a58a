"""Depthwise convolution of planes whose rows fill vectors: strips of planes side by side.

The loops are those of :mod:`~emoref_kernels.cpu.depthwise_rows`. Nothing is copied: each plane is read, and
each result written, where it lies. Threads share the strips of all images, or for the gradient of the filters
the channels. A sum over pixels is taken in single precision for a few images, in LANES chains side by side,
and over these in double precision, in order.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.depthwise_rows import (
    SPREAD,
    ZEROS,
    Strip,
    plane_results,
    plane_sums,
    segments_of,
)
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import sum_run
from emoref_kernels.cpu.shares import share
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.cpu.winograd_cuts import ceil_div, workspace

__all__ = ["strip_kind", "strips_conv", "strips_weight_grad"]

_VECTORS = 10
"""Vectors of a strip's filters: nine taps, and the bias."""

_SUMMED_PIXELS, _SUMMED_IMAGES = 4096, 8
"""Pixels of a plane, about, whose products are added in single precision, and least number of images."""

_BLOCK_FLOATS = 4096
"""Floats of the planes of an image, about, that are read one after the other while sums are kept: 16 KB."""


def strip_kind(
    x_shape: tuple[int, ...],
    y_shape: tuple[int, ...],
    stride: int,
    padding: tuple[int, int],
    gradient: bool,
    sums: bool = False,
) -> tuple[int, int]:
    """Return the kind of the loops for a convolution, and how many planes lie side by side.

    Parameters
    ----------
    x_shape, y_shape : tuple of int
        (N, C, H, W) of what is read and of what is written.
    stride : int
        1 or 2.
    padding : tuple of int
        Rows and columns.
    gradient : bool
        Whether it is the gradient of the input, which reads the output's.
    sums : bool
        Whether it is the gradient of the filters.

    Returns
    -------
    kind, segments : int
        `segments` is 0 where the loops do not fit.
    """
    kind = SPREAD if gradient and stride == 2 else stride
    small, large = (x_shape, y_shape) if kind == SPREAD else (y_shape, x_shape)
    (rows, columns), (large_rows, large_columns) = small[2:], large[2:]
    regular = padding == (1, 1) and large_columns == stride * columns and rows == ceil_div(large_rows, stride)
    if (
        not regular
        or rows < 2
        or (kind == SPREAD and large_rows % 2)
        or (sums and columns % LANES and columns > LANES)
    ):
        return kind, 0
    segments = segments_of(columns)
    return kind, segments if segments <= x_shape[1] else 0


@jit()
def _pack(w, bias, channels, segments, groups, packed):
    """Write the vectors of each strip's filters, and ZEROS zeros behind them."""
    width = LANES // segments
    for group in range(groups):
        first = min(group * segments, channels - segments)
        for lane in range(LANES):
            channel, place = first + lane // width, group * _VECTORS * LANES + lane
            for t in range(_VECTORS - 1):
                packed[place + t * LANES] = w[channel * (_VECTORS - 1) + t]
            packed[place + (_VECTORS - 1) * LANES] = bias[channel] if bias.size else np.float32(0.0)
    for k in range(ZEROS):
        packed[groups * _VECTORS * LANES + k] = 0.0


@jit(inline="always")
def _strip(n, plane, w_start, zeros):
    """Return the strip that begins with a plane; `n` are the numbers that all strips share."""
    y_plane, x_plane = n[2] * n[3], n[4] * n[5]
    return Strip(
        plane * y_plane, n[3], y_plane, plane * x_plane, n[5], x_plane, w_start, zeros, n[6], n[4], n[7]
    )


@jit()
def _chunk_of_results(chunk, chunks, n, _, x, w, y, _d, _e):
    images, channels, kind, segments = n[0], n[1], n[8], n[9]
    groups = (channels + segments - 1) // segments
    units = images * groups
    for unit in range(units * chunk // chunks, units * (chunk + 1) // chunks):
        image, group = divmod(unit, groups)
        plane = image * channels + min(group * segments, channels - segments)
        strip = _strip(n, plane, group * _VECTORS * LANES, groups * _VECTORS * LANES)
        plane_results(y, x, w, strip, kind, segments)


@jit()
def _flush(sums, start, values, width, totals):
    """Add each segment of vectors of sums to its total, and clear it."""
    for k in range(values):
        totals[k] += sum_run(sums, start + k * width, width)
    for k in range(values * width):
        sums[start + k] = 0.0


@jit()
def _chunk_of_sums(chunk, chunks, n, _, dy, x, sums, dw, _e):
    """Sum the gradients of one chunk's channels, some strips at a time."""
    images, channels, kind, segments, together, block, floats = n[0], n[1], n[8], n[9], n[10], n[11], n[12]
    taps, start = _VECTORS - 1, chunk * floats
    zeros = start + floats - ZEROS
    for k in range(start, start + floats):
        sums[k] = 0.0
    totals = np.empty(block * taps * segments, np.float64)
    groups = (channels + segments - 1) // segments
    end = groups * (chunk + 1) // chunks
    for first in range(groups * chunk // chunks, end, block):
        strips = min(block, end - first)
        totals[:] = 0.0
        for image in range(images):
            for k in range(strips):
                plane = image * channels + min((first + k) * segments, channels - segments)
                strip = _strip(n, plane, start + k * taps * LANES, zeros)
                plane_sums(dy, x, sums, strip, kind, segments)
            if (image + 1) % together == 0 or image == images - 1:
                _flush(sums, start, strips * taps * segments, LANES // segments, totals)
        for k in range(strips):
            channel = min((first + k) * segments, channels - segments)
            for t in range(taps):
                for segment in range(segments):
                    dw[(channel + segment) * taps + t] = totals[(k * taps + t) * segments + segment]


def strips_conv(
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    w: NDArray[Any],
    bias: NDArray[Any],
    y: NDArray[Any],
    y_shape: tuple[int, ...],
    kind: int,
    segments: int,
) -> None:
    """Compute a depthwise convolution of 3 x 3 with padding 1, or the gradient of its input at stride 2.

    Parameters
    ----------
    x : ndarray of float32, 1-D
        What is read, of `x_shape` (N, C, H, W), flat.
    x_shape : tuple of int
        Its shape.
    w : ndarray of float32, 1-D
        Filters (C, 1, 3, 3), flat; for a gradient at stride 1 turned by 180 degrees.
    bias : ndarray of float32, 1-D
        One value a channel, or of length 0.
    y : ndarray of float32, 1-D
        Result of `y_shape`, flat; written in full.
    y_shape : tuple of int
        Its shape.
    kind, segments : int
        From :func:`strip_kind`.
    """
    images, channels, x_h, x_w = x_shape
    y_h, y_w = y_shape[2:]
    groups = ceil_div(channels, segments)
    rows, columns = (x_h, x_w) if kind == SPREAD else (y_h, y_w)
    packed = workspace.array("strip filters", groups * _VECTORS * LANES + ZEROS)
    _pack(w, bias, channels, segments, groups, packed)
    numbers = (images, channels, y_h, y_w, x_h, x_w, rows, columns, kind, segments)
    chunks = min(numba.get_num_threads(), images * groups)
    share(_chunk_of_results, chunks, (np.array(numbers, np.int64),), (x, packed, y))


def strips_weight_grad(
    dy: NDArray[Any],
    y_shape: tuple[int, ...],
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    dw: NDArray[Any],
    kind: int,
    segments: int,
) -> None:
    """Compute the gradient of depthwise filters of 3 x 3 with padding 1.

    Parameters
    ----------
    dy, x : ndarray of float32, 1-D
        Gradient of the output, and images, of `y_shape` and `x_shape` (N, C, H, W), flat.
    y_shape, x_shape : tuple of int
        Their shapes.
    dw : ndarray of float32, 1-D
        Result (C, 1, 3, 3), flat; written in full.
    kind, segments : int
        From :func:`strip_kind`.
    """
    images, channels, x_h, x_w = x_shape
    y_h, y_w = y_shape[2:]
    groups = ceil_div(channels, segments)
    together = max(_SUMMED_PIXELS // (y_h * y_w), _SUMMED_IMAGES)
    block = min(max(_BLOCK_FLOATS // (y_h * y_w * segments), 1), groups)
    chunks = min(numba.get_num_threads(), groups)
    floats = block * (_VECTORS - 1) * LANES + ZEROS
    sums = workspace.array("strip sums", chunks * floats)
    numbers = (images, channels, y_h, y_w, x_h, x_w, y_h, y_w, kind, segments, together, block, floats)
    share(_chunk_of_sums, chunks, (np.array(numbers, np.int64),), (dy, x, sums, dw))
