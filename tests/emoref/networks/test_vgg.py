import pytest

from emoref.compress import count
from emoref.errors import NetworkError
from emoref.networks import build


def test_counts_for_small_images():
    counted = count(build("vgg16"))
    assert counted.weights == 14_715_584
    assert counted.macs == 313_201_664
    assert counted.params == 14_728_266
    assert sum(1 for layer in counted.layers if layer.weights) == 14
    assert counted.filters == 4224


def test_counts_for_large_images():
    net = build("vgg16", (3, 224, 224), 1000)
    assert count(net).params == 138_365_992
    assert count(build("vgg16", (3, 224, 224), 1000, batch_norm=False)).params == 138_357_544
    assert [n.attrs["units"] for n in net.nodes if n.op == "linear"] == [4096, 4096, 1000]
    assert sum(n.op == "dropout" for n in net.nodes) == 2
    assert net.shapes["pool5"] == (512, 7, 7)


def test_options():
    net = build("vgg16", (1, 64, 64), 5, widths=range(1, 14), hidden=(7,), batch_norm=False, dropout=0.1)
    assert [n.attrs["filters"] for n in net.nodes if n.op == "conv2d"] == list(range(1, 14))
    assert [n.attrs["units"] for n in net.nodes if n.op == "linear"] == [7, 5]
    assert net.shapes["flatten"] == (13 * 4,)
    assert net.node("dropout1").attrs["rate"] == 0.1
    assert not any(n.op == "batch_norm" for n in net.nodes)


def test_errors():
    with pytest.raises(NetworkError, match="'vgg16' has 13 convolutions"):
        build("vgg16", widths=(64, 64))
    with pytest.raises(NetworkError, match='node "pool5"'):
        build("vgg16", (3, 16, 16))
