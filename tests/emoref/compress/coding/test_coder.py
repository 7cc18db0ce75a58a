"""Every coder: exact size before writing, and symbols that come back, for any symbols."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref.compress.coding import ALL_CODERS, Coder, coded_bits, decode, encode, smallest_coder
from emoref.compress.coding.coder import stored_symbols
from emoref.compress.coding.huffman import huffman_bits
from emoref.compress.coding.layouts import (
    bitmap_bits,
    coo_bits,
    dense_bits,
    position_bits,
    relative_bits,
    relative_entries,
    zero_runs,
)
from emoref.errors import ConfigError, DtypeError, FileFormatError, ShapeError


def u32(values):
    return np.array(values, dtype=np.uint32)


def bits_of(encoded):
    text = "".join(f"{byte:08b}" for byte in encoded.data)
    assert set(text[encoded.size_bits :]) <= {"0"}
    return text[: encoded.size_bits]


# Ten weights of four bits: 7 at place 1, -7 (1001) at place 7, 1 at place 8.
TEN = u32([0, 7, 0, 0, 0, 0, 0, 9, 1, 0])


@pytest.mark.parametrize(
    ("name", "streams"),
    [
        ("dense", ["0000", "0111", "0000" * 5, "1001", "0001", "0000"]),
        ("bitmap", ["0100000110", "0111", "1001", "0001"]),
        ("coo", ["0001", "0111", "1000", "0111", "1001", "0001"]),
        # Runs 1, 5, 0. In two bits 5 is a filler (run 3, symbol 0: four zeros) and run 1.
        ("relative-2", ["01", "11", "01", "00", "0111", "0000", "1001", "0001"]),
        ("relative-1", ["1", "1", "1", "1", "0", "0111", "0000", "0000", "1001", "0001"]),
        ("relative-3", ["001", "101", "000", "0111", "1001", "0001"]),
        # Symbols 0 (7 times), 1, 7, 9: words 0, 110, 111, 10 by the rule for ties.
        (
            "dense+huffman",
            ["0011 0000 0001 0111 1001", "00001 00011 00011 00010", "0 111 0 0 0 0 0 10 110 0"],
        ),
    ],
)
def test_ten_weights_by_hand(name, streams):
    coder = Coder.parse(name)
    assert bits_of(encode(TEN, 4, coder)) == "".join(streams).replace(" ", "")
    assert coded_bits(TEN, 4, coder) == sum(len(stream.replace(" ", "")) for stream in streams)


def test_formulas():
    assert dense_bits(1000, 4) == 4000
    assert bitmap_bits(1000, 200, 4) == 1800
    assert [position_bits(n) for n in (0, 1, 2, 3, 4, 5, 1000, 1024, 1025)] == [0, 0, 1, 2, 2, 3, 10, 10, 11]
    assert coo_bits(1000, 200, 4) == 2800
    assert zero_runs(u32([0, 0, 1, 2, 0, 3, 0])).tolist() == [2, 0, 1]
    runs = np.array([0, 7, 8, 15, 16, 100])
    assert relative_entries(runs, 3) == 6 + 0 + 0 + 1 + 1 + 2 + 12
    assert relative_bits(22, 4, 3) == 154
    # Four numbers of 2 bits, twice 0 and twice 3: 2 + 2 * (2 + 5) + 4 * 1.
    assert huffman_bits(np.array([2, 0, 0, 2]), 2) == 20


def test_expected_fillers_at_the_published_densities():
    """A share t / (1 - t) of the stored weights, t = (1 - p)**(2**b): 0.202 for p = 0.2 and b = 3."""
    rng = np.random.default_rng(0)
    for density, index_bits, expected in ((0.2, 3, 0.202), (0.1, 3, 0.756), (0.05, 3, 1.97), (0.1, 4, 0.227)):
        runs = zero_runs((rng.random(400_000) < density).astype(np.uint32))
        assert relative_entries(runs, index_bits) / len(runs) - 1 == pytest.approx(expected, rel=0.03)


def adversarial(bits):
    """Symbols that break careless coders."""
    top = 2**bits - 1
    return {
        "empty": [],
        "one zero": [0],
        "one symbol": [top],
        "all zeros": [0] * 77,
        "none zero": [top, 1] * 40,
        "all the same": [top] * 65,
        "one at the end": [0] * 300 + [1],
        "one at the beginning": [1] + [0] * 300,
        "runs at the limits": [s for n in (0, 1, 2, 3, 4, 6, 7, 8, 15, 16, 255, 256) for s in [0] * n + [1]],
        "every symbol": list(range(min(2**bits, 4096))),
        "2**bits - 1 different": list(range(1, min(2**bits, 4096))),
        "a run of 70,000": [1] + [0] * 70_000 + [1],
    }


@pytest.mark.parametrize("bits", [1, 2, 5, 16])
@pytest.mark.parametrize("name", adversarial(1))
def test_adversarial_symbols_in_every_coder(bits, name):
    symbols = u32(adversarial(bits)[name])
    for coder in ALL_CODERS:
        if coder.index_bits in (0, 1, 3, 8, 16):
            check(symbols, bits, coder)


def check(symbols, bits, coder):
    encoded = encode(symbols, bits, coder)
    assert encoded.size_bits == coded_bits(symbols, bits, coder)
    assert len(encoded.data) == -(-encoded.size_bits // 8)
    assert encoded.entries == stored_symbols(symbols, coder)
    np.testing.assert_array_equal(decode(encoded), symbols)
    return encoded.size_bits


@st.composite
def any_symbols(draw):
    bits = draw(st.integers(1, 16))
    size = draw(st.integers(0, 400))
    density = draw(st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from(["uniform", "narrow"]))
    drawn = rng.integers(0, 2**bits, size) if spread == "uniform" else rng.geometric(0.5, size) % 2**bits
    return u32(drawn * (rng.random(size) < density)), bits


@given(any_symbols(), st.sampled_from(ALL_CODERS))
@settings(max_examples=400)
def test_length_is_the_formula_and_symbols_come_back(drawn, coder):
    symbols, bits = drawn
    size_bits = check(symbols, bits, coder)
    if not coder.huffman:
        n, a = len(symbols), int(np.count_nonzero(symbols))
        formula = {
            "dense": dense_bits(n, bits),
            "bitmap": bitmap_bits(n, a, bits),
            "coo": coo_bits(n, a, bits),
            "relative": relative_bits(
                relative_entries(zero_runs(symbols), coder.index_bits), bits, coder.index_bits
            ),
        }
        assert size_bits == formula[coder.layout]


@given(any_symbols())
@settings(max_examples=60)
def test_the_smallest_is_the_smallest(drawn):
    symbols, bits = drawn
    coder, size_bits = smallest_coder(symbols, bits)
    sizes = [coded_bits(symbols, bits, other) for other in ALL_CODERS]
    assert size_bits == min(sizes)
    assert coder == ALL_CODERS[sizes.index(size_bits)], "the first of equals"


def test_a_choice_of_coders():
    some = [Coder.parse("dense"), Coder.parse("coo")]
    assert smallest_coder(TEN, 4, some) == (some[1], 24)
    with pytest.raises(ConfigError, match="at least one"):
        smallest_coder(TEN, 4, [])


@given(any_symbols(), st.sampled_from(ALL_CODERS), st.data())
@settings(max_examples=400)
def test_damaged_streams_raise_nothing_but_our_error(drawn, coder, data):
    symbols, bits = drawn
    encoded = encode(symbols, bits, coder)
    content = bytearray(encoded.data.tobytes())
    if content and data.draw(st.booleans()):
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    else:
        content = content[: data.draw(st.integers(0, len(content)))] + data.draw(st.binary(max_size=3))
    claims = {
        "data": np.frombuffer(bytes(content), np.uint8),
        "entries": encoded.entries + data.draw(st.sampled_from([0, 0, 0, -1, 1, 10**15])),
        "size": encoded.size + data.draw(st.sampled_from([0, 0, 0, 1, 5])),
    }
    claims["entries"] = max(claims["entries"], 0)
    try:
        result = decode(dataclasses.replace(encoded, **claims))
    except FileFormatError:
        return
    assert result.shape == (claims["size"],)
    assert result.max(initial=0) < 2**bits


@pytest.mark.parametrize(
    ("name", "bits", "size", "entries", "data", "text"),
    [
        ("dense", 4, 10**15, 10**15, [0] * 4, "1,000,000,000,000,000 weights are claimed, the stream has 32"),
        ("bitmap", 4, 10**15, 0, [0] * 4, "weights are claimed"),
        ("coo", 4, 1, 10**15, [0] * 4, "weights are claimed"),
        ("relative-4+huffman", 4, 100, 90, [0] * 4, "are claimed"),
        ("dense", 4, 3, 3, [0x12], "3 fields of 4 bits are claimed, 8 bits are left"),
        ("dense", 4, 1, 1, [0x10, 0], "8 are claimed|bits are left behind"),
        ("dense", 4, 1, 1, [0x18], "fill the last byte are not 0"),
        ("bitmap", 4, 4, 1, [0b11000111], "the bitmap marks 2 weights, 1 are stored"),
        ("coo", 2, 4, 2, [0b01000101], "positions of the weights do not rise"),
        ("coo", 2, 3, 1, [0b11010000], "placed at 3 of 3"),
        ("relative-2", 2, 2, 1, [0b10010000], "placed at 2 of 2"),
        ("dense+huffman", 2, 1, 1, [0b01010000, 0b00010000, 0b10000000], "do not rise"),
        ("dense+huffman", 1, 1, 1, [0b00000000, 0b00000000], "those of no prefix code"),
        ("dense+huffman", 1, 1, 1, [0b00000100, 0b10000000], "none of this code"),
        ("dense+huffman", 1, 2, 2, [0b00000010], "claimed"),
    ],
)
def test_streams_that_cannot_be(name, bits, size, entries, data, text):
    coder = Coder.parse(name)
    plain = encode(np.zeros(0, np.uint32), bits, coder)
    plain_sizes = {
        "dense": bits * size,
        "coo": coo_bits(size, entries, bits),
        "relative-2": entries * (bits + 2),
    }
    size_bits = plain_sizes.get(name, 8 * len(data))
    claimed = dataclasses.replace(
        plain, data=np.array(data, np.uint8), size_bits=size_bits, size=size, entries=entries
    )
    with pytest.raises(FileFormatError, match=text):
        decode(claimed)


def test_a_stream_of_another_length():
    encoded = dataclasses.replace(encode(TEN, 4, Coder("dense")), size_bits=39)
    with pytest.raises(FileFormatError, match="the stream has 40 bits, 39 are claimed"):
        decode(encoded)


class TestNames:
    def test_all_names_come_back(self):
        assert [Coder.parse(str(coder)) for coder in ALL_CODERS] == list(ALL_CODERS)
        assert len({str(coder) for coder in ALL_CODERS}) == len(ALL_CODERS) == 2 * (3 + 16)

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "csr",
            "Dense",
            "relative",
            "relative-0",
            "relative-17",
            "relative-04",
            "dense-3",
            "coo+",
            "a+b",
            3,
        ],
    )
    def test_unknown_names_list_the_known(self, name):
        with pytest.raises(
            ConfigError, match=r'there is no coder .*; known are "dense", "bitmap", "coo", "rel'
        ):
            Coder.parse(name)

    def test_impossible_coders(self):
        with pytest.raises(ConfigError, match="no coder 'relative'"):
            Coder("relative")
        with pytest.raises(ConfigError, match="no coder 'dense-2'"):
            Coder("dense", 2)


@pytest.mark.parametrize("function", [coded_bits, encode])
@pytest.mark.parametrize("bits", [0, 17])
def test_bits_out_of_range(function, bits):
    with pytest.raises(ConfigError, match="1 to 16 bits"):
        function(TEN, bits, Coder("dense"))


def test_symbols_that_do_not_fit():
    with pytest.raises(ShapeError, match="holds 9; it must be below 8"):
        encode(TEN, 3, Coder("dense"))
    with pytest.raises(DtypeError, match="uint32"):
        encode(TEN.astype(np.int64), 4, Coder("dense"))
