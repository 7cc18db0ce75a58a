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
    new: NDArray[np.bool_] = _first_of_its_kind(np.ascontiguousarray(existing), np.ascontiguousarray(words))
    return new


@jit()
def _first_of_its_kind(existing, words):
    known = len(existing)
    size = 2
    while size < 2 * (known + len(words)):
        size *= 2
    # Row i of the table is existing[i], or words[i - known]; -1 is a free slot.
    table = np.full(size, -1, np.int64)
    first = np.zeros(len(words), np.bool_)
    for i in range(known):
        slot = _slot(existing, i, table, existing, words)
        if table[slot] < 0:
            table[slot] = i
    for i in range(len(words)):
        slot = _slot(words, i, table, existing, words)
        if table[slot] < 0:
            table[slot] = known + i
            first[i] = True
    return first


@jit()
def _slot(rows, i, table, existing, words):
    """Return the slot of the table in which row i of `rows` is, or the free one in which it would be."""
    mask = np.uint64(table.size - 1)
    code = _BASIS
    for k in range(rows.shape[1]):
        code = (code ^ rows[i, k]) * _PRIME
        code ^= code >> _FOLD
    slot = np.int64(code & mask)
    known = len(existing)
    while table[slot] >= 0:
        other = table[slot]
        if other < known:
            if _equal(rows, i, existing, other):
                break
        elif _equal(rows, i, words, other - known):
            break
        slot = (slot + 1) & np.int64(mask)
    return slot


@jit()
def _equal(A, i, B, j):
    k = 0
    while k < A.shape[1] and A[i, k] == B[j, k]:
        k += 1
    return k == A.shape[1]
