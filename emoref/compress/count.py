"""Counting what a network costs: multiply-accumulates, parameters, filters, bits.

What is counted, said once and for all:

* ``macs``: one multiplication with its addition, in convolutions and linear layers, for one image.
  ``flops = 2 * macs``. Adding a bias, batch norm, activations and pooling are not counted.
* ``params``: everything that training changes: weights, biases, gamma and beta. The running statistics of
  batch norm are not parameters.
* ``weights``: the weights of convolutions and linear layers alone.
* ``filters``: the output channels of all convolutions, depthwise ones included.
"""

from dataclasses import dataclass
from math import prod

from emoref.errors import NetworkError
from emoref.nn import Network

__all__ = ["Count", "LayerCount", "count"]


@dataclass(frozen=True)
class LayerCount:
    """What one node costs.

    Attributes
    ----------
    name, op : str
        The node and its operation.
    output_shape : tuple of int
        Shape of its value for one image.
    macs : int
        Multiply-accumulates for one image.
    params : int
        Trainable parameters.
    weights : int
        Weights without bias; 0 unless the node is a convolution or a linear layer.
    filters : int
        Output channels if the node is a convolution, else 0.
    """

    name: str
    op: str
    output_shape: tuple[int, ...]
    macs: int
    params: int
    weights: int
    filters: int

    @property
    def flops(self) -> int:
        """Floating-point operations for one image: two for each multiply-accumulate."""
        return 2 * self.macs


@dataclass(frozen=True)
class Count:
    """What a network costs; the sums over its :attr:`layers`.

    Attributes
    ----------
    layers : tuple of LayerCount
        One row for each node, in topological order.
    """

    layers: tuple[LayerCount, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def flops(self) -> int:
        """Floating-point operations for one image: two for each multiply-accumulate."""
        return 2 * self.macs

    @property
    def params(self) -> int:
        """Trainable parameters: weights, biases, gamma and beta."""
        return sum(layer.params for layer in self.layers)

    @property
    def weights(self) -> int:
        """Weights of convolutions and linear layers, without biases and batch norm."""
        return sum(layer.weights for layer in self.layers)

    @property
    def filters(self) -> int:
        """Output channels of all convolutions."""
        return sum(layer.filters for layer in self.layers)

    def size_bits(self, bits: int = 32) -> int:
        """Return the nominal size of the parameters.

        Parameters
        ----------
        bits : int, default 32
            Bits for each trainable parameter, the same for all.

        Returns
        -------
        int
            ``bits * params``. A file is larger: it also holds the running statistics and the architecture.

        Raises
        ------
        NetworkError
            If ``bits`` is less than 1.
        """
        if bits < 1:
            raise NetworkError(f"bits: a parameter needs at least 1 bit, got {bits}")
        return bits * self.params


def count(net: Network) -> Count:
    """Count what a network costs; needs no parameters.

    Parameters
    ----------
    net : Network
        The network. Give it a slimmed one to count what pruning left.

    Returns
    -------
    Count
        The totals and one row for each node.

    Examples
    --------
    >>> from emoref.compress import count
    >>> from emoref.nn import NetworkBuilder
    >>> b = NetworkBuilder("lenet", (1, 28, 28))
    >>> _ = b.conv("conv1", 20, 5), b.max_pool("pool1", 2), b.flatten("flat"), b.linear("fc", 10)
    >>> count(b.build()).macs   # 20*25 weights at 24*24 places, and 2880*10
    316800
    """
    rows = []
    for node, row in zip(net.nodes, net.layer_table(), strict=True):
        weight = node.kind.param_shapes(node, net.input_shapes(node)).get("weight", (0,))
        filters = row.output_shape[0] if node.op == "conv2d" else 0
        rows.append(
            LayerCount(row.name, row.op, row.output_shape, row.macs, row.parameters, prod(weight), filters)
        )
    return Count(tuple(rows))
