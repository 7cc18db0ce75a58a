"""Which networks are of the LeNet kind, and their layout for the kernels that run them in one pass.

A network qualifies if it is a chain of one or two stages and linear layers behind ``flatten``. A stage is a
convolution of stride 1 with a kernel of 4x4 at least, batch norm or not, ReLU or not, and 2x2 max pooling.
Pruning filters does not change whether it qualifies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.nn.graph import INPUT, Network, Node

__all__ = ["PlanesLayers", "affine_map", "planes_layers", "planes_program"]

_LEAST_KERNEL = 4  # below, Winograd's algorithm needs fewer multiplications
_MOST_STAGES = 2
_MOST_PIXELS = 1024  # of a pooled map, so that an image's sorted maps stay in the cache


@dataclass(frozen=True)
class PlanesLayers:
    """The nodes with weights of a network of the LeNet kind.

    Attributes
    ----------
    convolutions, linears : tuple of (node, batch norm or None, whether ReLU follows)
        In order.
    """

    convolutions: tuple[tuple[Node, Node | None, bool], ...]
    linears: tuple[tuple[Node, Node | None, bool], ...]


def planes_layers(net: Network) -> PlanesLayers | None:
    """Return the layers of a network of the LeNet kind, or None if it is of another kind."""
    chain = [node for node in net.nodes if node.op != "dropout"]
    ops = [node.op for node in chain]
    is_chain = all(len(net.consumers(name)) == 1 for name in (INPUT, *(n.name for n in net.nodes[:-1])))
    if not is_chain or any(len(node.inputs) != 1 for node in chain) or ops.count("flatten") != 1:
        return None
    flat = ops.index("flatten")
    convolutions = _layers(chain[:flat], "conv2d", pooled=True)
    linears = _layers(chain[flat + 1 :], "linear", pooled=False)
    if not convolutions or not linears or len(convolutions) > _MOST_STAGES:
        return None
    for node, _, _ in convolutions:
        _, height, width = net.shapes[node.name]
        a = node.attrs
        fits = a["stride"] == a["groups"] == 1 and a["kernel"] >= _LEAST_KERNEL
        if not fits or height * width > 4 * _MOST_PIXELS:
            return None
    return PlanesLayers(tuple(convolutions), tuple(linears))


def _layers(nodes: Sequence[Node], op: str, pooled: bool) -> list[tuple[Node, Node | None, bool]] | None:
    """Split nodes into layers of `op`, batch norm, ReLU and pooling, or return None if that cannot be."""
    layers: list[tuple[Node, Node | None, bool]] = []
    rest = list(nodes)
    while rest:
        node = rest.pop(0)
        if node.op != op:
            return None
        norm = rest.pop(0) if rest and rest[0].op == "batch_norm" else None
        relu = bool(rest) and rest[0].op == "relu"
        if relu:
            del rest[0]
        if pooled:
            pool = rest.pop(0) if rest else None
            if pool is None or pool.op != "max_pool2d":
                return None
            if (pool.attrs["kernel"], pool.attrs["stride"], pool.attrs["padding"]) != (2, 2, 0):
                return None
        layers.append((node, norm, relu))
    return layers


def affine_map(
    params: Mapping[str, NDArray[Any]], channels: int, node: Node | None, norm: Node | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return factors and summands of a layer's bias and of the batch norm behind it, a channel each.

    With batch norm, the factor is gamma / sqrt(variance + eps), and the summand is beta + (bias - mean) *
    factor; both are formed in float64 and rounded once.
    """
    bias = params.get(f"{node.name}.bias") if node is not None and node.attrs["bias"] else None
    shift = np.zeros(channels) if bias is None else bias.astype(np.float64)
    scale = np.ones(channels)
    if norm is not None:
        gamma, beta, mean, var = (
            params[f"{norm.name}.{leaf}"].astype(np.float64)
            for leaf in ("gamma", "beta", "running_mean", "running_var")
        )
        with np.errstate(all="ignore"):
            scale = gamma / np.sqrt(var + norm.attrs["eps"])
            shift = beta + (shift - mean) * scale
    with np.errstate(all="ignore"):
        return scale.astype(np.float32), shift.astype(np.float32)


def planes_program(net: Network, params: Mapping[str, NDArray[Any]], layers: PlanesLayers) -> Any:
    """Return the program of a network for :func:`emoref_kernels.cpu.fused_program.predict_planes`."""
    # The compiled back end is imported when it is first used, as everywhere.
    from emoref_kernels.cpu import fused_program

    def weighted(node: Node, norm: Node | None, relu: bool) -> Any:
        w = params[f"{node.name}.weight"]
        padding = node.attrs["padding"] if node.op == "conv2d" else 0
        return fused_program.Weighted(w, *affine_map(params, len(w), node, norm), relu, padding)

    return fused_program.planes_program(
        net.input_shape,
        [weighted(*layer) for layer in layers.convolutions],
        [weighted(*layer) for layer in layers.linears],
    )
