"""A per-operation model: so many multiplications, additions and bits moved, each at its energy in 45 nm.

The energies are those of M. Horowitz, *Computing's energy problem*, ISSCC 2014, as tabulated by Han et al.,
*EIE*, ISCA 2016. Which accesses a layer makes is not part of the tables; emoref counts the fewest that a
processor with registers, one on-chip memory and DRAM needs:

* each kept weight comes from DRAM (or on-chip memory) once, each input from on-chip memory once, each output
  goes there once;
* each multiply-accumulate reads weight and input from the register file, reads the sum and writes it.
"""

from math import log

import numpy as np
from numpy.typing import NDArray

from emoref.compress.energy.constants import Constants, ConstantsSource, constants_of
from emoref.compress.energy.layers import Masks, PerLayer, WeightLayer, settings_of_one, weight_layers
from emoref.compress.energy.tables import EnergyTable, energy_table
from emoref.errors import ConfigError
from emoref.nn import Network

__all__ = [
    "float_mac_pj",
    "integer_add_pj",
    "integer_multiply_pj",
    "operation_energy",
    "operation_float_energy",
]

WEIGHT_HOMES = ("dram", "sram")


def integer_multiply_pj(first_bits: float, second_bits: float, constants: ConstantsSource = None) -> float:
    """Return the energy of an integer multiplication.

    Published are 8 x 8 and 32 x 32 bits. Between and around them emoref takes the power of the product of the
    widths that passes through both; its exponent is 0.988, so the energy grows nearly with that product.

    Parameters
    ----------
    first_bits, second_bits : float
        Widths of the factors, above 0.
    constants : Constants, str or Path, optional
        Another file of constants for the model ``"operations"``.

    Returns
    -------
    float
        Picojoules.

    Raises
    ------
    ConfigError
        If a width is not positive.

    Examples
    --------
    >>> round(integer_multiply_pj(8, 8), 6), round(integer_multiply_pj(32, 32), 6)
    (0.2, 3.1)
    """
    c = constants_of("operations", constants)
    if first_bits <= 0 or second_bits <= 0:
        raise ConfigError(f"bits of a factor must be above 0, found {first_bits:g} and {second_bits:g}")
    exponent = log(c["int_multiply_32"] / c["int_multiply_8"]) / log(32**2 / 8**2)
    return c["int_multiply_8"] * (first_bits * second_bits / 8**2) ** exponent


def integer_add_pj(bits: float, constants: ConstantsSource = None) -> float:
    """Return the energy of an integer addition.

    Published are 8, 16 and 32 bits; between them, and from nothing at 0 bits, emoref interpolates linearly;
    beyond 32 bits it goes on in proportion.

    Parameters
    ----------
    bits : float
        Width of the sum, above 0.
    constants : Constants, str or Path, optional
        Another file of constants for the model ``"operations"``.

    Returns
    -------
    float
        Picojoules.

    Raises
    ------
    ConfigError
        If the width is not positive.
    """
    c = constants_of("operations", constants)
    if bits <= 0:
        raise ConfigError(f"bits of a sum must be above 0, found {bits:g}")
    if bits > 32:
        return c["int_add_32"] * bits / 32
    return float(np.interp(bits, [0, 8, 16, 32], [0, c["int_add_8"], c["int_add_16"], c["int_add_32"]]))


def float_mac_pj(bits: int, constants: ConstantsSource = None) -> float:
    """Return the energy of a floating-point multiplication and addition.

    Parameters
    ----------
    bits : {16, 32}
        Width of both factors and the sum.
    constants : Constants, str or Path, optional
        Another file of constants for the model ``"operations"``.

    Returns
    -------
    float
        Picojoules.

    Raises
    ------
    ConfigError
        If the width is another one.
    """
    c = constants_of("operations", constants)
    if bits not in (16, 32):
        raise ConfigError(f"floating-point numbers have 16 or 32 bits here, not {bits}")
    return c[f"float_multiply_{bits}"] + c[f"float_add_{bits}"]


def operation_energy(
    net: Network,
    remaining_ratio: PerLayer = 1.0,
    weight_bits: PerLayer = 8,
    activation_bits: PerLayer = 8,
    masks: Masks | None = None,
    weights_in: str = "dram",
    constants: ConstantsSource = None,
) -> EnergyTable:
    """Estimate the energy of a pruned and quantised network from the energies of single operations.

    Parameters
    ----------
    net : Network
        The network.
    remaining_ratio : float, array (L,) or mapping of str to float
        Kept single weights / all weights of each layer; the others are neither moved nor multiplied.
    weight_bits, activation_bits : int, array (L,) or mapping of str to int
        Integers of 2 to 16 bits.
    masks : mapping of str to bool array, optional
        Filters to keep, as for :func:`emoref.compress.slim`.
    weights_in : {"dram", "sram"}
        Where the weights are kept. A network small enough for on-chip memory is what EIE is about.
    constants : Constants, str or Path, optional
        Another file of constants for the model ``"operations"``.

    Returns
    -------
    EnergyTable
        Energy of one image.

    Raises
    ------
    ConfigError
        If a ratio, a number of bits or `weights_in` is out of range, or the constants are bad.
    NetworkError, ShapeError
        If a mask does not fit.
    """
    c = constants_of("operations", constants)
    rows = settings_of_one(net, masks, remaining_ratio, weight_bits, activation_bits)
    sums = c["accumulator"]
    terms = [
        _terms(layer, p, q, a, sums, integer_multiply_pj(q, a, c) + integer_add_pj(sums, c), weights_in, c)
        for layer, p, q, a in rows
    ]
    return energy_table("operations", "", [layer for layer, *_ in rows], np.array(terms))


def operation_float_energy(
    net: Network,
    bits: int = 32,
    masks: Masks | None = None,
    weights_in: str = "dram",
    constants: ConstantsSource = None,
) -> EnergyTable:
    """Estimate the energy of an uncompressed network in floating point: the baseline of this model.

    Parameters
    ----------
    net, masks, weights_in, constants
        As for :func:`operation_energy`.
    bits : {16, 32}
        Width of weights, activations and sums.

    Returns
    -------
    EnergyTable
        Energy of one image.

    Raises
    ------
    ConfigError
        If `bits` or `weights_in` is another one, or the constants are bad.
    NetworkError, ShapeError
        If a mask does not fit.
    """
    c = constants_of("operations", constants)
    layers, mac = weight_layers(net, masks), float_mac_pj(bits, c)
    terms = [_terms(layer, 1.0, bits, bits, bits, mac, weights_in, c) for layer in layers]
    return energy_table("operations", "", layers, np.array(terms))


def _terms(
    layer: WeightLayer,
    p: float,
    q: float,
    a: float,
    sum_bits: float,
    mac_pj: float,
    weights_in: str,
    c: Constants,
) -> NDArray[np.float64]:
    if weights_in not in WEIGHT_HOMES:
        raise ConfigError(f"weights_in must be one of {', '.join(WEIGHT_HOMES)}, found {weights_in!r}")
    done = layer.macs * p
    return np.array(
        [
            done * mac_pj,
            layer.inputs * a * c["sram"] + done * a * c["register_file"],
            layer.weights * p * q * c[weights_in] + done * q * c["register_file"],
            layer.outputs * a * c["sram"],
            done * 2 * sum_bits * c["register_file"],
        ]
    )
