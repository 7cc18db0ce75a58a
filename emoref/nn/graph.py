"""A network's architecture: named nodes in topological order, with inferred shapes.

A :class:`Network` holds no numbers but sizes. Its parameters live in a plain dictionary from names such as
``"conv1.weight"`` to arrays, so that two networks can share them and a slimmed network is a new pair
(network, dictionary). All shapes are those of one image, without the batch axis.
"""

import math
import re
import zlib
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.errors import NetworkError, suggest
from emoref.nn.ops import OPS, Op, check_attrs
from emoref.seeding import generator

__all__ = ["FORMAT", "FORMAT_VERSION", "INPUT", "Attrs", "LayerRow", "Network", "Node"]

FORMAT = "emoref.network"
FORMAT_VERSION = 1
INPUT = "input"
"""Name by which nodes refer to the network's input."""

_NAME = re.compile(r"[A-Za-z0-9_-]+")


class Attrs(Mapping[str, Any], Hashable):
    """Immutable, hashable mapping of a node's attributes."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._items = tuple(values.items())

    def __getitem__(self, key: str) -> Any:
        for name, value in self._items:
            if name == key:
                return value
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items))

    def __repr__(self) -> str:
        return repr(dict(self._items))


@dataclass(frozen=True)
class Node:
    """One operation in a network.

    Parameters
    ----------
    name : str
        Letters, digits, ``_`` and ``-``; unique in the network; not ``"input"``.
    op : str
        A key of :data:`emoref.nn.ops.OPS`.
    inputs : tuple of str
        Names of the nodes (or ``"input"``) whose results it takes.
    attrs : mapping
        Attributes of the operation; those left out get their defaults, so that equal nodes compare equal.

    Raises
    ------
    NetworkError
        If the name, the operation, the number of inputs or an attribute is impossible.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attrs: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name == INPUT:
            raise NetworkError(
                f'node name {self.name!r} must consist of letters, digits, "_" and "-" and not be "{INPUT}"'
            )
        if self.op not in OPS:
            raise NetworkError(
                f'node "{self.name}": unknown operation {self.op!r}{suggest(str(self.op), OPS)}'
            )
        inputs = tuple(self.inputs)
        least, most = self.kind.min_inputs, self.kind.max_inputs
        if len(inputs) < least or (most is not None and len(inputs) > most):
            wanted = f"{least}" if most == least else f"at least {least}"
            raise NetworkError(f'node "{self.name}": {self.op} takes {wanted} input(s), got {len(inputs)}')
        try:
            attrs = Attrs(check_attrs(self.kind, self.attrs))
        except NetworkError as error:
            raise NetworkError(f'node "{self.name}" ({self.op}): {error}') from None
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "attrs", attrs)

    @property
    def kind(self) -> Op:
        """The operation's entry in the table :data:`emoref.nn.ops.OPS`."""
        return OPS[self.op]


@dataclass(frozen=True)
class LayerRow:
    """One row of :meth:`Network.layer_table`; `macs` are multiply-accumulates for one image."""

    name: str
    op: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int


@dataclass(frozen=True)
class Network:
    """An architecture: a directed acyclic graph of nodes. Immutable; equal and hashable by content.

    Parameters
    ----------
    name : str
        What to call it in reports.
    input_shape : tuple of int
        Shape of one input: (channels, height, width), or (features,).
    nodes : tuple of Node
        In topological order: a node comes after all its inputs. The last one is the network's output and the
        only one whose result nobody takes.

    Attributes
    ----------
    shapes : dict
        Result shape of every node by name, ``"input"`` included.

    Raises
    ------
    NetworkError
        If names repeat, an input is unknown, shapes do not fit (the text names the node and the shapes), or a
        result is never used.
    """

    name: str
    input_shape: tuple[int, ...]
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(self.nodes))
        shape = tuple(self.input_shape)
        if len(shape) not in (1, 3) or any(
            isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1 for n in shape
        ):
            raise NetworkError(
                f'network "{self.name}": input_shape must be (channels, height, width) or (features,) '
                f"of positive integers, got {self.input_shape!r}"
            )
        object.__setattr__(self, "input_shape", tuple(int(n) for n in shape))
        if not self.nodes:
            raise NetworkError(f'network "{self.name}" has no nodes')
        self._check_names()
        _ = self.shapes

    def _check_names(self) -> None:
        all_names = [node.name for node in self.nodes]
        seen = {INPUT}
        used: set[str] = set()
        for node in self.nodes:
            if node.name in seen:
                raise NetworkError(f'network "{self.name}": two nodes are called "{node.name}"')
            for source in node.inputs:
                if source in seen:
                    continue
                if source in all_names:
                    raise NetworkError(
                        f'node "{node.name}": its input "{source}" is not listed before it; '
                        "nodes must be in topological order"
                    )
                raise NetworkError(
                    f'node "{node.name}": unknown input {source!r}{suggest(str(source), sorted(seen))}'
                )
            seen.add(node.name)
            used.update(node.inputs)
        for node in self.nodes[:-1]:
            if node.name not in used:
                raise NetworkError(
                    f'node "{node.name}": its result is never used; the output is the last node, '
                    f'"{self.nodes[-1].name}"'
                )

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Result shape of every node by name, without the batch axis; treat as read-only."""
        shapes = {INPUT: self.input_shape}
        for node in self.nodes:
            try:
                shapes[node.name] = node.kind.infer_shape(node, [shapes[s] for s in node.inputs])
            except NetworkError as error:
                raise NetworkError(f'node "{node.name}" ({node.op}): {error}') from None
        return shapes

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def _consumers(self) -> dict[str, tuple[Node, ...]]:
        return {
            name: tuple(node for node in self.nodes if name in node.inputs)
            for name in (INPUT, *self._by_name)
        }

    @property
    def output(self) -> Node:
        """The last node."""
        return self.nodes[-1]

    @property
    def classes(self) -> int:
        """Number of classes: the size of the flat output.

        Raises
        ------
        NetworkError
            If the output is not flat.
        """
        shape = self.shapes[self.output.name]
        if len(shape) != 1:
            raise NetworkError(
                f'node "{self.output.name}": a classifier\'s output is flat, this one is {shape}'
            )
        return shape[0]

    def node(self, name: str) -> Node:
        """Return the node of that name, or raise NetworkError with the nearest name."""
        if name not in self._by_name:
            raise NetworkError(f'network "{self.name}" has no node {name!r}{suggest(name, self._by_name)}')
        return self._by_name[name]

    def consumers(self, name: str) -> tuple[Node, ...]:
        """Return the nodes that take the result of node `name` (or of ``"input"``), in order."""
        if name not in self._consumers:
            self.node(name)
        return self._consumers[name]

    def input_shapes(self, node: Node) -> list[tuple[int, ...]]:
        """Return the shapes of a node's inputs, in order."""
        return [self.shapes[source] for source in node.inputs]

    @cached_property
    def _params(self) -> dict[str, tuple[Node, str, tuple[int, ...]]]:
        return {
            f"{node.name}.{leaf}": (node, leaf, shape)
            for node in self.nodes
            for leaf, shape in node.kind.param_shapes(node, self.input_shapes(node)).items()
        }

    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter and buffer, e.g. ``{"conv1.weight": (20, 1, 5, 5), ...}``."""
        return {name: shape for name, (_, _, shape) in self._params.items()}

    def trainable(self) -> tuple[str, ...]:
        """Return the names of the parameters that training changes (not batch norm's running statistics)."""
        return tuple(name for name, (node, leaf, _) in self._params.items() if leaf not in node.kind.buffers)

    def init(self, seed: int) -> dict[str, NDArray[np.float32]]:
        """Return fresh parameters.

        Weights of conv2d and linear nodes are drawn from N(0, 2 / fan_in) (He et al. 2015, eq. 10, made for
        layers followed by ReLU; not published for the others, emoref uses it throughout); biases are 0,
        batch norm starts as the identity. Every parameter has its own generator,
        ``(seed, "nn.init", crc32(name))``: adding or removing a node leaves the others' values as they are.

        Parameters
        ----------
        seed : int
            At least 0.

        Returns
        -------
        dict of str to ndarray
            float32, in the order of :meth:`param_shapes`.
        """
        return {
            name: node.kind.init(leaf, shape, generator(seed, "nn.init", zlib.crc32(name.encode())))
            for name, (node, leaf, shape) in self._params.items()
        }

    def layer_table(self) -> list[LayerRow]:
        """Return one row a node: name, operation, output shape, parameters and multiply-accumulates.

        Parameters are the trainable values (biases, gamma and beta count; running statistics do not).
        Multiply-accumulates are those of one image: OH * OW * O * (C / groups) * R * S for conv2d,
        in * out for linear, 0 for everything else; adding a bias is not counted.
        """
        rows = []
        for node in self.nodes:
            shapes, out = self.input_shapes(node), self.shapes[node.name]
            sizes = node.kind.param_shapes(node, shapes)
            count = sum(math.prod(shape) for leaf, shape in sizes.items() if leaf not in node.kind.buffers)
            rows.append(LayerRow(node.name, node.op, out, count, node.kind.macs(node, shapes, out)))
        return rows

    def split(self, cuts: Iterable[str]) -> "tuple[Network, ...]":
        """Return the sub-networks between the nodes `cuts`; see :func:`emoref.nn.split.split`."""
        from emoref.nn.split import split  # it imports this module

        return split(self, cuts)

    def to_dict(self) -> dict[str, Any]:
        """Return the architecture as plain dictionaries, lists, strings and numbers (JSON)."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "name": self.name,
            "input_shape": list(self.input_shape),
            "nodes": [
                {"name": n.name, "op": n.op, "inputs": list(n.inputs), "attrs": dict(n.attrs)}
                for n in self.nodes
            ],
        }

    def __reduce__(self) -> tuple[Any, ...]:
        # What is derived and the read-only attributes of the nodes do not travel between processes.
        return Network.from_dict, (self.to_dict(),)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Network":
        """Return the network that :meth:`to_dict` described by `data`.

        Raises
        ------
        NetworkError
            If the description is of another format or a newer version, lacks an entry, or contradicts itself.
        """
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise NetworkError(f'not a network description: entry "format" must be "{FORMAT}"')
        version = data.get("version")
        if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
            raise NetworkError(
                f"network description has version {version!r}; this emoref reads 1 to {FORMAT_VERSION}"
            )
        try:
            nodes = tuple(
                Node(str(n["name"]), str(n["op"]), tuple(map(str, n["inputs"])), dict(n["attrs"]))
                for n in data["nodes"]
            )
            return cls(str(data["name"]), tuple(data["input_shape"]), nodes)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NetworkError(f"damaged network description: {type(error).__name__} {error}") from None
