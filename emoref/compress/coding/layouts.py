"""Four ways to lay a tensor's symbols out as streams of numbers of equal width, and their exact sizes.

A symbol is a number of q bits, and 0 stands for the weight 0 (see :mod:`emoref.compress.quantize`). With N
symbols, a of them not 0, the layouts are these streams, one behind the other:

* *dense*: all symbols. N q bits.
* *bitmap*: one bit for each symbol, 1 = not 0; then the symbols that are not 0. N + a q bits.
* *coo*: the positions of the symbols that are not 0, each in ceil(log2 N) bits; then these symbols.
  a (q + ceil(log2 N)) bits.
* *relative*: e entries. First how many zeros lie before each of them, in b bits; then their symbols.
  e (q + b) bits.

A run of zeros longer than b bits can say, 2**b - 1, is cut by fillers: entries with the largest run whose
symbol is 0 itself. One of them takes 2**b zeros, so that a run of z zeros needs floor(z / 2**b) fillers and
e = a + all fillers. Zeros behind the last symbol that is not 0 cost nothing in bitmap's second stream, coo
and relative.

Sources: dense, COO and relative distances: EMOMC (Wang et al., IEEE CIM 16(3), 2021, p. 13); fillers: Han et
al., "EIE", ISCA 2016. The bitmap is common practice.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoref.errors import FileFormatError

__all__ = [
    "LAYOUTS",
    "Layout",
    "Stream",
    "bitmap_bits",
    "coo_bits",
    "dense_bits",
    "position_bits",
    "relative_bits",
    "relative_entries",
    "zero_runs",
]

Symbols = NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Stream:
    """Numbers of equal width.

    Attributes
    ----------
    numbers : uint32 array, shape (count,)
        What is written.
    width : int
        Bits of a number.
    coded : bool
        Whether Huffman coding is worth trying: not for bitmaps and positions, which have nothing to gain.
    """

    numbers: Symbols
    width: int
    coded: bool = True


# ------------------------------------------------------------------------------------------------- sizes


def dense_bits(size: int, bits: int) -> int:
    """Return the size of `size` symbols of `bits` bits in the dense layout, in bits: N q."""
    return size * bits


def bitmap_bits(size: int, nonzeros: int, bits: int) -> int:
    """Return the size of a bitmap of `size` symbols and its `nonzeros` symbols of `bits` bits: N + a q."""
    return size + nonzeros * bits


def position_bits(size: int) -> int:
    """Return ceil(log2 N), the bits of a position among `size` symbols; 0 if there is but one place."""
    return max(size - 1, 0).bit_length()


def coo_bits(size: int, nonzeros: int, bits: int) -> int:
    """Return the size of `nonzeros` of `size` symbols of `bits` bits, each with its position, in bits."""
    return nonzeros * (bits + position_bits(size))


def zero_runs(symbols: Symbols) -> NDArray[np.int64]:
    """Return how many zeros lie before each of the `symbols` that is not 0, since the one before."""
    return np.diff(np.flatnonzero(symbols), prepend=-1) - 1


def relative_entries(runs: NDArray[np.int64], index_bits: int) -> int:
    """Return e, how many entries the relative layout needs for the :func:`zero_runs` of a tensor.

    Parameters
    ----------
    runs : int64 array, shape (a,)
        Zeros before each symbol that is not 0.
    index_bits : int
        b, bits of a run.

    Returns
    -------
    int
        One entry for each run and ``floor(run / 2**b)`` fillers.
    """
    return len(runs) + int((runs >> index_bits).sum())


def relative_bits(entries: int, bits: int, index_bits: int) -> int:
    """Return the size of `entries` runs of `index_bits` bits and symbols of `bits` bits: e (q + b)."""
    return entries * (bits + index_bits)


# ------------------------------------------------------------------------------- symbols <-> streams


def _split_dense(symbols: Symbols, bits: int, index_bits: int) -> list[Stream]:
    return [Stream(symbols, bits)]


def _join_dense(streams: list[Symbols], size: int, index_bits: int) -> Symbols:
    return streams[0]


def _split_bitmap(symbols: Symbols, bits: int, index_bits: int) -> list[Stream]:
    mask = symbols != 0
    return [Stream(mask.astype(np.uint32), 1, coded=False), Stream(symbols[mask], bits)]


def _join_bitmap(streams: list[Symbols], size: int, index_bits: int) -> Symbols:
    mask, values = streams[0].astype(bool), streams[1]
    if mask.sum() != len(values):
        raise FileFormatError(f"the bitmap marks {mask.sum():,} weights, {len(values):,} are stored")
    symbols = np.zeros(size, dtype=np.uint32)
    symbols[mask] = values
    return symbols


def _split_coo(symbols: Symbols, bits: int, index_bits: int) -> list[Stream]:
    positions = np.flatnonzero(symbols)
    width = position_bits(len(symbols))
    return [Stream(positions.astype(np.uint32), width, coded=False), Stream(symbols[positions], bits)]


def _join_coo(streams: list[Symbols], size: int, index_bits: int) -> Symbols:
    return _scattered(streams[0].astype(np.int64), streams[1], size)


def _split_relative(symbols: Symbols, bits: int, index_bits: int) -> list[Stream]:
    zeros = zero_runs(symbols)
    fillers, longest = zeros >> index_bits, (1 << index_bits) - 1
    where = np.arange(len(zeros)) + np.cumsum(fillers)  # of the entries that are no fillers
    entries = relative_entries(zeros, index_bits)
    runs, values = np.full(entries, longest, dtype=np.uint32), np.zeros(entries, dtype=np.uint32)
    runs[where] = zeros & longest
    values[where] = symbols[symbols != 0]
    return [Stream(runs, index_bits), Stream(values, bits)]


def _join_relative(streams: list[Symbols], size: int, index_bits: int) -> Symbols:
    return _scattered(np.cumsum(streams[0].astype(np.int64) + 1) - 1, streams[1], size)


def _scattered(positions: NDArray[np.int64], values: Symbols, size: int) -> Symbols:
    if len(positions) and positions[-1] >= size:
        raise FileFormatError(f"a weight is placed at {positions[-1]:,} of {size:,}")
    if (np.diff(positions) <= 0).any():
        raise FileFormatError("the positions of the weights do not rise")
    symbols = np.zeros(size, dtype=np.uint32)
    symbols[positions] = values
    return symbols


# ------------------------------------------------------------------------------------------------ the table


@dataclass(frozen=True)
class Layout:
    """How symbols become streams and back.

    Attributes
    ----------
    split : callable
        (symbols, bits, index_bits) -> list of :class:`Stream`.
    join : callable
        (streams as arrays, number of symbols, index_bits) -> symbols. Raises FileFormatError if these streams
        cannot have come from `split`.
    streams : callable
        (number of symbols, number of stored symbols, bits, index_bits) -> for each stream its (count, width,
        coded): what a reader has to know before it reads.
    """

    split: Callable[[Symbols, int, int], list[Stream]]
    join: Callable[[list[Symbols], int, int], Symbols]
    streams: Callable[[int, int, int, int], list[tuple[int, int, bool]]]


LAYOUTS: dict[str, Layout] = {
    "dense": Layout(_split_dense, _join_dense, lambda n, e, q, b: [(n, q, True)]),
    "bitmap": Layout(_split_bitmap, _join_bitmap, lambda n, e, q, b: [(n, 1, False), (e, q, True)]),
    "coo": Layout(_split_coo, _join_coo, lambda n, e, q, b: [(e, position_bits(n), False), (e, q, True)]),
    "relative": Layout(_split_relative, _join_relative, lambda n, e, q, b: [(e, b, True), (e, q, True)]),
}
"""The layouts by name."""
