"""Which channels of a network belong together, found by following each channel from its filter.

Every filter of a convolution (and every unit of a linear layer) gives its output channel an id. The ids
travel through the network: batch norm, activations, pooling and dropout pass them on, a depthwise
convolution passes them on too (its filter j only sees channel j), ``flatten`` repeats each one for every
pixel of its map, ``concat`` puts lists one after the other, ``pad_channels`` gives each channel of zeros an
id of its own, and ``add`` makes two ids the same one (the channels it adds can only leave together). What
carries the same id must be kept or removed together.

Some ids are pinned, which means that they can never be removed: the channels of the images, the classes
(channels of the network's output) and both sides of a grouped convolution that is not depthwise. A layer
with one pinned filter is not prunable at all.

Local response normalisation passes ids on, though it is no operation on each channel by itself: its window
moves together over the channels that stay. Filters before it can be removed like all others, but the smaller
network is not the masked one; see :mod:`emoref.compress.slim`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from emoref.errors import NetworkError
from emoref.nn import Network, Node

__all__ = ["ChannelGroup", "ChannelMap", "channel_groups", "channel_map", "prunable_layers"]

_PASS_ON = frozenset(
    {
        "batch_norm",
        "local_response_norm",
        "relu",
        "tanh",
        "max_pool2d",
        "avg_pool2d",
        "global_avg_pool2d",
        "dropout",
    }
)


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """The channel ids of a network.

    Attributes
    ----------
    values : mapping of str to int64 array
        For ``"input"`` and every node: the id of each channel (axis 1 of a batch of its values). After
        ``flatten`` an id appears once for each pixel.
    sources : mapping of str to int64 array
        For each layer that makes channels (convolutions with ``groups == 1``, linear layers), in
        topological order: the ids of its filters or units.
    pinned : bool array, shape (ids,)
        True for the ids that can never be removed.
    """

    values: Mapping[str, NDArray[np.int64]]
    sources: Mapping[str, NDArray[np.int64]]
    pinned: NDArray[np.bool_]

    def prunable(self) -> tuple[str, ...]:
        """Return the names of all layers, linear ones included, whose filters may be removed."""
        return tuple(name for name, ids in self.sources.items() if not self.pinned[ids].any())


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Layers whose filters can only be removed together, because additions tie their channels.

    Attributes
    ----------
    layers : tuple of str
        The layers whose filters make the channels; one layer unless the network has additions.
    size : int
        How many channels can be kept or removed independently.
    index : mapping of str to int64 array
        For each layer, which of the ``size`` channels each of its filters belongs to.
    carriers : tuple of str
        Nodes with parameters of their own for these channels: batch norm, depthwise convolutions.
    consumers : tuple of str
        Convolutions and linear layers that lose input channels (columns) together with the group.
    """

    layers: tuple[str, ...]
    size: int
    index: Mapping[str, NDArray[np.int64]] = field(repr=False)
    carriers: tuple[str, ...]
    consumers: tuple[str, ...]

    @property
    def members(self) -> tuple[str, ...]:
        """All nodes whose own parameters shrink along their first axis: layers, then carriers."""
        return self.layers + self.carriers


def prunable_layers(net: Network, linear: bool = False) -> dict[str, int]:
    """Return the layers whose filters may be removed, with their numbers of filters.

    Parameters
    ----------
    net : Network
        The network.
    linear : bool, default False
        Whether hidden linear layers are wanted too (a "filter" is then a unit).

    Returns
    -------
    dict of str to int
        In topological order. Never in it: the layer that makes the classes, depthwise convolutions (they
        follow the layer that feeds them), other grouped convolutions and their inputs, and layers that are
        added to the image itself.
    """
    channels = channel_map(net)
    wanted = ("conv2d", "linear") if linear else ("conv2d",)
    return {name: len(channels.sources[name]) for name in channels.prunable() if net.node(name).op in wanted}


def channel_groups(net: Network, linear: bool = False) -> tuple[ChannelGroup, ...]:
    """Return the groups of tied layers, in the order in which their first layers appear.

    Parameters
    ----------
    net : Network
        The network.
    linear : bool, default False
        Whether groups made of hidden linear layers alone are wanted too.

    Returns
    -------
    tuple of ChannelGroup
        Each prunable layer is in exactly one group.
    """
    channels = channel_map(net)
    found: list[tuple[list[str], set[int]]] = []
    for name in channels.prunable():
        layers, ids = [name], set(channels.sources[name].tolist())
        apart = []
        for other in found:
            if other[1].isdisjoint(ids):
                apart.append(other)
            else:
                layers = other[0] + layers
                ids |= other[1]
        found = [*apart, (layers, ids)]
    order = list(channels.sources)
    groups = [_group(net, channels, sorted(layers, key=order.index)) for layers, _ in found]
    groups = [g for g in groups if linear or any(net.node(name).op == "conv2d" for name in g.layers)]
    return tuple(sorted(groups, key=lambda g: order.index(g.layers[0])))


def _group(net: Network, channels: ChannelMap, layers: Sequence[str]) -> ChannelGroup:
    numbers: dict[int, int] = {}
    index = {}
    for name in layers:
        ids = channels.sources[name].tolist()
        index[name] = np.array([numbers.setdefault(i, len(numbers)) for i in ids], dtype=np.int64)
    members = np.fromiter(numbers, dtype=np.int64)
    carriers, consumers = [], []
    for node in net.nodes:
        if node.op == "batch_norm" or _is_depthwise(net, node):
            if np.isin(channels.values[node.name], members).any():
                carriers.append(node.name)
        elif node.op in ("conv2d", "linear") and np.isin(channels.values[node.inputs[0]], members).any():
            consumers.append(node.name)
    return ChannelGroup(
        tuple(layers), len(numbers), MappingProxyType(index), tuple(carriers), tuple(consumers)
    )


@lru_cache(maxsize=64)
def channel_map(net: Network) -> ChannelMap:
    """Follow every channel of a network from its filter to its consumers.

    Parameters
    ----------
    net : Network
        The network.

    Returns
    -------
    ChannelMap
        Computed once for a network and kept.

    Raises
    ------
    NetworkError
        If the network has an operation whose channels cannot be followed.
    """
    ids = _Ids()
    values: dict[str, list[int]] = {"input": ids.new(net.shapes["input"][0], pinned=True)}
    sources: dict[str, list[int]] = {}
    for node in net.nodes:
        inputs = [values[name] for name in node.inputs]
        if node.op in ("conv2d", "linear") and not _is_depthwise(net, node):
            grouped = int(node.attrs.get("groups", 1)) > 1
            values[node.name] = ids.new(net.shapes[node.name][0], pinned=grouped)
            if grouped:
                ids.pin(inputs[0])
            else:
                sources[node.name] = values[node.name]
        else:
            values[node.name] = _passed_on(net, node, inputs, ids)
    ids.pin(values[net.nodes[-1].name])
    return ids.freeze(values, sources)


def _passed_on(net: Network, node: Node, inputs: list[list[int]], ids: "_Ids") -> list[int]:
    """Return the ids of a node that makes no channels of its own."""
    if node.op in _PASS_ON:
        return inputs[0]
    if node.op == "conv2d":  # depthwise, perhaps with several filters for each channel
        repeat = net.shapes[node.name][0] // len(inputs[0])
        return [i for i in inputs[0] for _ in range(repeat)]
    if node.op == "flatten":
        pixels = int(np.prod(net.shapes[node.inputs[0]][1:], dtype=np.int64))
        return [i for i in inputs[0] for _ in range(pixels)]
    if node.op == "concat":
        return [i for part in inputs for i in part]
    if node.op == "pad_channels":
        # An addition may tie these zeros to filters, and they then go with them; alone they stay.
        before, after = (ids.new(int(node.attrs[side]), pinned=False) for side in ("before", "after"))
        return before + inputs[0] + after
    if node.op == "add":
        for part in inputs[1:]:
            ids.tie(inputs[0], part)
        return inputs[0]
    raise NetworkError(
        f"node {node.name!r}: the channels of operation {node.op!r} cannot be followed, "
        f"so this network cannot be pruned"
    )


def _is_depthwise(net: Network, node: Node) -> bool:
    if node.op != "conv2d":
        return False
    groups = int(node.attrs.get("groups", 1))
    return groups > 1 and groups == net.shapes[node.inputs[0]][0]


class _Ids:
    """Ids with ties: a union-find forest whose trees are the sets of tied ids."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._pinned: list[bool] = []

    def new(self, n: int, pinned: bool) -> list[int]:
        first = len(self._parent)
        self._parent.extend(range(first, first + n))
        self._pinned.extend([pinned] * n)
        return list(range(first, first + n))

    def root(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def tie(self, left: list[int], right: list[int]) -> None:
        for i, j in zip(left, right, strict=True):
            a, b = sorted((self.root(i), self.root(j)))
            self._parent[b] = a
            self._pinned[a] |= self._pinned[b]

    def pin(self, ids: list[int]) -> None:
        for i in ids:
            self._pinned[self.root(i)] = True

    def freeze(self, values: dict[str, list[int]], sources: dict[str, list[int]]) -> ChannelMap:
        """Give numbers to the sets of tied ids from 0 and extend pins to whole layers."""
        roots = np.array([self.root(i) for i in range(len(self._parent))], dtype=np.int64)
        kept, number = np.unique(roots, return_inverse=True)
        pinned = np.array([self._pinned[i] for i in kept], dtype=bool)
        numbered = {name: _frozen(number[ids]) for name, ids in sources.items()}
        # A layer that cannot lose one of its filters loses none; that may pin filters of tied layers.
        while partly := [i for i in numbered.values() if pinned[i].any() and not pinned[i].all()]:
            for layer_ids in partly:
                pinned[layer_ids] = True
        return ChannelMap(
            MappingProxyType({name: _frozen(number[ids]) for name, ids in values.items()}),
            MappingProxyType(numbered),
            _frozen(pinned),
        )


def _frozen(array: NDArray) -> NDArray:
    array.flags.writeable = False
    return array
