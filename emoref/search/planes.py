"""Populations of networks of the LeNet kind: all candidates in one compiled call.

The kernel computes the first convolution and the partial sums of the second one once for all candidates
(:mod:`emoref_kernels.cpu.fused_population`); here genomes are turned into what it needs.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.compress import count
from emoref.nn import Network
from emoref.nn.fused_planes import planes_layers, planes_program
from emoref.search.genome import FilterGenome

__all__ = ["PlanesPopulation"]


class PlanesPopulation:
    """Candidates of one network of the LeNet kind.

    Parameters
    ----------
    net : Network
        The unpruned network.
    params : mapping of str to array
        Its parameters, float32.
    layout : FilterGenome
        What the bits of a genome mean.

    Raises
    ------
    ValueError
        If the network is of another kind; ask :meth:`make` instead.
    """

    def __init__(self, net: Network, params: Mapping[str, NDArray[Any]], layout: FilterGenome) -> None:
        layers = planes_layers(net)
        if layers is None:
            raise ValueError(f"network {net.name!r} is not of the LeNet kind")
        self._program = planes_program(net, params, layers)
        self._net, self._layout = net, layout
        self._filters = [(node.name, node.attrs["filters"]) for node, _, _ in layers.convolutions]
        self._units = [(node.name, node.attrs["units"]) for node, _, _ in layers.linears]
        # Multiply-accumulates of a linear layer for each filter or unit that it reads and each of its units.
        sizes = [self._filters[-1][1], *(units for _, units in self._units)]
        macs = {layer.name: (layer.op, layer.macs) for layer in count(net).layers}
        self._pair_macs = [macs[name][1] // (sizes[k] * units) for k, (name, units) in enumerate(self._units)]
        self._shared_macs = sum(number for op, number in macs.values() if op == "conv2d")
        # Several threads may ask for counts at once; each takes memory of its own.
        self._free: list[NDArray[np.float32]] = []

    @classmethod
    def make(
        cls, net: Network, params: Mapping[str, NDArray[Any]], layout: FilterGenome
    ) -> "PlanesPopulation | None":
        """Return the population's evaluator, or None if the network is of another kind."""
        return None if planes_layers(net) is None else cls(net, params, layout)

    def _kept(self, rows: NDArray[np.bool_], name: str, size: int) -> NDArray[np.bool_]:
        """Return what each candidate keeps of a layer, shape (P, size)."""
        bits = self._layout.index.get(name)
        return np.ones((len(rows), size), bool) if bits is None else rows[:, bits]

    def chunks(self, rows: NDArray[np.bool_], memory_bytes: int) -> Iterator[slice]:
        """Cut a population so that what is held for the candidates of a chunk fits into a budget."""
        from emoref_kernels.cpu.fused_population import candidate_bytes

        step = max(1, memory_bytes // candidate_bytes(self._program))
        for first in range(0, len(rows), step):
            yield slice(first, min(first + step, len(rows)))

    def candidates(self, rows: NDArray[np.bool_]) -> Any:
        """Return the kernel's description of some candidates."""
        from emoref_kernels.cpu.fused_population import lay_out_candidates

        return lay_out_candidates(
            self._program,
            [self._kept(rows, *layer) for layer in self._filters],
            [self._kept(rows, *layer) for layer in self._units],
        )

    def macs(self, rows: NDArray[np.bool_]) -> int:
        """Return the multiply-accumulates for one image of the candidates in `rows`, all together.

        The convolutions run once with all filters; what a candidate adds up of the second one's partial sums
        are additions.
        """
        before = self._kept(rows, *self._filters[-1]).sum(axis=1)
        own = 0
        for (name, units), of_pair in zip(self._units, self._pair_macs, strict=True):
            after = self._kept(rows, name, units).sum(axis=1)
            own += of_pair * int((before * after).sum())
            before = after
        return own + self._shared_macs

    def logits(self, candidates: Any, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return the results of candidates for a block of images, shape (P, N, classes)."""
        from emoref_kernels.cpu.fused_population import predict_candidates, scratch_floats

        needed = scratch_floats(self._program, candidates, len(images))
        scratch = self._free.pop() if self._free else np.zeros(needed, np.float32)
        if scratch.size < needed:
            scratch = np.zeros(needed, np.float32)
        logits = predict_candidates(self._program, candidates, images, scratch)
        self._free.append(scratch)
        return logits
