"""SMS-EMOA: Beume, Naujoks, Emmerich, European Journal of Operational Research 181(3), 2007."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.algorithm import Algorithm
from emoref.emo.contributions import hypervolume_contributions
from emoref.emo.nsga3 import sort_fronts
from emoref.emo.population import Population
from emoref.emo.problem import Problem
from emoref.emo.selection import feasibility_tournament, total_violation
from emoref.errors import ProblemError

__all__ = [
    "LATER_FRONTS",
    "SMSEMOA",
    "HypervolumeSurvival",
    "dominating_counts",
    "hypervolume_selection",
    "normalised_contributions",
]

LATER_FRONTS = ("contribution", "dominating")
"""Names of the two published ways to choose who leaves a front that is not the first."""

_SAME = 1e-12
"""Contributions that differ by less than this part of the whole box are equal: the rest is rounding."""


def normalised_contributions(F: NDArray[np.float64], offset: float = 1.0) -> NDArray[np.float64]:
    """Measure the hypervolume that only one point of a front dominates, in units of the front's ranges.

    Each objective is mapped so that the smallest value of the front becomes 0 and the largest 1 (a constant
    one becomes 0); the reference point is 1 + `offset` in every objective. The result therefore does not
    depend on the objectives' units.

    Parameters
    ----------
    F
        Objective values of a front, finite (N, M), N >= 1.
    offset
        Distance of the reference point from the worst values, in ranges; above 0.

    Returns
    -------
    numpy.ndarray
        Contributions, at least 0, float64 (N,).

    Notes
    -----
    In the paper the reference point is the worst value of each objective plus 1, in whatever units they have.
    To normalise first is not published; emoref uses the above.

    Examples
    --------
    >>> normalised_contributions(np.array([[10.0, 0.4], [15.0, 0.1], [30.0, 0.0]]))
    array([0.25  , 0.5625, 0.25  ])
    """
    low, high = F.min(axis=0), F.max(axis=0)
    # Halves, since the range of values near the largest float would overflow.
    width = 0.5 * high - 0.5 * low
    scaled = (0.5 * F - 0.5 * low) / np.where(width > 0.0, width, 1.0)
    return hypervolume_contributions(scaled, np.full(F.shape[1], 1.0 + offset))


def dominating_counts(F: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count for each point how many others dominate it.

    Parameters
    ----------
    F
        Objective values of the points in question (n, M).
    others
        Objective values of all points, also of those in question (N, M).

    Returns
    -------
    numpy.ndarray
        Counts, the paper's d(s, P), int64 (n,).

    Examples
    --------
    >>> F = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 1.0]])
    >>> dominating_counts(F, F)
    array([0, 1, 2])
    """
    counts = [((f >= others).all(axis=1) & (f > others).any(axis=1)).sum() for f in F]
    return np.array(counts, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class HypervolumeSurvival:
    """Who survives, and all that the decision was made from.

    Parameters
    ----------
    survivors
        Rows of the survivors: whole fronts first, then what is left of the front that is cut, (n,).
    ranks
        Ranks of all candidates, (N,).
    dropped
        Rows that left the front that is cut, in this order. Later fronts have gone before.
    contributions
        Normalised contribution of each member of that front when it was last looked at: for those dropped
        when they were dropped, for the others at the last drop; NaN for all others, (N,).
    """

    survivors: NDArray[np.int64]
    ranks: NDArray[np.int64]
    dropped: NDArray[np.int64]
    contributions: NDArray[np.float64]

    @property
    def distances(self) -> NDArray[np.float64]:
        """The contributions: like crowding distances, they say who adds most to the front."""
        return self.contributions


def hypervolume_selection(
    F: NDArray[np.float64],
    size: int,
    G: NDArray[np.float64] | None = None,
    *,
    offset: float = 1.0,
    later_fronts: str = "contribution",
) -> HypervolumeSurvival:
    """Drop candidates one by one, always the least contributor of the last front, until `size` are left.

    ::

        while more than size candidates are left:
            sort them into fronts
            drop the member of the last front that contributes least

    Dropping a member of the last front changes no rank, so the sorting is done once, and the fronts that go
    as a whole are never looked at. Contributions are measured anew after each drop, in the ranges of what is
    left of the front.

    Infeasible candidates come after all feasible ones, by total violation; failed ones are last. Of equal
    contributors, and of equally infeasible or failed candidates, the one in the last row goes: parents come
    before offspring, so a newcomer has to be better.

    Parameters
    ----------
    F
        Objective values (N, M) of parents and offspring together.
    size
        Number of survivors. All survive if there are no more.
    G
        Constraint values (N, K), at most 0 is feasible; None for no constraint.
    offset
        Distance of the reference point; see `normalised_contributions`.
    later_fronts
        Who leaves a front that is not the first: ``"contribution"``, the least contributor; ``"dominating"``,
        whoever is dominated by most candidates.

    Returns
    -------
    HypervolumeSurvival
        Survivors, ranks, who was dropped and what the members contributed.

    Raises
    ------
    ProblemError
        If `offset` or `later_fronts` makes no sense.

    Notes
    -----
    Source: Beume et al. 2007, procedure Reduce for one offspring, and the same paper for the number of
    dominating points, which is quicker to find. To drop several one by one is not published as such; emoref
    uses the above, which for one offspring is the paper's procedure.
    """
    _check_settings(offset, later_fronts)
    fronts = sort_fronts(F, size, G)
    ranks, last_rank = fronts.ranks, fronts.last_rank
    whole = fronts.best_first[: np.searchsorted(ranks[fronts.best_first], last_rank)]
    front = np.flatnonzero(ranks == last_rank)
    room = fronts.size - len(whole)
    contributions = np.full(len(F), np.nan)
    if not np.isin(front[0], fronts.feasible):
        return HypervolumeSurvival(
            np.concatenate([whole, front[:room]]), ranks, front[room:][::-1].copy(), contributions
        )
    by_count = last_rank > 0 and later_fronts == "dominating"
    counts = dominating_counts(F[front], F[fronts.feasible]) if by_count else np.zeros(len(front), np.int64)
    dropped = []
    while len(front) > room:
        if by_count:
            worst = np.flatnonzero(counts == counts.max())[-1]
            counts = np.delete(counts, worst)
        else:
            contributions[front] = normalised_contributions(F[front], offset)
            worst = _least(contributions[front], offset, F.shape[1])
        dropped.append(front[worst])
        front = np.delete(front, worst)
    return HypervolumeSurvival(
        np.concatenate([whole, front]), ranks, np.array(dropped, dtype=np.int64), contributions
    )


def _least(contributions: NDArray[np.float64], offset: float, n_obj: int) -> np.int64:
    rounding = _SAME * (1.0 + offset) ** n_obj
    return np.flatnonzero(contributions <= contributions.min() + rounding)[-1]


class SMSEMOA(Algorithm):
    """The multi-objective algorithm whose selection follows the dominated hypervolume (S metric).

    One generation, with P the population (algorithm 1 of the paper)::

        q = offspring of two parents drawn from P                        ask
        evaluate q                                                       the caller, or step
        P = Reduce(P + q)                                                tell: hypervolume_selection:
            sort P + q into fronts F0, ..., Fv
            r = member of Fv that contributes least to its hypervolume     normalised_contributions
            drop r

    With one offspring a generation, as in the paper, the dominated hypervolume of the population, measured
    with a fixed reference point, hardly ever shrinks; but a generation is a single evaluation. With
    ``offspring_size=m``, m offspring are asked for at once, so that they can be evaluated together, and m
    candidates dropped one after the other.

    Exact contributions take long for many objectives: for two to five the algorithm is quick, beyond eight it
    hardly is of use.

    Parents are drawn at random if all are feasible. Otherwise games of two decide, by violation, as in
    NSGA-III.

    Parameters
    ----------
    problem
        The problem; see `emoref.emo.problem.Problem`.
    population_size
        Number of survivors of each generation, the paper's mu.
    offspring_size
        Number of offspring a generation.
    seed
        Seed of the run.
    offset
        Distance of the reference point from the worst values of a front, in ranges; see
        `normalised_contributions`. The larger, the more the ends of the front count.
    later_fronts
        ``"contribution"`` or ``"dominating"``; see `hypervolume_selection`.
    **options
        `sampling`, `crossover`, `mutation`, `repair`, `duplicates`, `attempts` and `reference`, as in
        `emoref.emo.algorithm.Algorithm`.

    Attributes
    ----------
    survival : HypervolumeSurvival or None
        The last environmental selection, for those who want to see why who survived. Not part of the state.

    Raises
    ------
    ProblemError
        If the problem, a size or a setting makes no sense.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        population_size: int = 100,
        offspring_size: int = 1,
        seed: int = 0,
        offset: float = 1.0,
        later_fronts: str = "contribution",
        **options: Any,
    ) -> None:
        super().__init__(
            problem, population_size=population_size, offspring_size=offspring_size, seed=seed, **options
        )
        _check_settings(offset, later_fronts)
        self.offset = float(offset)
        self.later_fronts = later_fronts
        self.survival: HypervolumeSurvival | None = None

    def _choose_parents(
        self, population: Population, count: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        return feasibility_tournament(total_violation(population.F, population.G), count, rng)

    def _survive(self, candidates: Population) -> Population:
        self.survival = hypervolume_selection(
            candidates.F,
            self.population_size,
            candidates.G,
            offset=self.offset,
            later_fronts=self.later_fronts,
        )
        return candidates.take(self.survival.survivors)

    def _own_state(self) -> dict[str, Any]:
        return {}

    def _restore_own(self, state: Mapping[str, Any]) -> None:
        self.survival = None


def _check_settings(offset: float, later_fronts: str) -> None:
    if not 0.0 < offset < np.inf:
        raise ProblemError(f"offset is {offset}; it must be above 0")
    if later_fronts not in LATER_FRONTS:
        raise ProblemError(f"later_fronts is {later_fronts!r}; it must be one of {', '.join(LATER_FRONTS)}")
