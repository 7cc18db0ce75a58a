"""The multi-objective 0/1 knapsack problem: Zitzler and Thiele, IEEE Trans. Evol. Comput. 3(4), 1999.

Each of M knapsacks has its own weight, profit and capacity; an item is put into all of them or into none.
Profits are maximised, so they are returned with a minus sign.
"""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problems.base import Benchmark, whole
from emoref.emo.problems.fronts import Front, PointFront
from emoref.emo.ranking import nondominated_ranks
from emoref.errors import ProblemError, ShapeError
from emoref.seeding import generator

__all__ = ["Knapsack", "pareto_by_dynamic_programming", "pareto_by_enumeration"]

Integers = NDArray[np.int64]

MOST_ENUMERATED = 20
"""Items up to which all selections may be tried."""

MOST_STATES = 20_000
"""Partial selections up to which dynamic programming goes on."""


class Knapsack(Benchmark):
    """M knapsacks and n items that go into all of them or none.

    Parameters
    ----------
    n_items
        Number of items n, at least 1; published: 250, 500, 750.
    n_obj
        Number of knapsacks M, at least 1; published: 2, 3, 4.
    seed
        Seed of the random instance: weights and profits are whole numbers from 10 to 100, and a capacity
        is half the sum of the weights, rounded down.
    repaired
        Whether candidates that are too heavy are evaluated as `repair` would leave them (published), in
        which case there are no constraints; else their excess weights are constraints.

    Attributes
    ----------
    weights, profits : numpy.ndarray
        Whole numbers (n_obj, n_items).
    capacities : numpy.ndarray
        Whole numbers (n_obj,).

    Notes
    -----
    The published instances were random too, with weights and profits from 10 to 100; their numbers differ.
    The true front is exact, and found by dynamic programming; that takes about a second for 40 items and
    two knapsacks, and is given up beyond 20,000 partial selections.
    """

    kind = "binary"

    def __init__(self, n_items: int = 20, n_obj: int = 2, seed: int = 1, repaired: bool = True) -> None:
        name = type(self).__name__
        self.n_var = whole(name, "n_items", n_items, 1)
        self.n_obj = whole(name, "n_obj", n_obj, 1)
        rng = generator(whole(name, "seed", seed, 0), "emo.problems.knapsack", n_items, n_obj)
        weights = rng.integers(10, 101, (n_obj, n_items))
        self._set(weights, rng.integers(10, 101, (n_obj, n_items)), weights.sum(axis=1) // 2, repaired)

    @classmethod
    def of(cls, weights: Any, profits: Any, capacities: Any, repaired: bool = True) -> "Knapsack":
        """Return the problem of a given instance.

        Parameters
        ----------
        weights, profits
            Positive whole numbers (n_obj, n_items).
        capacities
            Whole numbers (n_obj,), not negative.
        repaired
            As for the class.

        Raises
        ------
        ShapeError, ProblemError
            If they do not fit together, or a number is no whole one or too small.
        """
        w, p, c = (_whole_numbers(*pair) for pair in zip(
            ("weights", "profits", "capacities"), (weights, profits, capacities), (1, 1, 0), strict=True
        ))  # fmt: skip
        if w.ndim != 2 or w.size == 0 or p.shape != w.shape or c.shape != w.shape[:1]:
            raise ShapeError(
                f"weights {w.shape}, profits {p.shape} and capacities {c.shape} do not fit; they must be "
                "(knapsacks, items), the same, and (knapsacks,)"
            )
        problem = cls.__new__(cls)
        problem.n_obj, problem.n_var = w.shape
        problem._set(w, p, c, repaired)
        return problem

    def _set(self, weights: Integers, profits: Integers, capacities: Integers, repaired: bool) -> None:
        self.weights, self.profits, self.capacities = weights, profits, capacities
        self.repaired = repaired
        self.lower = np.zeros(self.n_var)
        self.upper = np.ones(self.n_var)

    @cached_property
    def removal_order(self) -> Integers:
        """Items in the order in which `repair` takes them out: smallest best profit per weight first.

        The best is over the knapsacks; of equal items the first goes first.
        """
        return np.argsort((self.profits / self.weights).max(axis=0), kind="stable")

    def repair(self, X: Any, rng: np.random.Generator | None = None) -> NDArray[np.bool_]:
        """Take items out, those of least profit per weight first, until all capacities hold.

        Parameters
        ----------
        X
            Selections (N, n_items), bool or 0 and 1.
        rng
            Not used; it is there so that the method can be passed to an algorithm as ``repair``.

        Returns
        -------
        numpy.ndarray
            Selections that fit, bool (N, n_items). Those that fitted before are unchanged.
        """
        X = self._checked(X).copy()
        load = X @ self.weights.T
        for item in self.removal_order:
            out = X[:, item] & (load > self.capacities).any(axis=1)
            X[out, item] = False
            load -= np.outer(out, self.weights[:, item])
        return X

    def _evaluate(self, X: NDArray[np.bool_]) -> Any:
        if self.repaired:
            return -(self.repair(X) @ self.profits.T).astype(np.float64)
        excess = X @ self.weights.T - self.capacities
        return -(X @ self.profits.T).astype(np.float64), excess.astype(np.float64)

    def _make_front(self) -> Front:
        profits = pareto_by_dynamic_programming(self.weights, self.profits, self.capacities)
        return PointFront(-profits)


def pareto_by_enumeration(weights: Integers, profits: Integers, capacities: Integers) -> Integers:
    """Return the non-dominated profits by trying all selections: the definition.

    Parameters
    ----------
    weights, profits
        (M, n), n at most 20.
    capacities
        (M,).

    Returns
    -------
    numpy.ndarray
        Profits (points, M), each once, in ascending order of the first.

    Raises
    ------
    ProblemError
        If there are too many items.
    """
    n = weights.shape[1]
    if n > MOST_ENUMERATED:
        raise ProblemError(f"{n} items have 2**{n} selections; use at most {MOST_ENUMERATED} items")
    X = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    fits = (capacities >= X @ weights.T).all(axis=1)
    return _best(np.unique(X[fits] @ profits.T, axis=0))


def pareto_by_dynamic_programming(weights: Integers, profits: Integers, capacities: Integers) -> Integers:
    """Return the non-dominated profits by adding item after item to partial selections.

    Of two partial selections, one that is nowhere heavier and nowhere less profitable makes the other
    superfluous, whatever is added later.

    Parameters and results are those of `pareto_by_enumeration`, for more items.

    Raises
    ------
    ProblemError
        If there are more than 20,000 partial selections.

    Notes
    -----
    Source: Nemhauser and Ullmann, Management Sci. 15(9), 1969, for one knapsack; for several, weights are
    compared in each of them.
    """
    m, n = weights.shape
    # Columns: loads of the knapsacks, then profits with a minus sign; all are better if smaller.
    states = np.zeros((1, 2 * m), dtype=np.int64)
    for item in range(n):
        added = states + np.concatenate([weights[:, item], -profits[:, item]])
        fits = (added[:, :m] <= capacities).all(axis=1)
        states = np.vstack([states, added[fits]])
        # A load that leaves room for all later items may as well be as large as that.
        states[:, :m] = np.maximum(states[:, :m], capacities - weights[:, item + 1 :].sum(axis=1))
        states = np.unique(states, axis=0)
        states = states[nondominated_ranks(states) == 0]
        if len(states) > MOST_STATES:
            raise ProblemError(
                f"after {item + 1} of {n} items there are {len(states)} partial selections; the true front "
                "is found for small instances only, of up to about 40 items"
            )
    return _best(np.unique(-states[:, m:], axis=0))


def _best(profits: Integers) -> Integers:
    return profits[nondominated_ranks(-profits) == 0]


def _whole_numbers(name: str, values: Any, least: int) -> Integers:
    try:
        array = np.asarray(values)
    except ValueError:
        raise ShapeError(f"{name} has rows of different lengths") from None
    if array.dtype.kind not in "iu" or (array < least).any():
        raise ProblemError(f"{name} must be whole numbers of at least {least}")
    return array.astype(np.int64)
