"""pygmo's (pagmo's) functions as a `Library`; written against pygmo 2.19 and 2.20."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pygmo
from numpy.typing import NDArray

from emoref.verify.conformance.protocol import Library

__all__ = ["library"]

Array = NDArray[Any]


def library() -> Library:
    """Describe pygmo: its sorting, crowding, best-N selection, hypervolume, nsga2, and nsga3 where it is."""
    runs = {"NSGA-II": _run(lambda generations, seed: pygmo.nsga2(gen=generations, seed=seed))}
    if hasattr(pygmo, "nsga3"):  # since 2.20; 6 divisions are the reference points of the kit
        runs["NSGA-III"] = _run(
            lambda generations, seed: pygmo.nsga3(gen=generations, divisions=6, seed=seed)
        )
    return Library(
        "pygmo",
        pygmo.__version__,
        sort=lambda F: np.asarray(pygmo.fast_non_dominated_sorting(F)[3], dtype=np.int64),
        crowd=lambda F: pygmo.crowding_distance(F),
        select={"NSGA-II": _select},
        hypervolume=lambda F, reference: pygmo.hypervolume(F).compute(reference),
        runs=runs,
    )


def _select(F: Array, size: int, W: Array, G: Array | None, seed: int) -> Array:
    if G is not None:
        raise NotImplementedError("pygmo's multi-objective selection takes no constraints")
    return np.asarray(pygmo.select_best_N_mo(F, min(size, len(F))), dtype=np.int64)


class _Wrapped:
    """A problem of emoref's kind as one of pygmo's; constraints add their violation to every objective."""

    def __init__(self, problem: Any) -> None:
        self._problem = problem

    def fitness(self, x: Array) -> Array:
        values = self._problem.evaluate(np.asarray(x)[None])
        F, G = values if isinstance(values, tuple) else (values, np.zeros((1, 1)))
        return F[0] + np.maximum(G[0], 0.0).sum()

    def get_bounds(self) -> tuple[Array, Array]:
        return self._problem.lower, self._problem.upper

    def get_nobj(self) -> int:
        return int(self._problem.n_obj)


def _run(make: Callable[[int, int], Any]) -> Callable[..., Array]:
    def run(problem: Any, population: int, generations: int, seed: int) -> Array:
        start = pygmo.population(pygmo.problem(_Wrapped(problem)), population, seed=seed)
        return pygmo.algorithm(make(generations - 1, seed)).evolve(start).get_f()

    return run
