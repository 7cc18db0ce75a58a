"""How the EMOMC estimator takes its settings: one network or many, by name or position, and bad input."""

import numpy as np
import pytest

from emoref import networks
from emoref.compress import slim_network
from emoref.compress.energy import (
    DATAFLOWS,
    EMOMC_COMPAT,
    STRICT,
    emomc_accesses,
    emomc_energies,
    emomc_energy,
    emomc_float32_energy,
    weight_layers,
)
from emoref.errors import ConfigError, NetworkError, ShapeError
from emoref.nn import NetworkBuilder


@pytest.mark.parametrize("rules", [EMOMC_COMPAT, STRICT])
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_a_population_gives_the_bits_of_one_by_one(dataflow, rules):
    net = networks.build("mobilenet-v1")
    rng = np.random.default_rng(3)
    p, q = rng.integers(20, 81, (17, 1)) / 100, rng.integers(2, 13, (17, 28))
    energies = emomc_energies(net, dataflow, p, q, rules=rules)
    alone = [emomc_energy(net, dataflow, *row, rules=rules).energy_pj for row in zip(p[:, 0], q, strict=True)]
    assert energies.tolist() == alone
    assert emomc_energies(net, dataflow, 0.5, q, rules=rules).shape == (17,)
    assert emomc_energies(net, dataflow, 0.5, 8).shape == ()


def test_settings_by_name_and_by_position_agree():
    net = networks.build("lenet5")
    names = [layer.name for layer in weight_layers(net)]
    p, q = [0.2, 0.4, 0.6, 0.8, 1.0], [2, 4, 6, 8, 10]
    by_name = emomc_energy(net, "X:FX", dict(zip(names, p, strict=True)), dict(zip(names, q, strict=True)))
    assert by_name == emomc_energy(net, "X:FX", p, q)


def test_masks_give_the_slimmed_network(lenet, random_masks):
    masks = random_masks(lenet, 5)
    assert emomc_energy(lenet, "CI:CO", 0.5, 6, masks=masks) == emomc_energy(
        slim_network(lenet, masks), "CI:CO", 0.5, 6
    )


def test_lenet5_for_28_pixels_costs_what_it_costs_for_32():
    """Its first layer pads the images to the 32 pixels of the paper."""
    for dataflow in DATAFLOWS:
        small, large = (
            emomc_energy(networks.build("lenet5", input_shape=(1, n, n)), dataflow, 0.5, 4) for n in (28, 32)
        )
        assert small == large


def test_accesses_of_a_linear_layer_do_not_depend_on_the_dataflow():
    layer = weight_layers(networks.build("lenet5"))[-1]
    assert len({emomc_accesses(layer, dataflow) for dataflow in DATAFLOWS}) == 1


# ------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(dataflow="X:Z"), r"unknown dataflow 'X:Z'; known: X:Y, CI:CO, FX:FY, X:FX"),
        (dict(remaining_ratio=0), "remaining_ratio must be above 0 and at most 1, found 0 for layer 'conv1'"),
        (dict(remaining_ratio=[0.5, 0.5, 1.5, 1, 1]), "found 1.5 for layer 'conv3'"),
        (dict(remaining_ratio={"conv1": 0.5}), "remaining_ratio: nothing is given for layer 'conv2'"),
        (
            dict(remaining_ratio={"conv9": 0.5}),
            "remaining_ratio: no layer is called 'conv9'; did you mean 'conv",
        ),
        (dict(weight_bits=1), "weight_bits must be 2 to 16, found 1 for layer 'conv1'"),
        (dict(weight_bits=17), "weight_bits must be 2 to 16, found 17"),
        (dict(weight_bits=[8, 8]), "weight_bits: 2 numbers for the 5 layers"),
        (dict(weight_bits="eight"), "weight_bits: expected a number, or one for each layer, found 'eight'"),
        (dict(weight_bits=float("nan")), "weight_bits: must be finite, found nan"),
        (dict(weight_bits=np.full((2, 5), 8)), "emomc_energies takes more"),
        (dict(activation_bits=8), "activation_bits: the authors' estimator .* quantised_activations"),
        (dict(activation_bits=1, rules=STRICT), "activation_bits must be 2 to 16, found 1"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    arguments = {"dataflow": "X:Y", **arguments}
    with pytest.raises(ConfigError, match=message):
        emomc_energy(networks.build("lenet5"), **arguments)


def test_rows_must_fit_together():
    with pytest.raises(
        ConfigError, match=r"rows do not fit together: remaining_ratio \(3,\), weight_bits \(2,\)"
    ):
        emomc_energies(networks.build("lenet5"), "X:Y", np.full((3, 1), 0.5), np.full((2, 5), 8))


def test_bad_networks_and_masks_are_refused(lenet):
    b = NetworkBuilder("empty", (3,))
    b.relu("relu")
    with pytest.raises(NetworkError, match='network "empty" has no convolution and no linear layer'):
        emomc_energy(b.build(), "X:Y")
    with pytest.raises(ShapeError, match="conv1"):
        emomc_energy(lenet, "X:Y", masks={"conv1": np.ones(3, bool)})
    with pytest.raises(ConfigError, match="mantissa_bits must be above 0, found 0"):
        emomc_float32_energy(lenet, "X:Y", mantissa_bits=0)
    with pytest.raises(ConfigError, match="unknown dataflow"):
        emomc_float32_energy(lenet, "x:y")
