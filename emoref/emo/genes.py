"""Operators that move whole genes: they make no new value, for bit strings above all.

Functions and classes as in `emoref.emo.operators`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.operators import bit_flip, check_binary, check_probability
from emoref.emo.problem import Variables
from emoref.errors import ProblemError, ShapeError

__all__ = [
    "BitSwap",
    "HalfUniformCrossover",
    "LayerCrossover",
    "PointCrossover",
    "bit_swap",
    "half_uniform_crossover",
    "layer_crossover",
    "point_crossover",
]


# -------------------------------------------------------------------------------------------- functions


def point_crossover(
    A: NDArray[Any], B: NDArray[Any], rng: np.random.Generator, *, points: int = 1, probability: float = 0.9
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Recombine parents by exchanging what lies between cuts.

    A pair takes part with `probability`. It is cut at `points` different places drawn from the n - 1 between
    its genes; every other piece, from the second on, changes places. One point exchanges the tail, two points
    exchange a middle piece.

    Parameters
    ----------
    A, B
        Parents (pairs, n) of any type.
    rng
        Source of random numbers.
    points
        Number of cuts, at least 1; if there are fewer places, all are cut.
    probability
        Probability that a pair takes part.

    Returns
    -------
    tuple of numpy.ndarray
        The two children of each pair.

    Notes
    -----
    Sources: Holland, "Adaptation in natural and artificial systems", 1975, for one point; De Jong, "An
    analysis of the behavior of a class of genetic adaptive systems", 1975, for more.
    """
    pairs, n_var = A.shape
    taken = rng.random((pairs, 1)) < probability
    # The places with the smallest random keys are cut; before the first gene there is none.
    keys = rng.random((pairs, n_var - 1))
    cut = np.zeros((pairs, n_var), dtype=np.int64)
    cut[:, 1:] = _rank_in_row(keys) < points
    change = taken & (cut.cumsum(axis=1) % 2 == 1)
    return np.where(change, B, A), np.where(change, A, B)


def half_uniform_crossover(
    A: NDArray[Any], B: NDArray[Any], rng: np.random.Generator, *, probability: float = 0.9
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Recombine parents by exchanging exactly half of the genes in which they differ.

    A pair takes part with `probability`. If its parents differ in d genes, floor(d / 2) of these, chosen at
    random, change places: the children are as far from their parents as they can be. (Exchanging all d would
    only exchange the parents.)

    Parameters
    ----------
    A, B
        Parents (pairs, n) of any type.
    rng
        Source of random numbers.
    probability
        Probability that a pair takes part.

    Returns
    -------
    tuple of numpy.ndarray
        The two children of each pair.

    Notes
    -----
    Source: Eshelman, "The CHC adaptive search algorithm", Foundations of Genetic Algorithms 1, 1991, where it
    is called HUX.
    """
    taken = rng.random((len(A), 1)) < probability
    differ = A != B
    keys = np.where(differ, rng.random(A.shape), np.inf)
    change = taken & (_rank_in_row(keys) < differ.sum(axis=1, keepdims=True) // 2)
    return np.where(change, B, A), np.where(change, A, B)


def layer_crossover(
    A: NDArray[Any],
    B: NDArray[Any],
    sizes: Sequence[int] | NDArray[np.int64],
    rng: np.random.Generator,
    *,
    probability: float = 0.9,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Recombine parents by exchanging whole layers.

    A pair takes part with `probability`; each of its layers then changes places with probability 0.5. So what
    was found to work together within a layer stays together.

    Parameters
    ----------
    A, B
        Parents (pairs, n) of any type.
    sizes
        Number of genes of each layer, one layer after the other; they add up to n.
    rng
        Source of random numbers.
    probability
        Probability that a pair takes part.

    Returns
    -------
    tuple of numpy.ndarray
        The two children of each pair.

    Raises
    ------
    ShapeError
        If the sizes do not add up to the number of genes.

    Notes
    -----
    Uniform crossover (`uniform_crossover`) with layers in place of genes. Not published in this form; emoref
    reads "layer by layer" so.
    """
    sizes = check_sizes(sizes, A.shape[1])
    layers = (rng.random((len(A), 1)) < probability) & (rng.random((len(A), len(sizes))) < 0.5)
    change = np.repeat(layers, sizes, axis=1)
    return np.where(change, B, A), np.where(change, A, B)


def bit_swap(X: NDArray[Any], rng: np.random.Generator, *, probability: float = 1.0) -> NDArray[Any]:
    """Move one True bit of a row to a place that was False, so that the number of ones stays.

    A row takes part with `probability`. One of its ones and one of its zeros, each equally likely, change
    places. Rows without ones or without zeros are left alone.

    Parameters
    ----------
    X
        Bits (N, n): bool, or numbers 0 and 1.
    rng
        Source of random numbers.
    probability
        Probability for each row.

    Returns
    -------
    numpy.ndarray
        The changed bits, of the type of `X`.
    """
    bits = X.astype(np.bool_)
    taken = rng.random(len(X)) < probability
    keys = rng.random(X.shape)
    taken &= bits.any(axis=1) & ~bits.all(axis=1)
    rows = np.flatnonzero(taken)
    ones = np.where(bits, keys, -1.0).argmax(axis=1)[rows]
    zeros = np.where(bits, -1.0, keys).argmax(axis=1)[rows]
    bits[rows, ones] = False
    bits[rows, zeros] = True
    return bits.astype(X.dtype)


def check_sizes(sizes: Sequence[int] | NDArray[np.int64], n_var: int) -> NDArray[np.int64]:
    """Return the layers' sizes as int64, checked to be positive and to add up to the number of genes.

    Raises
    ------
    ShapeError
        If they are not.
    """
    values = np.asarray(sizes)
    if values.ndim != 1 or values.dtype.kind not in "iu" or (values < 1).any() or values.sum() != n_var:
        raise ShapeError(
            f"the layers have sizes {values.tolist()}; they must be positive integers that add up to {n_var}"
        )
    return values.astype(np.int64)


def _rank_in_row(keys: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the place of each key in the ascending order of its row, of equal ones the first first."""
    order = np.argsort(keys, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(keys.shape[1]), keys.shape), axis=1)
    return ranks


# -------------------------------------------------------------------------------------------- settings


@dataclass(frozen=True)
class PointCrossover:
    """Crossover at cuts, for variables of any kind; see `point_crossover`.

    Parameters
    ----------
    points
        Number of cuts.
    probability
        Probability that a pair takes part.
    """

    points: int = 1
    probability: float = 0.9

    def __post_init__(self) -> None:
        check_probability("PointCrossover", self.probability)
        if self.points < 1:
            raise ProblemError(f"PointCrossover has {self.points} points; it needs at least 1")

    def __call__(
        self, A: NDArray[Any], B: NDArray[Any], variables: Variables, rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return two children of each pair."""
        return point_crossover(A, B, rng, points=self.points, probability=self.probability)


@dataclass(frozen=True)
class HalfUniformCrossover:
    """Exchange of half of the differing genes, for variables of any kind; see `half_uniform_crossover`.

    Parameters
    ----------
    probability
        Probability that a pair takes part.
    """

    probability: float = 0.9

    def __post_init__(self) -> None:
        check_probability("HalfUniformCrossover", self.probability)

    def __call__(
        self, A: NDArray[Any], B: NDArray[Any], variables: Variables, rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return two children of each pair."""
        return half_uniform_crossover(A, B, rng, probability=self.probability)


@dataclass(frozen=True)
class LayerCrossover:
    """Exchange of whole layers, for variables of any kind; see `layer_crossover`.

    Parameters
    ----------
    sizes
        Number of variables of each layer.
    probability
        Probability that a pair takes part.
    """

    sizes: tuple[int, ...]
    probability: float = 0.9

    def __post_init__(self) -> None:
        check_probability("LayerCrossover", self.probability)

    def __call__(
        self, A: NDArray[Any], B: NDArray[Any], variables: Variables, rng: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return two children of each pair."""
        return layer_crossover(A, B, self.sizes, rng, probability=self.probability)


@dataclass(frozen=True)
class BitSwap:
    """Mutation of binary variables: a row either swaps two bits or turns bits over.

    Each row swaps (`bit_swap`) with probability `swap`; the others are treated by `bit_flip`.

    Parameters
    ----------
    swap
        Probability that a row swaps; with 1 the number of ones never changes.
    probability
        Probability for each bit of the other rows; None for 1/n.
    """

    swap: float = 0.5
    probability: float | None = None

    def __post_init__(self) -> None:
        check_probability("BitSwap", self.probability)
        check_probability("the swap of BitSwap", self.swap)

    def __call__(self, X: NDArray[Any], variables: Variables, rng: np.random.Generator) -> NDArray[Any]:
        """Return the changed candidates.

        Raises
        ------
        ProblemError
            If a variable is not binary.
        """
        check_binary("BitSwap", variables)
        swaps = rng.random((len(X), 1)) < self.swap
        swapped = bit_swap(X, rng)
        flipped = bit_flip(X, rng, probability=self.probability)
        return np.where(swaps, swapped, flipped)
