"""The networks of a front that are fine-tuned: knee, sparsest, evenly spaced, or at a given kept ratio.

Which networks Chen et al. 2021 choose is not published; these rules are emoref's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from emoref import emo
from emoref.errors import ConfigError, ProblemError
from emoref.runs.config import Probability, Section
from emoref.search import MaskGenome
from emoref.systems.joint_sparse_search import MaskProblem

__all__ = ["Pick", "SelectSection", "check_kept_ratios", "choose", "connection_budget", "percent_name"]

KeptRatio = Annotated[float, Field(gt=0, le=1)]


class SelectSection(Section):
    """Which members of a front are fine-tuned."""

    knee: bool = True
    sparsest: bool = True  # the sparsest within max_error_increase
    max_error_increase: Probability = 0.01  # delta, of the worst task, before fine-tuning
    count: Annotated[int, Field(ge=0)] = 0  # evenly spaced along the kept connections
    # And for each: a network of that many connections, in shares of what separate networks for all tasks
    # have in their hidden layers. The joint network of T tasks may keep T times that share of its own.
    kept_ratios: tuple[KeptRatio, ...] = ()

    @model_validator(mode="after")
    def _something(self) -> "SelectSection":
        if not (self.knee or self.sparsest or self.count or self.kept_ratios):
            raise ValueError(
                "knee and sparsest are false, count is 0 and kept_ratios is empty: nothing to fine-tune"
            )
        if len(set(self.kept_ratios)) < len(self.kept_ratios):
            raise ValueError("kept_ratios: each can be named once")
        return self


@dataclass(frozen=True, eq=False)
class Pick:
    """A network that is to be fine-tuned.

    Attributes
    ----------
    name, choice : str
        Its name, and why it was chosen.
    genome : bool array, shape (n_bits,)
        Its mask.
    kept_ratio : float or None
        The kept ratio that was asked for.
    weights : dict of str to int
        Weights of each hidden layer.
    kept : dict of str to int
        Those that it keeps.
    """

    name: str
    choice: str
    genome: NDArray[np.bool_]
    kept_ratio: float | None
    weights: dict[str, int]
    kept: dict[str, int]


def connection_budget(ratio: float, weights: int, tasks: int, members: int) -> int:
    """Return how many connections a group may keep so that all groups together keep equally many.

    Parameters
    ----------
    ratio : float
        Kept share of the hidden weights of separate networks for all tasks.
    weights : int
        Hidden weights of one network.
    tasks : int
        Number of tasks T; separate networks have T * weights.
    members : int
        Tasks of the group: T for the joint network, 1 for one that is alone.

    Returns
    -------
    int
        ``members * floor(ratio * weights)``: T networks that are alone keep together what the joint one
        keeps. At most all weights of the group's trunk.

    Examples
    --------
    >>> connection_budget(0.02, 1050, 2, 2), connection_budget(0.02, 1050, 2, 1)
    (42, 21)
    """
    if members not in (1, tasks):
        raise ProblemError(f"a group has 1 or all {tasks} tasks, got {members}")
    # The small term keeps e.g. 0.29 * 100 = 28.999999999999996 from being rounded down to 28.
    return min(weights, members * int(ratio * weights + 1e-9))


def check_kept_ratios(ratios: Sequence[float], genome: MaskGenome, tasks: int, members: int) -> None:
    """Refuse, before anything is trained, kept ratios that cannot leave a connection in every layer.

    Parameters
    ----------
    ratios : sequence of float
        The section's `kept_ratios`.
    genome : MaskGenome
        The masks of one network.
    tasks, members : int
        As for :func:`connection_budget`.

    Raises
    ------
    ConfigError
        If a budget is below one bit's weights for each layer. That a larger one suffices shows only once
        there are weights: what is read must be made.
    """
    starts = np.cumsum(genome.sizes) - genome.sizes
    least = int(np.minimum.reduceat(genome.group_sizes, starts).sum())
    for ratio in ratios:
        budget = connection_budget(ratio, int(genome.weights.sum()), tasks, members)
        if budget < least:
            group = "a separate network" if members < tasks else "the joint network"
            raise ConfigError(
                f"select.kept_ratios: {ratio:g} leaves {group} {budget} connections; its "
                f"{len(genome.names)} hidden layers need at least {least}"
            )


def percent_name(ratio: float) -> str:
    """Return a ratio in per cent as part of a name, e.g. 0.025 as ``"2_5"``."""
    return f"{100 * ratio:g}".replace(".", "_")


def choose(
    group: str, tasks: int, problem: MaskProblem, front: emo.Population, section: SelectSection
) -> list[Pick]:
    """Choose members of a front.

    The knee is the one farthest below the plane through the extremes (:func:`emoref.emo.knee`). The sparsest
    is the one with fewest connections whose error rises by at most delta on every task; if there is none, the
    one whose worst rise is smallest. Evenly spaced ones are spaced along the kept connections. For a kept
    ratio, the member with the nearest number of connections is trimmed or filled up to the budget
    (:meth:`emoref.search.MaskGenome.fitted`). A member chosen twice is listed once, with both reasons.

    Parameters
    ----------
    group : str
        Its name, the beginning of every pick's name.
    tasks : int
        Number of all tasks.
    problem : MaskProblem
        The group's problem.
    front : Population
        Non-dominated candidates of its last generation.
    section : SelectSection
        What to choose.

    Returns
    -------
    list of Pick
        In the order of the section.

    Raises
    ------
    ConfigError
        If a kept ratio leaves too few connections for a working network.
    """
    genome, chosen = problem.genome, dict[bytes, Pick]()
    kept_of = {name: int(n) for name, n in zip(genome.names, genome.weights, strict=True)}

    def take(bits: NDArray[np.bool_], name: str, why: str, ratio: float | None = None) -> None:
        key = np.packbits(bits).tobytes() + (b"" if ratio is None else name.encode())
        before = chosen.get(key)
        kept = genome.kept(bits[None])[0].tolist()
        chosen[key] = Pick(
            f"{group}-{name}" if before is None else before.name,
            why if before is None else f"{before.choice}; {why}",
            bits,
            ratio,
            kept_of,
            dict(zip(genome.names, kept, strict=True)),
        )

    F, X = front.F, np.asarray(front.X, dtype=bool)
    if section.knee:
        take(X[emo.knee(F)], "knee", "knee of the front")
    if section.sparsest:
        row, why = _sparsest(F, problem, section.max_error_increase)
        take(X[row], "sparsest", why)
    if section.count:
        rows = emo.evenly_spaced(F, section.count, axis=F.shape[1] - 1)
        for i, row in enumerate(rows, start=1):
            take(X[row], f"even-{i}", f"evenly spaced, {i} of {len(rows)}")
    for ratio in section.kept_ratios:
        budget = connection_budget(ratio, problem.weights, tasks, len(problem.tasks))
        nearest = int(np.abs(genome.kept(X).sum(axis=1) - budget).argmin())
        try:
            bits = genome.fitted(X[nearest], budget, problem.magnitudes)
        except ProblemError as error:
            raise ConfigError(f"select.kept_ratios: {ratio:g} leaves {group} too little: {error}") from None
        take(bits, f"kept-{percent_name(ratio)}", f"kept ratio {ratio:g} of separate networks", ratio)
    return list(chosen.values())


def _sparsest(F: NDArray[np.float64], problem: MaskProblem, increase: float) -> tuple[int, str]:
    # Errors are counts over images: a thousandth of an image keeps rounding from deciding.
    slack = 1e-3 / problem.images
    rise = F[:, :-1] - problem.base_wrong / problem.images - increase
    within = np.flatnonzero((rise <= slack).all(axis=1))
    points = f"{100 * increase:g} points"
    if len(within) == 0:
        row = int(np.lexsort((F[:, -1], rise.max(axis=1)))[0])
        return row, f"smallest rise of errors: none rises by at most {points} on every task"
    order = np.lexsort((rise[within].max(axis=1), F[within, -1]))
    return int(within[order[0]]), f"sparsest whose errors rise by at most {points} before fine-tuning"
