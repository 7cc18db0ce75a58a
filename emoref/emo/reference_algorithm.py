"""What NSGA-III and its relatives have in common, whoever they let survive."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.algorithm import Algorithm
from emoref.emo.normalisation import NORMALISATIONS, Normalisation, Normaliser
from emoref.emo.operators import SBX, CrossoverByKind, UniformCrossover
from emoref.emo.population import Population
from emoref.emo.problem import Problem
from emoref.emo.reference_points import check_reference_points
from emoref.emo.selection import feasibility_tournament, total_violation
from emoref.errors import ProblemError, ShapeError
from emoref.seeding import generator

__all__ = ["ReferencePointAlgorithm"]


class ReferencePointAlgorithm(Algorithm):
    """What NSGA-III and its relatives share: reference points, a normalisation with a memory, and mating.

    Parents are drawn at random if all are feasible. Otherwise games of two decide (Jain and Deb 2014,
    algorithm 2): the smaller violation wins, and a coin if they are equal.

    Parameters
    ----------
    problem
        The problem; see `emoref.emo.problem.Problem`.
    reference_points
        Points (H, n_obj): non-negative, each summing to one; see `emoref.emo.das_dennis`.
    population_size
        Number of survivors of each generation; None for H rounded up to a multiple of 4.
    seed
        Seed of the run.
    normalisation
        ``"theta"``, ``"deb2014"`` or ``"pymoo"``; see `emoref.emo.normalisation.normalise`. With the
        default, results do not depend on the objectives' units.
    crossover
        None for SBX (probability 1, eta 30) of real and integer variables and uniform crossover
        (probability 0.9) of binary ones.
    **options
        `offspring_size`, `sampling`, `mutation`, `repair`, `duplicates`, `attempts` and `reference`, as in
        `emoref.emo.algorithm.Algorithm`. Default mutation: polynomial (probability 1/n, eta 20), bit-flip
        (1/n) for binary variables.

    Attributes
    ----------
    normaliser : emoref.emo.normalisation.Normaliser
        What is remembered of earlier points. Part of the state.

    Raises
    ------
    ProblemError, ShapeError
        If the problem, the reference points, a size or a setting makes no sense.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        reference_points: Any,
        population_size: int | None = None,
        seed: int = 0,
        normalisation: str = "theta",
        crossover: Any = None,
        **options: Any,
    ) -> None:
        W = check_reference_points(reference_points, problem.n_obj)
        super().__init__(
            problem,
            population_size=-(-len(W) // 4) * 4 if population_size is None else population_size,
            seed=seed,
            crossover=_default_crossover() if crossover is None else crossover,
            **options,
        )
        if normalisation not in NORMALISATIONS:
            raise ProblemError(
                f"normalisation is {normalisation!r}; it must be one of {', '.join(NORMALISATIONS)}"
            )
        self.reference_points = W
        self.normalisation = normalisation
        self.normaliser = Normaliser.start(problem.n_obj)

    def _niching_rng(self) -> np.random.Generator:
        return generator(self.seed, "emo.niching", self.generation)

    def _remember(self, normalisation: Normalisation | None) -> None:
        if normalisation is not None:
            self.normaliser = normalisation.normaliser

    def _choose_parents(
        self, population: Population, count: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        return feasibility_tournament(total_violation(population.F, population.G), count, rng)

    def _own_state(self) -> dict[str, Any]:
        return {name: getattr(self.normaliser, name).copy() for name in _NORMALISER_FIELDS}

    def _restore_own(self, state: Mapping[str, Any]) -> None:
        n_obj = self.problem.n_obj
        values = {name: np.asarray(state[name], dtype=np.float64) for name in _NORMALISER_FIELDS}
        for name, value in values.items():
            rows_allowed = ((n_obj, n_obj), (0, n_obj)) if name == "extremes" else ((n_obj,),)
            if value.shape not in rows_allowed:
                raise ShapeError(f"the stored state has {name} {value.shape} for {n_obj} objectives")
        self.normaliser = Normaliser(**values)


_NORMALISER_FIELDS = ("ideal", "worst", "extremes", "nadir")


def _default_crossover() -> CrossoverByKind:
    real = SBX(probability=1.0, eta=30.0)
    return CrossoverByKind({"real": real, "integer": real, "binary": UniformCrossover()})
