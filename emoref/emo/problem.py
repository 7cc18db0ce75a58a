"""What an optimisation problem is, and the checks at the border to code that is not ours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from emoref.errors import EmorefError, ProblemError, ShapeError

__all__ = ["KINDS", "Evaluated", "FunctionProblem", "Problem", "Variables", "check_values", "evaluate"]

KINDS = ("real", "integer", "binary")
"""Kinds of variables."""


@runtime_checkable
class Problem(Protocol):
    """A problem to be minimised; any object with these attributes will do.

    Attributes
    ----------
    n_var, n_obj : int
        Numbers of variables and of objectives, both at least 1.
    lower, upper : float or array of shape (n_var,)
        Bounds, both included. Ignored for binary variables.
    kind : str or sequence of str, optional
        ``"real"`` (the default if the attribute is absent), ``"integer"`` or ``"binary"``; one for all
        variables or one for each.
    """

    n_var: int
    n_obj: int
    lower: Any
    upper: Any

    def evaluate(self, X: NDArray[Any]) -> Any:
        """Return objective values F (N, n_obj), or (F, G) with constraints G (N, n_constraints).

        ``X`` holds one candidate a row: bool if all variables are binary, int64 if none is real, float64
        otherwise. ``G <= 0`` means feasible.
        """
        ...


@dataclass(frozen=True, eq=False)
class Variables:
    """The search space of a problem, checked.

    Parameters
    ----------
    lower, upper
        Bounds (n_var,), both included.
    kinds
        Kind of each variable.
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    kinds: tuple[str, ...]

    @classmethod
    def of(cls, problem: Problem) -> "Variables":
        """Read and check the variables of a problem.

        Raises
        ------
        ProblemError
            If there is no variable or no objective, a kind is unknown, or bounds are missing, infinite,
            inverted, or not integers where the variable is.
        """
        n_var = _positive(problem, "n_var")
        _positive(problem, "n_obj")
        kind = getattr(problem, "kind", "real")
        kinds = (kind,) * n_var if isinstance(kind, str) else tuple(kind)
        if len(kinds) != n_var or any(k not in KINDS for k in kinds):
            raise ProblemError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}, or {n_var} of them")
        lower, upper = (_bound(problem, name, n_var) for name in ("lower", "upper"))
        binary = np.array([k == "binary" for k in kinds])
        lower[binary], upper[binary] = 0.0, 1.0
        for i in range(n_var):
            if not (np.isfinite(lower[i]) and np.isfinite(upper[i]) and lower[i] <= upper[i]):
                raise ProblemError(
                    f"variable {i} has bounds [{lower[i]}, {upper[i]}]; use finite ones, the lower first"
                )
            if kinds[i] == "integer" and not (lower[i].is_integer() and upper[i].is_integer()):
                raise ProblemError(f"integer variable {i} has bounds [{lower[i]}, {upper[i]}]; use integers")
        return cls(lower, upper, kinds)

    @property
    def count(self) -> int:
        """Number of variables."""
        return len(self.kinds)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Type of a matrix of candidates: bool if all are binary, int64 if none is real, else float64."""
        present = set(self.kinds)
        if present == {"binary"}:
            return np.dtype(np.bool_)
        return np.dtype(np.float64 if "real" in present else np.int64)

    @cached_property
    def columns(self) -> dict[str, NDArray[np.int64]]:
        """Columns of each kind that occurs."""
        kinds = np.array(self.kinds)
        return {kind: np.flatnonzero(kinds == kind) for kind in KINDS if kind in self.kinds}

    @cached_property
    def widened(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Bounds in which each integer is the middle of an interval of length 1."""
        whole = 0.5 * np.array([kind != "real" for kind in self.kinds])
        return self.lower - whole, self.upper + whole

    def check(self, X: Any, source: str) -> NDArray[Any]:
        """Return candidates `X` made by someone else, `source` by name, as a matrix of our type.

        Raises
        ------
        ShapeError
            If there are not `count` columns.
        ProblemError
            If a value is no number, lies outside its bounds, or is no integer where it must be.
        """
        values = np.asarray(X)
        if values.ndim != 2 or values.shape[1] != self.count:
            raise ShapeError(f"{source} returned shape {values.shape}; it must be (rows, {self.count})")
        if values.dtype.kind not in "fiub":
            raise ProblemError(f"{source} returned {values.dtype}; candidates must be numbers")
        wrong = ~((values >= self.lower) & (values <= self.upper))
        whole = [i for kind, columns in self.columns.items() if kind != "real" for i in columns]
        if values.dtype.kind == "f" and whole:
            wrong[:, whole] |= values[:, whole] != np.rint(values[:, whole])
        if wrong.any():
            row, i = np.argwhere(wrong)[0]
            raise ProblemError(
                f"{source} returned {values[row, i]} for {self.kinds[i]} variable {i}; "
                f"its bounds are [{self.lower[i]}, {self.upper[i]}]"
            )
        return values.astype(self.dtype)


def _positive(problem: Problem, name: str) -> int:
    value = getattr(problem, name, None)
    if not isinstance(value, int | np.integer) or value < 1:
        raise ProblemError(f"the problem's {name} is {value!r}; it must be an integer of at least 1")
    return int(value)


def _bound(problem: Problem, name: str, n_var: int) -> NDArray[np.float64]:
    value = getattr(problem, name, None)
    try:
        return np.broadcast_to(np.asarray(value, dtype=np.float64), (n_var,)).copy()
    except (TypeError, ValueError):
        raise ProblemError(f"the problem's {name} bound must be a number or {n_var} of them") from None


@dataclass(frozen=True)
class Evaluated:
    """Objective values ``F`` (N, M) and constraint values ``G`` (N, K), both float64; K may be 0."""

    F: NDArray[np.float64]
    G: NDArray[np.float64]


def check_values(F: Any, G: Any, rows: int, n_obj: int) -> Evaluated:
    """Check objective and constraint values that an evaluation returned.

    Parameters
    ----------
    F
        Objective values (rows, n_obj). NaN and infinities are allowed: they mean a failed evaluation.
    G
        Constraint values (rows, K), or None for no constraint.
    rows
        Number of candidates that were evaluated.
    n_obj
        Number of objectives.

    Raises
    ------
    ProblemError
        If a value is not a real number.
    ShapeError
        If a shape is wrong.
    """
    values = _matrix(F, "F")
    if values.shape != (rows, n_obj):
        raise ShapeError(f"F has shape {values.shape}; for {rows} candidates it must be {(rows, n_obj)}")
    if G is None:
        return Evaluated(values, np.empty((rows, 0)))
    constraints = _matrix(G, "G")
    if constraints.ndim != 2 or len(constraints) != rows:
        raise ShapeError(
            f"G has shape {constraints.shape}; for {rows} candidates it must be ({rows}, constraints)"
        )
    return Evaluated(values, constraints)


def _matrix(values: Any, name: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values)
    except ValueError:
        raise ShapeError(f"{name} has rows of different lengths") from None
    if array.dtype.kind not in "fiub":
        raise ProblemError(f"{name} is {array.dtype}; objectives and constraints must be real numbers")
    return array.astype(np.float64)


def evaluate(problem: Problem, X: NDArray[Any]) -> Evaluated:
    """Evaluate candidates and check what came back.

    Parameters
    ----------
    problem
        The problem.
    X
        Candidates (N, n_var), N >= 1. The problem gets a copy.

    Raises
    ------
    ProblemError, ShapeError
        If the problem returns anything but F or (F, G) of the right shapes, or something not numeric.
    """
    returned = problem.evaluate(X.copy())
    F, G = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    try:
        return check_values(F, G, len(X), problem.n_obj)
    except EmorefError as error:
        raise type(error)(f"{type(problem).__name__}.evaluate: {error}") from None


class FunctionProblem:
    """A problem made of a function.

    Parameters
    ----------
    function
        Takes X (N, n_var) and returns F or (F, G); with ``rowwise=True`` takes one row and returns its
        objectives, or a tuple (objectives, constraints).
    n_var, n_obj
        Numbers of variables and objectives.
    lower, upper
        Bounds: a number for all, or one for each variable.
    kind
        ``"real"``, ``"integer"`` or ``"binary"``, for all variables or one for each.
    rowwise
        Whether the function takes one candidate at a time.

    Examples
    --------
    >>> schaffer = FunctionProblem(lambda x: [x[0]**2, (x[0] - 2)**2], n_var=1, n_obj=2,
    ...                            lower=-10, upper=10, rowwise=True)
    >>> schaffer.evaluate(np.array([[1.0], [2.0]]))
    array([[1., 1.],
           [4., 0.]])
    """

    def __init__(
        self,
        function: Callable[[NDArray[Any]], Any],
        n_var: int,
        n_obj: int,
        lower: float | Sequence[float] | NDArray[Any] = 0.0,
        upper: float | Sequence[float] | NDArray[Any] = 1.0,
        kind: str | Sequence[str] = "real",
        rowwise: bool = False,
    ) -> None:
        self.function = function
        self.n_var = n_var
        self.n_obj = n_obj
        self.lower = lower
        self.upper = upper
        self.kind = kind
        self.rowwise = rowwise
        Variables.of(self)

    def evaluate(self, X: NDArray[Any]) -> Any:
        """Return what the function makes of `X`: F, or (F, G)."""
        if not self.rowwise:
            return self.function(X)
        rows = [self.function(x) for x in X]
        if rows and isinstance(rows[0], tuple):
            return np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
        return np.array(rows)
