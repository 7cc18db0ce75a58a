"""Pareto kernels compiled with Numba: the same results as `emoref_kernels.reference.pareto`, fast.

Ranks and crowding distances equal the reference's exactly, hypervolumes up to rounding. Rules and sources
are in the reference's docstrings.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.pareto_ranks import nondominated_ranks
from emoref_kernels.cpu.pareto_volume import contributions_of_points, volume_of_points
from emoref_kernels.pareto_checks import check_bounded, check_objectives, check_reference_point, check_variant

__all__ = ["crowding_distance", "hypervolume", "hypervolume_contributions", "nondominated_ranks"]

_TIES_TO = 8
"""Steps of an insertion among equal values before a stable sort is faster."""

_HALF_OF_LARGEST_FLOAT = 0.5 * np.finfo(np.float64).max


# --------------------------------------------------------------------------------------------- crowding


def crowding_distance(F: Any, variant: str = "paper") -> NDArray[np.float64]:
    """Measure the crowding in one front; see `emoref_kernels.reference.pareto.crowding_distance`.

    Parameters
    ----------
    F
        Objective values (N, M) of one front, N >= 1.
    variant
        ``"paper"`` (both ends infinite, sum) or ``"deb-c"`` (minima infinite, mean).

    Returns
    -------
    numpy.ndarray
        Distances, float64 (N,), never NaN.

    Raises
    ------
    ShapeError, DtypeError
        If `F` is no two-dimensional, non-empty array of real numbers, or the variant is unknown.
    """
    F = check_objectives(F)
    check_variant(variant)
    missing = np.isnan(F)
    if not missing.any():
        return _front_distances(F, variant == "paper")
    rows = ~missing.any(axis=1)
    distance = np.zeros(F.shape[0])
    distance[rows] = _front_distances(F[rows], variant == "paper")
    return distance


def _front_distances(F: NDArray[np.float64], paper: bool) -> NDArray[np.float64]:
    if F.shape[0] < 3:
        return np.full(F.shape[0], np.inf)
    columns = np.ascontiguousarray(F.T)
    orders = np.argsort(columns, axis=1)
    if not _break_ties(columns, orders):
        orders = np.argsort(columns, axis=1, kind="stable")
    return _sum_of_gaps(columns, orders, paper)


@jit()
def _break_ties(columns, orders):
    """Bring equal values into the order of their rows by insertion; give up if they are many."""
    for m in range(columns.shape[0]):
        column, order = columns[m], orders[m]
        for i in range(1, order.size):
            row = order[i]
            k = i
            while k > 0 and order[k - 1] > row and column[order[k - 1]] == column[row]:
                order[k] = order[k - 1]
                k -= 1
            order[k] = row
            if i - k > _TIES_TO:
                return False
    return True


@jit()
def _sum_of_gaps(columns, orders, paper):
    objectives, count = columns.shape
    distance = np.zeros(count)
    for m in range(objectives):
        column, order = columns[m], orders[m]
        largest = column[order[-1]]
        if column[order[0]] == largest:
            continue
        _put_first_maximum_last(column, order)
        width, scale = _finite_range(column, order)
        distance[order[0]] = np.inf
        if paper:
            distance[order[-1]] = np.inf
        for k in range(1, count - 1):
            below, above = scale * column[order[k - 1]], scale * column[order[k + 1]]
            gap = 0.0 if below == above else above - below
            distance[order[k]] += gap / width
    if not paper:
        distance /= objectives
    return distance


@jit()
def _put_first_maximum_last(column, order):
    last = order.size - 1
    first = last
    while column[order[first - 1]] == column[order[last]]:
        first -= 1
    end = order[first]
    for k in range(first, last):
        order[k] = order[k + 1]
    order[last] = end


@jit()
def _finite_range(column, order):
    """Return the range of the finite values, and what values must be multiplied by to be in its unit."""
    low, high = 0, order.size - 1
    while low < high and not np.isfinite(column[order[low]]):
        low += 1
    while high > low and not np.isfinite(column[order[high]]):
        high -= 1
    smallest, largest = column[order[low]], column[order[high]]
    if not largest > smallest:
        return 1.0, 1.0
    half = 0.5 * largest - 0.5 * smallest
    if half > _HALF_OF_LARGEST_FLOAT:
        return half, 0.5
    return largest - smallest, 1.0


# ------------------------------------------------------------------------------------------ hypervolume


def hypervolume(F: Any, ref: Any) -> float:
    """Measure the dominated volume; see `emoref_kernels.reference.pareto.hypervolume`.

    Parameters
    ----------
    F
        Objective values (N, M); N may be 0.
    ref
        Reference point (M,), finite.

    Returns
    -------
    float
        The volume; 0.0 for no point that is smaller than `ref` in every objective.

    Raises
    ------
    ShapeError, DtypeError
        If `F` or `ref` are no arrays of real numbers of these shapes, or `ref` is not finite.
    """
    F = check_objectives(F, empty=True)
    ref = check_reference_point(ref, F.shape[1])
    return volume_of_points(F, ref)


def hypervolume_contributions(F: Any, ref: Any) -> NDArray[np.float64]:
    """Measure what only one point dominates; see `emoref_kernels.reference.pareto.hypervolume_contributions`.

    The volume is measured directly, not as a difference of two that are nearly equal.

    Parameters
    ----------
    F
        Objective values (N, M); N may be 0.
    ref
        Reference point (M,), finite.

    Returns
    -------
    numpy.ndarray
        Contributions, at least 0, float64 (N,).

    Raises
    ------
    ShapeError, DtypeError
        If `F` or `ref` are no arrays of real numbers of these shapes, `ref` is not finite, or a point that
        would contribute has a value of minus infinity.
    """
    F = check_objectives(F, empty=True)
    ref = check_reference_point(ref, F.shape[1])
    inside = np.flatnonzero((ref > F).all(axis=1))
    points = F[inside]
    check_bounded(points)
    contributions = np.zeros(len(F))
    if len(points) > 0:
        contributions[inside] = contributions_of_points(points, ref)
    return contributions
