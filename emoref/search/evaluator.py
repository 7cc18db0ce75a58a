"""Counting the wrong predictions of many pruned candidates of one network, without doing work twice.

Each candidate is evaluated as the slimmed network that it is. Four things are shared, none of which changes
a single bit of the result:

* The *stem*, computed once for each block of images with all filters: what lies before the first layer that
  reads pruned channels. The channels of a convolution do not influence each other, nor do those of the batch
  norm, ReLU and pooling behind it, so a candidate just picks its channels.
* Equal beginnings: candidates with equal masks up to some layer share the values up to there.
* Equal genomes in one population are evaluated once.
* A bounded memory of counts by genome serves candidates that come back in a later generation, and with a
  file in a later process (:mod:`emoref.search.cache`).

Networks of the LeNet kind share more on the CPU back end, in one compiled call for all candidates
(:mod:`emoref.search.planes`).

Images are streamed in blocks and slimmed parameters are held for as many candidates at a time as fit into
a budget, so the memory needed does not grow with the number of images or of candidates. On a GPU the images
stay there, and several candidates run side by side (:mod:`emoref.search.on_device`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.compress import kept_channels
from emoref.compress.slim import cut_network, cut_params
from emoref.errors import ConfigError, DataError, ProblemError
from emoref.nn import INPUT, Network, run_nodes
from emoref.nn.batches import ArrayData, check_labels, slices
from emoref.nn.device import is_device
from emoref.nn.executor import count_wrong
from emoref.nn.fused import compile_plan, is_fusible
from emoref.search.cache import CountCache, fingerprint
from emoref.search.candidates import Candidate, Runs, descend, pick, split
from emoref.search.genome import FilterGenome
from emoref.search.on_device import RESIDENT_SHARE, STREAMS, DevicePopulation
from emoref.search.planes import PlanesPopulation
from emoref.search.recalibration import Recalibration
from emoref.search.sharing import sharing_plan
from emoref_kernels import load_backend

__all__ = ["PopulationEvaluator", "population_fingerprint"]

Values = Mapping[str, NDArray[Any]]
Images = NDArray[np.int64]
"""Numbers of some of the images."""


class PopulationEvaluator:
    """Wrong predictions of pruned candidates of one network on fixed images.

    Parameters
    ----------
    net : Network
        The unpruned network, a classifier.
    params : mapping of str to array
        Its parameters; must not change afterwards, or remembered counts would be out of date.
    images : float array, shape (N, C, H, W)
        The images to classify.
    labels : int array, shape (N,)
        Their classes.
    layout : FilterGenome
        What the bits of a genome mean.
    backend : str, default "cpu"
        The back end that computes.
    block_size : int, default 500
        Images at a time.
    cache_size : int, default 100000
        Counts to remember, of the genomes used last; 0 for none.
    memory_bytes : int, default 2**28
        Budget for the slimmed parameters of the candidates in work. At least one candidate is in work,
        however large; activations of one block come on top.
    recalibration : Recalibration, optional
        How the batch-norm statistics of each candidate are measured anew before it is scored; left out, it
        keeps those of the unpruned network.
    streams : int, default 4
        On a GPU: how many candidates run side by side. Counts do not depend on it.
    resident_share : float, default 0.5
        On a GPU: the largest share of its free memory that the images may take to stay there; 0 to upload
        them block by block.

    Attributes
    ----------
    total : int
        Number of images; divide counts by it to have the error.
    device : DevicePopulation or None
        What evaluates on a GPU; None elsewhere.
    cache : CountCache
        The counts that are remembered.
    evaluated : int
        How many candidates have really been evaluated so far (the others were known).
    macs_executed : int
        Multiply-accumulates of all forward passes so far, those that candidates share counted once and those
        for batch-norm statistics included.
    stem : tuple of str
        Nodes that are computed once for all candidates.

    Raises
    ------
    DataError
        If there are no images, or the labels do not fit.
    ConfigError
        If a size is not positive.
    """

    def __init__(
        self,
        net: Network,
        params: Mapping[str, NDArray[Any]],
        images: NDArray[Any],
        labels: ArrayLike,
        layout: FilterGenome,
        backend: str = "cpu",
        block_size: int = 500,
        cache_size: int = 100_000,
        memory_bytes: int = 2**28,
        recalibration: Recalibration | None = None,
        streams: int = STREAMS,
        resident_share: float = RESIDENT_SHARE,
    ) -> None:
        for what, value, least in (
            ("block_size", block_size, 1),
            ("cache_size", cache_size, 0),
            ("memory_bytes", memory_bytes, 1),
            ("streams", streams, 1),
        ):
            if value < least:
                raise ConfigError(f"{what} must be at least {least}, got {value}")
        data = ArrayData(images, labels)
        if len(data) == 0:
            raise DataError("there are no images to evaluate candidates on")
        self._images = data.images
        self._labels = check_labels(data.labels, len(data), net.classes)
        self._recalibration, self.macs_executed = recalibration, 0
        self._net, self._layout = net, layout
        self._params = params if recalibration is None else self._recalibrated(net, params)
        self._backend = load_backend(backend)
        self._block_size, self._memory_bytes = block_size, memory_bytes
        self._plan = sharing_plan(net, layout)
        later = {node.name for node in net.nodes}.difference(self._plan.stem)
        self._later_params = {n: v for n, v in self._params.items() if n.rpartition(".")[0] in later}
        self._stem_params = {n: v for n, v in self._params.items() if n not in self._later_params}
        self._fusible = is_fusible(params, [self._images], self._backend)
        planes = self._fusible and recalibration is None
        self._planes = PlanesPopulation.make(net, params, layout) if planes else None
        self.device: DevicePopulation | None = None
        if is_device(self._backend):
            given = net, self._plan, self._stem_params, self._later_params, self._images, self._labels
            self.device = DevicePopulation(*given, self._backend, streams, resident_share)
        self._stem_runs = Runs()
        self._held: dict[bytes, Candidate] = {}
        self._fingerprint = partial(
            population_fingerprint, net, params, self._images, self._labels, layout, backend, recalibration
        )
        self.cache = CountCache(cache_size, len(data))
        self.total = len(data)
        self.stem = self._plan.stem

    @property
    def evaluated(self) -> int:
        """How many candidates have really been evaluated so far."""
        return self.cache.spent.evaluated

    def wrong_counts(self, genomes: ArrayLike) -> NDArray[np.int64]:
        """Count the wrong predictions of every candidate.

        Parameters
        ----------
        genomes : bool array, shape (P, n_bits)
            One candidate a row; every layer must keep a filter (see :meth:`FilterGenome.repair`).

        Returns
        -------
        int64 array, shape (P,)
            The counts that :func:`emoref.nn.evaluate` gives for each slimmed candidate alone. An image whose
            logits hold a NaN counts as wrong.

        Raises
        ------
        ShapeError
            If the genomes are not booleans of the layout's length.
        ProblemError
            If a genome leaves a layer without any filter.
        """
        rows = self._checked(genomes)
        return self.cache.complete(rows, lambda places: self._evaluate(rows, places))

    def partial_counts(self, genomes: ArrayLike, part: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count the wrong predictions of every candidate on a part of the images; the cache is not asked.

        Parameters
        ----------
        genomes : bool array, shape (P, n_bits)
            Candidates, as for :meth:`wrong_counts`, with the same errors.
        part : int array, shape (n,)
            Numbers of the images.

        Returns
        -------
        int64 array, shape (P,)
            The counts of parts that together are all images add up to those of :meth:`wrong_counts`.
        """
        rows = self._checked(genomes)
        wrong = np.zeros(len(rows), dtype=np.int64)
        for some in self._evaluate(rows, range(len(rows)), part):
            for place, found in some:
                wrong[place] = found
        return wrong

    def _checked(self, genomes: ArrayLike) -> NDArray[np.bool_]:
        rows = self._layout.checked(genomes)
        empty = np.argwhere(self._layout.kept(rows) == 0)
        if len(empty):
            row, layer = empty[0]
            raise ProblemError(
                f"genome {row} keeps no filter of layer {self._layout.names[layer]!r}; "
                f"repair genomes before they are evaluated"
            )
        return rows

    def keep_counts(self, path: Path) -> None:
        """Take over the counts that the file `path` holds, and keep them there; see :class:`CountCache`."""
        self.cache.attach(path, self._fingerprint())

    def close(self) -> None:
        """Write the counts that are kept in a file, and give the memory of a GPU back."""
        self.cache.save()
        if self.device is not None:
            self.device.close()

    def _evaluate(
        self, rows: NDArray[np.bool_], places: Sequence[int], part: Images | None = None
    ) -> Iterator[list[tuple[int, int]]]:
        """Yield the counts of distinct genomes on all or a part of the images, a chunk at a time."""
        # In lexicographic order, genomes with equal beginnings come into the same chunk.
        order = sorted(places, key=lambda place: rows[place].tobytes())
        counted = self._count_planes if self._planes is not None else self._count_chunks
        counted = counted if self.device is None else self._count_on_device
        for chunk in counted(rows, order, part):
            wrong: dict[int, int] = {}
            for place, some in chunk:
                wrong[place] = wrong.get(place, 0) + some
            yield list(wrong.items())

    def _count_planes(
        self, rows: NDArray[np.bool_], order: Sequence[int], part: Images | None
    ) -> Iterator[Iterator[tuple[int, int]]]:
        """Yield for each chunk what yields a candidate's place and its wrong predictions on a block."""
        planes = self._planes
        assert planes is not None
        sorted_rows = rows[order]
        for chunk in planes.chunks(sorted_rows, self._memory_bytes):
            images = self.total if part is None else len(part)
            self.macs_executed += images * planes.macs(sorted_rows[chunk])
            yield self._count_planes_chunk(planes, sorted_rows[chunk], order[chunk], part)

    def _count_planes_chunk(
        self, planes: PlanesPopulation, rows: NDArray[np.bool_], places: Sequence[int], part: Images | None
    ) -> Iterator[tuple[int, int]]:
        candidates = planes.candidates(rows)
        for block in self._blocks(part):
            logits = planes.logits(candidates, np.ascontiguousarray(self._images[block]))
            for place, some in zip(places, logits, strict=True):
                yield place, count_wrong(some, self._labels[block])

    def _count_chunks(
        self, rows: NDArray[np.bool_], order: Sequence[int], part: Images | None
    ) -> Iterator[Iterator[tuple[int, int]]]:
        """Do the same for networks of other kinds."""
        for chunk in self._chunks(rows, order, keep=part is not None):
            yield (
                (candidate.position, some)
                for block in self._blocks(part)
                for candidate, some in self._count_block(chunk, block)
            )

    def _count_on_device(
        self, rows: NDArray[np.bool_], order: Sequence[int], part: Images | None
    ) -> Iterator[Iterator[tuple[int, int]]]:
        """Do the same on a GPU; the host prepares a chunk while the device computes the one before."""
        assert self.device is not None
        chunks = self._chunks(rows, order, keep=part is not None)
        blocks, chunk = list(self._blocks(part)), next(chunks, None)
        while chunk is not None:
            following: list[list[Candidate] | None] = []

            def prepare(following: list[list[Candidate] | None] = following) -> None:
                # Statistics that are measured anew may be measured on the device, which is at work.
                if self._recalibration is None and not following:
                    following.append(next(chunks, None))

            counts, macs = self.device.counts(chunk, blocks, prepare)
            self.macs_executed += macs
            yield ((candidate.position, some) for candidate, some in zip(chunk, counts, strict=True))
            chunk = following[0] if following else next(chunks, None)

    def _blocks(self, part: Images | None) -> Iterator[slice | Images]:
        """Yield what a block holds of all images, or of a part of them."""
        blocks = slices(self.total if part is None else len(part), self._block_size)
        return blocks if part is None else (part[block] for block in blocks)

    def _chunks(
        self, rows: NDArray[np.bool_], order: Sequence[int], keep: bool = False
    ) -> Iterator[list[Candidate]]:
        """Slim the candidates; yield as many at a time as the budget allows.

        With `keep`, candidates that are one chunk are kept for the next call, which may want some of them.
        """
        held, self._held = self._held, {}
        if not all(rows[position].tobytes() in held for position in order):
            held = {}
        chunk: list[Candidate] = []
        used_bytes, chunks = 0, 0
        for position in order:
            known = held.get(rows[position].tobytes())
            candidate = (
                self._candidate(position, rows[position])
                if known is None
                else replace(known, position=position)
            )
            # Winograd's algorithm holds up to 36 numbers for 9 weights, beside the weights themselves.
            size_bytes = candidate.param_bytes * (5 if self._fusible else 1)
            if chunk and used_bytes + size_bytes > self._memory_bytes:
                yield chunk
                chunk, used_bytes, chunks = [], 0, chunks + 1
            chunk.append(candidate)
            used_bytes += size_bytes
        if chunk:
            yield chunk
        if keep and chunks == 0:
            self._held = {rows[candidate.position].tobytes(): candidate for candidate in chunk}

    def _candidate(self, position: int, row: NDArray[np.bool_]) -> Candidate:
        kept = kept_channels(self._net, self._layout.masks(row))
        net = cut_network(self._net, kept)
        params: Values = {}
        if self._recalibration is not None:
            whole = self._recalibrated(net, cut_params(self._net, self._params, kept))
            params = {name: whole[name] for name in self._later_params}
        elif self.device is None:
            params = cut_params(self._net, self._later_params, kept)
        shapes = net.param_shapes()
        return Candidate(
            position=position,
            net=net,
            params=params,
            param_bytes=sum(
                math.prod(shapes[name]) * value.itemsize for name, value in self._later_params.items()
            ),
            kept=kept,
            keys=tuple(row[bits].tobytes() for bits in self._plan.bits),
        )

    def _recalibrated(self, net: Network, params: Values) -> dict[str, NDArray[Any]]:
        assert self._recalibration is not None
        self.macs_executed += self._recalibration.macs(net)
        return self._recalibration(net, params)

    def _count_block(
        self, chunk: Sequence[Candidate], block: slice | Images
    ) -> Iterator[tuple[Candidate, int]]:
        """Yield the wrong predictions of every candidate of the chunk on one block of images."""
        labels = self._labels[block]
        # Values that overflow are a result like any other here: the prediction is wrong.
        with np.errstate(over="ignore", invalid="ignore"):
            images = {INPUT: np.ascontiguousarray(self._images[block])}
            full = self._run_part(self._net, self._stem_params, images, self._plan.frontier, self._stem_runs)
            for group in split(chunk, 0):
                picked = {name: pick(full[name], group[0].kept[name]) for name in self._plan.frontier}
                for candidate, logits in descend(self._plan, group, 0, picked, self._run):
                    yield candidate, count_wrong(logits, labels)

    def _run(self, candidate: Candidate, values: Values, wanted: str) -> NDArray[Any]:
        return self._run_part(candidate.net, candidate.params, values, [wanted], candidate.runs)[wanted]

    def _run_part(
        self, net: Network, params: Values, values: Values, outputs: Sequence[str], runs: Runs
    ) -> Values:
        """Run a part of a network as the CPU back end evaluates it, or node after node; keep the plan."""
        wanted = [name for name in outputs if name not in values]
        if wanted:
            self.macs_executed += runs.macs_between(net, values, wanted) * len(next(iter(values.values())))
        if not self._fusible:
            return run_nodes(net, params, values, outputs, self._backend)
        key = (*values, "to", *wanted)
        if wanted and key not in runs.plans:
            runs.plans[key] = compile_plan(
                net, params, list(values), wanted, self._backend, keep_memory=False
            )
        return {**values, **(runs.plans[key](values) if wanted else {})}


def population_fingerprint(
    net: Network,
    params: Values,
    images: NDArray[Any],
    labels: NDArray[Any],
    layout: FilterGenome,
    backend: str,
    recalibration: Recalibration | None = None,
) -> str:
    """Return what the counts of pruned candidates depend on; arguments as of :class:`PopulationEvaluator`."""
    details: dict[str, Any] = {"bits": {name: bits.tolist() for name, bits in layout.index.items()}}
    arrays = [*sorted(params.items()), ("images", images), ("labels", np.asarray(labels, dtype=np.int64))]
    if recalibration is not None:
        details["recalibration"] = [recalibration.batches, recalibration.batch_size, recalibration.until]
        arrays.append(("recalibration", recalibration.images))
    return fingerprint("pruned", backend, [net], arrays, details)
