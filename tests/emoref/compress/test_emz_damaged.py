"""Damaged and hostile .emz files: one clear error, and no memory taken for claims."""

import copy
import json
import resource
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import nn
from emoref.compress import load_emz, load_emz_notes, quantize_network, save_emz
from emoref.errors import FileFormatError


def small_net(units=4):
    b = nn.NetworkBuilder("small", (1, 6, 6))
    b.conv("conv", 5, 3)
    b.flatten("flat")
    b.linear("fc", units, bias=False)
    return b.build()


def write(path, bits=4, method="symmetric", coders="smallest"):
    net = small_net()
    params = net.init(2)
    params["fc.weight"][np.abs(params["fc.weight"]) < 0.1] = 0
    save_emz(path, quantize_network(net, params, bits, method), coders)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.emz"


def parts(content):
    """Return the header as a dictionary and the sections."""
    length = struct.unpack_from("<I", content, 12)[0]
    return json.loads(content[24 : 24 + length]), content[28 + length :]


def assembled(header, sections, version=1, text=None, file_bytes=None, header_bytes=None):
    """Return a file with these contents whose own checksum and lengths are right, unless given."""
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode() if text is None else text
    file_bytes = 28 + len(text) + len(sections) if file_bytes is None else file_bytes
    header_bytes = len(text) if header_bytes is None else header_bytes
    start = struct.pack("<8sIIQ", b"\x89EMZ\r\n\x1a\n", version, header_bytes, file_bytes) + text
    return start + struct.pack("<I", zlib.crc32(start)) + sections


def refused(path, content, text):
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=text) as caught:
        load_emz(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    assert len(message) < len(str(path)) + 250


def test_every_truncation_is_an_error(path):
    content = write(path)
    for length in [*range(64), *range(64, len(content), 17), len(content) - 1]:
        refused(path, content[:length], "truncated|is empty")
    refused(path, content + b"\0", "longer than it says: it has 1,... bytes of 1,")


@pytest.mark.parametrize("method", ["symmetric", "asymmetric-channels", "codebook"])
def test_every_flipped_bit_is_an_error(path, method):
    content = write(path, method=method)
    _, sections = parts(content)
    for position in [*range(64), *range(64, len(content), 13)]:
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(FileFormatError) as caught:
            load_emz(path)
        if position >= len(content) - len(sections):
            assert 'parameter "' in str(caught.value)
            assert "is damaged (its checksum does not match)" in str(caught.value)


def test_the_damaged_parameter_is_named(path):
    content = write(path)
    refused(path, content[:-1] + bytes([content[-1] ^ 1]), 'parameter "fc.weight" is damaged')


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"hello, this is no network at all", "not an .emz file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "not an .emz file"),
        (b"\x89EMZ", "truncated: it has 4 bytes, the least is 24"),
        (assembled({}, b"", version=2), "format version 2, this emoref reads up to 1; use a newer emoref"),
        (assembled({}, b"", version=0), "format version 0"),
        (assembled({}, b"", file_bytes=2**63), "truncated: it has 30 bytes of 9,223,372,036,854,775,808"),
        (
            assembled({}, b"", header_bytes=2**32 - 1),
            "claims a header of 4,294,967,295 bytes in a file of 30",
        ),
        (assembled({}, b"", text=b"\xff\xfe"), "the header is not JSON"),
        (assembled({}, b"", text=b"{"), "the header is not JSON"),
        (assembled({}, b"", text=b"[" * 100_000), "the header is not JSON"),
        (assembled({}, b"", text=b'{"parameters":[1' + b"0" * 5000 + b"]}"), "the header is not JSON"),
        (assembled([], b""), 'no list "parameters"'),
        (assembled({"parameters": {}}, b""), 'no list "parameters"'),
        (assembled({"parameters": []}, b""), "architecture: not a network description"),
        (assembled({"parameters": [], "architecture": None}, b""), "architecture: not a network description"),
        (assembled({"parameters": [], "notes": []}, b""), "notes in the header must be an object"),
    ],
)
def test_other_files(path, content, text):
    refused(path, content, text)


def test_no_file_and_a_folder(tmp_path):
    for read in (load_emz, load_emz_notes):
        with pytest.raises(FileFormatError, match=r"none\.emz: no such file"):
            read(tmp_path / "none.emz")
        with pytest.raises(FileFormatError, match="cannot be read"):
            read(tmp_path)
    (tmp_path / "a.emz").write_bytes(assembled({"parameters": []}, b""))
    with pytest.raises(FileFormatError, match=r"a\.emz: architecture"):
        load_emz_notes(tmp_path / "a.emz")


def entry_of(header, name="fc.weight"):
    return next(entry for entry in header["parameters"] if entry["name"] == name)


def changed(**values):
    return lambda header: entry_of(header).update(values)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (changed(shape=[4, 81]), r"shape \[4, 81\], its architecture wants \[4, 80\]"),
        (changed(shape=[4, 80.0]), 'parameter "fc.weight": "shape" must be a list of positive whole numbers'),
        (changed(shape=[10**30]), '"shape" must be'),
        (changed(shape=None), '"shape" must be'),
        (changed(name="x"), "parameters listed in the header are not those of its architecture"),
        (changed(name=7), "has no name"),
        (lambda h: h["parameters"].reverse(), "not those of its architecture"),
        (lambda h: h["parameters"].pop(), "not those of its architecture"),
        (lambda h: h["parameters"].append(3), "has no name"),
        (changed(kind="zip"), '"kind" must be one of raw, uniform, codebook, found'),
        (changed(kind=["uniform"]), '"kind" must be'),
        (changed(coder="lzma"), "\"coder\" must be a coder that this version knows, found 'lzma'"),
        (changed(coder=["dense"]), '"coder" must be'),
        (changed(bits=1), '"bits" must be a whole number from 2 to 16, found 1'),
        (changed(bits=True), '"bits" must be'),
        (changed(entries=-1), '"entries" must be'),
        (changed(entries=10**12), "are claimed, the stream has"),
        (changed(entries=3), 'parameter "fc.weight": '),
        (changed(coded_bits=2**62), "its header claims 576,460,752,303,42.,... bytes of parameters"),
        (changed(coded_bits=2**64), '"coded_bits" must be'),
        (changed(grids=2), '"grids" must be 1 or one for each channel'),
        (changed(grids=4), "its header claims"),
        (changed(grids=10**15), '"grids" must be'),
        (changed(symmetric=0), '"symmetric" must be true or false'),
        (changed(half="no"), '"half" must be true or false'),
        (changed(crc32="123"), '"crc32" must be eight hexadecimal digits'),
        (changed(crc32="0000000g"), '"crc32" must be'),
        (changed(crc32="00000000"), 'parameter "fc.weight" is damaged'),
        (lambda h: h["architecture"]["nodes"][2]["attrs"].update(units=-1), "architecture: .*units"),
        (lambda h: h["architecture"].update(version=7), "architecture: network description has version 7"),
        (
            lambda h: entry_of(h, "conv.bias").update(dtype="float16"),
            '"dtype" must be one of float32, float64',
        ),
        (lambda h: entry_of(h, "conv.bias").update(dtype="float64"), "its header claims"),
    ],
)
def test_headers_that_lie(path, change, text):
    header, sections = parts(write(path))
    change(header)
    refused(path, assembled(header, sections), text)


def extents(header):
    """Return where each parameter's section begins and ends among the sections."""
    found, end = {}, 0
    for entry in header["parameters"]:
        size = 4 * int(np.prod(entry["shape"]))
        if entry["kind"] != "raw":
            side = entry.get("grids", 0) * (4 if entry.get("symmetric", True) else 6)
            size = side + 4 * entry.get("levels", 0) + -(-entry["coded_bits"] // 8)
        found[entry["name"]] = (end, end + size)
        end += size
    return found


def with_section(header, sections, name, section):
    """Put another section into a file, its checksum made right."""
    start, end = extents(header)[name]
    entry_of(header, name)["crc32"] = f"{zlib.crc32(section):08x}"
    return assembled(header, sections[:start] + section + sections[end:])


@pytest.mark.parametrize(
    ("method", "section", "text"),
    [
        ("symmetric", struct.pack("<f", np.nan), "scales must be positive numbers"),
        ("symmetric", struct.pack("<f", 0), "scales must be positive numbers"),
        ("symmetric", struct.pack("<f", -1), "scales must be positive numbers"),
        ("symmetric", struct.pack("<f", 1) + b"\x88" * 160, "code -8 is none of a symmetric grid of 4 bits"),
        ("asymmetric", struct.pack("<fH", 1, 16), "zero points codes of the grid"),
        ("codebook", struct.pack("<f", 1), "finite, the first one 0"),
        ("codebook", struct.pack("<ff", 0, np.inf), "must be finite"),
    ],
)
def test_sections_that_cannot_be(path, method, section, text):
    header, sections = parts(write(path, method=method, coders="dense"))
    entry = entry_of(header)
    length = entry.get("grids", 0) * (4 if method == "symmetric" else 6) + 4 * entry.get("levels", 0) + 160
    content = with_section(header, sections, "fc.weight", section.ljust(length, b"\0"))
    refused(path, content, f'parameter "fc.weight": .*{text}')


def test_levels_that_do_not_exist(path):
    header, sections = parts(write(path, method="codebook", coders="dense"))
    entry = entry_of(header)
    assert entry["levels"] == 16
    fewer = bytes(4 * 15) + b"\xff" * 160
    assembled_before = with_section(header, sections, "fc.weight", fewer)
    entry["levels"] = 15
    refused(path, assembled(header, parts(assembled_before)[1]), "level 15 is used, there are 15")


def test_more_bits_than_the_levels_need(path):
    header, sections = parts(write(path, bits=3, method="codebook", coders="dense"))
    entry = entry_of(header)
    entry.update(bits=4, coded_bits=1280)
    levels = struct.pack("<8f", 0, *range(1, 8))
    start = extents(header)["fc.weight"][0]
    entry["crc32"] = f"{zlib.crc32(levels + bytes(160)):08x}"
    content = assembled(header, sections[:start] + levels + bytes(160))
    refused(path, content, "8 levels take 3 bits, not 4")


@pytest.mark.parametrize("coder", ["relative-16", "coo", "relative-4+huffman"])
def test_a_small_file_cannot_ask_for_much_memory(path, coder):
    """A million times a million weights that are all 0: no bits at all, consistent in every respect."""
    header, _ = parts(write(path))
    for units in (10**6, 10**12):
        b = nn.NetworkBuilder("huge", (1_000_000,))
        b.linear("fc", units, bias=False)
        fc = copy.deepcopy(entry_of(header))
        fc.update(shape=[units, 10**6], coder=coder, entries=0, coded_bits=0)
        section = struct.pack("<f", 1)
        fc["crc32"] = f"{zlib.crc32(section):08x}"
        hostile = assembled({"architecture": b.build().to_dict(), "parameters": [fc]}, section)
        tracemalloc.start()
        refused(path, hostile, "claims 1,000,000,000.* values, far more than .* bytes can hold")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
        tracemalloc.stop()


def test_huge_claims_under_a_memory_limit(path):
    header, sections = parts(write(path))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, values in (
        ("fc.weight", {"entries": 2**62}),
        ("fc.weight", {"entries": 2**40, "coded_bits": 2**45}),
        ("conv.weight", {"coder": "relative-16+huffman", "entries": 2**50}),
    ):
        hostile = copy.deepcopy(header)
        entry_of(hostile, name).update(values)
        refused(path, assembled(hostile, sections), "claim")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


@settings(max_examples=100)
@given(st.data())
def test_damage_with_right_checksums_raises_nothing_else(tmp_path_factory, data):
    """Whoever writes other bytes can make the checksums right as well."""
    path = tmp_path_factory.mktemp("emz") / "model.emz"
    method = data.draw(st.sampled_from(["symmetric", "asymmetric-channels", "codebook"]))
    coder = data.draw(
        st.sampled_from(["smallest", "coo", "relative-2", "relative-3+huffman", "bitmap+huffman"])
    )
    header, sections = parts(write(path, 3, method, coder))
    sections, places = bytearray(sections), extents(header)
    for _ in range(data.draw(st.integers(0, 3))):
        sections[data.draw(st.integers(0, len(sections) - 1))] ^= data.draw(st.integers(1, 255))
    for entry in header["parameters"]:
        start, end = places[entry["name"]]
        entry["crc32"] = f"{zlib.crc32(bytes(sections[start:end])):08x}"
    entry = data.draw(st.sampled_from(header["parameters"]))
    key = data.draw(st.sampled_from(sorted(entry)))
    entry[key] = data.draw(
        st.one_of(st.just(entry[key]), st.integers(-1, 2**40), st.none(), st.booleans(), st.text(max_size=3))
    )
    path.write_bytes(assembled(header, bytes(sections)))
    message = ""
    try:
        assert load_emz(path).net == small_net()
    except FileFormatError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1
