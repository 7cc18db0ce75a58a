"""Training through the rounding of the weights."""

import numpy as np
import pytest

from emoref import nn
from emoref.compress import quantize_network, straight_through_backend
from emoref.errors import ConfigError, NetworkError
from emoref.nn.layout import training_layout


@pytest.fixture
def net():
    b = nn.NetworkBuilder("small", (1, 8, 8))
    b.conv("conv", 4, 3, padding=1)
    b.batch_norm("norm")
    b.relu("relu")
    b.max_pool("pool", 2)
    b.flatten("flat")
    b.linear("fc", 3)
    return b.build()


def task(count=60, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(count, 1, 8, 8)).astype(np.float32)
    labels = rng.integers(3, size=count)
    images[labels == 0, :, 2] += 2
    images[labels == 1, :, :, 5] += 2
    return images, labels


def test_training_on_the_cpu_takes_the_steps_of_the_rounded_weights():
    """One step of a network that the CPU back end would train in channels-last maps."""
    b = nn.NetworkBuilder("wide", (16, 6, 6))
    b.conv("conv", 16, 3, padding=1)
    b.relu("relu")
    b.flatten("flat")
    b.linear("fc", 3)
    net = b.build()
    assert training_layout(net).name == "channels-last"
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(8, 16, 6, 6)).astype(np.float32), rng.integers(3, size=8)
    params = net.init(0)
    rounded = quantize_network(net, params, 3).params()
    slope = nn.loss_and_gradients(net, rounded, images, labels, backend="reference").grads
    before = {name: value.copy() for name, value in params.items()}
    k = straight_through_backend(net, params, 3, backend="cpu")
    config = nn.TrainConfig(epochs=1, batch_size=8, lr=0.5, momentum=0.0, weight_decay=0.0)
    nn.fit(net, params, nn.ArrayData(images, labels), config, backend=k)
    for name, value in params.items():
        np.testing.assert_allclose(value, before[name] - 0.5 * slope[name], atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"symmetric": False}, {"per_channel": True}])
def test_it_computes_with_the_rounded_weights(net, settings):
    params = net.init(0)
    k = straight_through_backend(net, params, 3, backend="reference", **settings)
    assert k.name == "reference+straight-through"
    assert repr(k) == "Backend('reference+straight-through')"
    method = "asymmetric" if settings.get("symmetric") is False else "symmetric"
    method += "-channels" if settings.get("per_channel") else ""
    rounded = quantize_network(net, params, 3, method).params()
    images, labels = task(10)
    np.testing.assert_array_equal(
        nn.predict(net, params, images, k), nn.predict(net, rounded, images, "reference")
    )
    through = nn.loss_and_gradients(net, params, images, labels, backend=k)
    plain = nn.loss_and_gradients(net, rounded, images, labels, backend="reference")
    assert through.loss == plain.loss
    for name, gradient in plain.grads.items():
        np.testing.assert_array_equal(through.grads[name], gradient)


def test_only_the_named_layers_are_rounded(net):
    params = net.init(0)
    k = straight_through_backend(net, params, {"fc": 2}, backend="reference")
    rounded = quantize_network(net, params, {"fc": 2}).params()
    images, _ = task(5)
    np.testing.assert_array_equal(
        nn.predict(net, params, images, k), nn.predict(net, rounded, images, "reference")
    )
    assert (rounded["conv.weight"] == params["conv.weight"]).all()


def test_fine_tuning_mends_what_rounding_broke(net):
    """Two bits: -1, 0 and 1 times a scale. Training must bring back most of the accuracy."""
    params = net.init(1)
    data = nn.ArrayData(*task(150))
    test = task(300, seed=9)
    nn.fit(net, params, data, nn.TrainConfig(epochs=8, batch_size=15, lr=0.05), backend="reference")
    exact = nn.evaluate(net, params, *test, "reference").wrong
    before = nn.evaluate(net, quantize_network(net, params, 2).params(), *test, "reference").wrong
    k = straight_through_backend(net, params, 2, backend="reference")
    nn.fit(net, params, data, nn.TrainConfig(epochs=8, batch_size=15, lr=0.02), backend=k)
    after = nn.evaluate(net, quantize_network(net, params, 2).params(), *test, "reference").wrong
    assert exact < 20
    assert after < before
    assert after < exact + 15
    assert len(np.unique(params["fc.weight"])) > 100, "the weights themselves stay real numbers"


def test_a_diverged_training_says_so(net):
    from emoref.errors import TrainingDivergedError

    params = net.init(1)
    k = straight_through_backend(net, params, 4, backend="reference")
    config = nn.TrainConfig(epochs=3, batch_size=10, lr=1e20)
    with pytest.raises(TrainingDivergedError):
        nn.fit(net, params, nn.ArrayData(*task()), config, backend=k)


def test_bad_settings(net):
    params = net.init(0)
    with pytest.raises(ConfigError, match="bits of layer 'conv' must be 2 to 16, got 1"):
        straight_through_backend(net, params, 1)
    with pytest.raises(NetworkError, match="bits of 'norm': the layers with weights are conv, fc"):
        straight_through_backend(net, params, {"norm": 4})
