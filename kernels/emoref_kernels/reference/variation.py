"""Simulated binary crossover, polynomial mutation and games of two on given random numbers, the definitions.

The callers in `emoref.emo` document the operators and draw the numbers; here is what becomes of them.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["crowded_winners", "lenient_winners", "polynomial_mutation", "sbx"]

_SAME = 1e-14
"""Parents closer than this in a variable are equal to simulated binary crossover, as in Deb's program."""


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
    """Recombine real parents by simulated binary crossover within bounds.

    Parameters
    ----------
    A, B
        Parents, float64 (pairs, n).
    draws
        Uniform random numbers in [0, 1), float64 (pairs + 3 * pairs * n,): one a pair, which says whether it
        takes part; then for each variable of each pair whether it does (below 0.5), then u, then whether the
        children's values change places (below 0.5).
    lower, upper
        Bounds, float64 (n,).
    probability
        Probability that a pair takes part.
    eta
        Distribution index.
    swap
        Whether values change places at all.

    Returns
    -------
    ndarray of float64, shape (2 * pairs, n)
        The children; those of one pair are neighbours.

    Notes
    -----
    Sources and equations: `emoref.emo.operators.sbx`.
    """
    first, second = A.copy(), B.copy()
    pairs = len(A)
    genes, spreads, coins = draws[pairs:].reshape(3, *A.shape)
    taken = (draws[:pairs, None] < probability) & (genes < 0.5) & (np.abs(A - B) > _SAME)

    row, column = np.nonzero(taken)
    a, b, u = A[row, column], B[row, column], spreads[row, column]
    y1, y2 = np.minimum(a, b), np.maximum(a, b)
    low, high = lower[column], upper[column]
    distance = y2 - y1
    c1 = 0.5 * (y1 + y2 - _spread(u, 1.0 + 2.0 * (y1 - low) / distance, eta) * distance)
    c2 = 0.5 * (y1 + y2 + _spread(u, 1.0 + 2.0 * (high - y2) / distance, eta) * distance)
    c1, c2 = np.clip(c1, low, high), np.clip(c2, low, high)
    change = (coins[row, column] < 0.5) & swap
    first[row, column] = np.where(change, c2, c1)
    second[row, column] = np.where(change, c1, c2)
    return np.stack([first, second], axis=1).reshape(2 * pairs, A.shape[1])


def _spread(u: NDArray[np.float64], beta_max: NDArray[np.float64], eta: float) -> NDArray[np.float64]:
    scaled = u * (2.0 - beta_max ** -(eta + 1.0))
    return np.where(scaled <= 1.0, scaled, 1.0 / (2.0 - scaled)) ** (1.0 / (eta + 1.0))


def polynomial_mutation(
    X: NDArray[np.float64],
    draws: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    probability: float,
    eta: float,
) -> NDArray[np.float64]:
    """Change real variables by polynomial mutation within bounds.

    Parameters
    ----------
    X
        Candidates, float64 (N, n).
    draws
        Uniform random numbers in [0, 1), float64 (2, N, n): whether a variable is changed, then u.
    lower, upper
        Bounds, float64 (n,). A variable whose bounds are equal is left alone.
    probability
        Probability for each variable.
    eta
        Distribution index.

    Returns
    -------
    ndarray of float64, shape (N, n)
        The changed candidates.

    Notes
    -----
    Sources and equations: `emoref.emo.operators.polynomial_mutation`.
    """
    mutated = X.copy()
    taken = (draws[0] < probability) & (upper > lower)
    u = draws[1][taken]
    row, column = np.nonzero(taken)
    low, high, x = lower[column], upper[column], mutated[row, column]
    width = high - low
    downwards = u <= 0.5
    nearest = np.where(downwards, x - low, high - x) / width
    v = np.where(downwards, 2.0 * u, 2.0 * (1.0 - u))
    size = (v + (1.0 - v) * (1.0 - nearest) ** (eta + 1.0)) ** (1.0 / (eta + 1.0)) - 1.0
    mutated[row, column] = np.clip(x + np.where(downwards, size, -size) * width, low, high)
    return mutated


def crowded_winners(
    pairs: NDArray[np.int64],
    coins: NDArray[np.float64],
    ranks: NDArray[np.int64],
    distances: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Let pairs play: the lower rank wins, then the larger distance, then the first if its coin is below 0.5.

    Parameters
    ----------
    pairs
        Rows of candidates, int64 (games, 2).
    coins
        Uniform random numbers in [0, 1), float64 (games,).
    ranks, distances
        Of each candidate, int64 and float64 (N,).

    Returns
    -------
    ndarray of int64, shape (games,)
        Rows of the winners.

    Notes
    -----
    Source: Deb et al. 2002, section III-C.
    """
    a, b = pairs.T
    closer, farther = distances[a] < distances[b], distances[a] > distances[b]
    level = (ranks[a] == ranks[b]) & (farther | (~closer & (coins < 0.5)))
    return np.where((ranks[a] < ranks[b]) | level, a, b)


def lenient_winners(
    pairs: NDArray[np.int64], coins: NDArray[np.float64], violation: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Let pairs play: the smaller violation wins, then the first if its coin is below 0.5.

    Parameters
    ----------
    pairs
        Rows of candidates, int64 (games, 2).
    coins
        Uniform random numbers in [0, 1), float64 (games,).
    violation
        Total violation of each candidate, float64 (N,).

    Returns
    -------
    ndarray of int64, shape (games,)
        Rows of the winners.

    Notes
    -----
    Source: Jain and Deb 2014, algorithm 2.
    """
    a, b = pairs.T
    tied = (violation[a] == violation[b]) & (coins < 0.5)
    return np.where((violation[a] < violation[b]) | tied, a, b)
