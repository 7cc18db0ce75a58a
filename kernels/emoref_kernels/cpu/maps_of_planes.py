"""Dense convolution of planes on channels-last maps that never leave the cache.

Some convolutions are faster on maps (:mod:`~emoref_kernels.cpu.maps_direct`): at a stride, planes have no
runs of neighbours to multiply. But maps of a whole batch would be written to memory and read again. So each
thread turns a few images into maps, convolves them, and turns the result into planes, before it goes on to
the next. The bits are those of maps.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.maps import pixel_stride
from emoref_kernels.cpu.maps_direct import direct_pieces, prepare
from emoref_kernels.cpu.maps_direct_plan import Case, Work
from emoref_kernels.cpu.shares import share
from emoref_kernels.cpu.simd import LANES
from emoref_kernels.cpu.transposes import pixels_of_planes, planes_of_pixels
from emoref_kernels.cpu.winograd_cuts import ceil_div, whole, workspace

__all__ = ["maps_conv", "maps_input_grad"]

_BLOCK_FLOATS = 96 * 1024
"""Most floats of a block's maps, of both kinds, where one image allows it: 384 KB, to stay in L2."""

_NO_BIAS = np.zeros(0, np.float32)
_FIRST = len(Work._fields)


@jit()
def _chunk_of_blocks(chunk, chunks, numbers, tables, x, w, columns, y, scratch):
    """Convolve a share of all blocks; behind the numbers of the convolution are those of the blocks."""
    n = numbers[_FIRST:]
    images, block, channels, plane, stride, filters, y_plane, y_stride = (
        n[0],
        n[1],
        n[2],
        n[3],
        n[4],
        n[5],
        n[6],
        n[7],
    )
    x_size, y_size = block * plane * stride, block * y_plane * y_stride
    start = chunk * (x_size + y_size)
    pixels = scratch[start : start + x_size]
    results = scratch[start + x_size : start + x_size + y_size]
    blocks = (images + block - 1) // block
    for item in range(blocks * chunk // chunks, blocks * (chunk + 1) // chunks):
        first, count = item * block, min(block, images - item * block)
        for k in range(count):
            source = (first + k) * channels * plane
            pixels_of_planes(x, source, channels, plane, pixels, k * plane * stride, stride)
        # A block that is not full is convolved with what the one before left behind it.
        direct_pieces(0, 1, numbers, tables, pixels, w, columns, results, results)
        for k in range(count):
            target = (first + k) * filters * y_plane
            planes_of_pixels(results, k * y_plane * y_stride, y_stride, y, target, filters, y_plane)


def _convolve(
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    w: NDArray[Any],
    bias: NDArray[Any],
    how: tuple[tuple[int, int], tuple[int, int]],
    y: NDArray[Any],
    y_shape: tuple[int, ...],
    gradient: bool,
) -> None:
    images, channels, x_h, x_w = x_shape
    filters, y_h, y_w = y_shape[1:]
    stride, y_stride = pixel_stride(channels), whole(filters, LANES)
    floats = x_h * x_w * stride + y_h * y_w * y_stride
    threads = numba.get_num_threads()
    block = min(max(_BLOCK_FLOATS // floats, 1), ceil_div(images, threads))
    case = Case(
        block, y_h, y_w, y_stride, x_h, x_w, channels, stride, (w.shape[2], w.shape[3]), *how, gradient
    )
    plan, packed, columns = prepare(case, w, bias, 1)
    own = (images, block, channels, x_h * x_w, stride, filters, y_h * y_w, y_stride)
    numbers = np.array((*plan.work, *own), np.int64)
    chunks = min(threads, ceil_div(images, block))
    scratch = workspace.array("maps of planes", chunks * block * floats)
    share(_chunk_of_blocks, chunks, (numbers, plan.tables), (x, packed, columns, y, scratch))


def maps_conv(
    x: NDArray[Any],
    x_shape: tuple[int, ...],
    w: NDArray[Any],
    bias: NDArray[Any],
    stride: tuple[int, int],
    padding: tuple[int, int],
    y: NDArray[Any],
    y_shape: tuple[int, ...],
) -> None:
    """Compute a dense convolution of planes into `y`.

    Parameters
    ----------
    x : ndarray of float32, 1-D
        Images of `x_shape` (N, C, H, W), flat; N at least 1.
    x_shape : tuple of int
        Their shape.
    w : ndarray of float32, shape (O, C, R, S)
        Filters.
    bias : ndarray of float32, 1-D
        One value a filter, or of length 0.
    stride, padding : tuple of int
        Rows and columns.
    y : ndarray of float32, 1-D
        Result of `y_shape` (N, O, P, Q), flat; written in full.
    y_shape : tuple of int
        Its shape.
    """
    _convolve(x, x_shape, w, bias, (stride, padding), y, y_shape, False)


def maps_input_grad(
    dy: NDArray[Any],
    y_shape: tuple[int, ...],
    w: NDArray[Any],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dx: NDArray[Any],
    x_shape: tuple[int, ...],
) -> None:
    """Compute the gradient of the input of :func:`maps_conv` into `dx`.

    Parameters
    ----------
    dy : ndarray of float32, 1-D
        Gradient of the output, of `y_shape` (N, O, P, Q), flat; N at least 1.
    y_shape : tuple of int
        Its shape.
    w, stride, padding
        As for :func:`maps_conv`.
    dx : ndarray of float32, 1-D
        Result of `x_shape` (N, C, H, W), flat; written in full.
    x_shape : tuple of int
        Its shape.
    """
    _convolve(dy, y_shape, w, _NO_BIAS, (stride, padding), dx, x_shape, True)
