"""The four-level model: the published examples, mappings by hand, and what must hold for any layer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import networks
from emoref.compress.energy import (
    DATAFLOWS,
    Reuse,
    eyeriss_datum_cost,
    eyeriss_energy,
    eyeriss_psum_cost,
    eyeriss_reuse,
    weight_layers,
)
from emoref.errors import ConfigError
from emoref.nn import NetworkBuilder


def one_conv(channels=4, filters=6, kernel=3, size=(8, 8), stride=1, groups=1):
    b = NetworkBuilder("one", (channels, *size))
    b.conv("conv", filters, kernel, stride=stride, padding=kernel // 2, groups=groups)
    return b.build()


def reuse_of(net, dataflow, input_bits=0, weight_bits=0):
    return eyeriss_reuse(weight_layers(net)[0], dataflow, input_bits, weight_bits)


def test_the_examples_of_the_paper():
    """An input used 24 = 1*2*3*4 times costs 200 + 12 + 12 + 24, a sum of 36 = 2*3*3*2 600 + 48 + 24 + 36."""
    assert eyeriss_datum_cost(Reuse(1, 2, 3, 4)) == 248
    assert eyeriss_psum_cost(Reuse(2, 3, 3, 2)) == 708
    assert (Reuse(1, 2, 3, 4).uses, Reuse(2, 3, 3, 2).uses) == (24, 36)


def test_mappings_by_hand():
    """16 channels and filters, 3x3, 20x20 pixels on 12 by 14 processing elements: a, b, c, d of each."""
    net = one_conv(16, 16, 3, (20, 20))
    assert weight_layers(net)[0].macs == 16 * 16 * 9 * 400
    rows = {d: reuse_of(net, d) for d in DATAFLOWS}
    uses = (16 * 9, 400, 16 * 9)  # of an input, a weight, a sum
    for found in rows.values():
        assert (found.inputs.uses, found.weights.uses, found.psums.uses) == pytest.approx(uses)
        assert (found.input_count, found.weight_count, found.output_count) == (6400, 2304, 6400)
    assert rows["X:Y"].weights == Reuse(1, 400 / 168, 168, 1)
    assert rows["X:Y"].inputs == Reuse(1, 144, 1, 1)
    assert rows["X:Y"].psums == Reuse(1, 1, 1, 144)
    assert rows["CI:CO"].weights == Reuse(1, 400, 1, 1)
    assert rows["CI:CO"].inputs == Reuse(1, 144 / 14, 14, 1)
    assert rows["CI:CO"].psums == Reuse(1, 12, 12, 1)
    assert rows["FX:FY"].weights == Reuse(1, 1, 1, 400)
    assert rows["FX:FY"].inputs == Reuse(1, 144, 1, 1)
    assert rows["FX:FY"].psums == Reuse(1, 16, 9, 1)
    # 14 rows of the map by 3 rows of the kernel; an input serves the diagonal, 42 / 16 elements.
    assert rows["X:FX"].weights == Reuse(1, 400 / 14 / 20, 14, 20)
    assert rows["X:FX"].inputs == Reuse(1, pytest.approx(144 / 3 / (42 / 16)), 42 / 16, 3)
    assert rows["X:FX"].psums == Reuse(1, 16, 3, 3)


def test_weights_are_fetched_again_for_each_strip_of_a_large_input():
    net = one_conv(64, 64, 3, (32, 32))
    kilobyte = 8 * 1024
    assert reuse_of(net, "CI:CO", 100 * kilobyte, 9 * kilobyte).weights.dram == 1
    assert reuse_of(net, "CI:CO", 201 * kilobyte, 8 * kilobyte).weights.dram == 1
    assert reuse_of(net, "CI:CO", 201 * kilobyte, 9 * kilobyte).weights.dram == 3


def test_by_hand():
    """A pointwise layer of 2 channels, 3 filters, 2x2 pixels under CI:CO: 24 MACs."""
    found = eyeriss_energy(one_conv(2, 3, 1, (2, 2)), "CI:CO", 0.5, 8, 4).components_pj
    # An input is used 3 times, by 3 elements: 200 + 6 + 6 + 3; a weight 4 times from the buffer; a sum of 2
    # in the array.
    assert found == pytest.approx(
        {
            "mac": 24 * 0.5 * 8 / 16 * 4 / 16,
            "input": 8 * 215 * 4 / 16,
            "weight": 3 * (200 + 4 * 6 + 4 * 2 + 4) * 8 / 16,
            "output": 12 * 200 * 4 / 16,
            "psum": 12 * 2,
        }
    )


layer_nets = st.builds(
    lambda c, f, k, h, w, g, s: one_conv(c * g, f * g, k, (h, w), s, g),
    st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 3, 5]), st.integers(5, 40),
    st.integers(5, 40),
    st.sampled_from([1, 2, 5]), st.sampled_from([1, 2, 3]),
)  # fmt: skip
dataflows = st.sampled_from(DATAFLOWS)
bits = st.integers(2, 16)


@settings(max_examples=80)
@given(layer_nets, dataflows, st.floats(1, 1e8), st.floats(1, 1e8))
def test_uses_are_conserved_on_every_level(net, dataflow, input_bits, weight_bits):
    layer, found = weight_layers(net)[0], reuse_of(net, dataflow, input_bits, weight_bits)
    for reuse, number in (
        (found.inputs, found.input_count),
        (found.weights, found.weight_count),
        (found.psums, found.output_count),
    ):
        assert reuse.uses * number == pytest.approx(layer.macs, rel=1e-12)
        levels = (reuse.dram, reuse.buffer, reuse.array, reuse.register_file)
        assert min(levels) >= 1 - 1e-12


@settings(max_examples=60)
@given(layer_nets, dataflows, st.floats(0.01, 1), st.floats(0.01, 1), bits, bits, bits, bits)
def test_more_weights_and_more_bits_cost_more(net, dataflow, p, p2, q, q2, a, a2):
    low, high = (eyeriss_energy(net, dataflow, f(p, p2), f(q, q2), f(a, a2)) for f in (min, max))
    # More bits of a weight may turn buffer reads into DRAM reads, never the other way round.
    for part, value in low.components_pj.items():
        assert value <= high.components_pj[part] * (1 + 1e-12)
    assert sum(high.components_pj.values()) == pytest.approx(high.energy_pj, rel=1e-13)


@settings(max_examples=30)
@given(st.integers(1, 9), dataflows, st.floats(0.01, 1), bits)
def test_depthwise_is_the_sum_of_its_one_channel_convolutions(channels, dataflow, p, q):
    whole = eyeriss_energy(one_conv(channels, channels, 3, (9, 9), groups=channels), dataflow, p, q)
    one = eyeriss_energy(one_conv(1, 1, 3, (9, 9)), dataflow, p, q)
    for part, value in whole.components_pj.items():
        assert value == pytest.approx(channels * one.components_pj[part], rel=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 10**6), dataflows, st.floats(0.01, 1), bits)
def test_fewer_kept_filters_cost_less(random_network, random_masks, seed, dataflow, p, q):
    net = random_network(seed)
    small = eyeriss_energy(net, dataflow, p, q, masks=random_masks(net, seed))
    assert small.energy_pj <= eyeriss_energy(net, dataflow, p, q).energy_pj * (1 + 1e-12)


def test_row_stationary_wins_on_vgg16():
    """The paper's finding, for the convolutions: no other dataflow takes less energy."""
    net = networks.build("vgg16")

    def convolutions(dataflow):
        return sum(row.energy_pj for row in eyeriss_energy(net, dataflow).layers if row.op == "conv2d")

    assert min(DATAFLOWS, key=convolutions) == "X:FX"


def test_bad_settings_are_refused():
    net = networks.build("lenet5")
    with pytest.raises(ConfigError, match="unknown dataflow 'RS'; known: X:Y, CI:CO, FX:FY, X:FX"):
        eyeriss_energy(net, "RS")
    with pytest.raises(ConfigError, match=r"activation_bits must be whole numbers, found 7\.5"):
        eyeriss_energy(net, activation_bits=7.5)
    with pytest.raises(ConfigError, match="one network has one number for each layer"):
        eyeriss_energy(net, weight_bits=[[8], [4]])
    with pytest.raises(ConfigError, match="remaining_ratio must be above 0"):
        eyeriss_energy(net, remaining_ratio=-1)
