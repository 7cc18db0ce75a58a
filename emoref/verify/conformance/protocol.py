"""What a library offers for inspection: plain functions on arrays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.reference_points import das_dennis

__all__ = ["STEPS", "Library", "reference_points"]

Array = NDArray[np.float64]
Rows = Any
"""What a function returns: anything that NumPy makes an array of."""

STEPS: dict[str, str] = {
    "sort": "sorting",
    "crowd": "crowding distance",
    "normalise": "normalisation",
    "niches": "niches",
    "select": "selection",
    "hypervolume": "hypervolume",
    "indicators": "indicator",
    "runs": "run",
}
"""Fields of `Library` that hold functions, and what their properties are called."""


@dataclass(frozen=True)
class Library:
    """Functions of a library, each optional: what is absent is not checked.

    Everything is minimised. F is an array of objective values (N, M), float64; a function may keep or change
    it only if it wants to be found out. A function that does not take what it is handed (constraints, for
    instance) raises NotImplementedError, and is not judged by that.

    Attributes
    ----------
    name : str
        Name of the library.
    version : str
        Its version; empty if it has none.
    sort : callable or None
        ``sort(F)``: ranks from 0, (N,).
    crowd : callable or None
        ``crowd(F)``: crowding distances of one front, (N,). One factor common to all is ignored.
    normalise : callable or None
        ``normalise(F)``: NSGA-III's normalisation of a first generation, (N, M): 0 at the ideal point and 1
        at the nadir.
    niches : callable or None
        ``niches(F, W)``: normalise a first generation as a whole and return for each row the reference point
        (row of W) that it belongs to, (N,).
    select : mapping of str to callable
        ``select[name](F, size, W, G, seed)``: the rows of the survivors of one environmental selection from
        a fresh state. W are reference points (H, M), which NSGA-II and others ignore; G constraint values
        (N, K), at most 0 is feasible, or None; all random numbers come from the seed.
    hypervolume : callable or None
        ``hypervolume(F, reference)``: the volume.
    indicators : mapping of str to callable
        ``indicators[name](F, front)`` for ``"GD"``, ``"GD+"``, ``"IGD"`` and ``"IGD+"``.
    runs : mapping of str to callable
        ``runs[name](problem, population, generations, seed)``: objective values of the last population.
        The problem is one of `emoref.emo.problem.Problem`'s kind, its ``evaluate`` returns F or (F, G).
    ours : bool
        Whether the library is emoref with settings that promise every property.

    Examples
    --------
    >>> from emoref.verify.conformance import Library, check_library
    >>> wrong = Library("mine", sort=lambda F: F.sum(axis=1).argsort().argsort())
    >>> [finding.check for finding in check_library(wrong) if not finding.passed][:2]
    ['sorting: as defined', 'sorting: known values']
    """

    name: str
    version: str = ""
    sort: Callable[[Array], Rows] | None = None
    crowd: Callable[[Array], Rows] | None = None
    normalise: Callable[[Array], Rows] | None = None
    niches: Callable[[Array, Array], Rows] | None = None
    select: Mapping[str, Callable[[Array, int, Array, Array | None, int], Rows]] = field(default_factory=dict)
    hypervolume: Callable[[Array, Array], float] | None = None
    indicators: Mapping[str, Callable[[Array, Array], float]] = field(default_factory=dict)
    runs: Mapping[str, Callable[[Any, int, int, int], Rows]] = field(default_factory=dict)
    ours: bool = False

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}".strip()

    def functions(self, step: str) -> dict[str, Callable[..., Any]]:
        """Return the functions that a step has.

        Parameters
        ----------
        step : str
            A key of `STEPS`.

        Returns
        -------
        dict of str to callable
            By title, e.g. ``"sorting"`` or ``"NSGA-II selection"``; empty if there is none.
        """
        found = getattr(self, step)
        if isinstance(found, Mapping):
            return {f"{name} {STEPS[step]}": function for name, function in found.items()}
        return {} if found is None else {STEPS[step]: found}


def reference_points(n_obj: int) -> Array:
    """Return the reference points that the kit uses for so many objectives (H, `n_obj`).

    10 for two objectives, 28 for three, C(M + 2, 3) for M > 3.
    """
    return das_dennis(n_obj, {1: 1, 2: 9, 3: 6}.get(n_obj, 3))
