"""Choosing slots: rates, importance, equal storage, and workers that break."""

import pickle
import re
from concurrent.futures import Executor, Future

import numpy as np
import pytest

from emoref import compress, networks
from emoref.compress import IndexMatrix
from emoref.errors import ConfigError, NetworkError
from emoref.runs.executors import Workers
from emoref.runs.folder import RunFolder
from emoref.search import SlotProblem, SlotSearch
from emoref.systems import layer_slots
from emoref.systems.layer_slots import LayerTask


@pytest.fixture(scope="module")
def two():
    nets = [networks.build("lenet5", (1, 28, 28), n, widths=(4, 6, 8, 5)) for n in (3, 4)]
    rng = np.random.default_rng(0)
    data = [(rng.normal(size=(12, 1, 28, 28)).astype(np.float32), np.arange(12) % n) for n in (3, 4)]
    return nets, [net.init(t) for t, net in enumerate(nets)], data


def ranking(two, criteria=("l1", "taylor")):
    nets, params, data = two
    return layer_slots.rank_filters(nets, params, criteria, data, 0, "cpu")


def test_importance_is_that_of_the_criteria_scaled_layer_by_layer(two):
    found = ranking(two)
    assert list(found.importance) == ["conv1", "conv2", "conv3", "fc1"]
    for name, values in found.importance.items():
        assert values.shape[:2] == (2, 2)
        assert (values.min(axis=2) == 0).all()
        assert (values.max(axis=2) == 1).all(), name
    scores = compress.filter_importance("l1", two[0][1], two[1][1], linear=True)["fc1"]
    assert np.argmax(found.importance["fc1"][0, 1]) == np.argmax(scores)
    weights = [params["conv2.weight"] for params in two[1]]
    assert found.distances["conv2"][0, 1, 3] == compress.filter_distances(*weights)[3, 3]
    assert np.array_equal(found.distances["conv2"][0, 1], found.distances["conv2"][1, 0])
    np.testing.assert_allclose(
        found.mean_importance()[1]["conv1"], found.importance["conv1"][:, 1].mean(axis=0)
    )


def test_every_criterion_can_be_an_objective(two):
    found = ranking(two, compress.CRITERIA)
    problem = SlotProblem(found.importance["conv1"], found.distances["conv1"], found.criteria)
    assert problem.n_obj == len(compress.CRITERIA) + 2


@pytest.mark.parametrize(("slots", "rate", "kept"), [(20, 0.5, 10), (5, 0.5, 2), (7, 0.5, 4), (50, 0.98, 1)])
def test_how_many_slots_a_rate_keeps(slots, rate, kept):
    assert layer_slots.kept_at_rate(slots, rate) == kept


def test_a_rate_that_empties_a_layer_names_it(two):
    with pytest.raises(ConfigError, match=r"layer 'conv1': a pruning rate of 0\.9 would empty a layer of 4"):
        layer_slots.check_rates(two[0][0], [0.5, 0.9])
    layer_slots.check_rates(two[0][0], [0.5, 0.8])


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 6, 20, 50, 64, 500, 999, 2048])
def test_the_rate_that_is_advised_keeps_a_filter(slots):
    with pytest.raises(ConfigError, match="or less keeps one at least") as refused:
        layer_slots.kept_at_rate(slots, 1.0)
    advised = float(re.search(r"; (0\.[0-9]+) or less", str(refused.value))[1])
    assert layer_slots.kept_at_rate(slots, advised) >= 1
    if slots < 500:
        with pytest.raises(ConfigError):
            layer_slots.kept_at_rate(slots, advised + 0.002)


def test_a_criterion_keeps_the_strongest_of_each_task(two):
    found = ranking(two)
    kept = {"conv1": 2, "conv2": 3, "conv3": 1, "fc1": 5}
    layers = layer_slots.strongest_slots(found, "taylor", kept)
    for name, slots in layers.items():
        assert (slots.kept.sum(axis=1) == kept[name]).all()
        assert not slots.shared.any()
        for t in range(2):
            scores = found.importance[name][1, t]
            assert scores[slots.kept[t]].min() >= scores[~slots.kept[t]].max(initial=0)


def test_equal_storage_is_as_much_as_fits(two):
    nets = two[0]
    masks = [
        {
            name: np.arange(n) < max(1, n // 2)
            for name, n in compress.prunable_layers(net, linear=True).items()
        }
        for net in nets
    ]
    index = IndexMatrix.of_masks(("a", "b"), masks)
    stored = sum(
        compress.count(compress.slim_network(net, some)).params for net, some in zip(nets, masks, strict=True)
    )
    halves = {"conv1": 2, "conv2": 3, "conv3": 4, "fc1": 2}
    assert layer_slots.equal_storage(nets, ("a", "b"), index, stored) == halves
    assert layer_slots.equal_storage(nets, ("a", "b"), index, 10**9) == dict(
        zip(halves, (4, 6, 8, 5), strict=True)
    )
    assert set(layer_slots.equal_storage(nets, ("a", "b"), index, 1).values()) == {1}


def test_networks_whose_shortcuts_pad_channels_are_refused():
    with pytest.raises(NetworkError, match="makes only some of the channels that additions tie it to"):
        layer_slots.layer_groups(networks.build("resnet20", (3, 32, 32), 4, widths=(3, 4, 5)))
    groups = layer_slots.layer_groups(
        networks.build("resnet20", (3, 32, 32), 4, widths=(3, 4, 5), shortcut="B")
    )
    assert any(len(group.layers) > 1 for group in groups)
    with pytest.raises(NetworkError, match="no layer to prune"):
        layer_slots.layer_groups(networks.build("mlp", (1, 4, 4), 3, hidden=()))


def test_a_layers_search_travels_to_a_worker(two):
    found = ranking(two)
    task = LayerTask(
        "conv1",
        SlotProblem(found.importance["conv1"], found.distances["conv1"], found.criteria),
        SlotSearch(2),
    )
    here, there = layer_slots.search_layer(task), layer_slots.search_layer(pickle.loads(pickle.dumps(task)))
    assert np.array_equal(here[1].genomes, there[1].genomes)
    assert here[1].evaluations > here[0].evaluations


class Breaking(Executor):
    """Loses every second task, as a pool whose worker was killed does."""

    def __init__(self):
        self.count = 0

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.count += 1
        if self.count % 2:
            future.set_exception(RuntimeError("a worker was killed"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


def test_what_workers_lose_is_searched_here(two, tmp_path):
    found = ranking(two)
    settings = [SlotSearch(2, seed=place) for place in range(4)]
    said, chosen = [], []
    for place, workers in enumerate((None, Workers(2, Breaking))):
        folder = RunFolder.create(tmp_path / str(place), 'name = "x"\n')
        arguments = ("index-50", found, None, 0.05, True, settings, workers, folder)
        chosen.append(layer_slots.search_layers(*arguments, lambda done, text: None, said.append))
    assert [text.split(":")[0] for text in said] == ["search of layer 'conv1'", "search of layer 'conv3'"]
    for name, slots in chosen[0].items():
        assert np.array_equal(slots.kinds(), chosen[1][name].kinds())
