"""Cases on which properties are tried, and how a case that fails is made smaller."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.seeding import generator

__all__ = ["Case", "fronts_of_cases", "mixed_cases", "shrink"]

Array = NDArray[np.float64]

MOST_STEPS = 400
"""So often a smaller case is tried at most."""


@dataclass(frozen=True, eq=False)
class Case:
    """Objective values, and what may be done with them.

    Attributes
    ----------
    F : ndarray of float64, shape (N, M)
        Objective values.
    size : int
        How many survive a selection.
    shift : ndarray of float64, shape (M,)
        What a translation adds.
    factors : ndarray of float64, shape (M,)
        What a change of units multiplies by.
    violation : ndarray of float64, shape (N,), or None
        How far each row is beyond its constraint.
    seed : int
        Seed of a selection.
    """

    F: Array
    size: int
    shift: Array
    factors: Array
    violation: Array | None = None
    seed: int = 1

    @classmethod
    def of(cls, F: Any, size: int | None = None, violation: Any = None) -> "Case":
        """Return a case of plain numbers.

        Parameters
        ----------
        F
            Objective values (N, M).
        size
            How many survive; half of the rows unless given.
        violation
            Violations (N,), or None.

        Returns
        -------
        Case
            With shift 0 and factors 1.
        """
        F = np.array(F, dtype=np.float64)
        n_obj = F.shape[1]
        size = max(1, len(F) // 2) if size is None else size
        violation = None if violation is None else np.array(violation, dtype=np.float64)
        return cls(F, size, np.zeros(n_obj), np.ones(n_obj), violation)

    def take(self, rows: NDArray[Any]) -> "Case":
        """Return the case with some `rows` only, and as large a part of them surviving."""
        size = max(1, self.size * len(rows) // len(self.F))
        violation = None if self.violation is None else self.violation[rows]
        return replace(self, F=self.F[rows], size=size, violation=violation)

    def take_objectives(self, columns: NDArray[Any]) -> "Case":
        """Return the case with some `columns` only."""
        return replace(self, F=self.F[:, columns], shift=self.shift[columns], factors=self.factors[columns])

    def __str__(self) -> str:
        """Say what the case is, in numbers if they are few."""
        if self.F.size > 36:
            text = f"{len(self.F)} points of {self.F.shape[1]} objectives"
        else:
            text = f"F = {_numbers(self.F)}"
        if self.violation is not None:
            text += f", violation {_numbers(self.violation)}"
        return text


def _numbers(values: Array) -> str:
    if values.ndim == 2:
        return f"[{', '.join(_numbers(row) for row in values)}]"
    return f"[{', '.join(f'{value:.6g}' for value in values)}]"


_SHIFTS = (0.0, 0.5, 0.875, 2.0, -64.0, 1024.0)
_EXPONENTS = (0, -13, 10, -20, 30, -7)


def mixed_cases(
    seed: int, count: int, rows: int = 30, objectives: tuple[int, ...] = (2, 3, 5)
) -> Iterator[Case]:
    """Yield random points of several fronts, no two values of an objective equal.

    Values are multiples of 2**-10, shifts too, and factors are powers of two, so that translation and
    scaling are exact.

    Parameters
    ----------
    seed : int
        Seed of the numbers.
    count : int
        Number of cases.
    rows : int
        Points of a case.
    objectives : tuple of int
        Numbers of objectives, in turn.

    Yields
    ------
    Case
        With shifts and factors that are not the same for all objectives.
    """
    for index in range(count):
        rng = generator(seed, "verify.conformance.mixed", index)
        n_obj = objectives[index % len(objectives)]
        F = np.column_stack([rng.permutation(4096)[:rows] for _ in range(n_obj)]) / 1024.0
        yield _with_units(F, rows // 2, index, rng)


def fronts_of_cases(
    seed: int, count: int, rows: int = 40, objectives: tuple[int, ...] = (3, 2, 5), size: int = 6
) -> Iterator[Case]:
    """Yield random points of one front: on the unit sphere, multiples of 2**-20, no two values equal.

    With so few survivors every one is the nearest to a reference line of its own, so that NSGA-III draws
    nothing but the order of the niches.

    Parameters
    ----------
    seed : int
        Seed of the numbers.
    count : int
        Number of cases.
    rows : int
        Points of a case.
    objectives : tuple of int
        Numbers of objectives, in turn.
    size : int
        Survivors.

    Yields
    ------
    Case
        With shifts and factors that are not the same for all objectives.
    """
    for index in range(count):
        rng = generator(seed, "verify.conformance.front", index)
        n_obj = objectives[index % len(objectives)]
        F = np.zeros((rows, n_obj))
        while any(len(np.unique(column)) < rows for column in F.T):
            points = 0.02 + 0.98 * rng.random((rows, n_obj)) ** 2
            F = np.rint(points / np.sqrt((points**2).sum(axis=1, keepdims=True)) * 2.0**20) / 2.0**20
        yield _with_units(F, size, index, rng)


def _with_units(F: Array, size: int, index: int, rng: np.random.Generator) -> Case:
    n_obj = F.shape[1]
    shift = np.array(_SHIFTS)[rng.permutation(len(_SHIFTS))[:n_obj]]
    exponents = np.array(_EXPONENTS)[rng.permutation(len(_EXPONENTS))[:n_obj]]
    return Case(F, size, shift, 2.0**exponents, seed=index)


def shrink(case: Case, fails: Callable[[Case], bool]) -> Case:
    """Make a case smaller as long as it fails: fewer rows and objectives, less to do, rounder numbers.

    Parameters
    ----------
    case : Case
        A case that fails.
    fails : callable
        Says whether a case fails.

    Returns
    -------
    Case
        A case that fails, of which no simpler version that was tried does.
    """
    tried, found = 0, True
    while found and tried < MOST_STEPS:
        found = False
        for smaller in _smaller(case):
            tried += 1
            if fails(smaller):
                case, found = smaller, True
                break
            if tried >= MOST_STEPS:
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    rows, n_obj = case.F.shape
    part = rows // 2
    while part >= 1:
        for start in range(0, rows, part):
            left = np.delete(np.arange(rows), slice(start, start + part))
            if len(left) > 0:
                yield case.take(left)
        part //= 2
    for column in range(n_obj):
        if n_obj > 1:
            yield case.take_objectives(np.delete(np.arange(n_obj), column))
    for size in {1, case.size // 2, case.size - 1}:
        if 1 <= size < case.size:
            yield replace(case, size=size)
    if case.shift.any():
        for column in np.flatnonzero(case.shift).tolist():
            yield replace(case, shift=_with(case.shift, column, 0.0))
            if case.shift[column] != 1.0:
                yield replace(case, shift=_with(case.shift, column, 1.0))
    for column in np.flatnonzero(case.factors != 1.0).tolist():
        yield replace(case, factors=_with(case.factors, column, 1.0))
        half = 2.0 ** np.trunc(np.log2(case.factors[column]) / 2)
        if half != 1.0:
            yield replace(case, factors=_with(case.factors, column, half))
    for F in _rounder(case.F):
        if not np.array_equal(F, case.F, equal_nan=True):
            yield replace(case, F=F)


def _with(values: Array, index: Any, value: float) -> Array:
    values = values.copy()
    values[index] = value
    return values


def _rounder(F: Array) -> Iterator[Array]:
    finite = np.isfinite(F)
    ranks = F.copy()
    for column in range(F.shape[1]):
        kept = finite[:, column]
        ranks[kept, column] = np.unique(F[kept, column], return_inverse=True)[1]
    # Whole numbers in the same order, and only where that changes something, or it would go on for ever.
    yield ranks
    for digits in (0, 1, 2):
        yield np.where(finite, np.round(F, digits), F)
