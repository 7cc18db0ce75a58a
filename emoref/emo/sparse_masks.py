"""Masks of sparse solutions: scores of variables, first masks, and their variation, as SparseEA needs them.

Source: Tian, Zhang, Wang, Jin, "An evolutionary algorithm for large-scale sparse multiobjective optimization
problems", IEEE Trans. Evol. Comput. 24(2), 2020.
"""

import numpy as np
from numpy.typing import NDArray

from emoref.emo.ranking import constrained_ranks

__all__ = [
    "SCORINGS",
    "mask_crossover",
    "mask_mutation",
    "sample_masks",
    "scoring_masks",
    "variable_scores",
]

SCORINGS = ("one-hot", "drop-one")
"""Names of the ways to score variables; see `variable_scores`."""


# ---------------------------------------------------------------------------------------------- scores


def scoring_masks(n_var: int, rounds: int, scoring: str = "one-hot") -> NDArray[np.bool_]:
    """Make the masks that the variables are scored by: one for each variable and round.

    Parameters
    ----------
    n_var
        Number of variables D.
    rounds
        How often each variable is tried.
    scoring
        ``"one-hot"``: the mask of variable d has d alone. ``"drop-one"``: it has all but d.

    Returns
    -------
    numpy.ndarray
        Masks, bool (rounds * D, D), round after round.

    Examples
    --------
    >>> scoring_masks(3, 1, "drop-one").astype(int)
    array([[0, 1, 1],
           [1, 0, 1],
           [1, 1, 0]])
    """
    one_hot = np.tile(np.eye(n_var, dtype=np.bool_), (rounds, 1))
    return one_hot if scoring == "one-hot" else ~one_hot


def variable_scores(
    F: NDArray[np.float64],
    n_var: int,
    G: NDArray[np.float64] | None = None,
    scoring: str = "one-hot",
) -> NDArray[np.int64]:
    """Score variables by how well candidates do that have, or lack, one of them. The lower the better.

    The candidates of each round are sorted into fronts. With ``"one-hot"``, a variable's score is the sum
    of the front numbers of the candidates that have only this variable: with a low score it does much good
    alone. With ``"drop-one"``, it is the sum of (last front - own front) of those that lack only this
    variable: with a low score, much is lost without it.

    Parameters
    ----------
    F
        Objective values of the candidates of `scoring_masks` (rounds * D, M).
    n_var
        Number of variables D.
    G
        Constraint values (rounds * D, K); None for no constraint.
    scoring
        ``"one-hot"`` or ``"drop-one"``.

    Returns
    -------
    numpy.ndarray
        Scores, at least 0, int64 (D,).

    Notes
    -----
    Source: Tian et al. 2020, algorithm 2, for one-hot scores. There constraints become further objectives in
    the authors' program; here candidates are ranked by constrained domination. Drop-one scores are not
    published; emoref offers them for masks of filters, where a network of a single filter computes nothing
    and one-hot scores mean nothing.

    Examples
    --------
    >>> without = np.array([[0.9, 2.0], [0.1, 2.0], [0.1, 1.0]])  # error, size without variable 0, 1, 2
    >>> variable_scores(without, 3, scoring="drop-one")
    array([0, 1, 2])
    """
    scores = np.zeros(n_var, dtype=np.int64)
    for start in range(0, len(F), n_var):
        rows = slice(start, start + n_var)
        ranks = constrained_ranks(F[rows], None if G is None else G[rows])
        scores += ranks if scoring == "one-hot" else ranks.max() - ranks
    return scores


# ----------------------------------------------------------------------------------------------- masks


def sample_masks(count: int, scores: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw masks of all densities, with good variables more often than others.

    For each mask a number from 1 to D is drawn; so many times two variables are drawn, and the bit of the one
    with the lower score is set. (As a bit may be set twice, masks have fewer bits than that number.)

    Parameters
    ----------
    count
        Number of masks.
    scores
        Score of each variable (D,); the lower the better.
    rng
        Source of random numbers.

    Returns
    -------
    numpy.ndarray
        Masks, bool (count, D).

    Notes
    -----
    Source: Tian et al. 2020, algorithm 2. Of variables with equal scores the one drawn second is taken.
    """
    n_var = len(scores)
    masks = np.zeros((count, n_var), dtype=np.bool_)
    for mask in masks:
        times = int(rng.integers(1, n_var + 1))
        first, second = rng.integers(n_var, size=(2, times))
        mask[np.where(scores[first] < scores[second], first, second)] = True
    return masks


def mask_crossover(
    p: NDArray[np.bool_], q: NDArray[np.bool_], scores: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Make one child of two masks: the first parent's, but for one bit in which the parents differ.

    With probability 0.5, a bit is turned off that the first parent has and the second has not; otherwise a
    bit is turned on that the second has and the first has not. It is the winner of a game of two, drawn
    among all such bits: the higher score when one is turned off, the lower when one is turned on. Where
    there is none, nothing changes.

    Parameters
    ----------
    p, q
        Parents (pairs, D).
    scores
        Score of each variable (D,).
    rng
        Source of random numbers.

    Returns
    -------
    numpy.ndarray
        Children, bool (pairs, D).

    Notes
    -----
    Source: Tian et al. 2020, algorithm 3, lines 4 to 9.
    """
    return _turn_one_bit(p, p & ~q, ~p & q, scores, rng)


def mask_mutation(
    masks: NDArray[np.bool_], scores: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Turn one bit of each mask: with probability 0.5 a bad one off, otherwise a good one on.

    The bit is the winner of a game of two as in `mask_crossover`, drawn among all bits that are on, or off.

    Parameters
    ----------
    masks
        Masks (N, D).
    scores
        Score of each variable (D,).
    rng
        Source of random numbers.

    Returns
    -------
    numpy.ndarray
        The changed masks, bool (N, D).

    Notes
    -----
    Source: Tian et al. 2020, algorithm 3, lines 10 to 15.
    """
    return _turn_one_bit(masks, masks, ~masks, scores, rng)


def _turn_one_bit(
    masks: NDArray[np.bool_],
    may_go: NDArray[np.bool_],
    may_come: NDArray[np.bool_],
    scores: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    turned = masks.copy()
    off = rng.random(len(masks)) < 0.5
    draws = rng.random((len(masks), 2))
    for i, (first, second) in enumerate(draws):
        bits = np.flatnonzero(may_go[i] if off[i] else may_come[i])
        if len(bits) == 0:
            continue
        a, b = bits[int(first * len(bits))], bits[int(second * len(bits))]
        wins = scores[a] > scores[b] if off[i] else scores[a] < scores[b]
        turned[i, a if wins else b] = not off[i]
    return turned
