"""The parts of NSGA-III's normalisation that run over all points, compiled.

Results equal those of `emoref_kernels.reference.normalising` bit for bit.
"""

import numpy as np

from emoref_kernels.cpu.jit import jit

__all__ = ["any_equal", "bounds", "extreme_rows", "scale", "solves", "units"]

_OFF_AXIS = 1e-6


@jit()
def bounds(F, front):
    """Find the ends of the ranges; see `emoref_kernels.reference.normalising.bounds`.

    Parameters
    ----------
    F, front
        Float64 (N, M) and int64 (n,).

    Returns
    -------
    ndarray of float64, shape (3, M)
        Smallest and largest values of all points, and the largest in the front; NaN if one is not finite.
    """
    rows, objectives = F.shape
    ends = np.empty((3, objectives))
    ends[0], ends[1], ends[2] = F[0], F[0], F[front[0]]
    finite = True
    for i in range(rows):
        for m in range(objectives):
            value = F[i, m]
            finite = finite and np.isfinite(value)
            ends[0, m] = min(ends[0, m], value)
            ends[1, m] = max(ends[1, m], value)
    for i in front:
        for m in range(objectives):
            ends[2, m] = max(ends[2, m], F[i, m])
    if not finite:
        ends[:] = np.nan
    return ends


@jit()
def units(ideal, nadir, front, top):
    """Return a positive range of each objective; see `emoref_kernels.reference.normalising.units`.

    Parameters
    ----------
    ideal, nadir, front, top
        Float64 (M,).

    Returns
    -------
    ndarray of float64, shape (M,)
        Ranges, positive and finite.
    """
    result = np.ones(ideal.size)
    for m in range(ideal.size):
        for end in (top[m], front[m], nadir[m]):
            width = end - ideal[m]
            if width > 0.0 and np.isfinite(width):
                result[m] = width
    return result


@jit()
def extreme_rows(points, ideal, unit, cut):
    """Find the point nearest to each axis; see `emoref_kernels.reference.normalising.extreme_rows`.

    The largest of all objectives but one is the largest of all or the second largest, so that a pass over
    the points is enough for all axes.

    Parameters
    ----------
    points, ideal, unit, cut
        Float64 (N, M), (M,) and (M,), and a number.

    Returns
    -------
    ndarray of int64, shape (M,)
        Rows, one an axis.
    """
    objectives = ideal.size
    nearest = np.zeros(objectives, np.int64)
    smallest = np.full(objectives, np.inf)
    own = np.empty(objectives)
    for i in range(len(points)):
        largest, second, where = -np.inf, -np.inf, 0
        known = True
        for m in range(objectives):
            value = (points[i, m] - ideal[m]) / unit[m]
            if value < cut:
                value = 0.0
            known = known and not np.isnan(value)
            own[m] = value
            off = value / _OFF_AXIS
            if off > largest:
                largest, second, where = off, largest, m
            elif off > second:
                second = off
        if not known:
            nearest[:] = i
            break
        for m in range(objectives):
            value = max(own[m], second if where == m else largest)
            if value < smallest[m]:
                smallest[m] = value
                nearest[m] = i
    return nearest


@jit()
def any_equal(points):
    """Look for two points of the same bits; see `emoref_kernels.reference.normalising.any_equal`.

    Parameters
    ----------
    points
        Float64 (N, M), C-contiguous.

    Returns
    -------
    bool
        True if there are any.
    """
    bits = points.view(np.int64)
    for i in range(len(bits)):
        for j in range(i):
            m = 0
            while m < bits.shape[1] and bits[i, m] == bits[j, m]:
                m += 1
            if m == bits.shape[1]:
                return True
    return False


@jit()
def solves(extremes, plane):
    """Check that points lie on a plane; see `emoref_kernels.reference.normalising.solves`.

    Parameters
    ----------
    extremes, plane
        Float64 (M, M) and (M,).

    Returns
    -------
    bool
        False also if the plane is not finite.
    """
    for i in range(plane.size):
        product = 0.0
        for m in range(plane.size):
            product += extremes[i, m] * plane[m]
        if not (np.isfinite(plane[i]) and abs(product - 1.0) < 1e-5):
            return False
    return True


@jit()
def scale(F, ideal, nadir):
    """Normalise objectives; see `emoref_kernels.reference.normalising.scale`.

    Parameters
    ----------
    F, ideal, nadir
        Float64 (N, M), (M,) and (M,).

    Returns
    -------
    ndarray of float64, shape (N, M)
        Normalised values; 1 where the result is no finite number.
    """
    scaled = np.empty(F.shape)
    for i in range(len(F)):
        for m in range(ideal.size):
            value = (F[i, m] - ideal[m]) / (nadir[m] - ideal[m])
            scaled[i, m] = value if np.isfinite(value) else 1.0
    return scaled
