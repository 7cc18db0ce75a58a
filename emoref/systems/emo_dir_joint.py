"""Joining pruned sub-networks: global performance impairment ranking and the schemes that follow from it.

EMO-DIR (arXiv 2303.16212) combines the sub-networks' Pareto fronts "by global performance impairment
ranking"; no formula is readable. emoref measures how much each member of each front impairs the whole network
when it alone is put in, ranks all members of all stages by that, and takes for a level theta from every stage
what saves most among the members that impair it by theta at most: the *equal-impairment rule*.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from emoref import emo
from emoref.errors import ConfigError

__all__ = [
    "INTACT",
    "Member",
    "Scheme",
    "best_reaching",
    "equal_impairment",
    "equal_rates",
    "first_paid",
    "first_reaching",
    "front_of",
    "impairment_schemes",
    "random_schemes",
    "ranked",
    "saved_macs",
]

INTACT = -1
"""Stands for an unpruned stage in a scheme's choice."""


@dataclass(frozen=True)
class Member:
    """A member of a stage's front.

    Attributes
    ----------
    stage : int
        Of which stage, counted from 0.
    index : int
        Its place in the front.
    saved_macs : int
        Multiply-accumulates that it saves.
    stage_macs : int
        Those of the unpruned stage.
    impairment : int
        Wrong predictions of the network with this member alone, less those of the intact network; may be
        negative.
    """

    stage: int
    index: int
    saved_macs: int
    stage_macs: int
    impairment: int

    @property
    def rate(self) -> Fraction:
        """Saved share of the stage's multiply-accumulates."""
        return Fraction(self.saved_macs, self.stage_macs)


@dataclass(frozen=True)
class Scheme:
    """One member of each stage's front, joined.

    Attributes
    ----------
    choice : tuple of int
        For each stage the place in its front, or :data:`INTACT`.
    level : float or None
        What the scheme follows from: the impairment theta, or the rate; None for a random one.
    """

    choice: tuple[int, ...]
    level: float | None = None


def ranked(members: Sequence[Member]) -> list[Member]:
    """Return all members by rising impairment; of equal ones first what saves more, then by stage and place.

    Parameters
    ----------
    members : sequence of Member
        Of all stages.

    Examples
    --------
    >>> some = [Member(0, 0, 5, 10, 3), Member(1, 0, 2, 10, -1), Member(1, 1, 6, 10, 3)]
    >>> [(m.stage, m.index) for m in ranked(some)]
    [(1, 0), (1, 1), (0, 0)]
    """
    return sorted(members, key=lambda m: (m.impairment, -m.saved_macs, m.stage, m.index))


def equal_impairment(members: Sequence[Member], stages: int, theta: int) -> tuple[int, ...]:
    """Choose from every stage what saves most among the members that impair by theta at most.

    Parameters
    ----------
    members : sequence of Member
        Of all stages.
    stages : int
        How many stages there are.
    theta : int
        The level, in wrong predictions.

    Returns
    -------
    tuple of int
        Of members that save equally much the one that impairs least; a stage without such a member stays
        :data:`INTACT`.

    Examples
    --------
    >>> some = [Member(0, 0, 5, 10, 3), Member(0, 1, 7, 10, 9), Member(1, 0, 2, 10, 4)]
    >>> equal_impairment(some, 2, 3), equal_impairment(some, 2, 4), equal_impairment(some, 2, 9)
    ((0, -1), (0, 0), (1, 0))
    """
    choice = []
    for stage in range(stages):
        allowed = [m for m in members if m.stage == stage and m.impairment <= theta]
        best = max(allowed, key=lambda m: (m.saved_macs, -m.impairment, -m.index), default=None)
        choice.append(INTACT if best is None or best.saved_macs == 0 else best.index)
    return tuple(choice)


def impairment_schemes(members: Sequence[Member], stages: int) -> list[Scheme]:
    """Sweep theta over all impairments that occur, from the least; return each scheme once.

    Parameters
    ----------
    members, stages
        As for :func:`equal_impairment`.
    """
    schemes: dict[tuple[int, ...], Scheme] = {}
    for theta in sorted({m.impairment for m in members}):
        choice = equal_impairment(members, stages, theta)
        schemes.setdefault(choice, Scheme(choice, theta))
    return list(schemes.values())


def saved_macs(members: Sequence[Member], choice: Sequence[int]) -> int:
    """Return the multiply-accumulates that a scheme saves: the sum over its stages."""
    saved = {(m.stage, m.index): m.saved_macs for m in members}
    return sum(saved[stage, index] for stage, index in enumerate(choice) if index != INTACT)


def random_schemes(
    members: Sequence[Member], stages: int, count: int, rng: np.random.Generator
) -> list[Scheme]:
    """Baseline: combine members of the fronts at random.

    Parameters
    ----------
    members, stages
        As for :func:`equal_impairment`.
    count : int
        How many draws; what is drawn twice is returned once.
    rng : numpy.random.Generator
        Draws one member of each stage.
    """
    sizes = [sum(m.stage == stage for m in members) for stage in range(stages)]
    draws = np.column_stack([rng.integers(size, size=count) for size in sizes])
    found = dict.fromkeys(tuple(int(i) for i in row) for row in draws)
    return [Scheme(choice) for choice in found]


def equal_rates(members: Sequence[Member], stages: int, count: int) -> list[Scheme]:
    """Baseline: the same share of multiply-accumulates saved in every stage.

    Parameters
    ----------
    members, stages
        As for :func:`equal_impairment`.
    count : int
        Number of rates, evenly spaced up to the largest that occurs.

    Returns
    -------
    list of Scheme
        For each rate the members nearest to it, of two the one that saves less; each scheme once.
    """
    largest = max(m.rate for m in members)
    schemes: dict[tuple[int, ...], Scheme] = {}
    for step in range(1, count + 1):
        rate = largest * step / count
        choice = tuple(
            min((m for m in members if m.stage == stage), key=lambda m: (abs(m.rate - rate), m.rate)).index
            for stage in range(stages)
        )
        schemes.setdefault(choice, Scheme(choice, float(rate)))
    return list(schemes.values())


def front_of(saved: Sequence[int], wrong: Sequence[int]) -> NDArray[np.int64]:
    """Return which of some measured schemes are not dominated, by rising saving; of equal ones the first.

    Parameters
    ----------
    saved : sequence of int
        Multiply-accumulates that each saves; more is better.
    wrong : sequence of int
        Wrong predictions of each.
    """
    if len(saved) == 0:
        return np.empty(0, dtype=np.int64)
    F = np.column_stack((-np.asarray(saved, dtype=np.float64), np.asarray(wrong, dtype=np.float64)))
    rows = np.flatnonzero(emo.nondominated_ranks(F) == 0)
    _, first = np.unique(F[rows], axis=0, return_index=True)
    return rows[first][::-1].astype(np.int64)


def first_reaching(saved: Sequence[int], wanted: int, macs: int, target: float) -> int:
    """Return the first scheme that saves as much as wanted: with schemes by rising theta, target mode.

    Parameters
    ----------
    saved : sequence of int
        Multiply-accumulates that each saves.
    wanted : int
        How many must be saved.
    macs : int
        Those of the whole network, for the message.
    target : float
        The wanted share, for the message.

    Raises
    ------
    ConfigError
        If none does; says the best reachable.
    """
    for place, value in enumerate(saved):
        if value >= wanted:
            return place
    best = max(saved, default=0) / macs
    raise ConfigError(
        f"joint.targets: no joint scheme saves {target:.1%} of the network's multiply-accumulates; the best "
        f"reachable is {best:.1%} (longer searches, or more of the network in stages, reach further)"
    )


def first_paid(executed: Sequence[int], budget_macs: int) -> int:
    """Return the first generation of a search after which a budget was spent; the last one if it never was.

    Parameters
    ----------
    executed : sequence of int
        Multiply-accumulates executed up to each generation.
    budget_macs : int
        The budget.

    Examples
    --------
    >>> first_paid([10, 20, 30], 20), first_paid([10, 20, 30], 21), first_paid([10, 20, 30], 99)
    (1, 2, 2)
    """
    return min(int(np.searchsorted(executed, budget_macs)), len(executed) - 1)


def best_reaching(saved: Sequence[int], wrong: Sequence[int], wanted: int) -> int | None:
    """Return the scheme with fewest wrong predictions among those that save as much as wanted, or None.

    Parameters
    ----------
    saved, wrong : sequences of int
        What each scheme saves, and its wrong predictions.
    wanted : int
        Multiply-accumulates that must be saved.
    """
    places = [place for place, value in enumerate(saved) if value >= wanted]
    return min(places, key=lambda place: (wrong[place], -saved[place], place), default=None)
