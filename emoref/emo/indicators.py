"""How good a set of points is, measured against a known front or a reference point.

Smaller is better for all but the hypervolume. Published values can only be compared if formula and front
agree: beware the trap in `igd`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.ranking import hypervolume
from emoref.errors import ProblemError, ShapeError
from emoref_kernels.pareto_checks import check_objectives

__all__ = ["gd", "gd_plus", "hypervolume", "igd", "igd_plus"]


def gd(F: Any, front: Any) -> float:
    """Compute the generational distance, the mean distance from a point to the nearest one of the front.

    GD = (1 / |F|) sum over a in F of min over z in front of ||a - z||.

    Deb et al. (2002) call this gamma and take 500 points of the true front. Van Veldhuizen's original
    divides the root of the summed squares by |F| instead.

    Parameters
    ----------
    F
        Points (N, M).
    front
        Points of the true front (K, M).

    Returns
    -------
    float
        The distance, in the unit of the objectives.

    Raises
    ------
    ShapeError, DtypeError, ProblemError
        If a set is empty, not numeric, not finite, or the numbers of objectives differ.
    """
    F, front = _pair(F, front)
    return float(_distances(F, front).min(axis=1).mean())


def gd_plus(F: Any, front: Any) -> float:
    """Compute the modified generational distance GD+: as `gd`, with the distance d+(a, z) of `igd_plus`.

    Parameters
    ----------
    F
        Points (N, M).
    front
        Points of the true front (K, M).

    Returns
    -------
    float
        The distance, in the unit of the objectives.

    Raises
    ------
    ShapeError, DtypeError, ProblemError
        As `gd`.
    """
    F, front = _pair(F, front)
    return float(_distances(F, front, plus=True).min(axis=1).mean())


def igd(F: Any, front: Any) -> float:
    """Compute the inverted generational distance, the mean distance from a point of the front to F.

    IGD = (1 / |front|) sum over z in front of min over a in F of ||z - a||.

    The trap: the value depends on the points that stand for the front. The tables of NSGA-III use one
    point for each reference line, so a perfect population has IGD 0. Against a dense sample of the same
    front, the same 91 perfect points of DTLZ2 with three objectives get 0.0545. Some programs also
    compute sqrt(sum of squares) / |front|, which is smaller and cannot be compared.

    Parameters
    ----------
    F
        Points (N, M).
    front
        Points that stand for the true front (K, M).

    Returns
    -------
    float
        The distance, in the unit of the objectives.

    Raises
    ------
    ShapeError, DtypeError, ProblemError
        As `gd`.
    """
    F, front = _pair(F, front)
    return float(_distances(F, front).min(axis=0).mean())


def igd_plus(F: Any, front: Any) -> float:
    """Compute the modified inverted generational distance IGD+, which never prefers a dominated set.

    IGD+ = (1 / |front|) sum over z in front of min over a in F of d+(a, z), where
    d+(a, z) = sqrt(sum over m of max(a_m - z_m, 0)**2) counts only what a is worse in.

    Parameters
    ----------
    F
        Points (N, M).
    front
        Points that stand for the true front (K, M).

    Returns
    -------
    float
        The distance, in the unit of the objectives.

    Raises
    ------
    ShapeError, DtypeError, ProblemError
        As `gd`.

    Notes
    -----
    Source: Ishibuchi, Masuda, Tanigaki, Nojima, "Modified distance calculation in generational distance
    and inverted generational distance", EMO 2015.
    """
    F, front = _pair(F, front)
    return float(_distances(F, front, plus=True).min(axis=0).mean())


def _pair(F: Any, front: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    F, front = check_objectives(F), check_objectives(front)
    if F.shape[1] != front.shape[1]:
        raise ShapeError(f"F has {F.shape[1]} objectives, but the front has {front.shape[1]}")
    if not (np.isfinite(F).all() and np.isfinite(front).all()):
        raise ProblemError("distances need finite objective values; leave out failed evaluations")
    return F, front


def _distances(
    F: NDArray[np.float64], front: NDArray[np.float64], *, plus: bool = False
) -> NDArray[np.float64]:
    """Return the distance (or d+) of each point (rows) from each point of the front (columns)."""
    squares = np.zeros((len(F), len(front)))
    for m in range(F.shape[1]):
        difference = F[:, m, None] - front[None, :, m]
        squares += (np.maximum(difference, 0.0) if plus else difference) ** 2
    return np.sqrt(squares)
