"""NSGA-II: Deb, Pratap, Agarwal, Meyarivan, IEEE Trans. Evol. Comput. 6(2), 2002."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.algorithm import Algorithm
from emoref.emo.population import Population
from emoref.emo.problem import Problem
from emoref.emo.selection import TOURNAMENTS, Survival, binary_tournament, environmental_selection
from emoref.errors import ProblemError, ShapeError
from emoref_kernels.pareto_checks import CROWDING_VARIANTS

__all__ = ["NSGA2"]


class NSGA2(Algorithm):
    """The elitist non-dominated sorting genetic algorithm.

    One generation, with P the population (main loop of the paper's section III-C)::

        Q = offspring of parents chosen from P by binary tournament      ask
        evaluate Q                                                       the caller, or step
        R = P + Q                                                        tell
        sort R into fronts F0, F1, ...                                   environmental_selection
        P = whole fronts while they fit, then the least crowded
            of the first front that does not

    Parameters
    ----------
    problem
        The problem; see `emoref.emo.problem.Problem`.
    population_size
        Number of survivors of each generation.
    seed
        Seed of the run.
    crowding
        ``"paper"``: both ends of each objective are infinitely far from others. ``"deb-c"``: the minima
        only, as in Deb's C program.
    tournament
        ``"rank"``: lower rank, then larger distance, wins, as in the paper. ``"dominance"``: the
        dominating one, then larger distance, as in Deb's C program.
    **options
        `offspring_size`, `sampling`, `crossover`, `mutation`, `repair`, `duplicates`, `attempts` and
        `reference`, as in `emoref.emo.algorithm.Algorithm`. Default operators: SBX (probability 0.9, eta
        20) and polynomial mutation (probability 1/n, eta 20) for real and integer variables, uniform
        crossover (0.9) and bit-flip (1/n) for binary ones.

    Attributes
    ----------
    ranks, distances : numpy.ndarray
        Rank and crowding distance of each member of the population, as they were when it was chosen.
        Part of the state.
    survival : Survival or None
        The last environmental selection, for those who want to see why who survived. Not part of the
        state.

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
        seed: int = 0,
        crowding: str = "paper",
        tournament: str = "rank",
        **options: Any,
    ) -> None:
        super().__init__(problem, population_size=population_size, seed=seed, **options)
        if crowding not in CROWDING_VARIANTS:
            raise ProblemError(f"crowding is {crowding!r}; it must be one of {', '.join(CROWDING_VARIANTS)}")
        if tournament not in TOURNAMENTS:
            raise ProblemError(f"tournament is {tournament!r}; it must be one of {', '.join(TOURNAMENTS)}")
        self.crowding = crowding
        self.tournament = tournament
        self.ranks: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.distances: NDArray[np.float64] = np.empty(0)
        self.survival: Survival | None = None

    def _choose_parents(
        self, population: Population, count: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        return binary_tournament(
            self.ranks,
            self.distances,
            count,
            rng,
            compare=self.tournament,
            F=population.F,
            G=population.G,
        )

    def _survive(self, candidates: Population) -> Population:
        self.survival = environmental_selection(
            candidates.F, self.population_size, candidates.G, crowding=self.crowding
        )
        survivors = self.survival.survivors
        self.ranks = self.survival.ranks[survivors]
        self.distances = self.survival.distances[survivors]
        return candidates.take(survivors)

    def _known_ranks(self) -> NDArray[np.int64]:
        return self.ranks

    def _own_state(self) -> dict[str, Any]:
        return {"ranks": self.ranks.copy(), "distances": self.distances.copy()}

    def _restore_own(self, state: Mapping[str, Any]) -> None:
        ranks, distances = state["ranks"], state["distances"]
        rows = len(state["X"])
        if ranks.shape != (rows,) or distances.shape != (rows,):
            raise ShapeError(
                f"the stored state has {rows} candidates, ranks {ranks.shape} and distances {distances.shape}"
            )
        self.ranks, self.distances = ranks.astype(np.int64), distances.astype(np.float64)
        self.survival = None
