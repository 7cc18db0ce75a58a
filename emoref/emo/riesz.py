"""Reference points of any number, spread like charges that repel one another: Riesz s-energy.

Das and Dennis's points come in certain numbers only. Points that repel one another come in any number; where
Das and Dennis's number fits, and there are few divisions, they end in the same places. Either way, with many
objectives most points lie on the border.
"""

from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.reference_points import check_integer, das_dennis
from emoref.errors import ProblemError, ShapeError
from emoref.seeding import generator

__all__ = ["onto_simplex", "repulsion", "riesz_energy", "riesz_points"]

MOST_CHARGES = 5_000
"""More points than this are refused: all pairs are looked at, time and again."""

_CANDIDATES = 20
"""Random points that compete for each place at the beginning."""

_STARTS = 200
"""Number of random starts, times points. Few points get stuck more easily, and cost less."""

_PATIENCE = 20
"""So many moves without a new least energy are too many, and the step is halved."""

_HALVINGS = 8
"""After so many halvings of the step, the points are at rest."""


def riesz_points(
    n_obj: int, size: int, *, seed: int = 0, s: float | None = None, iterations: int = 500
) -> NDArray[np.float64]:
    """Spread any number of points over the unit simplex, by making their Riesz s-energy small.

    ::

        start from the corners and other points far apart: regular ones, and random ones
        (random ones several times where points are few; the best start counts)
        for a rising exponent:
            repeat:
                move each point by half a repulsion                     repulsion
                back to the simplex                                     onto_simplex
                keep the points of least energy                         riesz_energy
                where there is no progress: back to those, half the step

    The corners of the simplex always belong to the points, and do not move: NSGA-III needs them for the
    extremes of the front. The exponent doubles up to its last value, so that points find their rough places
    first.

    Parameters
    ----------
    n_obj
        Number of objectives M, at least 1.
    size
        Number of points, at least M. (For one objective there is one point.) The time grows with its square:
        a second or two for 200 points, many minutes for thousands.
    seed
        Seed of the random start. The same seed gives the same bits, in every process.
    s
        Exponent of the energy, positive; None for M squared. The larger, the more only the nearest
        neighbours matter.
    iterations
        Moves at most, for each value of the exponent.

    Returns
    -------
    numpy.ndarray
        Points (size, n_obj), non-negative, each summing to one, in lexicographic order.

    Raises
    ------
    ProblemError
        If a number makes no sense, or there are fewer points than corners.

    Notes
    -----
    Source: Blank, Deb, Dhebar, Bandaru and Seada, IEEE Trans. Evol. Comput. 25(1), 2021: gradient steps on
    the logarithm of the energy, projected to the simplex, with s = M squared [memory]. The start, the fixed
    corners, the rising exponent and the length of the steps (see `repulsion`) are not published; emoref
    uses the above.

    Examples
    --------
    >>> riesz_points(2, 3).round(6)
    array([[0. , 1. ],
           [0.5, 0.5],
           [1. , 0. ]])
    """
    check_integer("n_obj", n_obj)
    check_integer("size", size)
    check_integer("iterations", iterations)
    final = float(n_obj**2 if s is None else s)
    if not (np.isfinite(final) and final > 0.0):
        raise ProblemError(f"s is {s!r}; it must be a positive number")
    if n_obj == 1 and size != 1:
        raise ProblemError(f"for one objective there is one reference point, not {size}")
    if not n_obj <= size <= MOST_CHARGES:
        raise ProblemError(
            f"size is {size}; with {n_obj} objectives it must be {n_obj} (the corners) to {MOST_CHARGES}"
        )
    if size == n_obj:
        return np.eye(n_obj)[::-1].copy()
    first, *rising = _rising(final, 2.0 * n_obj)
    pools = [das_dennis(n_obj, _enough_divisions(n_obj, size))]
    for k in range(max(1, _STARTS // size)):
        pools.append(_random_points(n_obj, _CANDIDATES * size, generator(seed, "emo.riesz", k)))
    starts = (_relax(_far_apart(pool, size), first, n_obj, iterations) for pool in pools)
    points = min(starts, key=lambda x: riesz_energy(x, first))
    for exponent in rising:
        points = _relax(points, exponent, n_obj, iterations)
    return points[np.lexsort(points.T[::-1])]


def riesz_energy(points: Any, s: float) -> float:
    """Measure how close points are to one another: the logarithm of the mean of distance**-s.

    Parameters
    ----------
    points
        Points (n, M), at least two.
    s
        Exponent, positive.

    Returns
    -------
    float
        log of the mean, over all pairs, of 1 / (distance ** s); infinite if two points are the same.

    Raises
    ------
    ShapeError
        If there are fewer than two points.

    Notes
    -----
    Source: Blank et al. 2021. The logarithm keeps large exponents within range.

    Examples
    --------
    Two points at distance 2 have the energy log(1 / 2**3):

    >>> bool(np.isclose(riesz_energy([[0.0, 0.0], [2.0, 0.0]], 3), np.log(1 / 2**3)))
    True
    """
    x = np.asarray(points, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2:
        raise ShapeError(f"points have shape {x.shape}; there must be two of them at least, one a row")
    return _energy(_log_distances(x), s)


def repulsion(points: NDArray[np.float64], s: float) -> NDArray[np.float64]:
    """Say where the others push each point: the way to it from their weighted mean.

    The gradient of a point's energy is -s times the sum of w (x - y) over the others y, with weights
    w = distance ** -(s + 2); its curvature is about s (s + 1) times the sum of w. Newton's step, one divided
    by the other, is the way returned here, divided by s + 1.

    Parameters
    ----------
    points
        Points (n, M), no two equal.
    s
        Exponent of the energy.

    Returns
    -------
    numpy.ndarray
        Ways (n, M), each x less the weighted mean of the others. For points of the simplex their
        coordinates sum to zero, up to rounding.

    Notes
    -----
    Not published; emoref uses this in place of a step length that has to be tuned.

    Examples
    --------
    The middle point of three on a line is pushed by the nearer one: weights 1 and 1/16 for s = 2.

    >>> repulsion(np.array([[0.0], [1.0], [3.0]]), 2.0)[1] * 17
    array([14.])
    """
    return _repulsion(points, _log_distances(points), s)


def onto_simplex(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the nearest point of the unit simplex.

    Parameters
    ----------
    points
        Points (n, M), finite.

    Returns
    -------
    numpy.ndarray
        Nearest points (n, M), non-negative, each summing to one.

    Notes
    -----
    The nearest point is max(x - t, 0) with the t for which the sum is one: of the largest coordinates, as
    many stay positive as still do after being lowered alike (Held, Wolfe and Crowder, Math. Program. 6,
    1974).

    Examples
    --------
    >>> onto_simplex(np.array([[0.5, 0.5, 0.5], [1.5, 0.5, -1.0]]))
    array([[0.33333333, 0.33333333, 0.33333333],
           [1.        , 0.        , 0.        ]])
    """
    descending = -np.sort(-points, axis=1)
    excess = np.cumsum(descending, axis=1) - 1.0
    lowered = excess / np.arange(1, points.shape[1] + 1)
    positive = (descending > lowered).sum(axis=1)
    t = lowered[np.arange(len(points)), positive - 1]
    onto = np.maximum(points - t[:, None], 0.0)
    return onto / onto.sum(axis=1, keepdims=True)


def _enough_divisions(n_obj: int, size: int) -> int:
    """Return the least number of divisions for which there are `size` regular points or more."""
    p = 1
    while comb(n_obj + p - 1, p) < size:
        p += 1
    return p


def _random_points(n_obj: int, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return `count` points, evenly distributed over the simplex: the gaps between sorted random numbers."""
    cuts = np.sort(rng.random((count, n_obj - 1)), axis=1)
    ends = np.zeros((count, 1))
    return np.diff(np.hstack([ends, cuts, ends + 1.0]), axis=1)


def _far_apart(pool: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return the corners, then points of the pool, each the one that is farthest from those before."""
    n_obj = pool.shape[1]
    points = np.empty((size, n_obj))
    points[:n_obj] = np.eye(n_obj)
    distance = np.full(len(pool), np.inf)
    for i in range(size):
        if i >= n_obj:
            points[i] = pool[np.argmax(distance)]
        distance = np.minimum(distance, ((pool - points[i]) ** 2).sum(axis=1))
    return points


def _rising(final: float, low: float) -> list[float]:
    """Return exponents up to the final one, each twice the one before, the first at most `low`."""
    exponents = [final]
    while exponents[0] > low:
        exponents.insert(0, exponents[0] / 2.0)
    return exponents


def _relax(points: NDArray[np.float64], s: float, fixed: int, iterations: int) -> NDArray[np.float64]:
    """Move all but the first `fixed` points, and return the points of least energy on the way."""
    logs = _log_distances(points)
    best, least, step, idle = points, _energy(logs, s), 0.5, 0
    for _ in range(iterations):
        moved = points[fixed:] + step * _repulsion(points, logs, s)[fixed:]
        points = np.concatenate([points[:fixed], onto_simplex(moved)])
        logs = _log_distances(points)
        energy = _energy(logs, s)
        idle += 1
        if energy < least:
            best, least, idle = points, energy, 0
        elif idle > _PATIENCE:
            points, step, idle = best, step / 2.0, 0
            logs = _log_distances(points)
        if step < 0.5 / 2.0**_HALVINGS:
            break
    return best


def _log_distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return logarithms of the distances between points (n, n), infinite from a point to itself."""
    squared = np.zeros((len(points), len(points)))
    for x in points.T:
        squared += (x[:, None] - x) ** 2
    np.fill_diagonal(squared, np.inf)
    with np.errstate(divide="ignore"):
        return np.asarray(0.5 * np.log(squared))


def _energy(logs: NDArray[np.float64], s: float) -> float:
    nearest = logs.min()
    if nearest == -np.inf:
        return float("inf")
    # Relative to the nearest pair, nothing overflows. Each pair is there twice, in the sum and in the count.
    total = np.exp(-s * (logs - nearest)).sum()
    return float(np.log(total / (len(logs) * (len(logs) - 1.0))) - s * nearest)


def _repulsion(points: NDArray[np.float64], logs: NDArray[np.float64], s: float) -> NDArray[np.float64]:
    weights = np.exp(-(s + 2.0) * (logs - logs.min(axis=1, keepdims=True)))
    weights /= weights.sum(axis=1, keepdims=True)
    # Without optimisation, einsum adds up in one order, whatever the number of threads.
    return points - np.einsum("ij,jk->ik", weights, points, optimize=False)
