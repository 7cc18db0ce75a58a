"""Canonical Huffman codes: words, lengths, limits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.compress.coding.bits import BitReader, BitWriter
from emoref.compress.coding.huffman import (
    canonical_codes,
    code_lengths,
    huffman_bits,
    read_huffman,
    write_huffman,
)
from emoref.errors import ShapeError


def words(lengths):
    codes = canonical_codes(np.array(lengths))
    return [f"{code:0{bits}b}" if bits else "" for code, bits in zip(codes, lengths, strict=True)]


def test_canonical_words_by_hand():
    assert words([2, 1, 3, 3]) == ["10", "0", "110", "111"]
    assert words([3, 3, 3, 3, 3, 2, 4, 4]) == ["010", "011", "100", "101", "110", "00", "1110", "1111"]
    assert words([0, 1]) == ["", "0"]


def block(values, width):
    counts = np.bincount(values, minlength=1)
    writer = BitWriter(huffman_bits(counts, width))
    write_huffman(writer, np.array(values, np.uint32), width)
    return writer


def test_one_symbol_costs_one_bit_each():
    writer = block([5] * 9, 3)
    # k - 1 = 0, symbol 5, length 1, then nine zeros
    assert "".join(f"{byte:08b}" for byte in writer.data) == "000" + "101" + "00001" + "0" * 9 + "0000"
    assert writer.position == 3 + 8 + 9
    assert read_huffman(BitReader(writer.data), 9, 3).tolist() == [5] * 9


@pytest.mark.parametrize("count", [2**4 - 1, 2**4])
def test_a_full_alphabet(count):
    values = np.arange(count).repeat(2)
    writer = block(values, 4)
    assert writer.position == 4 + count * 9 + int(np.bincount(values) @ code_lengths(np.bincount(values)))
    assert read_huffman(BitReader(writer.data), len(values), 4).tolist() == values.tolist()


def test_nothing_takes_no_bits():
    assert block(np.zeros(0, np.int64), 4).position == 0
    assert read_huffman(BitReader(np.zeros(0, np.uint8)), 0, 4).size == 0


class TestLimit:
    def fibonacci(self, count):
        numbers = [1, 1]
        while len(numbers) < count:
            numbers.append(numbers[-1] + numbers[-2])
        return np.array(numbers, dtype=np.int64)

    def test_words_that_would_need_39_bits_get_31(self):
        counts = self.fibonacci(40)
        lengths = code_lengths(counts)
        assert lengths.max() == 31
        assert sum(2.0**-length for length in lengths) == 1
        assert len(set(words(lengths))) == 40
        # Losing little: the limit concerns only the rarest numbers.
        free = sum(int(c) * min(40 - i, 39) for i, c in enumerate(counts))
        assert counts @ lengths < 1.00001 * free

    def test_31_bits_need_5702887_numbers(self):
        counts = self.fibonacci(32)
        assert (counts.sum(), code_lengths(counts).max()) == (5_702_886, 31)

    @given(st.lists(st.integers(1, 60), min_size=2, max_size=8), st.integers(1, 4))
    @settings(max_examples=150)
    def test_no_code_within_the_limit_is_shorter(self, counts, spare):
        longest = math.ceil(math.log2(len(counts))) + spare - 1
        longest = max(longest, 1)
        lengths = code_lengths(np.array(counts), longest)
        assert lengths.max() <= longest
        assert sum(2.0**-length for length in lengths) <= 1
        assert np.array(counts) @ lengths == best_cost(tuple(sorted(counts)), longest)

    def test_too_many_symbols_for_the_limit(self):
        with pytest.raises(ShapeError, match="5 symbols cannot have different words of 2 bits"):
            code_lengths(np.array([1, 1, 2, 4, 8]), 2)


def best_cost(counts, longest):
    """Cost of the best prefix code by trying all: rarest first, lengths falling, Kraft's sum at most 1."""

    def search(i, bits, room):
        if i == len(counts):
            return 0
        best = math.inf
        for length in range(bits, 0, -1):
            left = room - 2 ** (longest - length)
            if left >= len(counts) - i - 1:
                best = min(best, counts[i] * length + search(i + 1, length, left))
        return best

    return search(0, longest, 2**longest)


@given(st.lists(st.integers(0, 7), max_size=60))
@settings(max_examples=100)
def test_blocks_come_back_and_beat_no_entropy(values):
    values = np.array(values, dtype=np.int64)
    counts = np.bincount(values, minlength=1)
    writer = block(values, 3)
    assert writer.position == huffman_bits(counts, 3)
    assert read_huffman(BitReader(writer.data), len(values), 3).tolist() == values.tolist()
