import numpy as np
import pytest

from emoref.compress import channel_groups, channel_map, prunable_layers
from emoref.errors import NetworkError
from emoref.nn import NetworkBuilder


def test_lenet_layers_and_consumers(lenet):
    assert prunable_layers(lenet) == {"conv1": 20, "conv2": 50}
    assert prunable_layers(lenet, linear=True) == {"conv1": 20, "conv2": 50, "fc1": 500}
    one, two = channel_groups(lenet)
    assert (one.layers, one.size, one.consumers, one.carriers) == (("conv1",), 20, ("conv2",), ())
    assert (two.layers, two.size, two.consumers) == (("conv2",), 50, ("fc1",))
    assert [g.layers for g in channel_groups(lenet, linear=True)] == [("conv1",), ("conv2",), ("fc1",)]


def test_flatten_repeats_each_channel_for_its_pixels(lenet):
    ids = channel_map(lenet).values
    assert np.array_equal(ids["flat"], np.repeat(ids["conv2"], 4 * 4))


def test_addition_ties_filters_one_to_one():
    b = NetworkBuilder("residual", (3, 8, 8))
    b.conv("a", 4, 3, padding=1)
    b.batch_norm("bn")
    b.relu("r")
    b.conv("b", 6, 3, padding=1)
    b.conv("c", 4, 3, padding=1)
    b.add("sum", "c", "r")
    b.flatten("flat")
    b.linear("fc", 2)
    tied, free = channel_groups(b.build())
    assert tied.layers == ("a", "c")
    assert tied.members == ("a", "c", "bn")
    assert tied.size == 4
    assert np.array_equal(tied.index["a"], tied.index["c"])
    assert tied.consumers == ("b", "fc")
    assert free.layers == ("b",)
    assert free.consumers == ("c",)


def test_concat_joins_without_tying():
    b = NetworkBuilder("concat", (3, 8, 8))
    b.conv("a", 4, 1, source="input")
    b.conv("b", 5, 1, source="input")
    b.concat("cat", "a", "b")
    b.batch_norm("bn")
    b.conv("c", 3, 1)
    b.global_avg_pool("gap")
    b.linear("fc", 2)
    net = b.build()
    groups = channel_groups(net)
    assert [g.layers for g in groups] == [("a",), ("b",), ("c",)]
    assert groups[0].carriers == groups[1].carriers == ("bn",)
    assert groups[0].consumers == groups[1].consumers == ("c",)
    ids = channel_map(net).values
    assert np.array_equal(ids["bn"], np.concatenate([ids["a"], ids["b"]]))


def test_addition_after_concat_ties_across_offsets():
    b = NetworkBuilder("both", (3, 8, 8))
    b.conv("a", 2, 1, source="input")
    b.conv("b", 3, 1, source="input")
    b.concat("cat", "a", "b")
    b.conv("c", 5, 1, source="input")
    b.add("sum", "cat", "c")
    b.global_avg_pool("gap")
    b.linear("fc", 2)
    (group,) = channel_groups(b.build())
    assert group.layers == ("a", "b", "c")
    assert group.size == 5
    assert np.array_equal(group.index["c"], np.concatenate([group.index["a"], group.index["b"]]))


def test_zeros_have_ids_of_their_own_until_an_addition_ties_them():
    b = NetworkBuilder("option A", (3, 8, 8))
    trunk = b.conv("a", 2, 3, padding=1)
    b.conv("b", 5, 3, padding=1)
    main = b.conv("c", 5, 3, padding=1)
    b.pad_channels("pad", before=1, after=2, source=trunk)
    b.add("sum", main, "pad")
    b.pad_channels("alone", after=1)
    b.conv("d", 3, 1)
    b.global_avg_pool("gap")
    b.linear("fc", 2)
    net = b.build()
    ids = channel_map(net)
    pad = ids.values["pad"]
    assert np.array_equal(pad[1:3], ids.values["a"])
    assert np.array_equal(pad, ids.values["c"])
    assert len(set(pad.tolist())) == 5
    assert ids.values["alone"][-1] not in np.concatenate(list(ids.sources.values()))
    assert prunable_layers(net) == {"a": 2, "b": 5, "c": 5, "d": 3}
    stage, inner, last = channel_groups(net)
    assert (stage.layers, stage.size, stage.consumers) == (("a", "c"), 5, ("b", "d"))
    assert np.array_equal(stage.index["a"], stage.index["c"][1:3])
    assert (inner.layers, last.layers) == (("b",), ("d",))


def test_local_response_norm_hands_ids_on():
    b = NetworkBuilder("lrn", (3, 8, 8))
    b.conv("a", 4, 3)
    b.local_response_norm("norm")
    b.conv("b", 2, 3)
    b.global_avg_pool("gap")
    b.linear("fc", 2)
    net = b.build()
    ids = channel_map(net).values
    assert np.array_equal(ids["norm"], ids["a"])
    assert prunable_layers(net) == {"a": 4, "b": 2}


def test_depthwise_convolution_follows_the_layer_that_feeds_it():
    b = NetworkBuilder("depthwise", (3, 8, 8))
    b.conv("a", 4, 1)
    b.conv("dw", 8, 3, groups=4)
    b.conv("b", 3, 1)
    b.global_avg_pool("gap")
    b.linear("fc", 2)
    net = b.build()
    assert prunable_layers(net) == {"a": 4, "b": 3}
    assert channel_groups(net)[0].carriers == ("dw",)
    ids = channel_map(net).values
    assert np.array_equal(ids["dw"], np.repeat(ids["a"], 2))


def test_pinned_layers_are_not_prunable():
    b = NetworkBuilder("pinned", (4, 8, 8))
    b.conv("as_image", 4, 3, padding=1)  # added to the image
    b.add("sum", "as_image", "input")
    b.conv("before_groups", 4, 1)
    b.conv("grouped", 4, 1, groups=2)
    b.conv("free", 5, 1)
    b.conv("classes", 3, 1)  # the output, though a convolution
    b.global_avg_pool("gap")
    assert prunable_layers(b.build()) == {"free": 5}


def test_partly_pinned_layer_pins_its_partners():
    b = NetworkBuilder("partly", (2, 8, 8))
    b.conv("a", 3, 1)
    b.concat("cat", "input", "a")
    b.conv("c", 5, 1, source="input")
    b.add("sum", "cat", "c")
    b.global_avg_pool("gap")
    b.linear("fc", 2)
    assert prunable_layers(b.build()) == {}
    assert channel_groups(b.build()) == ()


def test_operation_that_cannot_be_followed(lenet, monkeypatch):
    monkeypatch.setattr("emoref.compress.groups._PASS_ON", frozenset({"max_pool2d"}))
    channel_map.cache_clear()
    with pytest.raises(NetworkError, match=r"'relu1'.*'relu' cannot be followed"):
        channel_map(lenet)
    channel_map.cache_clear()


def test_every_prunable_layer_is_in_one_group(random_network):
    for seed in range(30):
        net = random_network(seed)
        layers = [name for group in channel_groups(net, linear=True) for name in group.layers]
        assert sorted(layers) == sorted(prunable_layers(net, linear=True))
