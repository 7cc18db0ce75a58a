"""The ZDT test problems of two objectives: Zitzler, Deb, Thiele, Evol. Comput. 8(2), 2000.

All have f2 = g h, where g depends on x2, ..., xn alone and is smallest on the true front (1, but 10 for
ZDT5).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problems.base import Benchmark, whole
from emoref.emo.problems.curves import CurveFront, record_pieces
from emoref.emo.problems.fronts import Front, PointFront
from emoref.errors import ProblemError

__all__ = ["ZDT1", "ZDT2", "ZDT3", "ZDT4", "ZDT5", "ZDT6", "ZDTProblem"]

Array = NDArray[np.float64]


class ZDTProblem(Benchmark):
    """Base of the ZDT problems of real variables.

    Parameters
    ----------
    n_var
        Number of variables, at least 2; None for the published number.

    Raises
    ------
    ProblemError
        If there are fewer than two variables.
    """

    default_n_var = 30
    n_obj = 2

    def __init__(self, n_var: int | None = None) -> None:
        self.n_var = self.default_n_var if n_var is None else n_var
        if whole(type(self).__name__, "n_var", self.n_var, 0) < 2:
            raise ProblemError(f"{type(self).__name__} has {self.n_var} variables; it needs at least 2")
        self.lower = np.zeros(self.n_var)
        self.upper = np.ones(self.n_var)

    def f1(self, X: Array) -> Array:
        """Return the first objective (N,)."""
        return X[:, 0]

    def g(self, X: Array) -> Array:
        """Return the distance function (N,), 1 on the true front."""
        return 1.0 + 9.0 * X[:, 1:].mean(axis=1)

    def h(self, f1: Any, g: Any) -> Any:
        """Return the shape function f2 / g (N,)."""
        raise NotImplementedError

    def area(self, f1: Any) -> Any:
        """Return an antiderivative of the front, f2 as a function of f1."""
        raise NotImplementedError

    def pareto_front(self, count: int = 500) -> Array:
        """Return `count` points of the true front (count, 2), evenly spaced in the first objective."""
        return self.front(count)

    def pareto_set(self, position: Array) -> Array:
        """Return solutions with g = 1 (N, n_var) for values of x1, `position` (N, 1)."""
        return np.hstack([position, np.zeros((len(position), self.n_var - 1))])

    def _evaluate(self, X: Array) -> Array:
        f1, g = self.f1(X), self.g(X)
        return np.column_stack([f1, g * self.h(f1, g)])

    def _make_front(self) -> Front:
        return CurveFront(lambda f1: self.h(f1, 1.0), self.area, self._pieces())

    def _pieces(self) -> Array:
        return np.array([[0.0, 1.0]])


class ZDT1(ZDTProblem):
    """Convex front f2 = 1 - sqrt(f1)."""

    def h(self, f1: Any, g: Any) -> Any:
        """Return 1 - sqrt(f1 / g)."""
        return 1.0 - np.sqrt(f1 / g)

    def area(self, f1: Any) -> Any:
        """Return f1 - 2/3 f1**1.5."""
        return f1 - f1**1.5 / 1.5


class ZDT2(ZDTProblem):
    """Concave front f2 = 1 - f1**2."""

    def h(self, f1: Any, g: Any) -> Any:
        """Return 1 - (f1 / g)**2."""
        return 1.0 - (f1 / g) ** 2

    def area(self, f1: Any) -> Any:
        """Return f1 - f1**3 / 3."""
        return f1 - f1**3 / 3.0


class ZDT3(ZDTProblem):
    """Front of five separate pieces."""

    def h(self, f1: Any, g: Any) -> Any:
        """Return 1 - sqrt(f1 / g) - (f1 / g) sin(10 pi f1)."""
        return 1.0 - np.sqrt(f1 / g) - f1 / g * np.sin(10.0 * np.pi * f1)

    def area(self, f1: Any) -> Any:
        """Return f1 - 2/3 f1**1.5 + f1 cos(t) / (10 pi) - sin(t) / (10 pi)**2 with t = 10 pi f1."""
        w = 10.0 * np.pi
        return f1 - f1**1.5 / 1.5 + f1 * np.cos(w * f1) / w - np.sin(w * f1) / w**2

    def front_pieces(self) -> Array:
        """Return the intervals of f1 that make up the true front, (5, 2); see `record_pieces`."""

        def slope(f1: Any) -> Any:
            phase = 10.0 * np.pi * f1
            return -0.5 / np.sqrt(f1) - np.sin(phase) - phase * np.cos(phase)

        return record_pieces(lambda f1: self.h(f1, 1.0), slope, 0.0, 1.0)

    def _pieces(self) -> Array:
        return self.front_pieces()


class ZDT4(ZDTProblem):
    """Front of ZDT1 behind 21**9 local ones; x2, ..., xn in [-5, 5]."""

    default_n_var = 10

    def __init__(self, n_var: int | None = None) -> None:
        super().__init__(n_var)
        self.lower[1:], self.upper[1:] = -5.0, 5.0

    def g(self, X: Array) -> Array:
        """Return 1 + 10 (n - 1) + sum of x**2 - 10 cos(4 pi x) for each row of X."""
        rest = X[:, 1:]
        return 1.0 + 10.0 * rest.shape[1] + (rest**2 - 10.0 * np.cos(4.0 * np.pi * rest)).sum(axis=1)

    def h(self, f1: Any, g: Any) -> Any:
        """Return 1 - sqrt(f1 / g)."""
        return 1.0 - np.sqrt(f1 / g)

    def area(self, f1: Any) -> Any:
        """Return f1 - 2/3 f1**1.5."""
        return f1 - f1**1.5 / 1.5


class ZDT5(Benchmark):
    """Bit strings that deceive: f1 = 1 + number of ones in the first, f2 = g / f1.

    Of the other strings, each adds 2 + u to g if u < 5 of its bits are ones, but 1 if all five are; so a
    string looks better the fewer ones it has, and is best with all. The true front is f1 = 1, ..., 31 and
    f2 = 10 / f1.

    Parameters
    ----------
    n_strings
        Number of strings, at least 2; the first has 30 bits and the others 5. Published: 11.

    Notes
    -----
    Objectives are those of the paper. pymoo normalises them unless told ``normalize=False``, and gives as
    the true front points between the 31 that exist.
    """

    n_obj = 2
    kind = "binary"
    head_bits = 30
    bits = 5

    def __init__(self, n_strings: int = 11) -> None:
        self.n_strings = whole(type(self).__name__, "n_strings", n_strings, 2)
        self.n_var = self.head_bits + self.bits * (n_strings - 1)
        self.lower = np.zeros(self.n_var)
        self.upper = np.ones(self.n_var)

    def g(self, X: NDArray[np.bool_]) -> Array:
        """Return the sum of v(u) over all strings but the first, for each row of bits `X`."""
        ones = X[:, self.head_bits :].reshape(len(X), self.n_strings - 1, self.bits).sum(axis=2)
        return np.where(ones < self.bits, 2.0 + ones, 1.0).sum(axis=1)

    def pareto_set(self) -> NDArray[np.bool_]:
        """Return a solution for each point of the true front, (31, n_var)."""
        X = np.ones((self.head_bits + 1, self.n_var), dtype=np.bool_)
        X[:, : self.head_bits] = np.tri(self.head_bits + 1, self.head_bits, -1, dtype=np.bool_)
        return X

    def _evaluate(self, X: NDArray[np.bool_]) -> Array:
        f1 = 1.0 + X[:, : self.head_bits].sum(axis=1)
        return np.column_stack([f1, self.g(X) / f1])

    def _make_front(self) -> Front:
        return PointFront(self._evaluate(self.pareto_set()))


class ZDT6(ZDTProblem):
    """Concave front that is thinly covered, from f1 = 0.2807753 to 1."""

    default_n_var = 10

    def f1(self, X: Array) -> Array:
        """Return 1 - exp(-4 x1) sin(6 pi x1)**6 for each row of X."""
        return 1.0 - np.exp(-4.0 * X[:, 0]) * np.sin(6.0 * np.pi * X[:, 0]) ** 6

    def g(self, X: Array) -> Array:
        """Return 1 + 9 (mean of x)**0.25 for each row of X."""
        return 1.0 + 9.0 * X[:, 1:].mean(axis=1) ** 0.25

    def h(self, f1: Any, g: Any) -> Any:
        """Return 1 - (f1 / g)**2."""
        return 1.0 - (f1 / g) ** 2

    def area(self, f1: Any) -> Any:
        """Return f1 - f1**3 / 3."""
        return f1 - f1**3 / 3.0

    def smallest_f1(self) -> float:
        """Return the smallest value of the first objective, at x1 = arctan(9 pi) / (6 pi)."""
        best = np.array([[np.arctan(9.0 * np.pi) / (6.0 * np.pi)]])
        return float(self.f1(best)[0])

    def _pieces(self) -> Array:
        return np.array([[self.smallest_f1(), 1.0]])
