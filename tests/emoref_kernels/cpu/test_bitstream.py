"""Bit streams: both twins against values by hand, against each other, and against their own inverse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref_kernels.bitstream_checks import MAX_CODE_LENGTH
from emoref_kernels.cpu import bitstream as cpu
from emoref_kernels.errors import DtypeError, ShapeError
from emoref_kernels.reference import bitstream as reference

TWINS = pytest.mark.parametrize("k", [reference, cpu], ids=["reference", "cpu"])


def u32(*values):
    return np.array(values, dtype=np.uint32)


def lengths_table(**counts):
    table = np.zeros(MAX_CODE_LENGTH + 1, dtype=np.int64)
    for name, count in counts.items():
        table[int(name[1:])] = count
    return table


@TWINS
def test_fields_by_hand(k):
    data = np.zeros(3, dtype=np.uint8)
    k.write_fields(data, 0, u32(5, 1), 3)  # 101 001
    k.write_fields(data, 6, u32(0b1100_1010_11), 10)  # on over two bytes
    assert [f"{byte:08b}" for byte in data] == ["10100111", "00101011", "00000000"]
    assert k.read_fields(data, 6, 10, 1) == 0b1100101011
    assert k.read_fields(data, 0, 3, 2).tolist() == [5, 1]


@TWINS
def test_fields_of_no_bits_and_of_32(k):
    data = np.zeros(5, dtype=np.uint8)
    k.write_fields(data, 3, u32(2**32 - 1), 32)
    assert data.tolist() == [0b00011111, 255, 255, 255, 0b11100000]
    assert k.read_fields(data, 3, 32, 1) == 2**32 - 1
    k.write_fields(data, 40, u32(0, 0), 0)
    assert k.read_fields(data, 40, 0, 2).tolist() == [0, 0]
    assert k.read_fields(data, 0, 7, 0).size == 0


@TWINS
def test_code_words_by_hand(k):
    codes, lengths = u32(0b0, 0b10, 0b11), np.array([1, 2, 2])
    data = np.zeros(2, dtype=np.uint8)
    assert k.write_codes(data, 4, u32(2, 0, 1, 1, 0), codes, lengths) == 12
    assert [f"{byte:08b}" for byte in data] == ["00001101", "01000000"]
    ranks, end = k.read_codes(data, 4, 5, lengths_table(n1=1, n2=2))
    assert (ranks.tolist(), end) == ([2, 0, 1, 1, 0], 12)


@TWINS
def test_code_lengths_by_hand(k):
    assert k.code_lengths(np.array([5, 0, 2, 1, 1])).tolist() == [1, 0, 2, 3, 3]
    assert k.code_lengths(np.array([7])).tolist() == [1]
    assert k.code_lengths(np.array([0, 3, 0])).tolist() == [0, 1, 0]
    assert k.code_lengths(np.zeros(4, np.int64)).tolist() == [0, 0, 0, 0]
    assert k.code_lengths(np.zeros(0, np.int64)).size == 0
    assert k.code_lengths(np.ones(8, np.int64)).tolist() == [3] * 8
    # Ties: single symbols first, so 1 + 1 meets 2 as late as it can, and no word has 3 bits.
    assert k.code_lengths(np.array([1, 1, 2, 2])).tolist() == [2, 2, 2, 2]


@TWINS
def test_fibonacci_counts_give_the_longest_words(k):
    counts = [1, 1]
    while len(counts) < 12:
        counts.append(counts[-1] + counts[-2])
    assert sorted(k.code_lengths(np.array(counts)), reverse=True) == [11, *range(11, 0, -1)]


@given(
    st.integers(0, 32).flatmap(
        lambda width: st.tuples(st.just(width), st.lists(st.integers(0, 2**width - 1), max_size=40))
    ),
    st.integers(0, 20),
)
@settings(max_examples=150)
def test_fields_come_back_and_twins_agree(fields, position):
    width, numbers = fields
    streams = [np.zeros((position + width * len(numbers) + 7) // 8 + 1, dtype=np.uint8) for _ in range(2)]
    for k, data in zip((reference, cpu), streams, strict=True):
        k.write_fields(data, position, u32(*numbers), width)
        for other in (reference, cpu):
            assert other.read_fields(data, position, width, len(numbers)).tolist() == numbers
    assert (streams[0] == streams[1]).all()


@given(st.lists(st.one_of(st.integers(0, 4), st.integers(0, 10**12)), max_size=40))
@settings(max_examples=200)
def test_code_lengths_of_the_twins_are_equal_and_complete(counts):
    counts = np.array(counts, dtype=np.int64)
    lengths = reference.code_lengths(counts)
    assert (lengths == cpu.code_lengths(counts)).all()
    assert ((lengths > 0) == (counts > 0)).all()
    used = lengths[counts > 0]
    if len(used) > 1:
        assert sum(2.0**-length for length in used) == 1  # Kraft's sum of a code without gaps
        share = counts[counts > 0] / counts.sum()
        entropy = -(share * np.log2(share)).sum()
        assert entropy - 1e-9 <= share @ used < entropy + 1


@given(st.lists(st.integers(0, 255), max_size=12), st.integers(0, 8), st.integers(0, 30), st.data())
@settings(max_examples=150)
def test_twins_read_any_bytes_alike(content, position, count, data):
    table = np.zeros(MAX_CODE_LENGTH + 1, dtype=np.int64)
    room = 1.0
    for bits in range(1, 9):
        table[bits] = data.draw(st.integers(0, int(room * 2**bits)))
        room -= table[bits] * 2.0**-bits
    stream, outcomes = np.array(content, dtype=np.uint8), []
    for k in (reference, cpu):
        try:
            ranks, end = k.read_codes(stream, position, count, table)
            outcomes.append((ranks.tolist(), end))
        except ShapeError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


@TWINS
@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda k, d: k.write_fields(d, 0, u32(8), 3), ShapeError, "values holds 8; it must be below 8"),
        (lambda k, d: k.write_fields(d, 0, u32(1), 33), ShapeError, "a field has 0 to 32 bits"),
        (
            lambda k, d: k.write_fields(d, 14, u32(1), 3),
            ShapeError,
            "bits 14 to 17 do not lie in a stream of 16",
        ),
        (lambda k, d: k.write_fields(d, -1, u32(1), 3), ShapeError, "do not lie"),
        (lambda k, d: k.write_fields(d, 0, np.array([1]), 3), DtypeError, "array of uint32"),
        (lambda k, d: k.write_fields(d.astype(int), 0, u32(1), 3), DtypeError, "array of uint8"),
        (lambda k, d: k.write_fields(bytes(d), 0, u32(1), 3), DtypeError, "data is bytes"),
        (lambda k, d: k.read_fields(d, 0, 5, 4), ShapeError, "bits 0 to 20"),
        (lambda k, d: k.write_codes(d, 0, u32(2), u32(0, 1), np.array([1, 1])), ShapeError, "below 2"),
        (lambda k, d: k.write_codes(d, 0, u32(0), u32(0), np.array([32])), ShapeError, "0 to 31"),
        (lambda k, d: k.write_codes(d, 0, u32(0), u32(0), np.array([1, 1])), ShapeError, "int64"),
        (lambda k, d: k.read_codes(d, 0, 17, lengths_table(n1=2)), ShapeError, "do not lie"),
        (lambda k, d: k.read_codes(d, 0, 9, lengths_table(n2=4)), ShapeError, "code word 8 of 9 is cut off"),
        (lambda k, d: k.read_codes(d | 255, 0, 1, lengths_table(n2=3)), ShapeError, "none of this code"),
        (lambda k, d: k.read_codes(d, 0, 1, lengths_table(n1=3)), ShapeError, "no prefix code"),
        (lambda k, d: k.read_codes(d, 0, 1, np.zeros(3, np.int64)), ShapeError, "length_counts is"),
        (lambda k, d: k.code_lengths(np.array([1.0])), DtypeError, "array of int64"),
        (lambda k, d: k.code_lengths(np.array([1, -1])), ShapeError, "holds -1"),
    ],
)
def test_bad_arguments(k, call, error, text):
    with pytest.raises(error, match=text):
        call(k, np.zeros(2, dtype=np.uint8))


@TWINS
def test_read_only_and_strided_streams(k):
    data = np.zeros(6, dtype=np.uint8)[::2]
    k.write_fields(data, 0, u32(1, 2, 3)[::-1], 8)
    data.flags.writeable = False
    assert k.read_fields(data, 0, 8, 3).tolist() == [3, 2, 1]
    assert k.read_codes(data, 0, 2, lengths_table(n1=2))[0].tolist() == [0, 0]
