"""One step of an optimiser, compiled with Numba for float32.

Arguments and errors are those of the reference twins in `emoref_kernels.reference.optim`, except that
float64 raises DtypeError. Each parameter is stepped by itself, without fast-math, so that no bit depends
on where the threads divide the vector.
"""

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from emoref_kernels import layer_checks
from emoref_kernels.cpu.jit import jit

Array = NDArray[Any]


@jit(parallel=True)
def _sgd(param, grad, velocity, lr, momentum, weight_decay, nesterov):
    for i in prange(param.size):
        g = grad[i] + weight_decay * param[i]
        v = momentum * velocity[i] + g
        velocity[i] = v
        ahead = g + momentum * v
        param[i] -= lr * (ahead if nesterov else v)


@jit(parallel=True)
def _adam(param, grad, m, v, beta1, rest1, beta2, rest2, rate, root_scale, eps, weight_decay):
    for i in prange(param.size):
        g = grad[i] + weight_decay * param[i]
        mean = beta1 * m[i] + rest1 * g
        square = beta2 * v[i] + rest2 * g * g
        m[i] = mean
        v[i] = square
        param[i] -= rate * mean / (np.sqrt(square) * root_scale + eps)


def _vectors(*arrays: Array) -> list[Array]:
    """See arrays as C-contiguous vectors; copies those that are not contiguous."""
    return [np.ascontiguousarray(array).reshape(-1) for array in arrays]


def _write_back(arrays: tuple[Array, ...], vectors: list[Array]) -> None:
    """Store the vectors in the arrays that had to be copied."""
    for array, vector in zip(arrays, vectors, strict=True):
        if not array.flags.c_contiguous:
            array[...] = vector.reshape(array.shape)


def sgd_update(
    param: Array,
    grad: Array,
    velocity: Array,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """Take one step of gradient descent in place; see `emoref_kernels.reference.sgd_update`."""
    arrays = {"param": param, "grad": grad, "velocity": velocity}
    layer_checks.check_update(arrays, ("param", "velocity"), float64=False)
    written = (param, velocity)
    vectors = _vectors(*written)
    (gradient,) = _vectors(grad)
    factors = (np.float32(lr), np.float32(momentum), np.float32(weight_decay))
    _sgd(vectors[0], gradient, vectors[1], *factors, bool(nesterov))
    _write_back(written, vectors)


def adam_update(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    """Take one step of Adam in place; see `emoref_kernels.reference.adam_update`."""
    arrays = {"param": param, "grad": grad, "m": m, "v": v}
    layer_checks.check_update(arrays, ("param", "m", "v"), float64=False)
    layer_checks.check_step(step)
    written = (param, m, v)
    vectors = _vectors(*written)
    (gradient,) = _vectors(grad)
    # What depends on the step alone is computed once, in double precision.
    rate, root_scale = lr / (1 - beta1**step), (1 - beta2**step) ** -0.5
    factors = (beta1, 1 - beta1, beta2, 1 - beta2, rate, root_scale, eps, weight_decay)
    _adam(vectors[0], gradient, vectors[1], vectors[2], *(np.float32(factor) for factor in factors))
    _write_back(written, vectors)
