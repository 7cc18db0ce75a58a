"""Small steps of a selection on ranks and values, the definitions."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["finite_rows", "rows_by_rank"]


def finite_rows(F: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find the rows without NaN and infinity.

    Parameters
    ----------
    F
        Values, float64 (N, M).

    Returns
    -------
    ndarray of bool, shape (N,)
        True for each such row.
    """
    return np.asarray(np.isfinite(F).all(axis=1))


def rows_by_rank(ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """List rows by rank; those of equal rank in their order.

    Parameters
    ----------
    ranks
        Ranks from 0, int64 (N,), N >= 1; there must not be many more of them than rows.

    Returns
    -------
    ndarray of int64, shape (N,)
        Rows, the best rank first.
    """
    return np.argsort(ranks, kind="stable")
