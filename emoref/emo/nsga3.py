"""NSGA-III: Deb and Jain (part I), Jain and Deb (part II), IEEE Trans. Evol. Comput. 18(4), 2014."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.algorithm import Algorithm
from emoref.emo.normalisation import NORMALISATIONS, Normalisation, Normaliser, normalise
from emoref.emo.operators import SBX, CrossoverByKind, UniformCrossover
from emoref.emo.population import Population
from emoref.emo.problem import Problem
from emoref.emo.ranking import constrained_ranks, constraint_violation
from emoref.emo.reference_points import check_reference_points
from emoref.emo.selection import tournament_pairs
from emoref.errors import ProblemError, ShapeError
from emoref.seeding import generator

__all__ = ["NSGA3", "Association", "ReferenceSurvival", "associate", "niche", "reference_selection"]


@dataclass(frozen=True, eq=False)
class Association:
    """Which reference point each candidate belongs to.

    Parameters
    ----------
    niches
        Row of the nearest reference point, the paper's pi(s), (N,).
    distances
        Perpendicular distance to the line from the origin through it, the paper's d(s), (N,).
    """

    niches: NDArray[np.int64]
    distances: NDArray[np.float64]


def associate(F: NDArray[np.float64], reference_points: NDArray[np.float64]) -> Association:
    """Find the nearest reference line of each candidate; of equally near ones the first.

    Parameters
    ----------
    F
        Normalised objective values (N, M).
    reference_points
        Reference points (H, M).

    Returns
    -------
    Association
        Niches and distances.

    Notes
    -----
    Source: Deb and Jain 2014, algorithm 3.

    Examples
    --------
    >>> associate(np.array([[3.0, 4.0], [2.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    Association(niches=array([0, 1]), distances=array([3., 1.]))
    """
    lines = reference_points / np.sqrt((reference_points**2).sum(axis=1, keepdims=True))
    shape = (len(F), len(lines))
    # Objective by objective: sums in a fixed order, and never more than N x H numbers at once.
    along = np.zeros(shape)
    for f, w in zip(F.T, lines.T, strict=True):
        along += f[:, None] * w
    squared = np.zeros(shape)
    for f, w in zip(F.T, lines.T, strict=True):
        squared += (f[:, None] - along * w) ** 2
    niches = np.argmin(squared, axis=1)
    return Association(niches, np.sqrt(squared[np.arange(len(F)), niches]))


def niche(
    counts: NDArray[np.int64],
    niches: NDArray[np.int64],
    distances: NDArray[np.float64],
    room: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Choose members of the front that is cut, one at a time, each for the emptiest niche.

    Of the niches that the fewest chosen candidates belong to, one is drawn. If it is empty, its nearest
    member in the front is chosen (of equally near ones the first), otherwise any of its members. Niches
    without a member left in the front are out.

    Parameters
    ----------
    counts
        How many candidates of the earlier fronts belong to each reference point, the paper's rho, (H,).
    niches, distances
        Niche and distance of each member of the front (n,).
    room
        How many to choose, at most n.
    rng
        Source of random numbers.

    Returns
    -------
    numpy.ndarray
        Rows of the chosen members, in the order of choice, int64 (room,).

    Notes
    -----
    Source: Deb and Jain 2014, algorithm 4. There a niche without a member is dropped when it is drawn;
    leaving it out from the beginning gives every choice the same probability.
    """
    counts = counts.copy()
    members: dict[int, list[int]] = {}
    # Nearest first; a stable sort keeps equally near ones in order.
    for row in np.argsort(distances, kind="stable").tolist():
        members.setdefault(int(niches[row]), []).append(row)
    available = np.array(sorted(members), dtype=np.int64)
    chosen: list[int] = []
    while len(chosen) < room:
        load = counts[available]
        emptiest = available[load == load.min()]
        j = int(emptiest[rng.integers(len(emptiest))])
        position = 0 if counts[j] == 0 else int(rng.integers(len(members[j])))
        chosen.append(members[j].pop(position))
        counts[j] += 1
        if not members[j]:
            available = available[available != j]
    return np.array(chosen, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class ReferenceSurvival:
    """Who survives, and all that the decision was made from.

    Parameters
    ----------
    survivors
        Rows of the survivors: whole fronts first, then those chosen by niche, (n,).
    ranks
        Ranks of all candidates, (N,).
    niches, distances
        Reference point and distance to its line; -1 and NaN for candidates that are infeasible, failed, or
        in fronts that were not looked at, (N,).
    normalisation
        The normalisation of the feasible candidates; None if there is none.
    """

    survivors: NDArray[np.int64]
    ranks: NDArray[np.int64]
    niches: NDArray[np.int64]
    distances: NDArray[np.float64]
    normalisation: Normalisation | None


def reference_selection(
    F: NDArray[np.float64],
    size: int,
    reference_points: NDArray[np.float64],
    normaliser: Normaliser,
    rng: np.random.Generator,
    G: NDArray[np.float64] | None = None,
    *,
    normalisation: str = "theta",
) -> ReferenceSurvival:
    """Choose the next population: whole fronts while they fit, then by niche.

    Infeasible candidates come after all feasible ones, by total violation; candidates whose evaluation
    failed come last. Among equals of these, those with lower row index survive.

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
        Source of random numbers, for the niches.
    G
        Constraint values (N, K), at most 0 is feasible; None for no constraint.
    normalisation
        Variant; see `emoref.emo.normalisation.normalise`.

    Returns
    -------
    ReferenceSurvival
        Survivors, ranks, niches and the normalisation with its new state.

    Notes
    -----
    Sources: Deb and Jain 2014, algorithm 1; with constraints Jain and Deb 2014, algorithm 1.
    """
    ranks = constrained_ranks(F, G)
    niches, distances = np.full(len(F), -1, dtype=np.int64), np.full(len(F), np.nan)
    feasible = np.flatnonzero(_feasible(F, G))
    by_rank = np.argsort(ranks, kind="stable")
    size = min(size, len(F))
    last_rank = int(ranks[by_rank[size - 1]])
    if len(feasible) == 0:
        return ReferenceSurvival(by_rank[:size], ranks, niches, distances, None)

    normalised = normalise(
        F[feasible], ranks[feasible], normaliser, method=normalisation, last_rank=last_rank
    )
    seen = ranks[feasible] <= last_rank
    association = associate(normalised.F[seen], reference_points)
    niches[feasible[seen]], distances[feasible[seen]] = association.niches, association.distances

    survivors = by_rank[: np.searchsorted(ranks[by_rank], last_rank)]
    last_front = np.flatnonzero(ranks == last_rank)
    room = size - len(survivors)
    if len(last_front) == room or niches[last_front[0]] < 0:
        last = last_front[:room]
    else:
        counts = np.bincount(niches[survivors], minlength=len(reference_points))
        last = last_front[niche(counts, niches[last_front], distances[last_front], room, rng)]
    return ReferenceSurvival(np.concatenate([survivors, last]), ranks, niches, distances, normalised)


def _feasible(F: NDArray[np.float64], G: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    violation = np.zeros(len(F)) if G is None else constraint_violation(G)
    return np.isfinite(F).all(axis=1) & (violation == 0.0)


class NSGA3(Algorithm):
    """The non-dominated sorting genetic algorithm that follows reference points.

    One generation, with P the population (algorithm 1 of the paper)::

        Q = offspring of parents drawn from P                            ask
        evaluate Q                                                       the caller, or step
        R = P + Q                                                        tell
        sort R into fronts F0, F1, ...                                   reference_selection:
        P = whole fronts while they fit; the first that does not is Fl
        normalise the objectives of P + Fl                                 normalise
        find the reference point nearest to each                           associate
        fill P from Fl, the emptiest niche first                           niche

    Parents are drawn at random if all are feasible. Otherwise games of two decide (algorithm 2 of part
    II): the smaller violation wins, and a coin if they are equal.

    Parameters
    ----------
    problem
        The problem; see `emoref.emo.problem.Problem`.
    reference_points
        Points (H, n_obj): non-negative, each summing to one; see `emoref.emo.das_dennis`.
    population_size
        Number of survivors of each generation; None for H rounded up to a multiple of 4, as in the paper.
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
    survival : ReferenceSurvival or None
        The last environmental selection, for those who want to see why who survived, and which way the
        normalisation went. Not part of the state.

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
        self.survival: ReferenceSurvival | None = None

    def _choose_parents(
        self, population: Population, count: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        violation = np.where(
            np.isfinite(population.F).all(axis=1), constraint_violation(population.G), np.inf
        )
        violation = np.where(np.isnan(violation), np.inf, violation)
        a, b = tournament_pairs(len(population), count, rng).T
        coin = rng.random(count) < 0.5
        a_wins = (violation[a] < violation[b]) | ((violation[a] == violation[b]) & coin)
        return np.where(a_wins, a, b)

    def _survive(self, candidates: Population) -> Population:
        self.survival = reference_selection(
            candidates.F,
            self.population_size,
            self.reference_points,
            self.normaliser,
            generator(self.seed, "emo.niching", self.generation),
            candidates.G,
            normalisation=self.normalisation,
        )
        if self.survival.normalisation is not None:
            self.normaliser = self.survival.normalisation.normaliser
        return candidates.take(self.survival.survivors)

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
        self.survival = None


_NORMALISER_FIELDS = ("ideal", "worst", "extremes", "nadir")


def _default_crossover() -> CrossoverByKind:
    real = SBX(probability=1.0, eta=30.0)
    return CrossoverByKind({"real": real, "integer": real, "binary": UniformCrossover()})
