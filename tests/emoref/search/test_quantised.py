"""Counting quantised candidates together: the same counts as one by one, with less work."""

from concurrent.futures import Executor, Future

import numpy as np
import pytest

from emoref import compress, networks, nn
from emoref.compress import PrunedModel
from emoref.errors import ConfigError, DataError, ProblemError, ShapeError
from emoref.search import QuantizedEvaluator, QuantizedWorkers, workers
from emoref.search.quantised import REAL_BITS


def case_of(name, shape, images=24, seed=0):
    """A network, two pruned models, images and labels."""
    rng = np.random.default_rng(seed)
    net = networks.build(name, input_shape=shape)
    params = net.init(1)
    models = [
        PrunedModel.of(
            net, compress.apply_weight_masks(net, params, compress.magnitude_masks(net, params, ratio)), ratio
        )
        for ratio in (0.3, 0.6)
    ]
    return net, models, rng.standard_normal((images, *shape)).astype(np.float32), rng.integers(0, 10, images)


def candidates(layers, rng, count=10, same=0):
    """Rows of model and bits; all agree in model and the first bits where ``same`` is above 0."""
    rows = np.column_stack([rng.integers(0, 2, count), rng.integers(2, 5, (count, layers))])
    rows[:, :same] = rows[0, :same]
    return rows


def one_by_one(case, rows, method):
    net, models, images, labels = case
    layers = compress.weighted_layers(net)
    counts = []
    for model, *bits in rows:
        small = compress.quantize_network(
            net, models[model].params(net), dict(zip(layers, map(int, bits), strict=True)), method
        )
        counts.append(nn.evaluate(net, small.params(), images, labels).wrong)
    return counts


@pytest.fixture(scope="module")
def lenet5():
    return case_of("lenet5", (1, 28, 28))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("lenet5", (1, 28, 28)),
        ("lenet", (1, 28, 28)),
        ("mobilenet-v1", (3, 32, 32)),
        ("resnet20", (3, 32, 32)),
    ],
)
def test_counts_are_those_of_each_network_alone(name, shape):
    case = case_of(name, shape, images=8)
    evaluator = QuantizedEvaluator(*case, memory_bytes=2**22)
    rows = candidates(
        len(evaluator.layers), np.random.default_rng(1), count=5, same=len(evaluator.layers) - 1
    )
    assert evaluator.wrong_counts(rows).tolist() == one_by_one(case, rows, "symmetric")


@pytest.mark.parametrize("method", compress.METHODS)
def test_every_quantiser(lenet5, method):
    evaluator = QuantizedEvaluator(*lenet5, method=method)
    rows = candidates(5, np.random.default_rng(2), count=3)
    assert evaluator.wrong_counts(rows).tolist() == one_by_one(lenet5, rows, method)


def test_blocks_memory_and_order_change_nothing(lenet5):
    rows = candidates(5, np.random.default_rng(3))
    counts = QuantizedEvaluator(*lenet5).wrong_counts(rows)
    small = QuantizedEvaluator(*lenet5, memory_bytes=1)
    assert small.wrong_counts(rows[::-1]).tolist() == counts[::-1].tolist()


def test_weights_are_quantised_once_where_images_come_in_blocks():
    case = case_of("resnet20", (3, 32, 32), images=30)
    evaluator = QuantizedEvaluator(*case, memory_bytes=2**22)
    assert evaluator.weights.candidates == 3, "4 MiB hold 272,474 numbers three times, but not six times"
    assert evaluator._block < 30, "images come in several blocks"
    rows = [[model, *[bits] * len(evaluator.layers)] for model in (0, 1) for bits in (2, 3, 4)]
    counts = evaluator.wrong_counts(rows)
    assert evaluator.weights.quantized == 6 * len(evaluator.layers)
    assert evaluator.layer_runs == 6 * 30 * len(evaluator.layers)
    assert counts.tolist() == QuantizedEvaluator(*case).wrong_counts(rows).tolist()


def test_equal_beginnings_are_computed_once(lenet5):
    rows = np.array([[0, 4, 4, 4, 4, q] for q in (2, 3, 4, 5)])
    evaluator = QuantizedEvaluator(*lenet5)
    evaluator.wrong_counts(rows)
    assert evaluator.layer_runs == 24 * (4 + 4), "four shared layers and one more for each of four candidates"
    assert evaluator.weights.quantized == 4 + 4
    evaluator.wrong_counts(rows)
    assert evaluator.evaluated == 4
    assert evaluator.layer_runs == 24 * 8, "known counts are not found again"


def test_remembered_counts_are_taken_over(lenet5):
    evaluator = QuantizedEvaluator(*lenet5)
    evaluator.remember([[0, 4, 4, 4, 4, 4]], [7])
    assert evaluator.wrong_counts([[0, 4, 4, 4, 4, 4]]).tolist() == [7]
    assert evaluator.evaluated == 0


def test_real_bits_are_those_of_the_published_code(lenet5):
    net, models, images, labels = lenet5
    bits = [3.4, 2.6, 4.9, 3.0, 2.2]
    params = models[0].params(net)
    for layer, q in zip(compress.weighted_layers(net), bits, strict=True):
        params[f"{layer}.weight"] = compress.emomc_values(params[f"{layer}.weight"], q)
    expected = nn.evaluate(net, params, images, labels).wrong
    assert QuantizedEvaluator(*lenet5, method=REAL_BITS).wrong_counts([[0, *bits]]).tolist() == [expected]


def test_the_reference_back_end_counts_nearly_the_same(lenet5):
    rows = candidates(5, np.random.default_rng(4), count=2)
    exact = QuantizedEvaluator(*lenet5, backend="reference").wrong_counts(rows)
    assert np.abs(exact - QuantizedEvaluator(*lenet5).wrong_counts(rows)).max() <= 1


class Inline(Executor):
    """Runs each task at once in this process."""

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


@pytest.mark.parametrize("count", [1, 3])
def test_workers_count_the_same(lenet5, count):
    workers._evaluators.clear()
    rows = candidates(5, np.random.default_rng(5))
    with QuantizedWorkers(*lenet5, make_executor=Inline, workers=count) as many:
        assert many.wrong_counts(rows).tolist() == QuantizedEvaluator(*lenet5).wrong_counts(rows).tolist()
        many.remember([[0, 9, 9, 9, 9, 9]], [3])
        assert many.wrong_counts([[0, 9, 9, 9, 9, 9]]).tolist() == [3]


def test_a_candidate_that_fails_is_named(lenet5):
    class Broken(Executor):
        def submit(self, function, key, rows, setup):
            future = Future()
            if len(rows) > 1 or rows[0][1] == 2:
                future.set_exception(ValueError("no"))
            else:
                future.set_result(([5] * len(rows), 0))
            return future

    lines = []
    with QuantizedWorkers(*lenet5, make_executor=Broken, workers=1, report=lines.append) as many:
        assert many.wrong_counts([[0, 2, 3, 4, 5, 6], [1, 3, 3, 4, 5, 6]]).tolist() == [-1, 5]
    assert "candidate of model 0 with bits 2 3 4 5 6: ValueError: no; ranked last" in lines


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([[0, 4, 4]], ShapeError, "the bits of 5 layers"),
        ([[2, 4, 4, 4, 4, 4]], ProblemError, "model must be 0 to 1"),
        ([[0, 1, 4, 4, 4, 4]], ProblemError, "2 to 16"),
        ([[0, 4, 4, 4, 4, 17]], ProblemError, "2 to 16"),
        ([[0, 4, 4, 4, 4, 2.5]], ProblemError, "whole numbers"),
        ([[0, 4, 4, 4, 4, np.nan]], ProblemError, "2 to 16"),
    ],
)
def test_impossible_candidates(lenet5, rows, error, message):
    with pytest.raises(error, match=message):
        QuantizedEvaluator(*lenet5).wrong_counts(rows)


def test_impossible_evaluators(lenet5):
    net, models, images, labels = lenet5
    with pytest.raises(ConfigError, match="the library is empty"):
        QuantizedEvaluator(net, [], images, labels)
    with pytest.raises(ConfigError, match="method must be one of"):
        QuantizedEvaluator(net, models, images, labels, method="ternary")
    with pytest.raises(ConfigError, match="memory_bytes"):
        QuantizedEvaluator(net, models, images, labels, memory_bytes=0)
    with pytest.raises(DataError, match="no images"):
        QuantizedEvaluator(net, models, images[:0], labels[:0])
