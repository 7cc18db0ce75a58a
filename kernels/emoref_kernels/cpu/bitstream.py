"""Bit streams compiled with Numba: the same results as `emoref_kernels.reference.bitstream`, fast.

The layout of a stream and the rules of the code are in the reference's docstrings.
"""

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
from emoref_kernels.cpu.jit import jit
from emoref_kernels.errors import ShapeError

__all__ = ["code_lengths", "read_codes", "read_fields", "write_codes", "write_fields"]


def write_fields(data: NDArray[np.uint8], position: int, values: NDArray[np.uint32], width: int) -> None:
    """Write numbers as fields of equal width; see `emoref_kernels.reference.bitstream.write_fields`."""
    check_width(width)
    check_values(values, width)
    check_buffer(data, position, len(values) * width)
    _write_fields(data, int(position), np.ascontiguousarray(values), int(width))


def read_fields(data: NDArray[np.uint8], position: int, width: int, count: int) -> NDArray[np.uint32]:
    """Read fields of equal width; see `emoref_kernels.reference.bitstream.read_fields`."""
    check_width(width)
    check_buffer(data, position, count * width)
    return _read_fields(_plain(data), int(position), int(width), int(count))


def write_codes(
    data: NDArray[np.uint8],
    position: int,
    symbols: NDArray[np.uint32],
    codes: NDArray[np.uint32],
    lengths: NDArray[np.int64],
) -> int:
    """Write one code word for each symbol; see `emoref_kernels.reference.bitstream.write_codes`."""
    check_code_table(codes, lengths)
    check_indices("symbols", symbols, len(codes))
    end = position + int(lengths[symbols].sum())
    check_buffer(data, position, end - position)
    _write_codes(data, int(position), np.ascontiguousarray(symbols), codes, lengths)
    return end


def read_codes(
    data: NDArray[np.uint8], position: int, count: int, length_counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], int]:
    """Read words of a canonical code; see `emoref_kernels.reference.bitstream.read_codes`."""
    check_length_counts(length_counts)
    check_buffer(data, position, count)
    ranks = np.empty(count, dtype=np.uint32)
    done, end = _read_codes(_plain(data), int(position), ranks, length_counts)
    if done < count:
        raise ShapeError(f"code word {done} of {count} is cut off, or none of this code")
    return ranks, end


def code_lengths(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the lengths of Huffman's code words; see `emoref_kernels.reference.bitstream.code_lengths`."""
    check_counts(counts)
    present = np.flatnonzero(counts)
    present = present[np.argsort(counts[present], kind="stable")]
    lengths = np.zeros(len(counts), dtype=np.int64)
    lengths[present] = _sorted_lengths(counts[present])
    return lengths


def _plain(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the bytes as a contiguous array that may be written to, the one kind compiled for."""
    data = np.ascontiguousarray(data)
    return data if data.flags.writeable else data.copy()


@jit()
def _write_fields(data, position, values, width):
    for i in range(len(values)):
        _put(data, position, np.int64(values[i]), width)
        position += width


@jit()
def _write_codes(data, position, symbols, codes, lengths):
    for i in range(len(symbols)):
        symbol = symbols[i]
        _put(data, position, np.int64(codes[symbol]), lengths[symbol])
        position += lengths[symbol]


@jit()
def _put(data, position, value, width):
    """Write one number, byte by byte."""
    while width > 0:
        free = 8 - (position & 7)
        taken = min(free, width)
        part = (value >> (width - taken)) & ((1 << taken) - 1)
        data[position >> 3] |= np.uint8(part << (free - taken))
        position += taken
        width -= taken


@jit()
def _read_fields(data, position, width, count):
    values = np.empty(count, dtype=np.uint32)
    for i in range(count):
        value, left = np.int64(0), width
        while left > 0:
            free = 8 - (position & 7)
            taken = min(free, left)
            part = (np.int64(data[position >> 3]) >> (free - taken)) & ((1 << taken) - 1)
            value = (value << taken) | part
            position += taken
            left -= taken
        values[i] = value
    return values


@jit()
def _read_codes(data, position, ranks, length_counts):
    """Fill `ranks`; return how many were read and where the last word ends."""
    end = 8 * len(data)
    for i in range(len(ranks)):
        word, first, rank, found = 0, 0, 0, False
        for length in range(1, MAX_CODE_LENGTH + 1):
            if position == end:
                return i, position
            word = 2 * word + ((np.int64(data[position >> 3]) >> (7 - (position & 7))) & 1)
            position += 1
            here = length_counts[length]
            if word - first < here:
                ranks[i] = rank + word - first
                found = True
                break
            rank += here
            first = 2 * (first + here)
        if not found:
            return i, position
    return len(ranks), position


@jit()
def _sorted_lengths(counts):
    """Return Huffman's code lengths for counts in rising order, none of them 0.

    Joined trees come into being in rising order too, so the rarest tree is always the first of one of two
    queues: symbols, and joined trees.
    """
    symbols = len(counts)
    if symbols < 2:
        return np.ones(symbols, dtype=np.int64)
    weights = np.empty(symbols - 1, dtype=np.int64)
    parents = np.empty(2 * symbols - 2, dtype=np.int64)  # of the symbols, then of the joined trees
    symbol, tree = 0, 0
    for made in range(symbols - 1):
        weight = np.int64(0)
        for _ in range(2):
            if symbol < symbols and (tree == made or counts[symbol] <= weights[tree]):
                weight += counts[symbol]
                parents[symbol] = symbols + made
                symbol += 1
            else:
                weight += weights[tree]
                parents[symbols + tree] = symbols + made
                tree += 1
        weights[made] = weight
    depths = np.zeros(2 * symbols - 1, dtype=np.int64)
    for node in range(2 * symbols - 3, -1, -1):
        depths[node] = depths[parents[node]] + 1
    return depths[:symbols]
