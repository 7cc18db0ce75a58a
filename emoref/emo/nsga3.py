"""NSGA-III: Deb and Jain (part I), Jain and Deb (part II), IEEE Trans. Evol. Comput. 18(4), 2014."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.normalisation import Normalisation, Normaliser, normalise
from emoref.emo.population import Population
from emoref.emo.ranking import constrained_ranks
from emoref.emo.reference_algorithm import ReferencePointAlgorithm
from emoref.emo.selection import total_violation
from emoref_kernels.cpu import niching
from emoref_kernels.cpu.fronts import rows_by_rank

__all__ = [
    "NSGA3",
    "Association",
    "ReferenceSurvival",
    "Sorted",
    "associate",
    "niche",
    "niching_selection",
    "normalise_feasible",
    "reference_selection",
    "sort_fronts",
]


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
    return Association(*niching.associate(F, lines))


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
    return niching.fill_niches(counts, niches, distances, rng.random((room, 2)))


@dataclass(frozen=True, eq=False)
class Sorted:
    """Candidates in fronts, and how far down the selection looks.

    Parameters
    ----------
    size
        Number of survivors, at most N.
    ranks
        Ranks of all candidates, (N,).
    last_rank
        Rank of the last front of which anybody survives, the paper's F_l.
    feasible
        Rows of the candidates that were evaluated without failure and violate nothing.
    """

    size: int
    ranks: NDArray[np.int64]
    last_rank: int
    feasible: NDArray[np.int64]

    @property
    def considered(self) -> NDArray[np.int64]:
        """Rows of the feasible candidates of the fronts up to the last, the paper's S_t."""
        return self.feasible[self.ranks[self.feasible] <= self.last_rank]

    @property
    def best_first(self) -> NDArray[np.int64]:
        """All rows by rank; those of equal rank in their order."""
        return rows_by_rank(self.ranks)


def sort_fronts(F: NDArray[np.float64], size: int, G: NDArray[np.float64] | None = None) -> Sorted:
    """Sort candidates into fronts, and find the first front that does not fit, or is the last that does.

    Parameters
    ----------
    F
        Objective values (N, M).
    size
        Number of survivors; all survive if there are no more.
    G
        Constraint values (N, K), at most 0 is feasible; None for no constraint.

    Returns
    -------
    Sorted
        Ranks under constrained domination, and the last front that matters.

    Notes
    -----
    Source: Deb and Jain 2014, algorithm 1, lines 4 to 8.

    Examples
    --------
    >>> fronts = sort_fronts(np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), 3)
    >>> fronts.ranks, fronts.last_rank, fronts.considered
    (array([0, 0, 1, 2]), 1, array([0, 1, 2]))
    """
    ranks = constrained_ranks(F, G)
    size = min(size, len(F))
    up_to_rank = np.bincount(ranks).cumsum()
    last_rank = int(up_to_rank.searchsorted(size))
    return Sorted(size, ranks, last_rank, (total_violation(F, G) == 0.0).nonzero()[0])


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
    reference_points
        The reference points that `niches` refers to, (H, M).
    """

    survivors: NDArray[np.int64]
    ranks: NDArray[np.int64]
    niches: NDArray[np.int64]
    distances: NDArray[np.float64]
    normalisation: Normalisation | None
    reference_points: NDArray[np.float64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many survivors belong to each reference point, (H,)."""
        niches = self.niches[self.survivors]
        return np.bincount(niches[niches >= 0], minlength=len(self.reference_points))


def niching_selection(
    fronts: Sorted,
    normalisation: Normalisation | None,
    reference_points: NDArray[np.float64],
    rng: np.random.Generator,
) -> ReferenceSurvival:
    """Choose survivors: whole fronts while they fit, then by niche.

    Parameters
    ----------
    fronts
        The candidates, sorted.
    normalisation
        Normalised values of the feasible candidates; None if there is none.
    reference_points
        Reference points (H, M).
    rng
        Source of random numbers.

    Returns
    -------
    ReferenceSurvival
        Survivors, and what the choice was made from.

    Notes
    -----
    Source: Deb and Jain 2014, algorithm 1, lines 9 to 17; with constraints Jain and Deb 2014, algorithm 1.
    """
    ranks, last_rank = fronts.ranks, fronts.last_rank
    niches, distances = np.full(len(ranks), -1, dtype=np.int64), np.full(len(ranks), np.nan)
    best_first = fronts.best_first
    if normalisation is None:
        survivors = best_first[: fronts.size]
        return ReferenceSurvival(survivors, ranks, niches, distances, None, reference_points)

    looked_at = ranks[fronts.feasible] <= last_rank
    considered = fronts.feasible[looked_at]
    association = associate(normalisation.F[looked_at], reference_points)
    niches[considered], distances[considered] = association.niches, association.distances

    before, after = np.count_nonzero(ranks < last_rank), np.count_nonzero(ranks <= last_rank)
    survivors, last_front = best_first[:before], best_first[before:after]
    room = fronts.size - len(survivors)
    if len(last_front) == room or niches[last_front[0]] < 0:
        last = last_front[:room]
    else:
        counts = np.bincount(niches[survivors], minlength=len(reference_points))
        last = last_front[niche(counts, niches[last_front], distances[last_front], room, rng)]
    survivors = np.concatenate([survivors, last])
    return ReferenceSurvival(survivors, ranks, niches, distances, normalisation, reference_points)


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
    fronts = sort_fronts(F, size, G)
    normalised = normalise_feasible(F, fronts, normaliser, normalisation)
    return niching_selection(fronts, normalised, reference_points, rng)


def normalise_feasible(
    F: NDArray[np.float64], fronts: Sorted, normaliser: Normaliser, method: str
) -> Normalisation | None:
    """Normalise the feasible candidates.

    Parameters
    ----------
    F
        Objective values (N, M) of all candidates.
    fronts
        The candidates, sorted.
    normaliser
        State of the normalisation after the previous generation.
    method
        Variant; see `emoref.emo.normalisation.normalise`.

    Returns
    -------
    Normalisation or None
        Normalised values of the rows ``fronts.feasible``; None if there is none.
    """
    rows, ranks = fronts.feasible, fronts.ranks
    if len(rows) == 0:
        return None
    return normalise(F[rows], ranks[rows], normaliser, method=method, last_rank=fronts.last_rank)


class NSGA3(ReferencePointAlgorithm):
    """The non-dominated sorting genetic algorithm that follows reference points.

    One generation, with P the population (algorithm 1 of the paper)::

        Q = offspring of parents drawn from P                            ask
        evaluate Q                                                       the caller, or step
        R = P + Q                                                        tell
        sort R into fronts F0, F1, ...                                   reference_selection: sort_fronts
        P = whole fronts while they fit; the first that does not is Fl
        normalise the objectives of P + Fl                                 normalise
        find the reference point nearest to each                           associate
        fill P from Fl, the emptiest niche first                           niche

    Parents are drawn at random if all are feasible. Otherwise games of two decide (algorithm 2 of part
    II): the smaller violation wins, and a coin if they are equal.

    Parameters
    ----------
    problem, reference_points, population_size, seed, normalisation, crossover, **options
        See `emoref.emo.reference_algorithm.ReferencePointAlgorithm`.

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

    survival: ReferenceSurvival | None = None

    def _survive(self, candidates: Population) -> Population:
        self.survival = reference_selection(
            candidates.F,
            self.population_size,
            self.reference_points,
            self.normaliser,
            self._niching_rng(),
            candidates.G,
            normalisation=self.normalisation,
        )
        self._remember(self.survival.normalisation)
        return candidates.take(self.survival.survivors)

    def _known_ranks(self) -> NDArray[np.int64] | None:
        return None if self.survival is None else self.survival.ranks[self.survival.survivors]

    def _restore_own(self, state: Mapping[str, Any]) -> None:
        super()._restore_own(state)
        self.survival = None
