"""A second reader of .emz files, written from docs/coding.md alone: strings of bits and plain Python."""

import json
import struct
import zlib

import numpy as np
import pytest

from emoref import nn
from emoref.compress import ALL_CODERS, METHODS, quantize_network, save_emz


class Bits:
    def __init__(self, data):
        self.text, self.position = "".join(f"{byte:08b}" for byte in data), 0

    def take(self, width):
        self.position += width
        digits = self.text[self.position - width : self.position]
        return int(digits, 2) if digits else 0

    def numbers(self, count, width, huffman):
        if not huffman:
            return [self.take(width) for _ in range(count)]
        if not count:
            return []
        different = self.take(width) + 1
        symbols = [self.take(width) for _ in range(different)]
        lengths = [self.take(5) for _ in range(different)]
        words, word, last = {}, -1, 0
        for length, symbol in sorted(zip(lengths, symbols, strict=True)):
            word = (word + 1) << (length - last)
            words[f"{word:0{length}b}"], last = symbol, length
        found = []
        while len(found) < count:
            digits = ""
            while digits not in words:
                digits += self.text[self.position]
                self.position += 1
            found.append(words[digits])
        return found


def symbols_of(entry, stream, size):
    name, _, coded = entry["coder"].partition("+")
    layout, _, index = name.partition("-")
    bits, huffman, stored = Bits(stream), coded == "huffman", entry["entries"]
    symbols = [0] * size
    if layout == "dense":
        symbols = bits.numbers(size, entry["bits"], huffman)
    elif layout == "bitmap":
        marks = bits.numbers(size, 1, False)
        values = iter(bits.numbers(stored, entry["bits"], huffman))
        symbols = [next(values) if mark else 0 for mark in marks]
    else:
        if layout == "coo":
            width = 0
            while 2**width < size:
                width += 1
            places = bits.numbers(stored, width, False)
        else:
            places, place = [], -1
            for run in bits.numbers(stored, int(index), huffman):
                place += run + 1
                places.append(place)
        for place, value in zip(places, bits.numbers(stored, entry["bits"], huffman), strict=True):
            symbols[place] = value
    assert bits.position == entry["coded_bits"]
    return symbols


def values_of(entry, section):
    size = int(np.prod(entry["shape"]))
    if entry["kind"] == "raw":
        return np.frombuffer(section, {"float32": "<f4", "float64": "<f8"}[entry["dtype"]])
    q = entry["bits"]
    if entry["kind"] == "codebook":
        end = 4 * entry["levels"]
        levels = np.frombuffer(section[:end], "<f4")
        return levels[symbols_of(entry, section[end:], size)]
    grids, end = entry["grids"], 4 * entry["grids"]
    scales, zeros = np.frombuffer(section[:end], "<f4"), np.zeros(grids, int)
    if not entry["symmetric"]:
        zeros, end = np.frombuffer(section[end : end + 2 * grids], "<u2").astype(int), end + 2 * grids
    steps = []
    for i, symbol in enumerate(symbols_of(entry, section[end:], size)):
        zero = zeros[i * grids // size]
        signed = symbol - 2**q if symbol >= 2 ** (q - 1) else symbol
        steps.append(signed if entry["symmetric"] else (symbol + zero) % 2**q - zero)
    values = np.array(steps, np.float32) * np.repeat(scales, size // grids)
    return values.astype(np.float16).astype(np.float32) if entry["half"] else values


def read(path):
    content = path.read_bytes()
    signature, version, header_bytes, file_bytes = struct.unpack("<8sIIQ", content[:24])
    assert (signature, version, file_bytes) == (b"\x89EMZ\r\n\x1a\n", 1, len(content))
    end = 24 + header_bytes
    assert zlib.crc32(content[:end]) == struct.unpack("<I", content[end : end + 4])[0]
    header, position, values = json.loads(content[24:end]), end + 4, {}
    for entry in header["parameters"]:
        size = int(np.prod(entry["shape"]))
        if entry["kind"] == "raw":
            length = size * (4 if entry["dtype"] == "float32" else 8)
        elif entry["kind"] == "codebook":
            length = 4 * entry["levels"] + (entry["coded_bits"] + 7) // 8
        else:
            length = entry["grids"] * (4 if entry["symmetric"] else 6) + (entry["coded_bits"] + 7) // 8
        section = content[position : position + length]
        assert f"{zlib.crc32(section):08x}" == entry["crc32"]
        values[entry["name"]] = values_of(entry, section).reshape(entry["shape"])
        position += length
    assert position == len(content)
    return header["architecture"], values


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("coder", [str(c) for c in ALL_CODERS if c.index_bits in (0, 1, 2, 4, 16)])
def test_it_reads_what_emoref_writes(method, coder, tmp_path):
    b = nn.NetworkBuilder("small", (1, 6, 6))
    b.conv("conv", 5, 3)
    b.batch_norm("norm")
    b.flatten("flat")
    b.linear("fc", 3)
    net = b.build()
    params = net.init(3)
    params["fc.weight"][np.random.default_rng(0).random((3, 80)) < 0.75] = 0
    compressed = quantize_network(net, params, {"conv": 2, "fc": 5}, method)
    save_emz(tmp_path / "a.emz", compressed, coder)
    architecture, values = read(tmp_path / "a.emz")
    assert architecture == net.to_dict()
    expected = compressed.params()
    assert list(values) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(values[name], value)
