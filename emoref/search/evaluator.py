"""Counting the wrong predictions of many pruned candidates of one network, without doing work twice.

Each candidate is evaluated as the slimmed network that it is. Four things are shared, none of which changes
a single bit of the result:

* The *stem*, computed once for each block of images with all filters: what lies before the first layer that
  reads pruned channels. The channels of a convolution do not influence each other, nor do those of the batch
  norm, ReLU and pooling behind it, so a candidate just picks its channels.
* Equal beginnings: candidates with equal masks up to some layer share the values up to there.
* Equal genomes in one population are evaluated once.
* A bounded memory of counts by genome serves candidates that come back in a later generation.

Networks of the LeNet kind share more on the CPU back end, in one compiled call for all candidates
(:mod:`emoref.search.planes`).

Images are streamed in blocks and slimmed parameters are held for as many candidates at a time as fit into
a budget, so the memory needed does not grow with the number of images or of candidates.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.compress import channel_map, count, kept_channels
from emoref.compress.slim import cut_network, cut_params
from emoref.errors import ConfigError, DataError, ProblemError
from emoref.nn import INPUT, Network, run_nodes
from emoref.nn.batches import ArrayData, check_labels, slices
from emoref.nn.device import placed, resident
from emoref.nn.executor import count_wrong
from emoref.nn.fused import Plan, compile_plan, is_fusible
from emoref.nn.parts import nodes_between
from emoref.search.genome import FilterGenome
from emoref.search.planes import PlanesPopulation
from emoref.search.recalibration import Recalibration
from emoref_kernels import load_backend

__all__ = ["PopulationEvaluator"]

Values = Mapping[str, NDArray[Any]]


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
        self._block_size, self._cache_size, self._memory_bytes = block_size, cache_size, memory_bytes
        self._plan = _plan(net, layout)
        later = {node.name for node in net.nodes}.difference(self._plan.stem)
        self._later_params = {n: v for n, v in self._params.items() if n.rpartition(".")[0] in later}
        first = {n: v for n, v in self._params.items() if n not in self._later_params}
        self._stem_params = resident(first, self._backend)
        self._fusible = is_fusible(params, [self._images], self._backend)
        planes = self._fusible and recalibration is None
        self._planes = PlanesPopulation.make(net, params, layout) if planes else None
        self._stem_runs = _Runs({}, {})
        self._known: OrderedDict[bytes, int] = OrderedDict()
        self.total = len(data)
        self.evaluated = 0
        self.stem = self._plan.stem

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
        rows = self._layout.checked(genomes)
        empty = np.argwhere(self._layout.kept(rows) == 0)
        if len(empty):
            row, layer = empty[0]
            raise ProblemError(
                f"genome {row} keeps no filter of layer {self._layout.names[layer]!r}; "
                f"repair genomes before they are evaluated"
            )
        keys = [packed.tobytes() for packed in self._layout.pack(rows)]
        counts = {key: self._known[key] for key in keys if key in self._known}
        unseen = {key: row for key, row in zip(keys, rows, strict=True) if key not in counts}
        counts.update(zip(unseen, self._evaluate(list(unseen.values())), strict=True))
        self._remember(keys, counts)
        return np.array([counts[key] for key in keys], dtype=np.int64)

    def _remember(self, keys: Sequence[bytes], counts: Mapping[bytes, int]) -> None:
        for key in keys:
            self._known[key] = counts[key]
            self._known.move_to_end(key)
        while len(self._known) > self._cache_size:
            self._known.popitem(last=False)

    def _evaluate(self, rows: Sequence[NDArray[np.bool_]]) -> list[int]:
        """Count for distinct genomes."""
        # In lexicographic order, genomes with equal beginnings come into the same chunk.
        order = sorted(range(len(rows)), key=lambda i: rows[i].tobytes())
        self.evaluated += len(rows)
        wrong = [0] * len(rows)
        if self._planes is not None:
            for position, some in self._count_planes(self._planes, rows, order):
                wrong[position] += some
            return wrong
        for chunk in self._chunks(rows, order):
            for part in slices(self.total, self._block_size):
                for candidate, some in self._count_block(chunk, part):
                    wrong[candidate.position] += some
        return wrong

    def _count_planes(
        self, planes: PlanesPopulation, rows: Sequence[NDArray[np.bool_]], order: Sequence[int]
    ) -> Iterator[tuple[int, int]]:
        """Yield a candidate's position and its wrong predictions on one block of images, for all of both."""
        if not order:
            return
        sorted_rows = np.stack([rows[i] for i in order])
        for chunk in planes.chunks(sorted_rows, self._memory_bytes):
            candidates = planes.candidates(sorted_rows[chunk])
            self.macs_executed += self.total * planes.macs(sorted_rows[chunk])
            for part in slices(self.total, self._block_size):
                logits = planes.logits(candidates, self._images[part])
                for position, some in zip(order[chunk], logits, strict=True):
                    yield position, count_wrong(some, self._labels[part])

    def _chunks(
        self, rows: Sequence[NDArray[np.bool_]], order: Sequence[int]
    ) -> Iterator[list["_Candidate"]]:
        """Slim the candidates; yield as many at a time as the budget allows."""
        chunk: list[_Candidate] = []
        used_bytes = 0
        for position in order:
            candidate = self._candidate(position, rows[position])
            size_bytes = sum(value.nbytes for value in candidate.params.values())
            # Winograd's algorithm holds up to 36 numbers for 9 weights, beside the weights themselves.
            size_bytes *= 5 if self._fusible else 1
            if chunk and used_bytes + size_bytes > self._memory_bytes:
                yield chunk
                chunk, used_bytes = [], 0
            chunk.append(candidate)
            used_bytes += size_bytes
        if chunk:
            yield chunk

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

    def _count_block(self, chunk: Sequence["_Candidate"], part: slice) -> Iterator[tuple["_Candidate", int]]:
        """Yield the wrong predictions of every candidate of the chunk on one block of images."""
        labels = self._labels[part]
        # Values that overflow are a result like any other here: the prediction is wrong.
        with np.errstate(over="ignore", invalid="ignore"):
            images = placed(self._images[part], self._backend)
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


@dataclass(frozen=True)
class _Plan:
    """Where the candidates of a network can share work.

    ``frontier`` are the stem's values that later nodes read. Level 0 is the frontier; level i is the node
    ``cuts[i]`` through which everything later must pass (``cuts[0]`` is unused); the last level is the whole
    network. ``bits[i]`` are the genome's bits on which the values at level i depend.
    """

    stem: tuple[str, ...]
    frontier: tuple[str, ...]
    cuts: tuple[str, ...]
    bits: tuple[NDArray[np.int64], ...]


_READERS = frozenset({"conv2d", "linear", "flatten", "local_response_norm"})
"""Operations that cannot be in the stem if their input has pruned channels."""


def _plan(net: Network, layout: FilterGenome) -> _Plan:
    channels = channel_map(net)
    bit_of = np.full(len(channels.pinned), -1, dtype=np.int64)
    for name, bits in layout.index.items():
        bit_of[channels.sources[name]] = bits

    def pruned(value: str) -> bool:
        return bool((bit_of[channels.values[value]] >= 0).any())

    computed = {INPUT}
    for node in net.nodes:
        # Depthwise convolution and flattening would be right in the stem too. But a depthwise convolution
        # cut down to one channel is an ordinary one, whose sums may be formed in another order; and to pick
        # whole maps is cheaper than to pick their pixels one by one.
        # Local response normalisation reads its neighbours, which are others in each candidate.
        reads_pruned = node.op in _READERS and pruned(node.inputs[0])
        if computed.issuperset(node.inputs) and not reads_pruned:
            computed.add(node.name)
    later = [node for node in net.nodes if node.name not in computed]
    frontier = [
        n for n in (INPUT, *(node.name for node in net.nodes)) if n in computed and _read(net, n, later)
    ]

    def bits_of(values: Sequence[str]) -> NDArray[np.int64]:
        found = np.unique(np.concatenate([bit_of[channels.values[value]] for value in values]))
        return found[found >= 0]

    cuts, level_bits, seen = [""], [bits_of(frontier)], list(frontier)
    for i, node in enumerate(later):
        seen.append(node.name)
        rest = later[i + 1 :]
        if any(after.op in ("conv2d", "linear") for after in net.consumers(node.name)) and not any(
            _read(net, value, rest) for value in seen[:-1]
        ):
            cuts.append(node.name)
            level_bits.append(bits_of(seen))
    level_bits.append(np.arange(layout.n_bits, dtype=np.int64))
    stem = tuple(node.name for node in net.nodes if node.name in computed)
    return _Plan(stem, tuple(frontier), tuple(cuts), tuple(level_bits))


def _read(net: Network, value: str, nodes: Sequence[Any]) -> bool:
    """Return whether one of the nodes reads the value."""
    return any(value in node.inputs for node in nodes)


def _split(group: Sequence[_Candidate], level: int) -> list[list[_Candidate]]:
    """Part candidates by the bits that matter up to a level, in order of appearance."""
    parts: dict[bytes, list[_Candidate]] = {}
    for candidate in group:
        parts.setdefault(candidate.keys[level], []).append(candidate)
    return list(parts.values())


def _pick(value: NDArray[Any], channels: NDArray[np.intp]) -> NDArray[Any]:
    return value if len(channels) == value.shape[1] else value.take(channels, axis=1)
