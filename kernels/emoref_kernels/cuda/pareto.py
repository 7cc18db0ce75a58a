"""Pareto kernels on the device: dominance ranks and crowding of large populations, in float64.

Rules and sources are in `emoref_kernels.reference.pareto`. Ranks and crowding distances equal the
reference's. The hypervolume is a recursion that a GPU gains nothing from; the CPU's is used.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cuda.array import upload
from emoref_kernels.cuda.jit import THREADS, device, kernel
from emoref_kernels.cuda.provider import cuda
from emoref_kernels.pareto_checks import check_objectives, check_variant

__all__ = ["crowding_distance", "hypervolume", "nondominated_ranks"]


@device
def _dominates(F, a, b, objectives):
    """Say whether row a is nowhere larger than row b and somewhere smaller."""
    smaller = False
    for m in range(objectives):
        left, right = F[a * objectives + m], F[b * objectives + m]
        if left > right:
            return False
        if left < right:
            smaller = True
    return smaller


@kernel("dinn")
def _count_dominators(F, counts, points, objectives):
    i = cuda.grid(1)
    if i < points:
        count = 0
        for other in range(points):
            if _dominates(F, other, i, objectives):
                count += 1
        counts[i] = count


@kernel("diinnn")
def _take_front_away(F, counts, front, size, points, objectives):
    # Points of the front itself have no dominator left; those ranked before are not asked again.
    i = cuda.grid(1)
    if i < points and counts[i] > 0:
        count = 0
        for place in range(size):
            if _dominates(F, front[place], i, objectives):
                count += 1
        counts[i] -= count


@kernel("didddnnn")
def _gap_sums(F, places, order, scales, distance, points, objectives, paper):
    # places: position of each point in the order of each objective; scales: (scale, width), width 0: skip;
    # order: values in the order of each objective.
    i = cuda.grid(1)
    if i < points:
        total = 0.0
        for m in range(objectives):
            width = scales[2 * m + 1]
            if width > 0.0:
                k = places[m * points + i]
                if k == 0 or (paper != 0 and k == points - 1):
                    total = np.inf
                elif k < points - 1:
                    below = scales[2 * m] * order[m * points + k - 1]
                    above = scales[2 * m] * order[m * points + k + 1]
                    if below != above:
                        total += (above - below) / width
        distance[i] = total


def nondominated_ranks(F: Any) -> NDArray[np.int64]:
    """Rank points by non-dominated sorting; see `emoref_kernels.reference.pareto.nondominated_ranks`."""
    values = check_objectives(F)
    finite = np.flatnonzero(np.isfinite(values).all(axis=1))
    ranks = np.zeros(len(values), np.int64)
    points, objectives = len(finite), values.shape[1]
    level = 0
    if points:
        rows = upload(np.ascontiguousarray(values[finite]))
        counts = upload(np.zeros(points, np.int64))
        blocks = -(-points // THREADS)
        _count_dominators(blocks, THREADS, rows, counts, points, objectives)
        ranked = np.zeros(points, np.bool_)
        while not ranked.all():
            front = np.flatnonzero((np.asarray(counts) == 0) & ~ranked)
            ranks[finite[front]] = level
            ranked[front] = True
            level += 1
            _take_front_away(blocks, THREADS, rows, counts, upload(front), front.size, points, objectives)
    ranks[~np.isfinite(values).all(axis=1)] = level
    return ranks


def crowding_distance(F: Any, variant: str = "paper") -> NDArray[np.float64]:
    """Measure the crowding in one front; see `emoref_kernels.reference.pareto.crowding_distance`."""
    values = check_objectives(F)
    check_variant(variant)
    distance = np.zeros(len(values))
    rows = ~np.isnan(values).any(axis=1)
    distance[rows] = _front_distances(np.ascontiguousarray(values[rows]), variant == "paper")
    return distance


def _front_distances(F: NDArray[np.float64], paper: bool) -> NDArray[np.float64]:
    points, objectives = F.shape
    if points < 3:
        return np.full(points, np.inf)
    order, scales = np.argsort(F, axis=0, kind="stable").T.copy(), np.zeros((objectives, 2))
    places = np.empty((objectives, points), np.int64)
    for m in range(objectives):
        own = order[m]
        column = F[own, m]
        if column[0] != column[-1]:
            # Of several largest the first in row order is the end.
            first = int(np.flatnonzero(column == column[-1])[0])
            order[m] = np.concatenate([own[:first], own[first + 1 :], own[first : first + 1]])
            scales[m] = _scale_and_width(column)
        places[m, order[m]] = np.arange(points)
    in_order = np.take_along_axis(F.T, order, axis=1)
    distance = upload(np.empty(points))
    _gap_sums(
        -(-points // THREADS), THREADS, upload(F), upload(places), upload(in_order), upload(scales), distance,
        points, objectives, paper,
    )  # fmt: skip
    total = np.asarray(distance)
    return total if paper else total / objectives


def _scale_and_width(column: NDArray[np.float64]) -> tuple[float, float]:
    """Return what values of a sorted column are multiplied by, and their finite range in that unit."""
    finite = column[np.isfinite(column)]
    if finite.size == 0 or not finite[-1] > finite[0]:
        return 1.0, 1.0
    half = 0.5 * finite[-1] - 0.5 * finite[0]
    if half > 0.5 * np.finfo(np.float64).max:
        return 0.5, float(half)
    return 1.0, float(finite[-1] - finite[0])


def hypervolume(F: Any, ref: Any) -> float:
    """Measure the dominated volume, on the CPU; see `emoref_kernels.reference.pareto.hypervolume`."""
    from emoref_kernels.cpu.pareto import hypervolume as on_the_cpu

    return on_the_cpu(F, ref)
