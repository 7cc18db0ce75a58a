"""Uniform quantisation: real numbers become integers of 2 to 16 bits, times a scale.

A grid maps a number x to the code ``round(x / scale) + zero_point``, clipped to the codes that the bits can
say, and a code c back to ``(c - zero_point) * scale``. Halves are rounded to the even neighbour.

* *Symmetric*: codes -(2**(q-1) - 1) to 2**(q-1) - 1, zero_point 0, scale max|x| / (2**(q-1) - 1). The grid
  has as many steps below zero as above it; with 1 bit it would have none.
* *Asymmetric*: codes 0 to 2**q - 1 between min(x, 0) and max(x, 0). Zero is always a point of the grid, so
  that a weight that was pruned stays exactly 0.

One grid serves a whole tensor, or one each of its output channels (axis 0). A tensor or channel of zeros
(numbers below 2**-100 count as 0) gets scale 1 and zero_point 0, as in PyTorch's observers.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emoref.errors import ConfigError, DtypeError, NetworkError, ShapeError

__all__ = [
    "MAX_BITS",
    "MIN_BITS",
    "UniformGrid",
    "UniformTensor",
    "check_bits",
    "emomc_quantize",
    "emomc_values",
    "quantize",
]

MIN_BITS, MAX_BITS = 2, 16
"""Fewest and most bits of a uniform grid."""

# Magnitudes that are quantised, far beyond those of any weight: no product with a code overflows, and no
# scale is so small that it loses digits. What is smaller counts as 0.
_LARGEST, _SMALLEST = 2.0**126, 2.0**-100


def check_bits(bits: int, where: str = "bits") -> int:
    """Return `bits` as an int, or raise ConfigError (which begins with `where`) unless it is 2 to 16."""
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer):
        raise ConfigError(f"{where} must be a whole number from {MIN_BITS} to {MAX_BITS}, got {bits!r}")
    if not MIN_BITS <= bits <= MAX_BITS:
        why = "; a symmetric grid of 1 bit would have no step" if bits == 1 else ""
        raise ConfigError(f"{where} must be {MIN_BITS} to {MAX_BITS}, got {bits}{why}")
    return int(bits)


@dataclass(frozen=True, eq=False)
class UniformGrid:
    """Equally spaced values, one grid for a tensor or one for each of its channels.

    Attributes
    ----------
    scale : float32 array, shape (1,) or (channels,)
        Distance of neighbouring values; positive.
    zero_point : int32 array, of the shape of `scale`
        The code of 0; itself 0 for symmetric grids.
    bits : int
        2 to 16.
    symmetric : bool
        Which codes there are; see the module.
    half : bool
        Whether values are rounded to half precision (float16), as EMOMC does.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    bits: int
    symmetric: bool = True
    half: bool = False

    @classmethod
    def of_range(cls, low: ArrayLike, high: ArrayLike, bits: int, symmetric: bool = True) -> "UniformGrid":
        """Return the grid for values between `low` and `high`.

        Parameters
        ----------
        low, high : float or float array, shape (channels,)
            Least and greatest value, finite. The range is extended to hold 0.
        bits : int
            2 to 16.
        symmetric : bool
            Whether the grid is the same on both sides of 0.

        Returns
        -------
        UniformGrid
            As :mod:`emoref.compress.quantize` says.

        Raises
        ------
        ConfigError
            If `bits` is not 2 to 16.
        """
        bits = check_bits(bits)
        low = np.minimum(np.atleast_1d(np.asarray(low, dtype=np.float64)), 0.0)
        high = np.maximum(np.atleast_1d(np.asarray(high, dtype=np.float64)), 0.0)
        if symmetric:
            span, steps = np.maximum(-low, high), 2 ** (bits - 1) - 1
        else:
            span, steps = high - low, 2**bits - 1
        scale = np.where(span < _SMALLEST, 1, span / steps).astype(np.float32)
        zero_point = np.zeros(len(scale), dtype=np.int32)
        if not symmetric:
            zero_point = np.clip(np.rint(-low / scale), 0, steps).astype(np.int32)
        return cls(scale, zero_point, bits, symmetric)

    @property
    def lowest_code(self) -> int:
        """Least code."""
        return -(2 ** (self.bits - 1) - 1) if self.symmetric else 0

    @property
    def highest_code(self) -> int:
        """Greatest code."""
        return 2 ** (self.bits - 1) - 1 if self.symmetric else 2**self.bits - 1

    @property
    def side_bits(self) -> int:
        """Bits that the grid itself takes: 32 for a scale, and 16 for a zero point of asymmetric grids."""
        return len(self.scale) * (32 if self.symmetric else 48)

    def codes(self, values: NDArray[Any]) -> NDArray[np.int32]:
        """Return the code of each of the finite `values`; with a grid for each channel, axis 0 is theirs."""
        return self._float_codes(values).astype(np.int32)

    def values(self, codes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the values that `codes` stand for, float32."""
        return self._values((codes - _along(self.zero_point, codes)).astype(np.float32))

    def fake_quantize(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return `values` rounded to the grid: the forward pass of straight-through training; NaN stays."""
        steps = self._float_codes(values) - _along(self.zero_point, values)
        return self._values(steps.astype(np.float32))

    def gradient(self, dy: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
        """Return the clipped straight-through gradient of :meth:`fake_quantize`.

        Rounding has the derivative 0 almost everywhere. The estimator takes it for 1 within the range of the
        grid; beyond, where values are clipped, it is 0.

        Parameters
        ----------
        dy : array
            Gradient of the loss in the rounded values.
        values : array, of the shape of `dy`
            What was rounded.

        Returns
        -------
        array, of the shape and type of `dy`
            Gradient in `values`.

        Notes
        -----
        Source: Bengio, Leonard, Courville, arXiv:1308.3432, 2013; clipped as in Hubara et al., "Binarized
        neural networks", NeurIPS 2016. Whether the outermost half step passes is not published; emoref lets
        pass what rounds to a code of the grid.
        """
        steps = np.rint(values.astype(np.float64) / _along(self.scale, values))
        codes = steps + _along(self.zero_point, values)
        return np.where((codes >= self.lowest_code) & (codes <= self.highest_code), dy, dy.dtype.type(0))

    def _float_codes(self, values: NDArray[Any]) -> NDArray[np.float64]:
        steps = np.rint(values.astype(np.float64) / _along(self.scale, values))
        return np.clip(steps + _along(self.zero_point, values), self.lowest_code, self.highest_code)

    def _values(self, steps: NDArray[np.float32]) -> NDArray[np.float32]:
        values = steps * _along(self.scale, steps)
        if not self.half:
            return values
        with np.errstate(over="ignore"):  # what half precision cannot say becomes infinite, as on a GPU
            return values.astype(np.float16).astype(np.float32)


def _along(vector: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Return a vector of one value, or one for each channel, so that it broadcasts along axis 0."""
    if len(vector) > 1 and values.shape[:1] != vector.shape:
        raise ShapeError(f"grids for {len(vector)} channels do not fit values of shape {values.shape}")
    return vector.reshape(-1, *[1] * (values.ndim - 1))


@dataclass(frozen=True, eq=False)
class UniformTensor:
    """A quantised tensor.

    Attributes
    ----------
    codes : int32 array
        In the shape of the tensor.
    grid : UniformGrid
        What the codes stand for.

    Raises
    ------
    NetworkError
        If a code is none of the grid.
    """

    codes: NDArray[np.int32]
    grid: UniformGrid

    def __post_init__(self) -> None:
        for code in (self.codes.min(initial=0), self.codes.max(initial=0)):
            if not self.grid.lowest_code <= code <= self.grid.highest_code:
                kind = "symmetric" if self.grid.symmetric else "asymmetric"
                article = "a" if self.grid.symmetric else "an"
                raise NetworkError(f"code {code} is none of {article} {kind} grid of {self.bits} bits")

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return self.grid.bits

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.codes.shape

    @property
    def side_bits(self) -> int:
        """Bits of what has to be stored beside the codes: scales and zero points."""
        return self.grid.side_bits

    def dequantize(self) -> NDArray[np.float32]:
        """Return the values, float32."""
        return self.grid.values(self.codes)

    def symbols(self) -> NDArray[np.uint32]:
        """Return what a coder writes: numbers below ``2**bits``, in C order, with 0 for the value 0.

        A symbol is the code minus the zero point, modulo ``2**bits``; for symmetric grids this is the code in
        two's complement.
        """
        steps = self.codes - _along(self.grid.zero_point, self.codes)
        return (steps & (2**self.bits - 1)).astype(np.uint32).ravel()

    @classmethod
    def from_symbols(
        cls, symbols: NDArray[np.uint32], shape: tuple[int, ...], grid: UniformGrid
    ) -> "UniformTensor":
        """Return the tensor of that `shape` on that `grid` whose :meth:`symbols` are `symbols`."""
        codes = symbols.astype(np.int32).reshape(shape)
        if grid.symmetric:
            codes = np.where(codes > grid.highest_code, codes - 2**grid.bits, codes)
        else:
            codes = (codes + _along(grid.zero_point, codes)) & (2**grid.bits - 1)
        return cls(codes.astype(np.int32), grid)


def quantize(
    weights: NDArray[Any], bits: int, *, symmetric: bool = True, per_channel: bool = False
) -> UniformTensor:
    """Quantise a tensor uniformly.

    Parameters
    ----------
    weights : float array
        At least one axis; finite. May be empty.
    bits : int
        2 to 16.
    symmetric : bool
        Kind of grid; see the module.
    per_channel : bool
        Whether each output channel (axis 0) has a grid of its own.

    Returns
    -------
    UniformTensor
        The codes and their grid.

    Raises
    ------
    ConfigError
        If `bits` is not 2 to 16.
    NetworkError
        If a weight is NaN, infinite or 2**126 and more.
    DtypeError, ShapeError
        If the weights are not floating-point, or a single number without axes.

    Examples
    --------
    >>> import numpy as np
    >>> tensor = quantize(np.array([0.375, -0.875, 0.0, 0.3125]), bits=4)    # scale 0.875 / 7
    >>> tensor.codes, tensor.grid.scale
    (array([ 3, -7,  0,  2], dtype=int32), array([0.125], dtype=float32))
    """
    weights = check_weights(weights)
    channels = len(weights) if per_channel else 1
    rows = weights.reshape(channels, weights.size // max(channels, 1))
    low, high = (edge(rows, axis=1, initial=0.0) for edge in (np.min, np.max))
    if not len(rows):  # no channels: a grid is needed all the same
        low = high = np.zeros(1)
    grid = UniformGrid.of_range(low, high, bits, symmetric)
    return UniformTensor(grid.codes(weights), grid)


def check_weights(weights: NDArray[Any]) -> NDArray[Any]:
    """Return `weights`, or raise as :func:`quantize` unless they are finite floats with at least one axis."""
    if not isinstance(weights, np.ndarray) or weights.dtype.kind != "f":
        found = weights.dtype if isinstance(weights, np.ndarray) else type(weights).__name__
        raise DtypeError(f"weights must be a floating-point array, got {found}")
    if weights.ndim == 0:
        raise ShapeError("weights must have at least one axis, got a single number")
    good = np.abs(weights) < _LARGEST
    if not good.all():
        first = np.unravel_index(int(np.argmin(good)), weights.shape)
        raise NetworkError(
            f"weight {tuple(map(int, first))} is {weights[first]}; only finite weights below 2**126 "
            "can be quantised"
        )
    return weights


def emomc_values(weights: NDArray[Any], bits: float) -> NDArray[np.float32]:
    """Quantise as EMOMC's published code does, in its arithmetic (`emomc_compat`).

    ``spacing = max|w| / (2**(q-1) - 1)``, ``round(w / spacing) * spacing`` in single precision, then rounded
    to half precision; one grid a tensor.

    Parameters
    ----------
    weights : float array
        Any shape; finite.
    bits : float
        q, 2 to 16. The published code passes the real number of the genome, although it counts energy and
        size with the rounded one; emoref's own systems round once, first.

    Returns
    -------
    float32 array
        In the shape of `weights`, every value a half-precision number. A tensor of zeros stays one (the
        published code divides 0 by 0 there).

    Raises
    ------
    ConfigError
        If `bits` is not 2 to 16.
    NetworkError, DtypeError, ShapeError
        As for :func:`quantize`.

    Notes
    -----
    Source: Wang, Luo, Li, Zhou, Goh, Zhen, "Evolutionary Multi-Objective Model Compression for Deep Neural
    Networks", IEEE CIM 16(3), 2021, and the authors' code.
    """
    weights, spacing = _emomc_spacing(weights, bits)
    with np.errstate(over="ignore"):
        return (np.rint(weights / spacing) * spacing).astype(np.float16).astype(np.float32)


def emomc_quantize(weights: NDArray[Any], bits: int) -> UniformTensor:
    """Return codes and grid of :func:`emomc_values` for a whole number of bits.

    Parameters
    ----------
    weights : float array
        Any shape; finite.
    bits : int
        2 to 16.

    Returns
    -------
    UniformTensor
        Its ``dequantize()`` equals ``emomc_values(weights, bits)`` bit for bit.

    Raises
    ------
    ConfigError, NetworkError, DtypeError, ShapeError
        As for :func:`quantize`.
    """
    weights, spacing = _emomc_spacing(weights, check_bits(bits))
    scale, zero_point = np.array([spacing], dtype=np.float32), np.zeros(1, dtype=np.int32)
    grid = UniformGrid(scale, zero_point, int(bits), symmetric=True, half=True)
    return UniformTensor(np.rint(weights / spacing).astype(np.int32), grid)


def _emomc_spacing(weights: NDArray[Any], bits: float) -> tuple[NDArray[np.float32], np.float32]:
    if isinstance(bits, bool) or not MIN_BITS <= bits <= MAX_BITS or not math.isfinite(bits):
        raise ConfigError(f"bits must be {MIN_BITS} to {MAX_BITS}, got {bits!r}")
    single = check_weights(weights).astype(np.float32)
    largest = np.abs(single).max(initial=np.float32(0))
    return single, np.float32(1 if largest < _SMALLEST else largest / np.float32(2.0 ** (bits - 1) - 1))
