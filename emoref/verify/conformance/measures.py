"""Properties of hypervolume and distance indicators: closed forms, known values, invariances."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.verify.conformance.cases import Case, fronts_of_cases, mixed_cases
from emoref.verify.conformance.check import Function, Property, Violation

__all__ = ["PROPERTIES"]

Array = NDArray[Any]

_TOLERANCE = 1e-9


def _close(found: float, right: float, what: str = "") -> None:
    if not np.isfinite(found) or abs(found - right) > _TOLERANCE * max(1.0, abs(right)):
        raise Violation(f"{found:.12g} instead of {right:.12g}{what}")


def _reference(case: Case) -> Array:
    """Return a reference point beyond all points."""
    return np.floor(case.F.max(axis=0)) + 1.0


# ----------------------------------------------------------------------------------- hypervolume: values

HYPERVOLUMES: tuple[tuple[Any, Any, float], ...] = (
    ([[1, 2]], [3, 4], 4.0),
    ([[1, 2, 3]], [2, 4, 6], 6.0),
    ([[0]], [2.5], 2.5),
    # moocore's example, and two boxes of which one is inside the other.
    ([[1, 0, 1], [0, 1, 0]], [2, 2, 2], 5.0),
    ([[1, 1], [2, 2]], [3, 3], 4.0),
    # A staircase: 1 x 1 + 1 x 2 + 1 x 3.
    ([[0, 2], [1, 1], [2, 0]], [3, 3], 6.0),
    # Equal points count once; a point at or beyond the reference counts nothing.
    ([[1, 1], [1, 1]], [2, 2], 1.0),
    ([[1, 1], [0, 2], [5, 0]], [2, 2], 1.0),
    ([[3, 3]], [2, 2], 0.0),
)
"""Points, reference point, volume; by hand."""


def _boxes(seed: int) -> Iterator[Case]:
    return (Case.of(F) for F, _, _ in HYPERVOLUMES)


def _known_volume(function: Function, case: Case) -> None:
    for F, reference, right in HYPERVOLUMES:
        if np.array_equal(np.array(F, dtype=np.float64), case.F):
            _close(
                float(function(case.F.copy(), np.array(reference, dtype=np.float64))),
                right,
                f", up to {reference}",
            )


def _small(seed: int) -> Iterator[Case]:
    for case in mixed_cases(seed, 12, rows=8, objectives=(2, 3, 4, 5)):
        yield case
    for case in fronts_of_cases(seed, 12, rows=8, objectives=(2, 3, 4, 6)):
        yield case


def _inclusion_exclusion(function: Function, case: Case) -> None:
    """Compare with the volume of a union of boxes, from the volumes of all their intersections."""
    reference = _reference(case)
    right = 0.0
    for chosen in range(1, 2 ** len(case.F)):
        rows = [i for i in range(len(case.F)) if chosen >> i & 1]
        sign = 1.0 if len(rows) % 2 else -1.0
        right += sign * float(np.prod(reference - case.F[rows].max(axis=0)))
    _close(float(function(case.F.copy(), reference.copy())), right)


def _volume_translation(function: Function, case: Case) -> None:
    reference = _reference(case)
    before = float(function(case.F.copy(), reference.copy()))
    _close(float(function(case.F + case.shift, reference + case.shift)), before, " after a translation")


def _volume_scaling(function: Function, case: Case) -> None:
    reference = _reference(case)
    before = float(function(case.F.copy(), reference.copy()))
    after = float(function(case.F * case.factors, reference * case.factors))
    _close(after / float(np.prod(case.factors)), before, " after a change of units")


def _volume_orders(function: Function, case: Case) -> None:
    reference = _reference(case)
    before = float(function(case.F.copy(), reference.copy()))
    _close(float(function(case.F[::-1].copy(), reference.copy())), before, " with rows reversed")
    after = float(function(case.F[:, ::-1].copy(), reference[::-1].copy()))
    _close(after, before, " with objectives reversed")


def _volume_dominated(function: Function, case: Case) -> None:
    reference = _reference(case)
    more = np.concatenate([case.F, case.F, np.minimum(case.F + 0.25, reference)])
    before = float(function(case.F.copy(), reference.copy()))
    _close(float(function(more, reference.copy())), before, " with equal and dominated points added")


def _volume_input(function: Function, case: Case) -> None:
    F, reference = case.F.copy(), _reference(case)
    function(F, reference)
    if not np.array_equal(F, case.F) or not np.array_equal(reference, _reference(case)):
        raise Violation("the arrays handed in are changed")


# --------------------------------------------------------------------------------------------- indicators


def _tenth_of_zdt1() -> tuple[Array, Array]:
    """Return the example of pymoo's documentation: every tenth of 100 points of ZDT1's front, times 1.1."""
    f1 = np.linspace(0.0, 1.0, 100)
    front = np.column_stack([f1, 1.0 - np.sqrt(f1)])
    return front[::10] * 1.1, front


_MOOCORE = np.array([[3.5, 5.5], [3.6, 4.1], [4.1, 3.2], [5.5, 1.5]])
_MOOCORE_FRONT = np.array([[1.0, 6.0], [2.0, 5.0], [3.0, 4.0], [4.0, 3.0], [5.0, 2.0], [6.0, 1.0]])

INDICATORS: dict[str, tuple[tuple[Any, Any, float], ...]] = {
    "GD": ((*_tenth_of_zdt1(), 0.05497689467314528), ([[0, 3], [4, 0]], [[0, 0]], 3.5)),
    "GD+": ((*_tenth_of_zdt1(), 0.05497689467314528),),
    "IGD": (
        (*_tenth_of_zdt1(), 0.06690908300327661),
        (_MOOCORE, _MOOCORE_FRONT, 1.0627908666722465),
        ([[0, 0]], [[0, 3], [4, 0]], 3.5),
    ),
    "IGD+": (
        (*_tenth_of_zdt1(), 0.06466828842775944),
        (_MOOCORE, _MOOCORE_FRONT, 0.9855036468106652),
        ([[0, 0]], [[0, 3], [4, 0]], 0.0),
    ),
}
"""Points, front and value; from the documentation of pymoo and moocore, and by hand."""


def _indicator_case(name: str, seed: int) -> Iterator["_Example"]:
    return (_Example(name, number) for number in range(len(INDICATORS[name])))


class _Example:
    """One known value of an indicator."""

    def __init__(self, name: str, number: int) -> None:
        F, front, self.right = INDICATORS[name][number]
        self.F, self.front = np.array(F, dtype=np.float64), np.array(front, dtype=np.float64)

    def __str__(self) -> str:
        return f"{len(self.F)} points, a front of {len(self.front)}"


def _known_indicator(function: Function, example: _Example) -> None:
    _close(float(function(example.F.copy(), example.front.copy())), example.right)


PROPERTIES: tuple[Property, ...] = (
    Property("hypervolume", "known values", _boxes, _known_volume),
    Property("hypervolume", "inclusion and exclusion", _small, _inclusion_exclusion),
    Property("hypervolume", "translation changes nothing", _small, _volume_translation),
    Property("hypervolume", "units multiply it", _small, _volume_scaling),
    Property("hypervolume", "orders change nothing", _small, _volume_orders),
    Property("hypervolume", "equal and dominated points change nothing", _small, _volume_dominated),
    Property("hypervolume", "input is left as it is", _small, _volume_input),
    *(
        Property("indicators", "known values", partial(_indicator_case, name), _known_indicator, of=name)
        for name in INDICATORS
    ),
)
"""Properties of measures."""
