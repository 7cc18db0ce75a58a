"""Small steps of a selection on ranks and values, compiled; see `emoref_kernels.reference.fronts`."""

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit

__all__ = ["finite_rows", "rows_by_rank"]


def finite_rows(F: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find the rows without NaN and infinity; see `emoref_kernels.reference.fronts.finite_rows`.

    Parameters
    ----------
    F
        Values, float64 (N, M).

    Returns
    -------
    ndarray of bool, shape (N,)
        True for each such row.
    """
    finite: NDArray[np.bool_] = _finite_rows(np.ascontiguousarray(F))
    return finite


@jit()
def _finite_rows(F):
    finite = np.empty(len(F), np.bool_)
    for i in range(len(F)):
        good = True
        for m in range(F.shape[1]):
            good = good and np.isfinite(F[i, m])
        finite[i] = good
    return finite


def rows_by_rank(ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """List rows by rank, by counting; see `emoref_kernels.reference.fronts.rows_by_rank`.

    Parameters
    ----------
    ranks
        Ranks from 0, int64 (N,), N >= 1.

    Returns
    -------
    ndarray of int64, shape (N,)
        Rows, the best rank first.
    """
    order: NDArray[np.int64] = _rows_by_rank(ranks)
    return order


@jit()
def _rows_by_rank(ranks):
    largest = 0
    for rank in ranks:
        largest = max(largest, rank)
    place = np.zeros(largest + 2, np.int64)
    for rank in ranks:
        place[rank + 1] += 1
    for rank in range(largest + 1):
        place[rank + 1] += place[rank]
    order = np.empty(ranks.size, np.int64)
    for i in range(ranks.size):
        order[place[ranks[i]]] = i
        place[ranks[i]] += 1
    return order
