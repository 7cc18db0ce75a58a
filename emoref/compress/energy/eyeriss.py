"""An Eyeriss-style model: DRAM, global buffer, array of processing elements, register files.

Y.-H. Chen, J. Emer, V. Sze: *Eyeriss: A Spatial Architecture for Energy-Efficient Dataflow for Convolutional
Neural Networks*, ISCA 2016. Published are the relative costs of an access at each level, and what a datum
costs that is used a, b, c and d times: fetched from DRAM into the buffer, from the buffer into the array,
handed from one processing element to the next, and read in a register file (equations 3 and 4). How often
that is, the paper finds by optimising over mappings. emoref uses one mapping for each of the four dataflows
instead, simple enough to compute by hand:

* c, in the array: the two loops that a dataflow names are spread over rows and columns, as far as these go.
  A weight serves all pixels, an input all output channels, a partial sum all input channels and kernel
  positions that are spread; under X:FX an input also serves the diagonal.
* d, in the register file: what is stationary stays. X:Y keeps the partial sum until it is finished, FX:FY
  the weight for all pixels, X:FX (a row of the kernel slides along a row of the map) all three for one row,
  CI:CO nothing.
* a, from DRAM: inputs and outputs once. Where the input does not fit into the part of the buffer for maps, it
  comes in strips, and weights that do not fit into theirs are fetched again for each strip.
* b, from the buffer: what is left, so that ``a * b * c * d`` is the number of uses.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from emoref.compress.energy.constants import Constants, ConstantsSource, constants_of
from emoref.compress.energy.emomc import check_dataflow
from emoref.compress.energy.layers import Masks, PerLayer, WeightLayer, settings_of_one
from emoref.compress.energy.tables import EnergyTable, energy_table
from emoref.nn import Network

__all__ = [
    "LayerReuse",
    "Reuse",
    "eyeriss_datum_cost",
    "eyeriss_energy",
    "eyeriss_psum_cost",
    "eyeriss_reuse",
]


@dataclass(frozen=True)
class Reuse:
    """How often a datum is used at each level; the paper's a, b, c and d.

    Attributes
    ----------
    dram, buffer, array, register_file : float
        Times it is fetched from DRAM; from the buffer for each of these; handed to a processing element for
        each of those; used there. At least 1.
    """

    dram: float
    buffer: float
    array: float
    register_file: float

    @property
    def uses(self) -> float:
        """Multiply-accumulates that one datum takes part in."""
        return self.dram * self.buffer * self.array * self.register_file


@dataclass(frozen=True)
class LayerReuse:
    """The reuse of a layer's three kinds of data, and how many of each there are.

    Attributes
    ----------
    inputs, weights, psums : Reuse
        Of an input value, a weight, and the sum for an output value, on average.
    input_count, weight_count, output_count : int
        Number of input values that are used, weights and output values.
    """

    inputs: Reuse
    weights: Reuse
    psums: Reuse
    input_count: int
    weight_count: int
    output_count: int


def eyeriss_datum_cost(reuse: Reuse, constants: ConstantsSource = None) -> float:
    """Return what an input or a weight costs on all levels, in multiply-accumulates (ISCA 2016, eq. 3).

    Parameters
    ----------
    reuse : Reuse
        How often it is used.
    constants : Constants, str or Path, optional
        Another file of constants for the model ``"eyeriss"``.

    Returns
    -------
    float
        ``a E_dram + ab E_buffer + abc E_array + abcd E_rf``.

    Examples
    --------
    >>> eyeriss_datum_cost(Reuse(1, 2, 3, 4))
    248.0
    """
    c = constants_of("eyeriss", constants)
    a, b, s, d = reuse.dram, reuse.buffer, reuse.array, reuse.register_file
    return a * c["dram"] + a * b * c["buffer"] + a * b * s * c["array"] + a * b * s * d * c["register_file"]


def eyeriss_psum_cost(reuse: Reuse, constants: ConstantsSource = None) -> float:
    """Return what accumulating an output costs on all levels, in multiply-accumulates (ISCA 2016, eq. 4).

    Parameters
    ----------
    reuse : Reuse
        How often its partial sum is added to.
    constants : Constants, str or Path, optional
        Another file of constants for the model ``"eyeriss"``.

    Returns
    -------
    float
        ``(2a - 1) E_dram + 2a(b - 1) E_buffer + ab(c - 1) E_array + 2abc(d - 1) E_rf``.

    Examples
    --------
    >>> eyeriss_psum_cost(Reuse(2, 3, 3, 2))
    708.0
    """
    c = constants_of("eyeriss", constants)
    a, b, s, d = reuse.dram, reuse.buffer, reuse.array, reuse.register_file
    return (
        (2 * a - 1) * c["dram"]
        + 2 * a * (b - 1) * c["buffer"]
        + a * b * (s - 1) * c["array"]
        + 2 * a * b * s * (d - 1) * c["register_file"]
    )


def eyeriss_reuse(
    layer: WeightLayer,
    dataflow: str,
    input_bits: float,
    weight_bits: float,
    constants: ConstantsSource = None,
) -> LayerReuse:
    """Map a layer onto the array.

    Parameters
    ----------
    layer : WeightLayer
        The layer, from :func:`weight_layers`.
    dataflow : str
        One of :data:`emoref.compress.energy.DATAFLOWS`.
    input_bits, weight_bits : float
        Bits that all its inputs and all its weights take: what has to fit into the buffer.
    constants : Constants, str or Path, optional
        Another file of constants for the model ``"eyeriss"``.

    Returns
    -------
    LayerReuse
        For one image.

    Raises
    ------
    ConfigError
        If the dataflow is unknown.
    """
    c = constants_of("eyeriss", constants)
    (in_array, in_file), (w_array, w_file), (p_array, p_file) = _spread(layer, check_dataflow(dataflow), c)
    strips = ceil(input_bits / c["map_buffer"]) if weight_bits > c["weight_buffer"] else 1
    # A stride beyond the kernel skips inputs.
    used = min(layer.inputs, layer.macs)
    sums = layer.kernel**2 * layer.group_inputs
    return LayerReuse(
        _split(layer.macs / used, 1, in_array, in_file),
        _split(layer.pixels, strips, w_array, w_file),
        _split(sums, 1, p_array, p_file),
        used,
        layer.weights,
        layer.outputs,
    )


_Pair = tuple[float, float]


def _spread(layer: WeightLayer, dataflow: str, c: Constants) -> tuple[_Pair, _Pair, _Pair]:
    """Return the reuse (c, d) in array and register file of input, weight and partial sum."""
    rows, columns, kernel = c["rows"], c["columns"], layer.kernel
    if dataflow == "X:Y":
        placed = min(layer.out_height, rows) * min(layer.out_width, columns)
        return (1, 1), (placed, 1), (1, kernel**2 * layer.group_inputs)
    if dataflow == "CI:CO":
        return (min(layer.group_outputs, columns), 1), (1, 1), (min(layer.group_inputs, rows), 1)
    if dataflow == "FX:FY":
        return (1, 1), (1, layer.pixels), (min(kernel, rows) * min(kernel, columns), 1)
    across, down = min(layer.out_height, columns), min(kernel, rows)
    diagonal = across * down / (across + down - 1)
    return (diagonal, kernel), (across, layer.out_width), (down, kernel)


def _split(uses: float, dram: float, array: float, register_file: float) -> Reuse:
    """Return the four levels, cut where they would exceed the uses, from the register file outwards."""
    register_file = min(register_file, uses)
    array = min(array, uses / register_file)
    dram = min(dram, uses / register_file / array)
    return Reuse(dram, uses / register_file / array / dram, array, register_file)


def eyeriss_energy(
    net: Network,
    dataflow: str = "X:FX",
    remaining_ratio: PerLayer = 1.0,
    weight_bits: PerLayer = 16,
    activation_bits: PerLayer = 16,
    masks: Masks | None = None,
    constants: ConstantsSource = None,
) -> EnergyTable:
    """Estimate the energy of a pruned and quantised network on an Eyeriss-like chip, layer by layer.

    Accesses cost in proportion to their bits, a multiply-accumulate to the product of the bits of its
    operands; pruned weights are neither read nor multiplied (the scaling of the estimators for this
    architecture). Partial sums keep the full word. The energy of writing a finished output to DRAM is in the
    component ``output``, all other traffic of sums in ``psum``.

    Parameters
    ----------
    net : Network
        The network.
    dataflow : str
        One of :data:`emoref.compress.energy.DATAFLOWS`; X:FX is row stationary, the paper's own.
    remaining_ratio : float, array (L,) or mapping of str to float
        Kept single weights / all weights of each layer.
    weight_bits, activation_bits : int, array (L,) or mapping of str to int
        2 to 16.
    masks : mapping of str to bool array, optional
        Filters to keep, as for :func:`emoref.compress.slim`.
    constants : Constants, str or Path, optional
        Another file of constants for the model ``"eyeriss"``.

    Returns
    -------
    EnergyTable
        Energy of one image. With the constants that ship with emoref, 1 pJ stands for one 16-bit
        multiply-accumulate.

    Raises
    ------
    ConfigError
        If the dataflow is unknown, a ratio or a number of bits is out of range, or the constants are bad.
    NetworkError, ShapeError
        If a mask does not fit.
    """
    c = constants_of("eyeriss", constants)
    rows = settings_of_one(net, masks, remaining_ratio, weight_bits, activation_bits)
    terms = np.array([_terms(*row, dataflow, c) for row in rows])
    return energy_table("eyeriss", dataflow, [layer for layer, *_ in rows], c["mac"] * terms)


def _terms(
    layer: WeightLayer, p: float, q: float, a: float, dataflow: str, c: Constants
) -> NDArray[np.float64]:
    reuse = eyeriss_reuse(layer, dataflow, layer.inputs * a, layer.weights * p * q, c)
    word = c["word"]
    psum = eyeriss_psum_cost(reuse.psums, c) - c["dram"]
    return np.array(
        [
            layer.macs * p * (q / word) * (a / word),
            reuse.input_count * eyeriss_datum_cost(reuse.inputs, c) * (a / word),
            reuse.weight_count * p * eyeriss_datum_cost(reuse.weights, c) * (q / word),
            reuse.output_count * c["dram"] * (a / word),
            reuse.output_count * psum,
        ]
    )
