"""First populations.

A sampling is called with (count, variables, rng) and returns candidates (count, n_var).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problem import Variables
from emoref.errors import ProblemError

__all__ = ["RandomSampling", "RatioLadder", "Sampling", "random_bits", "random_real", "ratio_ladder"]

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
        if not 0.0 <= self.low <= self.high <= 1.0:
            raise ProblemError(
                f"the ratio ladder runs from {self.low} to {self.high}; use 0 <= low <= high <= 1"
            )

    def __call__(self, count: int, variables: Variables, rng: np.random.Generator) -> NDArray[Any]:
        """Return `count` candidates.

        Raises
        ------
        ProblemError
            If a variable is not binary.
        """
        if set(variables.kinds) != {"binary"}:
            raise ProblemError("the ratio ladder makes bit strings; every variable must be binary")
        return ratio_ladder(count, variables.count, rng, self.low, self.high)
