"""Sizes as EMOMC estimates them, the recorded numbers, and what each stricter rule adds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import networks
from emoref.compress.energy import (
    CODINGS,
    EMOMC_COMPAT,
    STRICT,
    EmomcRules,
    emomc_size,
    emomc_sizes,
    float32_size,
    weight_layers,
)
from emoref.compress.energy.sizes import _fillers
from emoref.errors import ConfigError
from emoref.nn import NetworkBuilder

# Network: (remaining ratio, bits): KiB under normal, csr and coo, computed with the authors' code.
GOLDEN = {
    ("lenet5", 1.0, 8): (60.0, 82.5, 174.2),
    ("lenet5", 0.5, 8): (60.0, 41.3, 87.1),
    ("lenet5", 0.5, 4): (30.0, 26.3, 72.1),
    ("lenet5", 0.2, 2): (15.0, 7.5, 25.8),
    ("lenet5", 0.8, 12): (90.0, 90.0, 163.3),
    ("mobilenet-v1", 1.0, 8): (3120.4, 4290.6, 10362.5),
    ("mobilenet-v1", 0.5, 8): (3120.4, 2145.3, 5181.3),
    ("mobilenet-v1", 0.5, 4): (1560.2, 1365.2, 4401.2),
    ("mobilenet-v1", 0.2, 2): (780.1, 390.1, 1604.4),
    ("mobilenet-v1", 0.8, 12): (4680.7, 4680.7, 9538.2),
    ("vgg16", 1.0, 8): (14370.7, 19759.7, 51402.0),
    ("vgg16", 0.5, 8): (14370.7, 9879.8, 25701.0),
    ("vgg16", 0.5, 4): (7185.3, 6287.2, 22108.3),
    ("vgg16", 0.2, 2): (3592.7, 1796.3, 8124.8),
    ("vgg16", 0.8, 12): (21556.0, 21556.0, 46869.9),
}
THREE_DIGITS = {
    ("lenet5", 0.2, 4): (30.015, 10.505, 28.827),
    ("vgg16", 0.2, 4): (7185.344, 2514.870, 8843.333),
}


@pytest.mark.parametrize(("case", "digits"), [(c, 1) for c in GOLDEN] + [(c, 3) for c in THREE_DIGITS])
def test_golden_sizes(case, digits):
    """To the printed digits; a size that lies exactly between two was printed as the one or the other."""
    name, p, q = case
    found = [emomc_size(networks.build(name), coding, p, q).size_kib for coding in CODINGS]
    expected = (GOLDEN if digits == 1 else THREE_DIGITS)[case]
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.5001 * 10**-digits)


def test_baseline_of_vgg16():
    """58.9 MB in 32 bits, the reference of Table III."""
    table = float32_size(networks.build("vgg16"))
    assert table.size_bits == 32 * 14_715_584
    assert table.weights == 14_715_584
    assert round(table.size_bits / 8 / 1e6, 1) == 58.9


def test_table_iii_factors():
    """Sizes of Table III against 58.9 MB give its factors, within the rounding of both."""
    megabytes = float32_size(networks.build("vgg16")).size_bits / 8 / 1e6
    for size, factor in (
        (9.8, 6.1),
        (8.0, 7.4),
        (24.5, 2.4),
        (34.7, 1.7),
        (37.9, 1.6),
        (57.3, 1.0),
        (15.1, 3.9),
    ):
        assert megabytes / size == pytest.approx(factor, abs=0.1)


def test_by_hand():
    """A convolution of 4 * 2 * 9 = 72 weights and a linear layer of 100, half of them kept, in 4 bits."""
    b = NetworkBuilder("hand", (2, 5, 5))
    _ = b.conv("conv", 4, 3, padding=1), b.flatten("flat"), b.linear("fc", 1)
    net = b.build()
    found = {c: [row.size_bits for row in emomc_size(net, c, 0.5, 4).layers] for c in CODINGS}
    assert found["normal"] == [288, 400]
    assert found["csr"] == [36 * 7, 50 * 7]
    # log2 72 = 6.17 and log2 100 = 6.64: rounded with the value's 4 bits to 10 and 11.
    assert found["coo"] == [36 * 10, 50 * 11]
    whole = emomc_size(net, "coo", 0.5, 4, rules=EmomcRules(whole_index_bits=True))
    assert [row.size_bits for row in whole.layers] == [36 * 11, 50 * 11]


def test_expected_fillers():
    """Recorded: t / (1 - t) with t = (1 - p)^8."""
    p = np.array([0.5, 0.3, 0.2, 0.1, 0.05])
    np.testing.assert_allclose(_fillers(p), [0.004, 0.061, 0.202, 0.756, 1.97], atol=6e-4, rtol=2e-3)


def test_expected_fillers_are_the_mean_over_random_masks():
    """Runs of zeros at random, counted: floor(run / 8) fillers each."""
    rng = np.random.default_rng(0)
    for p in (0.3, 0.1):
        positions = np.flatnonzero(rng.random(400_000) < p)
        runs = np.diff(positions) - 1
        assert (runs // 8).sum() / len(runs) == pytest.approx(_fillers(np.array(p)), rel=0.02)


def test_what_each_rule_adds():
    net = networks.build("lenet5")
    conv1 = weight_layers(net)[0]
    assert conv1.weights == 150

    def bits(coding, p, **switches):
        return emomc_size(net, coding, p, 4, rules=EmomcRules(**switches)).layers[0].size_bits

    assert bits("normal", 0.37, scale_bits=True) == bits("normal", 0.37) + 32
    assert bits("csr", 0.37, whole_weights=True) == 7 * (150 - 94)  # 94.5 weights go, halves to even
    assert bits("csr", 0.2, filler_zeros=True) == pytest.approx(bits("csr", 0.2) * 1.2016, rel=1e-4)
    assert bits("csr", 1.0, filler_zeros=True) == bits("csr", 1.0)


@settings(max_examples=60)
@given(
    st.integers(0, 10**6), st.sampled_from(CODINGS), st.floats(0.01, 1), st.floats(0.01, 1),
    st.integers(2, 16), st.integers(2, 16), st.sampled_from([EMOMC_COMPAT, STRICT]),
)  # fmt: skip
def test_sizes_add_up_and_grow(random_network, random_masks, seed, coding, p, p2, q, q2, rules):
    net = random_network(seed)
    low, high = (emomc_size(net, coding, f(p, p2), f(q, q2), rules=rules) for f in (min, max))
    assert sum(row.size_bits for row in high.layers) == pytest.approx(high.size_bits, rel=1e-14)
    if not rules.filler_zeros or coding != "csr":  # many fillers can cost more than weights would
        assert low.size_bits <= high.size_bits
    assert emomc_size(net, coding, p, q, masks=random_masks(net, seed)).size_bits <= emomc_size(
        net, coding, p, q
    ).size_bits * (1 + 1e-12)
    assert emomc_size(net, coding, p, q, rules=STRICT).size_bits >= (
        emomc_size(net, coding, p, q, rules=EmomcRules(whole_weights=True)).size_bits
    )


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("rules", [EMOMC_COMPAT, STRICT])
def test_a_population_gives_the_bits_of_one_by_one(coding, rules):
    net = networks.build("vgg16")
    rng = np.random.default_rng(3)
    p, q = rng.integers(20, 81, (17, 1)) / 100, rng.integers(2, 13, (17, 14))
    alone = [emomc_size(net, coding, *row, rules=rules).size_bits for row in zip(p[:, 0], q, strict=True)]
    assert emomc_sizes(net, coding, p, q, rules=rules).tolist() == alone


def test_bad_settings_are_refused():
    net = networks.build("lenet5")
    for arguments, message in (
        (("huffman",), "unknown coding 'huffman'; known: normal, csr, coo"),
        (("csr", 0.0), "remaining_ratio must be above 0"),
        (("csr", 0.5, 1), "weight_bits must be 2 to 16, found 1"),
        (("csr", 0.5, [[4], [8]]), "emomc_sizes takes more"),
    ):
        with pytest.raises(ConfigError, match=message):
            emomc_size(net, *arguments)
    with pytest.raises(ConfigError, match="whole numbers"):
        emomc_size(net, "csr", 0.5, 2.5, rules=STRICT)
    with pytest.raises(ConfigError, match="rows do not fit"):
        emomc_sizes(net, "csr", np.full((2, 1), 0.5), np.full((3, 5), 8))
