"""Pareto kernels in plain Python and NumPy: the definition of dominance ranks, crowding and hypervolume.

All objectives are minimised. A point a *dominates* a point b if a is nowhere larger and somewhere smaller.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.pareto_checks import check_bounded, check_objectives, check_reference_point, check_variant

__all__ = ["crowding_distance", "hypervolume", "hypervolume_contributions", "nondominated_ranks"]


def nondominated_ranks(F: Any) -> NDArray[np.int64]:
    """Rank points by fast non-dominated sorting.

    Rank 0 is the set of points that no other dominates, rank 1 the set that remains non-dominated without
    rank 0, and so on. Equal points have equal ranks.

    Rows with a NaN or an infinity in any column all get one rank, the one after the last rank of the
    finite rows (0 if there is no finite row). They change no other rank.

    Parameters
    ----------
    F
        Objective values (N, M), N >= 1.

    Returns
    -------
    numpy.ndarray
        Ranks from 0, int64 (N,).

    Raises
    ------
    ShapeError, DtypeError
        If `F` is no two-dimensional, non-empty array of real numbers.

    Notes
    -----
    Source: Deb, Pratap, Agarwal, Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II",
    IEEE Trans. Evol. Comput. 6(2), 2002, section III-A, with its names S_p, n_p and Q. The rule for
    non-finite rows is not published; emoref uses the one above.

    Examples
    --------
    >>> nondominated_ranks([[0, 1], [1, 0], [1, 1], [float("nan"), 0]])
    array([0, 0, 1, 2])
    """
    F = check_objectives(F)
    finite = np.isfinite(F).all(axis=1)
    rows = F.tolist()
    P = np.flatnonzero(finite).tolist()
    S: dict[int, list[int]] = {p: [] for p in P}
    n = dict.fromkeys(P, 0)
    ranks = np.zeros(len(rows), dtype=np.int64)
    front = []
    for p in P:
        for q in P:
            if _dominates(rows[p], rows[q]):
                S[p].append(q)
            elif _dominates(rows[q], rows[p]):
                n[p] += 1
        if n[p] == 0:
            front.append(p)
    i = 0
    while front:
        Q = []
        for p in front:
            ranks[p] = i
            for q in S[p]:
                n[q] -= 1
                if n[q] == 0:
                    Q.append(q)
        i += 1
        front = Q
    ranks[~finite] = i
    return ranks


def _dominates(a: list[float], b: list[float]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


def crowding_distance(F: Any, variant: str = "paper") -> NDArray[np.float64]:
    """Measure how far apart the neighbours of each point of one front are.

    For each objective the points are sorted, and each point between two others adds the difference of its
    neighbours' values divided by the objective's range. What the ends get depends on the variant:

    ``"paper"``
        both ends of every objective are infinite; the sum over the objectives is returned;
    ``"deb-c"``
        only the minimum of every objective is infinite, the maximum adds nothing; the sum is divided by M.

    Rules for the cases that the paper leaves open:

    * fewer than three points: all infinite, in both variants;
    * an objective with the same value in all rows adds 0 to every point, ends included;
    * of several points that share the minimum (or the maximum) of an objective, the one with the lowest
      row index is the end; the others are inner points. So at most one copy of an extreme point is
      protected, and the others have a distance of 0 or nearly so;
    * inner points of equal value are taken in row order;
    * infinities: the difference of equal infinities is 0 and the range is that of the finite values (1 if
      that is 0), so a neighbour of an infinity is infinitely far from it;
    * rows with a NaN get 0 and change nothing else. The result is never NaN.

    Parameters
    ----------
    F
        Objective values (N, M) of one front, N >= 1.
    variant
        ``"paper"`` or ``"deb-c"``.

    Returns
    -------
    numpy.ndarray
        Distances, float64 (N,).

    Raises
    ------
    ShapeError, DtypeError
        If `F` is no two-dimensional, non-empty array of real numbers, or the variant is unknown.

    Notes
    -----
    Sources: Deb et al. 2002 (see `nondominated_ranks`), section III-B; the variant ``"deb-c"`` follows
    version 1.1.6 of Deb's C program. That program also makes one point of a constant objective infinite,
    which one depending on its sorting; here none is. The rules listed above are not published; emoref uses
    them.

    Examples
    --------
    >>> crowding_distance([[0, 4], [1, 2], [3, 1], [4, 0]])
    array([ inf, 1.5 , 1.25,  inf])
    """
    F = check_objectives(F)
    check_variant(variant)
    distance = np.zeros(F.shape[0])
    numbers = ~np.isnan(F).any(axis=1)
    distance[numbers] = _front_distances(F[numbers], variant)
    return distance


def _front_distances(F: NDArray[np.float64], variant: str) -> NDArray[np.float64]:
    count, objectives = F.shape
    if count < 3:
        return np.full(count, np.inf)
    distance = np.zeros(count)
    for m in range(objectives):
        order = sorted(range(count), key=lambda i: F[i, m])
        values = F[order, m].tolist()
        if values[0] == values[-1]:
            continue
        first_maximum = values.index(values[-1])
        order.append(order.pop(first_maximum))
        width = _finite_range(values)
        # Values of opposite sign can be further apart than the largest float: halve before subtracting.
        scale = 0.5 if width == np.inf else 1.0
        if scale == 0.5:
            width = _finite_range([0.5 * value for value in values])
        distance[order[0]] = np.inf
        if variant == "paper":
            distance[order[-1]] = np.inf
        for k in range(1, count - 1):
            below, above = scale * values[k - 1], scale * values[k + 1]
            gap = 0.0 if below == above else above - below
            distance[order[k]] += gap / width
    return distance if variant == "paper" else distance / objectives


def _finite_range(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    width = finite[-1] - finite[0] if finite else 0.0
    return width if width > 0.0 else 1.0


def hypervolume(F: Any, ref: Any) -> float:
    """Measure the volume that a set of points dominates, up to a reference point.

    Points that are not smaller than the reference point in every objective contribute nothing; that
    includes rows with a NaN. If a point that does contribute has a value of minus infinity, the volume is
    infinite.

    Parameters
    ----------
    F
        Objective values (N, M); N may be 0.
    ref
        Reference point (M,), finite.

    Returns
    -------
    float
        The volume; 0.0 for no point.

    Raises
    ------
    ShapeError, DtypeError
        If `F` or `ref` are no arrays of real numbers of these shapes, or `ref` is not finite.

    Notes
    -----
    Source: Zitzler and Thiele, "Multiobjective optimization using evolutionary algorithms", PPSN V, 1998.
    The volume is cut into slabs between consecutive values of the last objective; in each slab the
    dominated part of the other objectives does not change, so the rule applies to those again. The time
    grows like N**(M-1); the CPU kernel is the one to use for more than a few dozen points.

    Examples
    --------
    >>> hypervolume([[1, 0, 1], [0, 1, 0]], [2, 2, 2])
    5.0
    """
    F = check_objectives(F, empty=True)
    ref = check_reference_point(ref, F.shape[1])
    points = F[(ref > F).all(axis=1)]
    if np.isneginf(points).any():
        return float("inf")
    return _volume(points, ref)


def hypervolume_contributions(F: Any, ref: Any) -> NDArray[np.float64]:
    """Measure by how much the hypervolume shrinks if a point is taken away, for each point.

    Copies contribute nothing, as each makes the other superfluous; nor do dominated points, nor points that
    are not smaller than the reference point in every objective, nor rows with a NaN. A dominated point takes
    its share from the one that dominates it, since it would step in.

    Parameters
    ----------
    F
        Objective values (N, M); N may be 0.
    ref
        Reference point (M,), finite.

    Returns
    -------
    numpy.ndarray
        Contributions, at least 0, float64 (N,).

    Raises
    ------
    ShapeError, DtypeError
        If `F` or `ref` are no arrays of real numbers of these shapes, `ref` is not finite, or a point that
        would contribute has a value of minus infinity.

    Notes
    -----
    Source: Emmerich, Beume, Naujoks, "An EMO algorithm using the hypervolume measure as selection criterion",
    EMO 2005.

    Examples
    --------
    >>> hypervolume_contributions([[1, 5], [2, 2], [4, 1]], [6, 6])
    array([1., 6., 2.])
    """
    F = check_objectives(F, empty=True)
    ref = check_reference_point(ref, F.shape[1])
    check_bounded(F[(ref > F).all(axis=1)])
    whole = hypervolume(F, ref)
    rest = [hypervolume(np.delete(F, i, axis=0), ref) for i in range(len(F))]
    return np.maximum(whole - np.array(rest, dtype=np.float64), 0.0)


def _volume(points: NDArray[np.float64], ref: NDArray[np.float64]) -> float:
    if len(points) == 0:
        return 0.0
    if len(ref) == 1:
        return float(ref[0] - points[:, 0].min())
    points = points[np.argsort(points[:, -1], kind="stable")]
    edges = np.append(points[:, -1], ref[-1])
    volume = 0.0
    for k in range(len(points)):
        thickness = edges[k + 1] - edges[k]
        if thickness > 0.0:
            volume += thickness * _volume(points[: k + 1, :-1], ref[:-1])
    return float(volume)
