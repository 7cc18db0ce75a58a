"""Association with reference lines and niching, compiled; see `emoref_kernels.reference.niching`.

Results equal the reference's bit for bit.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.fronts import rows_by_rank
from emoref_kernels.cpu.jit import jit

__all__ = ["associate", "fill_niches"]

_PARALLEL_FROM = 4_000_000
"""Products from which more than one thread is worth its start."""

_SAFE = 1e300
"""Up to this square of a point's length, no product or sum here can overflow."""

_ROUNDING = 1e-12
"""Part of a point's squared length that a squared distance may be wrong by, and far more."""

_LINES_AT_ONCE = 32

_BLOCK = 64
"""Points that one thread takes at a time."""


def associate(
    F: NDArray[np.float64], lines: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the reference line nearest to each point; see `emoref_kernels.reference.niching.associate`.

    Parameters
    ----------
    F
        Normalised objective values, float64 (N, M).
    lines
        Directions of the lines through the origin, of length 1, float64 (H, M), H >= 1.

    Returns
    -------
    tuple of ndarray
        Niches, int64 (N,), and distances, float64 (N,).
    """
    niches, squared = np.empty(len(F), np.int64), np.empty(len(F))
    points = np.ascontiguousarray(F)
    # Lines of length 0 are added at the end, so that loops over lines consist of whole vectors. They are as
    # far from a point as can be, and of equally near ones the first counts.
    columns = np.zeros((lines.shape[1], -(-len(lines) // _LINES_AT_ONCE) * _LINES_AT_ONCE))
    columns[:, : len(lines)] = lines.T
    if F.size * len(lines) < _PARALLEL_FROM:
        _associate_rows(points, columns, 0, len(F), niches, squared)
    else:
        _associate_blocks(points, columns, niches, squared)
    return niches, np.sqrt(squared)


@jit()
def _associate_rows(F, columns, start, stop, niches, squared):
    """Associate some points.

    By Pythagoras the nearest line is the one with the longest projection. Rounding may change the order of
    lines whose projections are nearly the longest, so the distance is measured for these, and decides.
    """
    lines = columns.shape[1]
    along, reach, longest = np.empty(lines), np.empty(lines), np.empty(1)
    for n in range(start, stop):
        length = 0.0
        for m in range(F.shape[1]):
            length += F[n, m] * F[n, m]
        _project(F, n, columns, along)
        if length <= _SAFE:
            for h in range(lines):
                reach[h] = along[h] * along[h]
            _put_largest(reach, longest)
            least = longest[0] - _ROUNDING * length
        else:
            reach[:] = 0.0
            least = 0.0
        niches[n], squared[n] = _nearest_of_candidates(F, n, columns, along, reach, least)


@jit()
def _project(F, n, columns, along):
    """Multiply point n by all lines, some objectives a pass; sums keep the order of the objectives."""
    # Rows of `columns` are not taken out as arrays of their own: counting references to them costs more
    # than the sums do.
    objectives, lines = columns.shape
    along[:] = 0.0
    m = 0
    while m + 4 <= objectives:
        f0, f1, f2, f3 = F[n, m], F[n, m + 1], F[n, m + 2], F[n, m + 3]
        for h in range(lines):
            two = (along[h] + f0 * columns[m, h]) + f1 * columns[m + 1, h]
            along[h] = (two + f2 * columns[m + 2, h]) + f3 * columns[m + 3, h]
        m += 4
    if m + 2 <= objectives:
        f0, f1 = F[n, m], F[n, m + 1]
        for h in range(lines):
            along[h] = (along[h] + f0 * columns[m, h]) + f1 * columns[m + 1, h]
        m += 2
    if m < objectives:
        f0 = F[n, m]
        for h in range(lines):
            along[h] += f0 * columns[m, h]


@jit()
def _put_largest(values, result):
    """Write the largest value into `result` (1,); none is NaN or negative."""
    # Without a sign, floats and the integers of the same bits have one order, and for integers the
    # compiler compares several at a time.
    bits = values.view(np.int64)
    largest = bits[0]
    for h in range(bits.size):
        largest = max(largest, bits[h])
    result.view(np.int64)[0] = largest


@jit()
def _nearest_of_candidates(F, n, columns, along, reach, least):
    """Return the nearest line of those that reach far enough, and its squared distance; the first of equals.

    The first NaN is nearer than any.
    """
    candidates = 0
    for h in range(reach.size):
        candidates += reach[h] >= least
    where, smallest = -1, np.inf
    h = 0
    while candidates > 0:
        if reach[h] >= least:
            candidates -= 1
            distance = 0.0
            for m in range(F.shape[1]):
                gap = F[n, m] - along[h] * columns[m, h]
                distance += gap * gap
            if np.isnan(distance):
                return h, distance
            if where < 0 or distance < smallest:
                where, smallest = h, distance
        h += 1
    return where, smallest


@jit(parallel=True)
def _associate_blocks(F, columns, niches, squared):
    for block in numba.prange((len(F) + _BLOCK - 1) // _BLOCK):
        start = np.int64(block) * _BLOCK
        _associate_rows(F, columns, start, min(start + _BLOCK, len(F)), niches, squared)


def fill_niches(
    counts: NDArray[np.int64],
    niches: NDArray[np.int64],
    distances: NDArray[np.float64],
    draws: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Choose members of a front for the emptiest niches; see `emoref_kernels.reference.niching.fill_niches`.

    Parameters
    ----------
    counts
        How many points were chosen before for each niche, int64 (H,); not changed.
    niches, distances
        Niche and distance of each member of the front, int64 and float64 (n,).
    draws
        Uniform random numbers in [0, 1), float64 (room, 2) with room <= n.

    Returns
    -------
    ndarray of int64, shape (room,)
        Rows of the chosen members, in the order of choice.
    """
    nearest_first = np.argsort(distances, kind="stable")
    by_niche = nearest_first[rows_by_rank(niches[nearest_first])]
    chosen: Any = np.empty(len(draws), np.int64)
    _fill(counts.copy(), niches, by_niche, draws, chosen)
    return chosen


@jit()
def _fill(counts, niches, by_niche, draws, chosen):
    # Members lie sorted by niche, the nearest first; `left[j]` of them are left, from `first[j]` on.
    first = np.zeros(counts.size, np.int64)
    left = np.zeros(counts.size, np.int64)
    for position in range(by_niche.size):
        j = niches[by_niche[position]]
        if left[j] == 0:
            first[j] = position
        left[j] += 1
    # The niches with the fewest chosen, in ascending order: each choice takes one out, since it then has one
    # more. When none is left, those of the next load are collected.
    emptiest = np.empty(counts.size, np.int64)
    ties, load = 0, np.int64(0)
    for choice in range(len(draws)):
        if ties == 0:
            load, ties = _collect_emptiest(counts, left, emptiest)
        k = min(np.int64(draws[choice, 0] * ties), ties - 1)
        j = emptiest[k]
        ties -= 1
        for position in range(k, ties):
            emptiest[position] = emptiest[position + 1]
        taken = first[j]
        if load > 0:
            taken += min(np.int64(draws[choice, 1] * left[j]), left[j] - 1)
        chosen[choice] = by_niche[taken]
        for position in range(taken, first[j] + left[j] - 1):
            by_niche[position] = by_niche[position + 1]
        counts[j] += 1
        left[j] -= 1


@jit()
def _collect_emptiest(counts, left, emptiest):
    """List the niches with members left that have the smallest count; return the count and how many."""
    load, ties = np.int64(0), 0
    for j in range(counts.size):
        if left[j] > 0:
            if ties == 0 or counts[j] < load:
                load, ties = counts[j], 0
            if counts[j] == load:
                emptiest[ties] = j
                ties += 1
    return load, ties
