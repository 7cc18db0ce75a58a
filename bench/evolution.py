"""The steps of evolutionary algorithms, and whole generations, beside pymoo; some steps beside pygmo too.

``python bench/evolution.py`` prints a table of ratios, each side timed in its own processes;
``pytest bench/evolution.py`` times emoref's side with pytest-benchmark.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from bench.peer import compare, median_seconds

SIDES = ("emoref", "pymoo", "pygmo")
POINTS = (100, 1000, 10_000)
OBJECTIVES = (2, 3, 5, 10, 15)
DIVISIONS: dict[int, Any] = {3: 12, 10: (3, 2)}
GENERATIONS = 20
HYPERVOLUME = ((100, 2), (1000, 2), (100, 3), (1000, 3), (50, 4), (50, 5), (30, 8), (30, 10))

Case = tuple[str, Callable[[], object]]


def _uniform(points: int, objectives: int) -> np.ndarray:
    return np.random.default_rng(0).random((points, objectives))


def _sphere(points: int, objectives: int) -> np.ndarray:
    """Return mutually non-dominated points: a front of DTLZ2."""
    F = np.abs(np.random.default_rng(1).standard_normal((points, objectives)))
    return F / np.linalg.norm(F, axis=1, keepdims=True)


def _bits(rows: int, count: int) -> np.ndarray:
    return np.random.default_rng(2).random((rows, count)) < 0.5


def emoref_cases() -> Iterator[Case]:
    """Yield the cases in emoref."""
    from emoref import emo
    from emoref.emo.problems import DTLZ2

    for n in POINTS:
        for m in OBJECTIVES:
            F, front = _uniform(n, m), _sphere(n, m)
            yield f"sort, uniform, N={n} M={m}", lambda F=F: emo.nondominated_ranks(F)
            yield f"sort, one front, N={n} M={m}", lambda F=front: emo.nondominated_ranks(F)
            yield f"crowding, N={n} M={m}", lambda F=front: emo.crowding_distance(F)
    for n, m in HYPERVOLUME:
        F = _sphere(n, m)
        yield f"hypervolume, N={n} M={m}", lambda F=F, m=m: emo.hypervolume(F, np.full(m, 1.1))
    for m, divisions in DIVISIONS.items():
        W = emo.das_dennis(m, divisions)
        F = _sphere(2 * len(W), m)
        yield f"association, M={m} H={len(W)}", lambda F=F, W=W: emo.associate(F, W)
    X, n_var = np.random.default_rng(3).random((2, 500, 30)), 30
    low, high, rng = np.zeros(n_var), np.ones(n_var), np.random.default_rng(4)
    yield "SBX, 500 pairs of 30", lambda: emo.sbx(X[0], X[1], low, high, rng, probability=1.0, eta=30.0)
    yield "polynomial mutation, 500 of 30", lambda: emo.polynomial_mutation(X[0], low, high, rng)
    old, new = _bits(1000, 1000), _bits(1000, 1000)
    yield "duplicates, 1000 masks of 1000 bits", lambda: emo.eliminate_duplicates(new, old)
    for m, divisions in DIVISIONS.items():
        problem, W = DTLZ2(m), emo.das_dennis(m, divisions)
        size = -(-len(W) // 4) * 4

        def nsga2(problem=problem, size=size):
            emo.NSGA2(problem, population_size=size, seed=1).run(GENERATIONS)

        def nsga3(problem=problem, W=W):
            emo.NSGA3(problem, reference_points=W, seed=1).run(GENERATIONS)

        yield f"NSGA-II, {GENERATIONS} generations, M={m}", nsga2
        yield f"NSGA-III, {GENERATIONS} generations, M={m}", nsga3


def pymoo_cases() -> Iterator[Case]:
    """Yield the same of pymoo."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.algorithms.moo.nsga3 import NSGA3, associate_to_niches
    from pymoo.core.duplicate import DefaultDuplicateElimination
    from pymoo.core.population import Population
    from pymoo.indicators.hv import HV
    from pymoo.operators.crossover.sbx import SBX, cross_sbx
    from pymoo.operators.mutation.pm import PM, mut_pm
    from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
    from pymoo.optimize import minimize
    from pymoo.problems import get_problem
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    from emoref import emo

    sorting, crowding = NonDominatedSorting(), get_crowding_function("cd")
    for n in POINTS:
        for m in OBJECTIVES:
            F, front = _uniform(n, m), _sphere(n, m)
            yield f"sort, uniform, N={n} M={m}", lambda F=F: sorting.do(F)
            yield f"sort, one front, N={n} M={m}", lambda F=front: sorting.do(F)
            yield f"crowding, N={n} M={m}", lambda F=front: crowding.do(F)
    for n, m in HYPERVOLUME:
        F = _sphere(n, m)
        yield f"hypervolume, N={n} M={m}", lambda F=F, m=m: HV(ref_point=np.full(m, 1.1))(F)
    for m, divisions in DIVISIONS.items():
        W = emo.das_dennis(m, divisions)
        F = _sphere(2 * len(W), m)
        ideal, nadir = np.zeros(m), np.ones(m)
        yield (
            f"association, M={m} H={len(W)}",
            lambda F=F, W=W, ideal=ideal, nadir=nadir: associate_to_niches(F, W, ideal, nadir),
        )
    X, n_var = np.random.default_rng(3).random((2, 500, 30)), 30
    low, high, rng = np.zeros(n_var), np.ones(n_var), np.random.default_rng(4)
    thirty, half = np.full((500, 1), 30.0), np.full((500, 1), 0.5)
    yield (
        "SBX, 500 pairs of 30",
        lambda: cross_sbx(X, low, high, thirty, half, half, random_state=rng),
    )
    rate, twenty = np.full(500, 1 / n_var), np.full(500, 20.0)
    yield (
        "polynomial mutation, 500 of 30",
        lambda: mut_pm(X[0], low, high, twenty, rate, at_least_once=False, random_state=rng),
    )
    old, new = (Population.new("X", _bits(1000, 1000)) for _ in range(2))
    yield "duplicates, 1000 masks of 1000 bits", lambda: DefaultDuplicateElimination().do(new, old)
    for m, divisions in DIVISIONS.items():
        problem = get_problem("dtlz2", n_var=m + 9, n_obj=m)
        W = emo.das_dennis(m, divisions)
        size = -(-len(W) // 4) * 4

        def nsga2(problem=problem, size=size):
            minimize(problem, NSGA2(pop_size=size), ("n_gen", GENERATIONS), seed=1)

        def nsga3(problem=problem, W=W, size=size):
            operators = {"crossover": SBX(prob=1.0, eta=30), "mutation": PM(eta=20)}
            minimize(problem, NSGA3(W, pop_size=size, **operators), ("n_gen", GENERATIONS), seed=1)

        yield f"NSGA-II, {GENERATIONS} generations, M={m}", nsga2
        yield f"NSGA-III, {GENERATIONS} generations, M={m}", nsga3


def pygmo_cases() -> Iterator[Case]:
    """Yield what pygmo has of it. Its sort takes seconds for the largest population, which is left out."""
    import pygmo

    for n in POINTS[:2]:
        for m in OBJECTIVES:
            F, front = _uniform(n, m), _sphere(n, m)
            yield f"sort, uniform, N={n} M={m}", lambda F=F: pygmo.fast_non_dominated_sorting(F)
            yield f"sort, one front, N={n} M={m}", lambda F=front: pygmo.fast_non_dominated_sorting(F)
    for n, m in HYPERVOLUME:
        F = _sphere(n, m)
        yield (
            f"hypervolume, N={n} M={m}",
            lambda F=F, m=m: pygmo.hypervolume(F).compute(np.full(m, 1.1)),
        )


def cases(side: str) -> Iterator[Case]:
    """Yield the cases of one side of :data:`SIDES`."""
    return {"emoref": emoref_cases, "pymoo": pymoo_cases, "pygmo": pygmo_cases}[side]()


@pytest.mark.parametrize("name", [name for name, _ in emoref_cases()])
def test_step(benchmark, name):
    benchmark(dict(emoref_cases())[name])


def main() -> None:
    """Print the table, or the times of one side as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES, help="time this side and print its seconds as JSON")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps({name: median_seconds(call, seconds=0.3) for name, call in cases(arguments.side)}))
        return
    times = compare("bench.evolution", SIDES, arguments.threads, arguments.rounds)
    print(f"{arguments.threads} threads; ratio = best time of pymoo and pygmo / time of emoref")
    for name, ours in times["emoref"].items():
        peer = min(times[side][name] for side in SIDES[1:] if name in times[side])
        print(f"{name:40}{ours * 1e3:12.4f} ms{peer * 1e3:12.4f} ms{peer / ours:8.2f}")


if __name__ == "__main__":
    main()
