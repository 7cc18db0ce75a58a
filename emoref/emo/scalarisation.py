"""Scalarisation: one number in place of several objectives, as MOEA/D's subproblems need it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCALARISATIONS", "Scalarisation", "boundary_intersection", "tchebycheff", "weighted_sum"]

SCALARISATIONS = ("tchebycheff", "pbi", "weighted_sum")
"""Names of the ways to make one number of several objectives."""

Scalarisation = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""Takes objectives relative to the ideal point and weights, both (..., M); the smaller result is better."""


_SMALLEST_WEIGHT = 1e-6
"""Weights below this count as this in `tchebycheff`."""


def weighted_sum(F: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make one number of several objectives: the sum of weight times objective.

    g(x) = sum over m of w_m F_m. Its minima lie on convex parts of the front only.

    Parameters
    ----------
    F
        Objective values relative to the ideal point (..., M).
    weights
        Weights (..., M).

    Returns
    -------
    numpy.ndarray
        Values (...); the smaller the better.

    Notes
    -----
    Source: Zhang and Li, IEEE Trans. Evol. Comput. 11(6), 2007, section II-A. There the ideal point is not
    subtracted, which
    changes all values of a subproblem by the same number.
    """
    return np.asarray((weights * F).sum(axis=-1), dtype=np.float64)


def tchebycheff(F: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make one number of several objectives: the largest product of weight and distance from the ideal.

    g(x) = max over m of w_m |F_m|. Every point of the front is the minimum for some weights; for a weight w
    it lies in the direction (1/w_1, ..., 1/w_M).

    Parameters
    ----------
    F
        Objective values relative to the ideal point (..., M).
    weights
        Weights (..., M). A weight below 1e-6 counts as 1e-6, since an objective of weight 0 would not
        count at all, and dominated points could not be told from better ones (not published; emoref uses
        this).

    Returns
    -------
    numpy.ndarray
        Values (...); the smaller the better.

    Notes
    -----
    Source: Zhang and Li 2007, section II-B.

    Examples
    --------
    >>> tchebycheff(np.array([[1.0, 6.0], [4.0, 4.0]]), np.array([0.5, 0.5]))
    array([3., 2.])
    """
    return np.asarray((np.maximum(weights, _SMALLEST_WEIGHT) * np.abs(F)).max(axis=-1), dtype=np.float64)


def boundary_intersection(
    F: NDArray[np.float64], weights: NDArray[np.float64], theta: float = 5.0
) -> NDArray[np.float64]:
    """Make one number of several objectives: how far along the weight's direction, and how far from it (PBI).

    ::

        d1 = |F . w| / |w|               the way along the line from the ideal point through w
        d2 = |F - d1 w / |w||            the distance from that line
        g(x) = d1 + theta d2

    Parameters
    ----------
    F
        Objective values relative to the ideal point (..., M).
    weights
        Weights (..., M), not all zero.
    theta
        Penalty of the distance, at least 0.

    Returns
    -------
    numpy.ndarray
        Values (...); the smaller the better.

    Notes
    -----
    Source: Zhang and Li 2007, section II-C, written for minimisation.

    Examples
    --------
    >>> boundary_intersection(np.array([[3.0, 4.0], [3.0, 0.0]]), np.array([1.0, 0.0]))
    array([23.,  3.])
    """
    direction = weights / np.sqrt((weights**2).sum(axis=-1, keepdims=True))
    along = (F * direction).sum(axis=-1, keepdims=True)
    away = np.sqrt(((F - along * direction) ** 2).sum(axis=-1))
    return np.asarray(np.abs(along[..., 0]) + theta * away, dtype=np.float64)
