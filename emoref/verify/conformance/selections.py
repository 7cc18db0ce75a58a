"""Properties of an environmental selection beside the invariances: failures, constraints, who is kept."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from emoref import emo
from emoref.seeding import generator
from emoref.verify.conformance.cases import Case, fronts_of_cases, mixed_cases
from emoref.verify.conformance.check import Function, Property, Violation
from emoref.verify.conformance.steps import FAILED, RANDOM, evaluate
from emoref_kernels.reference import pareto as reference

__all__ = ["PROPERTIES"]


def _failed_rows_change_nothing(function: Function, case: Case) -> None:
    good = np.isfinite(case.F).all(axis=1)
    if good.sum() < case.size:
        return
    survivors = evaluate("select", function, case, case.F)
    if survivors[~good].any():
        raise Violation(f"{np.flatnonzero(survivors).tolist()} survive; one of them is not finite")
    alone = evaluate("select", function, case, case.F[good])
    if not np.array_equal(survivors[good], alone):
        rows = np.flatnonzero(good)
        kept, right = np.flatnonzero(survivors).tolist(), rows[alone].tolist()
        raise Violation(f"{kept} survive; without the rows that are not finite, {right}")


def _with_violations(seed: int) -> Iterator[Case]:
    yield Case.of([[1, 1], [0, 0], [2, 0.5], [0.5, 0.5]], size=2, violation=[0, 3, 0, 1])
    yield Case.of([[1, 1], [0, 0], [2, 0.5], [0.5, 0.5]], size=3, violation=[0, 3, 0, 1])
    yield Case.of([[3, 1], [2, 2], [1, 3], [0, 0]], size=2, violation=[4, 1, 2, 3])
    for index, case in enumerate(mixed_cases(seed, RANDOM)):
        rng = generator(seed, "verify.conformance.violation", index)
        violation = rng.permutation(len(case.F)).astype(np.float64)
        yield replace(case, violation=np.where(violation < 10 * (index % 3), 0.0, violation))


def _feasible_first(function: Function, case: Case) -> None:
    violation = case.violation
    assert violation is not None
    survivors = evaluate("select", function, case, case.F)
    kept, lost = violation[survivors], violation[~survivors]
    if len(lost) and kept.max() > lost.min():
        raise Violation(
            f"{np.flatnonzero(survivors).tolist()} survive, one of them with violation {kept.max():g}; "
            f"one with {lost.min():g} is lost"
        )


def _curves(seed: int) -> Iterator[Case]:
    return (replace(case, size=20) for case in fronts_of_cases(seed, RANDOM, objectives=(2,)))


def _least_crowded(function: Function, case: Case) -> None:
    distances = reference.crowding_distance(case.F)
    order = np.argsort(-distances, kind="stable")
    if not case.size < len(order) or distances[order[case.size - 1]] == distances[order[case.size]]:
        return
    if reference.nondominated_ranks(case.F).any():
        return
    survivors = evaluate("select", function, case, case.F)
    if not survivors[order[: case.size]].all():
        lost = [int(row) for row in order[: case.size] if not survivors[row]]
        raise Violation(f"{lost} are lost, though less crowded than others that survive")


_HAND: list[list[float]] = [[0, 8], [8, 0], [3, 6], [4, 5], [6, 3.5], [9, 9]]


def _by_hand(function: Function, case: Case) -> None:
    if not np.array_equal(case.F, _HAND) or case.size != 3:
        return
    survivors = evaluate("select", function, case, case.F, emo.das_dennis(2, 2))
    if np.flatnonzero(survivors).tolist() != [0, 1, 3]:
        raise Violation(f"{np.flatnonzero(survivors).tolist()} survive instead of [0, 1, 3]")


PROPERTIES: tuple[Property, ...] = (
    *(
        Property(
            "select", f"{value} survives last and changes nothing else", cases, _failed_rows_change_nothing
        )
        for value, cases in FAILED.items()
    ),
    Property("select", "feasible ones first, then the smallest violation", _with_violations, _feasible_first),
    Property("select", "the least crowded of the front that is cut", _curves, _least_crowded, of="NSGA-II"),
    Property("select", "known survivors", lambda seed: iter([Case.of(_HAND, 3)]), _by_hand, of="NSGA-III"),
)
"""Properties of selections."""
