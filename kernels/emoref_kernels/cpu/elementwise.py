"""Operations that work value by value, and concatenation, compiled with Numba for float32.

Arguments, results and errors are those of the reference twins in `emoref_kernels.reference.elementwise`,
except that float64 raises DtypeError.

Every kernel sees its arrays as vectors, and each value is computed by itself, without fast-math: where the
threads divide a vector has no influence on any bit of the result.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from emoref_kernels import layer_checks
from emoref_kernels.cpu.jit import jit

Array = NDArray[Any]

_ZERO = np.float32(0)
_ONE = np.float32(1)


def _vector(x: Array) -> Array:
    """See an array as a C-contiguous vector; copies only if it is not contiguous."""
    return np.ascontiguousarray(x).reshape(-1)


@jit(parallel=True)
def _relu(x, y):
    for i in prange(x.size):
        value = x[i]
        # Not max(): a NaN fails the comparison and goes through.
        y[i] = _ZERO if value <= _ZERO else value


@jit(parallel=True)
def _relu_grad(dy, x, dx):
    for i in prange(x.size):
        dx[i] = _ZERO if x[i] <= _ZERO else dy[i]


@jit(parallel=True)
def _tanh(x, y):
    for i in prange(x.size):
        value = np.float64(x[i])
        # From |x| = 9.2 on, the nearest float32 is 1. A NaN fails both comparisons and goes through.
        value = -9.2 if value < -9.2 else value
        value = 9.2 if value > 9.2 else value
        # Lambert's continued fraction x / (1 + x^2 / (3 + x^2 / (5 + ...))), cut off after seven levels, for
        # a quarter of the angle; then twice tanh(2 a) = 2 tanh(a) / (1 + tanh(a)^2), all as one fraction,
        # since a loop with a single division and no call is vectorised.
        quarter = 0.25 * value
        square = quarter * quarter
        top = quarter * (135135.0 + square * (17325.0 + square * (378.0 + square)))
        bottom = 135135.0 + square * (62370.0 + square * (3150.0 + square * 28.0))
        top, bottom = 2.0 * top * bottom, bottom * bottom + top * top
        top, bottom = 2.0 * top * bottom, bottom * bottom + top * top
        y[i] = top / bottom


@jit(parallel=True)
def _tanh_grad(dy, y, dx):
    for i in prange(y.size):
        dx[i] = dy[i] * (_ONE - y[i] * y[i])


@jit(parallel=True)
def _add(a, b, y):
    for i in prange(a.size):
        y[i] = a[i] + b[i]


@jit(parallel=True)
def _scale_kept(x, keep, scale, y):
    for i in prange(x.size):
        # A product, not a choice, so that a dropped NaN stays NaN.
        y[i] = x[i] * np.float32(keep[i]) * scale


def relu(x: Array) -> Array:
    """Cut negative values off; see `emoref_kernels.reference.relu`."""
    layer_checks.check_same_shape({"x": x}, float64=False)
    y = np.empty(x.shape, dtype=np.float32)
    _relu(_vector(x), y.reshape(-1))
    return y


def relu_grad(dy: Array, x: Array) -> Array:
    """Return the gradient of ``relu``; see `emoref_kernels.reference.relu_grad`."""
    layer_checks.check_same_shape({"dy": dy, "x": x}, float64=False)
    dx = np.empty(x.shape, dtype=np.float32)
    _relu_grad(_vector(dy), _vector(x), dx.reshape(-1))
    return dx


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent; see `emoref_kernels.reference.tanh`."""
    layer_checks.check_same_shape({"x": x}, float64=False)
    y = np.empty(x.shape, dtype=np.float32)
    _tanh(_vector(x), y.reshape(-1))
    return y


def tanh_grad(dy: Array, y: Array) -> Array:
    """Return the gradient of ``tanh``; see `emoref_kernels.reference.tanh_grad`."""
    layer_checks.check_same_shape({"dy": dy, "y": y}, float64=False)
    dx = np.empty(y.shape, dtype=np.float32)
    _tanh_grad(_vector(dy), _vector(y), dx.reshape(-1))
    return dx


def add(a: Array, b: Array) -> Array:
    """Add two arrays of one shape; see `emoref_kernels.reference.add`."""
    layer_checks.check_same_shape({"a": a, "b": b}, float64=False)
    y = np.empty(a.shape, dtype=np.float32)
    _add(_vector(a), _vector(b), y.reshape(-1))
    return y


def concat(arrays: Sequence[Array]) -> Array:
    """Join arrays along the channels; see `emoref_kernels.reference.concat`."""
    layer_checks.check_concat(arrays, float64=False)
    return np.concatenate(arrays, axis=1)


def concat_grad(dy: Array, channels: Sequence[int]) -> list[Array]:
    """Return the gradients of ``concat``; see `emoref_kernels.reference.concat_grad`."""
    layer_checks.check_concat_grad(dy, channels, float64=False)
    ends = np.cumsum(channels)
    return [dy[:, end - count : end].copy() for end, count in zip(ends, channels, strict=True)]


def dropout(x: Array, keep: NDArray[np.bool_], rate: float) -> Array:
    """Drop values and scale the others up; see `emoref_kernels.reference.dropout`."""
    scale = layer_checks.check_dropout("x", x, keep, rate, float64=False)
    y = np.empty(x.shape, dtype=np.float32)
    _scale_kept(_vector(x), _vector(keep), np.float32(scale), y.reshape(-1))
    return y


def dropout_grad(dy: Array, keep: NDArray[np.bool_], rate: float) -> Array:
    """Return the gradient of ``dropout``; see `emoref_kernels.reference.dropout_grad`."""
    scale = layer_checks.check_dropout("dy", dy, keep, rate, float64=False)
    dx = np.empty(dy.shape, dtype=np.float32)
    _scale_kept(_vector(dy), _vector(keep), np.float32(scale), dx.reshape(-1))
    return dx
