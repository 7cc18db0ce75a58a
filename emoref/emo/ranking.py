"""Which point is better than which: Pareto ranks, constrained ranks, crowding, hypervolume."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu import pareto

__all__ = [
    "constrained_ranks",
    "constraint_violation",
    "crowding_distance",
    "fronts",
    "hypervolume",
    "nondominated_ranks",
]

nondominated_ranks = pareto.nondominated_ranks
crowding_distance = pareto.crowding_distance


def hypervolume(F: Any, reference: Any) -> float:
    """Measure the volume that a set of points dominates, up to a reference point.

    Parameters
    ----------
    F
        Objective values (N, M); N may be 0. Points that are not smaller than the reference point in every
        objective contribute nothing.
    reference
        Reference point (M,), finite.

    Returns
    -------
    float
        The volume, exact up to rounding for any number of objectives.

    Raises
    ------
    ShapeError, DtypeError
        If `F` or `reference` are no arrays of real numbers of these shapes, or `reference` is not finite.
    """
    return pareto.hypervolume(F, reference)


def constraint_violation(G: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up how far each candidate is beyond its constraints.

    Parameters
    ----------
    G
        Constraint values (N, K); at most 0 is feasible. K may be 0.

    Returns
    -------
    numpy.ndarray
        Sum over the constraints of max(0, G), float64 (N,). NaN where a constraint is NaN.

    Notes
    -----
    Source: Deb et al. 2002, section VI. The constraints are added as they are; if their units differ,
    divide each by its limit first.
    """
    return np.maximum(G, 0.0).sum(axis=1)


def constrained_ranks(F: Any, G: Any = None) -> NDArray[np.int64]:
    """Rank candidates by constrained domination.

    A feasible candidate is better than an infeasible one; of two infeasible ones that with the smaller
    total violation is better; two feasible ones compare by Pareto dominance. So the ranks are those of
    the feasible candidates' non-dominated sort, then one rank for each different total violation, in
    ascending order. Infeasible candidates of equal violation share a rank.

    Candidates with a NaN or an infinity among their objectives, or a total violation that is NaN or
    infinite, share one last rank, feasible or not, and change no other rank.

    Parameters
    ----------
    F
        Objective values (N, M), N >= 1.
    G
        Constraint values (N, K); at most 0 is feasible. None for no constraint.

    Returns
    -------
    numpy.ndarray
        Ranks from 0, int64 (N,).

    Raises
    ------
    ShapeError, DtypeError
        If `F` is no two-dimensional, non-empty array of real numbers.

    Notes
    -----
    Source: Deb et al. 2002, definition 1 in section VI. Equal ranks at equal violation and the rule for
    values that are not finite are not published; emoref uses the above.

    Examples
    --------
    >>> constrained_ranks([[5, 5], [0, 0], [1, 1], [2, 2]], [[0.0], [0.3], [-1.0], [0.1]])
    array([1, 3, 0, 2])
    """
    if G is None or np.shape(G)[1:] == (0,):
        return nondominated_ranks(F)
    F, violation = np.asarray(F, dtype=np.float64), constraint_violation(np.asarray(G, dtype=np.float64))
    finite = np.isfinite(F).all(axis=1) & np.isfinite(violation)
    feasible = finite & (violation == 0.0)
    infeasible = finite & ~feasible
    ranks = np.zeros(len(F), dtype=np.int64)
    next_rank = 0
    if feasible.any():
        ranks[feasible] = nondominated_ranks(F[feasible])
        next_rank = int(ranks.max()) + 1
    if infeasible.any():
        levels, ranks_of_levels = np.unique(violation[infeasible], return_inverse=True)
        ranks[infeasible] = next_rank + ranks_of_levels
        next_rank += len(levels)
    ranks[~finite] = next_rank
    return ranks


def fronts(ranks: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """List the rows of each rank.

    Parameters
    ----------
    ranks
        Ranks from 0 without a gap, (N,).

    Returns
    -------
    list of numpy.ndarray
        For each rank, the rows that have it, in ascending order.
    """
    order = np.argsort(ranks, kind="stable")
    return np.split(order, np.cumsum(np.bincount(ranks))[:-1])
