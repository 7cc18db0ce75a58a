"""The index matrix: counted by hand, exported as slim networks, and what is refused."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoref import networks, nn
from emoref.compress import (
    IndexMatrix,
    LayerSlots,
    channel_groups,
    count,
    load_shared,
    load_shared_extra,
    prunable_layers,
    save_shared,
    share_filters,
    slim,
)
from emoref.errors import FileFormatError, NetworkError, ShapeError
from emoref.hdf5 import write_array, write_atomic, write_attributes, write_json
from emoref.nn import NetworkBuilder

TASKS = ("a", "b")


def bits(text):
    return np.array([[one == "1" for one in row] for row in text.split()])


def tiny(classes=2):
    b = NetworkBuilder("tiny", (1, 6, 6))
    b.conv("conv1", 3, 3)
    b.relu("relu1")
    b.conv("conv2", 4, 3)
    b.relu("relu2")
    b.flatten("flat")
    b.linear("fc", classes)
    return b.build()


BUILDERS = {
    "lenet": lambda classes: networks.build("lenet", (1, 28, 28), classes, widths=(4, 5, 8)),
    "vgg": lambda classes: networks.build(
        "vgg16", (3, 32, 32), classes, widths=(3, 4, 5, 4, 3, 5, 4, 6, 5, 4, 5, 4, 6), hidden=(8,)
    ),
    "residual": lambda classes: networks.build(
        "resnet20", (3, 32, 32), classes, widths=(3, 4, 5), shortcut="B"
    ),
    "depthwise": lambda classes: networks.build("mobilenet-v1", (3, 32, 32), classes, width_multiplier=0.1),
    "linear": lambda classes: networks.build("mlp", (1, 6, 6), classes, hidden=(7, 6)),
}


def noisy(net, seed):
    """Parameters none of which is 0 or 1 throughout, running statistics included."""
    rng = np.random.default_rng(seed)
    return {
        name: value + rng.uniform(0.1, 0.5, value.shape).astype(np.float32) * (value.ndim == 1)
        for name, value in net.init(seed).items()
    }


def random_index(net, tasks, rng):
    kept, shared = [{} for _ in range(tasks)], {}
    for group in channel_groups(net, linear=True):
        for layers in kept:
            row = rng.random(group.size) < rng.uniform(0.2, 1)
            row[rng.integers(group.size)] = True
            layers.update({name: row[group.index[name]] for name in group.layers})
        together = rng.random(group.size) < rng.random()
        shared.update({name: together[group.index[name]] for name in group.layers})
    return IndexMatrix.of_masks([f"t{t}" for t in range(tasks)], kept, shared)


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(sorted(BUILDERS)),
    tasks=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_export_predicts_what_the_view_of_the_shared_network_predicts(kind, tasks, seed):
    rng = np.random.default_rng(seed)
    nets = [BUILDERS[kind](2 + t) for t in range(tasks)]
    index = random_index(nets[0], tasks, rng)
    shared, store = share_filters(nets, [noisy(net, t) for t, net in enumerate(nets)], index)
    images = rng.normal(size=(2, *nets[0].input_shape)).astype(np.float32)
    for t in range(tasks):
        small_net, small = shared.multi.export(store, t)
        nn.check_params(small_net, small)
        exported = nn.predict(small_net, small, images)
        viewed = nn.predict(*shared.view(store, t), images)
        np.testing.assert_allclose(exported, viewed, atol=1e-5 * max(1, np.abs(viewed).max()))


@settings(deadline=None, max_examples=20)
@given(kind=st.sampled_from(sorted(BUILDERS)), seed=st.integers(0, 2**32 - 1))
def test_one_task_is_ordinary_filter_pruning(kind, seed):
    net = BUILDERS[kind](3)
    params = noisy(net, 1)
    index = random_index(net, 1, np.random.default_rng(seed))
    shared, store = share_filters([net], [params], index)
    exported_net, exported = shared.multi.export(store, 0)
    small_net, small = slim(net, params, index.masks(0))
    assert exported_net == small_net
    assert all(np.array_equal(exported[name], small[name]) for name in small)
    assert shared.stored_parameters().total == count(small_net).params


def test_the_kinds_of_slots_by_hand():
    slots = LayerSlots(bits("11100 10110"), bits("10011")[0])
    assert slots.shared.tolist() == [True, False, False, False, False], "a slot of one keeper is private"
    assert slots.kinds().tolist() == [[2, 1, 1, 0, 0], [2, 0, 1, 1, 0]]
    assert slots.stored == 5
    assert slots.owners().astype(int).tolist() == [[1, 1], [1, 0], [1, 0], [0, 1], [0, 1]]
    assert slots.rows(0).tolist() == [0, 1, 2]
    assert slots.rows(1).tolist() == [0, 3, 4]
    index = IndexMatrix(TASKS, {"conv1": slots})
    assert index.sharing_ratio == 2 / 6


def test_stored_parameters_by_hand():
    """conv1: one shared filter, one private each; conv2: one shared, one private of a."""
    index = IndexMatrix(
        TASKS,
        {
            "conv1": LayerSlots(bits("110 101"), bits("100")[0]),
            "conv2": LayerSlots(bits("1100 1000"), bits("1000")[0]),
        },
    )
    nets = [tiny(2), tiny(3)]
    shared, store = share_filters(nets, [net.init(t) for t, net in enumerate(nets)], index)
    stored = shared.stored_parameters()
    # The shared filter of conv2 reads slots 0, 1 (of a) and 2 (of b); a's private one reads 0 and 1.
    assert stored.shared == (9 + 1) + (3 * 9 + 1)
    assert stored.private == 2 * (9 + 1) + (2 * 9 + 1)
    assert stored.heads == (2 * 4 * 2 + 2) + (1 * 4 * 3 + 3)
    assert (stored.norms, stored.total) == (0, 38 + 39 + 33)
    assert shared.used["conv2.weight"].tolist() == [[True, True, True], [True, True, False]]
    assert (store["conv2.weight"][1, 2] == 0).all(), "no task reads it"


def test_a_shared_filter_is_the_weighted_mean_and_reads_of_each_task_what_it_knows():
    net = tiny()
    params = [net.init(0), net.init(1)]
    index = IndexMatrix(
        TASKS,
        {
            "conv1": LayerSlots(bits("110 101"), bits("000")[0]),
            "conv2": LayerSlots(bits("1000 1000"), bits("1000")[0]),
        },
    )
    importance = [
        {"conv1": np.ones(3), "conv2": np.array([0.9, 0, 0, 0])},
        {"conv1": np.ones(3), "conv2": np.array([0.3, 0, 0, 0])},
    ]
    _, store = share_filters([net, net], params, index, importance)
    mine, theirs = (some["conv2.weight"][0] for some in params)
    both, only_a, only_b = store["conv2.weight"][0]
    np.testing.assert_allclose(both, 0.75 * mine[0] + 0.25 * theirs[0], rtol=1e-6)
    assert np.array_equal(only_a, mine[1])
    assert np.array_equal(only_b, theirs[2])


def test_equal_networks_that_share_everything_stay_what_they_are():
    net = tiny()
    params = net.init(0)
    everything = {name: np.ones(n, bool) for name, n in prunable_layers(net, linear=True).items()}
    index = IndexMatrix.of_masks(TASKS, [everything, everything], everything)
    shared, store = share_filters([net, net], [params, params], index)
    for t in range(2):
        _, same = shared.multi.export(store, t)
        assert all(np.allclose(same[name], params[name], rtol=1e-7) for name in params)
    assert shared.stored_parameters().private == 0
    assert index.sharing_ratio == 1


def test_training_under_the_index_matrix_leaves_removed_kernels_at_zero():
    rng = np.random.default_rng(0)
    net = tiny()
    index = random_index(net, 2, rng)
    shared, store = share_filters([net, net], [net.init(0), net.init(1)], index)
    data = [nn.ArrayData(rng.normal(size=(16, 1, 6, 6)).astype(np.float32), np.arange(16) % 2)] * 2
    start = {name: value.copy() for name, value in store.items()}
    nn.fit_jointly(shared.multi, store, data, nn.TrainConfig(epochs=1, batch_size=8, weight_decay=0.1))
    for name, used in shared.used.items():
        assert not store[name][~used].any()
        assert (store[name][used] != start[name][used]).any()


def test_a_file_gives_the_same_network_back(tmp_path):
    nets = [BUILDERS["vgg"](2), BUILDERS["vgg"](3)]
    index = random_index(nets[0], 2, np.random.default_rng(4))
    shared, store = share_filters(nets, [noisy(net, t) for t, net in enumerate(nets)], index)
    path = tmp_path / "shared.h5"
    save_shared(path, shared, store, {"note": [1, 2]})
    again, same = load_shared(path)
    assert list(same) == list(store)
    assert all(np.array_equal(same[name], store[name]) for name in store)
    assert again.multi.networks == shared.multi.networks
    assert again.stored_parameters() == shared.stored_parameters()
    assert load_shared_extra(path) == {"note": [1, 2]}
    before = path.read_bytes()
    save_shared(path, again, same, {"note": [1, 2]})
    assert path.read_bytes() == before


def test_a_damaged_file_is_refused(tmp_path):
    import h5py

    net = tiny()
    index = random_index(net, 2, np.random.default_rng(0))
    shared, store = share_filters([net, net], [net.init(0), net.init(1)], index)
    path = tmp_path / "shared.h5"
    save_shared(path, shared, store)
    with h5py.File(path, "r+") as file:
        file["index/conv1/kept"][...] = 1
        file["index/conv1/shared"][...] = 0
    with pytest.raises(FileFormatError, match=r"damaged: parameter 'conv1\.weight' must have shape \(6, "):
        load_shared(path)
    with h5py.File(path, "r+") as file:
        file["index/conv1/kept"][...] = 0
    with pytest.raises(FileFormatError, match="damaged: index matrix of layer 'conv1': task 't0' keeps no"):
        load_shared(path)
    path.write_bytes(b"no")
    with pytest.raises(FileFormatError):
        load_shared(path)


def test_a_small_file_cannot_ask_for_much_memory(tmp_path):
    """The architecture of 10**11 weights, of which one filter in each layer is kept."""
    path = tmp_path / "shared.h5"
    net = networks.build("mlp", (1, 2, 2), 2, hidden=(3, 3))
    index = IndexMatrix.of_masks(["a"], [{name: np.arange(3) < 1 for name in ("fc1", "fc2")}])
    shared, store = share_filters([net], [net.init(0)], index)
    large = networks.build("mlp", (1, 2, 2), 2, hidden=(10**5, 10**6))
    with pytest.raises(NetworkError, match="values in the unpruned networks are far more than"):
        save_shared(path, replace(shared, nets=(large,)), store)

    def hostile(file):
        write_attributes(file, emoref_class="shared_network", format_version=1)
        write_json(file, "tasks", {"names": ["a"], "networks": [large.to_dict()]})
        for name, size in (("fc1", 10**5), ("fc2", 10**6)):
            kept = (np.arange(size) < 1).astype(np.uint8)
            write_array(file, f"index/{name}/kept", kept[None])
            write_array(file, f"index/{name}/shared", 0 * kept)
        file.create_group("parameters")

    write_atomic(path, hostile)
    tracemalloc.start()
    with pytest.raises(
        FileFormatError, match=r"damaged: 100,.* values in the unpruned networks are far more"
    ):
        load_shared(path)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_a_row_with_nothing_kept_is_refused():
    with pytest.raises(NetworkError, match="layer 'conv1': task 'b' keeps no slot; at least one"):
        IndexMatrix(TASKS, {"conv1": LayerSlots(bits("110 000"), bits("000")[0])})


def test_what_does_not_fit_is_refused():
    net = tiny()
    params = net.init(0)
    with pytest.raises(NetworkError, match="list of tasks is empty"):
        IndexMatrix((), {})
    with pytest.raises(ShapeError, match="1 rows for 2 tasks"):
        IndexMatrix(TASKS, {"conv1": LayerSlots(bits("110"), bits("000")[0])})
    with pytest.raises(ShapeError, match="kept must be booleans"):
        LayerSlots(bits("110 110"), bits("00")[0])
    two = {"conv1": LayerSlots(bits("110 110"), bits("000")[0])}
    with pytest.raises(NetworkError, match="2 tasks, but there are 1 networks"):
        share_filters([net], [params], IndexMatrix(TASKS, two))
    with pytest.raises(NetworkError, match="layer 'conv9' cannot be pruned"):
        share_filters([net, net], [params] * 2, IndexMatrix(TASKS, {"conv9": two["conv1"]}))
    with pytest.raises(ShapeError, match="expected 4 booleans"):
        share_filters([net, net], [params] * 2, IndexMatrix(TASKS, {"conv2": two["conv1"]}))
    other = networks.build("mlp", (1, 6, 6), 2, hidden=())
    with pytest.raises(NetworkError, match="tasks 'a' and 'b' have networks of different architecture"):
        share_filters([net, other], [params, other.init(0)], IndexMatrix(TASKS, two))
