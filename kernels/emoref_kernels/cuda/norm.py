"""Batch normalisation and its gradients on the device.

Arguments, results and errors are those of the reference twins in `emoref_kernels.reference.norm`, except
that float64 raises DtypeError.

A channel's values are cut into parts of whole images, one block each. A block forms the mean and the squared
deviations of its own part; parts are then merged in order (Chan, Golub, LeVeque 1979), which in single
precision loses far less than a sum of squares would. A ReLU behind costs no pass of its own.
"""

import math
from typing import Any

import numpy as np

from emoref_kernels import layer_checks
from emoref_kernels.cuda import elementwise
from emoref_kernels.cuda.array import DeviceArray, empty, on_device, returned
from emoref_kernels.cuda.jit import THREADS, kernel, shared_floats
from emoref_kernels.cuda.provider import SIMULATED, cuda
from emoref_kernels.cuda.reduce import block_sum

__all__ = [
    "batch_norm",
    "batch_norm_grad",
    "batch_norm_sum_grad",
    "batch_norm_train",
    "batch_norm_train_grad",
]

_ZERO = np.float32(0)
_ONE = np.float32(1)
_WANTED_BLOCKS = 4 if SIMULATED else 528
_partial = shared_floats(THREADS)


@kernel("fffnnnn")
def _moments(x, means, squares, images, channels, plane, images_per_part):
    partial = _partial()
    thread, channel = np.int64(cuda.threadIdx.x), np.int64(cuda.blockIdx.x)
    first = np.int64(cuda.blockIdx.y) * images_per_part
    count = images - first
    if count > images_per_part:
        count = images_per_part
    count *= plane
    base = (first * channels + channel) * plane
    total = _ZERO
    for i in range(thread, count, THREADS):
        total += x[base + (i // plane) * channels * plane + i % plane]
    partial[thread] = total
    mean = block_sum(partial, thread) / np.float32(count)
    total = _ZERO
    for i in range(thread, count, THREADS):
        deviation = x[base + (i // plane) * channels * plane + i % plane] - mean
        total += deviation * deviation
    partial[thread] = total
    square = block_sum(partial, thread)
    if thread == 0:
        place = np.int64(cuda.blockIdx.y) * channels + channel
        means[place] = mean
        squares[place] = square


@kernel("ffffnnnnn")
def _merge_moments(means, squares, mean, var, images, channels, plane, images_per_part, parts):
    channel = cuda.grid(1)
    if channel < channels:
        count = _ZERO
        middle, square = _ZERO, _ZERO
        for part in range(parts):
            own = images - part * images_per_part
            if own > images_per_part:
                own = images_per_part
            more = np.float32(own * plane)
            both = count + more
            gap = means[part * channels + channel] - middle
            middle += gap * (more / both)
            square += squares[part * channels + channel] + gap * gap * (count * more / both)
            count = both
        mean[channel] = middle
        var[channel] = square / count


@kernel("fffffsfnnnn")
def _normalise(x, gamma, beta, mean, var, eps, y, size, channels, plane, relu):
    i = cuda.grid(1)
    if i < size:
        channel = (i // plane) % channels
        scale = _ONE / math.sqrt(var[channel] + eps)
        value = gamma[channel] * ((x[i] - mean[channel]) * scale) + beta[channel]
        # A NaN fails the comparison and goes through.
        if relu != 0 and value <= _ZERO:
            value = _ZERO
        y[i] = value


@kernel("fffffsffnnnnn")
def _grad_sums(dy, x, y, mean, var, eps, of_gamma, of_beta, images, channels, plane, images_per_part, masked):
    partial = _partial()
    thread, channel = np.int64(cuda.threadIdx.x), np.int64(cuda.blockIdx.x)
    first = np.int64(cuda.blockIdx.y) * images_per_part
    count = images - first
    if count > images_per_part:
        count = images_per_part
    base = (first * channels + channel) * plane
    middle, scale = mean[channel], _ONE / math.sqrt(var[channel] + eps)
    product, total = _ZERO, _ZERO
    for i in range(thread, count * plane, THREADS):
        place = base + (i // plane) * channels * plane + i % plane
        value = dy[place]
        if masked != 0 and y[place] <= _ZERO:
            value = _ZERO
        product += value * ((x[place] - middle) * scale)
        total += value
    partial[thread] = product
    product = block_sum(partial, thread)
    partial[thread] = total
    total = block_sum(partial, thread)
    if thread == 0:
        place = np.int64(cuda.blockIdx.y) * channels + channel
        of_gamma[place] = product
        of_beta[place] = total


@kernel("ffffnn")
def _merge_sums(of_gamma, of_beta, dgamma, dbeta, channels, parts):
    channel = cuda.grid(1)
    if channel < channels:
        product, total = _ZERO, _ZERO
        for part in range(parts):
            product += of_gamma[part * channels + channel]
            total += of_beta[part * channels + channel]
        dgamma[channel] = product
        dbeta[channel] = total


@kernel("ffffffffsfnnnsn")
def _input_grad(
    dy, x, y, gamma, mean, var, dgamma, dbeta, eps, dx, size, channels, plane, inverse_count, masked
):
    # inverse_count is 1 / m where the statistics depend on x, and 0 where they are constants.
    i = cuda.grid(1)
    if i < size:
        channel = (i // plane) % channels
        scale = _ONE / math.sqrt(var[channel] + eps)
        value = dy[i]
        if masked != 0 and y[i] <= _ZERO:
            value = _ZERO
        if inverse_count > _ZERO:
            normalised = (x[i] - mean[channel]) * scale
            value -= dbeta[channel] * inverse_count + normalised * (dgamma[channel] * inverse_count)
        dx[i] = gamma[channel] * scale * value


def _extents(x: Any) -> tuple[int, int, int]:
    """Return (images, channels, values of a plane)."""
    return x.shape[0], x.shape[1], math.prod(x.shape[2:])


def _parts(images: int, channels: int) -> tuple[int, int]:
    """Return images a part, and the number of parts; both depend on the shape alone."""
    wanted = min(images, max(1, _WANTED_BLOCKS // channels))
    per_part = -(-images // wanted)
    return per_part, -(-images // per_part)


def _apply(x: DeviceArray, vectors: list[DeviceArray], eps: float, relu: bool) -> DeviceArray:
    y = empty(x.shape)
    _, channels, plane = _extents(x)
    _normalise(-(-x.size // THREADS), THREADS, x, *vectors, eps, y, x.size, channels, plane, relu)
    return y


def batch_norm(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, eps: float = 1e-5) -> Any:
    """Normalise with given statistics; see `emoref_kernels.reference.batch_norm`."""
    vectors = {"gamma": gamma, "beta": beta, "mean": mean, "var": var}
    layer_checks.check_batch_norm(x, vectors, float64=False)
    return returned(_apply(on_device(x), [on_device(v) for v in vectors.values()], eps, False), x, gamma)


def batch_norm_train(
    x: Any, gamma: Any, beta: Any, eps: float = 1e-5, relu: bool = False, shortcut: Any = None
) -> tuple[Any, Any, Any]:
    """Normalise with the batch's statistics; see `emoref_kernels.reference.batch_norm_train`."""
    vectors = {"gamma": gamma, "beta": beta}
    layer_checks.check_batch_norm(x, vectors, shortcut=shortcut, batch_statistics=True, float64=False)
    own = on_device(x)
    images, channels, plane = _extents(x)
    per_part, parts = _parts(images, channels)
    means, squares = empty((parts, channels)), empty((parts, channels))
    _moments((channels, parts), THREADS, own, means, squares, images, channels, plane, per_part)
    mean, var = empty((channels,)), empty((channels,))
    _merge_moments(
        -(-channels // THREADS), THREADS, means, squares, mean, var, images, channels, plane, per_part, parts
    )
    y = _apply(own, [on_device(gamma), on_device(beta), mean, var], eps, relu and shortcut is None)
    if shortcut is not None:
        y = elementwise.add(y, on_device(shortcut))
        y = elementwise.relu(y) if relu else y
    return returned(y, x, gamma), returned(mean, x, gamma), returned(var, x, gamma)


def _gradients(
    dy: Any, x: Any, gamma: Any, mean: Any, var: Any, eps: float, y: Any, through_statistics: bool
) -> tuple[Any, Any, Any]:
    images, channels, plane = _extents(x)
    masked = y is not None
    grads, inputs = on_device(dy), on_device(x)
    result = on_device(y) if masked else inputs
    statistics = on_device(mean), on_device(var)
    per_part, parts = _parts(max(images, 1), channels)
    of_gamma, of_beta = empty((parts, channels)), empty((parts, channels))
    _grad_sums(
        (channels, parts), THREADS, grads, inputs, result, *statistics, eps, of_gamma, of_beta,
        images, channels, plane, per_part, masked,
    )  # fmt: skip
    dgamma, dbeta = empty((channels,)), empty((channels,))
    _merge_sums(-(-channels // THREADS), THREADS, of_gamma, of_beta, dgamma, dbeta, channels, parts)
    dx = empty(x.shape)
    inverse_count = 1.0 / (images * plane) if through_statistics else 0.0
    _input_grad(
        -(-dx.size // THREADS), THREADS, grads, inputs, result, on_device(gamma), *statistics, dgamma, dbeta,
        eps, dx, dx.size, channels, plane, inverse_count, masked,
    )  # fmt: skip
    arguments = (dy, x, gamma)
    return returned(dx, *arguments), returned(dgamma, *arguments), returned(dbeta, *arguments)


def batch_norm_train_grad(
    dy: Any, x: Any, gamma: Any, mean: Any, var: Any, eps: float = 1e-5, y: Any = None, reuse: bool = False
) -> tuple[Any, Any, Any]:
    """Return the gradients of ``batch_norm_train``; see `emoref_kernels.reference.batch_norm_train_grad`."""
    vectors = {"gamma": gamma, "mean": mean, "var": var}
    layer_checks.check_batch_norm(x, vectors, dy, y, batch_statistics=True, float64=False)
    return _gradients(dy, x, gamma, mean, var, eps, y, True)


def batch_norm_sum_grad(
    dy: Any,
    x: Any,
    gamma: Any,
    mean: Any,
    var: Any,
    eps: float = 1e-5,
    y: Any = None,
    more: Any = None,
    reuse: bool = False,
) -> tuple[Any, Any, Any, Any]:
    """Return the gradients with a shortcut; see `emoref_kernels.reference.batch_norm_sum_grad`."""
    vectors = {"gamma": gamma, "mean": mean, "var": var}
    layer_checks.check_batch_norm(x, vectors, dy, y, more=more, batch_statistics=True, float64=False)
    if more is not None:
        dy = elementwise.add(dy, more)
    if y is not None:
        dy = elementwise.relu_grad(dy, y)
    return *_gradients(dy, x, gamma, mean, var, eps, None, True), dy


def batch_norm_grad(
    dy: Any, x: Any, gamma: Any, mean: Any, var: Any, eps: float = 1e-5
) -> tuple[Any, Any, Any]:
    """Return the gradients of ``batch_norm``; see `emoref_kernels.reference.batch_norm_grad`."""
    layer_checks.check_batch_norm(x, {"gamma": gamma, "mean": mean, "var": var}, dy, float64=False)
    return _gradients(dy, x, gamma, mean, var, eps, None, False)
