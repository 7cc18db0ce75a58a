import pytest

from emoref.compress import count
from emoref.errors import NetworkError
from emoref.networks import build


def test_layers():
    net = build("alexnet")
    convs = [n.attrs for n in net.nodes if n.op == "conv2d"]
    assert [a["filters"] for a in convs] == [64, 192, 384, 256, 256]
    assert {(a["kernel"], a["stride"], a["padding"]) for a in convs} == {(3, 1, 1)}
    assert [n.attrs["units"] for n in net.nodes if n.op == "linear"] == [1024, 1024, 10]
    assert [n.attrs["rate"] for n in net.nodes if n.op == "dropout"] == [0.5, 0.5]
    pools = {n.name: n.inputs for n in net.nodes if n.op == "max_pool2d"}
    assert pools == {"pool1": ("relu1",), "pool2": ("relu2",), "pool5": ("relu5",)}
    assert net.shapes["flatten"] == (256 * 16,)


def test_counts_by_hand():
    channels, pixels = [3, 64, 192, 384, 256, 256], [1024, 256, 64, 64, 64]
    convs = [9 * channels[i] * channels[i + 1] for i in range(5)]
    linear = 4096 * 1024 + 1024 * 1024 + 1024 * 10
    counted = count(build("alexnet"))
    assert counted.weights == sum(convs) + linear == 7_503_552
    assert counted.macs == sum(n * p for n, p in zip(convs, pixels, strict=True)) + linear == 172_173_312
    assert counted.filters == 1152


def test_local_response_norm_has_the_constants_of_the_paper():
    net = build("alexnet", lrn=True)
    norms = {n.name: n for n in net.nodes if n.op == "local_response_norm"}
    assert {name: n.inputs for name, n in norms.items()} == {"norm1": ("relu1",), "norm2": ("relu2",)}
    for n in norms.values():
        assert dict(n.attrs) == {"size": 5, "alpha": 5 * 1e-4, "beta": 0.75, "k": 2.0}
    assert count(net).macs == count(build("alexnet")).macs
    assert net.node("pool1").inputs == ("norm1",)


def test_errors():
    with pytest.raises(NetworkError, match="'alexnet' has 5 convolutions"):
        build("alexnet", widths=(64, 192))
