"""The hypervolume shared out among the points, and estimated where the exact value takes too long."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from emoref.emo.ranking import nondominated_ranks
from emoref.errors import ProblemError
from emoref_kernels.cpu import pareto
from emoref_kernels.pareto_checks import check_objectives, check_reference_point

__all__ = ["HypervolumeEstimate", "hypervolume_contributions", "hypervolume_estimate"]

_BLOCK = 1 << 16
"""Random points tried at a time: large enough for NumPy, small enough for the cache."""


def hypervolume_contributions(F: Any, ref: Any, *, ignore_dominated: bool = False) -> NDArray[np.float64]:
    """Compute the hypervolume contribution of each point, what the set would lose without it.

    c_i = HV(F) - HV(F without point i) = product over m of (ref_m - f_im) - HV(max(f_j, f_i), j != i)

    The second form is computed: the box of the point less the part of it that others dominate, too. Copies
    contribute nothing, as each makes the other superfluous; nor do dominated points, nor points that are not
    below `ref` in every objective, nor those with NaN.

    Parameters
    ----------
    F
        Points (N, M), minimised.
    ref
        Reference point (M,).
    ignore_dominated
        Whether dominated points are left out beforehand. If not, a dominated point takes its share from
        the point that dominates it, as the definition has it, since it would step in.

    Returns
    -------
    numpy.ndarray
        Contributions, at least 0, float64 (N,).

    Raises
    ------
    ShapeError, DtypeError
        If `F` is empty or not numeric, or `ref` does not fit.
    ProblemError
        If a point is minus infinity somewhere.

    Notes
    -----
    Sources: Emmerich, Beume, Naujoks, "An EMO algorithm using the hypervolume measure as selection
    criterion", EMO 2005, for the contribution; While, Bradstreet, Barone, "A fast way of calculating exact
    hypervolumes", IEEE Transactions on Evolutionary Computation 16(1), 2012, for the second form.

    Examples
    --------
    >>> hypervolume_contributions([[1, 5], [2, 2], [4, 1]], [6, 6])
    array([1., 6., 2.])
    """
    F = check_objectives(F)
    ref = check_reference_point(ref, F.shape[1])
    counted = np.flatnonzero((ref > F).all(axis=1))
    points = _bounded(F[counted])
    if ignore_dominated and len(points) > 0:
        counted = counted[nondominated_ranks(points) == 0]
    contributions = np.zeros(len(F))
    contributions[counted] = pareto.hypervolume_contributions(F[counted], ref)
    return contributions


def _bounded(points: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(points).all():
        raise ProblemError("the hypervolume of a point at minus infinity is infinite; leave it out")
    return points


@dataclass(frozen=True)
class HypervolumeEstimate:
    """A hypervolume found by trial.

    Parameters
    ----------
    value
        The estimate.
    lower, upper
        Ends of the confidence interval.
    confidence
        Probability, at least, that an interval made in this way contains the exact value.
    samples
        Number of random points tried.
    hits
        Number of those that were dominated.
    """

    value: float
    lower: float
    upper: float
    confidence: float
    samples: int
    hits: int


def hypervolume_estimate(
    F: Any, ref: Any, rng: np.random.Generator, *, samples: int = 100_000, confidence: float = 0.95
) -> HypervolumeEstimate:
    """Estimate the hypervolume by random points, with a confidence interval.

    Points are drawn uniformly from the box between the ideal point of F and `ref`. Of n points let k be
    dominated by F, and V be the volume of the box::

        value = V k / n
        lower = V B(alpha / 2;      k,     n - k + 1)    (0 if k = 0)
        upper = V B(1 - alpha / 2;  k + 1, n - k)        (V if k = n)

    where B(q; a, b) is the quantile q of the beta distribution and alpha = 1 - confidence. The time grows
    linearly with points, objectives and samples, while that of the exact value grows exponentially with the
    objectives. Four times the samples halve the interval.

    Parameters
    ----------
    F
        Points (N, M), minimised. Those not below `ref` in every objective do not count.
    ref
        Reference point (M,).
    rng
        Source of random numbers; the same state gives the same estimate.
    samples
        Number of random points n, at least 1.
    confidence
        Wanted confidence, between 0 and 1, both excluded.

    Returns
    -------
    HypervolumeEstimate
        The estimate and its interval. A single box, or none, is exact: the interval is the value.

    Raises
    ------
    ShapeError, DtypeError
        If `F` is empty or not numeric, or `ref` does not fit.
    ProblemError
        If a point is minus infinity somewhere, or `samples` or `confidence` is impossible.

    Notes
    -----
    Source of the interval: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in
    the case of the binomial", Biometrika 26, 1934. It holds for every n, also where no point is hit.
    """
    F = check_objectives(F)
    ref = check_reference_point(ref, F.shape[1])
    if samples < 1:
        raise ProblemError(f"samples is {samples}; at least one random point must be tried")
    if not 0.0 < confidence < 1.0:
        raise ProblemError(f"confidence is {confidence}; it must lie between 0 and 1")
    points = _bounded(F[(ref > F).all(axis=1)])
    if len(points) == 0:
        return HypervolumeEstimate(0.0, 0.0, 0.0, confidence, samples, 0)
    ideal = points.min(axis=0)
    volume = float(np.prod(ref - ideal))
    if (points == ideal).all(axis=1).any():
        return HypervolumeEstimate(volume, volume, volume, confidence, samples, samples)
    # Large boxes first: most random points are then settled by the first few comparisons.
    points = points[np.argsort(-np.prod(ref - points, axis=1), kind="stable")]
    hits = 0
    for start in range(0, samples, _BLOCK):
        draw = rng.random((min(_BLOCK, samples - start), len(ref)))
        hits += _dominated_count(points, ideal + draw * (ref - ideal))
    low, high = _binomial_interval(hits, samples, confidence)
    return HypervolumeEstimate(
        volume * hits / samples, volume * low, volume * high, confidence, samples, hits
    )


def _dominated_count(points: NDArray[np.float64], trials: NDArray[np.float64]) -> int:
    count = len(trials)
    for point in points:
        trials = trials[~(point <= trials).all(axis=1)]
    return count - len(trials)


def _binomial_interval(hits: int, samples: int, confidence: float) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of a probability."""
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if hits == 0 else float(betaincinv(hits, samples - hits + 1, tail))
    high = 1.0 if hits == samples else float(betaincinv(hits + 1, samples - hits, 1.0 - tail))
    return low, high
