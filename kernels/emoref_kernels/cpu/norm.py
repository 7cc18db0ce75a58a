"""Batch normalisation and its gradients, compiled with Numba for float32.

Arguments, results and errors are those of the reference twins in `emoref_kernels.reference.norm`, except
that float64 raises DtypeError.

Kernels see x as (N, C, P), P pixels a plane. A channel is owned by one thread, which sums it in float64 in
an order that depends on the shape alone: no bit of a result depends on the number of threads. The flag
``reassoc`` lets the compiler keep several partial sums in a vector register, always the same number of
them; ``contract`` lets it fuse a product and a sum.
"""

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from emoref_kernels import layer_checks
from emoref_kernels.cpu import elementwise
from emoref_kernels.cpu.jit import jit

Array = NDArray[Any]

_ZERO = np.float32(0)
_NO_FLOOR = np.float32(-np.inf)


@jit(parallel=True)
def _normalise(x, mean, scale, beta, y):
    batch, channels, pixels = x.shape
    for plane in prange(batch * channels):
        n = plane // channels
        c = plane - n * channels
        centre, factor, shift = mean[c], scale[c], beta[c]
        for p in range(pixels):
            y[n, c, p] = (x[n, c, p] - centre) * factor + shift


@jit(parallel=True, fastmath={"reassoc", "contract"})
def _normalise_by_batch(x, gamma, beta, eps, floor, y, mean, var):
    batch, channels, pixels = x.shape
    count = batch * pixels
    for c in prange(channels):
        total = 0.0
        for n in range(batch):
            for p in range(pixels):
                total += x[n, c, p]
        exact_mean = total / count
        squares = 0.0
        for n in range(batch):
            for p in range(pixels):
                deviation = x[n, c, p] - exact_mean
                squares += deviation * deviation
        mean[c] = exact_mean
        var[c] = squares / count
        centre, factor, shift = mean[c], np.float32(gamma[c] / np.sqrt(var[c] + eps)), beta[c]
        for n in range(batch):
            for p in range(pixels):
                value = (x[n, c, p] - centre) * factor + shift
                # A NaN fails the comparison and goes through.
                y[n, c, p] = floor if value <= floor else value


@jit(parallel=True, fastmath={"reassoc", "contract"})
def _gradients(dy, x, gamma, mean, var, eps, through_statistics, dx, dgamma, dbeta):
    batch, channels, pixels = x.shape
    count = batch * pixels
    for c in prange(channels):
        centre = mean[c]
        inverse = 1.0 / np.sqrt(var[c] + eps)
        sum_dy = 0.0
        sum_product = 0.0
        for n in range(batch):
            for p in range(pixels):
                gradient = np.float64(dy[n, c, p])
                sum_dy += gradient
                sum_product += gradient * (x[n, c, p] - centre)
        dbeta[c] = sum_dy
        dgamma[c] = sum_product * inverse
        factor = np.float32(gamma[c] * inverse)
        if through_statistics:
            mean_dy = np.float32(sum_dy / count)
            slope = np.float32(sum_product * inverse * inverse / count)
            for n in range(batch):
                for p in range(pixels):
                    dx[n, c, p] = factor * (dy[n, c, p] - mean_dy - (x[n, c, p] - centre) * slope)
        else:
            for n in range(batch):
                for p in range(pixels):
                    dx[n, c, p] = factor * dy[n, c, p]


@jit(parallel=True, fastmath={"reassoc", "contract"})
def _gradients_behind_relu(dy, y, x, gamma, mean, var, eps, dx, dgamma, dbeta):
    """Do what `_gradients` does through the statistics, for the gradient that ReLU lets through."""
    batch, channels, pixels = x.shape
    count = batch * pixels
    for c in prange(channels):
        centre = mean[c]
        inverse = 1.0 / np.sqrt(var[c] + eps)
        sum_dy = 0.0
        sum_product = 0.0
        for n in range(batch):
            for p in range(pixels):
                gradient = np.float64(_ZERO if y[n, c, p] <= _ZERO else dy[n, c, p])
                sum_dy += gradient
                sum_product += gradient * (x[n, c, p] - centre)
        dbeta[c] = sum_dy
        dgamma[c] = sum_product * inverse
        factor = np.float32(gamma[c] * inverse)
        mean_dy = np.float32(sum_dy / count)
        slope = np.float32(sum_product * inverse * inverse / count)
        for n in range(batch):
            for p in range(pixels):
                gradient = _ZERO if y[n, c, p] <= _ZERO else dy[n, c, p]
                dx[n, c, p] = factor * (gradient - mean_dy - (x[n, c, p] - centre) * slope)


def _planes(x: Array) -> Array:
    """See (N, C, H, W) or (N, C) as a C-contiguous (N, C, P)."""
    pixels = x.shape[2] * x.shape[3] if x.ndim == 4 else 1
    return np.ascontiguousarray(x).reshape(x.shape[0], x.shape[1], pixels)


def batch_norm(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5) -> Array:
    """Normalise with given statistics; see `emoref_kernels.reference.batch_norm`."""
    layer_checks.check_batch_norm(x, {"gamma": gamma, "beta": beta, "mean": mean, "var": var}, float64=False)
    scale = gamma / np.sqrt(var + np.float32(eps))
    y = np.empty(x.shape, dtype=np.float32)
    _normalise(_planes(x), np.ascontiguousarray(mean), scale, np.ascontiguousarray(beta), _planes(y))
    return y


def batch_norm_train(
    x: Array,
    gamma: Array,
    beta: Array,
    eps: float = 1e-5,
    relu: bool = False,
    shortcut: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Normalise with the batch's own statistics; see `emoref_kernels.reference.batch_norm_train`."""
    vectors = {"gamma": gamma, "beta": beta}
    layer_checks.check_batch_norm(x, vectors, shortcut=shortcut, batch_statistics=True, float64=False)
    y = np.empty(x.shape, dtype=np.float32)
    mean, var = np.empty(x.shape[1], dtype=np.float32), np.empty(x.shape[1], dtype=np.float32)
    gamma, beta = np.ascontiguousarray(gamma), np.ascontiguousarray(beta)
    floor = _ZERO if relu and shortcut is None else _NO_FLOOR
    _normalise_by_batch(_planes(x), gamma, beta, float(eps), floor, _planes(y), mean, var)
    if shortcut is not None:
        y = elementwise.add(y, shortcut)
        y = elementwise.relu(y) if relu else y
    return y, mean, var


def batch_norm_train_grad(
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    var: Array,
    eps: float = 1e-5,
    y: Array | None = None,
    reuse: bool = False,
) -> tuple[Array, Array, Array]:
    """Return the gradients of ``batch_norm_train``; see `emoref_kernels.reference.batch_norm_train_grad`."""
    vectors = {"gamma": gamma, "mean": mean, "var": var}
    layer_checks.check_batch_norm(x, vectors, dy, y, batch_statistics=True, float64=False)
    return _all_gradients(dy, x, gamma, mean, var, eps, y, through_statistics=True)


def batch_norm_sum_grad(
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    var: Array,
    eps: float = 1e-5,
    y: Array | None = None,
    more: Array | None = None,
    reuse: bool = False,
) -> tuple[Array, Array, Array, Array]:
    """Return the gradients with a shortcut; see `emoref_kernels.reference.batch_norm_sum_grad`."""
    vectors = {"gamma": gamma, "mean": mean, "var": var}
    layer_checks.check_batch_norm(x, vectors, dy, y, more=more, batch_statistics=True, float64=False)
    if more is not None:
        dy = elementwise.add(dy, more)
    if y is not None:
        dy = elementwise.relu_grad(dy, y)
    return *_all_gradients(dy, x, gamma, mean, var, eps, None, through_statistics=True), dy


def batch_norm_grad(
    dy: Array, x: Array, gamma: Array, mean: Array, var: Array, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Return the gradients of ``batch_norm``; see `emoref_kernels.reference.batch_norm_grad`."""
    layer_checks.check_batch_norm(x, {"gamma": gamma, "mean": mean, "var": var}, dy, float64=False)
    return _all_gradients(dy, x, gamma, mean, var, eps, None, through_statistics=False)


def _all_gradients(
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    var: Array,
    eps: float,
    y: Array | None,
    through_statistics: bool,
) -> tuple[Array, Array, Array]:
    dx = np.empty(x.shape, dtype=np.float32)
    dgamma, dbeta = np.empty(x.shape[1], dtype=np.float32), np.empty(x.shape[1], dtype=np.float32)
    vectors = [np.ascontiguousarray(vector) for vector in (gamma, mean, var)]
    results = (_planes(dx), dgamma, dbeta)
    if y is None:
        _gradients(_planes(dy), _planes(x), *vectors, float(eps), through_statistics, *results)
    else:
        _gradients_behind_relu(_planes(dy), _planes(y), _planes(x), *vectors, float(eps), *results)
    return dx, dgamma, dbeta
