"""Counting the wrong predictions of many sparse candidates of one joint network, on the images of its tasks.

A candidate is a task and a mask: the task's network with the masked weights set to zero, and nothing trained.
Networks are run as :func:`emoref.nn.evaluate` runs them, so counts are those of each network alone. Equal
candidates are evaluated once; of a mask, 16 bytes are remembered (:mod:`emoref.search.cache`).
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.errors import DataError, ProblemError, ShapeError
from emoref.nn import Network, predict
from emoref.nn.batches import ArrayData, check_labels
from emoref.nn.executor import count_wrong
from emoref.search.cache import CountCache, fingerprint
from emoref.search.mask_genome import MaskGenome
from emoref.search.workers import SpreadEvaluator
from emoref_kernels import load_backend

__all__ = ["MaskedEvaluator", "MaskedWorkers", "candidate_rows"]

Array = NDArray[Any]
Rows = NDArray[np.uint8]

_REMEMBERED = 1_000_000
"""Counts that are kept, those of the candidates used last."""


def candidate_rows(genome: MaskGenome, genomes: ArrayLike, tasks: int) -> Rows:
    """Return the candidates of genomes: every genome for every task.

    Parameters
    ----------
    genome : MaskGenome
        What the bits mean.
    genomes : bool array, shape (P, n_bits)
        The genomes.
    tasks : int
        Number of tasks T, at most 255.

    Returns
    -------
    uint8 array, shape (T * P, 1 + packed bytes)
        The task, then the packed genome; all of the first task, then all of the second, and so on.
    """
    packed = genome.pack(genomes)
    task = np.repeat(np.arange(tasks, dtype=np.uint8), len(packed))
    return np.hstack([task[:, None], np.tile(packed, (tasks, 1))])


class MaskedEvaluator:
    """Wrong predictions of sparse candidates of the networks of several tasks.

    Parameters
    ----------
    nets : sequence of Network
        The tasks' networks, equal but for their heads.
    params : sequence of mapping of str to array
        Their parameters; must not change afterwards.
    images : sequence of float array, shape (N, C, H, W)
        The images of each task.
    labels : sequence of int array, shape (N,)
        Their classes.
    genome : MaskGenome
        What the bits of a mask mean.
    backend : str, default "cpu"
        The back end that computes.

    Attributes
    ----------
    totals : tuple of int
        Number of images of each task.
    cache : CountCache
        The counts that are remembered.
    evaluated : int
        How many candidates have really been evaluated so far (the others were known).

    Raises
    ------
    DataError
        If there are not as many sets of images as tasks, there are no images, or labels do not fit.
    """

    def __init__(
        self,
        nets: Sequence[Network],
        params: Sequence[Mapping[str, Array]],
        images: Sequence[Array],
        labels: Sequence[ArrayLike],
        genome: MaskGenome,
        backend: str = "cpu",
    ) -> None:
        if not len(nets) == len(params) == len(images) == len(labels) > 0:
            raise DataError(
                f"{len(nets)} networks, {len(params)} sets of parameters, {len(images)} of images and "
                f"{len(labels)} of labels; there must be one of each for every task"
            )
        data = [ArrayData(some, classes) for some, classes in zip(images, labels, strict=True)]
        if not all(len(some) for some in data):
            raise DataError("a task has no images to evaluate candidates on")
        self._nets, self._params, self._genome = tuple(nets), tuple(params), genome
        self._images = [some.images for some in data]
        self._labels = [
            check_labels(some.labels, len(some), net.classes) for some, net in zip(data, nets, strict=True)
        ]
        self._backend = load_backend(backend)
        self._fingerprint = partial(_fingerprint, nets, params, self._images, self._labels, genome, backend)
        self.totals = tuple(len(some) for some in data)
        self.cache = CountCache(_REMEMBERED, sum(self.totals))

    @property
    def evaluated(self) -> int:
        """How many candidates have really been evaluated so far."""
        return self.cache.spent.evaluated

    def wrong_counts(self, candidates: ArrayLike) -> NDArray[np.int64]:
        """Count the wrong predictions of every candidate.

        Parameters
        ----------
        candidates : uint8 array, shape (R, 1 + packed bytes)
            One a row; see :func:`candidate_rows`.

        Returns
        -------
        int64 array, shape (R,)
            The counts that :func:`emoref.nn.evaluate` gives for each masked network.

        Raises
        ------
        ShapeError
            If a row has another length.
        ProblemError
            If there is no such task.
        """
        rows = np.ascontiguousarray(candidates)
        width = 1 + self._genome.packed_bytes
        if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != width:
            raise ShapeError(
                f"candidates must be uint8 of shape (R, {width}), got {rows.dtype} of shape {rows.shape}"
            )
        if (rows[:, 0] >= len(self._nets)).any():
            raise ProblemError(f"a candidate's task must be 0 to {len(self._nets) - 1}")
        return self.cache.complete(rows, partial(self._count, rows))

    def keep_counts(self, path: Path) -> None:
        """Take over the counts that the file `path` holds, and keep them there; see :class:`CountCache`."""
        self.cache.attach(path, self._fingerprint())

    def close(self) -> None:
        """Write the counts that are kept in a file."""
        self.cache.save()

    def _count(self, rows: Rows, places: list[int]) -> Iterator[list[tuple[int, int]]]:
        for place in places:
            yield [(place, self._wrong(int(rows[place, 0]), rows[place, None, 1:]))]

    def _wrong(self, task: int, packed: Rows) -> int:
        params = dict(self._params[task])
        for layer, mask in self._genome.masks(self._genome.unpack(packed)[0]).items():
            weight = params[f"{layer}.weight"]
            params[f"{layer}.weight"] = np.where(mask, weight, weight.dtype.type(0))
        # Values that overflow are a result like any other here: the prediction is wrong.
        with np.errstate(over="ignore", invalid="ignore"):
            logits = predict(self._nets[task], params, self._images[task], self._backend)
        return count_wrong(logits, self._labels[task])


class MaskedWorkers(SpreadEvaluator):
    """Wrong predictions of sparse candidates, counted by workers.

    Parameters
    ----------
    nets, params, images, labels, genome, backend
        As for :class:`MaskedEvaluator`, with the same errors.
    make_executor, workers, report
        As for :class:`emoref.search.WorkerEvaluator`.

    Attributes
    ----------
    totals : tuple of int
        Number of images of each task.
    """

    def __init__(
        self,
        nets: Sequence[Network],
        params: Sequence[Mapping[str, Array]],
        images: Sequence[Array],
        labels: Sequence[ArrayLike],
        genome: MaskGenome,
        backend: str = "cpu",
        *,
        make_executor: Callable[[], Executor],
        workers: int,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        arrays = [np.asarray(some) for some in labels]
        few = ([some[:1] for some in images], [some[:1] for some in arrays])
        MaskedEvaluator(nets, params, *few, genome, backend)
        setup = {
            "evaluator": MaskedEvaluator,
            "nets": tuple(nets),
            "params": tuple(dict(some) for some in params),
            "images": tuple(images),
            "labels": tuple(arrays),
            "genome": genome,
            "backend": backend,
        }
        super().__init__(
            setup,
            _fingerprint(nets, params, images, arrays, genome, backend),
            sum(len(some) for some in images),
            np.uint8,
            _named,
            make_executor=make_executor,
            workers=workers,
            report=report,
            cache_size=_REMEMBERED,
        )
        self.totals = tuple(len(some) for some in images)


def _fingerprint(
    nets: Sequence[Network],
    params: Sequence[Mapping[str, Array]],
    images: Sequence[Array],
    labels: Sequence[Array],
    genome: MaskGenome,
    backend: str,
) -> str:
    arrays = [
        (f"{task} {name}", value)
        for task, values in enumerate(params)
        for name, value in (
            *sorted(values.items()),
            ("images", images[task]),
            ("labels", np.asarray(labels[task], dtype=np.int64)),
        )
    ]
    details = {"block": genome.block, "layers": list(genome.names)}
    return fingerprint("masked", backend, nets, arrays, details)


def _named(row: Rows) -> str:
    kept = int(np.unpackbits(row[1:]).sum())
    digest = hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest()
    return f"candidate of task {int(row[0])} with {kept} groups ({digest})"
