"""U-NSGA-III: Seada and Deb, IEEE Trans. Evol. Comput. 20(3), 2016."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.nsga3 import NSGA3
from emoref.emo.population import Population
from emoref.emo.problem import Problem
from emoref.emo.selection import total_violation, tournament_pairs
from emoref.errors import ShapeError

__all__ = ["UNSGA3", "niching_tournament"]


def niching_tournament(
    ranks: NDArray[np.int64],
    niches: NDArray[np.int64],
    distances: NDArray[np.float64],
    violation: NDArray[np.float64],
    tournaments: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Choose parents by games of two, in which only members of one niche compete.

    Two feasible candidates of the same niche: the lower rank wins, and if these are equal, the smaller
    distance to the reference line. Two feasible ones of different niches: a coin. Otherwise the smaller
    violation wins. A coin decides whatever is equal.

    Parameters
    ----------
    ranks, niches, distances
        Rank, reference point and distance to its line, of each candidate (N,). Those of infeasible
        candidates do not matter.
    violation
        Total violation of each candidate (N,); see `emoref.emo.selection.total_violation`.
    tournaments
        Number of parents to choose.
    rng
        Source of random numbers.

    Returns
    -------
    numpy.ndarray
        Rows of the winners, int64 (tournaments,).

    Notes
    -----
    Source: Seada and Deb 2016, the niching-based tournament. Of two equally distant candidates the second
    wins there [memory]; here a coin decides, as in all tournaments of emoref.
    """
    a, b = tournament_pairs(len(ranks), tournaments, rng).T
    coin = rng.random(tournaments) < 0.5
    rivals = (violation[a] == 0.0) & (violation[b] == 0.0) & (niches[a] == niches[b])
    nearer = (ranks[a] < ranks[b]) | ((ranks[a] == ranks[b]) & (distances[a] < distances[b]))
    farther = (ranks[a] > ranks[b]) | ((ranks[a] == ranks[b]) & (distances[a] > distances[b]))
    a_better = (violation[a] < violation[b]) | (rivals & nearer)
    b_better = (violation[a] > violation[b]) | (rivals & farther)
    return np.where(a_better | (~b_better & coin), a, b)


class UNSGA3(NSGA3):
    """NSGA-III with a tournament, so that it is as good with one or two objectives as with many.

    One generation, with P the population::

        Q = offspring of parents chosen from P by niching tournament     ask: niching_tournament
        everything else is NSGA-III's                                    tell: reference_selection

    NSGA-III draws parents at random. That suits many objectives, where nearly each member of the
    population is alone in its niche. With one objective there is one niche, and the tournament is that of an
    elitist genetic algorithm; with two, it presses towards the front as NSGA-II's does. For that, the
    population may be larger than the number of reference points.

    Parameters
    ----------
    problem, reference_points, population_size, seed, normalisation, crossover, **options
        See `emoref.emo.reference_algorithm.ReferencePointAlgorithm`.

    Attributes
    ----------
    ranks, niches, distances : numpy.ndarray
        Rank, reference point and distance to its line of each member of the population, as they were when
        it was chosen; -1 and NaN for infeasible ones. Part of the state.
    normaliser, survival
        As for `emoref.emo.nsga3.NSGA3`.

    Raises
    ------
    ProblemError, ShapeError
        If the problem, the reference points, a size or a setting makes no sense.
    """

    def __init__(self, problem: Problem, *, reference_points: Any, **options: Any) -> None:
        super().__init__(problem, reference_points=reference_points, **options)
        self.ranks: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.niches: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.distances: NDArray[np.float64] = np.empty(0)

    def _choose_parents(
        self, population: Population, count: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        violation = total_violation(population.F, population.G)
        return niching_tournament(self.ranks, self.niches, self.distances, violation, count, rng)

    def _survive(self, candidates: Population) -> Population:
        population = super()._survive(candidates)
        assert self.survival is not None
        survivors = self.survival.survivors
        self.ranks, self.niches = self.survival.ranks[survivors], self.survival.niches[survivors]
        self.distances = self.survival.distances[survivors]
        return population

    def _own_state(self) -> dict[str, Any]:
        own = {"ranks": self.ranks, "niches": self.niches, "distances": self.distances}
        return super()._own_state() | {name: values.copy() for name, values in own.items()}

    def _restore_own(self, state: Mapping[str, Any]) -> None:
        rows = len(state["X"])
        own = {name: np.asarray(state[name]) for name in ("ranks", "niches", "distances")}
        for name, values in own.items():
            if values.shape != (rows,):
                raise ShapeError(f"the stored state has {rows} candidates and {name} {values.shape}")
        super()._restore_own(state)
        self.ranks, self.niches = own["ranks"].astype(np.int64), own["niches"].astype(np.int64)
        self.distances = own["distances"].astype(np.float64)
