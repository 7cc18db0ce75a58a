"""NSGA-II's two selections: who becomes a parent, and who survives."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoref.emo.ranking import constrained_ranks, constraint_violation, crowding_distance, fronts
from emoref.errors import ProblemError
from emoref_kernels.cpu import variation
from emoref_kernels.cpu.fronts import finite_rows

__all__ = [
    "TOURNAMENTS",
    "Survival",
    "binary_tournament",
    "environmental_selection",
    "feasibility_tournament",
    "total_violation",
    "tournament_pairs",
]

TOURNAMENTS = ("rank", "dominance")
"""Names of the two published comparisons in the binary tournament."""


def tournament_pairs(count: int, tournaments: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw who meets whom: random permutations of all, cut into pairs.

    Every candidate therefore plays equally often, up to one game.

    Parameters
    ----------
    count
        Number of candidates, at least 1.
    tournaments
        Number of pairs.
    rng
        Source of random numbers.

    Returns
    -------
    numpy.ndarray
        Rows of candidates, int64 (tournaments, 2).
    """
    rounds = -(-2 * tournaments // count)
    players = np.concatenate([rng.permutation(count) for _ in range(rounds)])
    return players[: 2 * tournaments].reshape(tournaments, 2)


def binary_tournament(
    ranks: NDArray[np.int64],
    distances: NDArray[np.float64],
    tournaments: int,
    rng: np.random.Generator,
    *,
    compare: str = "rank",
    F: NDArray[np.float64] | None = None,
    G: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Choose parents by games of two.

    The winner is, with ``compare="rank"``, the candidate of lower rank (the paper's crowded comparison);
    with ``compare="dominance"``, the one that dominates the other under constrained domination (Deb's C
    program). If neither wins, the larger crowding distance does, and if these are equal, a coin.
    The two differ because a candidate of lower rank need not dominate one of higher rank.

    Parameters
    ----------
    ranks, distances
        Rank and crowding distance of each candidate, (N,).
    tournaments
        Number of parents to choose.
    rng
        Source of random numbers.
    compare
        ``"rank"`` or ``"dominance"``.
    F, G
        Objective and constraint values; needed (G where there are constraints) for ``"dominance"``.

    Returns
    -------
    numpy.ndarray
        Rows of the winners, int64 (tournaments,).

    Raises
    ------
    ProblemError
        If `compare` is unknown, or `F` is missing though needed.

    Notes
    -----
    Source: Deb et al. 2002, section III-C.
    """
    pairs = tournament_pairs(len(ranks), tournaments, rng)
    coins = rng.random(tournaments)
    if compare == "rank":
        winners: NDArray[np.int64] = variation.crowded_winners(pairs, coins, ranks, distances)
        return winners
    if compare != "dominance" or F is None:
        raise ProblemError(f"compare is {compare!r}; use rank, or dominance together with F")
    a, b = pairs.T
    score = _dominance(F, G, a, b)
    closer = distances[a] < distances[b]
    farther = distances[a] > distances[b]
    a_wins = (score > 0) | ((score == 0) & (farther | (~closer & (coins < 0.5))))
    return np.where(a_wins, a, b)


def _dominance(
    F: NDArray[np.float64], G: NDArray[np.float64] | None, a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return 1 where a dominates b under constrained domination, -1 where b dominates a, otherwise 0."""
    violation = total_violation(F, G)
    F = np.where(np.isinf(violation)[:, None], 0.0, F)
    pareto = (F[a] <= F[b]).all(axis=1).astype(np.int64) - (F[a] >= F[b]).all(axis=1)
    by_violation = (violation[a] < violation[b]).astype(np.int64) - (violation[a] > violation[b])
    feasible = (violation[a] == 0.0) & (violation[b] == 0.0)
    return np.where(feasible, pareto, by_violation)


def total_violation(F: NDArray[np.float64], G: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Add up how far candidates are beyond their constraints; failed evaluations are infinitely far.

    Parameters
    ----------
    F
        Objective values (N, M); NaN or infinity is a failed evaluation.
    G
        Constraint values (N, K), at most 0 is feasible; None for no constraint.

    Returns
    -------
    numpy.ndarray
        Zero for feasible candidates, infinite for failed ones, never NaN, float64 (N,).

    Examples
    --------
    >>> total_violation(np.array([[1.0], [1.0], [np.nan]]), np.array([[-3.0], [0.5], [0.0]])).tolist()
    [0.0, 0.5, inf]
    """
    finite = finite_rows(F)
    if G is None or G.shape[1] == 0:
        return np.where(finite, 0.0, np.inf)
    violation = constraint_violation(G)
    return np.where(finite & np.isfinite(violation), violation, np.inf)


def feasibility_tournament(
    violation: NDArray[np.float64], tournaments: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Choose parents by games of two: the smaller violation wins, and a coin if they are equal.

    Without constraints, parents are therefore drawn at random.

    Parameters
    ----------
    violation
        Total violation of each candidate (N,); see `total_violation`.
    tournaments
        Number of parents to choose.
    rng
        Source of random numbers.

    Returns
    -------
    numpy.ndarray
        Rows of the winners, int64 (tournaments,).

    Notes
    -----
    Source: Jain and Deb, IEEE Trans. Evol. Comput. 18(4), 2014 (NSGA-III, part II), algorithm 2. Pairs are
    drawn as in `tournament_pairs`.
    """
    pairs = tournament_pairs(len(violation), tournaments, rng)
    winners: NDArray[np.int64] = variation.lenient_winners(pairs, rng.random(tournaments), violation)
    return winners


@dataclass(frozen=True)
class Survival:
    """Who survives, and all that the decision was made from.

    Parameters
    ----------
    survivors
        Rows of the survivors, best rank first, (n,).
    ranks
        Ranks of all candidates, (N,).
    distances
        Crowding distances within the own front, of all candidates whose front was looked at; NaN for
        fronts that were not, (N,).
    """

    survivors: NDArray[np.int64]
    ranks: NDArray[np.int64]
    distances: NDArray[np.float64]


def environmental_selection(
    F: NDArray[np.float64],
    size: int,
    G: NDArray[np.float64] | None = None,
    *,
    crowding: str = "paper",
) -> Survival:
    """Choose the next population: whole fronts while they fit, then the least crowded of the next front.

    Crowding distances belong to whole fronts, also in the front that is cut. Rule for ties: of candidates
    of equal rank and equal distance, those with lower row index survive; parents come before offspring,
    so a newcomer has to be better. Fronts that survive whole keep their row order.

    Parameters
    ----------
    F
        Objective values (N, M) of parents and offspring together.
    size
        Number of survivors. All survive if there are no more.
    G
        Constraint values (N, K), or None.
    crowding
        Variant of the crowding distance, ``"paper"`` or ``"deb-c"``.

    Returns
    -------
    Survival
        Survivors, ranks and distances.

    Raises
    ------
    ShapeError, DtypeError
        If `F` is no two-dimensional, non-empty array of real numbers, or `crowding` is unknown.

    Notes
    -----
    Source: Deb et al. 2002, section III-C, lines 3 to 9 of the main loop. The rule for ties is not
    published; emoref uses the above.
    """
    ranks = constrained_ranks(F, G)
    distances = np.full(len(F), np.nan)
    survivors: list[NDArray[np.int64]] = []
    room = size
    for front in fronts(ranks):
        distances[front] = crowding_distance(F[front], crowding)
        if len(front) > room:
            least_crowded_first = np.argsort(-distances[front], kind="stable")
            survivors.append(front[least_crowded_first[:room]])
            break
        survivors.append(front)
        room -= len(front)
        if room == 0:
            break
    return Survival(np.concatenate(survivors), ranks, distances)
