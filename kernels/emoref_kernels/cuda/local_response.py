"""Local response normalisation and its gradient on the device: one thread a value.

Arguments, results and errors are those of the reference twins in `emoref_kernels.reference.local_response`,
except that float64 raises DtypeError.
"""

import math
from typing import Any

import numpy as np

from emoref_kernels import layer_checks
from emoref_kernels.cuda.array import empty, on_device, returned
from emoref_kernels.cuda.jit import THREADS, device, kernel
from emoref_kernels.cuda.provider import cuda

__all__ = ["local_response_norm", "local_response_norm_grad"]


@device
def _base(x, place, channel, channels, plane, half, slope, k):
    """Return k + slope * (sum of squares over the channels around)."""
    total = np.float32(0)
    for offset in range(-half, half + 1):
        if channel + offset >= 0 and channel + offset < channels:
            value = x[place + offset * plane]
            total += value * value
    return k + slope * total


@kernel("ffnnnnsss")
def _local_response(x, y, size, channels, plane, half, slope, beta, k):
    i = cuda.grid(1)
    if i < size:
        base = _base(x, i, (i // plane) % channels, channels, plane, half, slope, k)
        y[i] = x[i] * math.exp(-beta * math.log(base))


@kernel("fffnnnnsss")
def _local_response_grad(dy, x, dx, size, channels, plane, half, slope, beta, k):
    i = cuda.grid(1)
    if i < size:
        channel = (i // plane) % channels
        base = _base(x, i, channel, channels, plane, half, slope, k)
        own = dy[i] * math.exp(-beta * math.log(base))
        total = np.float32(0)
        for offset in range(-half, half + 1):
            other = channel + offset
            if other >= 0 and other < channels:
                place = i + offset * plane
                base = _base(x, place, other, channels, plane, half, slope, k)
                total += dy[place] * math.exp(-beta * math.log(base)) * x[place] / base
        dx[i] = own - np.float32(2) * slope * beta * x[i] * total


def local_response_norm(
    x: Any, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    """Divide by neighbours in other channels; see `emoref_kernels.reference.local_response_norm`."""
    layer_checks.check_local_response_norm({"x": x}, size, alpha, beta, k, float64=False)
    y, plane = empty(x.shape), x.shape[2] * x.shape[3]
    _local_response(
        -(-y.size // THREADS),
        THREADS,
        on_device(x),
        y,
        y.size,
        x.shape[1],
        plane,
        size // 2,
        alpha / size,
        beta,
        k,
    )
    return returned(y, x)


def local_response_norm_grad(
    dy: Any, x: Any, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    """Return the gradient; see `emoref_kernels.reference.local_response_norm_grad`."""
    layer_checks.check_local_response_norm({"x": x, "dy": dy}, size, alpha, beta, k, float64=False)
    dx, plane = empty(x.shape), x.shape[2] * x.shape[3]
    _local_response_grad(
        -(-dx.size // THREADS), THREADS, on_device(dy), on_device(x), dx, dx.size, x.shape[1], plane,
        size // 2, alpha / size, beta, k,
    )  # fmt: skip
    return returned(dx, dy, x)
