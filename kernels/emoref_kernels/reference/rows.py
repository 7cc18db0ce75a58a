"""Finding equal rows, the definition."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["new_rows"]


def new_rows(words: NDArray[np.uint64], existing: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Find the rows that are neither among the existing ones nor equal to an earlier one.

    Parameters
    ----------
    words
        Rows, uint64 (N, L).
    existing
        Rows that are there already, uint64 (K, L).

    Returns
    -------
    ndarray of bool, shape (N,)
        True for each new row.
    """
    seen = {row.tobytes() for row in existing}
    new = np.zeros(len(words), dtype=np.bool_)
    for i, row in enumerate(words):
        key = row.tobytes()
        new[i] = key not in seen
        seen.add(key)
    return new
