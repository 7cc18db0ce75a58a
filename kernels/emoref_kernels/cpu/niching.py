"""Association with reference lines and niching, compiled; see `emoref_kernels.reference.niching`.

Results equal the reference's bit for bit.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit

__all__ = ["associate", "fill_niches"]

_PARALLEL_FROM = 4_000_000
"""Products from which more than one thread is worth its start."""

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
    points, columns = np.ascontiguousarray(F), np.ascontiguousarray(lines.T)
    if F.size * len(lines) < _PARALLEL_FROM:
        _associate_rows(points, columns, 0, len(F), niches, squared)
    else:
        _associate_blocks(points, columns, niches, squared)
    return niches, np.sqrt(squared)


@jit()
def _associate_rows(F, columns, start, stop, niches, squared):
    objectives, lines = columns.shape
    along, distance = np.empty(lines), np.empty(lines)
    for n in range(start, stop):
        along[:] = 0.0
        distance[:] = 0.0
        for m in range(objectives):
            f = F[n, m]
            for h in range(lines):
                along[h] += f * columns[m, h]
        for m in range(objectives):
            f = F[n, m]
            for h in range(lines):
                gap = f - along[h] * columns[m, h]
                distance[h] += gap * gap
        niches[n], squared[n] = _first_smallest(distance)


@jit()
def _first_smallest(values):
    """Return where the first of the smallest values is, and the value; the first NaN is smaller than any."""
    where, smallest = 0, values[0]
    for h in range(values.size):
        if np.isnan(values[h]):
            return h, values[h]
        if values[h] < smallest:
            where, smallest = h, values[h]
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
    by_niche = nearest_first[np.argsort(niches[nearest_first], kind="stable")]
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
    open_niches = np.flatnonzero(left)
    available = open_niches.size
    for choice in range(len(draws)):
        load = counts[open_niches[0]]
        ties = 0
        for k in range(available):
            count = counts[open_niches[k]]
            if count < load:
                load, ties = count, 0
            if count == load:
                ties += 1
        skip = min(np.int64(draws[choice, 0] * ties), ties - 1)
        k = 0
        while True:
            if counts[open_niches[k]] == load:
                if skip == 0:
                    break
                skip -= 1
            k += 1
        j = open_niches[k]
        taken = first[j]
        if load > 0:
            taken += min(np.int64(draws[choice, 1] * left[j]), left[j] - 1)
        chosen[choice] = by_niche[taken]
        for position in range(taken, first[j] + left[j] - 1):
            by_niche[position] = by_niche[position + 1]
        counts[j] += 1
        left[j] -= 1
        if left[j] == 0:
            for position in range(k, available - 1):
                open_niches[position] = open_niches[position + 1]
            available -= 1
