"""pymoo's functions as a `Library`; written against pymoo 0.6.2."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pymoo
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.nsga3 import (
    NSGA3,
    HyperplaneNormalization,
    ReferenceDirectionSurvival,
    associate_to_niches,
)
from pymoo.algorithms.moo.unsga3 import UNSGA3
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.indicators.gd import GD
from pymoo.indicators.gd_plus import GDPlus
from pymoo.indicators.hv import HV
from pymoo.indicators.igd import IGD
from pymoo.indicators.igd_plus import IGDPlus
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding
from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
from pymoo.optimize import minimize
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from emoref.verify.conformance.protocol import Library, reference_points

__all__ = ["library"]

Array = NDArray[Any]


def library() -> Library:
    """Describe pymoo: its sorting, crowding, survivals, NSGA-II, NSGA-III, U-NSGA-III and indicators."""
    return Library(
        "pymoo",
        pymoo.__version__,
        sort=_sort,
        crowd=lambda F: get_crowding_function("cd").do(F),
        normalise=_normalise,
        niches=lambda F, W: _associate(_normalise(F), W),
        select={
            "NSGA-II": _select(lambda W: RankAndCrowding()),
            "NSGA-III": _select(ReferenceDirectionSurvival),
        },
        hypervolume=lambda F, reference: HV(ref_point=reference)(F),
        indicators={
            "GD": lambda F, front: GD(front)(F),
            "GD+": lambda F, front: GDPlus(front)(F),
            "IGD": lambda F, front: IGD(front)(F),
            "IGD+": lambda F, front: IGDPlus(front)(F),
        },
        runs={
            "NSGA-II": _run(lambda n_obj, size: NSGA2(pop_size=size)),
            "NSGA-III": _run(lambda n_obj, size: NSGA3(reference_points(n_obj), pop_size=size)),
            "U-NSGA-III": _run(lambda n_obj, size: UNSGA3(reference_points(n_obj), pop_size=size)),
        },
    )


def _sort(F: Array) -> Array:
    return NonDominatedSorting().do(F, return_rank=True)[1]


def _normalise(F: Array) -> Array:
    normalisation = HyperplaneNormalization(F.shape[1])
    normalisation.update(F, nds=np.flatnonzero(_sort(F) == 0))
    ideal, nadir = normalisation.ideal_point, normalisation.nadir_point
    return (F - ideal) / np.where(nadir == ideal, 1e-12, nadir - ideal)  # as in associate_to_niches


def _associate(F: Array, W: Array) -> Array:
    n_obj = F.shape[1]
    return associate_to_niches(F, W, np.zeros(n_obj), np.ones(n_obj))[0]


def _select(survival: Callable[[Array], Any]) -> Callable[..., Array]:
    def select(F: Array, size: int, W: Array, G: Array | None, seed: int) -> Array:
        values = {"X": np.arange(len(F))[:, None].astype(float), "F": F}
        if G is not None:
            values["G"] = G
        problem = Problem(n_var=1, n_obj=F.shape[1], n_ieq_constr=0 if G is None else G.shape[1])
        population = Population.new(**values)
        rng = np.random.default_rng(seed)
        survivors = survival(W).do(problem, population, n_survive=size, random_state=rng)
        return survivors.get("X")[:, 0].astype(np.int64)

    return select


class _Wrapped(Problem):
    """A problem of emoref's kind as one of pymoo's."""

    def __init__(self, problem: Any) -> None:
        super().__init__(
            n_var=problem.n_var,
            n_obj=problem.n_obj,
            n_ieq_constr=problem.n_constraints,
            xl=problem.lower,
            xu=problem.upper,
        )
        self._problem = problem

    def _evaluate(self, x: Array, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        values = self._problem.evaluate(x)
        if isinstance(values, tuple):
            out["F"], out["G"] = values
        else:
            out["F"] = values


def _run(make: Callable[[int, int], Any]) -> Callable[..., Array]:
    def run(problem: Any, population: int, generations: int, seed: int) -> Array:
        algorithm = make(problem.n_obj, population)
        return minimize(_Wrapped(problem), algorithm, ("n_gen", generations), seed=seed).pop.get("F")

    return run
