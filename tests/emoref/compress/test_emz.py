"""The .emz file: what was saved comes back bit for bit, in exactly the bytes that were promised."""

import errno
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest

from emoref import networks, nn
from emoref.compress import (
    ALL_CODERS,
    METHODS,
    Coder,
    CompressedNetwork,
    coded_bits,
    emz_size,
    load_emz,
    load_emz_notes,
    quantize_network,
    save_emz,
)
from emoref.errors import ConfigError, FileFormatError, NetworkError


@pytest.fixture(scope="module")
def net():
    b = nn.NetworkBuilder("small", (1, 6, 6))
    b.conv("conv", 5, 3)
    b.batch_norm("norm")
    b.relu("relu")
    b.conv("depthwise", 5, 3, groups=5, bias=False)
    b.flatten("flat")
    b.linear("fc", 4)
    return b.build()


@pytest.fixture(scope="module")
def params(net):
    rng = np.random.default_rng(5)
    values = {name: value + np.float32(0.125) for name, value in net.init(2).items()}
    values["fc.weight"][rng.random((4, 20)) < 0.8] = 0
    values["depthwise.weight"][...] = 0
    return values


def same_network(a, b):
    assert a.net == b.net
    left, right = a.params(), b.params()
    assert list(left) == list(right)
    for name, value in left.items():
        assert value.dtype == right[name].dtype
        assert value.tobytes() == right[name].tobytes()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", [2, 7, 16])
def test_round_trip(net, params, method, bits, tmp_path):
    compressed = quantize_network(net, params, bits, method)
    size = save_emz(tmp_path / "a.emz", compressed)
    again = load_emz(tmp_path / "a.emz")
    same_network(compressed, again)
    assert (tmp_path / "a.emz").stat().st_size == size.file_bytes
    assert emz_size(compressed) == size
    save_emz(tmp_path / "b.emz", again)
    assert (tmp_path / "a.emz").read_bytes() == (tmp_path / "b.emz").read_bytes()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.emz", "b.emz"]


@pytest.mark.parametrize("coder", [c for c in ALL_CODERS if c.index_bits in (0, 1, 5, 16)], ids=str)
def test_every_coder_writes_what_its_formula_says(net, params, coder, tmp_path):
    compressed = quantize_network(net, params, 4)
    size = save_emz(tmp_path / "a.emz", compressed, str(coder))
    same_network(compressed, load_emz(tmp_path / "a.emz"))
    assert (tmp_path / "a.emz").stat().st_size == size.file_bytes == emz_size(compressed, coder).file_bytes
    for section in size.sections:
        if section.coder == "raw":
            continue
        tensor = compressed.tensors[section.name]
        assert section.coder == str(coder)
        assert section.stream_bits == coded_bits(tensor.symbols(), 4, coder)
        assert section.side_bits == 32
        assert section.bytes == 4 + -(-section.stream_bits // 8)
    assert size.weight_bits == sum(s.stream_bits for s in size.sections if s.name.endswith("weight"))
    assert size.side_bits == 3 * 32


def test_a_real_network_predicts_the_same(tmp_path):
    net = networks.build("lenet5")
    params = net.init(0)
    rng = np.random.default_rng(0)
    for name, value in params.items():
        if name.endswith("weight"):
            value[rng.random(value.shape) < 0.7] = 0
    compressed = quantize_network(net, params, {"conv1": 8, "conv2": 5, "conv3": 4, "fc1": 3, "fc2": 6})
    size = save_emz(tmp_path / "lenet5.emz", compressed)
    again = load_emz(tmp_path / "lenet5.emz")
    images = rng.normal(size=(8, *net.input_shape)).astype(np.float32)
    before, after = (nn.predict(c.net, c.params(), images, "reference") for c in (compressed, again))
    assert before.tobytes() == after.tobytes()
    # 61,470 weights at 32 bits are 245,880 bytes.
    assert size.file_bytes < 245_880 / 10
    assert size.weight_bits / 8 < size.file_bytes < size.weight_bits / 8 + size.header_bytes + 4 * 236 + 5 * 5


def test_coders_for_each_layer(net, params, tmp_path):
    compressed = quantize_network(net, params, 4)
    size = save_emz(
        tmp_path / "a.emz",
        compressed,
        {"conv": "coo", "fc": ["dense", Coder("bitmap")], "depthwise": Coder("relative", 3)},
    )
    coders = {section.name: section.coder for section in size.sections if section.coder != "raw"}
    assert coders == {"conv.weight": "coo", "depthwise.weight": "relative-3", "fc.weight": "bitmap"}
    generated = emz_size(compressed, (coder for coder in ("coo", "bitmap")))
    assert {s.coder for s in generated.sections} <= {"coo", "bitmap", "raw"}, "a generator serves all layers"
    smallest, bitmaps = emz_size(compressed), emz_size(compressed, "bitmap")
    assert smallest.weight_bits <= min(size.weight_bits, bitmaps.weight_bits)
    assert emz_size(compressed, {"fc": "bitmap"}).sections[0] == smallest.sections[0], (
        "not named: the smallest"
    )


def test_layers_without_bits_and_double_precision_stay(net, params, tmp_path):
    tensors = dict(quantize_network(net, params, {"fc": 4}).tensors)
    tensors["conv.weight"] = tensors["conv.weight"].astype(np.float64) / 3
    compressed = CompressedNetwork(net, tensors)
    size = save_emz(tmp_path / "a.emz", compressed)
    same_network(compressed, load_emz(tmp_path / "a.emz"))
    assert size.sections[0].coder == "raw"
    assert size.sections[0].bytes == 8 * 45


def test_notes(net, params, tmp_path):
    compressed = quantize_network(net, params, 4)
    save_emz(tmp_path / "a.emz", compressed, notes={"error": 0.25, "where": "Zürich"})
    assert load_emz_notes(tmp_path / "a.emz") == {"error": 0.25, "where": "Zürich"}
    size = save_emz(tmp_path / "b.emz", compressed)
    assert load_emz_notes(tmp_path / "b.emz") == {}
    assert emz_size(compressed, notes={"a": 1}).header_bytes == size.header_bytes + len(',"notes":{"a":1}')


def test_equal_networks_give_equal_bytes(tmp_path):
    script = (
        "import sys; from emoref import compress, networks; net = networks.build('lenet5'); "
        "compress.save_emz(sys.argv[1], compress.quantize_network(net, net.init(4), 3, 'codebook'))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.emz")], check=True)
    lenet = networks.build("lenet5")
    params = dict(reversed(lenet.init(4).items()))
    save_emz(tmp_path / "b.emz", quantize_network(lenet, params, 3, "codebook"))
    assert (tmp_path / "a.emz").read_bytes() == (tmp_path / "b.emz").read_bytes()


def test_the_file_can_be_read_by_hand(net, params, tmp_path):
    """The bytes, as docs/coding.md describes them, without any of emoref's readers."""
    compressed = quantize_network(net, params, 4, "asymmetric-channels")
    save_emz(tmp_path / "a.emz", compressed, "dense")
    content = (tmp_path / "a.emz").read_bytes()
    assert content[:8] == b"\x89EMZ\r\n\x1a\n"
    version, header_bytes, file_bytes = struct.unpack("<IIQ", content[8:24])
    assert (version, file_bytes) == (1, len(content))
    header = json.loads(content[24 : 24 + header_bytes])
    assert struct.unpack("<I", content[24 + header_bytes :][:4]) == (
        zlib.crc32(content[: 24 + header_bytes]),
    )
    assert header["architecture"] == net.to_dict()
    conv = header["parameters"][0]
    section = content[28 + header_bytes :]
    assert (conv["name"], conv["kind"], conv["grids"], conv["symmetric"]) == (
        "conv.weight",
        "uniform",
        5,
        False,
    )
    scales, zeros = np.frombuffer(section, "<f4", 5), np.frombuffer(section, "<u2", 5, 20)
    digits = "".join(f"{byte:08b}" for byte in section[30:])
    symbols = np.array([int(digits[4 * i : 4 * i + 4], 2) for i in range(45)]).reshape(conv["shape"])
    codes = (symbols + zeros.reshape(-1, 1, 1, 1)) % 16
    values = (codes - zeros.reshape(-1, 1, 1, 1)).astype(np.float32) * scales.reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(values, compressed.params()["conv.weight"])


class TestSaving:
    def test_a_failure_leaves_the_old_file(self, net, params, tmp_path):
        path = tmp_path / "a.emz"
        compressed = quantize_network(net, params, 4)
        save_emz(path, compressed)
        before = path.read_bytes()
        with pytest.raises(ConfigError, match="there is no coder 'csr'"):
            save_emz(path, compressed, "csr")
        with pytest.raises(
            NetworkError, match="coder of 'norm': the layers with weights are conv, depthwise, fc"
        ):
            save_emz(path, compressed, {"norm": "dense"})
        with pytest.raises(TypeError):
            save_emz(path, compressed, notes={"x": object()})
        with pytest.raises(FileFormatError, match=r"none/a\.emz: cannot be written"):
            save_emz(tmp_path / "none" / "a.emz", compressed)
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["a.emz"]

    def test_a_full_disk(self, net, params, tmp_path, monkeypatch):
        path = tmp_path / "a.emz"
        compressed = quantize_network(net, params, 4)
        save_emz(path, compressed)
        before = path.read_bytes()

        def full(descriptor):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(
            FileFormatError, match=r"cannot be written \(No space left.*the file of before is kept"
        ):
            save_emz(path, compressed, "dense")
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["a.emz"]

    def test_networks_of_zeros_alone_keep_within_what_is_read(self, tmp_path):
        b = nn.NetworkBuilder("wide", (2100,))
        b.linear("fc", 2100, bias=False)
        wide = b.build()
        zeros = quantize_network(wide, {"fc.weight": np.zeros((2100, 2100), np.float32)}, 4)
        with pytest.raises(NetworkError, match=r"4,410,000 values in .* bytes would be refused when read"):
            save_emz(tmp_path / "a.emz", zeros)
        save_emz(tmp_path / "a.emz", zeros, "bitmap")
        assert not load_emz(tmp_path / "a.emz").params()["fc.weight"].any()
