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
a budget, so the memory needed does not grow with the number of images or of candidates.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.compress import count, kept_channels
from emoref.compress.slim import cut_network, cut_params
from emoref.errors import ConfigError, DataError, ProblemError
from emoref.nn import INPUT, Network, run_nodes
from emoref.nn.batches import ArrayData, check_labels, slices
from emoref.nn.device import placed, resident
from emoref.nn.executor import count_wrong
from emoref.nn.fused import Plan, compile_plan, is_fusible
from emoref.nn.parts import nodes_between
from emoref.search.cache import CountCache, fingerprint
from emoref.search.genome import FilterGenome
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

    Attributes
    ----------
    total : int
        Number of images; divide counts by it to have the error.
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
    ) -> None:
        for what, value, least in (
            ("block_size", block_size, 1),
            ("cache_size", cache_size, 0),
            ("memory_bytes", memory_bytes, 1),
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
        first = {n: v for n, v in self._params.items() if n not in self._later_params}
        self._stem_params = resident(first, self._backend)
        self._fusible = is_fusible(params, [self._images], self._backend)
        planes = self._fusible and recalibration is None
        self._planes = PlanesPopulation.make(net, params, layout) if planes else None
        self._stem_runs = _Runs({}, {})
        self._held: dict[bytes, _Candidate] = {}
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
        """Write the counts that are kept in a file."""
        self.cache.save()

    def _evaluate(
        self, rows: NDArray[np.bool_], places: Sequence[int], part: Images | None = None
    ) -> Iterator[list[tuple[int, int]]]:
        """Yield the counts of distinct genomes on all or a part of the images, a chunk at a time."""
        # In lexicographic order, genomes with equal beginnings come into the same chunk.
        order = sorted(places, key=lambda place: rows[place].tobytes())
        counted = self._count_planes if self._planes is not None else self._count_chunks
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

    def _blocks(self, part: Images | None) -> Iterator[slice | Images]:
        """Yield what a block holds of all images, or of a part of them."""
        blocks = slices(self.total if part is None else len(part), self._block_size)
        return blocks if part is None else (part[block] for block in blocks)

    def _chunks(
        self, rows: NDArray[np.bool_], order: Sequence[int], keep: bool = False
    ) -> Iterator[list["_Candidate"]]:
        """Slim the candidates; yield as many at a time as the budget allows.

        With `keep`, candidates that are one chunk are kept for the next call, which may want some of them.
        """
        held, self._held = self._held, {}
        if not all(rows[position].tobytes() in held for position in order):
            held = {}
        chunk: list[_Candidate] = []
        used_bytes, chunks = 0, 0
        for position in order:
            known = held.get(rows[position].tobytes())
            candidate = (
                self._candidate(position, rows[position])
                if known is None
                else replace(known, position=position)
            )
            size_bytes = sum(value.nbytes for value in candidate.params.values())
            # Winograd's algorithm holds up to 36 numbers for 9 weights, beside the weights themselves.
            size_bytes *= 5 if self._fusible else 1
            if chunk and used_bytes + size_bytes > self._memory_bytes:
                yield chunk
                chunk, used_bytes, chunks = [], 0, chunks + 1
            chunk.append(candidate)
            used_bytes += size_bytes
        if chunk:
            yield chunk
        if keep and chunks == 0:
            self._held = {rows[candidate.position].tobytes(): candidate for candidate in chunk}

    def _candidate(self, position: int, row: NDArray[np.bool_]) -> "_Candidate":
        kept = kept_channels(self._net, self._layout.masks(row))
        net = cut_network(self._net, kept)
        if self._recalibration is None:
            params = cut_params(self._net, self._later_params, kept)
        else:
            whole = self._recalibrated(net, cut_params(self._net, self._params, kept))
            params = {name: whole[name] for name in self._later_params}
        return _Candidate(
            position=position,
            net=net,
            params=resident(params, self._backend),
            frontier={name: np.flatnonzero(kept[name]) for name in self._plan.frontier},
            keys=tuple(row[bits].tobytes() for bits in self._plan.bits),
        )

    def _recalibrated(self, net: Network, params: Values) -> dict[str, NDArray[Any]]:
        assert self._recalibration is not None
        self.macs_executed += self._recalibration.macs(net)
        return self._recalibration(net, params)

    def _count_block(
        self, chunk: Sequence["_Candidate"], block: slice | Images
    ) -> Iterator[tuple["_Candidate", int]]:
        """Yield the wrong predictions of every candidate of the chunk on one block of images."""
        labels = self._labels[block]
        # Values that overflow are a result like any other here: the prediction is wrong.
        with np.errstate(over="ignore", invalid="ignore"):
            images = placed(np.ascontiguousarray(self._images[block]), self._backend)
            full = self._run_part(
                self._net, self._stem_params, {INPUT: images}, self._plan.frontier, self._stem_runs
            )
            # All candidates are on their way before the first is waited for: a GPU computes meanwhile.
            logits: list[tuple[_Candidate, NDArray[Any]]] = []
            for group in _split(chunk, 0):
                picked = {name: _pick(full[name], which) for name, which in group[0].frontier.items()}
                logits += self._descend(group, 0, picked)
            for candidate, some in logits:
                yield candidate, count_wrong(np.asarray(some), labels)

    def _descend(
        self, group: Sequence["_Candidate"], level: int, values: Values
    ) -> Iterator[tuple["_Candidate", NDArray[Any]]]:
        """Yield the logits of candidates that agree up to ``level``, given their values there.

        The group goes on as one to the last cut at which all its masks still agree, and parts after it.
        Values are therefore held for the points where groups part, not for every layer.
        """
        if len(group) == 1:
            output = self._net.output.name
            yield group[0], self._run(group[0], values, output)
            return
        together = level
        while together + 1 < len(self._plan.cuts) and len(_split(group, together + 1)) == 1:
            together += 1
        if together > level:
            cut = self._plan.cuts[together]
            values = {cut: self._run(group[0], values, cut)}
        for subgroup in _split(group, together + 1):
            yield from self._descend(subgroup, together, values)

    def _run(self, candidate: "_Candidate", values: Values, wanted: str) -> NDArray[Any]:
        return self._run_part(candidate.net, candidate.params, values, [wanted], candidate.runs)[wanted]

    def _run_part(
        self, net: Network, params: Values, values: Values, outputs: Sequence[str], runs: "_Runs"
    ) -> Values:
        """Run a part of a network as the CPU back end evaluates it, or node after node; keep the plan."""
        wanted = [name for name in outputs if name not in values]
        key = (*values, "to", *wanted)
        if wanted:
            if key not in runs.macs:
                runs.macs[key] = _macs_between(net, values, wanted)
            self.macs_executed += runs.macs[key] * len(next(iter(values.values())))
        if not self._fusible:
            return run_nodes(net, params, values, outputs, self._backend)
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


@dataclass(frozen=True)
class _Runs:
    """Parts of one network that have run, by what was given and wanted: their plans and their costs."""

    plans: dict[Any, Plan]
    macs: dict[Any, int]


def _macs_between(net: Network, given: Values, wanted: Sequence[str]) -> int:
    """Return the multiply-accumulates for one image of the nodes between given and wanted results."""
    running = {node.name for node in nodes_between(net, given, wanted)}
    return sum(layer.macs for layer in count(net).layers if layer.name in running)


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A slimmed candidate: which channels it picks from the stem, and what tells it apart at each level."""

    position: int
    net: Network
    params: Values
    frontier: dict[str, NDArray[np.intp]]
    keys: tuple[bytes, ...]
    runs: _Runs = field(default_factory=lambda: _Runs({}, {}))


def _split(group: Sequence[_Candidate], level: int) -> list[list[_Candidate]]:
    """Part candidates by the bits that matter up to a level, in order of appearance."""
    parts: dict[bytes, list[_Candidate]] = {}
    for candidate in group:
        parts.setdefault(candidate.keys[level], []).append(candidate)
    return list(parts.values())


def _pick(value: NDArray[Any], channels: NDArray[np.intp]) -> NDArray[Any]:
    return value if len(channels) == value.shape[1] else value.take(channels, axis=1)
