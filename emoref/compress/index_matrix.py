"""The index matrix: which filter slots each task keeps, and which filters the tasks share.

Multi-task pruning by filter index sharing (Cheng, Wang, Ma, Liu, Wei, Cognitive Computation 13(4), 2021)
keeps the networks' structure in an index matrix and lets it regulate what is shared. Its exact form is not
published; emoref uses, for every layer with n filters and T tasks,

* I in {0, 1}^(T x n): task t keeps slot j, and
* s in {0, 1}^n: slot j is shared by the tasks that keep it.

A slot that two or more tasks keep and that is shared is **one** stored filter. Every other keeping of a slot
is a stored filter of that task alone, **private**. What no task keeps is **removed**. A stored filter holds
the input slots that any task using it keeps in the layer before: no others are ever read.

Heads (the layers that make the classes) and batch norms are private.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.compress.groups import prunable_layers
from emoref.compress.slim import cut_network, cut_params, kept_channels
from emoref.errors import NetworkError, ShapeError, suggest
from emoref.nn import Binding, MultiTaskNetwork, Network, check_tasks, head_of

__all__ = ["IndexMatrix", "LayerSlots", "SharedNetwork", "StoredParameters", "share_filters"]

Array = NDArray[Any]

REMOVED, PRIVATE, SHARED = 0, 1, 2


@dataclass(frozen=True, eq=False)
class LayerSlots:
    """The slots of one layer.

    Parameters
    ----------
    kept : bool array, shape (T, n)
        I: task t keeps slot j.
    shared : bool array, shape (n,)
        s; where fewer than two tasks keep the slot it means nothing and is set to False.

    Raises
    ------
    ShapeError
        If they are not booleans of such shapes.
    """

    kept: NDArray[np.bool_]
    shared: NDArray[np.bool_]

    def __post_init__(self) -> None:
        kept, shared = np.asarray(self.kept), np.asarray(self.shared)
        if kept.dtype != bool or shared.dtype != bool or kept.ndim != 2 or shared.shape != kept.shape[1:]:
            raise ShapeError(
                f"slots: kept must be booleans (tasks, n) and shared booleans (n,), got {kept.dtype} "
                f"{kept.shape} and {shared.dtype} {shared.shape}"
            )
        object.__setattr__(self, "kept", kept)
        object.__setattr__(self, "shared", shared & (kept.sum(axis=0) >= 2))

    @property
    def size(self) -> int:
        """Number of slots, n."""
        return self.kept.shape[1]

    @property
    def stored(self) -> int:
        """Number of stored filters: a shared slot counts once, another once for each task that keeps it."""
        return int(np.where(self.shared, 1, self.kept.sum(axis=0)).sum())

    def kinds(self) -> NDArray[np.int64]:
        """Return for each task and slot 0 (removed), 1 (private) or 2 (shared), shape (T, n)."""
        return np.where(self.kept, np.where(self.shared, SHARED, PRIVATE), REMOVED)

    def owners(self) -> NDArray[np.bool_]:
        """Return which tasks use each stored filter, shape (stored, T): shared ones first, then by task."""
        shared = np.flatnonzero(self.shared)
        private = self.kept & ~self.shared
        one = np.eye(len(self.kept), dtype=bool)
        return np.concatenate([self.kept[:, shared].T, one[np.nonzero(private)[0]]])

    def rows(self, task: int) -> NDArray[np.intp]:
        """Return for each slot that a task keeps, ascending, its place among the stored filters."""
        place = np.zeros(self.size, dtype=np.intp)
        place[self.shared] = np.arange(int(self.shared.sum()))
        private = self.kept & ~self.shared
        before = int(self.shared.sum()) + int(private[:task].sum())
        place[private[task]] = before + np.arange(int(private[task].sum()))
        return place[self.kept[task]]


@dataclass(frozen=True, eq=False)
class IndexMatrix:
    """The slots of all layers.

    Parameters
    ----------
    tasks : tuple of str
        Names of the tasks, in the order of the rows.
    layers : mapping of str to LayerSlots
        One entry for each layer that is pruned and shared.

    Raises
    ------
    NetworkError
        If there is no task, or a task keeps nothing in a layer.
    ShapeError
        If a layer has not one row for each task.
    """

    tasks: tuple[str, ...]
    layers: Mapping[str, LayerSlots]

    def __post_init__(self) -> None:
        if not self.tasks:
            raise NetworkError("the list of tasks is empty; an index matrix needs at least one row")
        for name, slots in self.layers.items():
            if len(slots.kept) != len(self.tasks):
                raise ShapeError(
                    f"index matrix of layer {name!r}: {len(slots.kept)} rows for {len(self.tasks)} tasks"
                )
            empty = np.flatnonzero(~slots.kept.any(axis=1))
            if empty.size:
                raise NetworkError(
                    f"index matrix of layer {name!r}: task {self.tasks[int(empty[0])]!r} keeps no slot; "
                    "at least one must stay"
                )

    @classmethod
    def of_masks(
        cls,
        tasks: Sequence[str],
        masks: Sequence[Mapping[str, ArrayLike]],
        shared: Mapping[str, ArrayLike] | None = None,
    ) -> "IndexMatrix":
        """Return the index matrix of masks.

        Parameters
        ----------
        tasks : sequence of str
            Names of the tasks.
        masks : sequence of mapping of str to bool array
            For each task and layer, True for the slots to keep.
        shared : mapping of str to bool array, optional
            Shared slots of each layer; none where left out.
        """
        layers = {}
        for name in masks[0] if masks else ():
            kept = np.stack([np.asarray(mask[name]) for mask in masks])
            chosen = np.zeros(kept.shape[1], dtype=bool) if shared is None else np.asarray(shared[name])
            layers[name] = LayerSlots(kept, chosen)
        return cls(tuple(tasks), layers)

    def masks(self, task: int) -> dict[str, NDArray[np.bool_]]:
        """Return the masks of one task, as :func:`emoref.compress.slim` takes them."""
        return {name: slots.kept[task] for name, slots in self.layers.items()}

    @property
    def sharing_ratio(self) -> float:
        """Kept slots that are shared / kept slots, over all tasks and layers."""
        kinds = [slots.kinds() for slots in self.layers.values()]
        kept = sum(int((kind != REMOVED).sum()) for kind in kinds)
        return sum(int((kind == SHARED).sum()) for kind in kinds) / kept


@dataclass(frozen=True)
class StoredParameters:
    """How many numbers are stored, by kind; trained ones only, as in :func:`emoref.compress.count`.

    Attributes
    ----------
    shared : int
        In filters that several tasks use, biases included.
    private : int
        In filters of one task.
    heads : int
        In the layers that make the classes.
    norms : int
        Gamma and beta of batch norms, and whatever else is private to a task.
    """

    shared: int
    private: int
    heads: int
    norms: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.shared + self.private + self.heads + self.norms


@dataclass(frozen=True, eq=False)
class SharedNetwork:
    """Networks of several tasks under an index matrix; what :func:`share_filters` returns.

    Attributes
    ----------
    nets : tuple of Network
        The unpruned networks.
    index : IndexMatrix
        The index matrix.
    multi : MultiTaskNetwork
        The tasks' slim networks, and where in the store their parameters are.
    used : mapping of str to bool array, shape (rows, columns)
        For each stored weight of a layer of the index matrix, the kernels that some task reads; the others
        are zero and need not be stored.
    """

    nets: tuple[Network, ...]
    index: IndexMatrix
    multi: MultiTaskNetwork
    used: Mapping[str, NDArray[np.bool_]]

    def stored_parameters(self) -> StoredParameters:
        """Count the stored numbers by kind."""
        counts = dict.fromkeys(("shared", "private", "heads", "norms"), 0)
        head = head_of(self.nets[0])
        for name in self.multi.trainable():
            shape = self.multi.shapes[name]
            layer, _, leaf = name.rpartition(".")
            if layer not in self.index.layers:
                counts["heads" if layer.rpartition(".")[2] == head else "norms"] += prod(shape)
                continue
            shared = int(self.index.layers[layer].shared.sum())
            if leaf == "weight":
                kernel, used = prod(shape[2:]), self.used[name]
                counts["shared"] += kernel * int(used[:shared].sum())
                counts["private"] += kernel * int(used[shared:].sum())
            else:
                counts["shared"] += shared
                counts["private"] += shape[0] - shared
        return StoredParameters(**counts)

    def view(self, store: Mapping[str, Array], task: int) -> tuple[Network, dict[str, Array]]:
        """Return a task's view of the shared network, with all slots of the unpruned one.

        Every stored filter that the task uses stands at its slot with **all** the input slots that it holds,
        those included that only other tasks keep; the task's own removed slots are zero, and so is
        what reads them. It is the definition of what :meth:`MultiTaskNetwork.export` must compute.

        Parameters
        ----------
        store : mapping of str to ndarray
            The stored arrays.
        task : int
            Which task.
        """
        net = self.nets[task]
        kept = kept_channels(net, self.index.masks(task))
        some = self._kept_by_any()
        full = {}
        for name, shape in net.param_shapes().items():
            node = net.node(name.rpartition(".")[0])
            binding = self.multi.bindings[task][name]
            rows = np.flatnonzero(kept[node.name])
            values = store[binding.name] if binding.rows is None else store[binding.name][binding.rows]
            whole = np.zeros(shape, values.dtype)
            if name.endswith(".running_var"):
                whole[...] = 1
            columns = None
            if name.endswith(".weight") and values.ndim > 1 and int(node.attrs.get("groups", 1)) == 1:
                columns = np.flatnonzero((kept if binding.columns is None else some)[node.inputs[0]])
            whole[rows if columns is None else np.ix_(rows, columns)] = values
            full[name] = whole
        return net, full

    def _kept_by_any(self) -> dict[str, NDArray[np.bool_]]:
        each = [kept_channels(net, self.index.masks(t)) for t, net in enumerate(self.nets)]
        trunk = [name for name in each[0] if name in self.index.layers or _same_length(each, name)]
        return {name: np.any([kept[name] for kept in each], axis=0) for name in trunk}


def _same_length(each: Sequence[Mapping[str, NDArray[np.bool_]]], name: str) -> bool:
    return len({len(kept[name]) for kept in each}) == 1


def share_filters(
    nets: Sequence[Network],
    params: Sequence[Mapping[str, Array]],
    index: IndexMatrix,
    importance: Sequence[Mapping[str, NDArray[np.float64]]] | None = None,
) -> tuple[SharedNetwork, dict[str, Array]]:
    """Remove and merge the filters of several networks as an index matrix says.

    A shared filter begins as the mean of the tasks' filters, weighted by their importance; each of its input
    slots is averaged over the tasks that keep that slot (not published; emoref uses this, so that what a task
    has learned about a slot that it does not keep plays no part). Private filters, heads and batch norms are
    the tasks' own.

    Parameters
    ----------
    nets : sequence of Network
        The tasks' networks, equal but for their heads.
    params : sequence of mapping of str to ndarray
        Their parameters; not changed.
    index : IndexMatrix
        What is kept and shared. Layers that it does not name stay whole and private.
    importance : sequence of mapping of str to float64 array, optional
        For each task and layer, at least 0 for every filter; equal by default.

    Returns
    -------
    shared : SharedNetwork
        What is stored, and the tasks' slim networks.
    store : dict of str to ndarray
        The stored arrays: those of shared and private filters by parameter (``"conv1.weight"``: shared
        filters first, then those of each task), the others by task and parameter (``"digits.fc2.weight"``).

    Raises
    ------
    NetworkError
        If the networks do not fit together, or the index matrix names a layer that cannot be pruned, leaves
        a layer empty or contradicts additions.
    ShapeError
        If a row of the index matrix has another length than its layer has filters.
    """
    if len(nets) != len(index.tasks) or len(params) != len(nets):
        raise NetworkError(
            f"the index matrix has {len(index.tasks)} tasks, but there are {len(nets)} networks and "
            f"{len(params)} sets of parameters"
        )
    check_tasks(index.tasks, nets)
    prunable = prunable_layers(nets[0], linear=True)
    for name in index.layers:
        if name not in prunable:
            raise NetworkError(f"index matrix: layer {name!r} cannot be pruned{suggest(name, prunable)}")
    kept = [kept_channels(net, index.masks(t)) for t, net in enumerate(nets)]
    builder = _Builder(nets, params, index, kept, importance)
    for name in nets[0].param_shapes():
        layer = name.rpartition(".")[0]
        builder.stored_filters(name) if layer in index.layers else builder.private(name)
    slim_nets = tuple(cut_network(net, k) for net, k in zip(nets, kept, strict=True))
    shapes = {name: value.shape for name, value in builder.store.items()}
    multi = MultiTaskNetwork(index.tasks, slim_nets, tuple(builder.bindings), shapes)
    return SharedNetwork(tuple(nets), index, multi, builder.used), builder.store


class _Builder:
    """Fills a store parameter by parameter."""

    def __init__(
        self,
        nets: Sequence[Network],
        params: Sequence[Mapping[str, Array]],
        index: IndexMatrix,
        kept: Sequence[Mapping[str, NDArray[np.bool_]]],
        importance: Sequence[Mapping[str, NDArray[np.float64]]] | None,
    ) -> None:
        self.nets, self.params, self.index, self.kept = nets, params, index, kept
        self.importance = importance
        self.store: dict[str, Array] = {}
        self.bindings: list[dict[str, Binding]] = [{} for _ in nets]
        self.used: dict[str, NDArray[np.bool_]] = {}

    def private(self, name: str) -> None:
        """Store each task's own, already cut to the channels that it keeps."""
        for t, task in enumerate(self.index.tasks):
            stored = f"{task}.{name}"
            cut = cut_params(self.nets[t], {name: self.params[t][name]}, self.kept[t])
            self.store[stored] = np.array(cut[name])
            self.bindings[t][name] = Binding(stored)

    def stored_filters(self, name: str) -> None:
        """Store weight or bias of a layer of the index matrix: shared rows, then each task's private ones."""
        layer, _, leaf = name.rpartition(".")
        slots = self.index.layers[layer]
        tasks = range(len(self.nets))
        weight = leaf == "weight"
        source = self.nets[0].node(layer).inputs[0]
        columns = [self.kept[t][source] if weight else np.ones(1, dtype=bool) for t in tasks]
        union = np.any(columns, axis=0)
        owners = slots.owners()
        # A kernel belongs to a stored filter if one of its owners keeps that input slot.
        used = (owners.astype(np.int64) @ np.array([c[union] for c in columns], dtype=np.int64)) > 0
        first = self.params[0][name]
        total = np.zeros((*used.shape, prod(first.shape[2:])), dtype=np.float64)
        mass = np.zeros(used.shape)
        for t in tasks:
            rows, weights = slots.rows(t), self._weights(t, layer)[slots.kept[t]]
            values = np.asarray(self.params[t][name], dtype=np.float64)[slots.kept[t]]
            values = values.reshape(len(rows), len(union), -1)[:, union]
            share = weights[:, None] * columns[t][union]
            total[rows] += share[:, :, None] * values
            mass[rows] += share
        mean = np.divide(total, mass[:, :, None], out=np.zeros_like(total), where=mass[:, :, None] > 0)
        shape = (*used.shape, *first.shape[2:]) if weight else (len(owners),)
        self.store[name] = mean.reshape(shape).astype(first.dtype)
        if weight:
            self.used[name] = used
        for t in tasks:
            places = np.flatnonzero(columns[t][union]) if weight else None
            self.bindings[t][name] = Binding(name, slots.rows(t), places)

    def _weights(self, task: int, layer: str) -> NDArray[np.float64]:
        """Return the importance of a task's filters; where it is 0 throughout a slot, equal weights."""
        size = self.index.layers[layer].size
        if self.importance is None:
            return np.ones(size)
        each = np.array([scores[layer] for scores in self.importance], dtype=np.float64)
        kept = self.index.layers[layer].kept
        flat = (each * kept).max(axis=0) <= 0
        weights = np.where(flat, 1.0, each[task])
        # A filter that counts for nothing would leave input slots that it alone holds without a value.
        return np.maximum(weights, 1e-6 * np.where(flat, 1.0, each.max(axis=0)))
