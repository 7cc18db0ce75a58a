"""Parts of a network: which nodes a partial execution needs, and whether images and parameters fit."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.errors import NetworkError
from emoref.nn.device import is_on_device
from emoref.nn.graph import INPUT, Network, Node

__all__ = ["check_batch", "check_node_params", "nodes_between"]


def check_batch(net: Network, images: NDArray[Any]) -> None:
    """Raise NetworkError if `images` is not a batch of the network's inputs."""
    known = isinstance(images, np.ndarray) or is_on_device(images)
    if not known or images.dtype.kind != "f":
        found = images.dtype if known else type(images).__name__
        raise NetworkError(f'network "{net.name}": images must be floating-point arrays, got {found}')
    if images.shape[1:] != net.input_shape or images.ndim == 0:
        wanted = ("N", *net.input_shape)
        raise NetworkError(
            f'network "{net.name}": node "{INPUT}" wants images of shape ({", ".join(map(str, wanted))}), '
            f"got {images.shape}"
        )


def check_node_params(net: Network, nodes: Iterable[Node], params: Mapping[str, NDArray[Any]]) -> None:
    """Raise NetworkError if a parameter of one of the nodes is missing or has another shape."""
    for node in nodes:
        for leaf, shape in node.kind.param_shapes(node, net.input_shapes(node)).items():
            name = f"{node.name}.{leaf}"
            if name not in params:
                raise NetworkError(f'node "{node.name}": parameter "{name}" {shape} is missing')
            if params[name].shape != shape:
                raise NetworkError(
                    f'node "{node.name}": parameter "{name}" must have shape {shape}, '
                    f"got {params[name].shape}"
                )


def nodes_between(net: Network, given: Collection[str], outputs: Iterable[str]) -> list[Node]:
    """Return the nodes that lead from given results to wanted ones, in order.

    Raises
    ------
    NetworkError
        If a node is unknown, or the given results do not suffice.
    """
    wanted = {name for name in outputs if name not in given}
    for name in wanted - {INPUT}:
        net.node(name)
    nodes = []
    for node in reversed(net.nodes):
        if node.name in wanted:
            nodes.append(node)
            wanted.update(source for source in node.inputs if source not in given)
    if INPUT in wanted:
        raise NetworkError(
            f'the given results {sorted(given)} do not suffice for {list(outputs)}: "{INPUT}" is needed too'
        )
    return nodes[::-1]
