"""Writing a network down node by node."""

from collections.abc import Iterable
from typing import Any

from emoref.nn.graph import INPUT, Network, Node

__all__ = ["NetworkBuilder"]


class NetworkBuilder:
    """Builds a :class:`Network` node by node; each method appends one node and returns its name.

    ``name`` is the new node's. ``source`` is the node to read from; left out, the node added last (or the
    input). ``sources`` are several. The other arguments are attributes of the node's operation, see its class
    in :mod:`emoref.nn.ops`: ``filters``, ``kernel``, ``stride``, ``padding``, ``groups``, ``bias``,
    ``units``, ``eps``, ``momentum``, ``size``, ``alpha``, ``beta``, ``k``, ``before``, ``after``, ``rate``.

    Parameters
    ----------
    name : str
        The network's name.
    input_shape : tuple of int
        (channels, height, width), or (features,).
    """

    def __init__(self, name: str, input_shape: tuple[int, ...]) -> None:
        self.name = name
        self.input_shape = tuple(input_shape)
        self.nodes: list[Node] = []

    @property
    def last(self) -> str:
        """Name of the node added last, ``"input"`` at the beginning."""
        return self.nodes[-1].name if self.nodes else INPUT

    def node(self, name: str, op: str, sources: Iterable[str | None] = (None,), **attrs: Any) -> str:
        """Append a node of operation `op` with attributes `attrs`; a source None is the node added last."""
        inputs = tuple(self.last if source is None else source for source in sources)
        self.nodes.append(Node(name, op, inputs, attrs))
        return name

    def conv(
        self,
        name: str,
        filters: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        source: str | None = None,
    ) -> str:
        """Append a conv2d node with a square kernel."""
        sizes = {"filters": filters, "kernel": kernel, "stride": stride, "padding": padding, "groups": groups}
        return self.node(name, "conv2d", (source,), **sizes, bias=bias)

    def linear(self, name: str, units: int, bias: bool = True, source: str | None = None) -> str:
        """Append a fully connected node."""
        return self.node(name, "linear", (source,), units=units, bias=bias)

    def batch_norm(
        self, name: str, eps: float = 1e-5, momentum: float = 0.1, source: str | None = None
    ) -> str:
        """Append a batch_norm node."""
        return self.node(name, "batch_norm", (source,), eps=eps, momentum=momentum)

    def local_response_norm(
        self,
        name: str,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 1.0,
        source: str | None = None,
    ) -> str:
        """Append a local_response_norm node; alpha is divided by size, as in PyTorch."""
        return self.node(name, "local_response_norm", (source,), size=size, alpha=alpha, beta=beta, k=k)

    def relu(self, name: str, source: str | None = None) -> str:
        """Append a relu node."""
        return self.node(name, "relu", (source,))

    def tanh(self, name: str, source: str | None = None) -> str:
        """Append a tanh node."""
        return self.node(name, "tanh", (source,))

    def max_pool(
        self, name: str, kernel: int, stride: int | None = None, padding: int = 0, source: str | None = None
    ) -> str:
        """Append a max_pool2d node; the stride defaults to the kernel."""
        return self.node(
            name, "max_pool2d", (source,), kernel=kernel, stride=stride or kernel, padding=padding
        )

    def avg_pool(
        self, name: str, kernel: int, stride: int | None = None, padding: int = 0, source: str | None = None
    ) -> str:
        """Append an avg_pool2d node; the stride defaults to the kernel."""
        return self.node(
            name, "avg_pool2d", (source,), kernel=kernel, stride=stride or kernel, padding=padding
        )

    def global_avg_pool(self, name: str, source: str | None = None) -> str:
        """Append a global_avg_pool2d node."""
        return self.node(name, "global_avg_pool2d", (source,))

    def flatten(self, name: str, source: str | None = None) -> str:
        """Append a flatten node."""
        return self.node(name, "flatten", (source,))

    def add(self, name: str, *sources: str) -> str:
        """Append a node that adds two or more results."""
        return self.node(name, "add", sources)

    def concat(self, name: str, *sources: str) -> str:
        """Append a node that joins two or more results along the channels."""
        return self.node(name, "concat", sources)

    def pad_channels(self, name: str, before: int = 0, after: int = 0, source: str | None = None) -> str:
        """Append a node that puts channels of zeros before and behind its input's channels."""
        return self.node(name, "pad_channels", (source,), before=before, after=after)

    def dropout(self, name: str, rate: float = 0.5, source: str | None = None) -> str:
        """Append a dropout node."""
        return self.node(name, "dropout", (source,), rate=rate)

    def build(self) -> Network:
        """Return the finished network; raises NetworkError where nodes do not fit together."""
        return Network(self.name, self.input_shape, tuple(self.nodes))
