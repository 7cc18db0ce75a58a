"""Counting the wrong predictions of many pruned and quantised candidates of one network.

A candidate is a model of a library of pruned networks and a number of bits for each layer. Three things are
shared, none of which changes a single bit of the result:

* Quantised weights, by model, layer and bits: a bounded memory holds those used last.
* Equal beginnings: candidates of one model that agree in the bits of the first layers share the values up
  to there.
* Equal candidates are evaluated once; counts by candidate are kept (:mod:`emoref.search.cache`), for
  whatever is minimised beside the error. The error depends neither on a dataflow nor on a coding, so all
  searches can share one evaluator.

Images are streamed in blocks, so the memory needed does not grow with their number.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.compress import (
    MAX_BITS,
    METHODS,
    MIN_BITS,
    PrunedModel,
    emomc_values,
    quantize_weights,
    weighted_layers,
)
from emoref.errors import ConfigError, DataError, ProblemError, ShapeError
from emoref.nn import INPUT, Network, run_nodes
from emoref.nn.batches import ArrayData, check_labels, slices
from emoref.nn.executor import count_wrong
from emoref.nn.fused import compile_plan, is_fusible
from emoref.nn.fused_planes import planes_layers
from emoref.search.cache import CountCache, fingerprint
from emoref.search.workers import SpreadEvaluator
from emoref_kernels import load_backend

__all__ = ["REAL_BITS", "QuantizedEvaluator", "QuantizedWorkers", "WeightCache"]

REAL_BITS = "emomc-real"
"""EMOMC's own arithmetic with bits that need not be whole, as its published code has them."""

Array = NDArray[Any]
Row = NDArray[np.float64]


class WeightCache:
    """Quantised weights by model, layer and bits; those used last stay in memory.

    Parameters
    ----------
    net : Network
        The network.
    models : sequence of PrunedModel
        Its pruned versions.
    method : str
        How to quantise, one of :data:`emoref.compress.METHODS`, or :data:`REAL_BITS`: EMOMC's arithmetic with
        bits that need not be whole.
    memory_bytes : int
        Budget.

    Attributes
    ----------
    quantized : int
        How many layers have been quantised so far.
    candidates : int
        How many candidates' weights fit into the budget, at least one.
    """

    def __init__(
        self, net: Network, models: Sequence[PrunedModel], method: str, memory_bytes: int = 2**28
    ) -> None:
        self._shapes = {layer: net.param_shapes()[f"{layer}.weight"] for layer in weighted_layers(net)}
        self._models, self._method, self._budget = models, method, memory_bytes
        self._held: OrderedDict[tuple[int, str, float], NDArray[np.float32]] = OrderedDict()
        self._bytes = 0
        self.quantized = 0
        self.candidates = max(1, memory_bytes // (4 * sum(math.prod(s) for s in self._shapes.values())))

    def weights(self, model: int, layer: str, bits: float) -> NDArray[np.float32]:
        """Return the quantised weights of a layer; the array must not be changed."""
        key = (model, layer, bits)
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        full = self._models[model].weight(f"{layer}.weight", self._shapes[layer])
        values = (
            emomc_values(full, bits)
            if self._method == REAL_BITS
            else quantize_weights(full, int(bits), self._method).dequantize()
        )
        self.quantized += 1
        self._held[key] = values
        self._bytes += values.nbytes
        while self._bytes > self._budget and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes
        return values


class QuantizedEvaluator:
    """Wrong predictions of pruned and quantised candidates of one network on fixed images.

    Parameters
    ----------
    net : Network
        The network, a classifier.
    models : sequence of PrunedModel
        Its pruned versions.
    images : float array, shape (N, C, H, W)
        The images to classify.
    labels : int array, shape (N,)
        Their classes.
    method : str, default "symmetric"
        How weights are quantised; see :class:`WeightCache`.
    backend : str, default "cpu"
        The back end that computes.
    memory_bytes : int, default 2**29
        Budget for quantised weights, and again for the values that are shared.
    cache_size : int, default 100000
        Counts to remember, of the candidates used last; 0 for none.

    Attributes
    ----------
    total : int
        Number of images.
    layers : tuple of str
        The layers whose bits a candidate gives, in topological order.
    cache : CountCache
        The counts that are remembered.
    evaluated : int
        How many candidates have really been evaluated so far.
    layer_runs : int
        Layers with weights times images that have been computed for them.
    macs_executed : int
        Multiply-accumulates of all forward passes so far, those that candidates share counted once.

    Raises
    ------
    DataError
        If there are no images, or the labels do not fit.
    ConfigError
        If the method is unknown, there is no model, or the budget is not positive.
    """

    def __init__(
        self,
        net: Network,
        models: Sequence[PrunedModel],
        images: NDArray[Any],
        labels: ArrayLike,
        method: str = "symmetric",
        backend: str = "cpu",
        memory_bytes: int = 2**29,
        cache_size: int = 100_000,
    ) -> None:
        if not models:
            raise ConfigError("there is no model to quantise: the library is empty")
        if method not in (*METHODS, REAL_BITS):
            raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        if memory_bytes < 1:
            raise ConfigError(f"memory_bytes must be at least 1, got {memory_bytes}")
        data = ArrayData(images, labels)
        if len(data) == 0:
            raise DataError("there are no images to evaluate candidates on")
        self._net, self._models = net, models
        self._images, self._labels = data.images, check_labels(data.labels, len(data), net.classes)
        self._backend = load_backend(backend)
        self._fused = is_fusible(models[0].others, [self._images], self._backend)
        self.layers = weighted_layers(net)
        costs = {row.name: row.macs for row in net.layer_table()}
        self._layer_macs = [costs[layer] for layer in self.layers]
        self._whole_bits = method != REAL_BITS
        self.weights = WeightCache(net, models, method, memory_bytes)
        # Networks of the LeNet kind run as a whole in one compiled pass; parts would be other sums.
        whole = self._fused and planes_layers(net) is not None
        self._levels, self._depths = (
            ([INPUT, net.output.name], [0, len(self.layers)]) if whole else _levels(net, self.layers)
        )
        shared = sum(math.prod(net.shapes[name]) for name in self._levels[1:])
        self._block = max(1, min(len(data), memory_bytes // (4 * shared)))
        self._fingerprint = partial(_fingerprint, net, models, data.images, self._labels, method, backend)
        self.cache = CountCache(cache_size, len(data))
        self.total = len(data)
        self.layer_runs = 0
        self.macs_executed = 0

    @property
    def evaluated(self) -> int:
        """How many candidates have really been evaluated so far."""
        return self.cache.spent.evaluated

    def wrong_counts(self, candidates: ArrayLike) -> NDArray[np.int64]:
        """Count the wrong predictions of every candidate.

        Parameters
        ----------
        candidates : float or int array, shape (P, 1 + layers)
            One a row: the number of the model, then the bits of each layer.

        Returns
        -------
        int64 array, shape (P,)
            The counts that :func:`emoref.nn.evaluate` gives for each quantised network alone.

        Raises
        ------
        ShapeError
            If a row has another length.
        ProblemError
            If there is no such model, or bits are out of range.
        """
        rows = self._checked(candidates)

        def count(places: list[int]) -> list[list[tuple[int, int]]]:
            return [list(zip(places, self._evaluate([rows[place] for place in places]), strict=True))]

        return self.cache.complete(rows, count)

    def remember(self, candidates: ArrayLike, wrong: ArrayLike) -> None:
        """Take over the counts `wrong` of `candidates` that were found earlier, by an evaluator like this."""
        self.cache.remember(self._checked(candidates), wrong)

    def keep_counts(self, path: Path) -> None:
        """Take over the counts that the file `path` holds, and keep them there; see :class:`CountCache`."""
        self.cache.attach(path, self._fingerprint())

    def close(self) -> None:
        """Write the counts that are kept in a file."""
        self.cache.save()

    def _checked(self, candidates: ArrayLike) -> NDArray[np.float64]:
        rows = np.ascontiguousarray(candidates, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != 1 + len(self.layers):
            raise ShapeError(
                f"candidates have shape {rows.shape}; a row is the model and the bits of "
                f"{len(self.layers)} layers"
            )
        model, bits = rows[:, 0], rows[:, 1:]
        if not ((model >= 0) & (model < len(self._models)) & (model == np.rint(model))).all():
            raise ProblemError(f"a candidate's model must be 0 to {len(self._models) - 1}")
        if not ((bits >= MIN_BITS) & (bits <= MAX_BITS)).all():
            raise ProblemError(f"bits of a candidate must be {MIN_BITS} to {MAX_BITS}")
        if self._whole_bits and (bits != np.rint(bits)).any():
            raise ProblemError("bits of a candidate must be whole numbers")
        return rows + 0.0  # one zero: -0.0 would be another key

    def _evaluate(self, rows: Sequence[Row]) -> list[int]:
        """Count for distinct candidates, one model after the other, those with equal beginnings together."""
        wrong = [0] * len(rows)
        order = sorted(range(len(rows)), key=lambda i: rows[i].tolist())
        # Where images come in several blocks, no more candidates at a time than have their weights remembered
        # from one block to the next: quantising them again costs more than the beginnings they might share.
        at_once = len(order) if self._block >= self.total else self.weights.candidates
        for chunk in slices(len(order), at_once):
            for part in slices(self.total, self._block):
                labels, images = self._labels[part], self._images[part]
                # Values that overflow are a result like any other here: the prediction is wrong.
                with np.errstate(over="ignore", invalid="ignore"):
                    for group in self._parts(order[chunk], rows, 0):
                        for i, logits in self._descend(group, rows, 0, images):
                            wrong[i] += count_wrong(logits, labels)
        return wrong

    def _descend(
        self, group: Sequence[int], rows: Sequence[Row], level: int, value: Array
    ) -> Iterator[tuple[int, Array]]:
        """Yield the logits of candidates of one model that agree in all bits before a level.

        The group goes on as one to the last level before which all its bits agree, and parts there.
        """
        last = len(self._levels) - 1
        if len(group) == 1:
            yield group[0], self._run(rows[group[0]], level, last, value)
            return
        together = level
        while len(self._parts(group, rows, together + 1)) == 1:
            together += 1
        if together > level:
            value = self._run(rows[group[0]], level, together, value)
        for part in self._parts(group, rows, together + 1):
            yield from self._descend(part, rows, together, value)

    def _parts(self, group: Sequence[int], rows: Sequence[Row], level: int) -> list[list[int]]:
        """Part candidates by their bits before a level, in order of appearance."""
        parts: dict[bytes, list[int]] = {}
        for i in group:
            parts.setdefault(rows[i][: 1 + self._depths[level]].tobytes(), []).append(i)
        return list(parts.values())

    def _run(self, row: Row, level: int, until: int, value: Array) -> Array:
        """Return the value of a later level from that of an earlier one."""
        model, given, wanted = int(row[0]), self._levels[level], self._levels[until]
        layers = range(self._depths[level], self._depths[until])
        params = dict(self._models[model].others)
        for i in layers:
            layer = self.layers[i]
            params[f"{layer}.weight"] = self.weights.weights(model, layer, float(row[1 + i]))
        self.layer_runs += len(layers) * len(value)
        self.macs_executed += sum(self._layer_macs[i] for i in layers) * len(value)
        if self._fused:
            return compile_plan(self._net, params, [given], [wanted], self._backend)({given: value})[wanted]
        return run_nodes(self._net, params, {given: value}, [wanted], self._backend)[wanted]


class QuantizedWorkers(SpreadEvaluator):
    """Wrong predictions of pruned and quantised candidates, counted by workers.

    Parameters
    ----------
    net, models, images, labels, method, backend
        As for :class:`QuantizedEvaluator`, with the same errors.
    make_executor, workers, report
        As for :class:`emoref.search.WorkerEvaluator`.
    """

    def __init__(
        self,
        net: Network,
        models: Sequence[PrunedModel],
        images: NDArray[Any],
        labels: ArrayLike,
        method: str = "symmetric",
        backend: str = "cpu",
        *,
        make_executor: Callable[[], Executor],
        workers: int,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        labels = np.asarray(labels)
        QuantizedEvaluator(net, models, images[:1], labels[:1], method, backend)
        setup = {
            "evaluator": QuantizedEvaluator,
            "net": net,
            "models": tuple(models),
            "images": images,
            "labels": labels,
            "method": method,
            "backend": backend,
        }
        super().__init__(
            setup,
            _fingerprint(net, models, images, labels, method, backend),
            len(images),
            np.float64,
            _named,
            make_executor=make_executor,
            workers=workers,
            report=report,
        )


def _fingerprint(
    net: Network,
    models: Sequence[PrunedModel],
    images: Array,
    labels: Array,
    method: str,
    backend: str,
) -> str:
    arrays = [
        (f"{i} {kind} {name}", value)
        for i, model in enumerate(models)
        for kind, values in (("mask", model.masks), ("values", model.values), ("other", model.others))
        for name, value in sorted(values.items())
    ]
    arrays += [("images", images), ("labels", np.asarray(labels, dtype=np.int64))]
    return fingerprint("quantised", backend, [net], arrays, method)


def _named(row: Row) -> str:
    return f"candidate of model {row[0]:g} with bits {' '.join(f'{q:g}' for q in row[1:])}"


def _levels(net: Network, layers: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return where candidates can part: values through which all that follows must pass.

    The first level is the input, the last the logits; with each comes the number of layers with weights
    before it. A level stands right before a layer with weights.
    """
    names, depths, done = [INPUT], [0], 0
    for i, node in enumerate(net.nodes[:-1]):
        done += node.name in layers
        read = {source for later in net.nodes[i + 1 :] for source in later.inputs}
        earlier = {INPUT, *(before.name for before in net.nodes[:i])}
        before_layer = any(after.name in layers for after in net.consumers(node.name))
        if before_layer and done > depths[-1] and not read & earlier:
            names.append(node.name)
            depths.append(done)
    return [*names, net.output.name], [*depths, len(layers)]
