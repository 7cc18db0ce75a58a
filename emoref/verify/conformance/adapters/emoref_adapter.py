"""emoref's own functions as a `Library`. Another algorithm is one more entry in `_selections` or `_runs`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import emoref
from emoref import emo
from emoref.verify.conformance.protocol import Library, reference_points

__all__ = ["aspiration_library", "library"]

Array = NDArray[Any]


def library(normalisation: str = "theta") -> Library:
    """Describe emoref.

    Parameters
    ----------
    normalisation
        Variant of NSGA-III's normalisation; with the default, ``"theta"``, every property is promised.

    Returns
    -------
    Library
        All that the kit can check. With another normalisation, only what depends on it.
    """
    ours = normalisation == "theta"

    def normalise(F: Array) -> Array:
        start = emo.Normaliser.start(F.shape[1])
        return emo.normalise(F, emo.nondominated_ranks(F), start, method=normalisation).F

    def niches(F: Array, W: Array) -> Array:
        return emo.associate(normalise(F), W).niches

    if not ours:
        return Library(
            f"emoref ({normalisation})",
            emoref.__version__,
            normalise=normalise,
            niches=niches,
            select={"NSGA-III": _nsga3(normalisation)},
            runs={"NSGA-III": _run(_with_points(emo.NSGA3, normalisation=normalisation))},
        )
    return Library(
        "emoref",
        emoref.__version__,
        sort=emo.nondominated_ranks,
        crowd=emo.crowding_distance,
        normalise=normalise,
        niches=niches,
        select={
            "NSGA-II": _nsga2,
            "NSGA-III": _nsga3(normalisation),
            "theta-DEA": _theta_dea,
            "SMS-EMOA": _smsemoa,
            "SparseEA": _sparse_ea,
        },
        hypervolume=emo.hypervolume,
        indicators={"GD": emo.gd, "GD+": emo.gd_plus, "IGD": emo.igd, "IGD+": emo.igd_plus},
        runs={
            "NSGA-II": _run(lambda problem, **options: emo.NSGA2(problem, **options)),
            "NSGA-III": _run(_with_points(emo.NSGA3)),
            "U-NSGA-III": _run(_with_points(emo.UNSGA3)),
            "A-NSGA-III": _run(_with_points(emo.ANSGA3)),
            "R-NSGA-III": _run(_with_points(emo.RNSGA3, aspiration_points=[[0.5, 0.5, 0.5]])),
            "theta-DEA": _run(_with_points(emo.ThetaDEA)),
            "MOEA/D": _run(_moead),
            "SMS-EMOA": _run(lambda problem, **options: emo.SMSEMOA(problem, **options)),
            "SparseEA": _run(lambda problem, **options: emo.SparseEA(problem, **options)),
        },
        ours=True,
    )


def aspiration_library() -> Library:
    """Describe emoref's selection by aspiration points, which are in the objectives' own units.

    Returns
    -------
    Library
        The selection of R-NSGA-III with one fixed aspiration point, 1/2 for every objective.
    """

    def select(F: Array, size: int, W: Array, G: Array | None, seed: int) -> Array:
        n_obj = F.shape[1]
        start, rng = emo.Normaliser.start(n_obj), np.random.default_rng(seed)
        return emo.aspiration_selection(F, size, np.full((1, n_obj), 0.5), W, start, rng, G).survivors

    return Library("emoref (aspiration)", emoref.__version__, select={"R-NSGA-III": select})


def _nsga2(F: Array, size: int, W: Array, G: Array | None, seed: int) -> Array:
    return emo.environmental_selection(F, size, G).survivors


def _nsga3(normalisation: str) -> Callable[..., Array]:
    def select(F: Array, size: int, W: Array, G: Array | None, seed: int) -> Array:
        start, rng = emo.Normaliser.start(F.shape[1]), np.random.default_rng(seed)
        return emo.reference_selection(F, size, W, start, rng, G, normalisation=normalisation).survivors

    return select


def _theta_dea(F: Array, size: int, W: Array, G: Array | None, seed: int) -> Array:
    start, rng = emo.Normaliser.start(F.shape[1]), np.random.default_rng(seed)
    return emo.theta_selection(F, size, W, start, rng, G).survivors


def _smsemoa(F: Array, size: int, W: Array, G: Array | None, seed: int) -> Array:
    return emo.hypervolume_selection(F, size, G).survivors


def _sparse_ea(F: Array, size: int, W: Array, G: Array | None, seed: int) -> Array:
    return emo.sparse_selection(F, size, G).survivors


def _run(make: Callable[..., emo.Algorithm]) -> Callable[..., Array]:
    def run(problem: Any, population: int, generations: int, seed: int) -> Array:
        return make(problem, population_size=population, seed=seed).run(generations).population.F

    return run


def _with_points(make: Callable[..., emo.Algorithm], **settings: Any) -> Callable[..., emo.Algorithm]:
    def with_points(problem: Any, **options: Any) -> emo.Algorithm:
        return make(problem, reference_points=reference_points(problem.n_obj), **options, **settings)

    return with_points


def _moead(problem: Any, population_size: int, seed: int) -> emo.Algorithm:
    return emo.MOEAD(problem, weights=reference_points(problem.n_obj), seed=seed)
