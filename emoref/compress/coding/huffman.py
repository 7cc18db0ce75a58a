"""Canonical Huffman coding of numbers: frequent ones get short words.

A coded block describes itself, given the width w of its numbers and how many there are. With k different
numbers in it::

    w bits          k - 1
    k fields of w   the different numbers, rising
    k fields of 5   the length of each one's code word, 1 to 31
    ...             the code words

A block of no numbers has no bits at all. The words follow from the lengths: sorted by (length, number), the
first word is 0, and each further one is the one before plus 1, with zeros appended where the length grows.
"""

import numpy as np
from numpy.typing import NDArray

from emoref.compress.coding.bits import BitReader, BitWriter
from emoref.errors import FileFormatError, ShapeError
from emoref_kernels.bitstream_checks import MAX_CODE_LENGTH
from emoref_kernels.cpu import bitstream

__all__ = ["canonical_codes", "code_lengths", "huffman_bits", "read_huffman", "write_huffman"]

LENGTH_BITS = 5
"""Bits in which the length of a code word is stored."""


def code_lengths(counts: NDArray[np.int64], longest: int = MAX_CODE_LENGTH) -> NDArray[np.int64]:
    """Return the lengths of an optimal prefix code whose words have at most `longest` bits.

    Parameters
    ----------
    counts : int64 array, shape (K,)
        How often each symbol occurs.
    longest : int
        Bits of the longest word allowed. Words of 31 bits are optimal for any counts that sum to less than
        5,702,887 (the Fibonacci number F(34)), and nearly always far beyond.

    Returns
    -------
    int64 array, shape (K,)
        Bits of each symbol's word; 0 for symbols that do not occur.

    Raises
    ------
    ShapeError
        If `counts` are no counts, or more symbols occur than there are words of `longest` bits.

    Notes
    -----
    Huffman's algorithm; where a word would become too long, the package-merge algorithm of Larmore and
    Hirschberg, "A fast algorithm for optimal length-limited Huffman codes", J. ACM 37(3), 1990.
    """
    lengths = bitstream.code_lengths(counts)
    if lengths.max(initial=0) <= longest:
        return lengths
    present = np.flatnonzero(counts)
    if len(present) > 2**longest:
        raise ShapeError(f"{len(present)} symbols cannot have different words of {longest} bits")
    order = present[np.argsort(counts[present], kind="stable")]
    coins = [(int(counts[symbol]), [symbol]) for symbol in order]
    packages: list[tuple[int, list[int]]] = []
    for _ in range(longest):
        merged = sorted([*coins, *packages], key=lambda item: item[0])
        packages = [
            (left[0] + right[0], left[1] + right[1])
            for left, right in zip(merged[::2], merged[1::2], strict=False)
        ]
    lengths = np.zeros(len(counts), dtype=np.int64)
    for _, symbols in packages[: len(coins) - 1]:
        np.add.at(lengths, symbols, 1)
    return lengths


def canonical_codes(lengths: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return the canonical code words for the `lengths` of a prefix code.

    Parameters
    ----------
    lengths : int64 array, shape (K,)
        Bits of each symbol's word, 0 (no word) to 31.

    Returns
    -------
    uint32 array, shape (K,)
        The words; 0 for symbols that have none.

    Examples
    --------
    >>> import numpy as np
    >>> [f"{code:0{bits}b}" for code, bits in zip(canonical_codes(np.array([2, 1, 3, 3])), [2, 1, 3, 3])]
    ['10', '0', '110', '111']
    """
    codes = np.zeros(len(lengths), dtype=np.uint32)
    word = 0
    for bits in range(1, MAX_CODE_LENGTH + 1):
        here = np.flatnonzero(lengths == bits)
        codes[here] = word + np.arange(len(here))
        word = 2 * (word + len(here))
    return codes


def huffman_bits(counts: NDArray[np.int64], width: int) -> int:
    """Return the exact size of a coded block, table included.

    Parameters
    ----------
    counts : int64 array, shape (K,)
        How often each number 0 .. K-1 occurs.
    width : int
        w, bits of a number.

    Returns
    -------
    int
        w + k * (w + 5) + the sum of occurrences times word lengths, in bits; 0 if nothing occurs.
    """
    different = int(np.count_nonzero(counts))
    if not different:
        return 0
    return width + different * (width + LENGTH_BITS) + int(counts @ code_lengths(counts))


def write_huffman(writer: BitWriter, values: NDArray[np.uint32], width: int) -> None:
    """Write `values`, numbers of `width` bits, as one coded block to the stream `writer`."""
    if not len(values):
        return
    counts = np.bincount(values)
    lengths = code_lengths(counts)
    different = np.flatnonzero(counts)
    writer.fields(np.array([len(different) - 1], dtype=np.uint32), width)
    writer.fields(different.astype(np.uint32), width)
    writer.fields(lengths[different].astype(np.uint32), LENGTH_BITS)
    writer.codes(values, canonical_codes(lengths), lengths)


def read_huffman(reader: BitReader, count: int, width: int) -> NDArray[np.uint32]:
    """Read the `count` numbers of `width` bits of one coded block from the stream `reader`.

    Raises
    ------
    FileFormatError
        If the stream ends too early or the table is that of no prefix code.
    """
    if not count:
        return np.zeros(0, dtype=np.uint32)
    different = int(reader.fields(1, width)[0]) + 1
    symbols = reader.fields(different, width)
    lengths = reader.fields(different, LENGTH_BITS).astype(np.int64)
    if (np.diff(symbols.astype(np.int64)) <= 0).any():
        raise FileFormatError("the symbols of a Huffman table do not rise")
    length_counts = np.bincount(lengths, minlength=MAX_CODE_LENGTH + 1)
    room = sum(int(n) << (MAX_CODE_LENGTH - bits) for bits, n in enumerate(length_counts))
    if length_counts[0] or room > 1 << MAX_CODE_LENGTH:
        raise FileFormatError("the lengths of a Huffman table are those of no prefix code")
    ranks = reader.codes(count, length_counts)
    return symbols[np.argsort(lengths, kind="stable")][ranks]
