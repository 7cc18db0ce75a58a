"""Aligning filters: permutations are undone exactly, and change nothing that a network computes."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import networks, nn
from emoref.compress import align, channel_groups, filter_distances, permute_slots
from emoref.errors import ConfigError, NetworkError, ShapeError

NETS = {
    "lenet": networks.build("lenet", (1, 28, 28), 4, widths=(4, 5, 8)),
    "vgg": networks.build(
        "vgg16", (3, 32, 32), 4, widths=(3, 4, 5, 4, 3, 5, 4, 6, 5, 4, 5, 4, 6), hidden=(8,)
    ),
    "depthwise": networks.build("mobilenet-v1", (3, 32, 32), 4, width_multiplier=0.1),
    "residual": networks.build("resnet20", (3, 32, 32), 4, widths=(3, 4, 5), shortcut="B"),
}


def noisy(net, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: value + rng.uniform(0.1, 0.5, value.shape).astype(np.float32) * (value.ndim == 1)
        for name, value in net.init(seed).items()
    }


def random_orders(net, rng):
    orders = {}
    for group in channel_groups(net, linear=True):
        order = rng.permutation(group.size)
        for name in group.layers:
            place = np.empty(group.size, np.int64)
            place[group.index[name]] = np.arange(group.size)
            orders[name] = place[order[group.index[name]]]
    return orders


@settings(deadline=None, max_examples=12)
@given(kind=st.sampled_from(sorted(NETS)), seed=st.integers(0, 2**32 - 1))
def test_a_permuted_network_computes_the_same_and_is_found_again(kind, seed):
    rng = np.random.default_rng(seed)
    net = NETS[kind]
    params = noisy(net)
    permuted = permute_slots(net, params, random_orders(net, rng))
    images = rng.normal(size=(2, *net.input_shape)).astype(np.float32)
    before, after = (nn.predict(net, some, images) for some in (params, permuted))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4 * np.abs(before).max())
    found = align(net, params, permuted)
    assert all(np.array_equal(found[name], params[name]) for name in params)


def test_activations_find_the_order_too():
    rng = np.random.default_rng(3)
    net = networks.build("conv2", (1, 8, 8), 3, widths=(5, 4))
    params = noisy(net)
    permuted = permute_slots(net, params, random_orders(net, rng))
    images = rng.normal(size=(300, 1, 8, 8)).astype(np.float32)
    found = align(net, params, permuted, "activations", images)
    assert all(np.array_equal(found[name], params[name]) for name in params)


def test_the_assignment_is_the_cheapest_of_all():
    net = networks.build("conv1", (1, 8, 8), 3, widths=(4,))
    first, second = net.init(0), net.init(1)
    costs = filter_distances(first["conv1.weight"], second["conv1.weight"])
    best = min(permutations(range(4)), key=lambda order: sum(costs[i, j] for i, j in enumerate(order)))
    found = align(net, first, second)
    assert np.array_equal(found["conv1.weight"], second["conv1.weight"][list(best)])


def test_a_head_of_another_size_does_not_matter():
    mine, theirs = (networks.build("lenet", (1, 28, 28), n, widths=(4, 5, 8)) for n in (4, 7))
    aligned = align(theirs, mine.init(0), theirs.init(0))
    assert np.array_equal(aligned["fc2.weight"], theirs.init(0)["fc2.weight"]), "equal trunks need no move"


def test_distances_by_hand():
    zero, one = np.zeros((1, 2)), np.array([[1.0, 0.0]])
    assert filter_distances(zero, zero).tolist() == [[0.0]]
    assert filter_distances(one, 3 * one).tolist() == [[0.4]]


def test_what_is_refused():
    net = NETS["lenet"]
    params = net.init(0)
    with pytest.raises(ConfigError, match="similarity must be one of filters, activations"):
        align(net, params, params, "colour")
    with pytest.raises(ConfigError, match="needs images"):
        align(net, params, params, "activations")
    with pytest.raises(NetworkError, match="'fc2' has no filters that could change places"):
        permute_slots(net, params, {"fc2": np.arange(4)})
    with pytest.raises(ShapeError, match="permutation of 0 to 3"):
        permute_slots(net, params, {"conv1": np.zeros(4, int)})
    with pytest.raises(ShapeError, match="must be of one shape"):
        filter_distances(np.ones((2, 3)), np.ones((2, 4)))
    residual = NETS["residual"]
    group = next(g for g in channel_groups(residual) if len(g.layers) > 1)
    orders = {name: np.arange(group.size) for name in group.layers}
    orders[group.layers[0]] = orders[group.layers[0]][::-1]
    with pytest.raises(NetworkError, match="contradicts that of a layer tied to it"):
        permute_slots(residual, residual.init(0), orders)
