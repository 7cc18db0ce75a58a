"""Networks over one store: what is bound to what, and what is refused."""

import numpy as np
import pytest

from emoref import networks
from emoref.errors import NetworkError, ShapeError
from emoref.nn import (
    Binding,
    MultiTaskNetwork,
    NetworkBuilder,
    check_tasks,
    head_of,
    initial_store,
    predict,
    shared_trunk,
)


def small(classes=3, filters=4, norm=False, shape=(1, 6, 6)):
    b = NetworkBuilder("small", shape)
    b.conv("conv1", filters, 3)
    if norm:
        b.batch_norm("bn1")
    b.relu("relu1")
    b.flatten("flat")
    b.linear("fc", classes)
    return b.build()


def test_a_binding_takes_puts_and_adds_its_part():
    stored = np.arange(12.0).reshape(3, 4)
    binding = Binding("w", np.array([2, 0]), np.array([1, 3]))
    assert binding.take(stored).tolist() == [[9, 11], [1, 3]]
    assert binding.shape((3, 4)) == (2, 2)
    binding.add(stored, np.ones((2, 2)))
    assert stored.tolist() == [[0, 2, 2, 4], [4, 5, 6, 7], [8, 10, 10, 12]]
    binding.put(stored, np.zeros((2, 2)))
    assert stored.sum() == 0 + 2 + 22 + 8 + 10
    Binding("w", np.array([1])).add(stored, np.ones((1, 4)))
    assert stored[1].tolist() == [5, 6, 7, 8]
    Binding("w").put(stored, np.ones((3, 4)))
    assert stored.sum() == 12
    assert Binding("w").take(stored) is stored


def test_a_shared_trunk_has_private_heads_and_norms():
    nets = [small(3, norm=True), small(5, norm=True)]
    multi = shared_trunk(("a", "b"), nets)
    assert set(multi.trainable()) == {
        "conv1.weight",
        "conv1.bias",
        *(f"{t}.{n}" for t in "ab" for n in ("bn1.gamma", "bn1.beta", "fc.weight", "fc.bias")),
    }
    assert multi.shapes["b.fc.weight"] == (5, 64)
    params = [net.init(seed) for seed, net in enumerate(nets)]
    store = initial_store(multi, lambda task: params[task])
    images = np.random.default_rng(0).normal(size=(2, 1, 6, 6)).astype(np.float32)
    assert np.array_equal(
        predict(nets[0], multi.params(store, 0), images), predict(nets[0], params[0], images)
    )
    assert np.array_equal(multi.params(store, 1)["conv1.weight"], params[0]["conv1.weight"])
    assert np.array_equal(multi.params(store, 1)["fc.weight"], params[1]["fc.weight"])


def test_an_export_shares_nothing():
    nets = [small(), small()]
    multi = shared_trunk(("a", "b"), nets)
    store = initial_store(multi, lambda task: nets[task].init(task))
    _, exported = multi.export(store, 0)
    assert not any(np.shares_memory(value, some) for value in exported.values() for some in store.values())


def test_the_head_is_the_layer_that_makes_the_classes():
    assert head_of(networks.build("lenet")) == "fc2"
    headless = NetworkBuilder("none", (4,))
    headless.relu("r")
    with pytest.raises(NetworkError, match="no layer that could be a head"):
        head_of(headless.build())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (small(filters=5), "'a' and 'b' have networks of different architecture: conv2d 'conv1'"),
        (small(norm=True), "different architecture: 4 and 5 nodes"),
        (small(shape=(1, 7, 7)), r"'a' and 'b' have networks for inputs of different shape, \(1, 6, 6\)"),
    ],
)
def test_tasks_of_different_architecture_are_named(other, message):
    with pytest.raises(NetworkError, match=message):
        check_tasks(("a", "b"), [small(), other])


def test_an_empty_list_of_tasks_is_refused():
    with pytest.raises(NetworkError, match="list of tasks is empty"):
        check_tasks((), [])
    with pytest.raises(NetworkError, match="at least one task"):
        MultiTaskNetwork((), (), (), {})


def test_what_does_not_hold_together_is_refused():
    net = small(norm=True)
    whole = {name: Binding(name) for name in net.param_shapes()}
    with pytest.raises(NetworkError, match="must be private"):
        MultiTaskNetwork(("a", "b"), (net, net), (whole, whole), net.param_shapes())
    with pytest.raises(NetworkError, match="same name"):
        MultiTaskNetwork(("a", "a"), (net, net), (whole, whole), net.param_shapes())
    with pytest.raises(NetworkError, match="one of each"):
        MultiTaskNetwork(("a",), (net, net), (whole,), net.param_shapes())
    with pytest.raises(NetworkError, match=r"'conv1.weight' is bound to no stored array"):
        MultiTaskNetwork(("a",), (net,), ({**whole, "conv1.weight": Binding("none")},), net.param_shapes())
    part = {**whole, "conv1.weight": Binding("conv1.weight", np.array([0]))}
    with pytest.raises(NetworkError, match=r"bound to a part of 'conv1.weight' of shape \(1,"):
        MultiTaskNetwork(("a",), (net,), (part,), net.param_shapes())
    multi = MultiTaskNetwork(("a",), (net,), (whole,), net.param_shapes())
    with pytest.raises(ShapeError, match=r"'bn1\.beta' is missing"):
        multi.check_store({name: v for name, v in net.init(0).items() if name != "bn1.beta"})
    with pytest.raises(ShapeError, match="must have shape"):
        multi.check_store({**net.init(0), "fc.bias": np.zeros(2)})
