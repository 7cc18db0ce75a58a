"""Batch-norm statistics of candidates, measured anew before they are scored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.compress import count
from emoref.nn import ArrayData, Network, reestimate_batch_norm, split_params

__all__ = ["Recalibration"]

Params = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Recalibration:
    """What :func:`emoref.nn.reestimate_batch_norm` is called with for every candidate.

    Candidates with equal beginnings get equal statistics there, because each batch norm's depend on what
    comes before it alone; so what they share can still be shared.

    Attributes
    ----------
    images : float array, shape (N, *input_shape)
        Training images, or the activations that enter the part of a network that is searched; N is
        ``batches * batch_size`` at least.
    batches, batch_size : int
        How many batches of how many.
    until : str
        Statistics are measured up to this node, and those behind it stay as they are: a frozen tail. Empty:
        throughout.
    backend : str
        Which kernels compute.
    """

    images: NDArray[Any]
    batches: int
    batch_size: int
    until: str = ""
    backend: Any = "cpu"

    def part(self, net: Network) -> Network:
        """Return the part of the network `net` whose statistics are measured."""
        return net.split([self.until])[0] if self.until else net

    def __call__(self, net: Network, params: Params) -> dict[str, NDArray[Any]]:
        """Return the parameters `params` of `net` with statistics measured anew; nothing is changed."""
        part = self.part(net)
        (own,) = split_params([part], params)
        data = ArrayData(self.images, np.zeros(len(self.images), np.int64))
        measured = reestimate_batch_norm(part, own, data, self.batches, self.batch_size, backend=self.backend)
        return {**params, **measured}

    def macs(self, net: Network) -> int:
        """Return the multiply-accumulates of one call with the network `net`, for all images together."""
        part = self.part(net)
        norms = [i for i, node in enumerate(part.nodes) if node.op == "batch_norm"]
        layers = count(part).layers[: norms[-1] + 1] if norms else ()
        return self.batches * self.batch_size * sum(layer.macs for layer in layers)
