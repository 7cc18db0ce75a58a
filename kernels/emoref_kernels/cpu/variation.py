"""Crossover, mutation and games of two, compiled; see `emoref_kernels.reference.variation`.

Results equal the reference's bit for bit. For that, powers are left to NumPy, whose function for whole arrays
rounds differently from the one for single numbers: each operator is a pass that collects the bases of its
powers, the powers, and a pass that uses them.
"""

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit

__all__ = ["crowded_winners", "lenient_winners", "polynomial_mutation", "sbx"]

_SAME = 1e-14


def sbx(
    A: NDArray[np.float64],
    B: NDArray[np.float64],
    draws: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    probability: float,
    eta: float,
    swap: bool,
) -> NDArray[np.float64]:
    """Recombine real parents; see `emoref_kernels.reference.variation.sbx`.

    Parameters
    ----------
    A, B
        Parents, float64 (pairs, n), C-contiguous.
    draws
        Uniform random numbers in [0, 1), float64 (pairs + 3 * pairs * n,).
    lower, upper
        Bounds, float64 (n,).
    probability, eta, swap
        Settings of the operator.

    Returns
    -------
    ndarray of float64, shape (2 * pairs, n)
        The children; those of one pair are neighbours.
    """
    children, places, limits = _spread_limits(A, B, draws, lower, upper, float(probability))
    factors = limits ** -(eta + 1.0)
    _spread_bases(draws, places, len(A), factors)
    _spread_children(draws, places, lower, upper, bool(swap), factors ** (1.0 / (eta + 1.0)), children)
    return children


@jit()
def _spread_limits(A, B, draws, lower, upper, probability):
    """Return copies of the parents, who takes part (flat index into A), and how far both spreads may go."""
    pairs, n = A.shape
    children = np.empty((2 * pairs, n))
    places = np.empty(pairs * n, np.int64)
    count = 0
    for i in range(pairs):
        together = draws[i] < probability
        for k in range(n):
            a, b = A[i, k], B[i, k]
            children[2 * i, k], children[2 * i + 1, k] = a, b
            # Counted without a branch, which would be mispredicted half of the time.
            places[count] = i * n + k
            count += together & (draws[pairs + i * n + k] < 0.5) & (abs(a - b) > _SAME)
    limits = np.empty((2, count))
    for t in range(count):
        i, k = places[t] // n, places[t] % n
        y1, y2 = min(A[i, k], B[i, k]), max(A[i, k], B[i, k])
        distance = y2 - y1
        limits[0, t] = 1.0 + 2.0 * (y1 - lower[k]) / distance
        limits[1, t] = 1.0 + 2.0 * (upper[k] - y2) / distance
    return children, places[:count], limits


@jit()
def _spread_bases(draws, places, pairs, factors):
    """Replace beta_max ** -(eta + 1) by what beta is a power of."""
    genes = (draws.size - pairs) // 3
    for side in range(2):
        for t in range(places.size):
            scaled = draws[pairs + genes + places[t]] * (2.0 - factors[side, t])
            factors[side, t] = scaled if scaled <= 1.0 else 1.0 / (2.0 - scaled)


@jit()
def _spread_children(draws, places, lower, upper, swap, beta, children):
    n = children.shape[1]
    genes = children.size // 2
    pairs = draws.size - 3 * genes
    for t in range(places.size):
        i, k = places[t] // n, places[t] % n
        a, b = children[2 * i, k], children[2 * i + 1, k]
        y1, y2 = min(a, b), max(a, b)
        distance = y2 - y1
        c1 = _within(0.5 * (y1 + y2 - beta[0, t] * distance), lower[k], upper[k])
        c2 = _within(0.5 * (y1 + y2 + beta[1, t] * distance), lower[k], upper[k])
        if swap and draws[pairs + 2 * genes + places[t]] < 0.5:
            c1, c2 = c2, c1
        children[2 * i, k], children[2 * i + 1, k] = c1, c2


@jit()
def _within(x, low, high):
    x = x if x > low else low
    return x if x < high else high


def polynomial_mutation(
    X: NDArray[np.float64],
    draws: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    probability: float,
    eta: float,
) -> NDArray[np.float64]:
    """Change real variables; see `emoref_kernels.reference.variation.polynomial_mutation`.

    Parameters
    ----------
    X
        Candidates, float64 (N, n), C-contiguous.
    draws
        Uniform random numbers in [0, 1), float64 (2, N, n).
    lower, upper
        Bounds, float64 (n,).
    probability, eta
        Settings of the operator.

    Returns
    -------
    ndarray of float64, shape (N, n)
        The changed candidates.
    """
    places, rest = _rest_of_range(X, draws, lower, upper, float(probability))
    bases = rest ** (eta + 1.0)
    _mutation_bases(draws, places, bases)
    return _mutated(X, draws, places, lower, upper, bases ** (1.0 / (eta + 1.0)))


@jit()
def _rest_of_range(X, draws, lower, upper, probability):
    """Return which variables change (flat index into X), and the part of the range that the bound leaves."""
    rows, n = X.shape
    places, rest = np.empty(X.size, np.int64), np.empty(X.size)
    count = 0
    for i in range(rows):
        for k in range(n):
            if draws[0, i, k] < probability and upper[k] > lower[k]:
                to_bound = X[i, k] - lower[k] if draws[1, i, k] <= 0.5 else upper[k] - X[i, k]
                rest[count] = 1.0 - to_bound / (upper[k] - lower[k])
                places[count] = i * n + k
                count += 1
    return places[:count], rest[:count]


@jit()
def _mutation_bases(draws, places, powers):
    u = draws[1].reshape(-1)
    for t in range(places.size):
        v = u[places[t]]
        v = 2.0 * v if v <= 0.5 else 2.0 * (1.0 - v)
        powers[t] = v + (1.0 - v) * powers[t]


@jit()
def _mutated(X, draws, places, lower, upper, powers):
    mutated = X.copy()
    n = X.shape[1]
    u = draws[1].reshape(-1)
    for t in range(places.size):
        i, k = places[t] // n, places[t] % n
        size = powers[t] - 1.0
        if not u[places[t]] <= 0.5:
            size = -size
        mutated[i, k] = _within(X[i, k] + size * (upper[k] - lower[k]), lower[k], upper[k])
    return mutated


# ---------------------------------------------------------------------------------------- games of two


@jit()
def crowded_winners(pairs, coins, ranks, distances):
    """Return who wins by rank and crowding; see `emoref_kernels.reference.variation.crowded_winners`.

    Parameters
    ----------
    pairs, coins, ranks, distances
        Arrays of the shapes and types of the reference.

    Returns
    -------
    ndarray of int64, shape (games,)
        Rows of the winners.
    """
    winners = np.empty(len(pairs), np.int64)
    for game in range(len(pairs)):
        a, b = pairs[game, 0], pairs[game, 1]
        first = ranks[a] < ranks[b]
        if ranks[a] == ranks[b]:
            closer = distances[a] < distances[b]
            first = distances[a] > distances[b] or (not closer and coins[game] < 0.5)
        winners[game] = a if first else b
    return winners


@jit()
def lenient_winners(pairs, coins, violation):
    """Return who wins by violation; see `emoref_kernels.reference.variation.lenient_winners`.

    Parameters
    ----------
    pairs, coins, violation
        Arrays of the shapes and types of the reference.

    Returns
    -------
    ndarray of int64, shape (games,)
        Rows of the winners.
    """
    winners = np.empty(len(pairs), np.int64)
    for game in range(len(pairs)):
        a, b = pairs[game, 0], pairs[game, 1]
        first = violation[a] < violation[b]
        if violation[a] == violation[b]:
            first = coins[game] < 0.5
        winners[game] = a if first else b
    return winners
