"""The DTLZ test problems of any number of objectives: Deb, Thiele, Laumanns, Zitzler, 2002 and 2005.

The first M - 1 variables say where on the front a point lies, the other k how far it is from it: the
distance function g is smallest on the true front.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problems.base import Benchmark, whole
from emoref.emo.problems.curves import ProductFront, record_pieces
from emoref.emo.problems.fronts import ArcFront, Front, PowerFront
from emoref.emo.problems.wfg_shapes import linear, products
from emoref.emo.reference_points import das_dennis
from emoref.errors import ProblemError

__all__ = ["DTLZ1", "DTLZ2", "DTLZ3", "DTLZ4", "DTLZ5", "DTLZ6", "DTLZ7", "DTLZProblem"]

Array = NDArray[np.float64]


class DTLZProblem(Benchmark):
    """Base of the DTLZ problems.

    Parameters
    ----------
    n_obj
        Number of objectives M, at least 2.
    k
        Number of variables of the distance function, at least 1; None for the published number. There
        are M - 1 + k variables.
    base
        Objective i, counted from 0, is multiplied by base**i: 1 for the plain problem, another positive
        number for the scaled one.

    Attributes
    ----------
    scale : numpy.ndarray
        The factors base**i, (n_obj,).

    Raises
    ------
    ProblemError
        If a number makes no sense.

    Notes
    -----
    The scaled problems are those of Deb and Jain, IEEE Trans. Evol. Comput. 18(4), 2014, section V-B.
    """

    default_k = 10
    best_distance = 0.5
    """Value of the last k variables on the true front."""

    def __init__(self, n_obj: int = 3, k: int | None = None, base: float = 1.0) -> None:
        name = type(self).__name__
        self.n_obj = whole(name, "n_obj", n_obj, 2)
        self.k = whole(name, "k", self.default_k if k is None else k, 1)
        if not (np.isfinite(base) and base > 0.0):
            raise ProblemError(f"{name} has base {base}; it must be a positive number")
        self.n_var = self.n_obj - 1 + self.k
        self.lower = np.zeros(self.n_var)
        self.upper = np.ones(self.n_var)
        self.scale: Array = float(base) ** np.arange(self.n_obj, dtype=np.float64)

    def g(self, X: Array) -> Array:
        """Return the distance function of the last k variables, `X` (N, k), as (N,)."""
        raise NotImplementedError

    def shape(self, X: Array) -> Array:
        """Return the point of the plain front (N, M) that the first M - 1 variables, `X`, stand for."""
        raise NotImplementedError

    def pareto_front(self, divisions: int = 100) -> Array:
        """Return points of the true front, on the rays of `das_dennis` with so many `divisions`."""
        return self.targets(das_dennis(self.n_obj, divisions))

    def pareto_set(self, position: Array) -> Array:
        """Return solutions with the smallest g (N, n_var) for position variables `position` (N, M - 1)."""
        return np.hstack([position, np.full((len(position), self.k), self.best_distance)])

    def _evaluate(self, X: Array) -> Any:
        position, distance = X[:, : self.n_obj - 1], X[:, self.n_obj - 1 :]
        return self._objectives(position, self.g(distance))

    def _objectives(self, position: Array, g: Array) -> Array:
        return self.shape(position) * (1.0 + g)[:, None] * self.scale


class DTLZ1(DTLZProblem):
    """Plane front, sum of objectives 1/2, behind 11**k - 1 local ones; k = 5."""

    default_k = 5

    def g(self, X: Array) -> Array:
        """Return 100 (k + sum of (x - 1/2)**2 - cos(20 pi (x - 1/2))) for each row of `X`."""
        return _rastrigin(X)

    def shape(self, X: Array) -> Array:
        """Return half of: x1 ... x(M-1), x1 ... x(M-2) (1 - x(M-1)), ..., 1 - x1, for each row of `X`."""
        return 0.5 * linear(X)

    def _make_front(self) -> Front:
        return PowerFront(0.5 * self.scale, 1.0)


class DTLZ2(DTLZProblem):
    """Front on the unit sphere; k = 10."""

    def g(self, X: Array) -> Array:
        """Return the sum of (x - 1/2)**2 for each row of `X`."""
        return ((X - 0.5) ** 2).sum(axis=1)

    def shape(self, X: Array) -> Array:
        """Return cos a1 ... cos a(M-1), cos a1 ... sin a(M-1), ..., sin a1 with a = pi x / 2, for `X`."""
        angles = 0.5 * np.pi * X
        return products(np.cos(angles), np.sin(angles))

    def _make_front(self) -> Front:
        return PowerFront(self.scale, 2.0)


class DTLZ3(DTLZ2):
    """Front of DTLZ2 behind 3**k - 1 local ones; k = 10."""

    def g(self, X: Array) -> Array:
        """Return the distance function of DTLZ1 for each row of `X`."""
        return _rastrigin(X)


class DTLZ4(DTLZ2):
    """DTLZ2 with the position variables taken to the power of 100, so that most points crowd at an edge."""

    alpha = 100.0

    def shape(self, X: Array) -> Array:
        """Return the shape of DTLZ2 at `X`**100."""
        return super().shape(X**self.alpha)


class DTLZ5(DTLZ2):
    """Front on a curve: all position variables but the first are drawn to the middle as g falls; k = 10.

    Notes
    -----
    The published front is the curve with g = 0, and it is what `front` and `residual` mean. For M = 2 and
    3 it is the true one. From M = 4 on, points with g > 0 exist that no point of the curve dominates (see
    docs/problems.md), so that the true front is larger; it is not known in closed form.
    """

    def _objectives(self, position: Array, g: Array) -> Array:
        return super()._objectives(drawn_to_middle(position, g), g)

    def _make_front(self) -> Front:
        # Both ends of the curve: the first position variable 0 and 1, the others in the middle.
        ends = np.full((2, self.n_obj - 1), 0.5)
        ends[:, 0] = 0.0, 1.0
        u, v = self.shape(ends)
        # cos(pi / 2) is not exactly 0 in floating point.
        v[:-1] = 0.0
        return _ScaledArc(u, v, self.scale)


class DTLZ6(DTLZ5):
    """DTLZ5 with a g that falls steeply only near the front; k = 10. Its notes hold here too."""

    best_distance = 0.0

    def g(self, X: Array) -> Array:
        """Return the sum of x**0.1 for each row of `X`."""
        return (X**0.1).sum(axis=1)


class DTLZ7(DTLZProblem):
    """Front in 2**(M - 1) separate pieces; k = 20.

    f_i = x_i, but f_M = (1 + g) (M - sum of f_i / (1 + g) (1 + sin(3 pi f_i))), with g at least 1.
    """

    default_k = 20
    best_distance = 0.0

    def g(self, X: Array) -> Array:
        """Return 1 + 9 times the mean of each row of `X`."""
        return 1.0 + 9.0 * X.mean(axis=1)

    def front_pieces(self) -> Array:
        """Return the intervals of an f_i that make up the true front, (2, 2)."""

        def slope(f: Any) -> Any:
            phase = 3.0 * np.pi * f
            return -1.0 - np.sin(phase) - phase * np.cos(phase)

        return record_pieces(self._bumps, slope, 0.0, 1.0)

    def _objectives(self, position: Array, g: Array) -> Array:
        last = (1.0 + g) * self.n_obj + self._bumps(position).sum(axis=1)
        return np.column_stack([position, last]) * self.scale

    def _make_front(self) -> Front:
        if (self.scale != 1.0).any():
            raise ProblemError("the front of a scaled DTLZ7 is not provided; use base = 1")
        return ProductFront(self.n_obj, self._bumps, 2.0 * self.n_obj, self.front_pieces())

    def _bumps(self, f: Any) -> Any:
        return -f * (1.0 + np.sin(3.0 * np.pi * f))


class _ScaledArc(ArcFront):
    """An arc in objectives divided by a scale, in which its residual is measured too."""

    def __init__(self, u: Array, v: Array, scale: Array) -> None:
        super().__init__(u, v)
        self.scale = scale
        self.nadir = self.nadir * scale

    def sample(self, count: int) -> Array:
        return super().sample(count) * self.scale

    def residual(self, F: Array) -> Array:
        return super().residual(F / self.scale)


def drawn_to_middle(position: Array, g: Array) -> Array:
    """Return x1 and (1 + 2 g x_i) / (2 (1 + g)) for i = 2, ..., M - 1; the latter are 1/2 where g = 0.

    Parameters
    ----------
    position
        Position variables (N, M - 1).
    g
        Distance function (N,).
    """
    g = g[:, None]
    return np.hstack([position[:, :1], (1.0 + 2.0 * g * position[:, 1:]) / (2.0 * (1.0 + g))])


def _rastrigin(X: Array) -> Array:
    centred = X - 0.5
    return 100.0 * (X.shape[1] + (centred**2 - np.cos(20.0 * np.pi * centred)).sum(axis=1))
