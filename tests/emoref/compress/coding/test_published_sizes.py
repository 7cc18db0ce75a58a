"""The published sizes of EMOMC's networks, written in real bits."""

import numpy as np
import pytest

from emoref import networks
from emoref.compress import Coder, CompressedNetwork, UniformGrid, UniformTensor, emz_size, load_emz, save_emz
from emoref.compress.coding.layouts import dense_bits, relative_bits
from emoref.compress.energy import emomc_size

KIB = 8 * 1024

# (network, weights, {bits: KiB with all zeros stored}): EMOMC's coding "normal", which is the dense coder.
NORMAL = [
    ("lenet5", 61_470, {8: 60.0, 4: 30.0, 2: 15.0, 12: 90.0}),
    ("mobilenet-v1", 3_195_328, {8: 3120.4, 4: 1560.2, 2: 780.1, 12: 4680.7}),
    ("vgg16", 14_715_584, {8: 14370.7, 4: 7185.3, 2: 3592.7, 12: 21556.0}),
]


def pruned(net, ratio, bits, seed=0):
    """Return the network with weights drawn from all codes but 0, that share of them left in each layer."""
    rng = np.random.default_rng(seed)
    grid = UniformGrid.of_range(-1.0, 1.0, bits)
    tensors = dict(net.init(0))
    for name, value in tensors.items():
        if name.endswith(".weight"):
            codes = rng.integers(1, grid.highest_code + 1, value.shape) * rng.choice([-1, 1], value.shape)
            kept = np.zeros(value.size, bool)
            kept[rng.permutation(value.size)[: round(ratio * value.size)]] = True
            tensors[name] = UniformTensor((codes * kept.reshape(value.shape)).astype(np.int32), grid)
    return CompressedNetwork(net, tensors)


@pytest.mark.parametrize(("name", "weights", "published"), NORMAL)
def test_normal_is_the_dense_coder(name, weights, published):
    shapes = networks.build(name).param_shapes()
    sizes = [int(np.prod(shape)) for key, shape in shapes.items() if key.endswith(".weight")]
    assert sum(sizes) == weights
    for bits, kib in published.items():
        assert round(sum(dense_bits(size, bits) for size in sizes) / KIB, 1) == kib


@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.2])
def test_a_file_of_lenet5_beside_the_published_estimates(ratio, tmp_path):
    net = networks.build("lenet5")
    compressed = pruned(net, ratio, 4)
    dense = save_emz(tmp_path / "dense.emz", compressed, "dense")
    assert round(dense.weight_bits / KIB, 1) == 30.0
    assert (tmp_path / "dense.emz").stat().st_size == dense.file_bytes
    # Five layers: 1,200 bits are whole bytes each, so the sections are the streams, scales and biases.
    assert dense.file_bytes - dense.header_bytes == dense.weight_bits // 8 + 5 * 4 + 236 * 4
    relative = save_emz(tmp_path / "relative.emz", compressed, "relative-3")
    estimate = emomc_size(net, "csr", ratio, 4).size_bits
    fillers = (1 - ratio) ** 8 / (1 - (1 - ratio) ** 8)
    assert relative.weight_bits == pytest.approx(estimate * (1 + fillers), rel=0.02)
    assert relative.weight_bits >= round(estimate) - 4 * 7, "a whole number of weights is left in each layer"
    loaded = load_emz(tmp_path / "relative.emz").params()
    assert all((loaded[key] == value).all() for key, value in compressed.params().items())


def test_the_published_index_of_coo_can_be_too_short():
    """LeNet-5's first layer: 150 weights need 8 bits, round(4 + 7.23) leaves 7."""
    net = networks.build("lenet5")
    compressed = pruned(net, 0.5, 4)
    true = {section.name: section.stream_bits for section in emz_size(compressed, "coo").sections}
    estimate = {f"{row.name}.weight": row.size_bits for row in emomc_size(net, "coo", 0.5, 4).layers}
    assert (true["conv1.weight"], estimate["conv1.weight"]) == (75 * 12, 75 * 11)
    assert all(true[key] >= bits - 16 for key, bits in estimate.items())


def test_without_zeros_the_relative_estimate_is_the_size():
    net = networks.build("lenet5")
    size = emz_size(pruned(net, 1.0, 8), Coder("relative", 3))
    assert size.weight_bits == relative_bits(61_470, 8, 3) == emomc_size(net, "csr", 1.0, 8).size_bits
    assert round(size.weight_bits / KIB, 1) == 82.5
