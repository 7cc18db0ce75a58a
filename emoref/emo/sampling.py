"""First populations.

A sampling is called with (count, variables, rng) and returns candidates (count, n_var).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.genes import check_sizes
from emoref.emo.problem import Variables
from emoref.errors import ProblemError, ShapeError

__all__ = [
    "LatinHypercube",
    "MagnitudeLadder",
    "RandomSampling",
    "RatioLadder",
    "Sampling",
    "latin_hypercube",
    "magnitude_ladder",
    "random_bits",
    "random_real",
    "ratio_ladder",
]

Sampling = Callable[[int, Variables, np.random.Generator], NDArray[Any]]


def random_real(
    count: int, lower: NDArray[np.float64], upper: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw points uniformly from a box.

    Parameters
    ----------
    count
        Number of points.
    lower, upper
        Bounds (n,).
    rng
        Source of random numbers.

    Returns
    -------
    numpy.ndarray
        Points, float64 (count, n).
    """
    return lower + rng.random((count, len(lower))) * (upper - lower)


def random_bits(
    count: int, n_var: int, rng: np.random.Generator, probability: float = 0.5
) -> NDArray[np.bool_]:
    """Draw bits, each True with `probability`.

    Parameters
    ----------
    count, n_var
        Numbers of rows and of bits a row.
    rng
        Source of random numbers.
    probability
        Probability of True.

    Returns
    -------
    numpy.ndarray
        Bits, bool (count, n_var).
    """
    return rng.random((count, n_var)) < probability


def ratio_ladder(
    count: int, n_var: int, rng: np.random.Generator, low: float = 0.05, high: float = 1.0
) -> NDArray[np.bool_]:
    """Draw bit strings whose shares of ones are spread over a range.

    For each row a ratio is drawn uniformly from [low, high]; exactly round(ratio * n_var) bits at random
    places are True. Random bits alone would all have about half of the bits set.

    Parameters
    ----------
    count, n_var
        Numbers of rows and of bits a row.
    rng
        Source of random numbers.
    low, high
        Range of the ratio, within [0, 1].

    Returns
    -------
    numpy.ndarray
        Bits, bool (count, n_var).

    Notes
    -----
    The first population of EMOFP (Wu et al., Sensors 21, 2021) is not published in detail; emoref uses
    this one.
    """
    ratio = low + (high - low) * rng.random((count, 1))
    ones = np.rint(ratio * n_var)
    places = rng.permuted(np.broadcast_to(np.arange(n_var), (count, n_var)), axis=1)
    return places < ones


def latin_hypercube(
    count: int, lower: NDArray[np.float64], upper: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw points from a box such that each variable's range is covered evenly.

    The range of every variable is divided into `count` equal intervals. Each interval contains exactly one of
    the points, somewhere; which point gets which interval is drawn for each variable anew.

    Parameters
    ----------
    count
        Number of points.
    lower, upper
        Bounds (n,).
    rng
        Source of random numbers.

    Returns
    -------
    numpy.ndarray
        Points, float64 (count, n).

    Notes
    -----
    Source: McKay, Beckman, Conover, "A comparison of three methods for selecting values of input variables in
    the analysis of output from a computer code", Technometrics 21(2), 1979.
    """
    intervals = np.broadcast_to(np.arange(count)[:, None], (count, len(lower)))
    share = (rng.permuted(intervals, axis=0) + rng.random((count, len(lower)))) / max(count, 1)
    # Rounding must not carry a point beyond its bound.
    return np.clip(lower + share * (upper - lower), lower, upper)


def magnitude_ladder(
    count: int,
    weights: NDArray[Any],
    rng: np.random.Generator,
    *,
    sizes: Sequence[int] | NDArray[np.int64] | None = None,
    low: float = 0.02,
    high: float = 0.6,
    jitter: float = 0.1,
) -> NDArray[np.bool_]:
    """Make masks that keep the largest weights of each layer, more of them from row to row.

    The ratios r_i of the rows are equally spaced from `low` to `high`. In each layer, row i keeps

        M_i = 1[|w| + eps_i >= quantile_(1 - r_i)(|w| + eps_i)],    eps_i ~ N(0, (jitter std(|w|))**2)

    that is, of n connections the max(1, round(r_i n)) with the largest disturbed magnitudes. The disturbance
    makes the rows differ in more than their ratio. (The quantile is that of the disturbed magnitudes, so that
    the number kept is exact.)

    Parameters
    ----------
    count
        Number of rows.
    weights
        The weights (n,), or any other measure of importance whose absolute value counts.
    rng
        Source of random numbers.
    sizes
        Numbers of weights of the layers, one after the other; None for a single layer.
    low, high
        Smallest and largest ratio, within [0, 1]. A single row gets the middle.
    jitter
        Standard deviation of the disturbance, in that of the magnitudes of the layer; at least 0.

    Returns
    -------
    numpy.ndarray
        Masks, bool (count, n); True is kept.

    Raises
    ------
    ShapeError
        If `weights` is not one-dimensional or empty, or the sizes do not add up.
    ProblemError
        If a weight is not finite, or a setting is impossible.

    Notes
    -----
    Chen, Xu, Sun, Huang, "Joint sparse neural network compression via multi-application multi-objective
    optimization", Applied Intelligence 51(11), 2021, use an improved initialisation whose formula was not
    available; emoref uses the above.
    """
    weights = np.asarray(weights)
    if weights.ndim != 1 or len(weights) == 0:
        raise ShapeError(f"the weights have shape {weights.shape}; it must be (connections,)")
    if not np.isfinite(weights).all():
        raise ProblemError("a weight is not finite; the magnitude ladder cannot place it")
    _check_ladder("magnitude", low, high)
    if not 0.0 <= jitter < np.inf:
        raise ProblemError(f"jitter is {jitter}; it must be at least 0")
    sizes = check_sizes([len(weights)] if sizes is None else sizes, len(weights))
    ratios = np.linspace(low, high, count) if count != 1 else np.array([(low + high) / 2])
    masks = np.zeros((count, len(weights)), dtype=np.bool_)
    stop = 0
    for size in sizes.tolist():
        start, stop = stop, stop + size
        magnitude = np.abs(weights[start:stop]).astype(np.float64)
        deviation = jitter * magnitude.std()
        kept = np.maximum(1, np.rint(ratios * size)).astype(np.int64)
        for i in range(count):
            disturbed = magnitude + deviation * rng.standard_normal(size)
            largest = np.argsort(-disturbed, kind="stable")[: kept[i]]
            masks[i, start + largest] = True
    return masks


def _check_ladder(name: str, low: float, high: float) -> None:
    if not 0.0 <= low <= high <= 1.0:
        raise ProblemError(f"the {name} ladder runs from {low} to {high}; use 0 <= low <= high <= 1")


def _check_binary(name: str, variables: Variables) -> None:
    if set(variables.kinds) != {"binary"}:
        raise ProblemError(f"the {name} ladder makes bit strings; every variable must be binary")


@dataclass(frozen=True)
class RandomSampling:
    """Uniformly distributed candidates, for variables of any kind."""

    def __call__(self, count: int, variables: Variables, rng: np.random.Generator) -> NDArray[Any]:
        """Return `count` candidates."""
        X = np.empty((count, variables.count))
        for kind, columns in variables.columns.items():
            lower, upper = variables.lower[columns], variables.upper[columns]
            if kind == "real":
                X[:, columns] = random_real(count, lower, upper, rng)
            elif kind == "integer":
                X[:, columns] = np.minimum(np.floor(random_real(count, lower, upper + 1.0, rng)), upper)
            else:
                X[:, columns] = random_bits(count, len(columns), rng)
        return X.astype(variables.dtype)


@dataclass(frozen=True)
class RatioLadder:
    """Bit strings whose shares of ones are spread over [low, high]; see `ratio_ladder`.

    Parameters
    ----------
    low, high
        Range of the share of ones.
    """

    low: float = 0.05
    high: float = 1.0

    def __post_init__(self) -> None:
        _check_ladder("ratio", self.low, self.high)

    def __call__(self, count: int, variables: Variables, rng: np.random.Generator) -> NDArray[Any]:
        """Return `count` candidates.

        Raises
        ------
        ProblemError
            If a variable is not binary.
        """
        _check_binary("ratio", variables)
        return ratio_ladder(count, variables.count, rng, self.low, self.high)


@dataclass(frozen=True)
class LatinHypercube:
    """Evenly covered ranges, for variables of any kind; see `latin_hypercube`.

    Integer and binary variables are drawn as real ones from ranges that are wider by one half, and rounded;
    with a multiple of their number of values each value occurs equally often.
    """

    def __call__(self, count: int, variables: Variables, rng: np.random.Generator) -> NDArray[Any]:
        """Return `count` candidates."""
        lower, upper = variables.lower, variables.upper
        whole = np.array([kind != "real" for kind in variables.kinds])
        X = latin_hypercube(count, np.where(whole, lower - 0.5, lower), upper + 0.5 * whole, rng)
        X[:, whole] = np.clip(np.floor(X[:, whole] + 0.5), lower[whole], upper[whole])
        return X.astype(variables.dtype)


@dataclass(frozen=True, eq=False)
class MagnitudeLadder:
    """Masks that keep the largest weights of each layer; see `magnitude_ladder`.

    Parameters
    ----------
    weights
        The weights, one for each variable.
    sizes
        Numbers of weights of the layers; None for a single layer.
    low, high
        Smallest and largest ratio.
    jitter
        Size of the disturbance.
    """

    weights: NDArray[Any]
    sizes: tuple[int, ...] | None = None
    low: float = 0.02
    high: float = 0.6
    jitter: float = 0.1

    def __post_init__(self) -> None:
        _check_ladder("magnitude", self.low, self.high)

    def __call__(self, count: int, variables: Variables, rng: np.random.Generator) -> NDArray[Any]:
        """Return `count` candidates.

        Raises
        ------
        ProblemError
            If a variable is not binary, or a setting is impossible.
        ShapeError
            If there is not one weight for each variable.
        """
        _check_binary("magnitude", variables)
        if np.shape(self.weights) != (variables.count,):
            raise ShapeError(
                f"the magnitude ladder has weights of shape {np.shape(self.weights)}; with "
                f"{variables.count} variables it must be ({variables.count},)"
            )
        return magnitude_ladder(
            count, self.weights, rng, sizes=self.sizes, low=self.low, high=self.high, jitter=self.jitter
        )
