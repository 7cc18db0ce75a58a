"""Batch normalisation of channels-last maps and its gradients, with the ReLU that may follow.

The layer does little arithmetic, so memory decides: each direction reads its maps twice, once for the sums
and once for the result. What is summed is chosen such that one reading is enough:

* A block of rows is summed in float32 as deviations from the mean of its first few rows, and as their
  squares; the blocks of a channel are then put together in float64. No mean, however large, spoils the
  variance, see :mod:`~emoref_kernels.cpu.maps_norm_rows`.
* The gradient needs the sums of g and g (x - mean), where g is the gradient behind ReLU.
* Where a shortcut is added before the ReLU, the sum is formed while the result is written, and its gradient,
  g itself, while the sums are formed.

The maps are seen as rows of `width` floats: as many pixels to a row as make it whole groups of vectors. So
the inner loops always have several sums to add to, also where a pixel is one vector.

The cut into parts and blocks depends on the shape alone, and partial sums are added in the order of the
parts: no bit of a result depends on the number of threads. Padding channels come out as zeros, because
their factors and shifts are zero.
"""

from functools import cache
from math import gcd
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu import elementwise, norm
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.maps_norm_rows import (
    GROUP,
    add_moments,
    add_products,
    write_gradients,
    write_normalised,
    write_products,
    write_sum,
)
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import LANES

__all__ = ["maps_norm_grad", "maps_sum_grad", "normalise_maps", "normalise_maps_by_batch"]

Array = NDArray[Any]

_BLOCK_FLOATS = 16 * 1024
_MOST_BLOCK_ROWS = 128
"""Rows whose sums may be formed in single precision."""

_MOST_PARTS = 32
_PART_FLOATS = 32 * 1024

_ZERO, _NO_FLOOR, _NEVER = np.float32(0), np.float32(-np.inf), np.float32(np.nan)


# ------------------------------------------------------------------------------------------- all rows

_MOMENTS, _NORMALISED, _SUM, _PRODUCTS, _WRITTEN_PRODUCTS, _GRADIENTS = range(6)


@jit()
def _chunk(chunk, chunks, numbers, memory, a, b, x, y, out):
    """Do one task for a share of the parts; `a` is x or dy, `b` the shortcut or another dy."""
    keep_apart()
    rows, width, parts, block, x_step = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    sums, vectors = memory.view(np.float64), memory[2 * parts * width :].view(np.float32)
    task, floor = memory[memory.size - 2], vectors[vectors.size - 1]
    first_part, last_part = parts * chunk // chunks, parts * (chunk + 1) // chunks
    # What was summed last is still in the cache when writing begins.
    turned = task in (_NORMALISED, _SUM, _GRADIENTS)
    for step in range(last_part - first_part):
        part = last_part - 1 - step if turned else first_part + step
        first, last = rows * part // parts, rows * (part + 1) // parts
        blocks = (last - first + block - 1) // block
        for index in range(blocks):
            row = first + (blocks - 1 - index if turned else index) * block
            start, count, place = row * width, min(block, last - row), part * 2 * width
            if task == _MOMENTS:
                add_moments(a, start, count, width, vectors, sums, place)
            elif task == _NORMALISED:
                write_normalised(out, a, start, count, width, vectors, floor)
            elif task == _SUM:
                write_sum(out, a, b, start, count, width, vectors, floor)
            elif task == _PRODUCTS:
                add_products(a, x, y, start, count, width, vectors, floor, sums, place)
            elif task == _WRITTEN_PRODUCTS:
                write_products(out, a, b, x, y, start, count, width, vectors, floor, sums, place)
            else:
                write_gradients(out, a, x, x_step, y, start, count, width, vectors, floor)


def _all_rows(
    task: int, numbers: Array, memory: Array, a: Array, b: Array, x: Array, y: Array, out: Array
) -> None:
    """Do one task for all parts; `memory` is that of :func:`_scratch`."""
    memory[-2] = task
    share(_chunk, min(numba.get_num_threads(), int(numbers[2])), (numbers, memory), (a, b, x, y, out))


@jit()
def _total(sums, place, numbers):
    """Add the sums of one channel: part by part, and pixel by pixel of a row."""
    width, stride = numbers[1], numbers[5]
    total = 0.0
    for part in range(numbers[2]):
        for j in range(part * 2 * width, (part * 2 + 1) * width, stride):
            total += sums[place + j]
    return total


@jit()
def _fill(vectors, place, numbers, value):
    """Write a channel's value for every pixel of a row."""
    for j in range(place, place + numbers[1], numbers[5]):
        vectors[j] = value


@jit()
def _batch_statistics(numbers, x, vectors, sums, mean, var):
    """Turn sums around the first pixel of all into mean and variance."""
    count = numbers[6]
    for c in range(mean.size):
        shift = _total(sums, c, numbers) / count
        square = _total(sums, numbers[1] + c, numbers) / count - shift * shift
        mean[c] = np.float64(x[c]) + shift
        # The comparison keeps a NaN.
        var[c] = 0.0 if square < 0.0 else square


@jit()
def _normalising(numbers, gamma, beta, mean, var, eps, vectors):
    """Write what :data:`write_normalised` takes."""
    width = numbers[1]
    for c in range(mean.size):
        _fill(vectors, c, numbers, np.float64(mean[c]))
        _fill(vectors, width + c, numbers, np.float64(gamma[c] / np.sqrt(var[c] + eps)))
        _fill(vectors, 2 * width + c, numbers, np.float64(beta[c]))


@jit()
def _slopes(numbers, gamma, var, eps, vectors, sums, dgamma, dbeta):
    """Turn sums into the gradients of scale and shift, and write what :data:`write_gradients` takes."""
    width, count = numbers[1], numbers[6]
    for c in range(gamma.size):
        inverse = 1.0 / np.sqrt(var[c] + eps)
        total, products = _total(sums, c, numbers), _total(sums, width + c, numbers)
        dbeta[c] = total
        dgamma[c] = products * inverse
        _fill(vectors, width + c, numbers, gamma[c] * inverse)
        if numbers[4]:
            _fill(vectors, 2 * width + c, numbers, total / count)
            _fill(vectors, 3 * width + c, numbers, products * inverse * inverse / count)


@cache
def _numbers(pixels: int, stride: int, through_statistics: bool = True) -> Array:
    """Cut maps into rows, parts and blocks; read only."""
    group = GROUP * LANES
    packed = group // gcd(stride, group)
    while pixels % packed:
        packed //= 2
    rows, width = pixels // packed, packed * stride
    parts = min(max(rows * width // _PART_FLOATS, 1), _MOST_PARTS, max(rows, 1))
    block = min(max(_BLOCK_FLOATS // width, 1), _MOST_BLOCK_ROWS)
    step = width if through_statistics else 0
    return np.array([rows, width, parts, block, step, stride, pixels], dtype=np.int64)


def _scratch(numbers: Array, kinds: int, floor: np.float32) -> tuple[Array, Array, Array]:
    """Return memory of zeros, the vectors in it, with the floor as their last number, and the sums in it.

    Workers take arrays of int64 and float32 only, so the sums of float64 go to them as the former. Behind the
    vectors, there is room for the task.
    """
    width, parts = int(numbers[1]), int(numbers[2])
    floats = 2 * parts * width
    memory = np.zeros(floats + kinds * width // 2 + 2, dtype=np.int64)
    vectors = memory[floats:].view(np.float32)
    vectors[-1] = floor
    return memory, vectors, memory[:floats].view(np.float64)


def normalise_maps(
    x: Array,
    pixels: int,
    channels: int,
    stride: int,
    gamma: Array,
    beta: Array,
    mean: Array,
    var: Array,
    eps: float,
    y: Array,
) -> None:
    """Normalise with given statistics into `y`.

    Parameters
    ----------
    x : ndarray of float32, 1-D
        Memory of the maps.
    pixels, channels, stride : int
        Pixels of all images, channels of a pixel, and floats from one pixel to the next.
    gamma, beta, mean, var : ndarray of float32, shape (channels,)
        Scale, shift, mean and variance of each channel.
    eps : float
        Added to the variance.
    y : ndarray of float32, 1-D
        Result, as `x`; it may be `x`.
    """
    if stride % LANES:
        y[:] = norm.batch_norm(x.reshape(pixels, stride), gamma, beta, mean, var, eps).reshape(-1)
        return
    numbers = _numbers(pixels, stride)
    memory, vectors, _ = _scratch(numbers, 3, _NO_FLOOR)
    _normalising(numbers, gamma, beta, mean, var, float(eps), vectors)
    _all_rows(_NORMALISED, numbers, memory, x, x, x, x, y)


def normalise_maps_by_batch(
    x: Array,
    pixels: int,
    channels: int,
    stride: int,
    gamma: Array,
    beta: Array,
    eps: float,
    shortcut: Array,
    relu: bool,
    y: Array,
    mean: Array,
    var: Array,
) -> None:
    """Normalise with the batch's own statistics.

    Parameters
    ----------
    x : ndarray of float32, 1-D
        Memory of the maps, at least one pixel.
    pixels, channels, stride : int
        Pixels of all images, channels of a pixel, and floats from one pixel to the next.
    gamma, beta : ndarray of float32, shape (channels,)
        Scale and shift of each channel.
    eps : float
        Added to the variance.
    shortcut : ndarray of float32, 1-D
        What is added to the result, as `x`; of size 0 where there is none.
    relu : bool
        Whether ReLU follows; a NaN goes through it.
    y : ndarray of float32, 1-D
        Result, as `x`.
    mean, var : ndarray of float32, shape (channels,)
        Results: mean and biased variance of each channel.
    """
    if stride % LANES:
        added = shortcut.reshape(pixels, stride) if shortcut.size else None
        rows = x.reshape(pixels, stride)
        values, mean[:], var[:] = norm.batch_norm_train(rows, gamma, beta, eps, relu, added)
        y[:] = values.reshape(-1)
        return
    numbers = _numbers(pixels, stride)
    memory, vectors, sums = _scratch(numbers, 3, _ZERO if relu else _NO_FLOOR)
    vectors[: numbers[1]].reshape(-1, stride)[:] = x[:stride]
    _all_rows(_MOMENTS, numbers, memory, x, x, x, x, y)
    _batch_statistics(numbers, x, vectors, sums, mean, var)
    _normalising(numbers, gamma, beta, mean, var, float(eps), vectors)
    if shortcut.size:
        _all_rows(_SUM, numbers, memory, x, shortcut, x, x, y)
    else:
        _all_rows(_NORMALISED, numbers, memory, x, x, x, x, y)


def maps_norm_grad(
    dy: Array,
    x: Array,
    pixels: int,
    channels: int,
    stride: int,
    gamma: Array,
    mean: Array,
    var: Array,
    eps: float,
    y: Array,
    through_statistics: bool,
    dx: Array,
    dgamma: Array,
    dbeta: Array,
) -> None:
    """Compute the gradients of either normalisation.

    Parameters
    ----------
    dy, x : ndarray of float32, 1-D
        Memory of the gradient of the result, and of the argument.
    pixels, channels, stride : int
        Pixels of all images, channels of a pixel, and floats from one pixel to the next.
    gamma, mean, var : ndarray of float32, shape (channels,)
        Scale, and the statistics that the forward pass used.
    eps : float
        Added to the variance.
    y : ndarray of float32, 1-D
        Where ReLU followed, its result, as `x`: the gradient passes but where y <= 0. Else of size 0.
    through_statistics : bool
        Whether the statistics are the batch's own, and so depend on x.
    dx : ndarray of float32, 1-D
        Result, as `x`; it may be `dy`.
    dgamma, dbeta : ndarray of float32, shape (channels,)
        Results.
    """
    if stride % LANES:
        gradients = norm.batch_norm_train_grad if through_statistics else norm.batch_norm_grad
        passing = (elementwise.relu_grad(dy, y) if y.size else dy).reshape(pixels, stride)
        values, dgamma[:], dbeta[:] = gradients(passing, x.reshape(pixels, stride), gamma, mean, var, eps)
        dx[:] = values.reshape(-1)
        return
    numbers = _numbers(pixels, stride, bool(through_statistics))
    memory, vectors, sums = _scratch(numbers, 4, _ZERO if y.size else _NEVER)
    above = y if y.size else dy
    means = vectors[: numbers[1]].reshape(-1, stride)[:, :channels]
    means[:] = mean
    _all_rows(_PRODUCTS, numbers, memory, dy, dy, x, above, dx)
    _slopes(numbers, gamma, var, float(eps), vectors, sums, dgamma, dbeta)
    if not through_statistics:
        # A row of zeros stands for x.
        means[:] = _ZERO
    source = x if through_statistics else vectors
    _all_rows(_GRADIENTS, numbers, memory, dy, dy, source, above, dx)


def maps_sum_grad(
    dy: Array,
    more: Array,
    x: Array,
    pixels: int,
    channels: int,
    stride: int,
    gamma: Array,
    mean: Array,
    var: Array,
    eps: float,
    y: Array,
    dx: Array,
    dgamma: Array,
    dbeta: Array,
    dshortcut: Array,
) -> None:
    """Compute the gradients of a normalisation by the batch to which a shortcut was added.

    One pass sums the two terms of the gradient, takes it through ReLU, writes what goes on to the shortcut
    and forms the sums; a second one writes `dx`.

    Parameters
    ----------
    dy, more : ndarray of float32, 1-D
        Memory of the two terms whose sum is the gradient of the result.
    x : ndarray of float32, 1-D
        Argument of the normalisation, as `dy`.
    pixels, channels, stride : int
        Pixels of all images, channels of a pixel, and floats from one pixel to the next: whole vectors.
    gamma, mean, var : ndarray of float32, shape (channels,)
        Scale, and the statistics that the forward pass used.
    eps : float
        Added to the variance.
    y : ndarray of float32, 1-D
        Where ReLU followed, its result, as `x`: the gradient passes but where y <= 0. Else of size 0.
    dx : ndarray of float32, 1-D
        Result, as `x`; it may be `dy`.
    dgamma, dbeta : ndarray of float32, shape (channels,)
        Results.
    dshortcut : ndarray of float32, 1-D
        Result, as `x`: the gradient behind ReLU. It may be `more`.
    """
    numbers = _numbers(pixels, stride)
    memory, vectors, sums = _scratch(numbers, 4, _ZERO if y.size else _NEVER)
    above = y if y.size else dy
    vectors[: numbers[1]].reshape(-1, stride)[:, :channels] = mean
    _all_rows(_WRITTEN_PRODUCTS, numbers, memory, dy, more, x, above, dshortcut)
    _slopes(numbers, gamma, var, float(eps), vectors, sums, dgamma, dbeta)
    vectors[-1] = _NEVER
    _all_rows(_GRADIENTS, numbers, memory, dshortcut, dshortcut, x, dshortcut, dx)
