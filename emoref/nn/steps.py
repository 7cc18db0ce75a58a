"""What runs in one go when a network trains: a node, or a batch norm with the addition and ReLU behind it.

A batch norm reads and writes whole maps and computes little; so do the addition of a shortcut and the ReLU
that often follow. Back ends do all three in one pass. Where nobody else reads the results between them, they
are one step here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from emoref.nn.graph import Network, Node
from emoref.nn.ops import Context
from emoref.nn.ops.base import Array, Params
from emoref.nn.ops.normalization import BatchNorm

__all__ = ["Step", "single_steps", "training_steps"]

Grads = tuple[Sequence[Array | None], dict[str, Array]]


@dataclass(frozen=True)
class Step:
    """One node, or several that run as one.

    Attributes
    ----------
    nodes : tuple of Node
        In order: a node of any kind; or a batch norm and behind it an addition, a ReLU or both.
    inputs : tuple of str
        Names of the results that it takes: of several nodes the batch norm's input, then the shortcut.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the node whose result it gives."""
        return self.nodes[-1].name

    @property
    def has_shortcut(self) -> bool:
        """Whether a batch norm's result is added to another one."""
        return len(self.nodes) > 1 and len(self.inputs) == 2

    def forward(self, k: Any, params: Params, inputs: Sequence[Array], ctx: Context) -> Array:
        """Compute the result on the back end `k` and note in `ctx` what :meth:`backward` needs."""
        ctx.with_relu = len(self.nodes) > 1 and self.nodes[-1].op == "relu"
        return self.nodes[0].kind.forward(k, self.nodes[0], params, inputs, ctx)

    def backward(self, k: Any, params: Params, dys: Sequence[Array], ctx: Context) -> Grads:
        """Return the gradients of the inputs (in order) and of the parameters (by full name).

        `dys` are the terms of the gradient in the result: one, or one or two where there is a shortcut.
        """
        first = self.nodes[0]
        if self.has_shortcut:
            assert isinstance(first.kind, BatchNorm)
            return first.kind.backward_sum(k, first, params, dys, ctx)
        return first.kind.backward(k, first, params, dys[0], ctx)

    def inner_gradient(self, k: Any, dy: Array, ctx: Context) -> Array:
        """Return the gradient in the results between the nodes, which are the same for all of them."""
        return k.relu_grad(dy, ctx.saved[3]) if ctx.with_relu else dy


def single_steps(nodes: Sequence[Node]) -> tuple[Step, ...]:
    """Return a step for each node."""
    return tuple(Step((node,), node.inputs) for node in nodes)


@lru_cache(maxsize=256)
def training_steps(net: Network, keep: frozenset[str]) -> tuple[Step, ...]:
    """Return the steps in which a network trains, in order.

    Parameters
    ----------
    net : Network
        The architecture.
    keep : frozenset of str
        Nodes whose results a caller wants to see.

    Returns
    -------
    tuple of Step
        Each node is part of one of them.
    """
    joined = [_joined(net, node, keep) for node in net.nodes if node.op == "batch_norm"]
    last: dict[str, Step] = {}
    taken: set[str] = set()
    for step in joined:
        # Two batch norms may lead to one addition: the first takes it.
        if taken.isdisjoint(node.name for node in step.nodes):
            taken.update(node.name for node in step.nodes)
            last[step.name] = step
    return tuple(
        last.get(node.name) or Step((node,), node.inputs)
        for node in net.nodes
        if node.name in last or node.name not in taken
    )


def _joined(net: Network, norm: Node, keep: frozenset[str]) -> Step:
    """Return a batch norm with what can join it."""
    nodes, inputs = [norm], norm.inputs
    for op in ("add", "relu"):
        readers = net.consumers(nodes[-1].name)
        if len(readers) != 1 or readers[0].op != op or nodes[-1].name in keep:
            continue
        if op == "add":
            others = tuple(source for source in readers[0].inputs if source != norm.name)
            if len(readers[0].inputs) != 2 or len(others) != 1:
                break
            inputs += others
        nodes.append(readers[0])
    return Step(tuple(nodes), inputs)
