"""The energy estimator of EMOMC: four dataflows, one local memory, multipliers of look-up tables.

Z. Wang, T. Luo, M. Li, J. T. Zhou, R. S. M. Goh, L. Zhen: *Evolutionary Multi-Objective Model Compression for
Deep Neural Networks*, IEEE Computational Intelligence Magazine 16(3), pp. 10-21, 2021. The formulas are those
of the authors' published code, which agree with the pages of the paper that could be read.

A dataflow names the two loops of a convolution that run in parallel: over the pixels of the output map
(X:Y, output stationary), over input and output channels (CI:CO), over the kernel (FX:FY, weight stationary),
or over a row of the map and a row of the kernel (X:FX, row stationary). It decides how many
multiply-accumulates a number serves once it is read. With N of them in all (g groups of Ci by Co channels,
a kernel of k by k, O pixels):

============  =====  =======  ===========  =======  ==================
accesses      X:Y    CI:CO    FX:FY        X:FX     linear layers
============  =====  =======  ===========  =======  ==================
input reads   N      N/Co     N            N/k      N
weight reads  N/O    N        N/O          N/√O     N
writes        N/k²Ci N/Ci     N/k²         N/k      units
sum reads     0      N/Ci     N/k²         N/k      0
============  =====  =======  ===========  =======  ==================

A datum that serves n weights at once need not be moved when all n are zero. With a share p of the weights
left, it is needed with probability ``1 - (1 - p)**n``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.compress.energy.constants import ConstantsSource, constants_of
from emoref.compress.energy.layers import (
    Masks,
    PerLayer,
    WeightLayer,
    ratios,
    same_rows,
    weight_layers,
    widths,
)
from emoref.compress.energy.rules import EMOMC_COMPAT, EmomcRules
from emoref.compress.energy.tables import EnergyTable, energy_table, row_totals
from emoref.errors import ConfigError
from emoref.nn import Network

__all__ = [
    "DATAFLOWS",
    "AccessCounts",
    "check_dataflow",
    "emomc_accesses",
    "emomc_energies",
    "emomc_energy",
    "emomc_float32_energy",
]

DATAFLOWS = ("X:Y", "CI:CO", "FX:FY", "X:FX")
"""The dataflows of the paper."""


@dataclass(frozen=True)
class AccessCounts:
    """How often the memory is accessed for one layer and one image, without pruning.

    Attributes
    ----------
    inputs, weights, outputs, psums : float
        Reads of inputs, reads of weights, writes of outputs (partial ones too), reads of partial sums.
    weights_per_input, weights_per_output : float
        How many weights share an input that is read and an output that is written; infinity where it counts
        as used whatever the weights are.
    """

    inputs: float
    weights: float
    outputs: float
    psums: float
    weights_per_input: float
    weights_per_output: float


def check_dataflow(dataflow: str) -> str:
    """Return `dataflow` if it is one of :data:`DATAFLOWS`; raises ConfigError that lists them otherwise."""
    if dataflow not in DATAFLOWS:
        raise ConfigError(f"unknown dataflow {dataflow!r}; known: {', '.join(DATAFLOWS)}")
    return dataflow


def emomc_accesses(
    layer: WeightLayer, dataflow: str, rules: EmomcRules = EMOMC_COMPAT, reuse_limit: float = 24
) -> AccessCounts:
    """Count the memory accesses of a layer.

    Parameters
    ----------
    layer : WeightLayer
        The layer, from :func:`weight_layers`.
    dataflow : str
        One of :data:`DATAFLOWS`. Linear layers are output stationary under all of them.
    rules : EmomcRules
        Its switches `exact_reuse` and `map_width` matter here.
    reuse_limit : float
        What CI:CO takes for "many" weights, see `exact_reuse`.

    Returns
    -------
    AccessCounts
        For one image, without pruning.

    Raises
    ------
    ConfigError
        If the dataflow is unknown.
    """
    check_dataflow(dataflow)
    n, kernel, pixels = layer.macs, layer.kernel, layer.pixels
    c_in, c_out = layer.group_inputs, layer.group_outputs
    if layer.op == "linear":
        return AccessCounts(n, n, layer.filters, 0, 1, inf)
    if dataflow == "X:Y":
        return AccessCounts(n, n / pixels, n / (kernel**2 * c_in), 0, 1, inf)
    if dataflow == "CI:CO":
        limit = inf if rules.exact_reuse else reuse_limit
        shared = (c_out if c_out <= limit else inf, c_in if c_in <= limit else inf)
        return AccessCounts(n / c_out, n, n / c_in, n / c_in, *shared)
    if dataflow == "FX:FY":
        return AccessCounts(n, n / pixels, n / kernel**2, n / kernel**2, 1, kernel**2)
    times = layer.out_width if rules.map_width else sqrt(pixels)
    return AccessCounts(n / kernel, n / times, n / kernel, n / kernel, kernel, kernel)


def emomc_energy(
    net: Network,
    dataflow: str,
    remaining_ratio: PerLayer = 1.0,
    weight_bits: PerLayer = 16,
    activation_bits: PerLayer | None = None,
    masks: Masks | None = None,
    rules: EmomcRules = EMOMC_COMPAT,
    constants: ConstantsSource = None,
) -> EnergyTable:
    """Estimate the energy of a pruned and quantised network, layer by layer.

    Parameters
    ----------
    net : Network
        The network.
    dataflow : str
        One of :data:`DATAFLOWS`.
    remaining_ratio : float, array (L,) or mapping of str to float
        Kept single weights / all weights of each layer, above 0 and at most 1: the paper's 1 - p.
    weight_bits : int, array (L,) or mapping of str to int
        The paper's q_1 .. q_L, 2 to 16. Fractions are rounded half to even unless `rules` forbid them.
    activation_bits : int, array (L,) or mapping of str to int, optional
        Bits of integer activations, 2 to 16; left out, 16-bit floating point as in the paper.
    masks : mapping of str to bool array, optional
        Filters to keep, as for :func:`emoref.compress.slim`; the energy is that of the slimmed network, and
        `remaining_ratio` is what is left of its weights.
    rules : EmomcRules
        Which of the authors' simplifications are replaced.
    constants : Constants, str or Path, optional
        Another file of constants for the model ``"emomc"``.

    Returns
    -------
    EnergyTable
        Energy of one image.

    Raises
    ------
    ConfigError
        If the dataflow is unknown, a ratio or a number of bits is out of range, activation bits are given
        although the rules do not provide for them, or the constants are bad.
    NetworkError, ShapeError
        If a mask does not fit.

    Examples
    --------
    >>> from emoref import networks
    >>> from emoref.compress.energy import emomc_energy
    >>> table = emomc_energy(networks.build("lenet5"), "X:Y", remaining_ratio=0.5, weight_bits=8)
    >>> round(table.energy_pj / 1e9, 5)   # mJ
    0.00371
    """
    layers = weight_layers(net, masks)
    terms = _terms(layers, dataflow, remaining_ratio, weight_bits, activation_bits, rules, constants)
    if terms.ndim != 2:
        raise ConfigError("one network has one number for each layer; emomc_energies takes more of them")
    return energy_table("emomc", dataflow, layers, terms)


def emomc_energies(
    net: Network,
    dataflow: str,
    remaining_ratio: PerLayer,
    weight_bits: PerLayer,
    activation_bits: PerLayer | None = None,
    masks: Masks | None = None,
    rules: EmomcRules = EMOMC_COMPAT,
    constants: ConstantsSource = None,
) -> NDArray[np.float64]:
    """Estimate the energies of many compressed versions of one network: an objective of a search.

    Parameters
    ----------
    net, dataflow, masks, rules, constants
        As for :func:`emomc_energy`.
    remaining_ratio, weight_bits, activation_bits : array (P, 1) or (P, L)
        One row for each version; what is the same for all may be given once, as for one network.

    Returns
    -------
    float64 array, shape (P,)
        For each version the ``energy_pj`` of :func:`emomc_energy`, bit for bit.

    Raises
    ------
    ConfigError, NetworkError, ShapeError
        As :func:`emomc_energy`, and ConfigError if the numbers of rows do not fit together.
    """
    layers = weight_layers(net, masks)
    terms = _terms(layers, dataflow, remaining_ratio, weight_bits, activation_bits, rules, constants)
    return row_totals(terms.reshape(*terms.shape[:-2], -1))


def emomc_float32_energy(
    net: Network,
    dataflow: str,
    masks: Masks | None = None,
    mantissa_bits: int | None = None,
    weight_mantissa_bits: int | None = None,
    weight_word_bits: int | None = None,
    constants: ConstantsSource = None,
) -> EnergyTable:
    """Estimate the energy of the uncompressed network in 32-bit floating point: the baseline.

    Every improvement factor is relative to it. The paper does not say how it is computed; emoref takes the
    estimator with a multiplier of two 23-bit mantissas and words twice as wide. For VGG-16 that is 1 to 4 %
    off the baselines that Table II implies (energy times improvement, all its rows). With a weight's mantissa
    of 24 bits and 17 bits read for it, all twelve products come out within their printed digits; why weights
    should be read in half the width is not known.

    Parameters
    ----------
    net, dataflow, masks, constants
        As for :func:`emomc_energy`.
    mantissa_bits : int, optional
        Of an activation; 23 if left out. 24 counts the implicit leading one.
    weight_mantissa_bits : int, optional
        Of a weight; `mantissa_bits` if left out.
    weight_word_bits : int, optional
        Bits read for a weight; 32 if left out. 33 is the authors' q + 1 taken literally.

    Returns
    -------
    EnergyTable
        Energy of one image.

    Raises
    ------
    ConfigError
        If the dataflow is unknown, a number of bits is not positive, or the constants are bad.
    NetworkError, ShapeError
        If a mask does not fit.
    """
    c = constants_of("emomc", constants)
    mantissa = c["float32_mantissa"] if mantissa_bits is None else mantissa_bits
    weight_word = c["float32_word"] if weight_word_bits is None else weight_word_bits
    weight_mantissa = mantissa if weight_mantissa_bits is None else weight_mantissa_bits
    for name, bits in (
        ("mantissa_bits", mantissa),
        ("weight_mantissa_bits", weight_mantissa),
        ("weight_word_bits", weight_word),
    ):
        if bits <= 0:
            raise ConfigError(f"{name} must be above 0, found {bits:g}")
    layers = weight_layers(net, masks)
    wide = c["float32_word"] / c["word"]
    terms = np.empty((len(layers), 5))
    for row, layer in zip(terms, layers, strict=True):
        counts = emomc_accesses(layer, dataflow)
        row[0] = layer.macs * c["lut"] * _luts(mantissa, weight_mantissa)
        row[1] = c["read"] * wide * counts.inputs
        row[2] = c["read"] * weight_word / c["word"] * counts.weights
        row[3] = c["write"] * wide * counts.outputs
        row[4] = c["read"] * wide * counts.psums
    return energy_table("emomc", dataflow, layers, terms)


def _luts(first: Any, second: Any) -> Any:
    """Return the look-up tables of a multiplier of `first` by `second` bits (p. 18); numbers or arrays."""
    return first / 2 * (second + 1)


def _terms(
    layers: Sequence[WeightLayer],
    dataflow: str,
    remaining_ratio: PerLayer,
    weight_bits: PerLayer,
    activation_bits: PerLayer | None,
    rules: EmomcRules,
    constants: ConstantsSource,
) -> NDArray[np.float64]:
    """Return the energies (..., L, 5) in pJ; p, q and a below are the paper's symbols for each layer."""
    c = constants_of("emomc", constants)
    counts = [emomc_accesses(layer, dataflow, rules, c["reuse_limit"]) for layer in layers]
    p = ratios(remaining_ratio, layers)
    q = widths(weight_bits, layers, "weight_bits", rules.whole_bits)
    mantissa, share = _activations(activation_bits, layers, rules, c)
    shape = same_rows(remaining_ratio=p, weight_bits=q, activation_bits=share)
    macs, inputs, weights, writes, psums, finals = np.array(
        [
            (m.macs, n.inputs, n.weights, n.outputs, n.psums, m.outputs)
            for m, n in zip(layers, counts, strict=True)
        ],
        dtype=np.float64,
    ).T
    per_input, per_output = np.array([(n.weights_per_input, n.weights_per_output) for n in counts]).T
    used_in, used_out = _used(p, per_input), _used(p, per_output)

    weight_words = weights * (q if rules.plain_weight_word else q + 1) / c["word"]
    if rules.skipped_zero_weights:
        weight_words = weight_words * p
    if rules.bias_reads:
        weight_words = weight_words + np.array([m.filters if m.has_bias else 0 for m in layers])

    terms = np.empty((*shape, 5))
    terms[..., 0] = c["lut"] * _luts(mantissa, q) * macs * p
    terms[..., 1] = c["read"] * inputs * used_in * share
    terms[..., 2] = c["read"] * weight_words
    # Of what is written, the finished outputs are activations; the rest are partial sums, a word wide.
    terms[..., 3] = c["write"] * (writes - finals * (1 - share)) * used_out
    terms[..., 4] = c["read"] * psums * used_out
    return terms


def _used(p: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability that one of the weights that share a datum is not zero."""
    return np.where(weights == 1, p, 1 - (1 - p) ** weights)


def _activations(
    bits: PerLayer | None, layers: Sequence[WeightLayer], rules: EmomcRules, c: Mapping[str, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the multiplier's bits for an activation, and the share of a word that it takes."""
    if bits is None:
        return np.full(len(layers), c["activation_mantissa"]), np.ones(len(layers))
    if not rules.quantised_activations:
        raise ConfigError(
            "activation_bits: the authors' estimator knows 16-bit floating-point activations alone; leave "
            "them out or turn on the rule quantised_activations"
        )
    width = widths(bits, layers, "activation_bits", rules.whole_bits)
    return width, width / c["word"]
