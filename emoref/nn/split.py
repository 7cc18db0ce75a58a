"""Cutting a network into a chain of sub-networks, and putting such a chain together again.

A network can be cut behind a node if everything later passes through that node's result alone. Each part is
an ordinary :class:`~emoref.nn.Network` whose input is the result before it and whose nodes keep their names,
so that its parameters are those of the same names of the whole. :func:`join` is the exact inverse of
:func:`split`: equal networks, hence equal predictions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from emoref.errors import NetworkError
from emoref.nn.graph import INPUT, Network, Node

__all__ = ["cut_points", "join", "join_params", "split", "split_params"]

Params = dict[str, NDArray[Any]]

_NUMBERED = ":"


def cut_points(net: Network) -> tuple[str, ...]:
    """Return the nodes behind which a network can be cut, in order.

    Parameters
    ----------
    net : Network
        The network.

    Returns
    -------
    tuple of str
        Never the last node. What lies inside a residual block is not among them.
    """
    return tuple(node.name for i, node in enumerate(net.nodes[:-1]) if not _crossing(net, i))


def split(net: Network, cuts: Iterable[str]) -> tuple[Network, ...]:
    """Cut a network behind the named nodes.

    Parameters
    ----------
    net : Network
        The network.
    cuts : iterable of str
        Names of nodes, in any order; see :func:`cut_points`.

    Returns
    -------
    tuple of Network
        One more than there are cuts, in order. The parts of ``resnet20`` are called ``resnet20:1``,
        ``resnet20:2`` and so on.

    Raises
    ------
    NetworkError
        If a node does not exist, is the last one or is named twice, or a value passes by it: such an edge is
        named, e.g. that of a residual block's shortcut.

    Examples
    --------
    >>> from emoref.nn import NetworkBuilder
    >>> b = NetworkBuilder("small", (1, 8, 8))
    >>> _ = b.conv("conv1", 4, 3), b.relu("relu1"), b.flatten("flat"), b.linear("fc", 10)
    >>> [[node.name for node in part.nodes] for part in split(b.build(), ["relu1"])]
    [['conv1', 'relu1'], ['flat', 'fc']]
    """
    names = list(cuts)
    place = {node.name: i for i, node in enumerate(net.nodes)}
    for name in names:
        net.node(name)
        if names.count(name) > 1:
            raise NetworkError(f'network "{net.name}": cut "{name}" is named twice')
        if name == net.output.name:
            raise NetworkError(f'network "{net.name}": cut "{name}" is the last node; nothing is behind it')
        if crossing := _crossing(net, place[name]):
            source, reader = crossing[0]
            raise NetworkError(
                f'network "{net.name}": cut "{name}" goes through a branch: the edge from "{source}" to '
                f'"{reader}" passes by it; cut where everything passes, e.g. behind '
                f"{_nearest_cut(net, place[name])}"
            )
    ends = sorted(place[name] for name in names)
    starts = [0, *(end + 1 for end in ends)]
    return tuple(
        _part(net, number, start, stop)
        for number, (start, stop) in enumerate(
            zip(starts, [*(end + 1 for end in ends), len(net.nodes)], strict=True), start=1
        )
    )


def join(parts: Sequence[Network], name: str | None = None) -> Network:
    """Put a chain of networks together: each takes the result of the one before.

    Parameters
    ----------
    parts : sequence of Network
        At least one; their nodes have different names.
    name : str, optional
        What to call the result; left out, as the first part without its number.

    Returns
    -------
    Network
        ``join(split(net, cuts)) == net``.

    Raises
    ------
    NetworkError
        If there is no part, two nodes have one name, or the result of a part has another shape than the next
        one takes: names both nodes.
    """
    if not parts:
        raise NetworkError("there are no networks to join")
    nodes: list[Node] = []
    owner: dict[str, str] = {}
    for i, part in enumerate(parts):
        if i:
            _check_interface(parts[i - 1], part)
        for node in part.nodes:
            if node.name in owner:
                raise NetworkError(
                    f'networks "{owner[node.name]}" and "{part.name}" both have a node "{node.name}"'
                )
            owner[node.name] = part.name
        before = parts[i - 1].output.name if i else INPUT
        nodes += [_renamed(node, INPUT, before) for node in part.nodes]
    first = parts[0].name.rpartition(_NUMBERED)[0] or parts[0].name
    return Network(first if name is None else name, parts[0].input_shape, tuple(nodes))


def split_params(parts: Sequence[Network], params: Mapping[str, NDArray[Any]]) -> list[Params]:
    """Return the parameters of each part; the arrays themselves, not copies.

    Parameters
    ----------
    parts : sequence of Network
        From :func:`split`.
    params : mapping of str to array
        Parameters of the whole, which may hold more than those of the parts.

    Raises
    ------
    NetworkError
        If a parameter is missing.
    """
    chosen = []
    for part in parts:
        if missing := [name for name in part.param_shapes() if name not in params]:
            raise NetworkError(f'part "{part.name}": parameter "{missing[0]}" is missing')
        chosen.append({name: params[name] for name in part.param_shapes()})
    return chosen


def join_params(params: Iterable[Mapping[str, NDArray[Any]]]) -> Params:
    """Return the parameters of a joined network: those of all `params` together, not copied."""
    return {name: value for some in params for name, value in some.items()}


def _crossing(net: Network, place: int) -> list[tuple[str, str]]:
    """Return the edges from up to a node to behind it, other than those from the node itself."""
    before = {INPUT, *(node.name for node in net.nodes[:place])}
    return [
        (source, node.name) for node in net.nodes[place + 1 :] for source in node.inputs if source in before
    ]


def _nearest_cut(net: Network, place: int) -> str:
    index = {node.name: i for i, node in enumerate(net.nodes)}
    possible = sorted(cut_points(net), key=lambda name: (abs(index[name] - place), index[name]))
    return f'"{possible[0]}"' if possible else "no node of this network"


def _part(net: Network, number: int, start: int, stop: int) -> Network:
    before = net.nodes[start - 1].name if start else INPUT
    nodes = tuple(_renamed(node, before, INPUT) for node in net.nodes[start:stop])
    return Network(f"{net.name}{_NUMBERED}{number}", net.shapes[before], nodes)


def _renamed(node: Node, old: str, new: str) -> Node:
    """Return a node that reads `new` wherever it read `old`."""
    if old not in node.inputs:
        return node
    return replace(node, inputs=tuple(new if source == old else source for source in node.inputs))


def _check_interface(left: Network, right: Network) -> None:
    given, wanted = left.shapes[left.output.name], right.input_shape
    if given != wanted:
        reader = right.consumers(INPUT)
        raise NetworkError(
            f'networks "{left.name}" and "{right.name}" do not fit together: node "{left.output.name}" gives '
            f'{given}, but "{reader[0].name if reader else INPUT}" takes {wanted}'
        )
