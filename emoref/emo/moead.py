"""MOEA/D: Zhang and Li, IEEE Trans. Evol. Comput. 11(6), 2007; Li and Zhang, ibid. 13(2), 2009."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.algorithm import Algorithm
from emoref.emo.mating import eliminate_duplicates, mating
from emoref.emo.population import Population, Result
from emoref.emo.problem import Problem
from emoref.emo.reference_points import check_reference_points
from emoref.emo.scalarisation import (
    SCALARISATIONS,
    Scalarisation,
    boundary_intersection,
    tchebycheff,
    weighted_sum,
)
from emoref.emo.selection import total_violation
from emoref.errors import ProblemError, ShapeError
from emoref.seeding import generator

__all__ = [
    "MOEAD",
    "Replacement",
    "mates",
    "neighbour_replacement",
    "neighbourhoods",
]

NORMALISATIONS = ("none", "range")
"""Names of the ways to make objectives comparable; see `MOEAD`."""

# ---------------------------------------------------------------------------------------- neighbourhood


def neighbourhoods(weights: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """Find the nearest weight vectors of each weight vector, itself included.

    Parameters
    ----------
    weights
        Weight vectors (H, M).
    size
        Number of neighbours T, from 1 to H.

    Returns
    -------
    numpy.ndarray
        The paper's B(i): rows of the nearest, nearest first, of equally near ones the lower row first,
        int64 (H, size).

    Notes
    -----
    Source: Zhang and Li 2007, section III, step 1.2.

    Examples
    --------
    >>> neighbourhoods(np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]), 2)
    array([[0, 1],
           [1, 0],
           [2, 1]])
    """
    nearest = np.empty((len(weights), size), dtype=np.int64)
    for i, w in enumerate(weights):
        # Sorted terms: which of equally near ones is first must not depend on the objectives' order.
        squared = np.sort((weights - w) ** 2, axis=1).sum(axis=1)
        squared[i] = -1.0
        nearest[i] = np.argsort(squared, kind="stable")[:size]
    return nearest


def mates(
    neighbours: NDArray[np.int64],
    subproblems: NDArray[np.int64],
    local: NDArray[np.bool_],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw two different parents for each subproblem, from its neighbourhood or from all.

    Parameters
    ----------
    neighbours
        Neighbourhoods (H, T).
    subproblems
        Subproblems that want a child (n,).
    local
        For each of these, whether parents come from its neighbourhood, (n,).
    rng
        Source of random numbers.

    Returns
    -------
    numpy.ndarray
        Rows of the parents, int64 (n, 2). They are the same one only where there is just one to choose.

    Notes
    -----
    Source: Li and Zhang 2009, section III.
    """
    size = np.where(local, neighbours.shape[1], len(neighbours))
    first = rng.integers(size)
    second = rng.integers(np.maximum(size - 1, 1))
    second = np.where(size > 1, second + (second >= first), 0)
    drawn = np.stack([first, second], axis=1)
    near = neighbours[subproblems[:, None], np.where(local[:, None], drawn, 0)]
    return np.where(local[:, None], near, drawn)


# ------------------------------------------------------------------------------------------ replacement


@dataclass(frozen=True, eq=False)
class Replacement:
    """Which solution each subproblem keeps, and how that came about.

    Parameters
    ----------
    survivors
        For each subproblem the row of its solution among parents and children, parents first, (H,).
    replaced
        All replacements in the order in which they happened: row of the child, and subproblem, (K, 2). A
        later child may replace an earlier one.
    ideal
        The ideal point after the last child (M,); infinite as long as nothing feasible was found.
    units
        What objectives relative to the ideal point were divided by; 1 without normalisation, NaN if there
        was nothing to compare, (M,).
    """

    survivors: NDArray[np.int64]
    replaced: NDArray[np.int64]
    ideal: NDArray[np.float64]
    units: NDArray[np.float64]


def neighbour_replacement(
    F: NDArray[np.float64],
    subproblems: NDArray[np.int64],
    local: NDArray[np.bool_],
    weights: NDArray[np.float64],
    neighbours: NDArray[np.int64],
    ideal: NDArray[np.float64],
    rng: np.random.Generator,
    G: NDArray[np.float64] | None = None,
    *,
    scalarise: Scalarisation = tchebycheff,
    limit: int | None = None,
    normalisation: str = "none",
) -> Replacement:
    """Offer each child to the subproblems that its parents came from, one child after the other.

    For each child, in row order::

        z_m = min(z_m, F_m(child))                                         the ideal point
        for j in the child's subproblems, in random order:
            if g(child | w_j, z) <= g(solution of j | w_j, z):
                the child becomes the solution of j                        at most `limit` times

    A subproblem's solution is also replaced if it violates more than the child, and not if it violates
    less. If both violate equally much, it stays. A child whose evaluation failed replaces nothing, and any
    other child replaces a solution whose evaluation failed. Only feasible children move the ideal point.

    Parameters
    ----------
    F
        Objective values (H + n, M): the solutions of the H subproblems, then n children.
    subproblems
        Subproblem that each child was made for, (n,).
    local
        Whether the child's parents came from that subproblem's neighbourhood, (n,). If not, it is offered to
        all subproblems.
    weights
        Weight vectors (H, M).
    neighbours
        Neighbourhoods (H, T).
    ideal
        Ideal point before the first child (M,); infinite if nothing feasible is known.
    rng
        Source of random numbers, for the order within neighbourhoods. Without `limit` it has no effect on
        who survives.
    G
        Constraint values (H + n, K), at most 0 is feasible; None for no constraint.
    scalarise
        Function of objectives relative to the ideal point and weights, such as `tchebycheff`.
    limit
        How many subproblems a child may take, the paper's n_r; None for any number.
    normalisation
        ``"none"``, or ``"range"``: objectives relative to the ideal point are divided by the distance from
        the ideal point to the largest values among the feasible solutions of the subproblems, as they are
        before the first child. Where that is 0, children count too; where it still is 0, it is 1.

    Returns
    -------
    Replacement
        The solutions of the subproblems, the replacements and the ideal point.

    Raises
    ------
    ProblemError
        If the normalisation is unknown.

    Notes
    -----
    Sources: Zhang and Li 2007, section III, steps 2.3 and 2.4, also for dividing by the range of the
    population; Li and Zhang 2009, section III, for the limit. In the papers a child is made and offered
    before the next one is made; here all are made first, from the parents of the generation, so that they
    can be evaluated together. The treatment of constraints and failures is not published; emoref uses the
    above.
    """
    if normalisation not in NORMALISATIONS:
        raise ProblemError(
            f"normalisation is {normalisation!r}; it must be one of {', '.join(NORMALISATIONS)}"
        )
    count = len(weights)
    violation = total_violation(F, G)
    feasible = violation == 0.0
    # The units hold for the whole generation; the ideal point moves with every child.
    units = _units(F, feasible, count, ideal) if normalisation == "range" else np.ones_like(ideal)
    survivors = np.arange(count)
    replaced: list[tuple[int, int]] = []
    for k in range(len(subproblems)):
        child = count + k
        if not np.isfinite(violation[child]):
            continue
        pool = rng.permutation(neighbours[subproblems[k]] if local[k] else np.arange(count))
        better = violation[child] < violation[survivors[pool]]
        if feasible[child]:
            ideal = np.minimum(ideal, F[child])
            both = pool[feasible[survivors[pool]]]
            old = scalarise((F[survivors[both]] - ideal) / units, weights[both])
            new = scalarise((F[child] - ideal) / units, weights[both])
            better[feasible[survivors[pool]]] = new <= old
        taken = pool[better][:limit]
        survivors[taken] = child
        replaced.extend((child, int(j)) for j in taken)
    return Replacement(survivors, np.array(replaced, dtype=np.int64).reshape(-1, 2), ideal, units)


def _ideal(F: NDArray[np.float64], feasible: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(F[feasible].min(axis=0, initial=np.inf), dtype=np.float64)


def _units(
    F: NDArray[np.float64], feasible: NDArray[np.bool_], count: int, ideal: NDArray[np.float64]
) -> NDArray[np.float64]:
    lowest = np.minimum(ideal, _ideal(F, feasible))
    everything = F[feasible].max(axis=0, initial=-np.inf)
    parents = F[:count][feasible[:count]].max(axis=0, initial=-np.inf)
    if not np.isfinite(everything).all():
        return np.full(len(lowest), np.nan)
    width = np.where(parents - lowest > 0.0, parents - lowest, everything - lowest)
    return np.where(width > 0.0, width, 1.0)


# -------------------------------------------------------------------------------------------- algorithm


class MOEAD(Algorithm):
    """The evolutionary algorithm that decomposes the problem into one subproblem for each weight vector.

    One generation, where subproblem i has the weights w_i, the neighbourhood B(i) and the solution x_i::

        for each subproblem i                                            ask
            P = B(i) with probability delta, otherwise all               mates
            y_i = child of two solutions of P
        evaluate all y_i                                                 the caller, or step
        for each subproblem i, in order                                  tell: neighbour_replacement
            z = min(z, F(y_i))
            y_i replaces x_j for at most n_r subproblems j of P
                for which g(y_i | w_j, z) <= g(x_j | w_j, z)

    The population is the list of the subproblems' solutions, in the order of the weight vectors. A solution
    may serve several subproblems; `result` lists it once.

    Parameters
    ----------
    problem
        The problem; see `emoref.emo.problem.Problem`.
    weights
        Weight vectors (H, n_obj): non-negative, each summing to one; see `emoref.emo.das_dennis`. There
        are as many solutions as weight vectors.
    seed
        Seed of the run.
    scalarisation
        ``"tchebycheff"``, ``"pbi"`` (see `boundary_intersection`) or ``"weighted_sum"``.
    theta
        Penalty of ``"pbi"``.
    neighbours
        Size T of the neighbourhoods, at most H; None for 20, or H if that is less.
    delta
        Probability that parents come from the neighbourhood alone; 1 is the algorithm of 2007.
    limit
        How many solutions a child may replace, n_r; None, for any number, is the algorithm of 2007.
    normalisation
        ``"none"`` or ``"range"``; see `neighbour_replacement`. With ``"range"``, results do not depend on
        the objectives' units.
    **options
        `sampling`, `crossover`, `mutation`, `repair`, `duplicates`, `attempts` and `reference`, as in
        `emoref.emo.algorithm.Algorithm`. Of the two children of a pair one is taken, each equally likely.
        A subproblem all of whose attempts make duplicates has no child in that generation.

    Attributes
    ----------
    ideal : numpy.ndarray
        The paper's z, the smallest value of each objective among all feasible candidates so far. Part of the
        state.
    survival : Replacement or None
        The last replacement, for those who want to see which child served where. Not part of the state.

    Raises
    ------
    ProblemError, ShapeError
        If the problem, the weights, a size or a setting makes no sense.

    Notes
    -----
    T = 20, delta = 0.9 and n_r = 2 are the settings of Li and Zhang 2009 [memory]. The external population of
    the 2007 paper, which has no effect on the search, is left out, as in 2009. If sampling finds fewer
    different candidates than there are subproblems, they are dealt out in turn.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        weights: Any,
        seed: int = 0,
        scalarisation: str = "tchebycheff",
        theta: float = 5.0,
        neighbours: int | None = None,
        delta: float = 0.9,
        limit: int | None = 2,
        normalisation: str = "none",
        **options: Any,
    ) -> None:
        W = check_reference_points(weights, problem.n_obj)
        if "population_size" in options or "offspring_size" in options:
            raise ProblemError(f"MOEA/D has one solution and one child for each of the {len(W)} weights")
        super().__init__(problem, population_size=len(W), seed=seed, **options)
        _check_name("scalarisation", scalarisation, SCALARISATIONS)
        _check_name("normalisation", normalisation, NORMALISATIONS)
        if not 0.0 <= theta < np.inf:
            raise ProblemError(f"theta is {theta}; it must be at least 0")
        if not 0.0 <= delta <= 1.0:
            raise ProblemError(f"delta is {delta}; it must be between 0 and 1")
        if limit is not None and (not isinstance(limit, int | np.integer) or limit < 1):
            raise ProblemError(f"limit is {limit!r}; it must be an integer of at least 1, or None")
        size = min(20, len(W)) if neighbours is None else neighbours
        if not isinstance(size, int | np.integer) or not 1 <= size <= len(W):
            raise ProblemError(f"neighbours is {size!r}; it must be an integer from 1 to {len(W)}")
        self.weights = W
        self.scalarisation = scalarisation
        self.theta = float(theta)
        self.neighbours = neighbourhoods(W, int(size))
        self.delta = float(delta)
        self.limit = limit
        self.normalisation = normalisation
        self.ideal = np.full(problem.n_obj, np.inf)
        self.survival: Replacement | None = None
        self._subproblems = np.arange(len(W))
        self._local = np.ones(len(W), dtype=np.bool_)

    def scalarise(self, F: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values g of objectives relative to the ideal point; see `SCALARISATIONS`."""
        if self.scalarisation == "tchebycheff":
            return tchebycheff(F, weights)
        if self.scalarisation == "pbi":
            return boundary_intersection(F, weights, self.theta)
        return weighted_sum(F, weights)

    def result(self) -> Result:
        """Return what was found so far; see `emoref.emo.algorithm.Algorithm.result`."""
        found = super().result()
        front = found.population.take(eliminate_duplicates(found.population.X)).front()
        return Result(front.X, front.F, front.G, found.population, found.history)

    def _choose_parents(
        self, population: Population, count: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        return mates(self.neighbours, self._subproblems, self._local, rng).ravel()[:count]

    def _breed(self, population: Population) -> NDArray[Any]:
        rng = generator(self.seed, "emo.mating", self.generation)
        local = rng.random(len(self.weights)) < self.delta
        waiting = np.arange(len(self.weights))
        rows, made_for = population.X[:0], waiting[:0]
        for _ in range(self.attempts):
            self._subproblems, self._local = waiting, local[waiting]
            parents = self._choose_parents(population, 2 * len(waiting), rng)
            pairs = mating(population.X, parents, self.variables, self.crossover, self.mutation, rng)
            one_of_two = 2 * np.arange(len(waiting)) + rng.integers(2, size=len(waiting))
            X = self._repaired(pairs[one_of_two], rng)
            new = np.ones(len(X), dtype=np.bool_)
            if not self.duplicates:
                new = eliminate_duplicates(X, np.concatenate([population.X, rows]))
            rows = np.concatenate([rows, X[new]])
            made_for = np.concatenate([made_for, waiting[new]])
            waiting = waiting[~new]
            if len(waiting) == 0:
                break
        in_order = np.argsort(made_for)
        self._subproblems = made_for[in_order]
        self._local = local[self._subproblems]
        return rows[in_order]

    def _survive(self, candidates: Population) -> Population:
        if self.generation == 0:
            dealt = np.arange(len(self.weights)) % len(candidates)
            self.ideal = _ideal(candidates.F, candidates.feasible)
            nothing = np.empty((0, 2), dtype=np.int64)
            self.survival = Replacement(dealt, nothing, self.ideal, np.full_like(self.ideal, np.nan))
        else:
            self.survival = neighbour_replacement(
                candidates.F,
                self._subproblems,
                self._local,
                self.weights,
                self.neighbours,
                self.ideal,
                generator(self.seed, "emo.replacement", self.generation),
                candidates.G,
                scalarise=self.scalarise,
                limit=self.limit,
                normalisation=self.normalisation,
            )
            self.ideal = self.survival.ideal
        return candidates.take(self.survival.survivors)

    def _own_state(self) -> dict[str, Any]:
        return {"ideal": self.ideal.copy()}

    def _restore_own(self, state: Mapping[str, Any]) -> None:
        ideal = np.asarray(state["ideal"], dtype=np.float64)
        if ideal.shape != (self.problem.n_obj,) or len(state["X"]) not in (0, len(self.weights)):
            raise ShapeError(
                f"the stored state has {len(state['X'])} candidates and an ideal point {ideal.shape} for "
                f"{len(self.weights)} weights and {self.problem.n_obj} objectives"
            )
        self.ideal = ideal
        self.survival = None


def _check_name(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ProblemError(f"{what} is {name!r}; it must be one of {', '.join(known)}")
