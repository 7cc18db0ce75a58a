"""Who evaluates: processes, a Dask cluster (one of whose workers dies), and what is refused."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from emoref import networks
from emoref.errors import MissingDependencyError, WorkerError
from emoref.runs import executors
from emoref.runs.config import EngineSection
from emoref.search import FilterGenome, PopulationEvaluator, WorkerEvaluator


def test_by_default_this_process_does_the_work():
    assert executors.workers_of(EngineSection()) is None


def test_processes():
    workers = executors.workers_of(EngineSection(workers=3))
    assert workers.count == 3
    pool = workers.make_executor()
    assert pool._max_workers == 3
    assert pool._mp_context.get_start_method() == "spawn"
    pool.shutdown()


def test_without_distributed_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"emoref\[dask\]"):
        executors.workers_of(EngineSection(dask="tcp://127.0.0.1:1"))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "127.0.0.1:1", "127.0.0.1", "x:9"])
def test_a_scheduler_that_does_not_answer(monkeypatch, address):
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "_PATIENCE_S", 1)
    with pytest.raises(WorkerError, match="no scheduler answers there within 1 s") as caught:
        executors.workers_of(EngineSection(dask=address))
    assert address in str(caught.value)
    assert "tcp://HOST:PORT" in str(caught.value)


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
    ) as made:
        yield made


def test_a_scheduler_without_workers(cluster):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as empty,
        pytest.raises(WorkerError, match="the scheduler has no workers"),
    ):
        executors.workers_of(EngineSection(dask=empty.scheduler_address))


def test_a_dask_worker_dies_in_a_generation_and_the_counts_are_the_same(cluster):
    rng = np.random.default_rng(0)
    net = networks.build("lenet", input_shape=(1, 28, 28), classes=10)
    layout = FilterGenome(net)
    images, labels = rng.standard_normal((30, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 30)
    genomes = rng.random((8, layout.n_bits)) < 0.4
    genomes[:, ::10] = True
    arguments = (net, net.init(1), images, labels, layout)
    expected = PopulationEvaluator(*arguments).wrong_counts(genomes).tolist()

    workers = executors.workers_of(EngineSection(dask=cluster.scheduler_address))
    assert workers.count == 2
    victim = next(iter(cluster.workers.values()))
    killed = []

    class Killing:
        """The cluster's executor; kills a worker when the second task has been given out."""

        def __init__(self, executor):
            self.executor, self.submitted = executor, 0

        def submit(self, *task):
            future = self.executor.submit(*task)
            self.submitted += 1
            if self.submitted == 2:
                killed.append(victim.process.pid)
                victim.process.process._process.kill()
            return future

        def shutdown(self):
            self.executor.shutdown()

    with WorkerEvaluator(
        *arguments, make_executor=lambda: Killing(workers.make_executor()), workers=workers.count
    ) as many:
        assert many.wrong_counts(genomes).tolist() == expected
    assert len(killed) == 1


def doubled(number):
    return 2 * number


def broken_in_threads(number):
    import threading

    if number == 2 and threading.current_thread() is not threading.main_thread():
        raise RuntimeError("no memory left there")
    return 2 * number


@pytest.mark.parametrize("count", [None, 1, 3])
def test_results_of_tasks_come_in_their_order(count):
    workers = None if count is None else executors.Workers(count, lambda: ThreadPoolExecutor(count))
    assert list(executors.spread(doubled, [3, 1, 2], workers, str)) == [6, 2, 4]
    assert list(executors.spread(doubled, [], workers, str)) == []


def test_what_a_worker_cannot_do_is_done_here():
    said = []
    workers = executors.Workers(2, lambda: ThreadPoolExecutor(2))
    found = executors.spread(broken_in_threads, [1, 2, 3], workers, lambda n: f"task {n}", said.append)
    assert list(found) == [2, 4, 6]
    assert said == ["task 2: RuntimeError: no memory left there; done here"]
