"""DEAP's functions as a `Library`; written against DEAP 1.4."""

import importlib
from collections.abc import Callable
from typing import Any

import deap
import numpy as np
from deap import base, tools
from deap.tools import emo as deap_emo
from numpy.typing import NDArray

from emoref.verify.conformance.protocol import Library, reference_points

__all__ = ["library"]

Array = NDArray[Any]

# DEAP draws from the generators of Python and NumPy that all of a process share.
_python_random = importlib.import_module("random")
_numpy_random = importlib.import_module("numpy.random")


def library() -> Library:
    """Describe DEAP: its sorting, crowding, selNSGA2, selNSGA3, and runs with both."""
    return Library(
        "DEAP",
        deap.__version__,
        sort=_sort,
        crowd=_crowd,
        normalise=_normalise,
        niches=_niches,
        select={"NSGA-II": _select_2, "NSGA-III": _select_3},
        runs={"NSGA-II": _run(_survive_2), "NSGA-III": _run(_survive_3)},
    )


class _Individual(list[float]):
    """Variables with a fitness, as DEAP's creator makes them."""

    def __init__(self, variables: Any, row: int, values: Array) -> None:
        super().__init__(variables)
        self.row = row
        self.fitness = _fitness_class(len(values))()
        self.fitness.values = tuple(float(value) for value in values)


_classes: dict[int, Any] = {}


def _fitness_class(n_obj: int) -> Any:
    if n_obj not in _classes:
        _classes[n_obj] = type(f"Minimised{n_obj}", (base.Fitness,), {"weights": (-1.0,) * n_obj})
    return _classes[n_obj]


def _individuals(F: Array) -> list[_Individual]:
    return [_Individual([], row, values) for row, values in enumerate(F)]


def _rows(individuals: Any) -> Array:
    return np.array([individual.row for individual in individuals], dtype=np.int64)


def _sort(F: Array) -> Array:
    ranks = np.full(len(F), -1, dtype=np.int64)
    for rank, front in enumerate(tools.sortNondominated(_individuals(F), len(F))):
        ranks[_rows(front)] = rank
    return ranks


def _crowd(F: Array) -> Array:
    individuals = _individuals(F)
    deap_emo.assignCrowdingDist(individuals)
    return np.array([individual.fitness.crowding_dist for individual in individuals])


def _points(F: Array) -> tuple[Array, Array]:
    """Return the ideal point, and the intercepts as selNSGA3 computes them for all of F."""
    best, worst = F.min(axis=0), F.max(axis=0)
    extremes = deap_emo.find_extreme_points(F, best)
    return best, deap_emo.find_intercepts(extremes, best, worst, worst)


def _normalise(F: Array) -> Array:
    best, intercepts = _points(F)
    return (F - best) / (intercepts - best + np.finfo(float).eps)  # as in associate_to_niche


def _niches(F: Array, W: Array) -> Array:
    return deap_emo.associate_to_niche(F, W, *_points(F))[0]


def _select_2(F: Array, size: int, W: Array, G: Array | None, seed: int) -> Array:
    _refuse_constraints(G)
    return _rows(tools.selNSGA2(_individuals(F), size))


def _select_3(F: Array, size: int, W: Array, G: Array | None, seed: int) -> Array:
    _refuse_constraints(G)
    return _seeded(seed, lambda: _rows(tools.selNSGA3(_individuals(F), size, W)))


def _refuse_constraints(G: Array | None) -> None:
    if G is not None:
        raise NotImplementedError("DEAP's selections take no constraints")


def _seeded(seed: int, work: Callable[[], Array]) -> Array:
    """Do something with both generators seeded, and put them back."""
    python, numpy = _python_random.getstate(), _numpy_random.get_state()
    try:
        _python_random.seed(seed)
        _numpy_random.seed(seed)
        return work()
    finally:
        _python_random.setstate(python)
        _numpy_random.set_state(numpy)


def _survive_2(individuals: Any, size: int, n_obj: int) -> Any:
    return tools.selNSGA2(individuals, size)


def _survive_3(individuals: Any, size: int, n_obj: int) -> Any:
    return tools.selNSGA3(individuals, size, reference_points(n_obj))


def _run(survive: Callable[[Any, int, int], Any]) -> Callable[..., Array]:
    """Return a run as DEAP's examples make it; constraints add their violation to every objective."""

    def run(problem: Any, population: int, generations: int, seed: int) -> Array:
        lower, upper = problem.lower.tolist(), problem.upper.tolist()

        def evaluated(variables: list[list[float]]) -> list[_Individual]:
            values = problem.evaluate(np.array(variables))
            F, G = values if isinstance(values, tuple) else (values, np.zeros((len(values), 1)))
            penalised = F + np.maximum(G, 0.0).sum(axis=1, keepdims=True)
            return [_Individual(x, 0, f) for x, f in zip(variables, penalised, strict=True)]

        def offspring(parents: list[_Individual]) -> list[list[float]]:
            children = [list(parent) for parent in parents]
            for first, second in zip(children[::2], children[1::2], strict=False):
                tools.cxSimulatedBinaryBounded(first, second, 30.0, lower, upper)
            for child in children:
                tools.mutPolynomialBounded(child, 20.0, lower, upper, 1.0 / len(child))
            return children

        def work() -> Array:
            first = [
                [_python_random.uniform(a, b) for a, b in zip(lower, upper, strict=True)]
                for _ in range(population)
            ]
            individuals = evaluated(first)
            for _ in range(generations - 1):
                parents = _python_random.sample(individuals, len(individuals))
                individuals = survive(individuals + evaluated(offspring(parents)), population, problem.n_obj)
            return np.array([individual.fitness.values for individual in individuals])

        return _seeded(seed, work)

    return run
