"""Properties of whole runs: one seed, one result."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problems import DTLZ2
from emoref.verify.conformance.check import Function, Property, Violation
from emoref.verify.conformance.steps import leaves_warnings_on

__all__ = ["PROPERTIES", "RunCase", "TestProblem"]

Array = NDArray[Any]

CONSTRAINTS = ("none", "some feasible", "none feasible", "many equal violations", "all equal violations")
"""Kinds of constraint that a run must be reproducible with."""


class TestProblem(DTLZ2):
    """DTLZ2 with one of the constraints of `CONSTRAINTS`.

    Parameters
    ----------
    constraint
        ``"some feasible"``: the first objective is at least 1/2. ``"none feasible"``: violations that differ.
        ``"many equal violations"``: in steps of 1/4, down to none. ``"all equal violations"``: 1 for all.
    n_obj
        Number of objectives.
    """

    __test__ = False  # no test class of pytest's

    def __init__(self, constraint: str, n_obj: int = 3) -> None:
        super().__init__(n_obj, k=5)
        self.constraint = constraint
        self.n_constraints = 0 if constraint == "none" else 1

    def evaluate(self, X: Array) -> Any:
        """Return F, or (F, G) if there is a constraint, of candidates `X`."""
        F = super().evaluate(X)
        if self.constraint == "none":
            return F
        if self.constraint == "some feasible":
            G = 0.5 - F[:, 0]
        elif self.constraint == "none feasible":
            G = 1.0 + X.sum(axis=1)
        elif self.constraint == "many equal violations":
            G = np.ceil(4.0 * (1.0 - F[:, 0])) / 4.0
        else:
            G = np.ones(len(X))
        return F, G[:, None]


@dataclass(frozen=True)
class RunCase:
    """A run: which constraint, how many individuals and generations, which seed."""

    constraint: str
    population: int
    generations: int
    seed: int

    def __str__(self) -> str:
        return (
            f"DTLZ2 with 3 objectives, constraint: {self.constraint}, population {self.population}, "
            f"{self.generations} generations, seed {self.seed}"
        )

    def run(self, function: Function) -> Array:
        """Return the objective values of the last population, as `function` returns them."""
        problem = TestProblem(self.constraint)
        return np.asarray(function(problem, self.population, self.generations, self.seed), dtype=np.float64)


def _cases(constraint: str, seed: int) -> Iterator[RunCase]:
    for population, generations in ((28, 2), (28, 5), (28, 15)):
        yield RunCase(constraint, population, generations, seed + 1)


def _same_seed(function: Function, case: RunCase) -> None:
    first = case.run(function)
    for _ in range(2):
        again = case.run(function)
        if first.shape != again.shape:
            raise Violation(f"one run ends with {len(first)} individuals, another with {len(again)}")
        if not np.array_equal(first, again, equal_nan=True):
            differ = int((first != again).any(axis=1).sum())
            raise Violation(f"two runs differ in {differ} of {len(first)} individuals")


def _other_seed(function: Function, case: RunCase) -> None:
    other = RunCase(case.constraint, case.population, case.generations, case.seed + 1)
    if np.array_equal(case.run(function), other.run(function)):
        raise Violation("another seed gives the same result")


def _warnings_stay(function: Function, case: RunCase) -> None:
    leaves_warnings_on(lambda: case.run(function))


PROPERTIES: tuple[Property, ...] = (
    *(
        Property("runs", f"same seed, same result; constraint: {kind}", partial(_cases, kind), _same_seed)
        for kind in CONSTRAINTS
    ),
    Property("runs", "another seed, another result", partial(_cases, "none"), _other_seed),
    Property("runs", "Python's warnings stay on", partial(_cases, "none"), _warnings_stay),
)
"""Properties of runs."""
