"""Operations that work value by value, and concatenation, in plain NumPy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import layer_checks

Array = NDArray[Any]


def relu(x: Array) -> Array:
    """Cut negative values off: ``y = max(x, 0)``; NaN stays NaN.

    Parameters
    ----------
    x
        Any shape.

    Returns
    -------
    ndarray
        Of x's shape.

    Raises
    ------
    DtypeError
        If x is neither float32 nor float64.
    """
    layer_checks.check_same_shape({"x": x}, float64=True)
    return np.maximum(x, 0)


def relu_grad(dy: Array, x: Array) -> Array:
    """Return the gradient of ``relu``: dy where x > 0, else 0; where x is NaN, dy passes.

    Parameters
    ----------
    dy
        Gradient in the result, any shape.
    x
        The input of ``relu``, or its result: both have the same mask.

    Returns
    -------
    ndarray
        Of x's shape.

    Raises
    ------
    ShapeError
        If the shapes differ.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    layer_checks.check_same_shape({"dy": dy, "x": x}, float64=True)
    return np.where(x <= 0, np.zeros_like(dy), dy)


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent.

    Parameters
    ----------
    x
        Any shape.

    Returns
    -------
    ndarray
        Of x's shape, in [-1, 1].

    Raises
    ------
    DtypeError
        If x is neither float32 nor float64.
    """
    layer_checks.check_same_shape({"x": x}, float64=True)
    return np.tanh(x)


def tanh_grad(dy: Array, y: Array) -> Array:
    """Return the gradient of ``tanh``: ``dy (1 - y^2)``.

    Parameters
    ----------
    dy
        Gradient in the result, any shape.
    y
        The result of ``tanh``.

    Returns
    -------
    ndarray
        Of y's shape.

    Raises
    ------
    ShapeError
        If the shapes differ.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    layer_checks.check_same_shape({"dy": dy, "y": y}, float64=True)
    return dy * (1 - y * y)


def add(a: Array, b: Array) -> Array:
    """Add two arrays of one shape; the gradient in both is dy itself.

    Parameters
    ----------
    a, b
        Any shape, the same for both.

    Returns
    -------
    ndarray
        Of the same shape.

    Raises
    ------
    ShapeError
        If the shapes differ.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    layer_checks.check_same_shape({"a": a, "b": b}, float64=True)
    return a + b


def concat(arrays: Sequence[Array]) -> Array:
    """Join arrays along the channels (axis 1).

    Parameters
    ----------
    arrays
        At least one array, each (N, C_i, H, W) or each (N, C_i), alike in all extents but C_i.

    Returns
    -------
    ndarray
        (N, sum of C_i, ...).

    Raises
    ------
    ShapeError
        If there is no array, or the other extents differ.
    DtypeError
        If the arrays are not all float32 or all float64.
    """
    layer_checks.check_concat(arrays, float64=True)
    return np.concatenate(arrays, axis=1)


def concat_grad(dy: Array, channels: Sequence[int]) -> list[Array]:
    """Return the gradients of ``concat``: dy cut along the channels.

    Parameters
    ----------
    dy
        Gradient in the result (N, sum of `channels`, ...).
    channels
        Number of channels of each array that was joined.

    Returns
    -------
    list of ndarray
        (N, C_i, ...), one an array that was joined; each is a copy.

    Raises
    ------
    ShapeError
        If the channels do not sum to dy's.
    DtypeError
        If dy is neither float32 nor float64.
    """
    layer_checks.check_concat_grad(dy, channels, float64=True)
    ends = np.cumsum(channels)
    return [dy[:, end - count : end].copy() for end, count in zip(ends, channels, strict=True)]


def dropout(x: Array, keep: NDArray[np.bool_], rate: float) -> Array:
    """Drop values and scale the others up (inverted dropout): ``y = x keep / (1 - rate)``.

    The caller draws `keep`, each value False with probability `rate`, so that the same draw serves the
    gradient. For inference nothing is to be done. A dropped NaN stays NaN.

    Parameters
    ----------
    x
        Any shape.
    keep
        Booleans of x's shape, True where a value is kept.
    rate
        Share of values that are dropped, at least 0 and below 1.

    Returns
    -------
    ndarray
        Of x's shape.

    Raises
    ------
    ShapeError
        If the shapes differ, or `rate` is out of its range.
    DtypeError
        If x is neither float32 nor float64, or `keep` is not of booleans.
    """
    scale = layer_checks.check_dropout("x", x, keep, rate, float64=True)
    return x * keep * scale


def dropout_grad(dy: Array, keep: NDArray[np.bool_], rate: float) -> Array:
    """Return the gradient of ``dropout``: ``dy keep / (1 - rate)``.

    Parameters
    ----------
    dy
        Gradient in the result, any shape.
    keep, rate
        As given to ``dropout``.

    Returns
    -------
    ndarray
        Of dy's shape.

    Raises
    ------
    ShapeError
        If the shapes differ, or `rate` is out of its range.
    DtypeError
        If dy is neither float32 nor float64, or `keep` is not of booleans.
    """
    scale = layer_checks.check_dropout("dy", dy, keep, rate, float64=True)
    return dy * keep * scale
