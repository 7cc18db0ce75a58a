"""Networks with quantised weights."""

import numpy as np
import pytest

from emoref import nn
from emoref.compress import METHODS, CompressedNetwork, emomc_values, quantize, quantize_network, slim
from emoref.errors import ConfigError, NetworkError


def net_with_everything():
    b = nn.NetworkBuilder("small", (2, 8, 8))
    b.conv("conv1", 6, 3, padding=1, bias=False)
    b.batch_norm("norm")
    b.relu("relu1")
    b.conv("depthwise", 6, 3, groups=6)
    b.flatten("flat")
    b.linear("fc", 4)
    return b.build()


@pytest.fixture
def net():
    return net_with_everything()


@pytest.fixture
def params(net, full_params):
    values = full_params(net, 3, np.float32)
    for name in ("conv1.weight", "fc.weight"):
        values[name][np.abs(values[name]) < 0.4] = 0
    return values


@pytest.mark.parametrize("method", METHODS)
def test_only_weights_change_and_zeros_stay(net, params, method):
    compressed = quantize_network(net, params, 4, method)
    rounded = compressed.params()
    assert list(rounded) == list(net.param_shapes())
    for name, value in params.items():
        if name.endswith(".weight"):
            assert len(np.unique(rounded[name])) <= 16 * (6 if "channels" in method else 1)
            assert (rounded[name][value == 0] == 0).all()
        else:
            np.testing.assert_array_equal(rounded[name], value)
            assert rounded[name] is not value
    nn.predict(net, rounded, np.ones((1, 2, 8, 8), np.float32), "reference")


def test_methods_do_what_they_say(net, params):
    weight = params["conv1.weight"]
    for method, expected in {
        "symmetric": quantize(weight, 5).dequantize(),
        "asymmetric": quantize(weight, 5, symmetric=False).dequantize(),
        "symmetric-channels": quantize(weight, 5, per_channel=True).dequantize(),
        "asymmetric-channels": quantize(weight, 5, symmetric=False, per_channel=True).dequantize(),
        "emomc": emomc_values(weight, 5),
    }.items():
        rounded = quantize_network(net, params, {"conv1": 5}, method).params()
        np.testing.assert_array_equal(rounded["conv1.weight"], expected)
        np.testing.assert_array_equal(rounded["fc.weight"], params["fc.weight"])


def test_bits_of_each_layer(net, params):
    compressed = quantize_network(net, params, {"conv1": 2, "fc": 9})
    assert compressed.tensors["conv1.weight"].bits == 2
    assert compressed.tensors["fc.weight"].bits == 9
    assert isinstance(compressed.tensors["depthwise.weight"], np.ndarray)


def test_more_bits_are_closer(net, params):
    errors = []
    for bits in range(2, 17):
        rounded = quantize_network(net, params, bits).params()["fc.weight"]
        errors.append(float(((rounded - params["fc.weight"]) ** 2).sum()))
    assert errors == sorted(errors, reverse=True)


def test_the_result_is_in_single_precision(net, params):
    compressed = quantize_network(net, {name: value.astype(np.float64) for name, value in params.items()}, 4)
    assert {value.dtype for value in compressed.params().values()} == {np.dtype(np.float32)}


def test_a_slimmed_network(net, params):
    small_net, small_params = slim(net, params, {"conv1": np.arange(6) < 4})
    compressed = quantize_network(small_net, small_params, 8)
    assert compressed.tensors["depthwise.weight"].shape == (4, 1, 3, 3)


@pytest.mark.parametrize(
    ("bits", "method", "error", "text"),
    [
        (1, "symmetric", ConfigError, "layer 'conv1': bits must be 2 to 16, got 1"),
        ({"fc": 17}, "symmetric", ConfigError, "layer 'fc': bits must be 2 to 16, got 17"),
        ({"fc": 0}, "codebook", ConfigError, "layer 'fc': bits of a codebook must be 1 to 16"),
        (
            {"fcc": 4},
            "symmetric",
            NetworkError,
            "bits of 'fcc': the layers with weights are conv1, depthwise, fc",
        ),
        ({"norm": 4}, "symmetric", NetworkError, "bits of 'norm'"),
        (4, "ternary", ConfigError, "method must be one of symmetric, asymmetric"),
    ],
)
def test_bad_settings(net, params, bits, method, error, text):
    with pytest.raises(error, match=text):
        quantize_network(net, params, bits, method)


def test_bad_parameters(net, params):
    params["fc.weight"][0, 0] = np.nan
    with pytest.raises(NetworkError, match=r"layer 'fc': weight \(0, 0\) is nan"):
        quantize_network(net, params, 4)
    with pytest.raises(NetworkError, match="is missing"):
        quantize_network(net, {}, 4)
    tensors = dict(quantize_network(net, {**params, "fc.weight": np.zeros((4, 216))}, 4).tensors)
    with pytest.raises(NetworkError, match=r'parameter "fc\.weight" must have shape'):
        CompressedNetwork(net, {**tensors, "fc.weight": quantize(np.ones((2, 2)), 4)})
    with pytest.raises(NetworkError, match=r'no parameter "x\.weight"'):
        CompressedNetwork(net, {**tensors, "x.weight": np.ones(2)})
