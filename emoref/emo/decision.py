"""Choosing from a front: which of many trade-offs to take."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.errors import ProblemError
from emoref_kernels.pareto_checks import check_objectives

__all__ = ["best_under", "evenly_spaced", "knee"]


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
