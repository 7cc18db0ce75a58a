"""What a compressed network costs to run and to store, estimated from the sizes of its layers."""

from emoref.compress.energy.constants import MODELS, Constant, Constants, load_constants
from emoref.compress.energy.emomc import (
    DATAFLOWS,
    AccessCounts,
    emomc_accesses,
    emomc_energies,
    emomc_energy,
    emomc_float32_energy,
)
from emoref.compress.energy.eyeriss import (
    LayerReuse,
    Reuse,
    eyeriss_datum_cost,
    eyeriss_energy,
    eyeriss_psum_cost,
    eyeriss_reuse,
)
from emoref.compress.energy.layers import WeightLayer, weight_layers
from emoref.compress.energy.operations import (
    float_mac_pj,
    integer_add_pj,
    integer_multiply_pj,
    operation_energy,
    operation_float_energy,
)
from emoref.compress.energy.rules import EMOMC_COMPAT, STRICT, EmomcRules
from emoref.compress.energy.scores import aggregation_score
from emoref.compress.energy.sizes import CODINGS, emomc_size, emomc_sizes, float32_size
from emoref.compress.energy.tables import COMPONENTS, EnergyTable, LayerEnergy, LayerSize, SizeTable

__all__ = [
    "CODINGS",
    "COMPONENTS",
    "DATAFLOWS",
    "EMOMC_COMPAT",
    "MODELS",
    "STRICT",
    "AccessCounts",
    "Constant",
    "Constants",
    "EmomcRules",
    "EnergyTable",
    "LayerEnergy",
    "LayerReuse",
    "LayerSize",
    "Reuse",
    "SizeTable",
    "WeightLayer",
    "aggregation_score",
    "emomc_accesses",
    "emomc_energies",
    "emomc_energy",
    "emomc_float32_energy",
    "emomc_size",
    "emomc_sizes",
    "eyeriss_datum_cost",
    "eyeriss_energy",
    "eyeriss_psum_cost",
    "eyeriss_reuse",
    "float32_size",
    "float_mac_pj",
    "integer_add_pj",
    "integer_multiply_pj",
    "load_constants",
    "operation_energy",
    "operation_float_energy",
    "weight_layers",
]
