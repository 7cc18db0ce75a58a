"""One step of an optimiser on the device.

Arguments and errors are those of the reference twins in `emoref_kernels.reference.optim`, except that
float64 raises DtypeError. Parameters, gradients and what the optimiser remembers stay on the device; given
NumPy arrays, they are copied there and back.
"""

import math
from typing import Any

import numpy as np

from emoref_kernels import layer_checks
from emoref_kernels.cuda.array import DeviceArray, on_device
from emoref_kernels.cuda.jit import THREADS, kernel
from emoref_kernels.cuda.provider import cuda

__all__ = ["adam_update", "sgd_update"]


@kernel("fffsssnn")
def _sgd(param, grad, velocity, lr, momentum, weight_decay, nesterov, size):
    i = cuda.grid(1)
    if i < size:
        value = param[i]
        g = grad[i] + weight_decay * value
        v = momentum * velocity[i] + g
        velocity[i] = v
        if nesterov != 0:
            v = g + momentum * v
        param[i] = value - lr * v


@kernel("ffffssssssn")
def _adam(param, grad, m, v, rate, beta1, beta2, eps, weight_decay, root, size):
    # rate = lr / (1 - beta1^step), root = 1 / sqrt(1 - beta2^step)
    i = cuda.grid(1)
    if i < size:
        one = np.float32(1)
        value = param[i]
        g = grad[i] + weight_decay * value
        mean = beta1 * m[i] + (one - beta1) * g
        square = beta2 * v[i] + (one - beta2) * g * g
        m[i], v[i] = mean, square
        param[i] = value - rate * mean / (math.sqrt(square) * root + eps)


def _written_back(hosts: tuple[Any, ...], arrays: tuple[DeviceArray, ...]) -> None:
    for host, array in zip(hosts, arrays, strict=True):
        if host is not array:
            np.copyto(host, np.asarray(array))


def sgd_update(
    param: Any,
    grad: Any,
    velocity: Any,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """Take one step of gradient descent, in place; see `emoref_kernels.reference.sgd_update`."""
    arrays = {"param": param, "grad": grad, "velocity": velocity}
    layer_checks.check_update(arrays, ("param", "velocity"), float64=False)
    own = on_device(param), on_device(velocity)
    blocks = -(-param.size // THREADS)
    _sgd(blocks, THREADS, own[0], on_device(grad), own[1], lr, momentum, weight_decay, nesterov, param.size)
    _written_back((param, velocity), own)


def adam_update(
    param: Any,
    grad: Any,
    m: Any,
    v: Any,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    """Take one step of Adam, in place; see `emoref_kernels.reference.adam_update`."""
    arrays = {"param": param, "grad": grad, "m": m, "v": v}
    layer_checks.check_update(arrays, ("param", "m", "v"), float64=False)
    layer_checks.check_step(step)
    own = on_device(param), on_device(m), on_device(v)
    rate, root = lr / (1.0 - beta1**step), 1.0 / math.sqrt(1.0 - beta2**step)
    _adam(
        -(-param.size // THREADS), THREADS, own[0], on_device(grad), own[1], own[2],
        rate, beta1, beta2, eps, weight_decay, root, param.size,
    )  # fmt: skip
    _written_back((param, m, v), own)
