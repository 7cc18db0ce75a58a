"""What an EMOMC candidate costs: energies under the dataflows, sizes under the codings, and their baselines.

Under the rules ``emomc_compat`` all costs come from the authors' formulas, in which a layer's share of
non-zero weights is the library model's remaining ratio. Under ``strict`` that share is counted in the
quantised weights (few bits turn more of them to zero), and the size under each of the paper's codings is that
of a file's sections: streams that can be decoded, filled up to whole bytes, with their scales. Biases and
batch norm are in no size here, as in the paper and in the baseline; a file holds them on top.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from emoref.compress import (
    ALL_CODERS,
    Coder,
    CompressedNetwork,
    quantize_network,
    quantize_weights,
    smallest_coder,
    weighted_layers,
)
from emoref.compress import energy as models
from emoref.compress.library import Library
from emoref.errors import ConfigError
from emoref.nn import Network
from emoref.runs.config import Section

PAPER_CODERS = {"normal": "dense", "csr": "relative-3", "coo": "coo"}
"""The coder that writes what each coding of the paper stands for."""


class ModelSection(Section):
    """How weights are quantised and what costs are computed with."""

    quantizer: Literal[
        "emomc", "symmetric", "asymmetric", "symmetric-channels", "asymmetric-channels", "codebook"
    ] = "emomc"
    energy: Literal["emomc", "eyeriss", "operations"] = "emomc"
    constants: str = ""  # a TOML file of energy constants; empty: those that ship with emoref
    rules: Literal["emomc_compat", "strict"] = "emomc_compat"
    switches: dict[str, bool] = Field(default_factory=dict)  # single rules by name, over those of `rules`

    @field_validator("switches")
    @classmethod
    def _known(cls, switches: dict[str, bool]) -> dict[str, bool]:
        known = [field.name for field in fields(models.EmomcRules)]
        for name in switches:
            if name not in known:
                raise ValueError(f"there is no rule {name!r}; known: {', '.join(known)}")
        return switches

    @model_validator(mode="after")
    def _constants_agree(self) -> "ModelSection":
        if self.constants:
            try:
                models.load_constants(self.energy, self.constants)
            except ConfigError as error:
                raise ValueError(f"constants: {error}") from None
        return self

    @property
    def emomc_rules(self) -> models.EmomcRules:
        """Return the rules with the switches applied."""
        start = models.STRICT if self.rules == "strict" else models.EMOMC_COMPAT
        return replace(start, **self.switches)


def check_coding(coding: str) -> str:
    """Return `coding` if it is one of the paper's, "smallest" or a coder's name.

    Raises
    ------
    ConfigError
        If it is not; lists the known ones.
    """
    if coding not in (*models.CODINGS, "smallest"):
        try:
            Coder.parse(coding)
        except ConfigError as error:
            known = ", ".join((*models.CODINGS, "smallest"))
            raise ConfigError(f"unknown coding {coding!r}; known: {known}, and coders: {error}") from None
    return coding


def base_energy(net: Network, dataflow: str, section: ModelSection) -> models.EnergyTable:
    """Return the energy of the uncompressed network, the baseline of the improvement factors.

    In 32-bit floating point, but for the Eyeriss model, which knows 16 bits at most.
    """
    constants = models.load_constants(section.energy, section.constants or None)
    if section.energy == "eyeriss":
        return models.eyeriss_energy(net, dataflow, constants=constants)
    if section.energy == "operations":
        return models.operation_float_energy(net, constants=constants)
    return models.emomc_float32_energy(net, dataflow, constants=constants)


@dataclass
class _LayerStatistics:
    """What the costs know of one quantised layer: its zeros, and its bytes under each coding asked for."""

    weights: int
    nonzero: int
    section_bytes: dict[str, int]


class Costs:
    """The costs of all pruned and quantised versions of one network.

    A version is a row: the number of the library's model, then the bits of each layer, whole numbers.

    Parameters
    ----------
    library : Library
        The pruned models.
    section : ModelSection
        Quantiser, energy model, constants and rules.
    """

    def __init__(self, library: Library, section: ModelSection) -> None:
        self.library, self.section = library, section
        self.net: Network = library.net
        self.layers = weighted_layers(library.net)
        self.rules = section.emomc_rules
        self._constants = models.load_constants(section.energy, section.constants or None)
        self._known: dict[tuple[int, int, int], _LayerStatistics] = {}

    # ------------------------------------------------------------------------------------------- energy

    def energies(self, dataflow: str, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return the energy of one image for each row, in picojoules."""
        if self.section.energy != "emomc":
            return np.array([self.energy_table(dataflow, row).energy_pj for row in rows])
        if len(rows) == 0:
            return np.empty(0)
        return models.emomc_energies(
            self.net,
            dataflow,
            self.densities(rows),
            rows[:, 1:],
            rules=self.rules,
            constants=self._constants,
        )

    def energy_table(self, dataflow: str, row: NDArray[Any]) -> models.EnergyTable:
        """Return the energy of one image layer by layer."""
        density, bits = self.densities(row[None])[0], row[1:]
        if self.section.energy == "eyeriss":
            return models.eyeriss_energy(self.net, dataflow, density, bits, constants=self._constants)
        if self.section.energy == "operations":
            return models.operation_energy(self.net, density, bits, 16, constants=self._constants)
        return models.emomc_energy(
            self.net, dataflow, density, bits, rules=self.rules, constants=self._constants
        )

    def base_energy(self, dataflow: str) -> models.EnergyTable:
        """Return what :func:`base_energy` gives for this network."""
        return base_energy(self.net, dataflow, self.section)

    def densities(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return each layer's share of non-zero weights, shape (rows, layers).

        A layer that has none left counts as having one, because the models refuse a share of 0.
        """
        if self.section.rules == "emomc_compat":
            ratios = np.array(self.library.ratios)[rows[:, 0].astype(np.int64)]
            return np.broadcast_to(ratios[:, None], (len(rows), len(self.layers)))
        return self._table(rows, lambda layer: max(layer.nonzero, 1) / layer.weights)

    # --------------------------------------------------------------------------------------------- size

    def sizes(self, coding: str, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Return the size of the weights of each row, in bits."""
        if not self.is_measured(coding):
            ratios = np.array(self.library.ratios)[rows[:, 0].astype(np.int64)]
            return models.emomc_sizes(self.net, coding, ratios[:, None], rows[:, 1:], rules=self.rules)
        layers = self._table(rows, lambda layer: 8.0 * layer.section_bytes[coding], coding)
        return layers.sum(axis=1)

    def is_measured(self, coding: str) -> bool:
        """Return whether sizes under a coding are lengths of streams, rather than the paper's estimates."""
        return coding not in models.CODINGS or self.section.rules == "strict"

    def coders(self, coding: str) -> tuple[Coder, ...]:
        """Return the coders that a coding may choose from, layer by layer."""
        return ALL_CODERS if coding == "smallest" else (Coder.parse(PAPER_CODERS.get(coding, coding)),)

    def base_size_bits(self) -> float:
        """Return the size of the uncompressed weights, 32 bits each."""
        return models.float32_size(self.net).size_bits

    # ----------------------------------------------------------------------------------- quantised layers

    def compressed(self, row: NDArray[Any]) -> CompressedNetwork:
        """Return the network that a row stands for."""
        params = self.library.models[int(row[0])].params(self.net)
        bits = {layer: int(q) for layer, q in zip(self.layers, row[1:], strict=True)}
        return quantize_network(self.net, params, bits, self.section.quantizer)

    def _table(
        self, rows: NDArray[Any], value: Callable[[_LayerStatistics], float], coding: str = ""
    ) -> NDArray[np.float64]:
        found = np.empty((len(rows), len(self.layers)))
        for place in np.ndindex(found.shape):
            row, layer = rows[place[0]], place[1]
            found[place] = value(self._statistics(int(row[0]), layer, int(row[1 + layer]), coding))
        return found

    def _statistics(self, model: int, layer: int, bits: int, coding: str) -> _LayerStatistics:
        key, name = (model, layer, bits), f"{self.layers[layer]}.weight"
        known = self._known.get(key)
        if known is not None and (not coding or coding in known.section_bytes):
            return known
        weight = self.library.models[model].weight(name, self.net.param_shapes()[name])
        tensor = quantize_weights(weight, bits, self.section.quantizer)
        symbols = tensor.symbols()
        if known is None:
            nonzero = int(np.count_nonzero(tensor.dequantize()))
            known = self._known[key] = _LayerStatistics(weight.size, nonzero, {})
        if coding:
            _, stream_bits = smallest_coder(symbols, tensor.bits, self.coders(coding))
            known.section_bytes[coding] = -(-(stream_bits + tensor.side_bits) // 8)
        return known
