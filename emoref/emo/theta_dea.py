"""theta-DEA: Yuan, Xu, Wang and Yao, IEEE Trans. Evol. Comput. 20(1), 2016."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.normalisation import Normalisation, Normaliser
from emoref.emo.nsga3 import Sorted, associate, normalise_feasible, sort_fronts
from emoref.emo.population import Population
from emoref.emo.problem import Problem
from emoref.emo.reference_algorithm import ReferencePointAlgorithm
from emoref.errors import ProblemError

__all__ = ["ThetaDEA", "ThetaSurvival", "penalties", "theta_fitness", "theta_ranks", "theta_selection"]

THETA = 5.0
"""Weight of the distance from the reference line."""

AXIS_THETA = 1e6
"""The same for reference points on an axis, so that the ends of the front are found."""

_ON_AXIS = 1e-4
"""A reference point is on an axis if one coordinate only is larger than this."""


def penalties(
    reference_points: NDArray[np.float64], theta: float = THETA, axis_theta: float = AXIS_THETA
) -> NDArray[np.float64]:
    """Give each reference point its theta: a large one to those on an axis.

    Parameters
    ----------
    reference_points
        Points (H, M).
    theta, axis_theta
        Values for points off and on the axes.

    Returns
    -------
    numpy.ndarray
        Values (H,).

    Notes
    -----
    Source: Yuan et al. 2016; 1e-4 as the bound of an axis from PlatEMO.

    Examples
    --------
    >>> penalties(np.array([[1.0, 0.0], [0.5, 0.5]])).tolist()
    [1000000.0, 5.0]
    """
    on_axis = (reference_points > _ON_AXIS).sum(axis=1) == 1
    return np.where(on_axis, axis_theta, theta)


def theta_fitness(
    F: NDArray[np.float64],
    niches: NDArray[np.int64],
    distances: NDArray[np.float64],
    reference_points: NDArray[np.float64],
    thetas: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Compute d1 + theta * d2: how far along its reference line, and how far from it, a candidate is.

    Parameters
    ----------
    F
        Normalised objective values (N, M).
    niches, distances
        Reference point of each candidate, and the distance d2 to its line (N,); see
        `emoref.emo.nsga3.associate`.
    reference_points
        Points (H, M).
    thetas
        Theta of each reference point (H,).

    Returns
    -------
    numpy.ndarray
        Values (N,); smaller is better, within a niche.

    Notes
    -----
    Source: Yuan et al. 2016, where it is called F_j(x); it is MOEA/D's penalty-based boundary intersection
    (PBI), `emoref.emo.scalarisation.boundary_intersection`, from the distance that is already known.

    Examples
    --------
    (3, 1) is 3 along the first axis, and 1 from it:

    >>> W = np.array([[1.0, 0.0]])
    >>> theta_fitness(np.array([[3.0, 1.0]]), np.array([0]), np.array([1.0]), W, np.array([5.0]))
    array([8.])
    """
    lines = reference_points / np.sqrt((reference_points**2).sum(axis=1, keepdims=True))
    along = np.zeros(len(F))
    for f, w in zip(F.T, lines[niches].T, strict=True):
        along += f * w
    return along + thetas[niches] * distances


def theta_ranks(niches: NDArray[np.int64], fitness: NDArray[np.float64]) -> NDArray[np.int64]:
    """Sort candidates by theta-dominance.

    One candidate theta-dominates another of the same niche that has a larger fitness, and none of another
    niche. So the best of each niche have rank 0, the second best rank 1, and so on; equals share a rank.

    Parameters
    ----------
    niches
        Reference point of each candidate (N,).
    fitness
        Its `theta_fitness` (N,).

    Returns
    -------
    numpy.ndarray
        Ranks from 0, int64 (N,).

    Notes
    -----
    Source: Yuan et al. 2016, definition of theta-dominance.

    Examples
    --------
    >>> theta_ranks(np.array([0, 0, 1, 0, 0]), np.array([3.0, 1.0, 9.0, 3.0, 4.0]))
    array([1, 0, 0, 1, 2])
    """
    order = np.lexsort([fitness, niches])
    same_niche = np.diff(niches[order], prepend=-1) == 0
    worse = np.diff(fitness[order], prepend=np.nan) > 0
    ranks = np.zeros(len(niches), dtype=np.int64)
    rank = 0
    for row, stays, falls in zip(order.tolist(), same_niche.tolist(), worse.tolist(), strict=True):
        rank = rank + falls if stays else 0
        ranks[row] = rank
    return ranks


@dataclass(frozen=True, eq=False)
class ThetaSurvival:
    """Who survives, and all that the decision was made from.

    Parameters
    ----------
    survivors
        Rows of the survivors: whole theta-fronts first, (n,).
    ranks
        Pareto ranks of all candidates, (N,).
    theta_ranks
        Ranks by theta-dominance; -1 for candidates that are infeasible, failed, or in Pareto fronts that
        were not looked at, (N,).
    niches, distances, fitness
        Reference point, distance d2 to its line, and d1 + theta * d2; -1 and NaN for the same, (N,).
    normalisation
        The normalisation of the feasible candidates; None if there is none.
    """

    survivors: NDArray[np.int64]
    ranks: NDArray[np.int64]
    theta_ranks: NDArray[np.int64]
    niches: NDArray[np.int64]
    distances: NDArray[np.float64]
    fitness: NDArray[np.float64]
    normalisation: Normalisation | None


def theta_selection(
    F: NDArray[np.float64],
    size: int,
    reference_points: NDArray[np.float64],
    normaliser: Normaliser,
    rng: np.random.Generator,
    G: NDArray[np.float64] | None = None,
    *,
    theta: float = THETA,
    axis_theta: float = AXIS_THETA,
    normalisation: str = "theta",
) -> ThetaSurvival:
    """Choose the next population: whole theta-fronts while they fit, then at random from the next.

    Only the Pareto fronts that are needed to fill the population take part (the paper's S_t). Infeasible
    candidates come after all feasible ones, by total violation, and failed ones last.

    Parameters
    ----------
    F
        Objective values (N, M) of parents and offspring together.
    size
        Number of survivors. All survive if there are no more.
    reference_points
        Reference points (H, M).
    normaliser
        State of the normalisation after the previous generation.
    rng
        Source of random numbers, for the theta-front that is cut.
    G
        Constraint values (N, K), at most 0 is feasible; None for no constraint.
    theta, axis_theta
        Penalties; see `penalties`.
    normalisation
        Variant; see `emoref.emo.normalisation.normalise`.

    Returns
    -------
    ThetaSurvival
        Survivors, both kinds of rank, niches, fitness and the normalisation with its new state.

    Notes
    -----
    Source: Yuan et al. 2016, algorithm 1. What to do with constraints is not published; emoref treats them
    as NSGA-III does.
    """
    fronts = sort_fronts(F, size, G)
    normalised = normalise_feasible(F, fronts, normaliser, normalisation)
    unseen = np.full(len(F), -1, dtype=np.int64)
    by_theta, niches = unseen, unseen.copy()
    distances, fitness = np.full(len(F), np.nan), np.full(len(F), np.nan)
    if normalised is None:
        survivors = fronts.best_first[: fronts.size]
        return ThetaSurvival(survivors, fronts.ranks, by_theta, niches, distances, fitness, None)

    rows = fronts.considered
    unit = normalised.F[fronts.ranks[fronts.feasible] <= fronts.last_rank]
    near = associate(unit, reference_points)
    niches[rows], distances[rows] = near.niches, near.distances
    thetas = penalties(reference_points, theta, axis_theta)
    fitness[rows] = theta_fitness(unit, near.niches, near.distances, reference_points, thetas)
    by_theta[rows] = theta_ranks(near.niches, fitness[rows])
    survivors = _fill(fronts, by_theta, niches, rng)
    return ThetaSurvival(survivors, fronts.ranks, by_theta, niches, distances, fitness, normalised)


def _fill(
    fronts: Sorted, by_theta: NDArray[np.int64], niches: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return whole theta-fronts and a random part of the next; once these are used up, infeasible rows."""
    rows = fronts.considered
    # In the order of niches, the draw does not depend on the order of the rows.
    rows = rows[np.lexsort([niches[rows], by_theta[rows]])]
    if len(rows) <= fronts.size:
        best_first = fronts.best_first
        return np.concatenate([rows, best_first[~np.isin(best_first, rows)]])[: fronts.size]
    last = by_theta[rows[fronts.size - 1]]
    whole, cut = rows[by_theta[rows] < last], rows[by_theta[rows] == last]
    return np.concatenate([whole, cut[rng.permutation(len(cut))[: fronts.size - len(whole)]]])


class ThetaDEA(ReferencePointAlgorithm):
    """The evolutionary algorithm that sorts by theta-dominance.

    One generation, with P the population (algorithm 1 of the paper)::

        Q = offspring of parents drawn from P at random                  ask
        evaluate Q                                                       the caller, or step
        S = the first Pareto fronts of P + Q, enough to fill P           tell: theta_selection: sort_fronts
        update the ideal point and the nadir, normalise S                  normalise
        find the reference point nearest to each: clusters                 associate
        sort S by theta-dominance within the clusters                      theta_fitness, theta_ranks
        P = whole theta-fronts while they fit, then at random

    NSGA-III prefers Pareto rank, which with many objectives hardly tells candidates apart, and looks at
    the distance to the reference line only. Here, who is nearer to the ideal point along the line is better
    too, at the price of theta = 5 for the distance from it.

    Parameters
    ----------
    problem, reference_points, population_size, seed, normalisation, crossover, **options
        See `emoref.emo.reference_algorithm.ReferencePointAlgorithm`, which also says who mates. The default
        normalisation is the paper's, with the additions that `emoref.emo.normalisation.normalise` names.
    theta, axis_theta
        Penalties for reference points off and on the axes.

    Attributes
    ----------
    survival : ThetaSurvival or None
        The last environmental selection. Not part of the state.
    normaliser : emoref.emo.normalisation.Normaliser
        What is remembered of earlier points. Part of the state.

    Raises
    ------
    ProblemError, ShapeError
        If the problem, the reference points, a size or a setting makes no sense.

    Notes
    -----
    Population sizes and operators are those of NSGA-III.
    """

    survival: ThetaSurvival | None = None

    def __init__(
        self,
        problem: Problem,
        *,
        reference_points: Any,
        theta: float = THETA,
        axis_theta: float = AXIS_THETA,
        **options: Any,
    ) -> None:
        super().__init__(problem, reference_points=reference_points, **options)
        for name, value in (("theta", theta), ("axis_theta", axis_theta)):
            if not (np.isfinite(value) and value >= 0.0):
                raise ProblemError(f"{name} is {value!r}; it must be a number of at least 0")
        self.theta = float(theta)
        self.axis_theta = float(axis_theta)

    def _survive(self, candidates: Population) -> Population:
        self.survival = theta_selection(
            candidates.F,
            self.population_size,
            self.reference_points,
            self.normaliser,
            self._niching_rng(),
            candidates.G,
            theta=self.theta,
            axis_theta=self.axis_theta,
            normalisation=self.normalisation,
        )
        self._remember(self.survival.normalisation)
        return candidates.take(self.survival.survivors)

    def _restore_own(self, state: Mapping[str, Any]) -> None:
        super()._restore_own(state)
        self.survival = None
