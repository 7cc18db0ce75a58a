"""The dominated hypervolume compiled with Numba, and what each point contributes to it.

* One objective: a length. Two: the points in order of the second, each adding a rectangle beside the
  previous one, O(N log N).
* Three: the points in order of the third, inserted by bisection into the staircase that bounds the dominated
  area of the first two.
* Four and more, and contributions: sweeps over ranks; see `emoref_kernels.cpu.pareto_sweep`.
"""

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.pareto_limits import box_and_intruders
from emoref_kernels.cpu.pareto_masks import BITS, LAST, WIDTH
from emoref_kernels.cpu.pareto_space import PRESENT, add_step, mark_all, ranked_space, start_staircase
from emoref_kernels.cpu.pareto_sweep import covered_volume

__all__ = ["contributions_of_points", "volume_of_points"]

_SHORT = np.iinfo(np.int16).max
_NOBODY = np.empty(0)

_OUTSIDE, _INSIDE, _UNBOUNDED = range(3)


def volume_of_points(points: NDArray[np.float64], ref: NDArray[np.float64]) -> float:
    """Measure the volume between points and a reference point.

    Parameters
    ----------
    points
        Points (N, M); those that are not smaller than `ref` in every objective do not count.
    ref
        Reference point (M,), finite.

    Returns
    -------
    float
        The volume; 0.0 for no point, infinite if a point that counts is minus infinity somewhere.
    """
    count, objectives = points.shape
    if count == 0:
        return 0.0
    if objectives > 3:
        return float(_measure(points, ref, objectives - 3, _NOBODY))
    if objectives == 1:
        return max(0.0, float(ref[0] - np.nanmin(points, initial=np.inf)))
    # Each of these compiles on its own: two objectives need not wait for three.
    sweep = _area if objectives == 2 else _volume_of_three
    return float(sweep(np.ascontiguousarray(points), np.ascontiguousarray(ref), points[:, -1].argsort()))


def contributions_of_points(points: NDArray[np.float64], ref: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure for each point the volume that only it dominates.

    Parameters
    ----------
    points
        Finite points (N, M), each smaller than `ref` in every objective, N >= 1.
    ref
        Reference point (M,).

    Returns
    -------
    numpy.ndarray
        Volumes, at least 0, float64 (N,).
    """
    missing = 3 - points.shape[1]
    if missing > 0:
        # Further objectives in which all have length 1 change nothing.
        points = np.hstack([points, np.zeros((len(points), missing))])
        ref = np.append(ref, np.ones(missing))
    own = np.empty(len(points))
    _measure(points, ref, points.shape[1] - 1, own)
    return own


def _measure(
    points: NDArray[np.float64], ref: NDArray[np.float64], levels: int, own: NDArray[np.float64]
) -> float:
    """Return the volume, or write contributions if there is room for them."""
    count, objectives = points.shape
    # Columns have room for whole masks, and are of the shortest type that can hold the ranks.
    size = 2 * levels * objectives * (-(-count // WIDTH) * WIDTH)
    columns = np.empty(size, np.int16 if count < _SHORT else np.int32)
    rows = np.ascontiguousarray(points.T)
    volume: float = _sweep(rows, rows.argsort(axis=1), np.ascontiguousarray(ref), columns, levels, own)
    return volume


@jit()
def _sweep(points, orders, ref, columns, levels, own):
    """Take points (M, N); write contributions into `own` if it has room, and return the volume if not."""
    index, count = np.empty(points.shape[1], np.int64), np.int64(0)
    for i in range(index.size):
        standing = _standing(points, 1, i, ref)
        if standing == _UNBOUNDED:
            return np.inf
        index[i] = count if standing == _INSIDE else -1
        count += standing
    if count == 0:
        return 0.0
    objectives = np.int64(ref.size)
    numbers, floats, order = ranked_space(points, orders, index, count, ref, levels, columns)
    if own.size == 0:
        return covered_volume(columns, numbers, floats, np.int64(0), objectives, count)
    present = numbers[PRESENT] + (objectives - 1) * (columns.size // (2 * levels * objectives) >> BITS)
    for k in range(count):
        mark_all(numbers, present, count)
        numbers[present + (k >> BITS)] &= ~(np.int64(1) << np.int64(k & LAST))
        own[order[k]] = max(0.0, _own_volume(columns, numbers, floats, objectives, count, np.int64(k)))
    return 0.0


@jit()
def _own_volume(columns, numbers, floats, objectives, count, k):
    level, row = np.int64(0), objectives - 1
    volume, intruders = box_and_intruders(columns, numbers, floats, level, objectives, count, k, row)
    if intruders > 2:
        volume -= covered_volume(columns, numbers, floats, np.int64(1), objectives, intruders)
    return volume


# --------------------------------------------------------------------------- two objectives and three


@jit()
def _standing(points, axis, i, ref):
    """Return whether point i along an axis is inside, that is smaller than `ref`, or infinitely so."""
    standing = _INSIDE
    for m in range(ref.size):
        value = points[m, i] if axis == 1 else points[i, m]
        if not value < ref[m]:
            return _OUTSIDE
        if value == -np.inf:
            standing = _UNBOUNDED
    return standing


@jit()
def _area(points, ref, order):
    area, end = 0.0, ref[0]
    for i in order:
        standing = _standing(points, 0, i, ref)
        if standing == _UNBOUNDED:
            return np.inf
        if standing == _INSIDE and points[i, 0] < end:
            area += (end - points[i, 0]) * (ref[1] - points[i, 1])
            end = points[i, 0]
    return area


@jit()
def _volume_of_three(points, ref, order):
    """Sweep in order of the third objective, with the dominated area of the other two as a staircase."""
    floats = np.empty(2 * len(points) + 4)
    x, y = 0, len(points) + 2
    steps = start_staircase(floats, x, y, ref[0], ref[1])
    volume, area, z = 0.0, 0.0, ref[2]
    for i in order:
        standing = _standing(points, 0, i, ref)
        if standing == _UNBOUNDED:
            return np.inf
        if standing == _INSIDE:
            volume += area * (points[i, 2] - z)
            z = points[i, 2]
            added, steps = add_step(floats, x, y, steps, points[i, 0], points[i, 1])
            area += added
    return volume + area * (ref[2] - z)
