"""Genomes of sparse networks: what bits mean, repair, and masks of a given size."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import networks
from emoref.compress import weighted_layers
from emoref.errors import NetworkError, ProblemError, ShapeError
from emoref.nn import NetworkBuilder, head_of
from emoref.search import MaskGenome


def small(convolution=True):
    b = NetworkBuilder("small", (1, 6, 6))
    if convolution:
        b.conv("conv", 2, 3)
        b.relu("relu1")
        b.max_pool("pool", 2)
    b.flatten("flat")
    b.linear("fc", 3)
    b.relu("relu2")
    b.linear("head", 4)
    return b.build()


NET = small()
PARAMS = NET.init(1)


def residual():
    b = NetworkBuilder("residual", (1, 4, 4))
    first = b.conv("first", 2, 3, padding=1)
    b.relu("relu")
    second = b.conv("second", 2, 3, padding=1)
    b.add("sum", first, second)
    b.conv("third", 2, 3)
    b.flatten("flat")
    b.linear("head", 2)
    return b.build()


def slow_repair(net, genome, row, magnitudes):
    """Repair one genome weight by weight, straight from the definition, for a chain of layers."""
    bits = row.copy()
    starts = np.concatenate([[0], np.cumsum(genome.sizes)])
    for layer in reversed(range(len(genome.names))):
        first, stop = starts[layer], starts[layer + 1]
        if layer + 1 < len(genome.names):
            reader = genome.names[layer + 1]
            mask = genome.masks(bits)[reader].reshape(genome.shapes[reader][0], -1)
            units = genome.shapes[genome.names[layer]][0]
            read = mask.any(axis=0).reshape(units, -1).any(axis=1)
            # With blocks, a kept group may read a unit beyond the kernel in which it begins.
            per_unit = (stop - first) // units
            for unit in np.flatnonzero(read):
                own = slice(first + unit * per_unit, first + (unit + 1) * per_unit)
                if not bits[own].any():
                    bits[own.start + int(magnitudes[own].argmax())] = True
        if not bits[first:stop].any():
            bits[first + int(magnitudes[first:stop].argmax())] = True
    return bits


def test_one_bit_for_each_hidden_weight():
    genome = MaskGenome(NET)
    assert genome.names == ("conv", "fc")
    assert genome.sizes.tolist() == [18, 24]
    assert genome.n_bits == 42
    row = np.zeros(42, dtype=bool)
    row[[0, 17, 18, 41]] = True
    masks = genome.masks(row)
    assert masks["conv"].shape == (2, 1, 3, 3)
    assert np.argwhere(masks["conv"]).tolist() == [[0, 0, 0, 0], [1, 0, 2, 2]]
    assert np.argwhere(masks["fc"]).tolist() == [[0, 0], [2, 7]]
    assert genome.kept(row[None]).tolist() == [[2, 2]]


def test_groups_are_neighbours_of_one_unit_and_the_last_may_be_smaller():
    genome = MaskGenome(NET, block=4)
    assert genome.sizes.tolist() == [6, 6]  # 4 + 4 + 1 weights of a filter, 4 + 4 of a unit
    assert genome.group_sizes.tolist() == [4, 4, 1] * 2 + [4, 4] * 3
    row = np.zeros(12, dtype=bool)
    row[[2, 3]] = True  # the last weight of filter 0, the first four of filter 1
    assert genome.kept(row[None]).tolist() == [[5, 0]]
    mask = genome.masks(row)["conv"].reshape(2, 9)
    assert mask.astype(int).tolist() == [[0] * 8 + [1], [1] * 4 + [0] * 5]
    weight = PARAMS["conv.weight"].reshape(2, 9)
    np.testing.assert_allclose(genome.magnitudes(PARAMS)[2:4], [abs(weight[0, 8]), abs(weight[1, :4]).mean()])


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(1, 12))
def test_masks_and_counts_agree(data, block):
    genome = MaskGenome(NET, block)
    bits = st.lists(st.booleans(), min_size=genome.n_bits, max_size=genome.n_bits)
    rows = np.array(data.draw(st.lists(bits, min_size=1, max_size=3)))
    for row, kept in zip(rows, genome.kept(rows), strict=True):
        masks = genome.masks(row)
        assert [int(masks[name].sum()) for name in genome.names] == kept.tolist()
    np.testing.assert_array_equal(genome.unpack(genome.pack(rows)), rows)
    assert genome.group_sizes.sum() == genome.weights.sum()


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 4]), st.floats(0, 0.4))
def test_repair_restores_only_what_is_needed(seed, block, density):
    rng = np.random.default_rng(seed)
    genome = MaskGenome(NET, block)
    magnitudes = genome.magnitudes(PARAMS)
    rows = rng.random((4, genome.n_bits)) < density
    found = genome.repair(rows, magnitudes)
    assert (found >= rows).all()
    np.testing.assert_array_equal(genome.repair(found, magnitudes), found)
    for row, repaired in zip(rows, found, strict=True):
        np.testing.assert_array_equal(repaired, slow_repair(NET, genome, row, magnitudes))


def test_every_layer_keeps_its_strongest_weight():
    genome = MaskGenome(NET)
    magnitudes = genome.magnitudes(PARAMS)
    (row,) = genome.repair(np.zeros((1, genome.n_bits), dtype=bool), magnitudes)
    # fc keeps its strongest weight; the filter that it reads keeps its own strongest.
    assert row[18:].sum() == 1
    assert row[18 + int(magnitudes[18:].argmax())]
    unit = int(magnitudes[18:].argmax()) % 8 // 4
    own = magnitudes[unit * 9 : unit * 9 + 9]
    assert row[:18].sum() == 1
    assert row[unit * 9 + int(own.argmax())]


def test_additions_are_fed_by_the_first_layer():
    net = residual()
    genome = MaskGenome(net)
    assert genome.names == ("first", "second", "third")
    magnitudes = genome.magnitudes(net.init(0))
    row = np.zeros((1, genome.n_bits), dtype=bool)
    row[0, 18 + 36] = True  # third, filter 0, reads unit 0 of the sum; second alone feeds nothing
    masks = genome.masks(genome.repair(row, magnitudes)[0])
    assert masks["second"].sum() == 1  # no layer is empty
    assert masks["first"][0].sum() == 1
    row[0, 18] = True  # second, filter 0, reads unit 0 of first: now unit 0 of the sum is fed
    masks = genome.masks(genome.repair(row, magnitudes)[0])
    assert masks["second"][0].sum() == 1


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 4]), st.floats(0.1, 0.9), st.integers(12, 42))
def test_fitted_masks_keep_the_budget(seed, block, density, budget):
    rng = np.random.default_rng(seed)
    genome = MaskGenome(NET, block)
    magnitudes = genome.magnitudes(PARAMS)
    (row,) = genome.repair(rng.random((1, genome.n_bits)) < density, magnitudes)
    found = genome.fitted(row, budget, magnitudes)
    kept = int(genome.kept(found[None]).sum())
    assert kept <= budget
    if block == 1:
        assert kept == budget
    np.testing.assert_array_equal(genome.repair(found[None], magnitudes)[0], found)
    np.testing.assert_array_equal(genome.fitted(found, kept, magnitudes), found)


def test_fitting_keeps_the_proportions_of_layers_and_the_strongest():
    genome = MaskGenome(small(convolution=False))  # one layer of 108 weights
    magnitudes = np.arange(108.0)
    row = np.zeros(108, dtype=bool)
    row[[3, 50, 70, 90]] = True
    assert np.flatnonzero(genome.fitted(row, 2, magnitudes)).tolist() == [70, 90]
    assert np.flatnonzero(genome.fitted(row, 6, magnitudes)).tolist() == [3, 50, 70, 90, 106, 107]
    two = MaskGenome(NET)
    strength = two.magnitudes(PARAMS)
    everything = np.ones(42, dtype=bool)
    kept = two.kept(two.fitted(everything, 21, strength)[None])[0]
    assert kept.tolist() == [9, 12]


def test_it_travels_to_workers():
    genome = MaskGenome(NET, 4)
    again = pickle.loads(pickle.dumps(genome))
    assert again.n_bits == genome.n_bits
    assert again.block == 4


@pytest.mark.parametrize("name", ["lenet", "vgg16", "resnet20"])
def test_every_hidden_layer_of_known_networks(name):
    net = networks.build(name, input_shape=(3, 32, 32), classes=10)
    genome = MaskGenome(net, 9)
    assert [*genome.names, head_of(net)] == list(weighted_layers(net))
    full = np.ones((1, genome.n_bits), dtype=bool)
    assert genome.kept(full)[0].tolist() == genome.weights.tolist()


def test_what_is_refused():
    with pytest.raises(ProblemError, match="block is 0; a group has at least 1 weight"):
        MaskGenome(NET, 0)
    b = NetworkBuilder("flat", (4,))
    b.linear("head", 2)
    with pytest.raises(NetworkError, match="network 'flat' has no hidden layer"):
        MaskGenome(b.build())
    mobile = networks.build("mobilenet-v1", input_shape=(3, 32, 32), classes=10)
    with pytest.raises(NetworkError, match="is a grouped convolution"):
        MaskGenome(mobile)
    genome = MaskGenome(NET)
    for bad in (np.ones((1, 41), dtype=bool), np.ones((1, 42)), np.ones(42, dtype=bool)):
        with pytest.raises(ShapeError, match=r"genomes must be booleans of shape \(P, 42\)"):
            genome.kept(bad)
    with pytest.raises(ShapeError, match=r"packed genomes must be uint8 of shape \(P, 6\)"):
        genome.unpack(np.zeros((1, 5), np.uint8))
    with pytest.raises(ProblemError, match="no mask keeps at most 1 of 42 weights in working order"):
        genome.fitted(np.ones(42, dtype=bool), 1, genome.magnitudes(PARAMS))
