"""Choosing from a front: which of many trade-offs to take."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.errors import DtypeError, ProblemError, ShapeError
from emoref_kernels.pareto_checks import check_objectives, check_reference_point

__all__ = ["achievement", "best_under", "by_weights", "evenly_spaced", "knee", "pseudo_weights"]

_SMALLEST_WEIGHT = 1e-6
"""Weight of an objective that hardly may fail, in place of the 0 that cannot be divided by."""


def evenly_spaced(F: Any, count: int, axis: int = 0) -> NDArray[np.int64]:
    """Choose solutions whose values of one objective are as evenly spaced as the front allows.

    `count` targets divide the range of the objective evenly, both ends included; from the lowest to the
    highest, each takes the nearest solution that is not yet used, of equally near ones the first.

    Parameters
    ----------
    F
        Objective values of the front (N, M).
    count
        Number of solutions, at least 1. One is taken from the middle; all are if there are no more.
    axis
        The objective.

    Returns
    -------
    numpy.ndarray
        Rows, in ascending order of the objective, int64 (min(count, N),).

    Raises
    ------
    ShapeError, DtypeError, ProblemError
        If `F` is empty or not finite, `axis` is no objective, or `count` is below 1.

    Notes
    -----
    EMOFP (Wu et al., Sensors 21, 2021) selects solutions uniformly from the Pareto set; the rule in
    detail is not published, emoref uses this one.

    Examples
    --------
    >>> evenly_spaced([[0.0, 9.0], [0.1, 7.0], [0.4, 3.0], [1.0, 1.0]], 3)
    array([0, 2, 3])
    """
    values = _finite(F)[:, _checked_axis(F, axis)]
    if count < 1:
        raise ProblemError(f"count is {count}; at least one solution must be chosen")
    if count >= len(values):
        return np.argsort(values, kind="stable")
    low, high = values.min(), values.max()
    targets = np.linspace(low, high, count) if count > 1 else [(low + high) / 2]
    free = np.ones(len(values), dtype=np.bool_)
    for target in targets:
        distance = np.where(free, np.abs(values - target), np.inf)
        free[distance.argmin()] = False
    chosen = np.flatnonzero(~free)
    return chosen[np.argsort(values[chosen], kind="stable")]


def knee(F: Any) -> int:
    """Choose the solution that bulges farthest towards the ideal point.

    Objectives are scaled to [0, 1] over the front. The line through the two extreme solutions, for more
    objectives the plane through the points (1, 0, ...), (0, 1, ...), ..., then is sum of f = 1; the knee is
    the solution farthest below it, of equally far ones the first. A constant objective does not count.

    Parameters
    ----------
    F
        Objective values of the front (N, M).

    Returns
    -------
    int
        Row of the knee.

    Raises
    ------
    ShapeError, DtypeError, ProblemError
        If `F` is empty or not finite.

    Notes
    -----
    Source: Das, "On characterizing the 'knee' of the Pareto curve based on normal-boundary intersection",
    Structural Optimization 18, 1999. Scaling by the front's own range is not published; emoref uses it so
    that the choice does not depend on units.

    Examples
    --------
    >>> knee([[0, 10], [1, 4], [5, 1], [10, 0]])
    1
    """
    values = _finite(F)
    low = values.min(axis=0)
    width = values.max(axis=0) - low
    scaled = (values - low) / np.where(width > 0.0, width, 1.0)
    return int(scaled.sum(axis=1).argmin())


def best_under(F: Any, axis: int, budget: float, objective: int | None = None) -> int:
    """Choose the best solution that keeps a budget.

    Parameters
    ----------
    F
        Objective values of the front (N, M).
    axis
        The objective that is limited.
    budget
        Its largest allowed value.
    objective
        The objective to be smallest; None for the first that is not `axis`. Of equally good solutions the
        one that uses least of the budget is taken, then the first.

    Returns
    -------
    int
        Row of the solution.

    Raises
    ------
    ShapeError, DtypeError, ProblemError
        If `F` is empty or not finite, an objective does not exist, or no solution keeps the budget.

    Examples
    --------
    >>> best_under([[0, 10], [1, 4], [5, 1], [10, 0]], axis=0, budget=6)
    2
    """
    values = _finite(F)
    axis = _checked_axis(F, axis)
    if objective is None:
        objective = 1 if axis == 0 and values.shape[1] > 1 else 0
    objective = _checked_axis(F, objective)
    fits = np.flatnonzero(values[:, axis] <= budget)
    if len(fits) == 0:
        raise ProblemError(
            f"no solution has objective {axis} at most {budget}; the smallest is {values[:, axis].min()}"
        )
    order = np.lexsort((values[fits, axis], values[fits, objective]))
    return int(fits[order[0]])


def pseudo_weights(F: Any) -> NDArray[np.float64]:
    """Compute how much each solution seems to care about each objective.

    w_im = ((max f_m - f_im) / (max f_m - min f_m)) / sum over k of ((max f_k - f_ik) / (max f_k - min f_k))

    with the extremes over the front: the share of an objective in all that the solution gains over the worst
    values. A constant objective gains nothing.

    Parameters
    ----------
    F
        Objective values of the front (N, M).

    Returns
    -------
    numpy.ndarray
        Weights, float64 (N, M), at least 0; each row adds up to 1. A solution that gains nothing at all,
        like the only one of a front, has equal weights (not published; emoref uses it in place of 0/0).

    Raises
    ------
    ShapeError, DtypeError, ProblemError
        If `F` is empty or not finite.

    Notes
    -----
    Source: Deb, "Multi-objective optimization using evolutionary algorithms", Wiley, 2001.

    Examples
    --------
    >>> pseudo_weights([[0, 10], [1, 4], [10, 0]])
    array([[1. , 0. ],
           [0.6, 0.4],
           [0. , 1. ]])
    """
    values = _finite(F)
    high = values.max(axis=0)
    width = high - values.min(axis=0)
    gain = (high - values) / np.where(width > 0.0, width, 1.0)
    total = gain.sum(axis=1, keepdims=True)
    shares = gain / np.where(total > 0.0, total, 1.0)
    return np.where(total > 0.0, shares, 1.0 / values.shape[1])


def by_weights(F: Any, weights: Any) -> int:
    """Choose the solution whose pseudo weights are nearest to given ones.

    Parameters
    ----------
    F
        Objective values of the front (N, M).
    weights
        How much each objective matters (M,), at least 0; only their ratios count.

    Returns
    -------
    int
        Row of the solution: smallest sum of absolute differences, of equally near ones the first.

    Raises
    ------
    ShapeError, DtypeError
        If `F` is empty or the weights do not fit.
    ProblemError
        If `F` is not finite, or the weights are negative or all 0.

    Examples
    --------
    >>> by_weights([[0, 10], [1, 4], [10, 0]], [2, 1])
    1
    """
    wanted = _checked_weights(weights, _finite(F).shape[1])
    if wanted.sum() == 0.0:
        raise ProblemError("all weights are 0; at least one objective must matter")
    return int(np.abs(pseudo_weights(F) - wanted / wanted.sum()).sum(axis=1).argmin())


def achievement(
    F: Any, weights: Any, reference: Any = None, *, augmentation: float = 0.0
) -> NDArray[np.float64]:
    """Compute the achievement scalarising function, by how much each solution misses a point of reference.

    s_i = max over m of (f_im - z_m) / w_m + augmentation * sum over m of (f_im - z_m) / w_m

    The solution of the smallest value lies where a ray from the reference point z in the direction of the
    weights meets the front, or nearest to it. A value of at most 0 means that all aspirations z are met. The
    reference point may lie before or behind the front.

    Parameters
    ----------
    F
        Objective values of the front (N, M).
    weights
        How much of each objective counts as one unit of failure (M,), at least 0. The *smaller*, the more the
        objective matters. Weights below 1e-6 count as 1e-6.
    reference
        The values aspired to, z (M,); None for the ideal point of F.
    augmentation
        Weight of the sum, at least 0. A small one, such as 1e-4, rules out solutions which are no better in
        the worst objective and worse in the others.

    Returns
    -------
    numpy.ndarray
        One value a solution, float64 (N,); the smallest is the best.

    Raises
    ------
    ShapeError, DtypeError
        If `F` is empty, or the weights or the reference point do not fit.
    ProblemError
        If `F` is not finite, a weight is negative or the augmentation is.

    Notes
    -----
    Source: Wierzbicki, "The use of reference objectives in multiobjective optimization", in Multiple
    Criteria Decision Making: Theory and Application, Springer, 1980. The smallest weight is that of Deb and
    Jain's search for extreme points (NSGA-III, IEEE Transactions on Evolutionary Computation 18(4), 2014).

    Examples
    --------
    >>> achievement([[0, 10], [1, 4], [10, 0]], [1, 2])
    array([ 5.,  2., 10.])
    """
    values = _finite(F)
    w = np.maximum(_checked_weights(weights, values.shape[1]), _SMALLEST_WEIGHT)
    z = values.min(axis=0) if reference is None else check_reference_point(reference, values.shape[1])
    if not 0.0 <= augmentation < np.inf:
        raise ProblemError(f"augmentation is {augmentation}; it must be at least 0")
    missed = (values - z) / w
    return missed.max(axis=1) + augmentation * missed.sum(axis=1)


def _checked_weights(weights: Any, objectives: int) -> NDArray[np.float64]:
    values = np.asarray(weights)
    if values.shape != (objectives,):
        raise ShapeError(
            f"the weights have shape {values.shape}; with {objectives} objectives it must be ({objectives},)"
        )
    if values.dtype.kind not in "fiub":
        raise DtypeError(f"the weights are {values.dtype}; they must be real numbers")
    values = values.astype(np.float64)
    if not (np.isfinite(values).all() and values.min() >= 0.0):
        raise ProblemError(f"the weights are {values.tolist()}; each must be finite and at least 0")
    return values


def _finite(F: Any) -> NDArray[np.float64]:
    values = check_objectives(F)
    if not np.isfinite(values).all():
        raise ProblemError("choosing needs finite objective values; leave out failed evaluations")
    return values


def _checked_axis(F: Any, axis: int) -> int:
    objectives = np.shape(F)[1]
    if not 0 <= axis < objectives:
        raise ProblemError(f"axis is {axis}; with {objectives} objectives it must be in 0..{objectives - 1}")
    return axis
