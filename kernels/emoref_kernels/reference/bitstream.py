"""Bit streams in plain Python and NumPy: the definition of how fields and code words are written.

A stream is an array of bytes. Bit 0 is the highest bit of byte 0, bit 8 the highest of byte 1; every number
is written with its highest bit first. Nothing is padded: a field begins where the one before it ends.
"""

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.bitstream_checks import (
    MAX_CODE_LENGTH,
    check_buffer,
    check_code_table,
    check_counts,
    check_indices,
    check_length_counts,
    check_values,
    check_width,
)
from emoref_kernels.errors import ShapeError

__all__ = ["code_lengths", "read_codes", "read_fields", "write_codes", "write_fields"]


def write_fields(data: NDArray[np.uint8], position: int, values: NDArray[np.uint32], width: int) -> None:
    """Write numbers as fields of equal width.

    Parameters
    ----------
    data
        The stream, uint8; changed. The bits written to must be 0 before.
    position
        Where the first field begins, in bits.
    values
        The numbers, uint32 (N,), each below ``2**width``.
    width
        Bits of a field, 0 to 32. Fields of no bits can only hold 0.

    Raises
    ------
    ShapeError, DtypeError
        If a number does not fit its field or the fields do not fit the stream.

    Examples
    --------
    >>> data = np.zeros(1, np.uint8)
    >>> write_fields(data, 0, np.array([5, 1], np.uint32), 3)      # 101 001 and two bits to spare
    >>> f"{data[0]:08b}"
    '10100100'
    """
    check_width(width)
    check_values(values, width)
    check_buffer(data, position, len(values) * width)
    shifts = np.arange(width - 1, -1, -1, dtype=np.uint64)
    bits = (values.astype(np.uint64)[:, None] >> shifts) & np.uint64(1)
    _set_bits(data, position, bits.ravel().astype(np.uint8))


def _set_bits(data: NDArray[np.uint8], position: int, bits: NDArray[np.uint8]) -> None:
    stream = np.unpackbits(data)
    stream[position : position + len(bits)] |= bits
    data[:] = np.packbits(stream)


def read_fields(data: NDArray[np.uint8], position: int, width: int, count: int) -> NDArray[np.uint32]:
    """Read what :func:`write_fields` wrote.

    Parameters
    ----------
    data
        The stream, uint8.
    position
        Where the first field begins, in bits.
    width
        Bits of a field, 0 to 32.
    count
        Number of fields.

    Returns
    -------
    numpy.ndarray
        The numbers, uint32 (count,).

    Raises
    ------
    ShapeError, DtypeError
        If the fields do not lie in the stream.
    """
    check_width(width)
    check_buffer(data, position, count * width)
    bits = np.unpackbits(data)[position : position + count * width].reshape(count, width)
    weights = np.uint64(1) << np.arange(width - 1, -1, -1, dtype=np.uint64)
    return (bits * weights).sum(axis=1, dtype=np.uint64).astype(np.uint32)


def write_codes(
    data: NDArray[np.uint8],
    position: int,
    symbols: NDArray[np.uint32],
    codes: NDArray[np.uint32],
    lengths: NDArray[np.int64],
) -> int:
    """Write one code word for each symbol.

    Parameters
    ----------
    data
        The stream, uint8; changed. The bits written to must be 0 before.
    position
        Where the first code word begins, in bits.
    symbols
        What to write, uint32 (N,): indices into the table.
    codes, lengths
        The table: the code word of each symbol, uint32 (K,), and its number of bits, int64 (K,), 0 to 31.

    Returns
    -------
    int
        Where the last code word ends, in bits.

    Raises
    ------
    ShapeError, DtypeError
        If a symbol is not in the table or the code words do not fit the stream.
    """
    check_code_table(codes, lengths)
    check_indices("symbols", symbols, len(codes))
    end = position + int(lengths[symbols].sum())
    check_buffer(data, position, end - position)
    words = [f"{codes[s]:0{lengths[s]}b}" if lengths[s] else "" for s in symbols.tolist()]
    _set_bits(data, position, np.array([int(bit) for bit in "".join(words)], dtype=np.uint8))
    return end


def read_codes(
    data: NDArray[np.uint8], position: int, count: int, length_counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], int]:
    """Read code words of a canonical prefix code.

    In a canonical code the words of equal length are consecutive numbers, and the first word of each length
    is the one behind the last shorter word, with zeros appended. The numbers of words of each length say all
    about such a code.

    Parameters
    ----------
    data
        The stream, uint8.
    position
        Where the first code word begins, in bits.
    count
        How many code words to read.
    length_counts
        How many words of the code have 0, 1, ..., 31 bits, int64 (32,).

    Returns
    -------
    ranks : numpy.ndarray
        For each word its rank in the code, uint32 (count,): shorter words first, then smaller ones.
    end : int
        Where the last word ends, in bits.

    Raises
    ------
    ShapeError, DtypeError
        If the stream ends too early, or holds bits that are no word of the code.

    Examples
    --------
    Of the code words 0, 10 and 11 the stream holds 10, 0, 11:

    >>> counts = np.zeros(32, np.int64)
    >>> counts[1:3] = [1, 2]
    >>> ranks, end = read_codes(np.array([0b10011000], np.uint8), 0, 3, counts)
    >>> ranks, end
    (array([1, 0, 2], dtype=uint32), 5)
    """
    check_length_counts(length_counts)
    check_buffer(data, position, count)
    bits = np.unpackbits(data)
    ranks = np.empty(count, dtype=np.uint32)
    for i in range(count):
        word = first = rank = 0
        for length in range(1, MAX_CODE_LENGTH + 1):
            if position == len(bits):
                raise ShapeError(f"code word {i} of {count} is cut off, or none of this code")
            word = 2 * word + int(bits[position])
            position += 1
            here = int(length_counts[length])
            if word - first < here:
                ranks[i] = rank + word - first
                break
            rank += here
            first = 2 * (first + here)
        else:
            raise ShapeError(f"code word {i} of {count} is cut off, or none of this code")
    return ranks, position


def code_lengths(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the lengths of the words of an optimal prefix code (Huffman's).

    The two rarest trees are joined until one is left. Of equally rare ones, single symbols come before
    joined trees, symbols in their order, trees in the order of their making; this keeps the longest word as
    short as an optimal code allows.

    Parameters
    ----------
    counts
        How often each symbol occurs, int64 (K,).

    Returns
    -------
    numpy.ndarray
        Bits of each symbol's word, int64 (K,); 0 for symbols that do not occur. A symbol that is the only
        one gets 1 bit.

    Raises
    ------
    ShapeError, DtypeError
        If `counts` are no counts.

    Notes
    -----
    Source: D. A. Huffman, "A method for the construction of minimum-redundancy codes", Proc. IRE 40(9), 1952.
    Among the optimal codes it leaves the choice open; emoref uses the rule above.

    Examples
    --------
    >>> code_lengths(np.array([5, 0, 2, 1, 1]))
    array([1, 0, 2, 3, 3])
    """
    check_counts(counts)
    lengths = np.zeros(len(counts), dtype=np.int64)
    trees: list[tuple[int, int, int, Any]] = [
        (int(count), 0, symbol, [symbol]) for symbol, count in enumerate(counts) if count
    ]
    if len(trees) == 1:
        lengths[trees[0][3]] = 1
    heapq.heapify(trees)
    made = 0
    while len(trees) > 1:
        left, right = heapq.heappop(trees), heapq.heappop(trees)
        members = left[3] + right[3]
        lengths[members] += 1
        heapq.heappush(trees, (left[0] + right[0], 1, made, members))
        made += 1
    return lengths
