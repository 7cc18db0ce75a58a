"""Candidates whose batch-norm statistics are measured anew, and the multiply-accumulates that they take."""

import numpy as np
import pytest

from emoref import nn
from emoref.compress import count, slim
from emoref.search import FilterGenome, PopulationEvaluator, Recalibration

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(30, 2, 8, 8)).astype(np.float32)
LABELS = RNG.integers(3, size=30)
TRAIN = RNG.normal(size=(24, 2, 8, 8)).astype(np.float32)


def network():
    b = nn.NetworkBuilder("small", (2, 8, 8))
    b.conv("conv1", 4, 3, padding=1)
    b.batch_norm("bn1")
    b.relu("relu1")
    b.conv("conv2", 5, 3, padding=1)
    b.batch_norm("bn2")
    b.relu("relu2")
    b.conv("conv3", 3, 3, padding=1)
    b.batch_norm("bn3")
    b.relu("relu3")
    b.global_avg_pool("gap")
    b.linear("fc", 3)
    return b.build()


def params_of(net):
    rng = np.random.default_rng(1)
    return {
        name: (rng.uniform(0.2, 1, shape) * (rng.choice([-1, 1], shape) if "weight" in name else 1)).astype(
            np.float32
        )
        for name, shape in net.param_shapes().items()
    }


def genomes(genome, count):
    rng = np.random.default_rng(2)
    rows = genome.random(rng.uniform(0.3, 1, count), rng)
    rows[1, :4] = rows[0, :4]  # an equal beginning
    rows[2] = rows[0]
    return rows


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("until", ["", "relu2"])
def test_counts_are_those_of_each_candidate_alone(backend, until):
    net = network()
    params = params_of(net)
    genome = FilterGenome(net, ["conv1", "conv2"])
    measure = Recalibration(TRAIN, 3, 8, until, backend)
    evaluator = PopulationEvaluator(net, params, IMAGES, LABELS, genome, backend, recalibration=measure)
    rows = genomes(genome, 6)
    found = evaluator.wrong_counts(rows)
    for row, wrong in zip(rows, found, strict=True):
        small_net, small = slim(net, params, genome.masks(row))
        small = measure(small_net, small)
        assert nn.evaluate(small_net, small, IMAGES, LABELS, backend=backend).wrong == wrong
    assert evaluator.evaluated == 5


def test_statistics_behind_the_last_node_stay():
    net = network()
    params = params_of(net)
    measured = Recalibration(TRAIN, 3, 8, "relu2", "reference")(net, params)
    changed = {name for name in params if not np.array_equal(measured[name], params[name])}
    assert changed == {f"bn{i}.running_{leaf}" for i in (1, 2) for leaf in ("mean", "var")}
    whole = Recalibration(TRAIN, 3, 8, backend="reference")(net, params)
    for name in changed:
        assert np.array_equal(whole[name], measured[name])


def macs(net, *names):
    return sum(layer.macs for layer in count(net).layers if layer.name in names)


def test_executed_macs_count_what_is_shared_once():
    """Two candidates, equal in conv1 and different in conv2: conv1 and conv2 of the stem by hand."""
    net = network()
    params = params_of(net)
    genome = FilterGenome(net, ["conv1", "conv2"])
    evaluator = PopulationEvaluator(net, params, IMAGES, LABELS, genome, "reference", block_size=7)
    rows = np.ones((2, genome.n_bits), dtype=bool)
    rows[:, 0] = False
    rows[1, 5] = False
    evaluator.wrong_counts(rows)
    nets = [slim(net, params, genome.masks(row))[0] for row in rows]
    # conv1 reads the images and runs once, with all its filters; what follows it runs for each.
    own = sum(macs(some, "conv2", "conv3", "fc") for some in nets)
    assert evaluator.macs_executed == 30 * (macs(net, "conv1") + own)
    evaluator.wrong_counts(rows)
    assert evaluator.macs_executed == 30 * (macs(net, "conv1") + own)  # remembered: nothing ran

    same = rows.copy()
    same[:, :9] = rows[0, :9]  # equal up to conv3
    fresh = PopulationEvaluator(net, params, IMAGES, LABELS, genome, "reference")
    fresh.wrong_counts(same)
    assert fresh.macs_executed == 30 * (macs(net, "conv1") + macs(nets[0], "conv2", "conv3", "fc"))


def test_a_beginning_that_candidates_share_runs_once():
    net = network()
    params = params_of(net)
    genome = FilterGenome(net, ["conv1", "conv2", "conv3"])
    rows = np.ones((2, genome.n_bits), dtype=bool)
    rows[:, [0, 4]] = False  # equal in conv1 and conv2
    rows[1, 9] = False  # different in conv3
    evaluator = PopulationEvaluator(net, params, IMAGES, LABELS, genome, "reference")
    evaluator.wrong_counts(rows)
    nets = [slim(net, params, genome.masks(row))[0] for row in rows]
    shared = macs(net, "conv1") + macs(nets[0], "conv2")
    assert evaluator.macs_executed == 30 * (shared + sum(macs(some, "conv3", "fc") for some in nets))


def test_recalibration_counts_its_forward_passes():
    net = network()
    measure = Recalibration(TRAIN, 3, 8, "relu2")
    assert measure.macs(net) == 24 * macs(net, "conv1", "conv2")
    assert Recalibration(TRAIN, 3, 8).macs(net) == 24 * macs(net, "conv1", "conv2", "conv3")
    genome = FilterGenome(net, ["conv2"])
    evaluator = PopulationEvaluator(
        net, params_of(net), IMAGES, LABELS, genome, "reference", recalibration=measure
    )
    assert evaluator.macs_executed == measure.macs(net)


def test_lenet_networks_count_their_convolutions_once_for_all_candidates():
    b = nn.NetworkBuilder("planes", (1, 12, 12))
    b.conv("conv1", 4, 5)
    b.max_pool("pool1", 2)
    b.flatten("flat")
    b.linear("fc1", 6)
    b.relu("relu1")
    b.linear("fc2", 3)
    net = b.build()
    images = RNG.normal(size=(10, 1, 12, 12)).astype(np.float32)
    genome = FilterGenome(net, ["conv1"])
    evaluator = PopulationEvaluator(net, net.init(0), images, LABELS[:10], genome)
    rows = np.array([[True] * 4, [True, False, True, False]])
    evaluator.wrong_counts(rows)
    # 8 * 8 places of 4 filters of 25 weights; 16 * kept features to 6 units, 6 to 3, for each candidate
    assert evaluator.macs_executed == 10 * (64 * 100 + (64 * 6 + 18) + (32 * 6 + 18))
