"""Local response normalisation and its gradient, compiled with Numba for float32.

Arguments, results and errors are those of the reference twins in `emoref_kernels.reference.local_response`,
except that float64 raises DtypeError.

Kernels see x as (N, C, P), P pixels a plane. A plane is owned by one thread, which sums its window channel by
channel: no bit of a result depends on the number of threads.
"""

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from emoref_kernels import layer_checks
from emoref_kernels.cpu.jit import jit

Array = NDArray[Any]

_ONE = np.float32(1)


@jit(parallel=True)
def _bases(x, half, slope, k, base):
    """Write k + slope * (sum of squares over the window) into base."""
    batch, channels, pixels = x.shape
    for plane in prange(batch * channels):
        n = plane // channels
        c = plane - n * channels
        base[n, c, :] = np.float32(0)
        for j in range(max(0, c - half), min(channels, c + half + 1)):
            for p in range(pixels):
                base[n, c, p] += x[n, j, p] * x[n, j, p]
        for p in range(pixels):
            base[n, c, p] = k + slope * base[n, c, p]


@jit(parallel=True)
def _scale(x, base, beta, y):
    """Write x * base ** -beta into y (vectors)."""
    if beta == np.float32(0.75):
        # What everybody uses. Roots are vectorised, a general power is not.
        for i in prange(x.size):
            root = np.sqrt(base[i])
            y[i] = x[i] * (_ONE / (root * np.sqrt(root)))
    else:
        for i in prange(x.size):
            y[i] = x[i] * base[i] ** -beta


@jit(parallel=True)
def _subtract_window(scaled, x, base, half, factor, dx):
    """Write scaled - factor * x * (sum of scaled * x / base over the window) into dx."""
    batch, channels, pixels = x.shape
    for plane in prange(batch * channels):
        n = plane // channels
        c = plane - n * channels
        dx[n, c, :] = np.float32(0)
        for j in range(max(0, c - half), min(channels, c + half + 1)):
            for p in range(pixels):
                dx[n, c, p] += scaled[n, j, p] * x[n, j, p] / base[n, j, p]
        for p in range(pixels):
            dx[n, c, p] = scaled[n, c, p] - factor * x[n, c, p] * dx[n, c, p]


def _planes(x: Array) -> Array:
    """See (N, C, H, W) as a C-contiguous (N, C, P)."""
    return np.ascontiguousarray(x).reshape(x.shape[0], x.shape[1], x.shape[2] * x.shape[3])


def local_response_norm(
    x: Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """Divide by neighbouring channels; see `emoref_kernels.reference.local_response_norm`."""
    layer_checks.check_local_response_norm({"x": x}, size, alpha, beta, k, float64=False)
    planes = _planes(x)
    base = np.empty_like(planes)
    _bases(planes, size // 2, np.float32(alpha / size), np.float32(k), base)
    y = np.empty(x.shape, dtype=np.float32)
    _scale(planes.reshape(-1), base.reshape(-1), np.float32(beta), y.reshape(-1))
    return y


def local_response_norm_grad(
    dy: Array, x: Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """Return the gradient; see `emoref_kernels.reference.local_response_norm_grad`."""
    layer_checks.check_local_response_norm({"x": x, "dy": dy}, size, alpha, beta, k, float64=False)
    planes = _planes(x)
    base, scaled = np.empty_like(planes), np.empty_like(planes)
    _bases(planes, size // 2, np.float32(alpha / size), np.float32(k), base)
    _scale(_planes(dy).reshape(-1), base.reshape(-1), np.float32(beta), scaled.reshape(-1))
    dx = np.empty(x.shape, dtype=np.float32)
    factor = np.float32(2 * alpha * beta / size)
    _subtract_window(scaled, planes, base, size // 2, factor, _planes(dx))
    return dx
