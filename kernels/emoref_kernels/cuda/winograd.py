"""Winograd's convolution on the device: F(4x4, 3x3) and F(2x2, 3x3) (Lavin and Gray 2016, section 4).

A tile of m x m results needs (m + 2)^2 products for each pair of channel and filter instead of 9 m^2: 36
instead of 144 for m = 4. Filters and tiles of the input are transformed, one product of matrices for each of
the (m + 2)^2 places does the work, and its results are transformed back. The gradient of the input is the
same with turned filters; the gradient of the filters transforms tiles of dy instead, and multiplies over
tiles.

Transforms of one direction are written out; two directions are rows first, then columns.
"""

import numba
import numpy as np

from emoref_kernels.cuda.array import DeviceArray, empty
from emoref_kernels.cuda.jit import THREADS, Kernel, kernel
from emoref_kernels.cuda.product import product
from emoref_kernels.cuda.provider import cuda
from emoref_kernels.cuda.winograd_lines import LINES

__all__ = ["winograd_convolution", "winograd_weight_gradient"]

_ZERO = np.float32(0)


def _make_filters(m: int) -> Kernel:
    t, lines = m + 2, LINES[m]
    filter_line = lines.filters
    work_size = 3 * t

    def winograd_filters(w, u, rows, columns, row_step, column_step, turned):
        # u[e, row, column], from the filter at row * row_step + column * column_step
        work = cuda.local.array(work_size, numba.float32)
        i = cuda.grid(1)
        if i < rows * columns:
            start = (i // columns) * row_step + (i % columns) * column_step
            step, first = 1, start
            if turned != 0:
                step, first = -1, start + 8
            for s in range(3):
                filter_line(
                    work, s, 3, w[first + step * s], w[first + step * (3 + s)], w[first + step * (6 + s)]
                )
            for e in range(t):
                filter_line(
                    u,
                    e * t * rows * columns + i,
                    rows * columns,
                    work[e * 3],
                    work[e * 3 + 1],
                    work[e * 3 + 2],
                )

    return kernel("ffnnnnn", name=f"winograd_filters_{m}")(winograd_filters)


def _make_tiles(m: int) -> Kernel:
    t, lines = m + 2, LINES[m]
    input_line = lines.inputs
    area = t * t

    def winograd_tiles(x, v, images, channels, height, width, tiles_h, tiles_w, pads):
        # v[e, channel, tile]; pads holds the padding of rows and columns, 16 bits each
        work = cuda.local.array(area, numba.float32)
        tiles = images * tiles_h * tiles_w
        i = cuda.grid(1)
        if i < channels * tiles:
            channel, tile = i // tiles, i % tiles
            image, place = tile // (tiles_h * tiles_w), tile % (tiles_h * tiles_w)
            top = (place // tiles_w) * m - (pads >> 16)
            left = (place % tiles_w) * m - (pads & 0xFFFF)
            start = (image * channels + channel) * height * width
            for r in range(t):
                for s in range(t):
                    value = _ZERO
                    if top + r >= 0 and top + r < height and left + s >= 0 and left + s < width:
                        value = x[start + (top + r) * width + left + s]
                    work[r * t + s] = value
            for s in range(t):
                input_line(work, s, t, work, s, t)
            for e in range(t):
                input_line(work, e * t, 1, v, e * t * channels * tiles + i, channels * tiles)

    return kernel("ffnnnnnnn", name=f"winograd_tiles_{m}")(winograd_tiles)


def _make_results(m: int) -> Kernel:
    t, lines = m + 2, LINES[m]
    output_line = lines.outputs
    area, line = t * t, m * t

    def winograd_results(p, bias, y, images, filters, height, width, tiles_h, tiles_w, biased):
        work = cuda.local.array(area, numba.float32)
        half = cuda.local.array(line, numba.float32)
        tiles = images * tiles_h * tiles_w
        i = cuda.grid(1)
        if i < filters * tiles:
            row, tile = i // tiles, i % tiles
            image, place = tile // (tiles_h * tiles_w), tile % (tiles_h * tiles_w)
            top, left = (place // tiles_w) * m, (place % tiles_w) * m
            start = (image * filters + row) * height * width
            for e in range(area):
                work[e] = p[e * filters * tiles + i]
            for s in range(t):
                output_line(work, s, t, half, s, t)
            shift = _ZERO
            if biased != 0:
                shift = bias[row]
            for r in range(m):
                output_line(half, r * t, 1, work, 0, 1)
                for s in range(m):
                    if top + r < height and left + s < width:
                        y[start + (top + r) * width + left + s] = work[s] + shift

    return kernel("fffnnnnnnn", name=f"winograd_results_{m}")(winograd_results)


def _make_grad_tiles(m: int) -> Kernel:
    t, lines = m + 2, LINES[m]
    grad_line = lines.grads
    area, line = m * m, t * m

    def winograd_grad_tiles(dy, d, images, filters, height, width, tiles_h, tiles_w):
        work = cuda.local.array(area, numba.float32)
        half = cuda.local.array(line, numba.float32)
        tiles = images * tiles_h * tiles_w
        i = cuda.grid(1)
        if i < filters * tiles:
            row, tile = i // tiles, i % tiles
            image, place = tile // (tiles_h * tiles_w), tile % (tiles_h * tiles_w)
            top, left = (place // tiles_w) * m, (place % tiles_w) * m
            start = (image * filters + row) * height * width
            for r in range(m):
                for s in range(m):
                    value = _ZERO
                    if top + r < height and left + s < width:
                        value = dy[start + (top + r) * width + left + s]
                    work[r * m + s] = value
            for s in range(m):
                grad_line(work, s, m, half, s, m)
            for e in range(t):
                grad_line(half, e * m, 1, d, e * t * filters * tiles + i, filters * tiles)

    return kernel("ffnnnnnn", name=f"winograd_grad_tiles_{m}")(winograd_grad_tiles)


def _make_weights(m: int) -> Kernel:
    t, lines = m + 2, LINES[m]
    weight_line = lines.weights
    area, line = t * t, 3 * t

    def winograd_weights(p, dw, pairs):
        work = cuda.local.array(area, numba.float32)
        half = cuda.local.array(line, numba.float32)
        i = cuda.grid(1)
        if i < pairs:
            for e in range(area):
                work[e] = p[e * pairs + i]
            for s in range(t):
                weight_line(work, s, t, half, s, t)
            for r in range(3):
                weight_line(half, r * t, 1, dw, i * 9 + r * 3, 1)

    return kernel("ffn", name=f"winograd_weights_{m}")(winograd_weights)


_FILTERS = {m: _make_filters(m) for m in LINES}
_TILES = {m: _make_tiles(m) for m in LINES}
_RESULTS = {m: _make_results(m) for m in LINES}
_GRAD_TILES = {m: _make_grad_tiles(m) for m in LINES}
_WEIGHTS = {m: _make_weights(m) for m in LINES}


def _blocks(threads: int) -> int:
    return -(-threads // THREADS)


def _transformed_tiles(
    x: DeviceArray, padding: tuple[int, int], extents: tuple[int, int], m: int
) -> tuple[DeviceArray, tuple[int, int]]:
    """Return the input's tiles, transformed, and how many tiles there are along rows and columns."""
    images, channels, height, width = x.shape
    counts = -(-extents[0] // m), -(-extents[1] // m)
    v = empty(((m + 2) ** 2, channels, images * counts[0] * counts[1]))
    _TILES[m](
        _blocks(v.size // (m + 2) ** 2), THREADS, x, v, images, channels, height, width, *counts,
        padding[0] << 16 | padding[1],
    )  # fmt: skip
    return v, counts


def winograd_convolution(
    x: DeviceArray,
    w: DeviceArray,
    bias: DeviceArray | None,
    padding: tuple[int, int],
    y_shape: tuple[int, ...],
    m: int,
    *,
    turned: bool = False,
) -> DeviceArray:
    """Convolve with 3 x 3 filters at stride 1.

    Parameters
    ----------
    x
        (N, C, H, W).
    w
        Filters (O, C, 3, 3); with `turned` (C, O, 3, 3), each turned by half a turn, which makes this the
        gradient of the input.
    bias
        (O,), or None.
    padding
        (height, width).
    y_shape
        Shape of the result.
    m
        Results of a tile in each direction, 4 or 2.
    turned
        See `w`.
    """
    channels, (images, filters, height, width) = x.shape[1], y_shape
    area = (m + 2) ** 2
    u = empty((area, channels, filters))
    steps = (filters * 9, 9) if turned else (9, channels * 9)
    _FILTERS[m](_blocks(channels * filters), THREADS, w, u, channels, filters, *steps, turned)
    v, counts = _transformed_tiles(x, padding, (height, width), m)
    tiles = v.shape[2]
    products = product(u, v, (area, filters, tiles, channels))
    y = empty(y_shape)
    _RESULTS[m](
        _blocks(filters * tiles), THREADS, products, y if bias is None else bias, y, images, filters, height,
        width, *counts, bias is not None,
    )  # fmt: skip
    return y


def winograd_weight_gradient(
    dy: DeviceArray, x: DeviceArray, padding: tuple[int, int], m: int
) -> DeviceArray:
    """Return the gradient of 3 x 3 filters at stride 1, (O, C, 3, 3)."""
    images, filters, height, width = dy.shape
    channels, area = x.shape[1], (m + 2) ** 2
    v, counts = _transformed_tiles(x, padding, (height, width), m)
    tiles = v.shape[2]
    d = empty((area, filters, tiles))
    _GRAD_TILES[m](_blocks(filters * tiles), THREADS, dy, d, images, filters, height, width, *counts)
    products = product(d, v, (area, filters, channels, tiles), left_inner=True, right_inner=True)
    dw = empty((filters, channels, 3, 3))
    _WEIGHTS[m](_blocks(filters * channels), THREADS, products, dw, filters * channels)
    return dw
