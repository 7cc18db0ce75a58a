"""The parts of NSGA-III's normalisation that run over all points, the definitions.

How they are put together is in `emoref.emo.normalisation`. Source: Deb and Jain 2014, algorithm 2.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["OFF_AXIS", "any_equal", "bounds", "extreme_rows", "scale", "solves", "units"]

OFF_AXIS = 1e-6
"""Weight of the other objectives in the achievement function, as in the paper."""


def bounds(F: NDArray[np.float64], front: NDArray[np.int64]) -> NDArray[np.float64]:
    """Find the smallest and the largest values of all points, and the largest in the first front.

    Parameters
    ----------
    F
        Objective values, float64 (N, M), N >= 1.
    front
        Rows of the first front, at least one.

    Returns
    -------
    ndarray of float64, shape (3, M)
        Smallest, largest, largest of the front. If a value is NaN or infinite, the first is NaN everywhere.
    """
    if not np.isfinite(F).all():
        return np.full((3, F.shape[1]), np.nan)
    return np.stack([F.min(axis=0), F.max(axis=0), F[front].max(axis=0)])


def units(
    ideal: NDArray[np.float64],
    nadir: NDArray[np.float64],
    front: NDArray[np.float64],
    top: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the previous range of each objective, or failing that the front's, the population's, or 1.

    Parameters
    ----------
    ideal
        Ideal point, float64 (M,).
    nadir, front, top
        Upper ends of the ranges to try: the previous nadir, the worst of the front, and the worst of all,
        float64 (M,).

    Returns
    -------
    ndarray of float64, shape (M,)
        Ranges, positive and finite.
    """
    result = np.ones_like(ideal)
    for end in (top, front, nadir):
        with np.errstate(over="ignore", invalid="ignore"):
            width = end - ideal
        result = np.where((width > 0.0) & np.isfinite(width), width, result)
    return result


def extreme_rows(
    points: NDArray[np.float64], ideal: NDArray[np.float64], unit: NDArray[np.float64], cut: float
) -> NDArray[np.int64]:
    """Find for each axis the point that is nearest to it by the achievement function; the first of equals.

    Parameters
    ----------
    points
        Objective values, float64 (N, M), N >= 1.
    ideal, unit
        What is subtracted from the objectives, and what they are then divided by, float64 (M,).
    cut
        Values below this, after the division, count as zero.

    Returns
    -------
    ndarray of int64, shape (M,)
        Rows, one an axis. A point with a NaN is the nearest to every axis.

    Notes
    -----
    Source: Deb and Jain 2014, equation (2).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        translated = (points - ideal) / unit
        translated = np.where(translated < cut, 0.0, translated)
        weights = np.where(np.eye(points.shape[1], dtype=np.bool_), 1.0, OFF_AXIS)
        return np.array([np.argmin((translated / w).max(axis=1)) for w in weights])


def any_equal(points: NDArray[np.float64]) -> bool:
    """Look for two points that are the same, bit for bit.

    Parameters
    ----------
    points
        Points, float64 (N, M).

    Returns
    -------
    bool
        True if there are any. So NaN equals NaN of the same bits, and minus zero differs from zero.
    """
    return len({point.tobytes() for point in points}) < len(points)


def solves(extremes: NDArray[np.float64], plane: NDArray[np.float64]) -> bool:
    """Check that points lie on a plane: that their products with it are 1 up to 1e-5.

    Parameters
    ----------
    extremes
        Points, float64 (M, M).
    plane
        Solution of ``extremes @ plane == 1`` as it was found, float64 (M,).

    Returns
    -------
    bool
        False also if the plane is not finite.
    """
    if not np.isfinite(plane).all():
        return False
    products = np.zeros(len(plane))
    for column, value in zip(extremes.T, plane, strict=True):
        products += column * value
    return bool((np.abs(products - 1.0) < 1e-5).all())


def scale(
    F: NDArray[np.float64], ideal: NDArray[np.float64], nadir: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Translate objectives to the ideal point and divide them by the range up to the nadir.

    Parameters
    ----------
    F
        Objective values, float64 (N, M).
    ideal, nadir
        What becomes 0 and 1, float64 (M,).

    Returns
    -------
    ndarray of float64, shape (N, M)
        Normalised values; 1 where the result is no finite number.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        scaled = (F - ideal) / (nadir - ideal)
    return np.where(np.isfinite(scaled), scaled, 1.0)
