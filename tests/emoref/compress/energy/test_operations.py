"""The per-operation model in 45 nm: the published table, one network by hand, and what must hold for any."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import networks
from emoref.compress.energy import (
    float_mac_pj,
    integer_add_pj,
    integer_multiply_pj,
    operation_energy,
    operation_float_energy,
)
from emoref.errors import ConfigError
from emoref.nn import NetworkBuilder


def test_published_operations():
    assert integer_multiply_pj(8, 8) == pytest.approx(0.2, rel=1e-14)
    assert integer_multiply_pj(32, 32) == pytest.approx(3.1, rel=1e-14)
    assert [integer_add_pj(bits) for bits in (8, 16, 32)] == [0.03, 0.05, 0.1]
    assert (float_mac_pj(16), float_mac_pj(32)) == (pytest.approx(1.5), pytest.approx(4.6))


def test_between_the_published_operations():
    """The rule of thumb 0.0031 pJ a bit squared holds within 5 % from 2 x 2 to 32 x 32 bits."""
    for first in (2, 3, 4, 8, 12, 16, 32):
        for second in (2, 3, 4, 8, 12, 16, 32):
            assert integer_multiply_pj(first, second) == pytest.approx(0.0031 * first * second, rel=0.05)
    assert integer_multiply_pj(4, 16) == pytest.approx(integer_multiply_pj(8, 8))
    assert integer_add_pj(24) == pytest.approx(0.075)
    assert integer_add_pj(4) == pytest.approx(0.015)
    assert integer_add_pj(64) == pytest.approx(0.2)


def test_by_hand():
    """2 channels of 2x2 pixels, 3 filters of 1x1: 24 MACs, 8 inputs, 6 weights, 12 outputs."""
    b = NetworkBuilder("hand", (2, 2, 2))
    b.conv("conv", 3, 1)
    found = operation_energy(b.build(), 0.5, 8, 8)
    assert found.components_pj == pytest.approx(
        {
            "mac": 12 * (0.2 + 0.1),
            "input": 8 * 8 * 0.15625 + 12 * 8 * 0.03125,
            "weight": 3 * 8 * 20 + 12 * 8 * 0.03125,
            "output": 12 * 8 * 0.15625,
            "psum": 12 * 64 * 0.03125,
        }
    )
    on_chip = operation_energy(b.build(), 0.5, 8, 8, weights_in="sram").components_pj
    assert on_chip["weight"] == pytest.approx(3 * 8 * 0.15625 + 12 * 8 * 0.03125)
    full = operation_float_energy(b.build()).components_pj
    assert full["mac"] == pytest.approx(24 * 4.6)
    assert full["weight"] == pytest.approx(6 * 640 + 24)
    assert full["psum"] == pytest.approx(24 * 2)


def test_dram_costs_128_times_on_chip_memory():
    """What EIE is about: 640 pJ against 5 pJ for 32 bits."""
    net = networks.build("lenet5")
    moved = {
        home: operation_energy(net, weights_in=home).components_pj["weight"] for home in ("dram", "sram")
    }
    registers = 416_520 * 8 * 0.03125
    assert (moved["dram"] - registers) / (moved["sram"] - registers) == pytest.approx(128)


@settings(max_examples=40)
@given(
    st.integers(0, 10**6), st.floats(0.01, 1), st.floats(0.01, 1), *[st.integers(2, 16)] * 4,
    st.sampled_from(["dram", "sram"]),
)  # fmt: skip
def test_more_of_anything_costs_more(random_network, random_masks, seed, p, p2, q, q2, a, a2, home):
    net = random_network(seed)
    low, high = (operation_energy(net, f(p, p2), f(q, q2), f(a, a2), weights_in=home) for f in (min, max))
    for part, value in low.components_pj.items():
        assert value <= high.components_pj[part] * (1 + 1e-12)
    assert sum(row.energy_pj for row in high.layers) == pytest.approx(high.energy_pj, rel=1e-13)
    slim = operation_energy(net, p, q, a, masks=random_masks(net, seed), weights_in=home)
    assert slim.energy_pj <= operation_energy(net, p, q, a, weights_in=home).energy_pj
    assert high.energy_pj < operation_float_energy(net, weights_in=home).energy_pj
    assert (low.model, low.dataflow) == ("operations", "")


def test_depthwise_is_the_sum_of_its_one_channel_convolutions():
    def conv(channels):
        b = NetworkBuilder("depthwise", (channels, 6, 6))
        b.conv("conv", 2 * channels, 3, padding=1, groups=channels)
        return operation_energy(b.build(), 0.4, 5, 7)

    assert conv(7).energy_pj == pytest.approx(7 * conv(1).energy_pj, rel=1e-13)


def test_bad_settings_are_refused():
    net = networks.build("lenet5")
    for call, message in (
        (lambda: integer_multiply_pj(0, 8), "bits of a factor must be above 0, found 0 and 8"),
        (lambda: integer_add_pj(-1), "bits of a sum must be above 0, found -1"),
        (lambda: float_mac_pj(8), "floating-point numbers have 16 or 32 bits here, not 8"),
        (
            lambda: operation_energy(net, weights_in="ram"),
            "weights_in must be one of dram, sram, found 'ram'",
        ),
        (lambda: operation_energy(net, weight_bits=32), "weight_bits must be 2 to 16, found 32"),
        (lambda: operation_energy(net, weight_bits=[[8], [4]]), "one network has one number for each layer"),
    ):
        with pytest.raises(ConfigError, match=message):
            call()
