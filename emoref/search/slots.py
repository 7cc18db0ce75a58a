"""Which slots of a layer to keep and to share: the many-objective problem of one layer, and its search.

The decision of Cheng et al. (Cognitive Computation 13(4), 2021): filters are chosen and merged by a
many-objective algorithm with three criteria as objectives. Criteria, encoding and algorithm are not
published in what we could read. emoref solves one problem a layer (divide and conquer), with T tasks and n
slots:

* genome: T n bits b (task t keeps slot j) and, for T >= 2, n bits s (the slot is shared by its keepers);
* f_i = 1 - sum_tj b_tj c_itj / sum_tj c_itj for each criterion i: the share of its importance that is lost;
* f_stored = stored filters / (T n), a shared slot counting once;
* f_distortion (T >= 2) = sum over shared slots of cbar_j d_j / sum over all slots of the same, where cbar_j
  is the slot's mean importance and d_j the mean relative distance of its keepers' filters (over all tasks in
  the denominator).

Without the last one sharing would cost nothing; without the one before, keeping would not either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref import emo
from emoref.errors import ProblemError, ShapeError

__all__ = ["SlotProblem", "SlotSearch", "nearest_to_ideal", "normalised_importance", "search_slots"]

_POINTS = 126
"""Reference points at most: 7 divisions for 4 objectives (120 points), 5 for 5 (126)."""


def normalised_importance(scores: ArrayLike) -> NDArray[np.float64]:
    """Scale the scores of a layer's filters to [0, 1], the weakest 0 and the strongest 1.

    Parameters
    ----------
    scores : float array, shape (n,)
        Higher is more important.

    Returns
    -------
    float64 array, shape (n,)
        All 1 where the scores are equal.

    Examples
    --------
    >>> normalised_importance([2.0, 6.0, 3.0]).tolist()
    [0.0, 1.0, 0.25]
    """
    values = np.asarray(scores, dtype=np.float64)
    width = values.max() - values.min()
    return (values - values.min()) / width if width > 0 else np.ones_like(values)


class SlotProblem:
    """Keeping and sharing the slots of one layer; see the module's text.

    Parameters
    ----------
    importance : float array, shape (criteria, T, n)
        c, at least 0; see :func:`normalised_importance`.
    distances : float array, shape (T, T, n)
        Relative distance of two tasks' filters in the same slot; see
        :func:`emoref.compress.filter_distances`.
    criteria : sequence of str
        Names of the criteria.
    kept : int, optional
        How many slots each task keeps (a pre-specified pruning rate); left out, that is part of the search
        (adaptive rate).
    least : int
        Least number of slots that a task keeps, where `kept` is left out.
    sharing : bool
        Whether slots may be shared; with False, or one task, the genome has no s and there is no distortion.

    Raises
    ------
    ShapeError
        If the arrays do not fit together.
    ProblemError
        If a number of kept slots is not 1 to n, or no criterion is given.
    """

    def __init__(
        self,
        importance: NDArray[np.float64],
        distances: NDArray[np.float64],
        criteria: Sequence[str],
        kept: int | None = None,
        least: int = 1,
        sharing: bool = True,
    ) -> None:
        shape = importance.shape
        if len(shape) != 3 or len(criteria) != shape[0] or distances.shape != (shape[1], *shape[1:]):
            raise ShapeError(
                f"importance {shape} and distances {distances.shape} of {len(criteria)} criteria must be "
                "(criteria, tasks, n) and (tasks, tasks, n)"
            )
        if not criteria:
            raise ProblemError("choosing slots needs at least one importance criterion")
        self.importance, self.distances, self.criteria = importance, distances, tuple(criteria)
        _, self.tasks, self.slots = shape
        for what, number in (("kept", kept), ("least", least)):
            if number is not None and not 1 <= number <= self.slots:
                raise ProblemError(f"{what} is {number}; a layer of {self.slots} slots keeps 1 to that many")
        self.kept, self.least = kept, least
        self.sharing = sharing and self.tasks > 1
        self.n_var = self.tasks * self.slots + (self.slots if self.sharing else 0)
        self.n_obj = len(self.objectives)
        self.lower, self.upper, self.kind = 0, 1, "binary"
        flat = importance.sum(axis=(1, 2)) <= 0
        self._weights = np.where(flat[:, None, None], 1.0, importance)
        self._mean = importance.mean(axis=(0, 1))
        everyone = np.ones((1, self.tasks, self.slots), dtype=bool)
        self._worst = float((self._mean * self._pair_distance(everyone)).sum())

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives."""
        names = [f"importance lost ({name})" for name in self.criteria] + ["stored filters"]
        return (*names, "sharing distortion") if self.sharing else tuple(names)

    def decode(self, X: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return b, shape (P, T, n), and s, shape (P, n), of genomes.

        Parameters
        ----------
        X : bool array, shape (P, n_var)
            The genomes. An s of a slot that fewer than two tasks keep comes back as False.
        """
        bits: NDArray[np.bool_] = np.array(X, dtype=bool)
        split = self.tasks * self.slots
        b = bits[:, :split].reshape(-1, self.tasks, self.slots)
        s = bits[:, split:] if self.sharing else np.zeros((len(bits), self.slots), dtype=bool)
        return b, s & (b.sum(axis=1) >= 2)

    def evaluate(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the objectives of genomes, shape (P, n_obj).

        Parameters
        ----------
        X : bool array, shape (P, n_var)
            The genomes.
        """
        b, s = self.decode(X)
        held = np.einsum("ptn,ctn->pc", b.astype(np.float64), self._weights)
        lost = 1.0 - held / self._weights.sum(axis=(1, 2))
        stored = np.where(s, 1, b.sum(axis=1)).sum(axis=1) / (self.tasks * self.slots)
        # Keeping everything loses exactly nothing, whatever the order of the sums.
        whole = b.sum(axis=(1, 2)) == self.tasks * self.slots
        columns = [np.where(whole[:, None], 0.0, np.maximum(lost, 0.0)), stored[:, None]]
        if self.sharing:
            distortion = (s * self._mean * self._pair_distance(b)).sum(axis=1)
            columns.append((distortion / self._worst if self._worst > 0 else 0.0 * distortion)[:, None])
        return np.concatenate(columns, axis=1)

    def _pair_distance(self, b: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return for each slot the mean distance over pairs of tasks that keep it, shape (P, n)."""
        total = np.zeros((len(b), self.slots))
        pairs = np.zeros((len(b), self.slots))
        for t, u in combinations(range(self.tasks), 2):
            both = b[:, t] & b[:, u]
            total += both * self.distances[t, u]
            pairs += both
        return total / np.maximum(pairs, 1.0)

    def repair(self, X: NDArray[Any], rng: np.random.Generator) -> NDArray[np.bool_]:
        """Give every task as many slots as it must keep, and clear the s of slots that none or one keeps.

        For each genome and task one of the criteria is drawn; the weakest kept slots are dropped, or the
        strongest removed ones added, according to it.

        Parameters
        ----------
        X : bool array, shape (P, n_var)
            The genomes; not changed.
        rng : numpy.random.Generator
            Draws the criteria.
        """
        b, _ = self.decode(X)
        drawn = rng.integers(len(self.criteria), size=b.shape[:2])
        scores = self.importance[drawn, np.arange(self.tasks)]
        counts = b.sum(axis=2)
        wanted = np.maximum(counts, self.least) if self.kept is None else np.full_like(counts, self.kept)
        # Kept slots come before all removed ones; among each, by importance.
        order = np.argsort(-(scores + (1.0 + scores.max(initial=0.0)) * b), axis=2, kind="stable")
        rank = np.argsort(order, axis=2, kind="stable")
        b = rank < wanted[:, :, None]
        parts = [b.reshape(len(b), -1)]
        if self.sharing:
            s = np.array(X, dtype=bool)[:, self.tasks * self.slots :]
            parts.append(s & (b.sum(axis=1) >= 2))
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class SlotSearch:
    """How a layer is searched; none of it is published, these are emoref's settings.

    Parameters
    ----------
    generations : int
        Generations after the first population.
    crossover_probability : float
        Of uniform crossover.
    mutation_probability : float
        Of each bit; 0 for 1 / number of bits.
    divisions : int
        Of the reference points; 0 for as many as give at most 126 points.
    seed : int
        Seed of the search.
    """

    generations: int = 100
    crossover_probability: float = 0.9
    mutation_probability: float = 0.0
    divisions: int = 0
    seed: int = 0

    def reference_points(self, n_obj: int) -> NDArray[np.float64]:
        """Return the reference points.

        Parameters
        ----------
        n_obj : int
            Number of objectives.
        """
        divisions = self.divisions
        if divisions == 0:
            divisions = 1
            while n_obj > 1 and comb(n_obj + divisions, divisions + 1) <= _POINTS:
                divisions += 1
        return emo.das_dennis(n_obj, divisions)


def search_slots(problem: SlotProblem, settings: SlotSearch) -> tuple[emo.Population, emo.NSGA3]:
    """Search one layer with NSGA-III.

    Parameters
    ----------
    problem : SlotProblem
        The layer.
    settings : SlotSearch
        How long and how.

    Returns
    -------
    initial : emo.Population
        The first population.
    algorithm : emo.NSGA3
        The algorithm at its end, with population, ranks of the last population and counts.
    """
    algorithm = emo.NSGA3(
        problem,
        reference_points=settings.reference_points(problem.n_obj),
        seed=settings.seed,
        sampling=emo.RatioLadder(),
        crossover=emo.UniformCrossover(settings.crossover_probability),
        mutation=emo.BitFlip(settings.mutation_probability or None),
        repair=problem.repair,
    )
    algorithm.step()
    initial = algorithm.population
    assert initial is not None
    algorithm.run(settings.generations)
    return initial, algorithm


def nearest_to_ideal(F: ArrayLike) -> int:
    """Choose the solution with the least Euclidean distance to the ideal point, objectives scaled to [0, 1].

    Parameters
    ----------
    F : float array, shape (N, M)
        Objectives of a front.

    Returns
    -------
    int
        Its row; of equally near ones the first. A constant objective does not count.

    Examples
    --------
    >>> nearest_to_ideal([[0.0, 10.0], [0.25, 2.5], [1.0, 0.0]])
    1
    """
    values = np.asarray(F, dtype=np.float64)
    if values.ndim != 2 or len(values) == 0:
        raise ShapeError(f"a front must have shape (N, M) with N at least 1, got {values.shape}")
    low = values.min(axis=0)
    width = values.max(axis=0) - low
    scaled = (values - low) / np.where(width > 0, width, 1.0)
    return int((scaled**2).sum(axis=1).argmin())
