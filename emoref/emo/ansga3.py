"""A-NSGA-III, which brings reference points to where the front is.

Jain and Deb, IEEE Trans. Evol. Comput. 18(4), 2014 (NSGA-III, part II).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from emoref.emo.nsga3 import NSGA3, associate
from emoref.emo.population import Population
from emoref.emo.problem import Problem
from emoref.emo.reference_points import SAME, check_reference_points, corners
from emoref.errors import ProblemError, ShapeError

__all__ = [
    "ANSGA3",
    "Adaptation",
    "adapt_reference_points",
    "add_reference_points",
    "delete_reference_points",
    "reference_interval",
]

DELETIONS = ("unused", "settled")
"""Names of the rules by which added reference points go; see `delete_reference_points`."""


def reference_interval(reference_points: NDArray[np.float64]) -> float:
    """Measure how far apart neighbouring reference points are, along an edge of the simplex.

    Parameters
    ----------
    reference_points
        Points (H, M).

    Returns
    -------
    float
        The median distance to the nearest other point, divided by the square root of 2, the length of an
        edge. For one layer of Das and Dennis's points that is 1 / p. 1 if there is one point.

    Notes
    -----
    The paper takes the distance of two consecutive points of a regular set. A number for other sets is not
    published; emoref uses the median.

    Examples
    --------
    >>> round(reference_interval(np.array([[0.0, 1.0], [0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])), 12)
    0.25
    """
    if len(reference_points) == 1:
        return 1.0
    itself_and_nearest, _ = cKDTree(reference_points).query(reference_points, k=2)
    return float(np.median(itself_and_nearest[:, 1]) / np.sqrt(2.0))


def add_reference_points(
    reference_points: NDArray[np.float64], counts: NDArray[np.int64], interval: float
) -> NDArray[np.float64]:
    """Put a small simplex round each reference point that more than one candidate belongs to.

    Its corners are w + interval * (e_k - 1/M), k = 1 ... M, where w is the crowded point and e_k the k-th
    corner of the unit simplex. A corner outside the unit simplex, or where there is a point already, is
    left out.

    Parameters
    ----------
    reference_points
        Points (H, M).
    counts
        How many candidates belong to each, (H,).
    interval
        Edge of the small simplex, relative to the unit simplex; see `reference_interval`.

    Returns
    -------
    numpy.ndarray
        The points, followed by the added ones.

    Notes
    -----
    Source: Jain and Deb 2014 (part II), addition of reference points, as in PlatEMO.

    Examples
    --------
    >>> W = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    >>> add_reference_points(W, np.array([2, 2, 0]), 0.5)[3:]
    array([[0.25, 0.75],
           [0.75, 0.25]])
    """
    n_obj = reference_points.shape[1]
    simplex = interval * (corners(reference_points) - 1.0 / n_obj)
    points = reference_points
    for j in np.flatnonzero(counts > 1):
        around = reference_points[j] + simplex
        inside = (around >= -SAME).all(axis=1)
        there = (np.abs(around[:, None, :] - points) < SAME).all(axis=2).any(axis=1)
        points = np.concatenate([points, np.maximum(around[inside & ~there], 0.0)])
    return points


def delete_reference_points(
    counts: NDArray[np.int64], original: int, deletion: str = "unused"
) -> NDArray[np.int64]:
    """Say which reference points stay: all original ones, and added ones that are of use.

    Parameters
    ----------
    counts
        How many candidates belong to each point, the original ones first, (H,).
    original
        Number of original points.
    deletion
        ``"unused"``: added points go as soon as no candidate belongs to them, so that there are never more
        of them than candidates. ``"settled"``: they go only once no point has more than one candidate;
        until then the set grows.

    Returns
    -------
    numpy.ndarray
        Rows of the points that stay.

    Raises
    ------
    ProblemError
        If the rule is unknown.

    Notes
    -----
    ``"settled"`` is the rule of Jain and Deb 2014 (part II) [memory], ``"unused"`` that of PlatEMO.

    Examples
    --------
    >>> delete_reference_points(np.array([0, 1, 2, 1, 0, 0]), original=2)
    array([0, 1, 2, 3])
    """
    _check_deletion(deletion)
    stays = (counts > 0) | (np.arange(len(counts)) < original)
    if deletion == "settled" and (counts > 1).any():
        stays[:] = True
    return np.flatnonzero(stays)


def _check_deletion(deletion: str) -> None:
    if deletion not in DELETIONS:
        raise ProblemError(f"deletion is {deletion!r}; it must be one of {', '.join(DELETIONS)}")


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What became of the reference points.

    Parameters
    ----------
    reference_points
        The new points (H, M), the original ones first.
    crowded
        Rows, in the old set, of the points that small simplices were put round.
    added, deleted
        Points that were not in the old set, and points of the old set that are not in the new one.
    counts
        How many candidates belong to each of the new points, (H,).
    """

    reference_points: NDArray[np.float64]
    crowded: NDArray[np.int64]
    added: NDArray[np.float64]
    deleted: NDArray[np.float64]
    counts: NDArray[np.int64]


def adapt_reference_points(
    F: NDArray[np.float64],
    reference_points: NDArray[np.float64],
    original: int,
    interval: float,
    *,
    deletion: str = "unused",
) -> Adaptation:
    """Add reference points where candidates crowd, and delete added ones that are of no use.

    Parameters
    ----------
    F
        Normalised objective values of the survivors (n, M); n may be 0.
    reference_points
        Points (H, M), the original ones first.
    original
        Number of original points. They always stay.
    interval
        See `add_reference_points`.
    deletion
        See `delete_reference_points`.

    Returns
    -------
    Adaptation
        The new points, and what was added and deleted.

    Notes
    -----
    Source: Jain and Deb 2014 (part II), with one round of addition in a generation. PlatEMO repeats it
    until nothing is crowded or nothing is added.
    """
    counts = _count(F, reference_points)
    more = add_reference_points(reference_points, counts, interval)
    counts_of_more = _count(F, more)
    stays = delete_reference_points(counts_of_more, original, deletion)
    old = len(reference_points)
    return Adaptation(
        more[stays],
        np.flatnonzero(counts > 1),
        more[stays[stays >= old]],
        reference_points[np.setdiff1d(np.arange(old), stays)],
        counts_of_more[stays],
    )


def _count(F: NDArray[np.float64], reference_points: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.bincount(associate(F, reference_points).niches, minlength=len(reference_points))


class ANSGA3(NSGA3):
    """NSGA-III whose reference points gather where the front is.

    One generation, with P the population and Z the reference points::

        P = survivors of P and its offspring, as in NSGA-III             ask, tell: reference_selection
        count how many of P belong to each point of Z                    adapt_reference_points:
        put a small simplex of points round each that has two or more      add_reference_points
        delete added points that are of no use                             delete_reference_points

    On a front that does not cross all reference lines, such as an inverted triangle, many of NSGA-III's
    points stay empty, and others hold several candidates that nothing spreads.

    Parameters
    ----------
    problem, reference_points, population_size, seed, normalisation, crossover, **options
        See `emoref.emo.reference_algorithm.ReferencePointAlgorithm`.
    interval
        Edge of the small simplices; None for the distance of neighbouring points, see `reference_interval`.
    deletion
        ``"unused"`` or ``"settled"``; see `delete_reference_points`.

    Attributes
    ----------
    reference_points : numpy.ndarray
        The points of the next generation, the original ones first. Part of the state.
    original : int
        Number of original points.
    adaptation : Adaptation or None
        What became of the reference points in the last generation. Not part of the state.
    normaliser, survival
        As for `emoref.emo.nsga3.NSGA3`.

    Raises
    ------
    ProblemError, ShapeError
        If the problem, the reference points, a size or a setting makes no sense.

    Notes
    -----
    Candidates are associated by normalised objectives, infeasible ones not at all.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        reference_points: Any,
        interval: float | None = None,
        deletion: str = "unused",
        **options: Any,
    ) -> None:
        super().__init__(problem, reference_points=reference_points, **options)
        _check_deletion(deletion)
        if interval is not None and not (np.isfinite(interval) and interval > 0.0):
            raise ProblemError(f"interval is {interval!r}; it must be a positive number, or None")
        self.original = len(self.reference_points)
        self.interval = reference_interval(self.reference_points) if interval is None else float(interval)
        self.deletion = deletion
        self.adaptation: Adaptation | None = None

    def _survive(self, candidates: Population) -> Population:
        population = super()._survive(candidates)
        assert self.survival is not None
        self.adaptation = None
        normalisation, survivors = self.survival.normalisation, self.survival.survivors
        if normalisation is not None:
            chosen = survivors[self.survival.niches[survivors] >= 0]
            rows = np.searchsorted(np.flatnonzero(candidates.feasible), chosen)
            self.adaptation = adapt_reference_points(
                normalisation.F[rows],
                self.reference_points,
                self.original,
                self.interval,
                deletion=self.deletion,
            )
            self.reference_points = self.adaptation.reference_points
        return population

    def _own_state(self) -> dict[str, Any]:
        return super()._own_state() | {"reference_points": self.reference_points.copy()}

    def _restore_own(self, state: Mapping[str, Any]) -> None:
        W = check_reference_points(state["reference_points"], self.problem.n_obj)
        if not np.array_equal(W[: self.original], self.reference_points[: self.original]):
            raise ShapeError("the stored state has other original reference points than this algorithm")
        super()._restore_own(state)
        self.reference_points = W
        self.adaptation = None
