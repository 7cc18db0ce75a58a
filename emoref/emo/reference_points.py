"""Reference points: directions in which an algorithm such as NSGA-III looks for solutions."""

from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.errors import ProblemError, ShapeError

__all__ = ["MOST_POINTS", "check_reference_points", "das_dennis", "das_dennis_divisions"]

MOST_POINTS = 1_000_000
"""More reference points than this are taken for a mistake."""

_SUM_TOLERANCE = 1e-6
"""How far the sum of a given point may be from one; such points come from files with few digits."""

_SAME = 1e-9
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
    _check_integer("n_obj", n_obj)
    layers = [divisions] if isinstance(divisions, int | np.integer) else list(divisions)
    if not layers:
        raise ProblemError("divisions is empty; give a positive integer, or one for each layer")
    for p in layers:
        _check_integer("divisions", p)
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
    _check_integer("n_obj", n_obj)
    _check_integer("size", size)
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
            f"there are C(M + p - 1, p) = C({n_obj} + p - 1, p); use {near}"
        )
    return p


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
    try:
        values = np.asarray(points)
    except ValueError:
        raise ShapeError("the reference points have different lengths") from None
    if values.dtype.kind not in "fiub":
        raise ProblemError(f"the reference points are {values.dtype}; they must be real numbers")
    if values.ndim != 2 or values.shape[1] != n_obj or len(values) == 0:
        raise ShapeError(f"the reference points have shape {values.shape}; it must be (points, {n_obj})")
    W = values.astype(np.float64)
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


def _lattice(n_obj: int, divisions: int) -> NDArray[np.float64]:
    """Return all points with whole multiples of 1 / divisions that sum to one."""
    # M - 1 bars among M + p - 1 places; the gaps between the bars are the coordinates.
    places = n_obj + divisions - 1
    bars = np.array(list(combinations(range(places), n_obj - 1)), dtype=np.int64)
    bars = bars.reshape(comb(places, n_obj - 1), n_obj - 1)
    ends = np.full((len(bars), 1), places)
    return (np.diff(np.hstack([-np.ones_like(ends), bars, ends]), axis=1) - 1) / divisions


def _first_of_equals(points: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.unique(np.rint(points / _SAME).astype(np.int64), axis=0, return_index=True)[1]


def _check_integer(name: str, value: Any) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ProblemError(f"{name} is {value!r}; it must be an integer of at least 1")
