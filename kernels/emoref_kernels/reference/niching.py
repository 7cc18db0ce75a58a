"""Association with reference lines and niching, the definitions (Deb and Jain 2014, algorithms 3 and 4)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["associate", "fill_niches"]


def associate(
    F: NDArray[np.float64], lines: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the reference line nearest to each point; of equally near ones the first.

    Parameters
    ----------
    F
        Normalised objective values, float64 (N, M).
    lines
        Directions of the lines through the origin, of length 1, float64 (H, M), H >= 1.

    Returns
    -------
    niches : ndarray of int64, shape (N,)
        Row of the nearest line.
    distances : ndarray of float64, shape (N,)
        Perpendicular distance to it.

    Notes
    -----
    Source: Deb and Jain 2014, algorithm 3. Sums run over the objectives in their order. A point that is NaN
    or infinite somewhere has NaN as its distance and belongs to the first line.
    """
    shape = (len(F), len(lines))
    along = np.zeros(shape)
    for f, w in zip(F.T, lines.T, strict=True):
        along += f[:, None] * w
    squared = np.zeros(shape)
    for f, w in zip(F.T, lines.T, strict=True):
        squared += (f[:, None] - along * w) ** 2
    niches = np.argmin(squared, axis=1)
    return niches, np.sqrt(squared[np.arange(len(F)), niches])


def fill_niches(
    counts: NDArray[np.int64],
    niches: NDArray[np.int64],
    distances: NDArray[np.float64],
    draws: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Choose members of a front, one at a time, each for the emptiest niche.

    Of the niches that the fewest chosen points belong to and that have members left, one is drawn. If it is
    empty, its nearest member is chosen (of equally near ones the first), otherwise any of its members.

    Parameters
    ----------
    counts
        How many points were chosen before for each niche, int64 (H,); not changed.
    niches, distances
        Niche and distance of each member of the front, int64 and float64 (n,).
    draws
        Uniform random numbers in [0, 1), float64 (room, 2) with room <= n: for each choice one that says
        which of the emptiest niches, in increasing order, and one that says which of its members, the
        nearest first. The second is not looked at where a niche is empty.

    Returns
    -------
    ndarray of int64, shape (room,)
        Rows of the chosen members, in the order of choice.

    Notes
    -----
    Source: Deb and Jain 2014, algorithm 4. There a niche without a member is dropped when it is drawn;
    leaving it out from the beginning gives every choice the same probability.
    """
    counts = counts.copy()
    members: dict[int, list[int]] = {}
    # Nearest first; a stable sort keeps equally near ones in order.
    for row in np.argsort(distances, kind="stable").tolist():
        members.setdefault(int(niches[row]), []).append(row)
    chosen: list[int] = []
    for which_niche, which_member in draws:
        load = min(counts[j] for j in members)
        emptiest = sorted(j for j in members if counts[j] == load)
        j = emptiest[_pick(which_niche, len(emptiest))]
        position = 0 if load == 0 else _pick(which_member, len(members[j]))
        chosen.append(members[j].pop(position))
        counts[j] += 1
        if not members[j]:
            del members[j]
    return np.array(chosen, dtype=np.int64)


def _pick(draw: Any, count: int) -> int:
    """Return floor(draw * count), kept below `count` in case the product was rounded up to it."""
    return min(int(draw * count), count - 1)
