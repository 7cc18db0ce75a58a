"""The linear (fully connected) layer and its gradients, in plain NumPy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import checks

Array = NDArray[Any]


def linear(x: Array, w: Array, b: Array | None = None) -> Array:
    """Apply a linear layer: ``y = x w^T + b``.

    Parameters
    ----------
    x
        (N, I), one row an example.
    w
        Weights (O, I), one row a unit.
    b
        One value a unit (O,), or None for none.

    Returns
    -------
    ndarray
        (N, O).

    Raises
    ------
    ShapeError
        If the sizes do not fit together.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    checks.check_linear(x, w, b, float64=True)
    y = x @ w.T
    return y if b is None else y + b


def linear_input_grad(dy: Array, w: Array) -> Array:
    """Return the gradient of ``linear`` in its input: ``dx = dy w``.

    Parameters
    ----------
    dy
        Gradient in the result (N, O).
    w
        Weights (O, I).

    Returns
    -------
    ndarray
        (N, I).

    Raises
    ------
    ShapeError
        If the sizes do not fit together.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    checks.check_linear_input_grad(dy, w, float64=True)
    return dy @ w


def linear_weight_grad(dy: Array, x: Array) -> Array:
    """Return the gradient of ``linear`` in its weights: ``dw = dy^T x``.

    Parameters
    ----------
    dy
        Gradient in the result (N, O).
    x
        Input (N, I).

    Returns
    -------
    ndarray
        (O, I).

    Raises
    ------
    ShapeError
        If the sizes do not fit together.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    checks.check_linear_weight_grad(dy, x, float64=True)
    return dy.T @ x


def linear_bias_grad(dy: Array) -> Array:
    """Return the gradient of ``linear`` in its bias: the sum of dy over examples.

    Parameters
    ----------
    dy
        Gradient in the result (N, O).

    Returns
    -------
    ndarray
        (O,).

    Raises
    ------
    ShapeError
        If dy has not two dimensions.
    DtypeError
        If dy is neither float32 nor float64.
    """
    checks.check_linear_bias_grad(dy, float64=True)
    return dy.sum(axis=0, dtype=np.float64).astype(dy.dtype)
