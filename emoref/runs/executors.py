"""Who evaluates candidates: this process, processes of this machine, or a Dask cluster."""

import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from emoref.errors import MissingDependencyError, WorkerError
from emoref.runs.config import EngineSection
from emoref.search import process_pool

__all__ = ["Workers", "spread", "workers_of"]

Task = TypeVar("Task")
Result = TypeVar("Result")

_PATIENCE_S = 10
"""How long a Dask scheduler may take to answer, in seconds."""


@dataclass(frozen=True)
class Workers:
    """How to start workers, and into how many parts a population is cut for them."""

    count: int
    make_executor: Callable[[], Executor]


def workers_of(engine: EngineSection) -> Workers | None:
    """Return the workers that a configuration asks for; None if this process does the work itself.

    Parameters
    ----------
    engine : EngineSection
        Its ``workers`` and ``dask``. With ``dask`` and no ``workers``, a population is cut into as many
        parts as the cluster has threads.

    Raises
    ------
    WorkerError
        If the Dask scheduler does not answer, or has no workers.
    MissingDependencyError
        If ``dask`` is asked for and distributed is not installed.
    """
    if engine.dask:
        with _dask_client(engine.dask) as client:
            threads = sum(client.nthreads().values())
        if threads == 0:
            raise WorkerError(
                f"--dask {engine.dask}: the scheduler has no workers; start some with 'dask worker'"
            )
        return Workers(engine.workers or threads, lambda: _DaskExecutor(_dask_client(engine.dask)))
    if engine.workers:
        return Workers(engine.workers, lambda: process_pool(engine.workers))
    return None


def spread(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: Workers | None,
    named: Callable[[Task], str],
    report: Callable[[str], None] = lambda text: None,
) -> Iterator[Result]:
    """Yield the results of independent tasks, in their order.

    What a worker does not bring back is done here, with the same result.

    Parameters
    ----------
    function : callable
        What a task is given to; importable, as tasks are, by workers.
    tasks : sequence
        The tasks.
    workers : Workers, optional
        Who does them; by default this process.
    named : callable
        Returns words for a task that failed.
    report : callable, optional
        Called with one line for each task that a worker could not do.
    """
    if workers is None or len(tasks) < 2:
        yield from map(function, tasks)
        return
    with workers.make_executor() as executor:
        futures = [executor.submit(function, task) for task in tasks]
        for task, future in zip(tasks, futures, strict=True):
            try:
                result = future.result()
            except (OSError, RuntimeError, MemoryError) as error:  # a broken pool is a RuntimeError
                report(f"{named(task)}: {type(error).__name__}: {error}; done here")
                result = function(task)
            yield result


class _DaskExecutor(Executor):
    """The executor of a Dask client, which also closes the client."""

    def __init__(self, client: Any) -> None:
        self._client, self._executor = client, client.get_executor(pure=False, retries=0)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Give a task to the cluster."""
        return self._executor.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the tasks and leave the cluster."""
        self._executor.shutdown(wait=wait)
        self._client.close()


def _dask_client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise MissingDependencyError(
            '--dask needs distributed, which is not installed; install it with: pip install "emoref[dask]"'
        ) from None
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        # A client that does not reach its scheduler goes on trying in the background; so look first.
        socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()
        return Client(address, timeout=_PATIENCE_S)
    except (OSError, ValueError, TypeError) as error:
        raise WorkerError(
            f"--dask {address}: no scheduler answers there within {_PATIENCE_S} s "
            f"({type(error).__name__}); give its address as tcp://HOST:PORT"
        ) from None
