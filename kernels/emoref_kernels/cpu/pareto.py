"""Pareto kernels compiled with Numba: the same results as `emoref_kernels.reference.pareto`, fast.

Ranks and crowding distances equal the reference's exactly, hypervolumes up to rounding. Rules and sources
are in the reference's docstrings.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.pareto_ranks import nondominated_ranks
from emoref_kernels.pareto_checks import check_objectives, check_reference_point, check_variant

__all__ = ["crowding_distance", "hypervolume", "nondominated_ranks"]

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
    return _sum_of_gaps(columns, np.argsort(columns, axis=1, kind="stable"), paper)


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

    Notes
    -----
    Two and three objectives are swept in order of the last one. More are reduced to three by the WFG
    recursion: While, Bradstreet, Barone, "A fast way of calculating exact hypervolumes", IEEE Trans. Evol.
    Comput. 16(1), 2012.
    """
    F = check_objectives(F, empty=True)
    ref = check_reference_point(ref, F.shape[1])
    points = np.ascontiguousarray(F[(ref > F).all(axis=1)])
    if np.isneginf(points).any():
        return float("inf")
    if points.shape[0] == 0:
        return 0.0
    if points.shape[1] == 1:
        return float(ref[0] - points.min())
    # Each of these compiles on its own: two objectives need not wait for the recursion.
    measure = {2: _area, 3: _volume_of_three}.get(points.shape[1], _volume)
    return float(measure(points, points.shape[0], ref))


@jit()
def _ascending(values):
    return np.argsort(values)


@jit()
def _volume(points, count, ref):
    """Measure the volume of the first `count` rows of `points`, which has as many columns as it is about."""
    objectives = points.shape[1]
    if objectives == 2:
        return _area(points, count, ref)
    if objectives == 3:
        return _volume_of_three(points, count, ref)
    # Worst in the last objective first: all later points are better there, so what they share with this
    # one has this one's last value, and the recursion needs one objective less.
    last = objectives - 1
    order = _ascending(-points[:count, last])
    shared = np.empty((count, last))
    volume = 0.0
    for i in range(count):
        base = 1.0
        for m in range(last):
            base *= ref[m] - points[order[i], m]
        kept = 0
        for j in range(i + 1, count):
            for m in range(last):
                shared[kept, m] = max(points[order[i], m], points[order[j], m])
            kept = _insert_nondominated(shared, kept)
        if kept > 0:
            base -= _volume(shared[:kept].copy(), kept, ref)
        volume += base * (ref[last] - points[order[i], last])
    return volume


@jit()
def _insert_nondominated(rows, kept):
    """Make row `kept` a member of the mutually non-dominated rows before it; return how many there are."""
    objectives = rows.shape[1]
    i = 0
    while i < kept:
        worse, better = False, False  # row i than the new one, in some objective
        for m in range(objectives):
            if rows[i, m] > rows[kept, m]:
                worse = True
            elif rows[i, m] < rows[kept, m]:
                better = True
        if not worse:
            return kept
        if not better:
            # Row i is dominated: the last member takes its place, the new row the last member's.
            kept -= 1
            for m in range(objectives):
                rows[i, m] = rows[kept, m]
                rows[kept, m] = rows[kept + 1, m]
        else:
            i += 1
    return kept + 1


@jit()
def _area(points, count, ref):
    order = _ascending(points[:count, 0].copy())
    area = 0.0
    height = ref[1]
    for i in order:
        if points[i, 1] < height:
            area += (ref[0] - points[i, 0]) * (height - points[i, 1])
            height = points[i, 1]
    return area


@jit()
def _volume_of_three(points, count, ref):
    """Sweep in order of the third objective, with the dominated area of the other two as a staircase."""
    order = _ascending(points[:count, 2].copy())
    # Steps in order of x; sentinels at both ends stand for the reference point.
    x, y = np.empty(count + 2), np.empty(count + 2)
    x[0], y[0] = -np.inf, ref[1]
    x[1], y[1] = ref[0], -np.inf
    steps = 2
    volume, area = 0.0, 0.0
    z = points[order[0], 2]
    for i in order:
        volume += area * (points[i, 2] - z)
        z = points[i, 2]
        added, steps = _add_step(x, y, steps, points[i, 0], points[i, 1])
        area += added
    return volume + area * (ref[2] - z)


@jit()
def _add_step(x, y, steps, new_x, new_y):
    """Insert a point into the staircase; return by how much the area grows, and the number of steps."""
    at = np.searchsorted(x[:steps], new_x)
    if y[at - 1] <= new_y or (x[at] == new_x and y[at] <= new_y):
        return 0.0, steps
    added = 0.0
    left, height = new_x, y[at - 1]
    end = at
    while y[end] >= new_y:
        added += (x[end] - left) * (height - new_y)
        left, height = x[end], y[end]
        end += 1
    added += (x[end] - left) * (height - new_y)
    # Steps at..end-1 vanish behind the new one.
    shift = at + 1 - end
    if shift > 0:
        for k in range(steps - 1, end - 1, -1):
            x[k + 1], y[k + 1] = x[k], y[k]
    elif shift < 0:
        for k in range(end, steps):
            x[k + shift], y[k + shift] = x[k], y[k]
    x[at], y[at] = new_x, new_y
    return added, steps + shift
