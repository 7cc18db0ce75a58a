"""Properties of single steps: sorting, crowding, normalisation, niches; and invariances of all steps."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref import emo
from emoref.verify.conformance.cases import Case, fronts_of_cases, mixed_cases
from emoref.verify.conformance.check import Function, Property, Violation
from emoref.verify.conformance.protocol import reference_points
from emoref_kernels.reference import pareto as reference

__all__ = ["FAILED", "PROPERTIES", "evaluate", "leaves_warnings_on"]

Array = NDArray[Any]

RANDOM = 20
"""Number of random cases of a property."""


# ------------------------------------------------------------------------- calling, and what is a result


def evaluate(step: str, function: Function, case: Case, F: Array, W: Array | None = None) -> Array:
    """Call a function and bring its result into rows.

    Parameters
    ----------
    step : str
        Field of `Library` that the function is of.
    function : callable
        The function.
    case : Case
        Gives size, violation and seed of a selection.
    F : ndarray
        Objective values (N, M), copied before they are handed out.
    W : ndarray, optional
        Reference points (H, M); those of the kit unless given.

    Returns
    -------
    ndarray
        Ranks, distances or niches (N,), normalised values (N, M), or for a selection who survives, bool (N,).

    Raises
    ------
    Violation
        If the result has another shape, or the survivors are not `case.size` different rows.
    """
    W = reference_points(F.shape[1]) if W is None else W
    if step == "select":
        return _survivors(function, case, F, W)
    arguments = (F.copy(), W.copy()) if step == "niches" else (F.copy(),)
    result = np.asarray(function(*arguments))
    wanted = F.shape if step == "normalise" else F.shape[:1]
    if result.shape != wanted:
        raise Violation(f"the result has shape {result.shape} instead of {wanted}")
    return result


def _survivors(function: Function, case: Case, F: Array, W: Array) -> NDArray[np.bool_]:
    G = None if case.violation is None else case.violation[:, None].copy()
    rows = np.asarray(function(F.copy(), case.size, W.copy(), G, case.seed))
    size = min(case.size, len(F))
    if rows.shape != (size,) or (size and not ((rows >= 0) & (rows < len(F))).all()):
        raise Violation(f"{size} of {len(F)} rows should survive; returned {_brief(rows)}")
    if len(np.unique(rows)) < size:
        raise Violation(f"a row survives twice: {_brief(rows)}")
    mask = np.zeros(len(F), dtype=np.bool_)
    mask[rows.astype(np.int64)] = True
    return mask


def _brief(values: Array) -> str:
    if values.dtype == np.bool_:
        values = np.flatnonzero(values)
    if values.size > 24:
        return f"{values.size} values"
    return str(np.round(values, 6).tolist() if values.dtype.kind == "f" else values.tolist())


def _same(step: str, a: Array, b: Array) -> bool:
    if step in ("crowd", "normalise"):
        return bool(np.allclose(a, b, rtol=1e-9, atol=1e-12))
    return np.array_equal(a, b)


def _require_same(step: str, before: Array, after: Array, change: str) -> None:
    if _same(step, before, after):
        return
    if len(before) > 12:
        differ = (before != after) if before.ndim == 1 else (before != after).any(axis=1)
        raise Violation(f"{change}, the result changes in {int(differ.sum())} of {len(before)} rows")
    raise Violation(f"{change}, {_brief(before)} becomes {_brief(after)}")


# -------------------------------------------------------------------------------------------- invariances


def _translation(step: str, function: Function, case: Case) -> None:
    before, after = (evaluate(step, function, case, F) for F in (case.F, case.F + case.shift))
    _require_same(step, before, after, f"with {_brief(case.shift)} added")


def _scaling(step: str, function: Function, case: Case) -> None:
    before, after = (evaluate(step, function, case, F) for F in (case.F, case.F * case.factors))
    _require_same(step, before, after, f"multiplied by {[float(f'{f:.3g}') for f in case.factors]}")


def _objective_order(step: str, function: Function, case: Case) -> None:
    W = reference_points(case.F.shape[1])
    before = evaluate(step, function, case, case.F, W)
    after = evaluate(step, function, case, case.F[:, ::-1].copy(), W[:, ::-1].copy())
    _require_same(step, before, after[:, ::-1] if step == "normalise" else after, "with objectives reversed")


def _row_order(step: str, function: Function, case: Case) -> None:
    before = evaluate(step, function, case, case.F)
    after = evaluate(step, function, case, case.F[::-1].copy())[::-1]
    _require_same(step, before, after, "with rows reversed")


def _input_unchanged(step: str, function: Function, case: Case) -> None:
    F, W = case.F.copy(), reference_points(case.F.shape[1])
    arrays = {"normalise": (F,), "niches": (F, W), "select": (F, case.size, W, None, case.seed)}
    arguments: tuple[Any, ...] = arrays.get(step, (F,))
    function(*arguments)
    if not np.array_equal(F, case.F) or not np.array_equal(W, reference_points(F.shape[1])):
        raise Violation("the arrays handed in are changed")


def _warnings_stay(step: str, function: Function, case: Case) -> None:
    leaves_warnings_on(lambda: evaluate(step, function, case, case.F))


def leaves_warnings_on(work: Callable[[], Any]) -> None:
    """Do `work` and look whether Python's warnings are filtered as before.

    Raises
    ------
    Violation
        If not.
    """
    with warnings.catch_warnings(record=True):
        warnings.resetwarnings()
        work()
        if warnings.filters:
            raise Violation(f"puts the filter {warnings.filters[0][0]!r} on all of Python's warnings")


def _same_twice(step: str, function: Function, case: Case) -> None:
    first, second = (evaluate(step, function, case, case.F) for _ in range(2))
    _require_same(step, first, second, "called again with the same seed")


# ------------------------------------------------------------------------------------------ special cases

SPECIAL: dict[str, tuple[Any, ...]] = {
    "one and two points": ([[1, 2]], [[1, 2, 3]], [[0, 1], [1, 0]], [[0, 0], [1, 1]], [[1, 1], [1, 1]]),
    "duplicates": (
        [[0, 1], [0, 1], [1, 0], [1, 0]],
        [[2, 3]] * 5,
        [[0, 2], [1, 1], [2, 0], [0, 2], [1, 1], [2, 0], [3, 3], [3, 3]],
        [[0, 1, 1], [0, 1, 1], [1, 0, 0], [1, 0, 0], [0, 0, 2]],
    ),
    "a constant objective": (
        [[0, 5], [1, 5], [2, 5]],
        [[0, 2, 7], [1, 1, 7], [2, 0, 7], [2, 2, 7]],
        [[5, 5], [5, 5], [5, 5]],
        [[0, 3, 0], [1, 2, 0], [2, 1, 0], [3, 0, 0], [4, 4, 0]],
    ),
    "one objective": ([[3], [1], [2]], [[1], [1], [0], [2]], [[4]]),
    "one point extreme in two objectives": (
        [[0, 0, 3], [0, 1, 0], [1, 2, 4], [2, 1, 5]],
        [[0, 4, 3], [4, 0, 4], [1, 1, 1], [5, 5, 5]],
        [[0, 0, 1], [1, 1, 0], [2, 2, 2]],
    ),
}
"""Small cases that libraries are known to have stumbled over."""


def _special(name: str, seed: int) -> Iterator[Case]:
    return (Case.of(F) for F in SPECIAL[name])


def _valid(step: str, function: Function, case: Case) -> None:
    """Check what must be true of every result."""
    result = evaluate(step, function, case, case.F)
    if step == "sort":
        _as_defined(function, case)
    elif step == "crowd" and not (result >= 0).all():
        raise Violation(f"distances {_brief(result)}; they must be numbers of at least 0")
    elif step == "normalise" and not np.isfinite(result).all():
        raise Violation(f"normalised to {_brief(result)}")
    elif step == "niches" and not ((result >= 0) & (result < len(reference_points(case.F.shape[1])))).all():
        raise Violation(f"niches {_brief(result)}")
    elif step == "select":
        ranks = reference.nondominated_ranks(case.F)
        lost = ranks[~result]
        if len(lost) and ranks[result].max() > lost.min():
            raise Violation(
                f"{_brief(result)} survive, of ranks {_brief(ranks[result])}; {lost.min()} is lost"
            )


NOT_BY_RANK = ("theta-DEA", "SparseEA")
"""Selections that do not take whole Pareto fronts: by theta-dominance, or with copies counted once."""


# ------------------------------------------------------------------------------------- sorting, crowding


def with_failed_rows(value: float, seed: int) -> Iterator[Case]:
    """Yield random cases into which rows are put that are not finite.

    Parameters
    ----------
    value : float
        NaN, or infinity, which then occurs with either sign.
    seed : int
        Seed of the numbers.

    Yields
    ------
    Case
        The first is small.
    """
    yield Case.of([[0, 1], [1, 0], [value, 0.5], [2, 2]], size=2)
    for case in mixed_cases(seed, RANDOM):
        failed = np.full((4, case.F.shape[1]), 0.25)
        failed[0, 0], failed[1, -1], failed[2], failed[3] = value, value, value, -value
        F = np.insert(case.F, [0, 5, 11, len(case.F)], failed, axis=0)
        yield Case.of(F, case.size)


FAILED = {
    "NaN": partial(with_failed_rows, float("nan")),
    "infinity": partial(with_failed_rows, float("inf")),
}
"""Cases with rows that are not finite, by what is in them."""


def _failed_rows_last(function: Function, case: Case) -> None:
    good = np.isfinite(case.F).all(axis=1)
    if not good.any():
        return
    ranks = evaluate("sort", function, case, case.F)
    right = reference.nondominated_ranks(case.F[good])
    if not np.array_equal(ranks[good], right):
        raise Violation(f"ranks {_brief(ranks)}; without the rows that are not finite, {_brief(right)}")
    if not good.all() and ranks[~good].min() <= right.max():
        raise Violation(f"ranks {_brief(ranks)}; rows that are not finite must be last")


def _as_defined(function: Function, case: Case) -> None:
    ranks, right = evaluate("sort", function, case, case.F), reference.nondominated_ranks(case.F)
    if not np.array_equal(ranks, right):
        raise Violation(f"ranks {_brief(ranks)} instead of {_brief(right)}")


def _known(rows: Sequence[tuple[Any, Any]], seed: int) -> Iterator[Case]:
    return (Case.of(F) for F, _ in rows)


def _known_ranks(function: Function, case: Case) -> None:
    _as_defined(function, case)


SORTING_TABLE: tuple[tuple[Any, Any], ...] = (
    # By hand: docs/nsga2.md.
    ([[1, 9], [2, 7], [5, 4], [8, 2], [9, 1], [3, 8], [6, 6], [9, 9]], [0, 0, 0, 0, 0, 1, 1, 2]),
    # The example of pagmo's documentation of fast_non_dominated_sorting.
    (
        [[0, 7], [1, 5], [2, 3], [4, 2], [7, 1], [10, 0], [2, 6], [4, 4], [10, 2], [6, 6], [9, 5]],
        [0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2],
    ),
    # A chain, equal points, and weak dominance: (0, 1) dominates (0, 2), (1, 1) does not dominate itself.
    ([[3, 3], [2, 2], [1, 1], [0, 0]], [3, 2, 1, 0]),
    ([[1, 1], [1, 1], [0, 2], [0, 1]], [1, 1, 1, 0]),
    ([[0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 2]], [0, 0, 0, 1, 1]),
)
"""Points and their ranks."""

_INF = float("inf")
CROWDING_TABLE: tuple[tuple[Any, Any], ...] = (
    # By hand: docs/nsga2.md.
    ([[1, 9], [2, 7], [5, 4], [8, 2], [9, 1]], [_INF, 1.125, 1.375, 0.875, _INF]),
    # Three objectives; the range of each is 4. Only the point in the middle is no end.
    (
        [[0, 4, 1], [4, 0, 2], [2, 2, 0], [1, 3, 4], [3, 1, 1.5]],
        [_INF, _INF, _INF, _INF, 2.0 / 4 + 2.0 / 4 + 1.0 / 4],
    ),
)
"""Points of one front and their distances, both ends of each objective infinite."""


def _table_check(step: str, table: Sequence[tuple[Any, Any]], function: Function, case: Case) -> None:
    right = next((np.array(r) for F, r in table if np.array_equal(np.array(F, float), case.F)), None)
    if right is None:  # a version that shrinking made
        return
    found = evaluate(step, function, case, case.F)
    if not (_proportional(found, right) if step == "crowd" else np.array_equal(found, right)):
        raise Violation(f"{_brief(found)} instead of {_brief(right)}")


def _proportional(a: Array, b: Array) -> bool:
    """Return whether two arrays are infinite in the same places and elsewhere equal up to one factor."""
    finite = np.isfinite(b)
    if not np.array_equal(np.isposinf(a), np.isposinf(b)):
        return False
    positive = finite & (b > 0)
    factor = a[positive][0] / b[positive][0] if positive.any() else 1.0
    return bool(np.allclose(a[finite], factor * b[finite], rtol=1e-9, atol=1e-12))


def _crowding_as_defined(function: Function, case: Case) -> None:
    found, right = evaluate("crowd", function, case, case.F), reference.crowding_distance(case.F)
    if not _proportional(found, right):
        raise Violation(f"{_brief(found)} instead of {_brief(right)}, up to one factor")


# --------------------------------------------------------------------------------- normalisation, niches

_CORNERS: list[list[float]] = [[5, 2], [1, 10], [2, 4], [3, 6]]
_CORNERS_NORMALISED: list[list[float]] = [[1, 0], [0, 1], [0.25, 0.25], [0.5, 0.5]]


def _known_normalisation(function: Function, case: Case) -> None:
    if not np.array_equal(case.F, _CORNERS):
        return
    found = evaluate("normalise", function, case, case.F)
    if not np.allclose(found, _CORNERS_NORMALISED, atol=1e-9):
        raise Violation(f"{_brief(found)} instead of {_CORNERS_NORMALISED}")


_NICHES_F: list[list[float]] = [[1, 9], [9, 1], [4, 7], [5, 6], [7, 4.5]]
_NICHES = [0, 2, 1, 1, 1]


def _known_niches(function: Function, case: Case) -> None:
    if not np.array_equal(case.F, _NICHES_F):
        return
    found = evaluate("niches", function, case, case.F, emo.das_dennis(2, 2))
    if not np.array_equal(found, _NICHES):
        raise Violation(f"{_brief(found)} instead of {_NICHES}, for 3 reference points")


# ------------------------------------------------------------------------------------------- the list

Cases = Callable[[int], Iterator[Case]]


def _mixed(seed: int) -> Iterator[Case]:
    return mixed_cases(seed, RANDOM)


def _both(seed: int) -> Iterator[Case]:
    for front, mixed in zip(_one_front(seed), _mixed(seed), strict=True):
        yield from (front, mixed)


def _one_front(seed: int) -> Iterator[Case]:
    return fronts_of_cases(seed, RANDOM)


def _one_curve(seed: int) -> Iterator[Case]:
    return fronts_of_cases(seed, RANDOM, objectives=(2,))


def _cases_of(step: str) -> Cases:
    return _mixed if step in ("sort", "select") else _one_front


def _invariances(step: str) -> Iterator[Property]:
    yield Property(step, "translation changes nothing", _cases_of(step), partial(_translation, step))
    yield Property(
        step, "units change nothing", _both if step != "crowd" else _one_front, partial(_scaling, step)
    )
    # On one front NSGA-III draws nothing but the order of the niches, which keep theirs.
    front = _one_front if step == "select" else _cases_of(step)
    yield Property(step, "order of objectives changes nothing", front, partial(_objective_order, step))
    # With more than two objectives, NSGA-II has too many infinite distances to choose among without ties.
    rows = _one_curve if step == "select" else _one_front
    yield Property(step, "order of rows changes nothing", rows, partial(_row_order, step))
    yield Property(step, "input is left as it is", _cases_of(step), partial(_input_unchanged, step))
    for name in SPECIAL:
        yield Property(step, name, partial(_special, name), partial(_valid, step), unless=NOT_BY_RANK)


def _as_many_as_asked(function: Function, case: Case) -> None:
    evaluate("select", function, case, case.F)


def _all_special(seed: int) -> Iterator[Case]:
    return (case for name in SPECIAL for case in _special(name, seed))


def _list() -> Iterator[Property]:
    yield Property("sort", "as defined", _mixed, _as_defined)
    yield Property(
        "sort", "known values", partial(_known, SORTING_TABLE), partial(_table_check, "sort", SORTING_TABLE)
    )
    for value, cases in FAILED.items():
        yield Property("sort", f"{value} ranks last and changes nothing else", cases, _failed_rows_last)
    yield Property("crowd", "as defined, both ends infinite", _one_front, _crowding_as_defined)
    crowding = partial(_table_check, "crowd", CROWDING_TABLE)
    yield Property("crowd", "known values", partial(_known, CROWDING_TABLE), crowding)
    yield Property("normalise", "known values", lambda seed: iter([Case.of(_CORNERS)]), _known_normalisation)
    yield Property("normalise", "Python's warnings stay on", _one_front, partial(_warnings_stay, "normalise"))
    yield Property("niches", "known values", lambda seed: iter([Case.of(_NICHES_F)]), _known_niches)
    for step in ("sort", "crowd", "normalise", "niches", "select"):
        yield from _invariances(step)
    yield Property("select", "whole fronts first", _mixed, partial(_valid, "select"), unless=NOT_BY_RANK)
    for name in NOT_BY_RANK:
        yield Property("select", "small and equal sets", _all_special, _as_many_as_asked, of=name)
    yield Property("select", "same seed, same survivors", _mixed, partial(_same_twice, "select"))
    yield Property("select", "Python's warnings stay on", _mixed, partial(_warnings_stay, "select"))


PROPERTIES: tuple[Property, ...] = tuple(_list())
"""Properties of the steps, and those that all of them share."""
