from pathlib import Path

import numpy as np
import pytest

from emoref import data, networks, nn
from emoref.errors import NetworkError


def totals(net):
    table = net.layer_table()
    return sum(row.parameters for row in table), sum(row.macs for row in table)


def test_lenet_by_hand():
    net = networks.build("lenet")
    rows = {r.name: (r.output_shape, r.parameters, r.macs) for r in net.layer_table() if r.parameters}
    assert rows == {
        "conv1": ((20, 24, 24), 20 * 25 + 20, 24 * 24 * 20 * 25),
        "conv2": ((50, 8, 8), 50 * 20 * 25 + 50, 8 * 8 * 50 * 20 * 25),
        "fc1": ((500,), 800 * 500 + 500, 800 * 500),
        "fc2": ((10,), 5010, 5000),
    }
    assert totals(net) == (431_080, 2_293_000)


def test_lenet5_has_the_published_sizes():
    net = networks.build("lenet5")
    parameters, macs = totals(net)
    assert macs == 416_520
    assert parameters - (6 + 16 + 120 + 84 + 10) == 61_470
    assert net.shapes["conv3"] == (120, 1, 1)
    padded = networks.build("lenet5", input_shape=(1, 28, 28))
    assert totals(padded) == (parameters, macs)
    assert padded.node("conv1").attrs["padding"] == 2
    other = networks.build("lenet5", activation="tanh", pool="avg", widths=(2, 3, 4, 5))
    assert {n.op for n in other.nodes} == {"conv2d", "tanh", "avg_pool2d", "flatten", "linear"}


@pytest.mark.parametrize(
    ("name", "filters", "kernel", "flat"),
    [
        ("conv1", [64], 5, 64 * 14 * 14),
        ("conv2", [64, 64], 5, 64 * 7 * 7),
        ("conv3", [64, 64, 64], 3, 64 * 7 * 7),
        ("conv4", [64, 64, 128, 128], 3, 128 * 3 * 3),
    ],
)
def test_designed_models(name, filters, kernel, flat):
    net = networks.build(name)
    convs = [n for n in net.nodes if n.op == "conv2d"]
    assert [n.attrs["filters"] for n in convs] == filters
    assert {(n.attrs["kernel"], n.attrs["padding"]) for n in convs} == {(kernel, kernel // 2)}
    assert net.shapes["flatten"] == (flat,)
    channels = [1, *filters]
    wanted = sum(o * c * kernel**2 + o for c, o in zip(channels, filters, strict=False)) + flat * 10 + 10
    assert totals(net)[0] == wanted


SMALL = {
    "mlp": {"hidden": (8,)},
    "conv1": {"widths": (3,)},
    "conv2": {"widths": (3, 3)},
    "conv3": {"widths": (3, 3, 3)},
    "conv4": {"widths": (3, 3, 3, 3)},
    "alexnet": {"widths": (3, 4, 5, 6, 4), "hidden": (9, 8)},
    "vgg16": {"widths": (4,) * 13},
    "mobilenet-v1": {"width_multiplier": 0.1},
    "resnet18": {"widths": (3, 4, 5, 6)},
    "resnet50": {"input_shape": (3, 32, 32), "widths": (2, 2, 3, 4)},
    **{name: {"widths": (3, 4, 5)} for name in ("resnet20", "resnet32", "resnet56", "resnet110")},
}


@pytest.mark.parametrize("name", networks.names())
def test_every_network_runs_and_trains_one_step(name):
    net = networks.build(name, classes=4, **SMALL.get(name, {}))
    params = net.init(0)
    images = np.random.default_rng(0).normal(size=(3, *net.input_shape)).astype(np.float32)
    assert nn.predict(net, params, images, "reference").shape == (3, 4)
    rng = np.random.default_rng(1)
    result = nn.loss_and_gradients(net, params, images, np.arange(3), backend="reference", rng=rng)
    assert set(result.grads) == set(net.trainable())
    assert all(np.isfinite(g).all() for g in result.grads.values())
    # A bias before a batch norm has no influence in training; all others have.
    idle = {f"{n.name}.bias" for n in net.nodes if any(c.op == "batch_norm" for c in net.consumers(n.name))}
    assert all(np.abs(g).max() > 0 for n, g in result.grads.items() if n not in idle)


@pytest.mark.parametrize("name", networks.names())
def test_names_and_descriptions(name):
    net = networks.build(name, classes=4, **SMALL.get(name, {}))
    assert net.name == name
    assert nn.Network.from_dict(net.to_dict()) == net


def test_slim_variants_and_colour_images():
    net = networks.build("lenet", (3, 32, 32), 100, widths=[4, 5, 6])
    assert net.param_shapes()["conv1.weight"] == (4, 3, 5, 5)
    assert net.param_shapes()["fc1.weight"] == (6, 5 * 25)
    assert net.classes == 100
    deep = networks.build("mlp", input_shape=(7,), hidden=(5, 4, 3))
    assert [n.name for n in deep.nodes if n.op == "linear"] == ["fc1", "fc2", "fc3", "fc4"]
    assert networks.build("mlp", input_shape=(5, 1, 1), hidden=()).shapes["fc1"] == (10,)


@pytest.mark.parametrize(
    ("args", "options", "text"),
    [
        (("lenet6",), {}, "no network called 'lenet6'; did you mean 'lenet"),
        (("zzz",), {}, "known: lenet, "),
        (("lenet",), {"width": (1, 2, 3)}, "no option 'width'; did you mean 'widths'"),
        (("lenet",), {"widths": (1, 2)}, "has 3 hidden layers"),
        (("lenet", (1, 12, 12)), {}, 'node "conv2"'),
        (("lenet5", (1, 30, 30)), {}, "32x32 or 28x28"),
        (("lenet5",), {"activation": "gelu"}, "activation"),
        (("lenet5",), {"pool": "min"}, "pool"),
        (("mlp",), {"hidden": (0,)}, 'node "fc1"'),
        (("lenet", (1, 28, 28), 0), {}, 'node "fc2"'),
        (("lenet", (1, 28)), {}, "wants an input of shape|input_shape"),
    ],
)
def test_errors(args, options, text):
    with pytest.raises(NetworkError, match=text):
        networks.build(*args, **options)


# trained networks that come along


def test_a_path_is_taken_as_it_is():
    assert networks.trained_file("runs/base.h5") == Path("runs/base.h5")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("resnet20-cifar10", "did you mean 'resnet20-cifar10-jpeg'"),
        ("zzz", "known: resnet20-cifar10-jpeg"),
        ("", "known: resnet20-cifar10-jpeg"),
        ("../resnet20-cifar10-jpeg", "did you mean 'resnet20-cifar10-jpeg'"),
    ],
)
def test_an_unknown_trained_network(name, text):
    with pytest.raises(NetworkError, match=text):
        networks.trained_file(f"bundled:{name}")


@pytest.mark.parametrize("name", networks.trained_names())
def test_a_trained_network_says_what_it_has_not_seen(name):
    file = networks.trained_file(f"bundled:{name}")
    net, params = nn.load(file)
    assert params["fc.weight"].dtype == np.float32
    extra = nn.load_extra(file)
    assert net.to_dict() == networks.build(net.name).to_dict()
    assert extra["held_out"] == {"data": "cifar10", "validation": 2000, "seed": 1}
    assert f"`{file.name}`" in (file.parent / "ORIGIN.md").read_text()


def test_the_trained_resnet_errs_as_its_origin_says(need_data):
    """On the JPEG copy whose figures are told, or on CIFAR-10 itself, whose images are a little better."""
    need_data("cifar10")
    net, params = nn.load(networks.trained_file("bundled:resnet20-cifar10-jpeg"))
    images, labels = data.load("cifar10", "test").arrays()
    assert nn.evaluate(net, params, images, labels).wrong <= 1135  # 1,130 where it was trained
