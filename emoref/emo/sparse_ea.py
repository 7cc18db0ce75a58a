"""SparseEA, for solutions that are mostly zero: Tian, Zhang, Wang, Jin, IEEE TEVC 24(2), 2020.

A candidate is the product of two parts: real decision variables ``dec`` and a mask of bits, x = dec * mask.
The mask decides which variables are zero, and is varied with the help of a score for each variable, found
before the search begins. For binary problems x is the mask itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.algorithm import Algorithm
from emoref.emo.mating import eliminate_duplicates, fill_with_new_rows, mating
from emoref.emo.population import Population
from emoref.emo.problem import Problem
from emoref.emo.selection import Survival, binary_tournament, environmental_selection, total_violation
from emoref.emo.sparse_masks import (
    SCORINGS,
    mask_crossover,
    mask_mutation,
    sample_masks,
    scoring_masks,
    variable_scores,
)
from emoref.errors import ProblemError, ShapeError
from emoref.seeding import generator

__all__ = ["SparseEA", "sparse_selection"]

# ------------------------------------------------------------------------------------------- selection


def sparse_selection(F: NDArray[np.float64], size: int, G: NDArray[np.float64] | None = None) -> Survival:
    """Choose the next population as NSGA-II does, but with candidates of equal objectives counting once.

    Sparse problems have many different candidates of equal objective values. Of these only the first takes
    part in the selection (`environmental_selection`). The others get the rank after all that take part and
    survive only if there is room left; failed candidates come after them.

    Parameters
    ----------
    F
        Objective values (N, M) of parents and offspring together.
    size
        Number of survivors. All survive if there are no more.
    G
        Constraint values (N, K), at most 0 is feasible; None for no constraint.

    Returns
    -------
    Survival
        Survivors, ranks and distances. The distance of copies is 0, that of candidates in fronts that were
        not looked at NaN.

    Notes
    -----
    Source: the authors' program (environmental selection of SparseEA in PlatEMO), where copies are removed
    and the population shrinks. That they may fill it up is not published; emoref uses the above.
    """
    usable = np.isfinite(total_violation(F, G))
    values = F if G is None else np.hstack([F, np.maximum(G, 0.0)])
    first = np.zeros(len(F), dtype=np.bool_)
    first[np.unique(values, axis=0, return_index=True)[1]] = True
    chosen, copies, failed = (np.flatnonzero(rows) for rows in (usable & first, usable & ~first, ~usable))
    ranks, distances = np.zeros(len(F), dtype=np.int64), np.full(len(F), np.nan)
    survivors, next_rank = chosen, 0
    if len(chosen) > 0:
        best = environmental_selection(F[chosen], size, None if G is None else G[chosen])
        ranks[chosen], distances[chosen] = best.ranks, best.distances
        survivors, next_rank = chosen[best.survivors], int(best.ranks.max()) + 1
    for rows in (copies, failed):
        ranks[rows], distances[rows] = next_rank, 0.0
        next_rank += len(rows) > 0
        survivors = np.concatenate([survivors, rows[: max(0, size - len(survivors))]])
    return Survival(survivors, ranks, distances)


# -------------------------------------------------------------------------------------------- algorithm


@dataclass(frozen=True, eq=False)
class Parts:
    """The two parts of candidates.

    Parameters
    ----------
    dec
        Decision variables in the type of the problem (N, D); 1 where they are binary.
    mask
        Which of them count (N, D).
    """

    dec: NDArray[Any]
    mask: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> "Parts":
        """Return the parts of some rows."""
        return Parts(self.dec[rows], self.mask[rows])

    def join(self, other: "Parts") -> "Parts":
        """Return these parts followed by those of `other`."""
        return Parts(np.concatenate([self.dec, other.dec]), np.concatenate([self.mask, other.mask]))

    def candidates(self, off: NDArray[Any]) -> NDArray[Any]:
        """Return the candidates themselves; `off` has the value of each variable without its bit, (D,)."""
        return np.where(self.mask, self.dec, off)


class SparseEA(Algorithm):
    """The evolutionary algorithm for problems whose best solutions are mostly zero.

    With P the population, D the number of variables and N the population's size (algorithms 1 to 3 of the
    paper)::

        score each variable by candidates with it alone                  generation 1: scoring_masks
                                                                                       variable_scores
        P = N candidates whose masks prefer good variables               generation 2: sample_masks
        in every further generation
            P' = 2N parents from P by binary tournament                  ask: binary_tournament
            Q = one child of each pair                                        mask_crossover, mask_mutation,
                                                                              crossover and mutation of dec
            evaluate Q                                                   the caller, or step
            P = N best of P + Q without copies                           tell: sparse_selection

    Scoring takes ``rounds * D`` evaluations, fewer if some of the candidates are equal. They are asked for
    and told like all others: they are generation 1, and the best N of the candidates compete with the first
    sampled ones, as in the authors' program. The scores are part of the state.

    Parameters
    ----------
    problem
        The problem; see `emoref.emo.problem.Problem`. Where zero is out of a variable's bounds, the bound
        next to it is meant by zero.
    population_size
        Number of survivors of each generation.
    seed
        Seed of the run.
    scoring
        ``"one-hot"``, as in the paper, or ``"drop-one"``, emoref's variant for masks of filters; see
        `variable_scores`.
    rounds
        How often each variable is scored, each time with other values of dec; None for 5, or 1 if all
        variables are binary and so have no other values.
    **options
        `offspring_size`, `sampling` (of dec), `crossover` and `mutation` (of dec), `repair`, `duplicates`,
        `attempts` and `reference`, as in `emoref.emo.algorithm.Algorithm`. Binary variables have a mask
        only. After a repair, mask and dec are what the repaired candidate says: zero is masked.

    Attributes
    ----------
    scores : numpy.ndarray
        Score of each variable, the lower the better; no rows before the end of generation 1. Part of the
        state.
    parts
        ``parts.dec`` and ``parts.mask`` of the population. Part of the state.
    ranks, distances : numpy.ndarray
        Rank and crowding distance of each member of the population. Part of the state.
    survival : Survival or None
        The last environmental selection. Not part of the state.

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
        scoring: str = "one-hot",
        rounds: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(problem, population_size=population_size, seed=seed, **options)
        if scoring not in SCORINGS:
            raise ProblemError(f"scoring is {scoring!r}; it must be one of {', '.join(SCORINGS)}")
        if rounds is not None and (not isinstance(rounds, int | np.integer) or rounds < 1):
            raise ProblemError(f"rounds is {rounds!r}; it must be an integer of at least 1")
        self._off = np.clip(0.0, self.variables.lower, self.variables.upper).astype(self.variables.dtype)
        self._binary = np.array([kind == "binary" for kind in self.variables.kinds])
        self.scoring = scoring
        self.rounds = (1 if self._binary.all() else 5) if rounds is None else int(rounds)
        self.scores = np.empty(0, dtype=np.int64)
        self.parts = self._no_parts()
        self.ranks: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.distances: NDArray[np.float64] = np.empty(0)
        self.survival: Survival | None = None
        self._asked_parts = self._no_parts()
        self._scored = np.empty(0, dtype=np.int64)  # for each scoring mask, the row that was asked for

    # ---------------------------------------------------------------------------------------- asking

    def _sample(self) -> NDArray[Any]:
        rng = generator(self.seed, "emo.sampling", self.generation)
        masks = scoring_masks(self.variables.count, self.rounds, self.scoring)
        parts = self._repaired_parts(Parts(self._sample_dec(len(masks), rng), masks), rng)
        rows = np.arange(len(masks))
        self._scored = rows
        if not self.duplicates:
            rows, self._scored = _first_of_equals(parts.candidates(self._off))
        self._asked_parts = parts.take(rows)
        return self._asked_parts.candidates(self._off)

    def _breed(self, population: Population) -> NDArray[Any]:
        rng = generator(self.seed, "emo.mating", self.generation)
        made = self.parts.take(np.arange(0))

        def make(count: int) -> NDArray[Any]:
            nonlocal made
            if self.generation == 1:
                parts = Parts(self._sample_dec(count, rng), sample_masks(count, self.scores, rng))
            else:
                parts = self._offspring(population, count, rng)
            parts = self._repaired_parts(parts, rng)
            made = made.join(parts)
            return parts.candidates(self._off)

        count = self.population_size if self.generation == 1 else self.offspring_size
        if self.duplicates:
            make(count)
            self._asked_parts = made
        else:
            fill_with_new_rows(make, count, population.X, self.attempts)
            new = eliminate_duplicates(made.candidates(self._off), population.X)
            self._asked_parts = made.take(np.flatnonzero(new))
        return self._asked_parts.candidates(self._off)

    def _sample_dec(self, count: int, rng: np.random.Generator) -> NDArray[Any]:
        if self._binary.all():
            return np.ones((count, self.variables.count), dtype=np.bool_)
        dec = self.variables.check(self.sampling(count, self.variables, rng), "sampling")
        if len(dec) != count:
            raise ShapeError(f"sampling returned {len(dec)} candidates; {count} were asked for")
        dec[:, self._binary] = 1
        return dec

    def _choose_parents(
        self, population: Population, count: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        return binary_tournament(self.ranks, self.distances, count, rng)

    def _offspring(self, population: Population, count: int, rng: np.random.Generator) -> Parts:
        parents = self._choose_parents(population, 2 * count, rng)
        masks = self.parts.mask
        mask = mask_crossover(masks[parents[0::2]], masks[parents[1::2]], self.scores, rng)
        mask = mask_mutation(mask, self.scores, rng)
        if self._binary.all():
            return Parts(np.ones_like(mask), mask)
        pairs = mating(self.parts.dec, parents, self.variables, self.crossover, self.mutation, rng)
        dec = pairs[2 * np.arange(count) + rng.integers(2, size=count)]
        dec[:, self._binary] = 1
        return Parts(dec, mask)

    def _repaired_parts(self, parts: Parts, rng: np.random.Generator) -> Parts:
        if self.repair is None:
            return parts
        X = self._repaired(parts.candidates(self._off), rng)
        mask = self._off != X
        return Parts(np.where(mask, X, parts.dec), mask)

    # --------------------------------------------------------------------------------------- telling

    def tell(self, F: Any, G: Any = None) -> None:
        """Go to the next generation; see `emoref.emo.algorithm.Algorithm.tell`."""
        asked, first = len(self.ask()), self.generation == 0
        candidates = self.parts.join(self._asked_parts)
        super().tell(F, G)
        if first:
            F, G = np.asarray(F, dtype=np.float64), None if G is None else np.asarray(G, dtype=np.float64)
            G = None if G is None else G[self._scored]
            self.scores = variable_scores(F[self._scored], self.variables.count, G, self.scoring)
        if asked > 0 and self.survival is not None:
            self.parts = candidates.take(self.survival.survivors)

    def _survive(self, candidates: Population) -> Population:
        self.survival = sparse_selection(candidates.F, self.population_size, candidates.G)
        survivors = self.survival.survivors
        self.ranks = self.survival.ranks[survivors]
        self.distances = self.survival.distances[survivors]
        return candidates.take(survivors)

    # ----------------------------------------------------------------------------------------- state

    def _no_parts(self) -> Parts:
        shape = (0, self.variables.count)
        return Parts(np.empty(shape, self.variables.dtype), np.empty(shape, np.bool_))

    def _own_state(self) -> dict[str, Any]:
        return {
            "dec": self.parts.dec.copy(),
            "mask": self.parts.mask.copy(),
            "scores": self.scores.copy(),
            "ranks": self.ranks.copy(),
            "distances": self.distances.copy(),
        }

    def _restore_own(self, state: Mapping[str, Any]) -> None:
        rows, n_var = len(state["X"]), self.variables.count
        told = int(state["generation"]) > 0
        expected = {
            "dec": (rows, n_var),
            "mask": (rows, n_var),
            "scores": (n_var if told else 0,),
            "ranks": (rows,),
            "distances": (rows,),
        }
        for name, shape in expected.items():
            if state[name].shape != shape:
                raise ShapeError(f"the stored state has {name} {state[name].shape}; it must be {shape}")
        dec = self.variables.check(state["dec"], "the stored state")
        self.parts = Parts(dec, state["mask"].astype(np.bool_))
        self.scores = state["scores"].astype(np.int64)
        self.ranks, self.distances = state["ranks"].astype(np.int64), state["distances"].astype(np.float64)
        self.survival = None


def _first_of_equals(X: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of `X` that differ from all before, and for each row which of these it equals."""
    _, first, place = np.unique(X, axis=0, return_index=True, return_inverse=True)
    in_order = np.argsort(first)
    return first[in_order], np.argsort(in_order)[place.reshape(-1)]
