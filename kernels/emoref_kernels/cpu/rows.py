"""Finding equal rows, compiled; see `emoref_kernels.reference.rows`."""

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit

__all__ = ["new_rows"]

# Constants of the 64-bit FNV-1a hash (Fowler, Noll, Vo), applied to words instead of bytes. They spread
# the rows over the table; equality is decided by comparing the rows.
_BASIS = np.uint64(14695981039346656037)
_PRIME = np.uint64(1099511628211)
_FOLD = np.uint64(32)


def new_rows(words: NDArray[np.uint64], existing: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Find the rows that were not there before; see `emoref_kernels.reference.rows.new_rows`.

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
    rows = np.ascontiguousarray(np.concatenate([existing, words]))
    return _first_of_its_kind(rows)[len(existing) :]


@jit()
def _first_of_its_kind(rows):
    size = 1
    while size < 2 * len(rows):
        size *= 2
    table = np.full(max(size, 2), -1, np.int64)
    mask = np.uint64(table.size - 1)
    first = np.zeros(len(rows), np.bool_)
    for i in range(len(rows)):
        code = _BASIS
        for word in rows[i]:
            code = (code ^ word) * _PRIME
            code ^= code >> _FOLD
        slot = np.int64(code & mask)
        while table[slot] >= 0 and not _equal(rows, table[slot], i):
            slot = (slot + 1) & np.int64(mask)
        if table[slot] < 0:
            table[slot] = i
            first[i] = True
    return first


@jit()
def _equal(rows, i, j):
    k = 0
    while k < rows.shape[1] and rows[i, k] == rows[j, k]:
        k += 1
    return k == rows.shape[1]
