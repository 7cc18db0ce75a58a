import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import networks, nn
from emoref.compress import (
    apply_masks,
    channel_map,
    count,
    kept_channels,
    prunable_layers,
    slim,
    slim_network,
)
from emoref.errors import NetworkError, ShapeError
from emoref.nn import NetworkBuilder

MASKS = {
    "conv1": np.arange(20) % 2 == 0,
    "conv2": np.arange(50) % 5 == 0,
    "fc1": np.arange(500) % 4 == 0,
}


KINDS = ("plain", "residual", "projected", "padded", "padded-alone", "concat", "depthwise")

# Every network by name, small enough for the reference.
STANDARD = {
    "lenet": {"widths": (4, 5, 8)},
    "lenet5": {"widths": (3, 4, 6, 5)},
    "conv1": {"widths": (4,)},
    "conv2": {"widths": (4, 3)},
    "conv3": {"widths": (4, 3, 5)},
    "conv4": {"widths": (4, 3, 5, 6)},
    "mlp": {"hidden": (7, 6)},
    "alexnet": {"widths": (4, 6, 5, 5, 4), "hidden": (8, 7)},
    "vgg16": {"widths": (3, 4, 5, 4, 3, 5, 4, 6, 5, 4, 5, 4, 6), "hidden": (8,)},
    "mobilenet-v1": {"width_multiplier": 0.1},
    "resnet18": {"widths": (3, 4, 5, 6)},
    "resnet20": {"widths": (4, 6, 9)},
    "resnet32": {"widths": (3, 3, 5)},
    "resnet50": {"input_shape": (3, 32, 32), "widths": (2, 3, 3, 4)},
    "resnet56": {"widths": (4, 5, 6), "shortcut": "B"},
    "resnet110": {"widths": (3, 4, 5)},
}


def check_masked_equals_slimmed(net, params, masks, seed):
    images = np.random.default_rng(seed).normal(size=(3, *net.input_shape))
    small_net, small_params = slim(net, params, masks)
    nn.check_params(small_net, small_params)
    masked = nn.predict(net, apply_masks(net, params, masks), images, backend="reference")
    small = nn.predict(small_net, small_params, images, backend="reference")
    scale = max(1.0, np.abs(masked).max())
    np.testing.assert_allclose(small, masked, rtol=1e-9, atol=1e-9 * scale)
    return small_net


@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 2**32 - 1), kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
def test_masked_equals_slimmed(random_network, full_params, random_masks, seed, kinds):
    net = random_network(seed, kinds)
    check_masked_equals_slimmed(net, full_params(net, seed), random_masks(net, seed), seed)


def test_every_network_by_name_is_checked():
    assert set(STANDARD) == set(networks.names())


@pytest.mark.parametrize("name", STANDARD)
def test_masked_equals_slimmed_in_every_network_by_name(name, full_params, random_masks):
    net = networks.build(name, **STANDARD[name])
    # Weights of the usual size: in a hundred layers larger ones would lead to infinity.
    params = {n: v.astype(np.float64) for n, v in net.init(1).items()}
    rng = np.random.default_rng(2)
    for n, value in params.items():
        if not n.endswith("weight"):
            params[n] = value + rng.uniform(-0.4, 0.4, value.shape)
    masks = random_masks(net, 3)
    small = check_masked_equals_slimmed(net, params, masks, 4)
    assert set(prunable_layers(net)) <= set(masks)
    assert count(small).macs < count(net).macs
    # All convolutions but the depthwise ones can be pruned, those of residual stages included.
    convs = {n.name for n in net.nodes if n.op == "conv2d" and n.attrs["groups"] == 1}
    assert set(prunable_layers(net)) == convs


def test_inner_filters_of_a_block_go_alone_and_stages_keep_their_widths():
    net = networks.build("resnet20", widths=(4, 6, 9))
    inner = {"s1b1_conv1": np.arange(4) < 1, "s3b2_conv1": np.arange(9) < 5}
    small = slim_network(net, inner)
    assert small.node("s3b1_skip_pad").attrs == net.node("s3b1_skip_pad").attrs
    changed = {n.name for n in small.nodes if n != net.node(n.name)}
    assert changed == {"s1b1_conv1", "s3b2_conv1"}


def test_a_channel_of_a_stage_goes_in_all_stages_that_the_shortcuts_tie():
    net = networks.build("resnet20", widths=(4, 6, 9))
    # Channels 0 to 3 run through all stages, 4 and 5 begin in stage 2, the others in stage 3.
    mask = np.array([True, False, True, True, True, False, True, True, False])
    small = slim_network(net, {"s3b3_conv2": mask})
    widths = [small.node(n).attrs["filters"] for n in ("conv", "s1b1_conv2", "s2b1_conv2", "s3b1_conv2")]
    assert widths == [3, 3, 4, 6]
    pads = [dict(small.node(n).attrs) for n in ("s2b1_skip_pad", "s3b1_skip_pad")]
    assert pads == [{"before": 0, "after": 1}, {"before": 0, "after": 2}]


def test_local_response_norm_is_excepted_from_masked_equals_slimmed():
    net = networks.build("alexnet", widths=(6, 6, 5, 5, 4), hidden=(8,), lrn=True)
    params = {n: v.astype(np.float64) for n, v in net.init(0).items()}
    images = 30 * np.random.default_rng(0).normal(size=(2, 3, 32, 32))
    masks = {"conv1": np.array([True, False, True, True, False, True])}
    small_net, small = slim(net, params, masks)
    masked = nn.run_nodes(net, apply_masks(net, params, masks), {"input": images}, ["norm1"], "reference")
    slimmed = nn.run_nodes(small_net, small, {"input": images}, ["relu1", "norm1"], "reference")
    # The window moves together over what is left: five channels around, of those that are there.
    squares = slimmed["relu1"] ** 2
    sums = np.stack([squares[:, max(0, i - 2) : i + 3].sum(axis=1) for i in range(4)], axis=1)
    np.testing.assert_allclose(slimmed["norm1"], slimmed["relu1"] / (2 + 1e-4 * sums) ** 0.75, rtol=1e-12)
    assert np.abs(slimmed["norm1"] - masked["norm1"][:, masks["conv1"]]).max() > 1e-3
    assert not masked["norm1"][:, ~masks["conv1"]].any()
    # Without removal there is no difference.
    everything = {"conv1": np.ones(6, bool)}
    same = nn.predict(*slim(net, params, everything), images, "reference")
    np.testing.assert_array_equal(same, nn.predict(net, params, images, "reference"))


def test_masked_equals_slimmed_on_the_fast_back_end(random_network, full_params, random_masks):
    for seed in range(8):
        net = random_network(seed)
        params, masks = full_params(net, seed, np.float32), random_masks(net, seed)
        images = np.random.default_rng(seed).normal(size=(3, *net.input_shape)).astype(np.float32)
        masked = nn.predict(net, apply_masks(net, params, masks), images)
        small = nn.predict(*slim(net, params, masks), images)
        np.testing.assert_allclose(small, masked, rtol=1e-4, atol=1e-4)


def test_zeroed_weights_alone_are_not_removal(lenet, full_params):
    params = full_params(lenet, 0)
    zeroed = {name: value.copy() for name, value in params.items()}
    for layer, mask in MASKS.items():
        zeroed[f"{layer}.weight"][~mask] = 0
    images = np.random.default_rng(0).normal(size=(4, 1, 28, 28))
    wrong = nn.predict(lenet, zeroed, images, backend="reference")
    right = nn.predict(*slim(lenet, params, MASKS), images, backend="reference")
    assert np.abs(wrong - right).max() > 0.1  # the biases of the removed filters are still there


def test_what_is_cut(lenet, full_params):
    params = full_params(lenet, 1)
    net, small = slim(lenet, params, MASKS)
    one, two, three = (np.flatnonzero(mask) for mask in MASKS.values())
    assert net.node("conv1").attrs["filters"] == 10
    assert net.node("fc1").attrs["units"] == 125
    assert net.classes == 10
    np.testing.assert_array_equal(small["conv1.bias"], params["conv1.bias"][one])
    np.testing.assert_array_equal(small["conv2.weight"], params["conv2.weight"][np.ix_(two, one)])
    columns = (16 * two[:, None] + np.arange(16)).ravel()
    np.testing.assert_array_equal(small["fc1.weight"], params["fc1.weight"][np.ix_(three, columns)])
    np.testing.assert_array_equal(small["fc2.weight"], params["fc2.weight"][:, three])
    np.testing.assert_array_equal(small["fc2.bias"], params["fc2.bias"])
    assert list(small) == list(params)
    assert slim_network(lenet, MASKS) == net


def test_batch_norm_is_cut_with_its_statistics():
    b = NetworkBuilder("bn", (1, 4, 4))
    b.conv("c", 3, 1)
    b.batch_norm("bn")
    b.global_avg_pool("gap")
    b.linear("fc", 2)
    net = b.build()
    params = net.init(0)
    for i, leaf in enumerate(("gamma", "beta", "running_mean", "running_var")):
        params[f"bn.{leaf}"] = np.arange(3, dtype=np.float32) + 10 * i
    _, small = slim(net, params, {"c": np.array([True, False, True])})
    for i, leaf in enumerate(("gamma", "beta", "running_mean", "running_var")):
        assert small[f"bn.{leaf}"].tolist() == [10 * i, 10 * i + 2]


def test_all_true_is_the_identity(random_network, full_params):
    for seed in range(10):
        net = random_network(seed)
        params = full_params(net, seed)
        for masks in ({}, {name: np.ones(len(ids), bool) for name, ids in _prunable(net).items()}):
            same_net, same = slim(net, params, masks)
            assert same_net == net
            for name, value in params.items():
                np.testing.assert_array_equal(same[name], value)
                assert not np.shares_memory(same[name], value)
                np.testing.assert_array_equal(apply_masks(net, params, masks)[name], value)


def _prunable(net):
    channels = channel_map(net)
    return {name: channels.sources[name] for name in channels.prunable()}


def test_slimming_twice_is_slimming_once(random_network, full_params, random_masks):
    for seed in range(30):
        net = random_network(seed)
        params, masks = full_params(net, seed), random_masks(net, seed)
        small_net, small = slim(net, params, masks)
        wanted = random_masks(net, seed + 1000)
        both = {name: mask & wanted[name] for name, mask in masks.items()}
        if not all(mask.any() for mask in both.values()):
            continue
        second = {name: wanted[name][mask] for name, mask in masks.items()}
        twice_net, twice = slim(small_net, small, second)
        once_net, once = slim(net, params, both)
        assert twice_net == once_net
        for name, value in once.items():
            np.testing.assert_array_equal(twice[name], value)


def test_tied_layer_without_a_mask_follows():
    b = NetworkBuilder("residual", (1, 4, 4))
    b.conv("a", 3, 1)
    b.conv("b", 3, 1)
    b.add("sum", "a", "b")
    b.global_avg_pool("gap")
    b.linear("fc", 2)
    net = b.build()
    mask = np.array([True, False, True])
    small, _ = slim(net, net.init(0), {"a": mask})
    assert small.node("b").attrs["filters"] == 2
    assert kept_channels(net, {"a": mask})["sum"].tolist() == mask.tolist()
    with pytest.raises(NetworkError, match=r"'b' contradicts .* filters \[1\]"):
        slim(net, net.init(0), {"a": mask, "b": np.ones(3, bool)})


@pytest.mark.parametrize(
    ("masks", "error", "text"),
    [
        ({"conv9": np.ones(20, bool)}, NetworkError, "conv9"),
        ({"relu1": np.ones(20, bool)}, NetworkError, "no filters that can be removed"),
        ({"fc2": np.ones(10, bool)}, NetworkError, "prunable are conv1, conv2, fc1"),
        ({"conv1": np.ones(19, bool)}, ShapeError, "expected 20 booleans"),
        ({"conv1": np.ones(20)}, ShapeError, "float64"),
        ({"conv1": np.zeros(20, bool)}, NetworkError, "no filter in layer 'conv1'"),
    ],
)
def test_impossible_masks(lenet, masks, error, text):
    with pytest.raises(error, match=text):
        slim(lenet, {}, masks)
    with pytest.raises(error, match=text):
        apply_masks(lenet, {}, masks)


def test_file_of_the_slimmed_network_is_smaller_and_complete(lenet, full_params, tmp_path):
    params = full_params(lenet, 3, np.float32)
    net, small = slim(lenet, params, MASKS)
    nn.save(tmp_path / "full.h5", lenet, params)
    nn.save(tmp_path / "masked.h5", lenet, apply_masks(lenet, params, MASKS))
    nn.save(tmp_path / "small.h5", net, small)
    sizes = {path.stem: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes["masked"] == sizes["full"]
    saved = 4 * (count(lenet).params - count(net).params)
    assert sizes["full"] - sizes["small"] > 0.95 * saved
    again_net, again = nn.load(tmp_path / "small.h5")
    images = np.random.default_rng(3).normal(size=(5, 1, 28, 28)).astype(np.float32)
    assert again_net == net
    np.testing.assert_array_equal(
        nn.predict(again_net, again, images, backend="reference"),
        nn.predict(net, small, images, backend="reference"),
    )
