"""Sparse candidates: counts are those of each masked network alone, wherever they are counted."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from emoref import networks, nn
from emoref.compress import apply_weight_masks
from emoref.errors import DataError, ProblemError, ShapeError
from emoref.search import FAILED, MaskedEvaluator, MaskedWorkers, MaskGenome, candidate_rows


def setting(name="lenet", shape=(1, 28, 28), images=40, **options):
    rng = np.random.default_rng(5)
    nets = [networks.build(name, input_shape=shape, classes=c, **options) for c in (3, 4)]
    multi = nn.shared_trunk(["a", "b"], nets)
    store = nn.initial_store(multi, lambda t: nets[t].init(t))
    params = [multi.params(store, t) for t in range(2)]
    x = [rng.standard_normal((images + t, *shape)).astype(np.float32) for t in range(2)]
    y = [rng.integers(0, 3 + t, images + t) for t in range(2)]
    return nets, params, x, y


@pytest.mark.parametrize(
    ("name", "options", "block", "backend"),
    [
        ("lenet", {"widths": (3, 4, 6)}, 1, "cpu"),
        ("lenet", {"widths": (3, 4, 6)}, 7, "reference"),
        ("mlp", {"hidden": (8, 5)}, 3, "reference"),
    ],
)
def test_counts_are_those_of_each_network_alone(name, options, block, backend):
    nets, params, x, y = setting(name, **options)
    genome = MaskGenome(nets[0], block)
    genomes = np.random.default_rng(1).random((5, genome.n_bits)) < 0.3
    genomes[3] = genomes[1]
    evaluator = MaskedEvaluator(nets, params, x, y, genome, backend)
    rows = candidate_rows(genome, genomes, 2)
    counts = evaluator.wrong_counts(rows)
    assert evaluator.totals == (40, 41)
    assert evaluator.evaluated == 8  # equal candidates once
    for task in range(2):
        for i, row in enumerate(genomes):
            masked = apply_weight_masks(nets[task], params[task], genome.masks(row))
            wrong = nn.evaluate(nets[task], masked, x[task], y[task], backend=backend).wrong
            assert counts[5 * task + i] == wrong
    np.testing.assert_array_equal(evaluator.wrong_counts(rows[::-1]), counts[::-1])
    assert evaluator.evaluated == 8


def test_rows_are_tasks_and_packed_genomes():
    nets, *_ = setting(widths=(3, 4, 6))
    genome = MaskGenome(nets[0], 25)
    genomes = np.eye(2, genome.n_bits, dtype=bool)
    rows = candidate_rows(genome, genomes, 2)
    assert rows[:, 0].tolist() == [0, 0, 1, 1]
    assert rows[:, 1].tolist() == [128, 64, 128, 64]


class Broken(ThreadPoolExecutor):
    """Fails for the candidates of task 1."""

    def submit(self, function, key, matrix, setup):
        if (matrix[:, 0] == 1).any():
            return super().submit(self.fail)
        return super().submit(function, key, matrix, setup)

    @staticmethod
    def fail():
        raise RuntimeError("no such luck")


def test_workers_count_the_same_and_failures_are_told():
    nets, params, x, y = setting(widths=(3, 4, 6))
    genome = MaskGenome(nets[0])
    genomes = np.random.default_rng(2).random((4, genome.n_bits)) < 0.3
    rows = candidate_rows(genome, genomes, 2)
    alone = MaskedEvaluator(nets, params, x, y, genome).wrong_counts(rows)
    workers = MaskedWorkers(
        nets, params, x, y, genome, make_executor=lambda: ThreadPoolExecutor(2), workers=2
    )
    with workers:
        np.testing.assert_array_equal(workers.wrong_counts(rows), alone)
        assert workers.totals == (40, 41)
    said = []
    broken = MaskedWorkers(
        nets, params, x, y, genome, make_executor=lambda: Broken(2), workers=2, report=said.append
    )
    with broken:
        counts = broken.wrong_counts(rows)
    np.testing.assert_array_equal(counts[:4], alone[:4])
    assert counts[4:].tolist() == [FAILED] * 4
    assert any("candidate of task 1 with" in line and "no such luck" in line for line in said)


def test_what_is_refused():
    nets, params, x, y = setting(widths=(3, 4, 6))
    genome = MaskGenome(nets[0])
    with pytest.raises(DataError, match="there must be one of each for every task"):
        MaskedEvaluator(nets, params, x[:1], y, genome)
    with pytest.raises(DataError, match="a task has no images"):
        MaskedEvaluator(nets, params, [x[0], x[1][:0]], [y[0], y[1][:0]], genome)
    with pytest.raises(DataError):
        MaskedEvaluator(nets, params, x, [y[0], y[1] + 10], genome)
    evaluator = MaskedEvaluator(nets, params, x, y, genome)
    rows = candidate_rows(genome, np.ones((1, genome.n_bits), dtype=bool), 3)
    with pytest.raises(ProblemError, match="a candidate's task must be 0 to 1"):
        evaluator.wrong_counts(rows)
    with pytest.raises(ShapeError, match="candidates must be uint8"):
        evaluator.wrong_counts(rows[:, :-1])
