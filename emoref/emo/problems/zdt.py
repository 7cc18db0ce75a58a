"""The ZDT test problems of two objectives: Zitzler, Deb, Thiele, Evol. Comput. 8(2), 2000.

All have f2 = g h, where g >= 1 depends on x2, ..., xn and is 1 on the true front.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.errors import ProblemError

__all__ = ["ZDT1", "ZDT2", "ZDT3", "ZDT4", "ZDT6", "ZDTProblem"]


class ZDTProblem:
    """Base of the ZDT problems.

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
    kind = "real"

    def __init__(self, n_var: int | None = None) -> None:
        self.n_var = self.default_n_var if n_var is None else n_var
        if self.n_var < 2:
            raise ProblemError(f"{type(self).__name__} has {self.n_var} variables; it needs at least 2")
        self.lower = np.zeros(self.n_var)
        self.upper = np.ones(self.n_var)

    def f1(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the first objective (N,)."""
        return X[:, 0]

    def g(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance function (N,), 1 on the true front."""
        return 1.0 + 9.0 * X[:, 1:].mean(axis=1)

    def h(self, f1: Any, g: Any) -> Any:
        """Return the shape function f2 / g (N,)."""
        raise NotImplementedError

    def evaluate(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the objective values (N, 2) of candidates (N, n_var)."""
        f1, g = self.f1(X), self.g(X)
        return np.column_stack([f1, g * self.h(f1, g)])

    def pareto_front(self, count: int = 500) -> NDArray[np.float64]:
        """Return `count` points of the true front (count, 2), evenly spaced in the first objective."""
        f1 = self._front_f1(count)
        return np.column_stack([f1, self.h(f1, 1.0)])

    def _front_f1(self, count: int) -> NDArray[np.float64]:
        return np.linspace(0.0, 1.0, count)


class ZDT1(ZDTProblem):
    """Convex front f2 = 1 - sqrt(f1)."""

    def h(self, f1: Any, g: Any) -> Any:
        """Return 1 - sqrt(f1 / g)."""
        return 1.0 - np.sqrt(f1 / g)


class ZDT2(ZDTProblem):
    """Concave front f2 = 1 - f1**2."""

    def h(self, f1: Any, g: Any) -> Any:
        """Return 1 - (f1 / g)**2."""
        return 1.0 - (f1 / g) ** 2


class ZDT3(ZDTProblem):
    """Front of five separate pieces."""

    def h(self, f1: Any, g: Any) -> Any:
        """Return 1 - sqrt(f1 / g) - (f1 / g) sin(10 pi f1)."""
        return 1.0 - np.sqrt(f1 / g) - f1 / g * np.sin(10.0 * np.pi * f1)

    def front_pieces(self) -> NDArray[np.float64]:
        """Return the intervals of f1 that make up the true front, (5, 2).

        Each ends at a local minimum of the curve g = 1 and begins where the curve falls below the
        minimum before it.
        """
        # Imported here because it takes longer than the rest of emoref.emo.
        from scipy.optimize import brentq

        def slope(f1: float) -> float:
            phase = 10.0 * np.pi * f1
            return float(-0.5 / np.sqrt(f1) - np.sin(phase) - phase * np.cos(phase))

        # In each period the curve has its maximum where the sine is about -1, then falls to its minimum.
        ends = [brentq(slope, 0.2 * k + 0.05, 0.2 * k + 0.1, xtol=1e-15) for k in range(5)]
        begins = [0.0]
        for k in range(1, 5):
            level = self.h(ends[k - 1], 1.0)
            begins.append(
                brentq(lambda f1, level=level: self.h(f1, 1.0) - level, 0.2 * k - 0.05, ends[k], xtol=1e-15)
            )
        return np.column_stack([begins, ends])

    def _front_f1(self, count: int) -> NDArray[np.float64]:
        pieces = self.front_pieces()
        lengths = np.diff(pieces, axis=1).ravel()
        starts = np.concatenate([[0.0], np.cumsum(lengths)])
        along = np.linspace(0.0, starts[-1], count)
        piece = np.clip(np.searchsorted(starts, along, side="left") - 1, 0, len(lengths) - 1)
        return np.minimum(pieces[piece, 0] + along - starts[piece], pieces[piece, 1])


class ZDT4(ZDTProblem):
    """Front of ZDT1 behind 21**9 local ones; x2, ..., xn in [-5, 5]."""

    default_n_var = 10

    def __init__(self, n_var: int | None = None) -> None:
        super().__init__(n_var)
        self.lower[1:], self.upper[1:] = -5.0, 5.0

    def g(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return 1 + 10 (n - 1) + sum of x**2 - 10 cos(4 pi x) for each row of X."""
        rest = X[:, 1:]
        return 1.0 + 10.0 * rest.shape[1] + (rest**2 - 10.0 * np.cos(4.0 * np.pi * rest)).sum(axis=1)

    def h(self, f1: Any, g: Any) -> Any:
        """Return 1 - sqrt(f1 / g)."""
        return 1.0 - np.sqrt(f1 / g)


class ZDT6(ZDTProblem):
    """Concave front that is thinly covered, from f1 = 0.2807753 to 1."""

    default_n_var = 10

    def f1(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return 1 - exp(-4 x1) sin(6 pi x1)**6 for each row of X."""
        return 1.0 - np.exp(-4.0 * X[:, 0]) * np.sin(6.0 * np.pi * X[:, 0]) ** 6

    def g(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return 1 + 9 (mean of x)**0.25 for each row of X."""
        return 1.0 + 9.0 * X[:, 1:].mean(axis=1) ** 0.25

    def h(self, f1: Any, g: Any) -> Any:
        """Return 1 - (f1 / g)**2."""
        return 1.0 - (f1 / g) ** 2

    def smallest_f1(self) -> float:
        """Return the smallest value of the first objective, at x1 = arctan(9 pi) / (6 pi)."""
        best = np.array([[np.arctan(9.0 * np.pi) / (6.0 * np.pi)]])
        return float(self.f1(best)[0])

    def _front_f1(self, count: int) -> NDArray[np.float64]:
        return np.linspace(self.smallest_f1(), 1.0, count)
