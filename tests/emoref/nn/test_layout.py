"""In which layout networks train, and that it is the same training."""

import numpy as np

from emoref import nn
from emoref.compress import prunable_layers, slim_network
from emoref.networks import build
from emoref.nn.layout import MOST_PADDING, training_backend, training_layout
from emoref_kernels import load_backend
from emoref_kernels.cpu.simd import LANES


def plain(channels=LANES, filters=LANES, groups=1):
    b = nn.NetworkBuilder("plain", (channels, 6, 6))
    b.conv("conv1", filters, 3, padding=1, groups=groups)
    b.relu("relu")
    b.conv("conv2", filters, 3, padding=1)
    b.global_avg_pool("mean")
    b.linear("fc", 4)
    return b.build()


def residual():
    """A network with every operation that has a kernel on maps, and some that have none."""
    b = nn.NetworkBuilder("residual", (3, 12, 12))
    b.conv("stem", LANES, 3, padding=1, bias=False)
    b.batch_norm("norm1")
    trunk = b.relu("relu1")
    b.conv("winograd", LANES, 3, padding=1)
    b.batch_norm("norm2")
    b.add("sum", b.last, trunk)
    joined = b.relu("relu2")
    b.max_pool("pool", 2)
    b.conv("depthwise", LANES, 3, padding=1, groups=LANES, bias=False)
    b.tanh("tanh")
    b.local_response_norm("lrn", size=3)
    left = b.dropout("drop", 0.2)
    right = b.conv("strided", 2 * LANES, 1, stride=2, source=joined)
    b.concat("both", left, right)
    b.pad_channels("pad", before=1, after=2)
    b.avg_pool("avg", 3, stride=2, padding=1)
    b.conv("mix", 2 * LANES, 3, stride=2, padding=1)
    b.flatten("flat")
    b.linear("fc", 5)
    return b.build()


def step(net, layout, monkeypatch, keep=()):
    """Return the result of a pass in training mode, and all gradients."""
    monkeypatch.setattr(
        "emoref.nn.executor.training_backend", lambda net, k: load_backend("cpu", k.mode, layout)
    )
    rng = np.random.default_rng(0)
    images = rng.standard_normal((5, *net.input_shape)).astype(np.float32)
    dy = rng.standard_normal((5, net.classes)).astype(np.float32)
    tape = nn.forward(net, net.init(0), images, rng=np.random.default_rng(1), keep=keep)
    return tape, nn.backward(tape, dy, nodes=["input", *keep])


def test_both_layouts_give_the_same_step(monkeypatch):
    net = residual()
    planes, plane_grads = step(net, "planes", monkeypatch, keep=["sum", "relu2"])
    maps, map_grads = step(net, "channels-last", monkeypatch, keep=["sum", "relu2"])
    assert set(map_grads) == set(plane_grads) == {*net.trainable(), "input", "sum", "relu2"}
    found = {**map_grads, **maps.activations, **maps.buffer_updates, "output": maps.output}
    wanted = {**plane_grads, **planes.activations, **planes.buffer_updates, "output": planes.output}
    for name, array in found.items():
        assert isinstance(array, np.ndarray), name
        assert array.shape == wanted[name].shape
        assert np.abs(array - wanted[name]).max() <= 2e-5 * np.abs(wanted[name]).max() + 1e-6, name


def test_a_network_that_ends_in_maps_gives_planes(monkeypatch):
    b = nn.NetworkBuilder("stage", (LANES, 6, 6))
    b.conv("conv", LANES, 3, padding=1)
    net = b.build()
    x = np.random.default_rng(0).standard_normal((3, LANES, 6, 6)).astype(np.float32)
    results = []
    for layout in ("planes", "channels-last"):
        monkeypatch.setattr(
            "emoref.nn.executor.training_backend",
            lambda net, k, layout=layout: load_backend("cpu", layout=layout),
        )
        tape = nn.forward(net, net.init(0), x)
        grads = nn.backward(tape, np.ones_like(tape.output), nodes=["input"])
        results.append((tape.output, grads["input"], grads["conv.weight"]))
    for planes, maps in zip(*results, strict=True):
        assert type(maps) is np.ndarray
        np.testing.assert_allclose(maps, planes, rtol=1e-4, atol=1e-5)


def test_padding_decides():
    assert training_layout(plain()).name == "channels-last"
    assert training_layout(plain()).padding == 1.0
    wasteful = training_layout(plain(filters=LANES + 1))
    assert wasteful.name == "planes"
    assert wasteful.padding > MOST_PADDING
    assert f"vectors of {LANES} channels" in wasteful.reason


def test_a_slimmed_network_stays_in_maps():
    """Half of its filters are gone, as many in each layer as chance wants."""
    net = build("resnet20", input_shape=(3, 32, 32))
    rng = np.random.default_rng(0)
    inner = {name: size for name, size in prunable_layers(net).items() if name.endswith("conv1")}
    slim = slim_network(
        net, {name: rng.permutation(size) < rng.integers(3, size) for name, size in inner.items()}
    )
    assert training_layout(slim).padding < MOST_PADDING
    assert training_layout(slim).name == "channels-last"


def test_groups_and_networks_without_convolution_stay_in_planes():
    assert '"conv1" has 2 groups' in training_layout(plain(groups=2)).reason
    assert training_layout(plain(groups=LANES)).name == "channels-last"
    assert training_layout(build("mlp", input_shape=(4,), classes=2)).name == "planes"


def test_five_by_five_filters_stay_in_planes():
    b = nn.NetworkBuilder("five", (LANES, 9, 9))
    b.conv("conv", LANES, 5)
    b.flatten("flat")
    b.linear("fc", 4)
    layout = training_layout(b.build())
    assert (layout.name, layout.padding) == ("planes", 1.0)
    assert "5x5" in layout.reason


def test_other_back_ends_stay_as_they_are():
    reference, exact = load_backend("reference"), load_backend("cpu", "exact")
    assert training_backend(plain(), reference) is reference
    chosen = training_backend(plain(), exact)
    assert (chosen.mode, chosen.layout) == ("exact", "channels-last")


def test_training_on_maps_follows_the_reference():
    net = plain()
    rng = np.random.default_rng(0)
    images = rng.standard_normal((24, *net.input_shape)).astype(np.float32)
    data = nn.ArrayData(images, rng.integers(0, 4, 24))
    config = nn.TrainConfig(epochs=2, batch_size=8, lr=0.05)
    ends = {}
    for backend in ("cpu", "reference"):
        params = net.init(0)
        history = nn.fit(net, params, data, config, backend=backend)
        ends[backend] = (params, history.train_loss)
    np.testing.assert_allclose(*(ends[backend][1] for backend in ends), rtol=1e-4)
    for name, value in ends["cpu"][0].items():
        np.testing.assert_allclose(value, ends["reference"][0][name], rtol=1e-3, atol=1e-5)
