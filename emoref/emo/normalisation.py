"""NSGA-III's normalisation: objectives of any units become comparable, 0 at the ideal and 1 at the nadir.

The paper (Deb and Jain 2014, algorithm 2) finds for each objective an extreme point, lays a hyperplane
through them, and takes its intercepts with the axes for the nadir. It does not say what to do where there
is no such hyperplane. Programs differ in that, and in more; three variants are here, and every call says
which way it went.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoref.errors import ProblemError, ShapeError
from emoref_kernels.cpu import normalising
from emoref_kernels.pareto_checks import check_objectives

__all__ = [
    "NORMALISATIONS",
    "PATHS",
    "Normalisation",
    "Normaliser",
    "achievement",
    "extreme_points",
    "intercepts",
    "normalise",
]

NORMALISATIONS = ("theta", "deb2014", "pymoo")
"""Names of the variants; see `normalise`."""

PATHS = ("hyperplane", "duplicate", "singular", "nonpositive", "beyond_worst", "zero_range")
"""Ways that the nadir can come about; see `Normalisation`."""

_OFF_AXIS = 1e-6
"""Weight of the other objectives in the achievement function, as in the paper."""

_SMALLEST = 1e-6
"""Intercepts and ranges up to this are no use: relative to the previous range, but in pymoo absolute."""

_CUT = 1e-3
"""Below this part of the previous range, an objective counts as zero in the search for extreme points.

Otherwise a point far out with an exact zero would beat any that has to make do with nearly zero.
pymoo applies the same number to values as they are.
"""


@dataclass(frozen=True, eq=False)
class Normaliser:
    """What the normalisation remembers from one generation to the next.

    Parameters
    ----------
    ideal
        Smallest value of each objective among all points so far (M,); infinite before the first.
    worst
        Largest value of each objective among all points so far (M,); minus infinity before the first.
    extremes
        Extreme point of each objective, as it was evaluated (M, M); no rows before the first.
    nadir
        The nadir that was used last (M,); infinite before the first.
    """

    ideal: NDArray[np.float64]
    worst: NDArray[np.float64]
    extremes: NDArray[np.float64]
    nadir: NDArray[np.float64]

    @classmethod
    def start(cls, n_obj: int) -> "Normaliser":
        """Return the state before the first generation, for `n_obj` objectives."""
        unknown = np.full(n_obj, np.inf)
        return cls(unknown, -unknown, np.empty((0, n_obj)), unknown)


@dataclass(frozen=True, eq=False)
class Normalisation:
    """Normalised objectives, and how they came about.

    Parameters
    ----------
    F
        Normalised objective values (N, M).
    normaliser
        The state for the next generation; its `ideal` and `nadir` are those used here.
    path
        Names from `PATHS`. The first says where the nadir comes from: ``"hyperplane"``, or a fallback because
        two extreme points are the same (``"duplicate"``), the equations have no exact solution
        (``"singular"``), or an intercept is not positive (``"nonpositive"``). ``"beyond_worst"`` follows if
        the hyperplane's nadir was cut to the worst point for some objective, ``"zero_range"`` if an
        objective had no range, or next to none, and got another.
    """

    F: NDArray[np.float64]
    normaliser: Normaliser
    path: tuple[str, ...]


def normalise(
    F: NDArray[np.float64],
    ranks: NDArray[np.int64],
    normaliser: Normaliser,
    *,
    method: str = "theta",
    last_rank: int | None = None,
) -> Normalisation:
    """Translate objectives to the ideal point and divide them by the range up to the nadir.

    The variants differ in five things:

    - Extreme points are looked for in front 0 and among the previous ones (``"theta"``, ``"pymoo"``); in
      all fronts up to `last_rank`, and not remembered (``"deb2014"``).
    - For that search, objectives are divided by their previous range (``"theta"`` only).
    - For that search, values below 1e-3, after this division, count as zero (``"theta"``, ``"pymoo"``).
    - Without a hyperplane the nadir is the worst of front 0 (``"theta"``, ``"pymoo"``) or of all fronts up
      to `last_rank` (``"deb2014"``).
    - The hyperplane's nadir is at most the worst point ever seen (``"theta"``, ``"pymoo"``).

    A range of at most 1e-6 times that of all points of this generation (with ``"pymoo"``, of at most
    1e-6) is replaced by theirs; where they have none, the range is 1.

    With ``"theta"`` the result is the same if objectives are shifted or multiplied by positive numbers;
    with ``"deb2014"`` and ``"pymoo"``, if they are shifted.

    Parameters
    ----------
    F
        Objective values of all points of this generation, finite (N, M), N >= 1.
    ranks
        Their ranks (N,), from 0.
    normaliser
        The state after the previous generation, or `Normaliser.start`. It is not changed.
    method
        ``"theta"``, ``"deb2014"`` or ``"pymoo"``.
    last_rank
        Rank of the last front that takes part in the selection (the paper's S_t); None for all.

    Returns
    -------
    Normalisation
        Normalised values of all points, the new state and the path.

    Raises
    ------
    ProblemError
        If `method` is unknown.
    ShapeError
        If the shapes do not fit, or a value is not finite.

    Notes
    -----
    Sources: Deb and Jain, IEEE Trans. Evol. Comput. 18(4), 2014, algorithm 2; for the division beforehand
    theta-DEA's program (Yuan, Xu, Wang and Yao, IEEE Trans. Evol. Comput. 20(1), 2016); pymoo 0.6.2 for the
    variant of that name. That ``"theta"`` remembers extreme points, cuts small values and limits the nadir
    is not published, nor are the fallbacks of ``"deb2014"``; emoref uses the above. Equation (4) of the
    paper divides by a_i - z_i^min; here an intercept is measured from the ideal point, so it is the
    divisor itself.
    """
    if method not in NORMALISATIONS:
        raise ProblemError(f"normalisation is {method!r}; it must be one of {', '.join(NORMALISATIONS)}")
    F = np.ascontiguousarray(check_objectives(F))
    if ranks.shape != F.shape[:1] or normaliser.ideal.shape != F.shape[1:]:
        raise _unfit(F, ranks, normaliser)
    front = (ranks == ranks.min()).nonzero()[0]
    lowest, top, top_of_front = normalising.bounds(F, front)
    if np.isnan(lowest[0]):
        raise _unfit(F, ranks, normaliser)
    ideal = np.minimum(normaliser.ideal, lowest)
    worst = np.maximum(normaliser.worst, top)

    cut, fallback, limit = _CUT, top_of_front, worst
    if method == "theta":
        points = np.concatenate([F.take(front, axis=0), normaliser.extremes])
    elif method == "pymoo":
        points = np.concatenate([normaliser.extremes, F.take(front, axis=0)])
    else:
        points = F if last_rank is None else F[ranks <= last_rank]
        cut, fallback, limit = 0.0, points.max(axis=0), np.full_like(ideal, np.inf)

    # Differences of values near the largest float may overflow; what is not finite then falls back.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        units = np.ones_like(ideal)
        if method == "theta":
            units = normalising.units(ideal, normaliser.nadir, top_of_front, top)
        extremes = extreme_points(points, ideal, units, cut)
        found, origin = intercepts((extremes - ideal) / units)
        path = [origin]
        nadir = fallback if found is None else ideal + found * units
        if found is not None and (nadir > limit).any():
            nadir = np.minimum(nadir, limit)
            path.append("beyond_worst")
        narrowest = _SMALLEST if method == "pymoo" else _SMALLEST * (top - ideal)
        narrow = ~(nadir - ideal > narrowest)
        if narrow.any():
            nadir = np.where(narrow, top, nadir)
            nadir = np.where(nadir - ideal > 0.0, nadir, ideal + 1.0)
            path.append("zero_range")
    scaled = normalising.scale(F, ideal, nadir)
    return Normalisation(scaled, Normaliser(ideal, worst, extremes, nadir), tuple(path))


def _unfit(F: NDArray[np.float64], ranks: NDArray[np.int64], normaliser: Normaliser) -> ShapeError:
    return ShapeError(
        f"F {F.shape} must be finite, with as many ranks ({len(ranks)}) as rows and as many columns "
        f"as the normaliser ({len(normaliser.ideal)})"
    )


def achievement(F: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure how far points are from each axis: the paper's equation (2).

    ASF(x, w) = max over i of F_i / w_i, where w is 1 for the axis's own objective and 1e-6 for the others.

    Parameters
    ----------
    F
        Objective values relative to the ideal point (N, M).

    Returns
    -------
    numpy.ndarray
        Values (N, M), one column an axis; the extreme point of an axis has the smallest.

    Examples
    --------
    >>> achievement(np.array([[2.0, 0.0], [1.0, 3.0]]))
    array([[2.e+00, 2.e+06],
           [3.e+06, 1.e+06]])
    """
    weights = np.where(np.eye(F.shape[1], dtype=np.bool_), 1.0, _OFF_AXIS)
    return np.column_stack([(F / w).max(axis=1) for w in weights])


def extreme_points(
    points: NDArray[np.float64],
    ideal: NDArray[np.float64],
    units: NDArray[np.float64],
    cut: float = 0.0,
) -> NDArray[np.float64]:
    """Find for each axis the point that is nearest to it by `achievement`; the first of equals.

    Parameters
    ----------
    points
        Objective values (N, M).
    ideal
        Ideal point (M,).
    units
        What the objectives are divided by before they are compared (M,).
    cut
        Translated and scaled values below this count as zero.

    Returns
    -------
    numpy.ndarray
        Extreme points (M, M), one row an axis, as they are in `points`.
    """
    rows = normalising.extreme_rows(np.ascontiguousarray(points), ideal, units, float(cut))
    return points.take(rows, axis=0)


def intercepts(extremes: NDArray[np.float64]) -> tuple[NDArray[np.float64] | None, str]:
    """Intersect the hyperplane through the extreme points with the axes.

    Parameters
    ----------
    extremes
        Extreme points relative to the ideal point (M, M), one row an axis.

    Returns
    -------
    tuple
        Intercepts (M,), measured from the ideal point, and ``"hyperplane"``; or None and why there are
        none: ``"duplicate"``, ``"singular"`` or ``"nonpositive"`` (an intercept up to 1e-6, which includes
        a hyperplane parallel to an axis).

    Examples
    --------
    >>> intercepts(np.array([[2.0, 0.0], [1.0, 2.0]]))
    (array([2., 4.]), 'hyperplane')
    >>> intercepts(np.array([[2.0, 0.0], [2.0, 0.0]]))
    (None, 'duplicate')
    """
    n_obj = len(extremes)
    if normalising.any_equal(np.ascontiguousarray(extremes) + 0.0):  # minus zero becomes zero
        return None, "duplicate"
    try:
        # The plane is the set of z with plane . z = 1; it meets axis i at 1 / plane_i.
        plane = np.linalg.solve(extremes, np.ones(n_obj))
    except np.linalg.LinAlgError:
        return None, "singular"
    if not normalising.solves(extremes, plane):
        return None, "singular"
    if not plane.min() > 0.0:
        return None, "nonpositive"
    found: NDArray[np.float64] = np.asarray(1.0 / plane, dtype=np.float64)
    return (found, "hyperplane") if found.min() > _SMALLEST else (None, "nonpositive")
