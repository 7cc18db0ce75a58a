"""Quantised activations: grids for what layers read, with ranges measured on a few images.

Weights are known, activations are not: their range has to be measured before it can be cut into steps. What a
convolution or linear layer reads is what gets quantised (it is what its multipliers see); where several
layers read one result, it is quantised once.

Three ways to choose the range, all of them widened to hold 0:

* ``"min-max"``: everything that was seen;
* ``"percentile"``: the middle of it, so that a few outliers do not coarsen the grid for all the others;
* ``"mse"``: the fraction i/100 of min-max, i = 1..100, whose grid has the least squared error.

The last two work on a histogram of 2048 equal bins between minimum and maximum. How finely, and which
fractions are tried, is not published as one rule; emoref uses these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.compress.quantize import UniformGrid, check_bits
from emoref.compress.weights import weighted_layers
from emoref.errors import ConfigError, DataError, NetworkError
from emoref.nn import INPUT, Network, run_nodes
from emoref.nn.batches import slices

__all__ = [
    "RANGE_METHODS",
    "HalfPrecision",
    "RangeObserver",
    "calibrate_activations",
    "predict_quantized",
    "quantized_activations",
]


@dataclass(frozen=True)
class HalfPrecision:
    """Rounds to half precision (16-bit floating point), as EMOMC evaluates its networks; needs no range."""

    def fake_quantize(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return `values` rounded to half precision; beyond 65504 they become infinite."""
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)


ActivationGrid = UniformGrid | HalfPrecision

RANGE_METHODS = ("min-max", "percentile", "mse")
"""Names of the ways to choose a range."""

_BINS = 2048
_FRACTIONS = 100


class RangeObserver:
    """Measures in two passes how the values of one activation are spread.

    Show all values to :meth:`see_range`, then all of them again, in any portions, to :meth:`see_values` (not
    needed for ``"min-max"``).

    Attributes
    ----------
    low, high : float
        Least and greatest value seen, and 0 if it lies outside.
    histogram : int64 array, shape (2048,)
        How many values fell into each of the equal bins between them.
    """

    def __init__(self) -> None:
        self.low = self.high = 0.0
        self.histogram = np.zeros(_BINS, dtype=np.int64)

    def see_range(self, values: NDArray[Any]) -> None:
        """Widen the range to hold `values`.

        Raises
        ------
        DataError
            If one is NaN or infinite.
        """
        low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
        if not np.isfinite([low, high]).all():
            raise DataError("activations that are NaN or infinite have no range; check the network's weights")
        self.low, self.high = min(self.low, low), max(self.high, high)

    def see_values(self, values: NDArray[Any]) -> None:
        """Count `values` in the histogram."""
        if self.high > self.low:
            self.histogram += np.histogram(values, bins=_BINS, range=(self.low, self.high))[0]

    def grid(
        self, bits: int, method: str = "min-max", *, percentile: float = 99.9, symmetric: bool = False
    ) -> UniformGrid:
        """Return the grid for what was seen.

        Parameters
        ----------
        bits : int
            2 to 16.
        method : {"min-max", "percentile", "mse"}
            How the range is chosen; see the module.
        percentile : float
            Method "percentile": per cent of the values that lie below the upper end, and above the lower one;
            above 50, at most 100.
        symmetric : bool
            Kind of grid.

        Returns
        -------
        UniformGrid
            One scale.

        Raises
        ------
        ConfigError
            If the method is unknown, or `bits` or `percentile` is out of range.
        """
        check_bits(bits)
        if method not in RANGE_METHODS:
            raise ConfigError(f"method must be one of {', '.join(RANGE_METHODS)}, got {method!r}")
        if not 50 < percentile <= 100:
            raise ConfigError(f"percentile must be above 50 and at most 100, got {percentile!r}")
        low, high = self.low, self.high
        if method != "min-max" and self.histogram.any():
            edges = np.linspace(low, high, _BINS + 1)
            if method == "percentile":
                low, high = self._percentiles(edges, percentile / 100)
            else:
                return self._least_error(edges, bits, symmetric)
        return UniformGrid.of_range(low, high, bits, symmetric)

    def _percentiles(self, edges: NDArray[np.float64], share: float) -> tuple[float, float]:
        """Return the edges of the bins in which that share of the values is reached, from both sides."""
        below = np.cumsum(self.histogram)
        wanted = np.ceil(share * below[-1] - 1e-6)  # 0.999 * 1000 is 999.0000000000001
        from_above = np.cumsum(self.histogram[::-1])
        high = edges[1 + np.searchsorted(below, wanted)]
        low = edges[_BINS - 1 - np.searchsorted(from_above, wanted)]
        return float(low), float(high)

    def _least_error(self, edges: NDArray[np.float64], bits: int, symmetric: bool) -> UniformGrid:
        centres = (edges[1:] + edges[:-1]) / 2
        best = (np.inf, UniformGrid.of_range(0.0, 0.0, bits, symmetric))
        for step in range(_FRACTIONS, 0, -1):
            fraction = step / _FRACTIONS
            grid = UniformGrid.of_range(fraction * self.low, fraction * self.high, bits, symmetric)
            error = float(self.histogram @ (grid.fake_quantize(centres) - centres) ** 2)
            if error < best[0]:
                best = (error, grid)
        return best[1]


def quantized_activations(net: Network) -> tuple[str, ...]:
    """Return the names of the results (or ``"input"``) that convolutions and linear layers of `net` read."""
    read = (net.node(layer).inputs[0] for layer in weighted_layers(net))
    return tuple(dict.fromkeys(read))


def calibrate_activations(
    net: Network,
    params: Mapping[str, NDArray[Any]],
    images: NDArray[Any],
    bits: int | Mapping[str, int] = 16,
    method: str = "min-max",
    *,
    percentile: float = 99.9,
    symmetric: bool = False,
    backend: Any = "cpu",
    batch_size: int = 250,
) -> dict[str, UniformGrid]:
    """Choose a grid for every activation that a layer with weights reads.

    Parameters
    ----------
    net : Network
        The network.
    params : mapping of str to array
        Its parameters, quantised or not; activations are not quantised while they are measured.
    images : float array, shape (N, *input_shape)
        What to measure on: a few hundred training images.
    bits : int or mapping of str to int
        Bits of all activations, or of each by the name of the node that makes it (``"input"`` for the
        images). Those that are not named stay as they are.
    method, percentile, symmetric
        As for :meth:`RangeObserver.grid`.
    backend : str or Backend
        Which kernels compute.
    batch_size : int
        Images at a time; bounds the memory and changes nothing else.

    Returns
    -------
    dict of str to UniformGrid
        For :func:`predict_quantized`.

    Raises
    ------
    ConfigError
        If a setting is impossible.
    NetworkError
        If an activation is named that no layer with weights reads, or images and parameters do not fit.
    DataError
        If there are no images, or an activation is not finite.
    """
    read = quantized_activations(net)
    chosen = bits if isinstance(bits, Mapping) else dict.fromkeys(read, bits)
    for name in chosen:
        if name not in read:
            raise NetworkError(f"bits of activation {name!r}: layers with weights read {', '.join(read)}")
    if not len(images):
        raise DataError("there are no images to calibrate on")
    observers = {name: RangeObserver() for name in chosen}
    # Settings are checked before the work begins.
    for name, observer in observers.items():
        observer.grid(chosen[name], method, percentile=percentile, symmetric=symmetric)
    for see in (RangeObserver.see_range, RangeObserver.see_values)[: 1 if method == "min-max" else 2]:
        for part in slices(len(images), batch_size):
            values = run_nodes(net, params, {INPUT: images[part]}, list(chosen), backend)
            for name, observer in observers.items():
                see(observer, values[name])
    return {
        name: observer.grid(chosen[name], method, percentile=percentile, symmetric=symmetric)
        for name, observer in observers.items()
    }


def predict_quantized(
    net: Network,
    params: Mapping[str, NDArray[Any]],
    images: NDArray[Any],
    grids: Mapping[str, ActivationGrid],
    backend: Any = "cpu",
    batch_size: int = 250,
) -> NDArray[Any]:
    """Return the network's results with activations rounded to grids, in evaluation mode.

    The arithmetic in between is floating point ("fake quantisation"): every number that a layer reads is one
    of its grid, sums are not rounded.

    Parameters
    ----------
    net, params, images, backend, batch_size
        As for :func:`emoref.nn.predict`.
    grids : mapping of str to UniformGrid or HalfPrecision
        For nodes (or ``"input"``) by name, from :func:`calibrate_activations`. For 16-bit floating point as
        in EMOMC: ``dict.fromkeys(quantized_activations(net), HalfPrecision())``.

    Returns
    -------
    array, shape (N, classes)
        Logits.

    Raises
    ------
    NetworkError
        If a grid is for a node that does not exist, or images and parameters do not fit.
    """
    for name in grids:
        _ = name == INPUT or net.node(name)
    logits = np.empty((len(images), *net.shapes[net.output.name]), images.dtype)
    for part in slices(len(images), batch_size):
        logits[part] = _predict_batch(net, params, images[part], grids, backend)
    return logits


def _predict_batch(
    net: Network,
    params: Mapping[str, NDArray[Any]],
    images: NDArray[Any],
    grids: Mapping[str, ActivationGrid],
    backend: Any,
) -> NDArray[Any]:
    values = {INPUT: _rounded(images, grids.get(INPUT))}
    last_use = {source: node.name for node in net.nodes for source in node.inputs}
    for node in net.nodes:
        inputs = {source: values[source] for source in node.inputs}
        result = run_nodes(net, params, inputs, [node.name], backend)[node.name]
        values[node.name] = _rounded(result, grids.get(node.name))
        for source in inputs:
            if last_use[source] == node.name:
                del values[source]
    return values[net.output.name]


def _rounded(values: NDArray[Any], grid: ActivationGrid | None) -> NDArray[Any]:
    return values if grid is None else grid.fake_quantize(values).astype(values.dtype)
