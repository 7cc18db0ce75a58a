"""Reference points: directions in which an algorithm such as NSGA-III looks for solutions."""

from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.errors import ProblemError, ShapeError

__all__ = [
    "MOST_POINTS",
    "around_aspiration_points",
    "check_integer",
    "check_reference_points",
    "corners",
    "das_dennis",
    "das_dennis_divisions",
    "point_matrix",
]

MOST_POINTS = 1_000_000
"""More reference points than this are taken for a mistake."""

_SUM_TOLERANCE = 1e-6
"""How far the sum of a given point may be from one; such points come from files with few digits."""

_PARALLEL = 1e-6
"""A line whose direction has at most this sum of coordinates does not meet the plane with the sum 1."""

SAME = 1e-9
"""Points that differ by less than this in every coordinate are equal."""


def das_dennis(n_obj: int, divisions: int | Sequence[int]) -> NDArray[np.float64]:
    """Place points evenly on the unit simplex.

    With p divisions, the points are all (a_1, ..., a_M) / p with whole a_i >= 0 and sum p. There are
    C(M + p - 1, p) of them, in lexicographic order. Only C(p - 1, M - 1) lie inside, none if p < M;
    for many objectives one therefore takes two layers of few divisions, the second drawn in to the centre:
    its points are w / 2 + 1 / (2 M).

    Parameters
    ----------
    n_obj
        Number of objectives M, at least 1.
    divisions
        Number of divisions p, at least 1; or one number for each layer, the outermost first. Layer k of L,
        counted from 0, is shrunk to (L - k) / L about the centre. A point of a layer that is
        also in an outer one is left out.

    Returns
    -------
    numpy.ndarray
        Points (H, n_obj), non-negative, each summing to one.

    Raises
    ------
    ProblemError
        If `n_obj` or `divisions` is not a positive integer, or there would be more than a million points.

    Notes
    -----
    Sources: Das and Dennis, SIAM J. Optim. 8(3), 1998; two layers: Deb and Jain, IEEE Trans. Evol. Comput.
    18(4), 2014, section V. More than two layers are not published; emoref uses the above, which for two is
    the paper's.

    Examples
    --------
    >>> das_dennis(3, 2)
    array([[0. , 0. , 1. ],
           [0. , 0.5, 0.5],
           [0. , 1. , 0. ],
           [0.5, 0. , 0.5],
           [0.5, 0.5, 0. ],
           [1. , 0. , 0. ]])
    """
    check_integer("n_obj", n_obj)
    layers = [divisions] if isinstance(divisions, int | np.integer) else list(divisions)
    if not layers:
        raise ProblemError("divisions is empty; give a positive integer, or one for each layer")
    for p in layers:
        check_integer("divisions", p)
    size = sum(comb(n_obj + p - 1, p) for p in layers)
    if size > MOST_POINTS:
        formula = " + ".join(f"C({n_obj} + {p} - 1, {p})" for p in layers)
        raise ProblemError(
            f"{n_obj} objectives and {divisions} divisions make {formula} = {size} reference points; "
            f"use at most {MOST_POINTS}, for instance two layers of few divisions such as (3, 2)"
        )
    points = []
    for k, p in enumerate(layers):
        inwards = k / len(layers)
        points.append((1.0 - inwards) * _lattice(n_obj, p) + inwards / n_obj)
    together = np.concatenate(points)
    return together[np.sort(_first_of_equals(together))]


def das_dennis_divisions(n_obj: int, size: int) -> int:
    """Find the number of divisions p for which there are exactly `size` points in one layer.

    Parameters
    ----------
    n_obj
        Number of objectives M, at least 2.
    size
        Number of points wanted.

    Returns
    -------
    int
        The p with C(M + p - 1, p) = `size`.

    Raises
    ------
    ProblemError
        If there is none; the message names the sizes next to it.

    Examples
    --------
    >>> das_dennis_divisions(3, 91)
    12
    """
    check_integer("n_obj", n_obj)
    check_integer("size", size)
    if n_obj == 1:
        raise ProblemError("for one objective there is one reference point, whatever the divisions")
    p = 1
    while comb(n_obj + p - 1, p) < size:
        p += 1
    above = comb(n_obj + p - 1, p)
    if above != size:
        near = f"{above} (p = {p})"
        if p > 1:
            near = f"{comb(n_obj + p - 2, p - 1)} (p = {p - 1}) or {near}"
        raise ProblemError(
            f"no p makes {size} reference points for {n_obj} objectives: "
            f"there are C(M + p - 1, p) = C({n_obj} + p - 1, p); use {near}, or riesz_points"
        )
    return p


def around_aspiration_points(
    aspirations: NDArray[np.float64], simplex: NDArray[np.float64], mu: float = 0.05
) -> NDArray[np.float64]:
    """Gather reference points round the directions in which solutions are aspired to.

    The simplex is shrunk by `mu`, and a copy of it moved to where the line from the origin through each
    aspiration point meets the plane with the sum 1. What then lies outside is drawn back to the border:
    negative coordinates become 0, and the others are divided by their sum. At last come the M `corners`,
    for without them the ends of the front, and with them its scale, would be lost.

    Parameters
    ----------
    aspirations
        Aspiration points in normalised objectives (K, M), finite: 0 is the ideal point, 1 the nadir.
    simplex
        Reference points (H, M) that are shrunk, usually those of `das_dennis`.
    mu
        Edge of the shrunk simplex, relative to the unit simplex; above 0, up to 1.

    Returns
    -------
    numpy.ndarray
        Reference points, at most (K * H + M, M): of equal ones, the first is kept.

    Raises
    ------
    ProblemError
        If `mu` is not in (0, 1].
    ShapeError
        If the shapes do not fit, or an aspiration point is not finite.

    Notes
    -----
    Source: Vesikar, Deb and Blank, IEEE SSCI 2018, as in the authors' program (pymoo 0.6.2). A line that
    hardly meets the plane (sum of the aspiration point's coordinates at most 1e-6) is replaced there by
    the perpendicular from the point to the plane; here too. That copies are left out is not published.

    Examples
    --------
    The line through (0.2, 0.6) meets the plane at (0.25, 0.75), the middle of the first two points:

    >>> around_aspiration_points(np.array([[0.2, 0.6]]), das_dennis(2, 1), mu=0.1)
    array([[0.2, 0.8],
           [0.3, 0.7],
           [0. , 1. ],
           [1. , 0. ]])
    """
    A, W = np.asarray(aspirations, dtype=np.float64), np.asarray(simplex, dtype=np.float64)
    if A.ndim != 2 or W.ndim != 2 or A.shape[1] != W.shape[1] or not np.isfinite(A).all():
        raise ShapeError(
            f"aspiration points {A.shape} and simplex {W.shape} must be finite matrices with as many columns"
        )
    if not 0.0 < mu <= 1.0:
        raise ProblemError(f"mu is {mu!r}; it must be above 0, and at most 1")
    sums = A.sum(axis=1, keepdims=True)
    meets = sums > _PARALLEL
    centres = np.where(meets, A / np.where(meets, sums, 1.0), A + (1.0 - sums) / A.shape[1])
    shrunk = mu * (W - W.mean(axis=0))
    points = np.maximum((centres[:, None, :] + shrunk).reshape(-1, A.shape[1]), 0.0)
    points = np.concatenate([points / points.sum(axis=1, keepdims=True), corners(W)])
    return points[np.sort(_first_of_equals(points))]


def corners(reference_points: NDArray[np.float64]) -> NDArray[np.float64]:
    """List the corners of the unit simplex, in the order in which reference points come nearest to them.

    With this order nothing depends on the order of the objectives.

    Parameters
    ----------
    reference_points
        Points (H, M).

    Returns
    -------
    numpy.ndarray
        The M unit vectors (M, M).

    Examples
    --------
    >>> corners(np.array([[0.0, 0.5, 0.5], [0.1, 0.0, 0.9], [1.0, 0.0, 0.0]]))
    array([[0., 1., 0.],
           [0., 0., 1.],
           [1., 0., 0.]])
    """
    nearest = np.argmax(reference_points, axis=0)
    return np.eye(reference_points.shape[1])[np.argsort(nearest, kind="stable")]


def check_reference_points(points: Any, n_obj: int) -> NDArray[np.float64]:
    """Check reference points that were made elsewhere.

    Parameters
    ----------
    points
        Points (H, n_obj): non-negative, each summing to one, no two equal.
    n_obj
        Number of objectives.

    Returns
    -------
    numpy.ndarray
        A copy, float64 (H, n_obj).

    Raises
    ------
    ShapeError
        If the shape is another, or there is no point.
    ProblemError
        If a value is no finite number or negative, a sum is not one, or a point occurs twice.
    """
    W = point_matrix(points, n_obj, "reference points")
    sums = np.where(np.isfinite(W), W, 0.0).sum(axis=1)
    wrong = ~(np.isfinite(W).all(axis=1) & (W >= 0.0).all(axis=1) & (np.abs(sums - 1.0) <= _SUM_TOLERANCE))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ProblemError(
            f"reference point {row} is {W[row].tolist()}; it must be non-negative, finite and sum to one"
        )
    first = _first_of_equals(W)
    if len(first) < len(W):
        row = int(np.setdiff1d(np.arange(len(W)), first)[0])
        raise ProblemError(f"reference point {row}, {W[row].tolist()}, occurs twice; leave out one")
    return W


def point_matrix(points: Any, n_obj: int, name: str) -> NDArray[np.float64]:
    """Return `points`, one a row with `n_obj` columns, as a new float64 matrix; `name` is for the messages.

    Raises
    ------
    ShapeError
        If the shape is another, or there is no point.
    ProblemError
        If they are not real numbers.
    """
    try:
        values = np.asarray(points)
    except ValueError:
        raise ShapeError(f"the {name} have different lengths") from None
    if values.dtype.kind not in "fiub":
        raise ProblemError(f"the {name} are {values.dtype}; they must be real numbers")
    if values.ndim != 2 or values.shape[1] != n_obj or len(values) == 0:
        raise ShapeError(f"the {name} have shape {values.shape}; it must be (points, {n_obj})")
    return values.astype(np.float64)


def _lattice(n_obj: int, divisions: int) -> NDArray[np.float64]:
    """Return all points with whole multiples of 1 / divisions that sum to one."""
    # M - 1 bars among M + p - 1 places; the gaps between the bars are the coordinates.
    places = n_obj + divisions - 1
    bars = np.array(list(combinations(range(places), n_obj - 1)), dtype=np.int64)
    bars = bars.reshape(comb(places, n_obj - 1), n_obj - 1)
    ends = np.full((len(bars), 1), places)
    return (np.diff(np.hstack([-np.ones_like(ends), bars, ends]), axis=1) - 1) / divisions


def _first_of_equals(points: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.unique(np.rint(points / SAME).astype(np.int64), axis=0, return_index=True)[1]


def check_integer(name: str, value: Any) -> None:
    """Refuse a `value` that is no integer of at least 1; `name` is for the message.

    Raises
    ------
    ProblemError
        If it is none.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ProblemError(f"{name} is {value!r}; it must be an integer of at least 1")
