"""The population evaluator spread over workers: processes of this machine, or any executor's.

Every worker holds an evaluator of its own, made once from what the first task brings along, and computes on
one thread. A population's new genomes are sorted and cut into as many parts as there are workers, so that
candidates with equal beginnings stay together. Counts are integers, so they do not depend on who counted.

A part whose worker raises or dies is given out once more. If that fails too, its candidates are tried one by
one, and a candidate that still fails counts as failed: `FAILED` in place of its count, and a line to
``report``. Only if nothing at all works is it an error.
"""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any, Self

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.errors import ConfigError, WorkerError
from emoref.nn import Network
from emoref.search.cache import FAILED, CountCache
from emoref.search.evaluator import PopulationEvaluator, population_fingerprint
from emoref.search.genome import FilterGenome

__all__ = ["FAILED", "SpreadEvaluator", "WorkerEvaluator", "process_pool"]

_Rows = NDArray[Any]

_NEEDS_SETUP = "needs the setup"
_evaluators: dict[str, Any] = {}
"""In a worker: its evaluator, by the key of its setup. A new setup replaces the old one."""


def process_pool(workers: int) -> Executor:
    """Return a pool of spawned processes.

    Spawned, because a process forked after a parallel region dies in its first one under GNU OpenMP.

    Parameters
    ----------
    workers : int
        Number of processes, at least 1.

    Raises
    ------
    ConfigError
        If the number is below 1.
    """
    if workers < 1:
        raise ConfigError(f"the number of workers must be at least 1, got {workers}")
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def count_part(
    key: str, rows: _Rows, setup: Mapping[str, Any] | None, images: NDArray[np.int64] | None = None
) -> tuple[list[int], int] | str:
    """Count the wrong predictions of some candidates; the task that runs in a worker.

    Parameters
    ----------
    key : str
        Names the setup.
    rows : ndarray, shape (n, genes)
        Genomes.
    setup : mapping, optional
        Arguments of the evaluator, and its class as "evaluator"; needed once a worker.
    images : int array, optional
        On which images, by number; left out, on all.

    Returns
    -------
    tuple (list of int, int), or str
        The counts, and the multiply-accumulates that they took; a text if this worker has not got the setup
        yet.
    """
    if key not in _evaluators:
        if setup is None:
            return _NEEDS_SETUP
        _evaluators.clear()
        arguments = {name: value for name, value in setup.items() if name != "evaluator"}
        _evaluators[key] = setup["evaluator"](**arguments)
    numba.set_num_threads(1)
    evaluator = _evaluators[key]
    before = getattr(evaluator, "macs_executed", 0)
    found = evaluator.wrong_counts(rows) if images is None else evaluator.partial_counts(rows, images)
    counts = [int(count) for count in found]
    return counts, getattr(evaluator, "macs_executed", 0) - before


class SpreadEvaluator:
    """Wrong predictions of candidates, counted by workers that each hold an evaluator of their own.

    Parameters
    ----------
    setup : mapping
        Arguments of the evaluator, and its class as "evaluator"; its method ``wrong_counts`` is called.
    key : str
        Names the setup, and what counts depend on; another one has another key. See
        :func:`emoref.search.cache.fingerprint`.
    total : int
        Number of images.
    dtype : dtype
        Of genomes.
    named : callable
        Returns words for a genome that failed.
    make_executor, workers, report
        As for :class:`WorkerEvaluator`.
    cache_size : int, default 100000
        Counts to remember; 0 for none.

    Attributes
    ----------
    total : int
        Number of images.
    cache : CountCache
        The counts that are remembered, here and not by the workers.
    macs_executed : int
        Multiply-accumulates of all forward passes of all workers so far, as far as their evaluators count
        them. More than one evaluator would execute: each worker runs again what candidates share.

    Raises
    ------
    ConfigError
        If the number of workers is below 1.
    """

    def __init__(
        self,
        setup: Mapping[str, Any],
        key: str,
        total: int,
        dtype: Any,
        named: Callable[[_Rows], str],
        *,
        make_executor: Callable[[], Executor],
        workers: int,
        report: Callable[[str], None] = lambda text: None,
        cache_size: int = 100_000,
    ) -> None:
        if workers < 1:
            raise ConfigError(f"the number of workers must be at least 1, got {workers}")
        self._setup, self._key, self._dtype, self._named = setup, key, dtype, named
        self.total, self.macs_executed = total, 0
        self._make_executor, self._workers, self._report = make_executor, workers, report
        self._executor: Executor | None = None
        self.cache = CountCache(cache_size, total)

    def wrong_counts(self, genomes: ArrayLike) -> NDArray[np.int64]:
        """Return the wrong predictions of each genome, or `FAILED`.

        Parameters
        ----------
        genomes : array_like, shape (n, genes)
            Candidates.

        Raises
        ------
        WorkerError
            If the workers cannot be started or reached, or not one candidate could be evaluated; with the
            first reason.
        """
        rows = np.ascontiguousarray(genomes, dtype=self._dtype)

        return self.cache.complete(rows, lambda places: [self._count_sorted(rows, places)])

    def partial_counts(self, genomes: ArrayLike, part: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the wrong predictions of each genome on a part of the images, or `FAILED`.

        The evaluators of the workers must offer it; the cache is not asked.

        Parameters
        ----------
        genomes : array_like, shape (n, genes)
            Candidates.
        part : int array, shape (n,)
            Numbers of the images.

        Raises
        ------
        WorkerError
            As for :meth:`wrong_counts`.
        """
        rows = np.ascontiguousarray(genomes, dtype=self._dtype)
        wrong = np.zeros(len(rows), dtype=np.int64)
        for place, count in self._count_sorted(rows, range(len(rows)), part):
            wrong[place] = count
        return wrong

    def _count_sorted(
        self, rows: _Rows, places: Sequence[int], images: NDArray[np.int64] | None = None
    ) -> list[tuple[int, int]]:
        ordered = sorted(places, key=lambda place: rows[place].tobytes())
        return list(zip(ordered, self._count([rows[place] for place in ordered], images), strict=True))

    def remember(self, genomes: ArrayLike, counts: ArrayLike) -> None:
        """Take over `counts` of `genomes` that were found earlier, by evaluators like these."""
        self.cache.remember(np.ascontiguousarray(genomes, dtype=self._dtype), counts)

    def keep_counts(self, path: Path) -> None:
        """Take over the counts that the file `path` holds, and keep them there; see :class:`CountCache`."""
        self.cache.attach(path, self._key)

    def close(self) -> None:
        """Let the workers go, and write the counts that are kept in a file."""
        self.cache.save()
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------- giving out

    def _count(self, rows: Sequence[_Rows], images: NDArray[np.int64] | None) -> list[int]:
        """Count distinct genomes in sorted order: in parts, failed parts again, then one by one."""
        if not rows:
            return []
        parts = [list(part) for part in np.array_split(np.arange(len(rows)), min(self._workers, len(rows)))]
        counts, failures = [FAILED] * len(rows), []
        for attempt, what in enumerate(("given out again", "tried one by one", "ranked last")):
            failed = []
            for part, outcome in zip(parts, self._run_parts(rows, parts, images), strict=True):
                if isinstance(outcome, Exception):
                    failed.append(part)
                    failures.append(outcome)
                    what_failed = f"{len(part)} candidates" if len(part) > 1 else self._named(rows[part[0]])
                    self._report(f"{what_failed}: {_reason(outcome)}; {what}")
                else:
                    found, macs = outcome
                    self.macs_executed += macs
                    for place, count in zip(part, found, strict=True):
                        counts[place] = count
            parts = [[place] for part in failed for place in part] if attempt == 1 else failed
            if not parts:
                return counts
        if all(count == FAILED for count in counts):
            raise WorkerError(
                f"no worker could evaluate any of {len(rows)} candidates; the first reason: "
                f"{_reason(failures[0])}"
            )
        return counts

    def _run_parts(
        self, rows: Sequence[_Rows], parts: Sequence[Sequence[int]], images: NDArray[np.int64] | None
    ) -> list[Any]:
        """Return for each part its counts, or the exception that it ended in."""
        matrices = [np.array([rows[place] for place in part]) for part in parts]
        futures = [self._submit(matrix, None, images) for matrix in matrices]
        outcomes = [self._outcome(future) for future in futures]
        # A worker that has just started asks for the setup. One after another: each may be a new one.
        for place, matrix in enumerate(matrices):
            if outcomes[place] == _NEEDS_SETUP:
                outcomes[place] = self._submit(matrix, self._setup, images)
        outcomes = [self._outcome(o) if not isinstance(o, tuple | Exception) else o for o in outcomes]
        if any(_is_broken(outcome) for outcome in outcomes):
            self.close()
        return outcomes

    def _submit(
        self, matrix: _Rows, setup: Mapping[str, Any] | None, images: NDArray[np.int64] | None
    ) -> Any:
        try:
            if self._executor is None:
                self._executor = self._make_executor()
            where = () if images is None else (images,)
            return self._executor.submit(count_part, self._key, matrix, setup, *where)
        except (OSError, RuntimeError) as error:  # a broken pool is a RuntimeError
            return error

    def _outcome(self, future: Any) -> Any:
        if not hasattr(future, "result"):
            return future
        try:
            return future.result()
        except Exception as error:  # a worker may raise anything; what it was is reported
            return error


class WorkerEvaluator(SpreadEvaluator):
    """Wrong predictions of pruned candidates, counted by workers.

    Parameters
    ----------
    net, params, images, labels, layout, backend
        As for :class:`~emoref.search.PopulationEvaluator`.
    make_executor : callable
        Returns a new executor; called at the first population, and again if the executor broke down.
    workers : int
        Into how many parts a population is cut.
    report : callable, optional
        Called with one line for each part or candidate that failed.

    Attributes
    ----------
    total : int
        Number of images.

    Raises
    ------
    DataError, ConfigError
        If the evaluator that each worker is to make would refuse its arguments.
    """

    def __init__(
        self,
        net: Network,
        params: Mapping[str, NDArray[Any]],
        images: NDArray[Any],
        labels: ArrayLike,
        layout: FilterGenome,
        backend: str = "cpu",
        *,
        make_executor: Callable[[], Executor],
        workers: int,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        labels = np.asarray(labels)
        PopulationEvaluator(net, params, images[:1], labels[:1], layout, backend)
        setup = {
            "evaluator": PopulationEvaluator,
            "net": net,
            "params": dict(params),
            "images": images,
            "labels": labels,
            "layout": layout,
            "backend": backend,
        }
        super().__init__(
            setup,
            population_fingerprint(net, params, images, labels, layout, backend),
            len(images),
            bool,
            _named_filters,
            make_executor=make_executor,
            workers=workers,
            report=report,
        )


def _is_broken(outcome: Any) -> bool:
    """Return whether an executor gave up, rather than one of its tasks."""
    return isinstance(outcome, Exception) and "Broken" in type(outcome).__name__


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _named_filters(row: _Rows) -> str:
    return f"candidate with {int(row.sum())} of {row.size} filters ({np.packbits(row).tobytes().hex()[:32]})"
