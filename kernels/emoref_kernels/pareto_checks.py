"""Checks of the Pareto kernels' arguments, made once for every back end."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.errors import DtypeError, ShapeError

CROWDING_VARIANTS = ("paper", "deb-c")
"""Names of the crowding distance's two published forms."""


def check_objectives(F: Any, *, empty: bool = False) -> NDArray[np.float64]:
    """Return objective values as a float64 array of shape (N, M), without copying where that is possible.

    Parameters
    ----------
    F
        Objective values, one row a point: array or nested sequence of real numbers.
    empty
        Whether N = 0 is allowed.

    Raises
    ------
    DtypeError
        If the values are not real numbers.
    ShapeError
        If the array is not two-dimensional, has no column, or has no row and must have one.
    """
    try:
        values = np.asarray(F)
    except ValueError:
        raise ShapeError("F has rows of different lengths; it must be (points, objectives)") from None
    if values.dtype.kind not in "fiub":
        raise DtypeError(f"F is {values.dtype}; objective values must be real numbers")
    if values.ndim != 2:
        raise ShapeError(f"F has shape {values.shape}; it must be (points, objectives)")
    if values.shape[1] == 0 or (values.shape[0] == 0 and not empty):
        raise ShapeError(f"F has shape {values.shape}; it must have at least one point and one objective")
    return values.astype(np.float64, copy=False)


def check_variant(variant: str) -> None:
    """Raise ShapeError unless `variant` names a form of the crowding distance."""
    if variant not in CROWDING_VARIANTS:
        raise ShapeError(f"crowding variant is {variant!r}; it must be one of {', '.join(CROWDING_VARIANTS)}")


def check_reference_point(ref: Any, objectives: int) -> NDArray[np.float64]:
    """Return the hypervolume's reference point as a float64 array of shape (objectives,).

    Raises
    ------
    DtypeError
        If the values are not real numbers.
    ShapeError
        If there is not one finite value an objective.
    """
    values = np.asarray(ref)
    if values.dtype.kind not in "fiub":
        raise DtypeError(f"the reference point is {values.dtype}; it must consist of real numbers")
    if values.shape != (objectives,):
        raise ShapeError(
            f"the reference point has shape {values.shape}; with F of {objectives} objectives "
            f"it must be ({objectives},)"
        )
    # Few values: looked at one by one, they take a third of the time that NumPy needs for all.
    if not all(map(math.isfinite, values.tolist())):
        raise ShapeError(f"the reference point is {values.tolist()}; every value must be finite")
    return values.astype(np.float64, copy=False)


def check_bounded(points: NDArray[np.float64]) -> None:
    """Raise ShapeError if a point is minus infinity somewhere: contributions to an infinite volume."""
    if np.isneginf(points).any():
        row = int(np.argmax(np.isneginf(points).any(axis=1)))
        raise ShapeError(
            f"point {points[row].tolist()} has a value of minus infinity; "
            "the hypervolume would be infinite, so leave it out"
        )
