import json
import pickle

import numpy as np
import pytest

from emoref.errors import NetworkError
from emoref.nn import Network, NetworkBuilder, Node
from emoref.nn.graph import FORMAT_VERSION
from emoref.nn.ops import OPS


def branched() -> NetworkBuilder:
    """Input -> conv -> (a, b) -> add and concat -> pool -> linear."""
    net = NetworkBuilder("branched", (3, 8, 8))
    stem = net.conv("stem", 4, 3, padding=1, bias=False)
    net.batch_norm("norm")
    start = net.relu("relu")
    a = net.conv("a", 4, 3, padding=1, groups=4, source=start)
    net.add("sum", a, start)
    net.concat("both", "sum", stem)
    net.avg_pool("down", 2)
    net.global_avg_pool("gap")
    net.dropout("drop", 0.25)
    net.linear("fc", 5)
    return net


def test_shapes_of_every_node():
    net = branched().build()
    assert net.shapes == {
        "input": (3, 8, 8),
        "stem": (4, 8, 8),
        "norm": (4, 8, 8),
        "relu": (4, 8, 8),
        "a": (4, 8, 8),
        "sum": (4, 8, 8),
        "both": (8, 8, 8),
        "down": (8, 4, 4),
        "gap": (8,),
        "drop": (8,),
        "fc": (5,),
    }
    assert net.classes == 5
    assert [n.name for n in net.consumers("relu")] == ["a", "sum"]
    assert net.consumers("fc") == ()


def test_parameters_and_table_by_hand():
    net = branched().build()
    assert net.param_shapes() == {
        "stem.weight": (4, 3, 3, 3),
        "norm.gamma": (4,),
        "norm.beta": (4,),
        "norm.running_mean": (4,),
        "norm.running_var": (4,),
        "a.weight": (4, 1, 3, 3),
        "a.bias": (4,),
        "fc.weight": (5, 8),
        "fc.bias": (5,),
    }
    assert [n for n in net.param_shapes() if n not in net.trainable()] == [
        "norm.running_mean",
        "norm.running_var",
    ]
    rows = {r.name: (r.op, r.output_shape, r.parameters, r.macs) for r in net.layer_table()}
    assert rows["stem"] == ("conv2d", (4, 8, 8), 108, 64 * 4 * 27)
    assert rows["norm"] == ("batch_norm", (4, 8, 8), 8, 0)
    assert rows["a"] == ("conv2d", (4, 8, 8), 40, 64 * 4 * 9)
    assert rows["fc"] == ("linear", (5,), 45, 40)
    assert sum(r.macs for r in net.layer_table()) == 6912 + 2304 + 40


def test_json_round_trip_equality_hash_pickle():
    net = branched().build()
    again = Network.from_dict(json.loads(json.dumps(net.to_dict())))
    assert again == net
    assert hash(again) == hash(net)
    assert pickle.loads(pickle.dumps(net)) == net
    wider = NetworkBuilder("branched", (3, 8, 8))
    wider.conv("stem", 5, 3)
    assert wider.build() != net


def test_defaults_are_filled_in_and_attributes_are_immutable():
    short = Node("c", "conv2d", ("input",), {"kernel": np.int64(3), "filters": 2})
    long = Node(
        "c",
        "conv2d",
        ("input",),
        {"filters": 2, "kernel": 3, "stride": 1, "padding": 0, "groups": 1, "bias": True},
    )
    assert short == long
    assert hash(short) == hash(long)
    assert type(short.attrs["kernel"]) is int
    with pytest.raises(TypeError):
        short.attrs["kernel"] = 5
    assert Node("p", "max_pool2d", ("input",), {"kernel": 3}).attrs["stride"] == 3


def build(*calls, shape=(3, 8, 8)):
    net = NetworkBuilder("n", shape)
    for method, args, kwargs in calls:
        getattr(net, method)(*args, **kwargs)
    return net.build()


@pytest.mark.parametrize(
    ("calls", "text"),
    [
        ([("linear", ("fc1", 10), {})], r'node "fc1" \(linear\): wants a flat input .* got \(3, 8, 8\)'),
        ([("conv", ("c", 4, 9), {})], r'node "c" \(conv2d\): a 9x9 window .* \(3, 8, 8\)'),
        ([("conv", ("c", 4, 3), {"groups": 2})], r'node "c".*3 input channels .* 2 groups'),
        ([("conv", ("c", 4, 3), {"groups": 3})], r'node "c".*4 filters .* 3 groups'),
        ([("max_pool", ("p", 3), {"padding": 2})], r'node "p".*padding 2 is more than half'),
        (
            [("conv", ("a", 4, 1), {}), ("conv", ("b", 5, 1), {}), ("add", ("s", "a", "b"), {})],
            r'node "s" \(add\): .*"a" \(4, 8, 8\) and "b" \(5, 8, 8\)',
        ),
        (
            [("conv", ("a", 4, 1), {}), ("conv", ("b", 5, 2), {}), ("concat", ("s", "a", "b"), {})],
            r'node "s" \(concat\): .*"a" \(4, 8, 8\) and "b" \(5, 7, 7\)',
        ),
        ([("relu", ("r",), {}), ("relu", ("r",), {})], 'two nodes are called "r"'),
        ([("relu", ("relu1",), {}), ("tanh", ("t",), {"source": "relu2"})], "did you mean 'relu1'"),
        ([("relu", ("a",), {"source": "b"}), ("relu", ("b",), {})], "topological order"),
        ([("relu", ("a",), {}), ("relu", ("b",), {"source": "input"})], 'node "a": its result is never used'),
        ([("node", ("a", "conv3d"), {})], "unknown operation 'conv3d'; did you mean 'conv2d'"),
        ([("add", ("s", "input"), {})], r"add takes at least 2 input\(s\), got 1"),
        ([("node", ("r", "relu", ("input", "input")), {})], r"relu takes 1 input\(s\), got 2"),
        ([("conv", ("a.b", 4, 1), {})], "'a.b' must consist of letters"),
        ([("relu", ("input",), {})], 'not be "input"'),
        ([("conv", ("c", 0, 1), {})], "attribute filters must be at least 1, got 0"),
        ([("conv", ("c", 2.5, 1), {})], "attribute filters must be of type int, got 2.5"),
        ([("conv", ("c", True, 1), {})], "attribute filters must be of type int, got True"),
        ([("conv", ("c", 4, 1), {"bias": 1})], "attribute bias must be of type bool"),
        ([("dropout", ("d", 1.0), {})], "attribute rate must be at least 0 and below 1"),
        ([("batch_norm", ("d",), {"eps": float("nan")})], "attribute eps must be"),
        ([("pad_channels", ("p",), {"after": -1})], "attribute after must be at least 0, got -1"),
        ([("local_response_norm", ("l",), {"size": 4})], "attribute size must be odd, got 4"),
        (
            [("global_avg_pool", ("g",), {}), ("local_response_norm", ("l",), {})],
            r'node "l".*\(channels, height, width\), got \(3,\)',
        ),
        ([("node", ("r", "relu"), {"slope": 1})], "unknown attribute 'slope'; allowed: none"),
        ([("node", ("c", "conv2d"), {"filters": 3})], "attribute kernel is missing"),
        ([], "has no nodes"),
    ],
)
def test_errors_name_the_node_and_what_is_wrong(calls, text):
    with pytest.raises(NetworkError, match=text):
        build(*calls)


@pytest.mark.parametrize("shape", [(), (3, 8), (3, 0, 8), (3, 8.0, 8), (True,), (3, 8, 8, 8)])
def test_impossible_input_shapes(shape):
    with pytest.raises(NetworkError, match="input_shape"):
        build(("relu", ("r",), {}), shape=shape)


def test_classes_of_an_image_output_and_unknown_nodes():
    net = build(("relu", ("relu1",), {}))
    with pytest.raises(NetworkError, match='node "relu1"'):
        _ = net.classes
    with pytest.raises(NetworkError, match="did you mean"):
        net.node("relu2")
    with pytest.raises(NetworkError, match="no node"):
        net.consumers("x")


def damaged(**changes):
    return {**branched().build().to_dict(), **changes}


@pytest.mark.parametrize(
    "data",
    [
        [],
        {},
        damaged(format="onnx"),
        damaged(version=FORMAT_VERSION + 1),
        damaged(version=True),
        damaged(nodes=[{"name": "a"}]),
        damaged(nodes=3),
        damaged(nodes=[1]),
        damaged(input_shape=None),
        damaged(input_shape=["a", 1, 1]),
        damaged(nodes=[{"name": "a", "op": "relu", "inputs": 3, "attrs": {}}]),
        damaged(nodes=[{"name": "a", "op": "relu", "inputs": ["input"], "attrs": 5}]),
    ],
)
def test_damaged_descriptions(data):
    with pytest.raises(NetworkError):
        Network.from_dict(data)


def test_init_is_he_normal_and_independent_of_other_nodes():
    net = NetworkBuilder("n", (16, 8, 8))
    net.conv("conv", 64, 3)
    net.batch_norm("norm")
    net.flatten("flat")
    net.linear("fc", 50)
    params = net.build().init(7)
    assert {v.dtype for v in params.values()} == {np.dtype(np.float32)}
    for name, fan_in in (("conv.weight", 144), ("fc.weight", 64 * 36)):
        assert params[name].std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.03)
        assert abs(params[name].mean()) < 5 * np.sqrt(2 / fan_in / params[name].size)
    assert not params["conv.bias"].any()
    assert (params["norm.gamma"] == 1).all()
    assert (params["norm.running_var"] == 1).all()
    assert not params["norm.beta"].any()

    net.nodes.insert(1, Node("extra", "conv2d", ("conv",), {"filters": 64, "kernel": 1}))
    net.nodes[2] = Node("norm", "batch_norm", ("extra",), {})
    with_extra = net.build().init(7)
    assert all((with_extra[name] == value).all() for name, value in params.items())
    other = net.build().init(8)
    assert (other["conv.weight"] != with_extra["conv.weight"]).all()


def test_every_operation_of_the_table_has_a_builder_method():
    net = NetworkBuilder("all", (2, 8, 8))
    net.conv("conv", 4, 3)
    net.batch_norm("norm")
    net.relu("relu")
    net.tanh("tanh")
    net.max_pool("max", 2)
    net.avg_pool("avg", 2, stride=1)
    net.add("add", "avg", "avg")
    net.concat("concat", "add", "avg")
    net.pad_channels("pad", before=1, after=2)
    net.local_response_norm("lrn", size=3)
    net.global_avg_pool("gap")
    net.dropout("drop")
    net.flatten("flat")
    net.linear("fc", 3)
    assert {n.op for n in net.build().nodes} == set(OPS)
