"""Linear layers and their gradients, in float32; the twins of :mod:`emoref_kernels.reference.linear`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.checks import (
    check_linear,
    check_linear_bias_grad,
    check_linear_input_grad,
    check_linear_weight_grad,
)
from emoref_kernels.cpu.gemm import flat, matrix_multiply
from emoref_kernels.cpu.jit import jit

__all__ = ["linear", "linear_bias_grad", "linear_input_grad", "linear_weight_grad"]

_NO_BIAS = np.zeros(0, dtype=np.float32)


def linear(x: NDArray[Any], w: NDArray[Any], b: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return x w^T + b.

    Parameters
    ----------
    x : ndarray of float32, shape (N, I)
        A batch of rows.
    w : ndarray of float32, shape (O, I)
        Weights, one row a unit.
    b : ndarray of float32, shape (O,), optional
        Bias, one value a unit.

    Returns
    -------
    ndarray of float32, shape (N, O)
        Each value is a chain of fused multiply-adds in increasing input, plus the bias; its bits do not
        depend on the other rows of `x` and `w`.

    Raises
    ------
    ShapeError, DtypeError
        If the arguments do not fit together, or are not float32.
    """
    check_linear(x, w, b, float64=False)
    batch, inputs = x.shape
    units = w.shape[0]
    y = np.empty((batch, units), dtype=np.float32)
    if batch:
        bias = _NO_BIAS if b is None else flat(b)
        # Units are the rows of the product, so that the weights are copied in panels, not transposed.
        matrix_multiply(
            flat(w), inputs, 1, flat(x), 1, inputs, units, batch, inputs, bias, y.reshape(-1), 1, units
        )
    return y


def linear_input_grad(dy: NDArray[Any], w: NDArray[Any]) -> NDArray[Any]:
    """Return the gradient of the input, dy w.

    Parameters
    ----------
    dy : ndarray of float32, shape (N, O)
        Gradient of the output.
    w : ndarray of float32, shape (O, I)
        Weights.

    Returns
    -------
    ndarray of float32, shape (N, I)
        Gradient of the input.

    Raises
    ------
    ShapeError, DtypeError
        If the arguments do not fit together, or are not float32.
    """
    check_linear_input_grad(dy, w, float64=False)
    batch, units = dy.shape
    inputs = w.shape[1]
    dx = np.empty((batch, inputs), dtype=np.float32)
    if batch:
        matrix_multiply(
            flat(dy), units, 1, flat(w), inputs, 1, batch, inputs, units, _NO_BIAS, dx.reshape(-1), inputs, 1
        )
    return dx


def linear_weight_grad(dy: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """Return the gradient of the weights, dy^T x.

    Parameters
    ----------
    dy : ndarray of float32, shape (N, O)
        Gradient of the output.
    x : ndarray of float32, shape (N, I)
        The input.

    Returns
    -------
    ndarray of float32, shape (O, I)
        Gradient of the weights, summed over the batch in its order; zeros for an empty batch.

    Raises
    ------
    ShapeError, DtypeError
        If the arguments do not fit together, or are not float32.
    """
    check_linear_weight_grad(dy, x, float64=False)
    batch, units = dy.shape
    inputs = x.shape[1]
    dw = np.zeros((units, inputs), dtype=np.float32)
    if batch:
        matrix_multiply(
            flat(dy), 1, units, flat(x), inputs, 1, units, inputs, batch, _NO_BIAS, dw.reshape(-1), inputs, 1
        )
    return dw


@jit()
def _sum_rows(dy, rows, columns, out):
    total = np.zeros(columns, np.float64)
    for n in range(rows):
        for j in range(columns):
            total[j] += dy[n * columns + j]
    for j in range(columns):
        out[j] = total[j]


def linear_bias_grad(dy: NDArray[Any]) -> NDArray[Any]:
    """Return the gradient of the bias: the sum of `dy` over the batch, taken in float64.

    Parameters
    ----------
    dy : ndarray of float32, shape (N, O)
        Gradient of the output.

    Returns
    -------
    ndarray of float32, shape (O,)
        Gradient of the bias.

    Raises
    ------
    ShapeError, DtypeError
        If `dy` has another number of dimensions, or is not float32.
    """
    check_linear_bias_grad(dy, float64=False)
    db = np.empty(dy.shape[1], dtype=np.float32)
    _sum_rows(flat(dy), dy.shape[0], dy.shape[1], db)
    return db
