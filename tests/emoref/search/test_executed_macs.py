"""Every evaluator counts the multiply-accumulates that it executes, also those that workers do."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from emoref import nn
from emoref.compress import PrunedModel, count
from emoref.search import FilterGenome, PopulationEvaluator, QuantizedEvaluator, WorkerEvaluator, workers

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(20, 1, 6, 6)).astype(np.float32)
LABELS = RNG.integers(3, size=20)


def network():
    b = nn.NetworkBuilder("small", (1, 6, 6))
    b.conv("conv1", 4, 3, padding=1)
    b.relu("relu1")
    b.conv("conv2", 5, 3)
    b.relu("relu2")
    b.flatten("flat")
    b.linear("fc", 3)
    return b.build()


def case():
    net = network()
    genome = FilterGenome(net)
    rows = genome.random(RNG.uniform(0.4, 1, 6), RNG)
    return (net, net.init(0), IMAGES, LABELS, genome, "reference"), rows


def test_one_worker_executes_what_one_evaluator_does_and_two_at_least_that(monkeypatch):
    arguments, rows = case()
    alone = PopulationEvaluator(*arguments)
    wrong = alone.wrong_counts(rows).tolist()
    executed = []
    for parts in (1, 2):
        monkeypatch.setattr(workers, "_evaluators", {})  # a worker that remembers nothing
        with WorkerEvaluator(
            *arguments, make_executor=lambda: ThreadPoolExecutor(1), workers=parts
        ) as evaluator:
            assert evaluator.wrong_counts(rows).tolist() == wrong
            executed.append(evaluator.macs_executed)
            evaluator.wrong_counts(rows)
            assert evaluator.macs_executed == executed[-1]  # all known: nothing ran
    assert executed[0] == alone.macs_executed
    # The first convolution, which all candidates share, runs once more.
    first = next(layer.macs for layer in count(network()).layers if layer.name == "conv1")
    assert executed[0] < executed[1] <= executed[0] + 20 * (first + count(network()).macs)


def test_quantised_candidates_share_equal_beginnings():
    net = network()
    evaluator = QuantizedEvaluator(
        net, [PrunedModel.of(net, net.init(0), 1.0, {})], IMAGES, LABELS, backend="reference"
    )
    costs = {layer.name: layer.macs for layer in count(net).layers}
    evaluator.wrong_counts([[0, 4, 4, 8], [0, 4, 4, 5]])
    shared = costs["conv1"] + costs["conv2"]
    assert evaluator.macs_executed == 20 * (shared + 2 * costs["fc"])
    evaluator.wrong_counts([[0, 4, 4, 5], [0, 3, 4, 5]])
    assert evaluator.macs_executed == 20 * (shared + 2 * costs["fc"] + count(net).macs)
