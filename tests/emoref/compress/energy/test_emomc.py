"""The published and recorded numbers of the EMOMC estimator, and what must hold for any layer.

Golden energies: computed with the authors' own code for these networks, printed to the digits given.
Not reproduced, and why:

* How the paper computes its 32-bit baseline is not published. Table II implies it (energy times
  improvement, three rows for VGG-16). Tried: mantissas of 22 to 25 and 32 bits for either factor, activations
  of 1 to 33/16 words, weights of 1 to 33/16 words. With everything twice as wide, as recorded, X:Y, FX:FY and
  X:FX are up to 3 % low and CI:CO 4 % high. All twelve products come out within their printed digits where
  the multiplier has 23 by 24 bits, activations are 2 words and weights 1 or 17/16:
  ``test_table_ii_baselines`` has both.
* Table II's energies of the selected networks (1.7, 1.7, 2.3, 2.6 mJ): the genomes are not published. Half of
  the weights in 4 bits comes to 1.97, 1.55, 2.38 and 2.66 mJ.
* EDCompress (arXiv 2006.04588, the same group) puts data movement at about 72 % of VGG-16's energy. Its
  formulas are not published; this estimator has 45 % under X:Y with 8-bit weights and 21 % in 32 bits.
"""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import networks
from emoref.compress import count
from emoref.compress.energy import (
    COMPONENTS,
    DATAFLOWS,
    EMOMC_COMPAT,
    STRICT,
    EmomcRules,
    emomc_energy,
    emomc_float32_energy,
    weight_layers,
)
from emoref.errors import ConfigError
from emoref.nn import NetworkBuilder

MJ = 1e-9  # millijoules in a picojoule

# Network: (remaining ratio, bits): energy in mJ under X:Y, CI:CO, FX:FY and X:FX.
GOLDEN = {
    ("lenet5", 1.0, 8): (0.00714, 0.00775, 0.00730, 0.00580),
    ("lenet5", 0.5, 8): (0.00371, 0.00510, 0.00387, 0.00380),
    ("lenet5", 0.5, 4): (0.00275, 0.00349, 0.00291, 0.00280),
    ("lenet5", 0.2, 2): (0.00097, 0.00171, 0.00114, 0.00143),
    ("lenet5", 0.8, 12): (0.00724, 0.00881, 0.00740, 0.00654),
    ("mobilenet-v1", 1.0, 8): (0.77792, 0.64985, 1.29656, 1.32085),
    ("mobilenet-v1", 0.5, 8): (0.39642, 0.42311, 0.65632, 0.68718),
    ("mobilenet-v1", 0.5, 4): (0.29604, 0.24418, 0.55594, 0.57371),
    ("mobilenet-v1", 0.2, 2): (0.10206, 0.10270, 0.20632, 0.21731),
    ("mobilenet-v1", 0.8, 12): (0.78244, 0.79497, 1.19758, 1.23821),
    ("vgg16", 1.0, 8): (5.21680, 4.19917, 5.62446, 5.08440),
    ("vgg16", 0.5, 8): (2.63915, 2.76069, 3.04601, 3.39844),
    ("vgg16", 0.5, 4): (1.97343, 1.55173, 2.38029, 2.66064),
    ("vgg16", 0.2, 2): (0.66902, 0.65704, 1.02180, 1.23535),
    ("vgg16", 0.8, 12): (5.23481, 5.21639, 5.64247, 5.61462),
}
SIX_DIGITS = {
    ("lenet5", 1.0, 16): (0.010759, 0.012666, 0.010921, 0.009520),
    ("lenet5", 1.0, 8): (0.007137, 0.007751, 0.007299, 0.005804),
    ("lenet5", 0.5, 8): (0.003709, 0.005099, 0.003871, 0.003804),
    ("lenet5", 0.2, 4): (0.001200, 0.002260, 0.001361, 0.001677),
    ("vgg16", 1.0, 16): (7.826086, 7.894951, 8.233746, 7.837862),
    ("vgg16", 1.0, 8): (5.216796, 4.199171, 5.624455, 5.084396),
    ("vgg16", 0.5, 8): (2.639146, 2.760690, 3.046007, 3.398443),
    ("vgg16", 0.2, 4): (0.810201, 1.069840, 1.162980, 1.412575),
}


def one_conv(channels=4, filters=6, kernel=3, size=(8, 8), stride=1, groups=1, bias=True):
    b = NetworkBuilder("one", (channels, *size))
    b.conv("conv", filters, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias)
    return b.build()


def published(layer, dataflow, p, q):
    """The authors' energy of a layer in pJ, written down a second time, from the table of access counts."""
    n, o, k = layer.macs, layer.pixels, layer.kernel
    c_in, c_out = layer.group_inputs, layer.group_outputs

    def any_of(count):
        return 1 - (1 - p) ** count

    def up_to_24(count):
        return 1 if count > 24 else any_of(count)

    if layer.op == "linear":
        read, weights, written, again = n * p, n, c_out, 0
    else:
        read, weights, written, again = {
            "X:Y": (n * p, n / o, n / (k * k * c_in), 0),
            "CI:CO": (n / c_out * up_to_24(c_out), n, *[n / c_in * up_to_24(c_in)] * 2),
            "FX:FY": (n * p, n / o, *[n / k**2 * any_of(k * k)] * 2),
            "X:FX": (n / k * any_of(k), n / sqrt(o), *[n / k * any_of(k)] * 2),
        }[dataflow]
    hundredths_of_mj = (
        0.102 * n * p * (q + 1) + 0.728 * (read + again) + 0.728 * weights * (q + 1) / 16 + 0.447 * written
    ) * 1e-6
    return hundredths_of_mj * 0.01 / MJ


# ------------------------------------------------------------------------------------------ published numbers


@pytest.mark.parametrize(
    ("name", "layers", "macs", "weights"),
    [
        ("lenet5", 5, 416_520, 61_470),
        ("mobilenet-v1", 28, 46_354_432, 3_195_328),
        ("vgg16", 14, 313_201_664, 14_715_584),
    ],
)
def test_layers_macs_and_weights(name, layers, macs, weights):
    net = networks.build(name)
    found = weight_layers(net)
    assert (len(found), sum(x.macs for x in found), sum(x.weights for x in found)) == (layers, macs, weights)
    assert (count(net).macs, count(net).weights) == (macs, weights)
    assert emomc_energy(net, "X:Y").macs == macs


def test_vgg16_convolutions_alone():
    assert sum(x.macs for x in weight_layers(networks.build("vgg16")) if x.op == "conv2d") == 313_196_544


@pytest.mark.parametrize(("case", "digits"), [(c, 5) for c in GOLDEN] + [(c, 6) for c in SIX_DIGITS])
def test_golden_energies(case, digits):
    name, p, q = case
    expected = GOLDEN[case] if digits == 5 else SIX_DIGITS[case]
    net = networks.build(name)
    found = tuple(round(emomc_energy(net, d, p, q).energy_pj * MJ, digits) for d in DATAFLOWS)
    assert found == expected


@pytest.mark.parametrize("name", ["lenet5", "mobilenet-v1", "vgg16", "resnet18"])
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_against_the_formulas_layer_by_layer(name, dataflow):
    net = networks.build(name, input_shape=(3, 32, 32)) if name == "resnet18" else networks.build(name)
    layers = weight_layers(net)
    q = 2 + np.arange(len(layers)) % 11
    table = emomc_energy(net, dataflow, 0.37, q)
    for row, layer, bits in zip(table.layers, layers, q, strict=True):
        assert row.energy_pj == pytest.approx(published(layer, dataflow, 0.37, bits), rel=1e-13)


@pytest.mark.parametrize(
    ("mantissa", "weight_word", "expected"),
    [
        (None, None, (22.4, 22.28, 23.2, 22.4)),
        (None, 33, (22.4, 22.4, 23.2, 22.4)),
        (24, 33, (23.95, 23.95, 24.8, 24.0)),
    ],
)
def test_float32_baseline_of_vgg16(mantissa, weight_word, expected):
    """The recorded baselines: 23-bit mantissas and 32-bit weights; then weights of q + 1 = 33 bits."""
    net = networks.build("vgg16")
    for dataflow, energy in zip(DATAFLOWS, expected, strict=True):
        found = emomc_float32_energy(net, dataflow, mantissa_bits=mantissa, weight_word_bits=weight_word)
        digits = len(str(energy).split(".")[1])
        assert found.energy_pj * MJ == pytest.approx(energy, abs=0.51 * 10**-digits)


# Method: energies and improvement factors of Table II, to the printed digits.
TABLE_II = {
    "EMOMC": ((1.7, 1.7, 2.3, 2.6), (14.0, 12.2, 10.4, 8.9)),
    "Pruning Filters": ((18.5, 19.6, 18.5, 19.3), (1.2, 1.1, 1.3, 1.2)),
    "Play and Prune": ((9.5, 12.6, 9.5, 11.2), (2.4, 1.7, 2.5, 2.0)),
}


@pytest.mark.parametrize("method", TABLE_II)
def test_table_ii_baselines(method):
    """Energy times improvement, each give or take half of its last digit, is the baseline in mJ."""
    net = networks.build("vgg16")
    energies, factors = (np.array(values) for values in TABLE_II[method])
    low, high = (energies - 0.05) * (factors - 0.05), (energies + 0.05) * (factors + 0.05)
    fitted = {"mantissa_bits": 23, "weight_mantissa_bits": 24, "weight_word_bits": 17}
    found = np.array([emomc_float32_energy(net, d, **fitted).energy_pj * MJ for d in DATAFLOWS])
    assert (low <= found).all()
    assert (found <= high).all()
    recorded = np.array([emomc_float32_energy(net, d).energy_pj * MJ for d in DATAFLOWS])
    assert (recorded >= 0.97 * low).all()
    assert (recorded <= 1.04 * high).all()


def test_multipliers_of_the_paper():
    """A 10-bit mantissa by q bits takes 5 (q + 1) look-up tables, 1.02 pJ (q + 1); 23 by 23 takes 276."""
    net = one_conv()
    macs = weight_layers(net)[0].macs
    assert emomc_energy(net, "X:Y", 1, 7).layers[0].mac_pj == pytest.approx(1.02 * 8 * macs, rel=1e-14)
    assert emomc_float32_energy(net, "X:Y").layers[0].mac_pj == pytest.approx(0.204 * 276 * macs, rel=1e-14)


def test_pruning_and_halving_the_bits_saves_90_percent_of_the_movement_of_weights():
    """P. 12 of the paper, which the authors' estimator contradicts and two switches make true."""
    net = one_conv()
    rules = EmomcRules(skipped_zero_weights=True, plain_weight_word=True)

    def moved(p, q, rules):
        return emomc_energy(net, "CI:CO", p, q, rules=rules).components_pj["weight"]

    assert moved(0.2, 8, rules) / moved(1, 16, rules) == pytest.approx(0.1, rel=1e-14)
    assert moved(0.2, 8, EMOMC_COMPAT) / moved(1, 16, EMOMC_COMPAT) == pytest.approx(9 / 17, rel=1e-14)


def test_by_hand():
    """Two 2x2 maps, 3 filters of 1x1, then 4 classes; half of the weights in 3 bits."""
    b = NetworkBuilder("hand", (2, 2, 2))
    _ = b.conv("conv", 3, 1), b.flatten("flat"), b.linear("fc", 4)
    table = emomc_energy(b.build(), "CI:CO", 0.5, 3)
    conv, fc = table.layers
    # 4 pixels * 2 * 3 = 24 MACs; 8 input reads (used unless 3 weights are 0), 24 weights, 12 sums each way.
    assert conv.mac_pj == pytest.approx(24 * 0.5 * 1.02 * 4)
    assert conv.input_pj == pytest.approx(8 * (1 - 0.5**3) * 7.28)
    assert conv.weight_pj == pytest.approx(24 * 4 / 16 * 7.28)
    assert conv.output_pj == pytest.approx(12 * (1 - 0.5**2) * 4.47)
    assert conv.psum_pj == pytest.approx(12 * (1 - 0.5**2) * 7.28)
    # 12 * 4 = 48 MACs.
    assert fc.components_pj == pytest.approx(
        {
            "mac": 24 * 1.02 * 4,
            "input": 24 * 7.28,
            "weight": 48 / 4 * 7.28,
            "output": 4 * 4.47,
            "psum": 0,
        }
    )


# ------------------------------------------------------------------------------------------------ properties

sizes = st.integers(1, 40)
layer_nets = st.builds(
    lambda c, f, k, h, w, g: one_conv(c * g, f * g, k, (h, w), groups=g),
    sizes, sizes, st.sampled_from([1, 3, 5]), st.integers(5, 12), st.integers(5, 12),
    st.sampled_from([1, 1, 2, 7]),
)  # fmt: skip
dataflows = st.sampled_from(DATAFLOWS)
shares = st.floats(0.01, 1)
rule_sets = st.sampled_from([EMOMC_COMPAT, STRICT])


@settings(max_examples=60)
@given(layer_nets, dataflows, shares, st.integers(2, 16))
def test_any_layer_equals_the_published_formula(net, dataflow, p, q):
    table = emomc_energy(net, dataflow, p, q)
    assert table.energy_pj == pytest.approx(published(weight_layers(net)[0], dataflow, p, q), rel=1e-12)


@settings(max_examples=40)
@given(st.integers(0, 10**6), dataflows, shares, rule_sets)
def test_the_breakdown_adds_up(random_network, seed, dataflow, p, rules):
    net = random_network(seed)
    q = 2 + np.random.default_rng(seed).integers(0, 15, len(weight_layers(net)))
    table = emomc_energy(net, dataflow, p, q, rules=rules)
    assert sum(row.energy_pj for row in table.layers) == pytest.approx(table.energy_pj, rel=1e-13)
    assert sum(table.components_pj.values()) == pytest.approx(table.energy_pj, rel=1e-13)
    assert tuple(table.components_pj) == COMPONENTS
    assert all(value >= 0 for row in table.layers for value in row.components_pj.values())
    assert table.macs == count(net).macs
    assert [row.name for row in table.layers] == [layer.name for layer in weight_layers(net)]


@settings(max_examples=60)
@given(layer_nets, dataflows, shares, shares, st.integers(2, 16), st.integers(2, 16), rule_sets)
def test_more_weights_and_more_bits_cost_more(net, dataflow, p, p2, q, q2, rules):
    low = emomc_energy(net, dataflow, min(p, p2), min(q, q2), rules=rules)
    high = emomc_energy(net, dataflow, max(p, p2), max(q, q2), rules=rules)
    for part, value in low.components_pj.items():
        assert value <= high.components_pj[part] * (1 + 1e-14)


@settings(max_examples=40)
@given(layer_nets, dataflows, st.integers(2, 16), st.integers(2, 16))
def test_more_activation_bits_cost_more(net, dataflow, a, a2):
    low, high = (
        emomc_energy(net, dataflow, 0.5, 8, bits, rules=STRICT).components_pj for bits in sorted((a, a2))
    )
    assert all(low[part] <= high[part] * (1 + 1e-14) for part in COMPONENTS)


@settings(max_examples=30)
@given(st.integers(0, 10**6), dataflows, shares, rule_sets)
def test_fewer_kept_filters_cost_less(random_network, random_masks, seed, dataflow, p, rules):
    net = random_network(seed)
    masks = random_masks(net, seed)
    small = emomc_energy(net, dataflow, p, 8, masks=masks, rules=rules)
    assert small.energy_pj <= emomc_energy(net, dataflow, p, 8, rules=rules).energy_pj
    assert small.macs <= count(net).macs


@settings(max_examples=40)
@given(
    st.integers(1, 9), st.integers(1, 3), st.sampled_from([1, 3]), st.integers(5, 9), dataflows, shares,
    rule_sets,
)  # fmt: skip
def test_depthwise_is_the_sum_of_its_one_channel_convolutions(
    channels, per, kernel, size, dataflow, p, rules
):
    grouped = one_conv(channels, channels * per, kernel, (size, size), groups=channels)
    single = one_conv(1, per, kernel, (size, size))
    for part, value in emomc_energy(grouped, dataflow, p, 5, rules=rules).components_pj.items():
        one = emomc_energy(single, dataflow, p, 5, rules=rules).components_pj[part]
        assert value == pytest.approx(channels * one, rel=1e-12)


def test_a_kernel_as_large_as_the_map_costs_what_a_linear_layer_does():
    """Output stationary and without padding, a 5x5 kernel on a 5x5 map is a linear layer of 25 C inputs."""
    b = NetworkBuilder("conv", (3, 5, 5))
    b.conv("layer", 7, 5)
    conv = b.build()
    b = NetworkBuilder("linear", (75,))
    b.linear("layer", 7)
    assert emomc_energy(conv, "X:Y", 0.3, 6).components_pj == pytest.approx(
        emomc_energy(b.build(), "X:Y", 0.3, 6).components_pj
    )


@settings(max_examples=30)
@given(layer_nets, shares, st.integers(2, 16))
def test_dataflows_agree_where_nothing_is_spread(net, p, q):
    """Without loops to tell them apart (one pixel, one kernel position) X:Y, FX:FY, X:FX read alike."""
    layer = weight_layers(net)[0]
    pointwise = one_conv(layer.group_inputs, layer.group_outputs, 1, (1, 1))
    found = {d: emomc_energy(pointwise, d, p, q).components_pj for d in DATAFLOWS}
    for part in ("mac", "input", "weight"):
        assert found["FX:FY"][part] == pytest.approx(found["X:FX"][part])
        assert found["X:Y"][part] == pytest.approx(found["X:FX"][part])


# -------------------------------------------------------------------------------------------------- switches


@pytest.mark.parametrize(
    ("switch", "net", "p", "q"),
    [
        ("whole_bits", one_conv(), 0.5, 7),
        ("skipped_zero_weights", one_conv(), 1.0, 7),
        ("quantised_activations", one_conv(), 0.5, 7),
        ("bias_reads", one_conv(bias=False), 0.5, 7),
        ("exact_reuse", one_conv(24, 24), 0.5, 7),
        ("exact_reuse", one_conv(40, 40), 1.0, 7),
        ("map_width", one_conv(size=(9, 9)), 0.5, 7),
        *[
            (name, one_conv(), 0.5, 7)
            for name in ("filler_zeros", "whole_index_bits", "whole_weights", "scale_bits")
        ],
    ],
)
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_a_switch_is_neutral_where_its_cause_is_absent(switch, net, p, q, dataflow):
    plain = emomc_energy(net, dataflow, p, q)
    assert emomc_energy(net, dataflow, p, q, rules=EmomcRules(**{switch: True})) == plain


def test_what_each_switch_changes():
    net = one_conv(30, 40, 3, (6, 9))
    layer = weight_layers(net)[0]
    base = {d: emomc_energy(net, d, 0.5, 7).components_pj for d in DATAFLOWS}

    def changed(dataflow, **switches):
        new = emomc_energy(net, dataflow, 0.5, 7, rules=EmomcRules(**switches)).components_pj
        return {
            part: new[part] / base[dataflow][part] for part in COMPONENTS if new[part] != base[dataflow][part]
        }

    assert changed("X:Y", skipped_zero_weights=True) == {"weight": pytest.approx(0.5)}
    assert changed("X:Y", plain_weight_word=True) == {"weight": pytest.approx(7 / 8)}
    reads = layer.weights * 8 / 16
    assert changed("X:Y", bias_reads=True) == {"weight": pytest.approx((reads + 40) / reads)}
    any_in, any_out = 1 - 0.5**40, 1 - 0.5**30
    assert changed("CI:CO", exact_reuse=True) == {
        "input": pytest.approx(any_in), "output": pytest.approx(any_out), "psum": pytest.approx(any_out)
    }  # fmt: skip
    # 54 pixels, 9 in a row: a weight is read 6 times instead of sqrt(54).
    assert changed("X:FX", map_width=True) == {"weight": pytest.approx(6 / sqrt(54))}
    assert changed("X:Y", map_width=True) == {}


def test_quantised_activations_by_hand():
    net = one_conv(2, 3, 1, (2, 2), bias=False)  # 24 MACs, 12 outputs; FX:FY writes 24 sums, 12 are outputs
    rules = EmomcRules(quantised_activations=True)
    found = emomc_energy(net, "FX:FY", 1.0, 3, 8, rules=rules).components_pj
    assert found == pytest.approx(
        {
            "mac": 24 * 0.204 * 8 / 2 * 4,
            "input": 24 * 7.28 / 2,
            "weight": 6 * 4 / 16 * 7.28,
            "output": (12 + 12 / 2) * 4.47,
            "psum": 24 * 7.28,
        }
    )


def test_a_bias_is_also_the_shift_of_a_batch_norm():
    b = NetworkBuilder("bn", (2, 4, 4))
    _ = b.conv("a", 3, 3, bias=False), b.batch_norm("bn"), b.conv("b", 3, 1, bias=False)
    assert [layer.has_bias for layer in weight_layers(b.build())] == [True, False]


def test_fractions_of_bits_are_rounded_half_to_even_or_refused():
    net = one_conv()
    for fraction, rounded in ((2.5, 2), (3.5, 4), (7.49, 7), (11.51, 12)):
        assert emomc_energy(net, "X:Y", 0.5, fraction) == emomc_energy(net, "X:Y", 0.5, rounded)
        with pytest.raises(
            ConfigError, match=r"weight_bits must be whole numbers, found .* for layer 'conv'"
        ):
            emomc_energy(net, "X:Y", 0.5, fraction, rules=STRICT)
