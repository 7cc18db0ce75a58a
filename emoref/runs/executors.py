"""Who evaluates candidates: this process, processes of this machine, or a Dask cluster."""

import socket
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from emoref.errors import MissingDependencyError, WorkerError
from emoref.runs.config import EngineSection
from emoref.search import process_pool

__all__ = ["Workers", "workers_of"]

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
