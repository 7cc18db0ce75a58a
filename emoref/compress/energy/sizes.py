"""The sizes that EMOMC estimates for its three codings of the weights, without looking at any weight.

Z. Wang et al. 2021, p. 13, and the authors' code. These are objectives of a search, not files: a relative
distance of three bits without fillers cannot be decoded. :class:`emoref.compress.energy.EmomcRules` has a
switch for each of the gaps; with all of them on, the sizes are what a decodable stream takes on average, if
the kept weights lie at random. The exact size of given weights is the business of a coder that writes them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
from emoref.compress.energy.tables import LayerSize, SizeTable, row_totals
from emoref.compress.weights import kept_weights
from emoref.errors import ConfigError
from emoref.nn import Network

__all__ = ["CODINGS", "emomc_size", "emomc_sizes", "float32_size"]

CODINGS = ("normal", "csr", "coo")
"""The codings of the paper: all weights; kept ones with a distance; kept ones with an index."""

_RUN_BITS = 3
_SCALE_BITS = 32


def emomc_size(
    net: Network,
    coding: str,
    remaining_ratio: PerLayer = 1.0,
    weight_bits: PerLayer = 16,
    masks: Masks | None = None,
    rules: EmomcRules = EMOMC_COMPAT,
) -> SizeTable:
    """Estimate the size of a pruned and quantised network, layer by layer.

    For n weights of q bits of which a share p is kept: normal ``n q``, csr ``n p (q + 3)``, coo
    ``n p round(q + log2 n)``. Biases and batch norm are not counted.

    Parameters
    ----------
    net : Network
        The network.
    coding : str
        One of :data:`CODINGS`.
    remaining_ratio : float, array (L,) or mapping of str to float
        Kept single weights / all weights of each layer, above 0 and at most 1.
    weight_bits : int, array (L,) or mapping of str to int
        2 to 16. Fractions are rounded half to even unless `rules` forbid them.
    masks : mapping of str to bool array, optional
        Filters to keep, as for :func:`emoref.compress.slim`.
    rules : EmomcRules
        Which of the authors' simplifications are replaced.

    Returns
    -------
    SizeTable
        One row for each layer.

    Raises
    ------
    ConfigError
        If the coding is unknown, or a ratio or a number of bits is out of range.
    NetworkError, ShapeError
        If a mask does not fit.

    Examples
    --------
    >>> from emoref import networks
    >>> from emoref.compress.energy import emomc_size
    >>> table = emomc_size(networks.build("lenet5"), "csr", remaining_ratio=0.5, weight_bits=4)
    >>> round(table.size_kib, 1)
    26.3
    """
    layers = weight_layers(net, masks)
    bits = _bits(layers, coding, remaining_ratio, weight_bits, rules)
    if bits.ndim != 1:
        raise ConfigError("one network has one number for each layer; emomc_sizes takes more of them")
    return _table(coding, layers, bits)


def emomc_sizes(
    net: Network,
    coding: str,
    remaining_ratio: PerLayer,
    weight_bits: PerLayer,
    masks: Masks | None = None,
    rules: EmomcRules = EMOMC_COMPAT,
) -> NDArray[np.float64]:
    """Estimate the sizes of many compressed versions of one network: an objective of a search.

    Parameters
    ----------
    net, coding, masks, rules
        As for :func:`emomc_size`.
    remaining_ratio, weight_bits : array (P, 1) or (P, L)
        One row for each version; what is the same for all may be given once, as for one network.

    Returns
    -------
    float64 array, shape (P,)
        For each version the ``size_bits`` of :func:`emomc_size`, bit for bit.

    Raises
    ------
    ConfigError, NetworkError, ShapeError
        As :func:`emomc_size`, and ConfigError if the numbers of rows do not fit together.
    """
    layers = weight_layers(net, masks)
    return row_totals(_bits(layers, coding, remaining_ratio, weight_bits, rules))


def float32_size(net: Network, masks: Masks | None = None) -> SizeTable:
    """Return the size of the uncompressed weights, 32 bits each: the baseline of every improvement factor.

    Parameters
    ----------
    net : Network
        The network.
    masks : mapping of str to bool array, optional
        Filters to keep, as for :func:`emoref.compress.slim`.

    Returns
    -------
    SizeTable
        One row for each layer.
    """
    layers = weight_layers(net, masks)
    return _table("float32", layers, np.array([32.0 * layer.weights for layer in layers]))


def _table(coding: str, layers: Sequence[WeightLayer], bits: NDArray[np.float64]) -> SizeTable:
    rows = (LayerSize(m.name, m.op, m.weights, b) for m, b in zip(layers, bits.tolist(), strict=True))
    return SizeTable(coding, tuple(rows))


def _bits(
    layers: Sequence[WeightLayer],
    coding: str,
    remaining_ratio: PerLayer,
    weight_bits: PerLayer,
    rules: EmomcRules,
) -> NDArray[np.float64]:
    """Return the bits of each layer, shape (..., L)."""
    if coding not in CODINGS:
        raise ConfigError(f"unknown coding {coding!r}; known: {', '.join(CODINGS)}")
    p = ratios(remaining_ratio, layers)
    q = widths(weight_bits, layers, "weight_bits", rules.whole_bits)
    n = np.array([layer.weights for layer in layers], dtype=np.float64)
    same_rows(remaining_ratio=p, weight_bits=q)
    p, q, n = np.broadcast_arrays(p, q, n)
    kept = kept_weights(n, p) if rules.whole_weights else n * p
    if coding == "normal":
        bits = n * q
    elif coding == "csr":
        entries = kept * (1 + _fillers(p)) if rules.filler_zeros else kept
        bits = entries * (q + _RUN_BITS)
    else:
        index = np.ceil(np.log2(n)) if rules.whole_index_bits else np.log2(n)
        bits = kept * np.rint(q + index)
    return bits + _SCALE_BITS if rules.scale_bits else bits


def _fillers(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the expected fillers for each kept weight: floor(run / 8) for runs of zeros at random."""
    longer = (1 - p) ** (2**_RUN_BITS)
    return longer / (1 - longer)
