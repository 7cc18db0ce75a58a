"""What the models return: one row for each layer, and sums that add up."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import NDArray

from emoref.compress.energy.layers import WeightLayer

__all__ = ["COMPONENTS", "EnergyTable", "LayerEnergy", "LayerSize", "SizeTable", "energy_table", "row_totals"]

COMPONENTS = ("mac", "input", "weight", "output", "psum")
"""The parts of an energy: arithmetic, and moving inputs, weights, outputs and partial sums."""


@dataclass(frozen=True)
class LayerEnergy:
    """The energy that one layer takes for one image, in picojoules.

    Attributes
    ----------
    name, op : str
        The layer and its operation.
    macs : int
        Its multiply-accumulates, before pruning of single weights.
    mac_pj, input_pj, weight_pj, output_pj, psum_pj : float
        Multiply-accumulates, and the traffic of inputs, weights, outputs and partial sums.
    """

    name: str
    op: str
    macs: int
    mac_pj: float
    input_pj: float
    weight_pj: float
    output_pj: float
    psum_pj: float

    @property
    def components_pj(self) -> dict[str, float]:
        """The five parts by name, see :data:`COMPONENTS`."""
        return {name: getattr(self, f"{name}_pj") for name in COMPONENTS}

    @property
    def energy_pj(self) -> float:
        """Their sum."""
        return fsum(self.components_pj.values())


@dataclass(frozen=True)
class EnergyTable:
    """The energy of a network for one image.

    Attributes
    ----------
    model : str
        Which model it is from: ``"emomc"``, ``"eyeriss"`` or ``"operations"``.
    dataflow : str
        Under which dataflow; empty if the model knows none.
    layers : tuple of LayerEnergy
        One row for each convolution and linear layer, in topological order.
    """

    model: str
    dataflow: str
    layers: tuple[LayerEnergy, ...]

    @property
    def components_pj(self) -> dict[str, float]:
        """The five parts by name, each summed over the layers."""
        return {name: fsum(getattr(row, f"{name}_pj") for row in self.layers) for name in COMPONENTS}

    @property
    def energy_pj(self) -> float:
        """The total, in picojoules: the sum of all parts of all layers, rounded once."""
        return fsum(value for row in self.layers for value in row.components_pj.values())

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers, before pruning of single weights."""
        return sum(row.macs for row in self.layers)


@dataclass(frozen=True)
class LayerSize:
    """What the weights of one layer take when they are stored.

    Attributes
    ----------
    name, op : str
        The layer and its operation.
    weights : int
        Number of weights, zeros included, biases not.
    size_bits : float
        Bits; a fraction where the formula is an expectation.
    """

    name: str
    op: str
    weights: int
    size_bits: float


@dataclass(frozen=True)
class SizeTable:
    """What the weights of a network take when they are stored.

    Attributes
    ----------
    coding : str
        Which coding.
    layers : tuple of LayerSize
        One row for each convolution and linear layer, in topological order.
    """

    coding: str
    layers: tuple[LayerSize, ...]

    @property
    def size_bits(self) -> float:
        """The total in bits."""
        return fsum(row.size_bits for row in self.layers)

    @property
    def size_kib(self) -> float:
        """The total in KiB of 8192 bits."""
        return self.size_bits / 8 / 1024

    @property
    def weights(self) -> int:
        """Weights of all layers."""
        return sum(row.weights for row in self.layers)


def row_totals(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums over the last axis of `terms`, each rounded once: the totals of the tables."""
    rows = terms.reshape(-1, terms.shape[-1]).tolist()
    return np.array([fsum(row) for row in rows]).reshape(terms.shape[:-1])


def energy_table(
    model: str, dataflow: str, layers: Sequence[WeightLayer], terms: NDArray[np.float64]
) -> EnergyTable:
    """Return the table whose parts are `terms`, shape (L, 5), in picojoules, for the `layers`.

    `model` and `dataflow` are what the table says it is from.
    """
    rows = (
        LayerEnergy(layer.name, layer.op, layer.macs, *parts)
        for layer, parts in zip(layers, terms.tolist(), strict=True)
    )
    return EnergyTable(model, dataflow, tuple(rows))
