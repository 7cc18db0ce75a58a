"""The input gradient of a convolution, scattered: each output pixel adds its share to the pixels that it saw.

    dx[n, c, i * stride_h + r, j * stride_w + s] += sum over f of dy[n, f, i, j] * w[f, c, r, s]

Seen from an input pixel, the gradient is a convolution of `dy` between zeros, and where padding is small
next to the kernel most of the multiplications meet these zeros: for a 5 x 5 kernel on 12 x 12 pixels without
padding, 56 of 100. Seen from the output pixels there are none, whatever the stride.

Memory holds ROWS images with the channels innermost, and `dx` with its padding around it. Then the values
(s, c) of one kernel row lie side by side, and an output pixel of ROWS images is one tile of a product, whose
sums start from what is there: rows are images, columns (s, c), and the sum runs over the filters. No two rows
of a tile meet the same value, and the order of the additions is that of the output pixels.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import add_strided, copy_strided, transpose_block, transpose_run
from emoref_kernels.cpu.simd import LANES, ROWS, VECTORS
from emoref_kernels.cpu.simd_strided import DEPTH_STEP, multiply_plain
from emoref_kernels.cpu.winograd_cuts import ceil_div, whole, workspace

__all__ = ["scatter_input_grad", "scatter_row"]

_DEPTH_BLOCK = 128
"""Terms of a sum for which a tile's weights, 24 KB, stay in the first-level cache."""


class Scatter(NamedTuple):
    """Extents and places; every number is an extent, a count, or a distance in floats."""

    images: int
    filters: int
    channels: int
    y_h: int
    y_w: int
    x_h: int
    x_w: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    padding_h: int
    padding_w: int
    depth: int  # filters, up to a whole step of the sum
    width: int  # kernel_w * channels, up to a whole vector
    row: int  # of dx with its padding: floats of a row,
    x_image: int  # and of an image, with what the last vector may touch
    y_image: int  # floats of one image of dy
    scratch: int  # and of all of a thread's memory


def scatter_row(channels: int, kernel_w: int) -> int:
    """Return the floats of the product's rows: the values (s, c) of a kernel row, up to a whole vector."""
    return whole(channels * kernel_w, LANES)


@jit()
def _unpack(n):
    """Return the description that an array holds; one array makes a parallel kernel compile faster."""
    return Scatter(
        n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12], n[13], n[14], n[15],
        n[16], n[17], n[18],
    )  # fmt: skip


@jit()
def _clear(values, start, count):
    for i in range(count):
        values[start + i] = 0.0


@jit()
def _pack_weights(numbers, w, packed):
    """Copy the weights to rows of (s, c), one for each kernel row and filter; the rest is zero."""
    p = _unpack(numbers)
    taps = p.kernel_h * p.kernel_w
    _clear(packed, 0, p.kernel_h * p.depth * p.width)
    for r in range(p.kernel_h):
        for f in range(p.filters):
            source = f * p.channels * taps + r * p.kernel_w
            target = (r * p.depth + f) * p.width
            for s in range(p.kernel_w):
                copy_strided(packed, target + s * p.channels, w, source + s, p.channels, taps)


@jit()
def _channels_last(p, dy, image, out, start):
    """Copy one image of dy with the filters innermost, zeros up to `depth` behind them."""
    pixels = p.y_h * p.y_w
    source = image * p.filters * pixels
    whole_filters = p.filters // ROWS * ROWS
    for f in range(0, whole_filters, ROWS):
        transpose_run(out, start + f, p.depth, dy, source + f * pixels, pixels, pixels)
    for f in range(whole_filters, p.filters):
        add_strided(out, start + f, dy, source + f * pixels, pixels, p.depth, np.float32(0.0))
    for pixel in range(pixels):
        _clear(out, start + pixel * p.depth + p.filters, p.depth - p.filters)


@jit()
def _store_image(p, scratch, start, image, dx):
    """Copy one image from memory with the channels innermost to its planes, without the padding."""
    plane = p.x_h * p.x_w
    whole_channels, whole_columns = p.channels // ROWS * ROWS, p.x_w // ROWS * ROWS
    for i in range(p.x_h):
        source = start + (i + p.padding_h) * p.row + p.padding_w * p.channels
        target = image * p.channels * plane + i * p.x_w
        for c in range(0, whole_channels, ROWS):
            for j in range(0, whole_columns, ROWS):
                place = source + j * p.channels + c
                transpose_block(dx, target + c * plane + j, plane, scratch, place, p.channels)
        for c in range(p.channels):
            first = whole_columns if c < whole_channels else 0
            place = source + first * p.channels + c
            copy_strided(dx, target + c * plane + first, scratch, place, p.x_w - first, p.channels)


@jit()
def _multiply(p, packed, scratch, y_start, x_start):
    """Add the shares of all output pixels of ROWS images."""
    vectors = p.width // LANES
    tiles = (vectors + VECTORS - 1) // VECTORS
    for r in range(p.kernel_h):
        for tile in range(tiles):
            first = vectors * tile // tiles
            count = vectors * (tile + 1) // tiles - first
            for k in range(0, p.depth, _DEPTH_BLOCK):
                terms = min(_DEPTH_BLOCK, p.depth - k)
                weights = (r * p.depth + k) * p.width + first * LANES
                for i in range(p.y_h):
                    target = x_start + (i * p.stride_h + r) * p.row + first * LANES
                    source = y_start + i * p.y_w * p.depth + k
                    for j in range(p.y_w):
                        multiply_plain(
                            scratch, target + j * p.stride_w * p.channels, p.x_image,
                            scratch, source + j * p.depth, p.y_image,
                            packed, weights, p.width, terms, 1, count,
                        )  # fmt: skip


@jit()
def _scatter_chunk(chunk, chunks, numbers, dy, packed, scratch, dx):
    """Compute every chunks-th block of ROWS images."""
    p = _unpack(numbers)
    y_start = chunk * p.scratch
    x_start = y_start + ROWS * p.y_image
    for first in range(chunk * ROWS, p.images, chunks * ROWS):
        count = min(ROWS, p.images - first)
        for n in range(count):
            _channels_last(p, dy, first + n, scratch, y_start + n * p.y_image)
        # Rows without an image are multiplied too, and never looked at.
        _clear(scratch, y_start + count * p.y_image, (ROWS - count) * p.y_image)
        _clear(scratch, x_start, ROWS * p.x_image)
        _multiply(p, packed, scratch, y_start, x_start)
        for n in range(count):
            _store_image(p, scratch, x_start + n * p.x_image, first + n, dx)


@jit(parallel=True)
def _scatter(chunks, numbers, dy, packed, scratch, dx):
    for chunk in numba.prange(chunks):
        _scatter_chunk(np.int64(chunk), chunks, numbers, dy, packed, scratch, dx)


def scatter_input_grad(
    dy: NDArray[Any],
    y_shape: tuple[int, ...],
    w: NDArray[Any],
    w_shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dx: NDArray[Any],
    x_shape: tuple[int, ...],
) -> None:
    """Compute the gradient of the input of a convolution without groups into `dx`.

    Parameters
    ----------
    dy : ndarray of float32, 1-D
        Gradient of the output, of `y_shape` (N, O, OH, OW), flat; at least one image.
    w : ndarray of float32, 1-D
        Filters of `w_shape` (O, C, R, S), flat.
    stride, padding : tuple of int
        (height, width).
    dx : ndarray of float32, 1-D
        Gradient of the input, of `x_shape` (N, C, H, W), flat; written in full.

    Notes
    -----
    A value is a chain of fused multiply-adds in an order that does not depend on the other images. The last
    vector of a kernel row may hold zeros behind its weights; by them, an infinity or NaN of `dy` also makes
    neighbouring pixels NaN.
    """
    images, filters, y_h, y_w = y_shape
    _, channels, kernel_h, kernel_w = w_shape
    x_h, x_w = x_shape[2:]
    depth, width = whole(filters, DEPTH_STEP), scatter_row(channels, kernel_w)
    # Pixels that no window reaches belong to the padded image as well.
    rows = max(x_h + 2 * padding[0], (y_h - 1) * stride[0] + kernel_h)
    columns = max(x_w + 2 * padding[1], (y_w - 1) * stride[1] + kernel_w)
    x_image = rows * columns * channels + LANES
    y_image = y_h * y_w * depth
    scratch = ROWS * (x_image + y_image)
    numbers = np.array(
        Scatter(
            images, filters, channels, y_h, y_w, x_h, x_w, kernel_h, kernel_w, *stride, *padding, depth,
            width, columns * channels, x_image, y_image, scratch,
        ),
        dtype=np.int64,
    )  # fmt: skip
    packed = workspace.array("scatter weights", kernel_h * depth * width)
    _pack_weights(numbers, w, packed)
    chunks = min(numba.get_num_threads(), ceil_div(images, ROWS))
    memory = workspace.array("scatter", chunks * scratch)
    _scatter(chunks, numbers, dy, packed, memory, dx)
