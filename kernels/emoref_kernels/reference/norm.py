"""Batch normalisation and its gradients, in plain NumPy (Ioffe and Szegedy 2015, algorithm 1).

Statistics are per channel, over images and pixels: m = N H W values each. Sums are formed in float64
also for float32 arrays.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import layer_checks
from . import elementwise

Array = NDArray[Any]


def _axes(x: Array) -> tuple[int, ...]:
    """Return all axes but the channels."""
    return (0, *range(2, x.ndim))


def _per_channel(vector: Array, x: Array) -> Array:
    """Give a vector (C,) the dimensions of x, so that it broadcasts along the channels."""
    return vector.reshape(1, -1, *([1] * (x.ndim - 2)))


def _normalised(x: Array, mean: Array, var: Array, eps: float) -> Array:
    """Return x^ = (x - mean) / sqrt(var + eps)."""
    return (x - _per_channel(mean, x)) / np.sqrt(_per_channel(var, x) + float(eps))


def batch_norm(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5) -> Array:
    """Normalise with given statistics: ``y = gamma (x - mean) / sqrt(var + eps) + beta``.

    Parameters
    ----------
    x
        (N, C, H, W) or (N, C).
    gamma, beta
        Scale and shift of each channel (C,).
    mean, var
        Mean and variance of each channel (C,).
    eps
        Added to the variance.

    Returns
    -------
    ndarray
        Of x's shape.

    Raises
    ------
    ShapeError
        If the sizes do not fit together.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    layer_checks.check_batch_norm(x, {"gamma": gamma, "beta": beta, "mean": mean, "var": var}, float64=True)
    return _per_channel(gamma, x) * _normalised(x, mean, var, eps) + _per_channel(beta, x)


def batch_norm_train(
    x: Array,
    gamma: Array,
    beta: Array,
    eps: float = 1e-5,
    relu: bool = False,
    shortcut: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Normalise with the statistics of the batch itself.

    Parameters
    ----------
    x
        (N, C, H, W) or (N, C), N at least 1.
    gamma, beta
        Scale and shift of each channel (C,).
    eps
        Added to the variance.
    relu
        Whether ReLU follows, in the same pass.
    shortcut
        What is added to the normalised values before the ReLU, of x's shape; None adds nothing.

    Returns
    -------
    y : ndarray
        Of x's shape.
    mean : ndarray
        Mean of each channel (C,).
    var : ndarray
        Biased variance of each channel (C,): the mean of squared deviations, divisor m.

    Raises
    ------
    ShapeError
        If the sizes do not fit together, or the batch is empty.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    vectors = {"gamma": gamma, "beta": beta}
    layer_checks.check_batch_norm(x, vectors, shortcut=shortcut, batch_statistics=True, float64=True)
    mean = x.mean(axis=_axes(x), dtype=np.float64)
    var = np.mean(np.square(x - _per_channel(mean, x)), axis=_axes(x))
    mean, var = mean.astype(x.dtype), var.astype(x.dtype)
    y = batch_norm(x, gamma, beta, mean, var, eps)
    if shortcut is not None:
        y = elementwise.add(y, shortcut)
    return elementwise.relu(y) if relu else y, mean, var


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
    """Return the gradients of ``batch_norm_train``, whose statistics depend on x.

    With x^ = (x - mean) / sqrt(var + eps) and sums over a channel's m values::

        dgamma = sum of dy x^        dbeta = sum of dy
        dx = gamma / sqrt(var + eps) (dy - dbeta / m - x^ dgamma / m)

    Parameters
    ----------
    dy
        Gradient in the result, of x's shape.
    x
        Input (N, C, H, W) or (N, C), N at least 1.
    gamma
        Scale of each channel (C,).
    mean, var
        Statistics of the batch (C,), as returned by ``batch_norm_train``.
    eps
        As in ``batch_norm_train``.
    y
        If ReLU followed: its result. The gradient is then first taken through it.
    reuse
        Whether dy may be overwritten: a back end may put results there.

    Returns
    -------
    dx : ndarray
        Of x's shape.
    dgamma, dbeta : ndarray
        (C,).

    Raises
    ------
    ShapeError
        If the sizes do not fit together, or the batch is empty.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    vectors = {"gamma": gamma, "mean": mean, "var": var}
    layer_checks.check_batch_norm(x, vectors, dy, y, batch_statistics=True, float64=True)
    if y is not None:
        dy = elementwise.relu_grad(dy, y)
    dx, dgamma, dbeta = batch_norm_grad(dy, x, gamma, mean, var, eps)
    count = x.size // x.shape[1]
    through_mean = _per_channel(dbeta / count, x)
    through_var = _normalised(x, mean, var, eps) * _per_channel(dgamma / count, x)
    scale = _per_channel(gamma / np.sqrt(var + float(eps)), x)
    return dx - scale * (through_mean + through_var), dgamma, dbeta


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
    """Return the gradients of ``batch_norm_train`` with a shortcut.

    The gradient in the result, dy + more, goes through the ReLU; what comes out is the gradient of the
    shortcut, and that of the normalised values, from where ``batch_norm_train_grad`` goes on.

    Parameters
    ----------
    dy
        Gradient in the result, of x's shape.
    x, gamma, mean, var, eps, y
        As of ``batch_norm_train_grad``.
    more
        A second term of the gradient, where the result went two ways; None if there is none.
    reuse
        Whether dy and more may be overwritten: a back end may put results there.

    Returns
    -------
    dx : ndarray
        Of x's shape.
    dgamma, dbeta : ndarray
        (C,).
    dshortcut : ndarray
        Of x's shape; may be `dy` itself where nothing changes it.

    Raises
    ------
    ShapeError
        If the sizes do not fit together, or the batch is empty.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    vectors = {"gamma": gamma, "mean": mean, "var": var}
    layer_checks.check_batch_norm(x, vectors, dy, y, more=more, batch_statistics=True, float64=True)
    if more is not None:
        dy = elementwise.add(dy, more)
    if y is not None:
        dy = elementwise.relu_grad(dy, y)
    return *batch_norm_train_grad(dy, x, gamma, mean, var, eps), dy


def batch_norm_grad(
    dy: Array, x: Array, gamma: Array, mean: Array, var: Array, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Return the gradients of ``batch_norm``, whose statistics are constants.

    With x^ = (x - mean) / sqrt(var + eps) and sums over a channel's values::

        dgamma = sum of dy x^        dbeta = sum of dy        dx = gamma / sqrt(var + eps) dy

    Parameters
    ----------
    dy
        Gradient in the result, of x's shape.
    x
        Input (N, C, H, W) or (N, C).
    gamma, mean, var
        As given to ``batch_norm`` (C,).
    eps
        As given to ``batch_norm``.

    Returns
    -------
    dx : ndarray
        Of x's shape.
    dgamma, dbeta : ndarray
        (C,).

    Raises
    ------
    ShapeError
        If the sizes do not fit together.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    layer_checks.check_batch_norm(x, {"gamma": gamma, "mean": mean, "var": var}, dy, float64=True)
    product = dy * _normalised(x, mean, var, eps)
    dgamma = product.sum(axis=_axes(x), dtype=np.float64).astype(x.dtype)
    dbeta = dy.sum(axis=_axes(x), dtype=np.float64).astype(x.dtype)
    return dy * _per_channel(gamma / np.sqrt(var + float(eps)), x), dgamma, dbeta
