"""R-NSGA-III, which looks for solutions near aspiration points: Vesikar, Deb and Blank, IEEE SSCI 2018."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.normalisation import Normalisation, Normaliser, normalise
from emoref.emo.nsga3 import NSGA3, ReferenceSurvival, niching_selection, sort_fronts
from emoref.emo.population import Population
from emoref.emo.problem import Problem
from emoref.emo.reference_points import around_aspiration_points, check_reference_points, point_matrix
from emoref.errors import ProblemError

__all__ = ["RNSGA3", "aspiration_selection", "check_aspiration_points"]


def check_aspiration_points(points: Any, n_obj: int) -> NDArray[np.float64]:
    """Check aspiration points: the objective values that somebody would like to have.

    Parameters
    ----------
    points
        Points (K, n_obj) in the units of the objectives, attainable or not.
    n_obj
        Number of objectives.

    Returns
    -------
    numpy.ndarray
        A copy, float64 (K, n_obj).

    Raises
    ------
    ShapeError
        If the shape is another, or there is no point.
    ProblemError
        If a value is no finite number.
    """
    A = point_matrix(points, n_obj, "aspiration points")
    if not np.isfinite(A).all():
        row = int(np.argmin(np.isfinite(A).all(axis=1)))
        raise ProblemError(f"aspiration point {row} is {A[row].tolist()}; its values must be finite")
    return A


def aspiration_selection(
    F: NDArray[np.float64],
    size: int,
    aspirations: NDArray[np.float64],
    simplex: NDArray[np.float64],
    normaliser: Normaliser,
    rng: np.random.Generator,
    G: NDArray[np.float64] | None = None,
    *,
    mu: float = 0.05,
    normalisation: str = "theta",
) -> ReferenceSurvival:
    """Choose the next population as NSGA-III does, by reference points round the aspiration points.

    Aspiration points take part in the normalisation like members of front 0, so that the ideal point is
    below them, and they are of the same scale as the candidates.

    Parameters
    ----------
    F
        Objective values (N, M) of parents and offspring together.
    size
        Number of survivors. All survive if there are no more.
    aspirations
        Aspiration points (K, M), in the units of the objectives.
    simplex
        Reference points (H, M) that are shrunk and moved to each aspiration point.
    normaliser
        State of the normalisation after the previous generation.
    rng
        Source of random numbers, for the niches.
    G
        Constraint values (N, K), at most 0 is feasible; None for no constraint.
    mu
        Edge of the shrunk simplices; see `emoref.emo.reference_points.around_aspiration_points`.
    normalisation
        Variant; see `emoref.emo.normalisation.normalise`.

    Returns
    -------
    ReferenceSurvival
        Survivors, ranks, niches, the normalisation, and the reference points of this generation.

    Notes
    -----
    Source: Vesikar, Deb and Blank 2018, as in the authors' program (pymoo 0.6.2). There the worst of the
    front, where it has to stand in for the nadir, leaves the aspiration points out, and constraints do not
    count in this step; here they count as in NSGA-III.
    """
    fronts = sort_fronts(F, size, G)
    rows = fronts.feasible
    if len(rows) == 0:
        return niching_selection(fronts, None, simplex, rng)
    together = normalise(
        np.concatenate([F[rows], aspirations]),
        np.concatenate([fronts.ranks[rows], np.zeros(len(aspirations), dtype=np.int64)]),
        normaliser,
        method=normalisation,
        last_rank=fronts.last_rank,
    )
    unit, wanted = together.F[: len(rows)], together.F[len(rows) :]
    normalised = Normalisation(unit, together.normaliser, together.path)
    return niching_selection(fronts, normalised, around_aspiration_points(wanted, simplex, mu), rng)


class RNSGA3(NSGA3):
    """NSGA-III that looks for solutions near points that somebody aspires to, and at the ends of the front.

    One generation, with P the population::

        R = P + offspring, sorted into fronts, as in NSGA-III            ask, tell: aspiration_selection:
        normalise R and the aspiration points together                     normalise
        shrink the simplex, move it to each aspiration point               around_aspiration_points
        choose P by these reference points, as in NSGA-III                 niching_selection

    Parameters
    ----------
    problem
        The problem; see `emoref.emo.problem.Problem`.
    aspiration_points
        Points (K, n_obj), in the units of the objectives, attainable or not.
    reference_points
        Points (H, n_obj) that are shrunk and moved to each aspiration point; usually few, such as
        ``emoref.emo.das_dennis(3, 4)``.
    mu
        Edge of the shrunk simplices relative to the unit simplex: small to stay near, up to 1.
    population_size
        Number of survivors of each generation; None for K * H + n_obj, rounded up to a multiple of 4.
    seed, normalisation, crossover, **options
        See `emoref.emo.reference_algorithm.ReferencePointAlgorithm`.

    Attributes
    ----------
    survival : ReferenceSurvival or None
        The last environmental selection, with the reference points it used. Not part of the state.
    normaliser
        As for `emoref.emo.nsga3.NSGA3`.

    Raises
    ------
    ProblemError, ShapeError
        If the problem, points, a size or a setting makes no sense.

    Notes
    -----
    Results do not depend on the objectives' units if the aspiration points are converted too. mu = 0.05 is
    pymoo's default; the multiple of 4 is not published, emoref uses it as for NSGA-III.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        aspiration_points: Any,
        reference_points: Any,
        mu: float = 0.05,
        population_size: int | None = None,
        **options: Any,
    ) -> None:
        W = check_reference_points(reference_points, problem.n_obj)
        A = check_aspiration_points(aspiration_points, problem.n_obj)
        wanted = len(A) * len(W) + problem.n_obj
        super().__init__(
            problem,
            reference_points=W,
            population_size=-(-wanted // 4) * 4 if population_size is None else population_size,
            **options,
        )
        if not 0.0 < mu <= 1.0:
            raise ProblemError(f"mu is {mu!r}; it must be above 0, and at most 1")
        self.aspiration_points = A
        self.mu = float(mu)

    def _survive(self, candidates: Population) -> Population:
        self.survival = aspiration_selection(
            candidates.F,
            self.population_size,
            self.aspiration_points,
            self.reference_points,
            self.normaliser,
            self._niching_rng(),
            candidates.G,
            mu=self.mu,
            normalisation=self.normalisation,
        )
        self._remember(self.survival.normalisation)
        return candidates.take(self.survival.survivors)
