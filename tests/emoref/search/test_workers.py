"""Workers: the same counts whoever counts, and what happens to those that fail."""

import os
import signal
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest

from emoref import networks
from emoref.errors import ConfigError, DataError, WorkerError
from emoref.search import FAILED, FilterGenome, PopulationEvaluator, WorkerEvaluator, process_pool, workers


@pytest.fixture(scope="module")
def case():
    """A network, images, labels and 12 genomes, of which two are equal."""
    rng = np.random.default_rng(0)
    net = networks.build("lenet", input_shape=(1, 28, 28), classes=10)
    layout = FilterGenome(net)
    images = rng.standard_normal((40, 1, 28, 28)).astype(np.float32)
    genomes = rng.random((12, layout.n_bits)) < 0.3
    genomes[:, ::10] = True
    genomes[7] = genomes[2]
    return (net, net.init(1), images, rng.integers(0, 10, 40), layout), genomes


@pytest.fixture(scope="module")
def expected(case):
    arguments, genomes = case
    return PopulationEvaluator(*arguments).wrong_counts(genomes).tolist()


class Inline(Executor):
    """Runs each task at once in this process; `fails(rows)` says what to raise instead, if anything."""

    def __init__(self, fails=lambda rows: None):
        self.fails, self.parts, self.setups, self.closed = fails, [], 0, False

    def submit(self, function, key, rows, setup):
        self.parts.append(rows)
        self.setups += setup is not None
        future, error = Future(), self.fails(rows)
        if error is None:
            future.set_result(function(key, rows, setup))
        else:
            future.set_exception(error)
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        self.closed = True


def evaluator(case, executor, count=3, report=lambda text: None):
    workers._evaluators.clear()
    return WorkerEvaluator(*case[0], make_executor=lambda: executor, workers=count, report=report)


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_counts_do_not_depend_on_the_number_of_parts(case, expected, count):
    executor = Inline()
    with evaluator(case, executor, count) as many:
        assert many.wrong_counts(case[1]).tolist() == expected
        assert many.total == 40
        assert executor.setups >= 1
        tasks = len(executor.parts)
        assert many.wrong_counts(case[1][::-1]).tolist() == expected[::-1]
        assert len(executor.parts) == tasks, "known counts are not given out again"
    assert executor.closed
    assert sum(len(part) for part in executor.parts[:count]) <= 11 * (count + 1)


def test_a_population_is_cut_in_sorted_order(case):
    executor = Inline()
    evaluator(case, executor).wrong_counts(case[1])
    rows = [row.tobytes() for part in executor.parts[:3] for row in part]
    assert rows == sorted(rows)
    assert [len(part) for part in executor.parts[:3]] == [4, 4, 3]


def test_threads_as_workers(case, expected):
    with evaluator(case, ThreadPoolExecutor(2), 2) as many:
        assert many.wrong_counts(case[1]).tolist() == expected


def test_a_part_that_fails_once_is_given_out_again(case, expected):
    left = [MemoryError("no memory left")]
    said = []
    executor = Inline(lambda rows: left.pop() if left and len(executor.parts) > 3 else None)
    many = evaluator(case, executor, report=said.append)
    assert many.wrong_counts(case[1]).tolist() == expected
    assert said == ["4 candidates: MemoryError: no memory left; given out again"]


def test_a_candidate_that_always_fails_is_found_and_ranked_last(case, expected):
    bad, said = case[1][5], []

    def fails(rows):
        return ValueError("cannot be") if (rows == bad).all(axis=1).any() else None

    many = evaluator(case, Inline(fails), report=said.append)
    counts = many.wrong_counts(case[1]).tolist()
    assert counts == [FAILED if i == 5 else count for i, count in enumerate(expected)]
    assert [line.rpartition("; ")[2] for line in said] == [
        "given out again",
        "tried one by one",
        "ranked last",
    ]
    assert said[-1].startswith(f"candidate with {int(bad.sum())} of 70 filters (")
    assert "ValueError: cannot be" in said[-1]


def test_a_failed_candidate_is_tried_again_when_it_comes_back(case, expected):
    broken = [True]
    many = evaluator(case, Inline(lambda rows: OSError("disk") if broken and len(rows) == 1 else None))
    assert FAILED not in many.wrong_counts(case[1][:8])
    with pytest.raises(WorkerError, match="any of 1 candidates; the first reason: OSError: disk"):
        many.wrong_counts(case[1][9:10])
    broken.clear()
    assert many.wrong_counts(case[1][9:10]).tolist() == expected[9:10]


def test_no_worker_can_be_started(case):
    def refuse():
        raise OSError("no more processes")

    workers._evaluators.clear()
    many = WorkerEvaluator(*case[0], make_executor=refuse, workers=2)
    with pytest.raises(WorkerError, match="OSError: no more processes"):
        many.wrong_counts(case[1])


def test_what_an_evaluator_refuses_is_refused_before_any_worker_starts(case):
    net, params, images, labels, layout = case[0]
    with pytest.raises(DataError):
        WorkerEvaluator(net, params, images[:0], labels[:0], layout, make_executor=Inline, workers=1)
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        WorkerEvaluator(*case[0], make_executor=Inline, workers=0)
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        process_pool(0)


def test_processes_and_one_of_them_killed(case, expected):
    """The pool breaks down, a new one is started, and the counts are the same."""
    said, pools = [], []

    def start():
        pools.append(process_pool(2))
        return pools[-1]

    def kill_the_first():
        while not pools or not pools[0]._processes:
            time.sleep(0.01)
        os.kill(next(iter(pools[0]._processes)), signal.SIGKILL)

    with WorkerEvaluator(*case[0], make_executor=start, workers=2, report=said.append) as many:
        killer = threading.Thread(target=kill_the_first)
        killer.start()
        assert many.wrong_counts(case[1]).tolist() == expected
        killer.join()
    assert len(pools) >= 2
    assert any("BrokenProcessPool" in line for line in said)
