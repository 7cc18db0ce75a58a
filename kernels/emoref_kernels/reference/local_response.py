"""Local response normalisation and its gradient, in plain NumPy (Krizhevsky et al. 2012, section 3.3)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import layer_checks

Array = NDArray[Any]


def _window_sum(x: Array, size: int) -> Array:
    """Sum over the `size` channels around each channel; beyond the first and the last there is nothing."""
    half = size // 2
    padded = np.pad(x, ((0, 0), (half, half), (0, 0), (0, 0)))
    total = np.zeros_like(x)
    for offset in range(size):
        total += padded[:, offset : offset + x.shape[1]]
    return total


def local_response_norm(
    x: Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """Divide every value by a measure of its neighbours in other channels.

    With s[n, c] = sum over the channels j = c - size // 2 .. c + size // 2 that exist of x[n, j]^2::

        y = x / (k + alpha / size * s) ** beta

    As in PyTorch and ONNX, `alpha` is divided by `size`. The paper does not divide: its n = 5,
    alpha = 1e-4, k = 2 is ``size=5, alpha=5e-4, k=2`` here.

    Parameters
    ----------
    x
        (N, C, H, W).
    size
        Channels of a window, odd, so that it has a middle; may exceed C.
    alpha, beta, k
        Constants of the formula; alpha and beta at least 0, k above 0.

    Returns
    -------
    ndarray
        Of x's shape.

    Raises
    ------
    ShapeError
        If x has not four dimensions, or a constant is out of its range.
    DtypeError
        If x is neither float32 nor float64.
    """
    layer_checks.check_local_response_norm({"x": x}, size, alpha, beta, k, float64=True)
    base = float(k) + float(alpha) / size * _window_sum(np.square(x), size)
    return x * base ** -float(beta)


def local_response_norm_grad(
    dy: Array, x: Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """Return the gradient of ``local_response_norm``.

    With b = k + alpha / size * s. Channel c is in the window of every channel that is in its own window::

        dx[n, c] = dy b^-beta - 2 alpha beta / size x[n, c] (sum over the window of c of dy x b^(-beta - 1))

    Parameters
    ----------
    dy
        Gradient in the result, of x's shape.
    x
        Input (N, C, H, W).
    size, alpha, beta, k
        As given to ``local_response_norm``.

    Returns
    -------
    ndarray
        Of x's shape.

    Raises
    ------
    ShapeError
        If the sizes do not fit together, or a constant is out of its range.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    layer_checks.check_local_response_norm({"x": x, "dy": dy}, size, alpha, beta, k, float64=True)
    slope = float(alpha) / size
    base = float(k) + slope * _window_sum(np.square(x), size)
    scaled = dy * base ** -float(beta)
    return scaled - 2 * slope * float(beta) * x * _window_sum(scaled * x / base, size)
