"""How good a set of points is, measured against a known front or a reference point.

Smaller is better for all but the hypervolume (see also `emoref.emo.contributions`). Published values can
only be compared if formula and front agree: beware the trap in `igd`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.ranking import hypervolume
from emoref.errors import ProblemError, ShapeError
from emoref_kernels.pareto_checks import check_objectives, check_reference_point

__all__ = [
    "additive_epsilon",
    "gd",
    "gd_plus",
    "hypervolume",
    "igd",
    "igd_plus",
    "multiplicative_epsilon",
    "r2",
    "spacing",
    "spread",
]


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


def additive_epsilon(F: Any, front: Any) -> float:
    """Compute the additive epsilon indicator, how far F must move to be as good as the front.

    I_eps+ = max over z in front of min over a in F of max over m of (a_m - z_m).

    With this value taken from every objective of every point, F weakly dominates each point of the front. It
    is below zero if F is better than the front everywhere. The worst served point of the front decides alone.

    Parameters
    ----------
    F
        Points (N, M).
    front
        Points that stand for the true front, or another set to be compared with (K, M).

    Returns
    -------
    float
        The shift, in the unit of the objectives; scale them first if their units differ.

    Raises
    ------
    ShapeError, DtypeError, ProblemError
        As `gd`.

    Notes
    -----
    Source: Zitzler, Thiele, Laumanns, Fonseca, Grunert da Fonseca, "Performance assessment of multiobjective
    optimizers: an analysis and review", IEEE Transactions on Evolutionary Computation 7(2), 2003.

    Examples
    --------
    >>> additive_epsilon([[1, 4], [3, 2]], [[0, 4], [2, 1], [3, 0]])
    2.0
    """
    F, front = _pair(F, front)
    worst = np.full((len(F), len(front)), -np.inf)
    for m in range(F.shape[1]):
        np.maximum(worst, F[:, m, None] - front[None, :, m], out=worst)
    return float(worst.min(axis=0).max())


def multiplicative_epsilon(F: Any, front: Any) -> float:
    """Compute the multiplicative epsilon indicator, by which factor F is worse than the front.

    I_eps = max over z in front of min over a in F of max over m of (a_m / z_m).

    Divided by this value, F weakly dominates each point of the front; 1 is as good as the front. Scaling an
    objective does not change the value, but a shift does, and every objective must be positive.

    Parameters
    ----------
    F
        Points (N, M), all values above 0.
    front
        Points that stand for the true front, or another set to be compared with (K, M), all values above 0.

    Returns
    -------
    float
        The factor.

    Raises
    ------
    ShapeError, DtypeError
        As `gd`.
    ProblemError
        As `gd`, or if a value is not above 0.

    Notes
    -----
    Source: as for `additive_epsilon`.

    Examples
    --------
    >>> multiplicative_epsilon([[1, 4], [3, 2]], [[1, 2], [2, 1]])
    2.0
    """
    F, front = _pair(F, front)
    if F.min() <= 0.0 or front.min() <= 0.0:
        raise ProblemError("the multiplicative epsilon indicator needs objective values above 0")
    worst = np.zeros((len(F), len(front)))
    for m in range(F.shape[1]):
        np.maximum(worst, F[:, m, None] / front[None, :, m], out=worst)
    return float(worst.min(axis=0).max())


def spread(F: Any, front: Any) -> float:
    """Compute Deb's spread Delta, how uneven the gaps of points with two objectives are.

    Delta = (d_f + d_l + sum over i of |d_i - mean d|) / (d_f + d_l + (N - 1) mean d)

    With the points in the order of the first objective, d_i (i = 1, ..., N - 1) is the distance from point
    i to the next; d_f and d_l are the distances from the first and the last point to the ends of the true
    front. It is 0 if all gaps are equal and both ends are reached. How near the front is does not count.

    Parameters
    ----------
    F
        Points (N, 2), usually the non-dominated ones alone.
    front
        Points of the true front (K, 2); its ends are the points smallest in either objective.

    Returns
    -------
    float
        The spread, at least 0 and usually below 1.

    Raises
    ------
    ShapeError
        As `gd`, or if there are not two objectives, for which alone the order is defined.
    DtypeError, ProblemError
        As `gd`.

    Notes
    -----
    Source: Deb et al. 2002, section IV. A single point has no gap, so it gets 1, or 0 if it
    is the whole front (not published; emoref uses the formula with an empty sum, and 0 for 0/0).

    Examples
    --------
    >>> spread([[0, 4], [3, 0]], [[0, 4], [3, 0]])
    0.0
    """
    F, front = _pair(F, front)
    if F.shape[1] != 2:
        raise ShapeError(f"the spread is defined for 2 objectives, not for {F.shape[1]}; use spacing")
    line = F[np.lexsort((-F[:, 1], F[:, 0]))]
    gaps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    start = front[np.lexsort((front[:, 1], front[:, 0]))[0]]
    end = front[np.lexsort((front[:, 0], front[:, 1]))[0]]
    missing = float(np.linalg.norm(line[0] - start) + np.linalg.norm(line[-1] - end))
    whole = missing + float(gaps.sum())
    if whole == 0.0:
        return 0.0
    uneven = float(np.abs(gaps - gaps.mean()).sum()) if len(gaps) else 0.0
    return (missing + uneven) / whole


def spacing(F: Any) -> float:
    """Compute Schott's spacing, the standard deviation of the distances to the nearest neighbour.

    S = sqrt((1 / (N - 1)) sum over i of (d_i - mean d)**2), where
    d_i = min over j != i of sum over m of |f_im - f_jm|.

    It is 0 if each point has its nearest neighbour at the same distance, so for two pairs far apart, too.
    Unlike `spread` it needs no true front and takes any number of objectives.

    Parameters
    ----------
    F
        Points (N, M), N >= 2, usually the non-dominated ones alone.

    Returns
    -------
    float
        The deviation, in the unit of the objectives; scale them first if their units differ.

    Raises
    ------
    ShapeError, DtypeError
        As `gd`.
    ProblemError
        If a value is not finite, or there are fewer than two points.

    Notes
    -----
    Source: Schott, "Fault tolerant design using single and multicriteria genetic algorithm optimization",
    master's thesis, MIT, 1995.

    Examples
    --------
    >>> spacing([[0, 3], [1, 2], [3, 0]])
    1.1547005383792515
    """
    F = _finite(F)
    if len(F) < 2:
        raise ProblemError("the spacing of a single point is not defined; it needs at least two")
    distances = np.zeros((len(F), len(F)))
    for m in range(F.shape[1]):
        distances += np.abs(F[:, m, None] - F[None, :, m])
    np.fill_diagonal(distances, np.inf)
    return float(distances.min(axis=1).std(ddof=1))


def r2(F: Any, weights: Any, ideal: Any) -> float:
    """Compute the unary R2 indicator, the mean of the best weighted Tchebycheff values.

    R2 = (1 / |W|) sum over w in W of min over a in F of max over m of w_m |a_m - z_m|

    Each weight vector stands for somebody to whom the objectives matter in these proportions, and who takes
    the point of F that suits them best.

    Parameters
    ----------
    F
        Points (N, M).
    weights
        Weight vectors W (K, M), not negative; each usually adds up to 1.
    ideal
        The ideal or utopian point z (M,).

    Returns
    -------
    float
        The mean value, smaller is better.

    Raises
    ------
    ShapeError, DtypeError
        If an array's shape does not fit or it is not numeric.
    ProblemError
        If a value is not finite or a weight is negative.

    Notes
    -----
    Source: Hansen and Jaszkiewicz, "Evaluating the quality of approximations to the non-dominated set",
    technical report IMM-REP-1998-7, 1998, in the unary form of Brockhoff, Wagner, Trautmann, "On the
    properties of the R2 indicator", GECCO 2012.

    Examples
    --------
    >>> r2([[1, 4], [3, 2]], [[1, 0], [0.5, 0.5], [0, 1]], [0, 0])
    1.5
    """
    F, W = _pair(F, weights, what="the set of weights")
    if W.min() < 0.0:
        raise ProblemError("a weight is negative; the weights of R2 must be at least 0")
    z = check_reference_point(ideal, F.shape[1])
    distance = np.abs(F - z)
    worst = np.zeros((len(F), len(W)))
    for m in range(F.shape[1]):
        np.maximum(worst, distance[:, m, None] * W[None, :, m], out=worst)
    return float(worst.min(axis=0).mean())


def _finite(F: Any) -> NDArray[np.float64]:
    values = check_objectives(F)
    if not np.isfinite(values).all():
        raise ProblemError("distances need finite objective values; leave out failed evaluations")
    return values


def _pair(F: Any, front: Any, *, what: str = "the front") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    F, front = _finite(F), _finite(front)
    if F.shape[1] != front.shape[1]:
        raise ShapeError(f"F has {F.shape[1]} objectives, but {what} has {front.shape[1]}")
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
