"""One step of an optimiser, in plain NumPy. These are the functions that write into their arguments."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import layer_checks

Array = NDArray[Any]


def sgd_update(
    param: Array,
    grad: Array,
    velocity: Array,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """Take one step of stochastic gradient descent with momentum, in place.

    In this order, as PyTorch defines it (without dampening)::

        g = grad + weight_decay param
        velocity = momentum velocity + g
        param = param - lr (g + momentum velocity if nesterov else velocity)

    Parameters
    ----------
    param
        Parameters, any shape; written.
    grad
        Gradient, of the same shape; not written.
    velocity
        Running sum of gradients, of the same shape, zeros before the first step; written.
    lr
        Learning rate.
    momentum
        Share of the velocity that is kept.
    weight_decay
        Factor of the L2 term.
    nesterov
        Whether to step with Nesterov's look-ahead.

    Raises
    ------
    ShapeError
        If the shapes differ, or an array to be written is read-only.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    layer_checks.check_update(
        {"param": param, "grad": grad, "velocity": velocity}, ("param", "velocity"), float64=True
    )
    lr, momentum, weight_decay = float(lr), float(momentum), float(weight_decay)
    g = grad + weight_decay * param
    velocity *= momentum
    velocity += g
    param -= lr * (g + momentum * velocity if nesterov else velocity)


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
    """Take one step of Adam (Kingma and Ba 2015, algorithm 1), in place.

    ::

        g = grad + weight_decay param
        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        param = param - lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)

    Parameters
    ----------
    param
        Parameters, any shape; written.
    grad
        Gradient, of the same shape; not written.
    m, v
        Running means of the gradient and of its square, of the same shape, zeros before the first step;
        written.
    step
        Number of this step, from 1.
    lr
        Learning rate.
    beta1, beta2
        Share of `m` and of `v` that is kept.
    eps
        Added to the root.
    weight_decay
        Factor of the L2 term (part of the gradient, as in PyTorch's Adam; not decoupled).

    Raises
    ------
    ShapeError
        If the shapes differ, an array to be written is read-only, or `step` is below 1.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    arrays = {"param": param, "grad": grad, "m": m, "v": v}
    layer_checks.check_update(arrays, ("param", "m", "v"), float64=True)
    layer_checks.check_step(step)
    lr, beta1, beta2, eps, weight_decay = (float(value) for value in (lr, beta1, beta2, eps, weight_decay))
    g = grad + weight_decay * param
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g * g
    param -= lr * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + eps)
