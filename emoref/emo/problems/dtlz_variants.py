"""Scaled, inverted, convex and constrained DTLZ problems.

Sources: Deb and Jain, IEEE Trans. Evol. Comput. 18(4), 2014, part I (scaled, convex); Jain and Deb, part II
(inverted, constrained). C1 puts an obstacle before the front, C2 cuts pieces from it, C3 makes a new front
from the constraints. Here G <= 0 is feasible; the papers have the opposite sign.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problems.dtlz import DTLZ1, DTLZ2, DTLZ3, DTLZ4, DTLZProblem
from emoref.emo.problems.fronts import FilteredFront, Front, PowerFront, RayFront
from emoref.errors import ProblemError

__all__ = [
    "C1DTLZ1",
    "C1DTLZ3",
    "C2DTLZ2",
    "C3DTLZ1",
    "C3DTLZ4",
    "C2ConvexDTLZ2",
    "ConvexDTLZ2",
    "InvertedDTLZ1",
    "InvertedDTLZ2",
    "ScaledDTLZ1",
    "ScaledDTLZ2",
]

Array = NDArray[np.float64]


def _published(name: str, value: float | None, table: dict[int, float], n_obj: int, setting: str) -> float:
    """Return `value`, or the entry of a published table that fits."""
    if value is not None:
        if not (np.isfinite(value) and value > 0.0):
            raise ProblemError(f"{name} has {setting} {value}; it must be a positive number")
        return float(value)
    if n_obj not in table:
        known = ", ".join(str(m) for m in table)
        raise ProblemError(
            f"{name} has no published {setting} for {n_obj} objectives, only for {known}; give {setting}="
        )
    return table[n_obj]


class _Scaled(DTLZProblem):
    """A DTLZ problem with objective i, counted from 0, multiplied by base**i.

    Parameters
    ----------
    n_obj, k
        As for the plain problem.
    base
        A positive number; None for the published one.
    """

    bases: ClassVar[dict[int, float]]

    def __init__(self, n_obj: int = 3, k: int | None = None, base: float | None = None) -> None:
        super().__init__(n_obj, k, _published(type(self).__name__, base, self.bases, n_obj, "base"))


class ScaledDTLZ1(_Scaled, DTLZ1):
    """DTLZ1 with objective i, counted from 0, multiplied by base**i.

    The published base is 10, 10, 3, 2, 1.2 for 3, 5, 8, 10, 15 objectives; else give one.
    """

    bases: ClassVar[dict[int, float]] = {3: 10.0, 5: 10.0, 8: 3.0, 10: 2.0, 15: 1.2}


class ScaledDTLZ2(_Scaled, DTLZ2):
    """DTLZ2 with objective i, counted from 0, multiplied by base**i.

    The published base is 10, 10, 3, 3, 2 for 3, 5, 8, 10, 15 objectives; else give one.
    """

    bases: ClassVar[dict[int, float]] = {3: 10.0, 5: 10.0, 8: 3.0, 10: 3.0, 15: 2.0}


class InvertedDTLZ1(DTLZ1):
    """DTLZ1 upside down: (1 + g) / 2 - f_i. Most lines of a simplex miss the front."""

    def _objectives(self, position: Array, g: Array) -> Array:
        return (0.5 - self.shape(position)) * (1.0 + g)[:, None] * self.scale

    def _make_front(self) -> Front:
        return PowerFront(0.5 * self.scale, 1.0, inverted=True)


class InvertedDTLZ2(DTLZ2):
    """DTLZ2 upside down: 1 + g - f_i. Many lines of a simplex miss the front."""

    def _objectives(self, position: Array, g: Array) -> Array:
        return (1.0 - self.shape(position)) * (1.0 + g)[:, None] * self.scale

    def _make_front(self) -> Front:
        return PowerFront(self.scale, 2.0, inverted=True)


class ConvexDTLZ2(DTLZ2):
    """DTLZ2 with f_i**4, but f_M**2: the convex front sum of sqrt(f_i), i < M, plus f_M = 1."""

    def _objectives(self, position: Array, g: Array) -> Array:
        return convex_powers(self.shape(position) * (1.0 + g)[:, None]) * self.scale

    def _make_front(self) -> Front:
        return PowerFront(self.scale, [0.5] * (self.n_obj - 1) + [1.0])


def convex_powers(F: Array) -> Array:
    """Return `F` (N, M) with all objectives to the fourth power, but the last squared."""
    return np.column_stack([F[:, :-1] ** 4, F[:, -1] ** 2])


class _Constrained(DTLZProblem):
    """A DTLZ problem with constraints on the objectives."""

    def constraints(self, F: Array) -> Array:
        """Return G (N, constraints) for objectives `F` (N, M) without a scale."""
        raise NotImplementedError

    def _evaluate(self, X: Array) -> Any:
        F = super()._evaluate(X)
        return F, self.constraints(F / self.scale)

    def _feasible(self, F: Array) -> NDArray[np.bool_]:
        return np.asarray((self.constraints(F / self.scale) <= 0.0).all(axis=1))


class _WithRadius(_Constrained):
    """A constrained problem with a radius, for which there is a published value."""

    def __init__(
        self, n_obj: int = 3, k: int | None = None, base: float = 1.0, radius: float | None = None
    ) -> None:
        super().__init__(n_obj, k, base)
        self.radius = _published(type(self).__name__, radius, self._radii(), n_obj, "radius")

    def _radii(self) -> dict[int, float]:
        raise NotImplementedError


class C1DTLZ1(_Constrained, DTLZ1):
    """DTLZ1 in a thin feasible layer: f_M / 0.6 + sum of f_i / 0.5, i < M, at most 1.

    The front is that of DTLZ1.
    """

    def constraints(self, F: Array) -> Array:
        """Return G (N, 1) for objectives `F` (N, M) without a scale."""
        return (F[:, -1] / 0.6 + F[:, :-1].sum(axis=1) / 0.5 - 1.0)[:, None]


class C1DTLZ3(_WithRadius, DTLZ3):
    """DTLZ3 behind an infeasible band: (sum of f_i**2 - 16) (sum of f_i**2 - r**2) at least 0.

    The front is that of DTLZ3.

    Parameters
    ----------
    n_obj, k, base
        As for DTLZ3.
    radius
        r, positive; None for the published one: 9 up to 3 objectives, 12.5 up to 8, else 15.

    Notes
    -----
    Published for 3, 5, 8, 10 and 15 objectives (checked against PlatEMO); for the others emoref uses the
    above. pymoo takes 12.5 up to 12 objectives, and 9 for 4. PlatEMO takes 6 for 2 objectives, and its g is
    a tenth of that of DTLZ3.
    """

    def _radii(self) -> dict[int, float]:
        return {self.n_obj: 9.0 if self.n_obj <= 3 else 12.5 if self.n_obj <= 8 else 15.0}

    def constraints(self, F: Array) -> Array:
        """Return G (N, 1) for objectives `F` (N, M) without a scale."""
        square = (F**2).sum(axis=1)
        return (-(square - 16.0) * (square - self.radius**2))[:, None]


class C2DTLZ2(_WithRadius, DTLZ2):
    """DTLZ2 of which only balls about the corners and the middle of the front are feasible.

    Parameters
    ----------
    n_obj, k, base
        As for DTLZ2.
    radius
        Radius r of the balls, positive; None for the published one: 0.4 for 3 objectives, else 0.5.

    Notes
    -----
    pymoo takes 0.2 for 2 objectives.
    """

    def _radii(self) -> dict[int, float]:
        return {self.n_obj: 0.4 if self.n_obj == 3 else 0.5}

    def constraints(self, F: Array) -> Array:
        """Return G (N, 1) for objectives `F` (N, M) without a scale."""
        # (f_i - 1)**2 + sum of the other f_j**2 = sum of f_j**2 - 2 f_i + 1
        corners = ((F**2).sum(axis=1)[:, None] - 2.0 * F + 1.0).min(axis=1)
        middle = ((F - 1.0 / np.sqrt(self.n_obj)) ** 2).sum(axis=1)
        return (np.minimum(corners, middle) - self.radius**2)[:, None]

    def _make_front(self) -> Front:
        return FilteredFront(super()._make_front(), self._feasible)


class C2ConvexDTLZ2(_WithRadius, ConvexDTLZ2):
    """Convex DTLZ2 without a cylinder about the line f_1 = ... = f_M: sum of (f_i - mean)**2 >= r**2.

    Parameters
    ----------
    n_obj, k, base
        As for DTLZ2.
    radius
        r, positive; None for the published one, which is 0.225, 0.225, 0.26, 0.26, 0.27 for 3, 5, 8, 10,
        15 objectives [memory].
    """

    def _radii(self) -> dict[int, float]:
        return {3: 0.225, 5: 0.225, 8: 0.26, 10: 0.26, 15: 0.27}

    def constraints(self, F: Array) -> Array:
        """Return G (N, 1) for objectives `F` (N, M) without a scale."""
        off = F - F.mean(axis=1, keepdims=True)
        return (self.radius**2 - (off**2).sum(axis=1))[:, None]

    def _make_front(self) -> Front:
        return FilteredFront(super()._make_front(), self._feasible)


class C3DTLZ1(_Constrained, DTLZ1):
    """DTLZ1 with M constraints that cut off its front: sum of f_i, i != j, plus f_j / 0.5, at least 1.

    The front is where the sharpest of them holds with equality, sum of f_i + min of f_i = 1.

    Notes
    -----
    The volume below the front is not published; emoref uses M / ((M + 1) M!): there are M parts in which
    one objective m is the smallest, and in it the others exceed it by h_i with (M + 1) m + sum of h_i <= 1.
    """

    def constraints(self, F: Array) -> Array:
        """Return G (N, M) for objectives `F` (N, M) without a scale."""
        return 1.0 - F.sum(axis=1, keepdims=True) - F

    def _make_front(self) -> Front:
        m = self.n_obj
        volume = m / (m + 1.0) / float(np.prod(np.arange(1.0, m + 1.0)))
        return RayFront(self.scale, lambda F: F.sum(axis=1) + F.min(axis=1), volume)


class C3DTLZ4(_Constrained, DTLZ4):
    """DTLZ4 with M constraints that cut off its front: f_j**2 / 4 plus sum of f_i**2, i != j, at least 1.

    The front is where the sharpest of them holds with equality, sum of f_i**2 - 3/4 max of f_i**2 = 1; each
    objective reaches 2. k = 5.
    """

    default_k = 5

    def constraints(self, F: Array) -> Array:
        """Return G (N, M) for objectives `F` (N, M) without a scale."""
        square = F**2
        return 1.0 - square.sum(axis=1, keepdims=True) + 0.75 * square

    def _make_front(self) -> Front:
        def size(H: Array) -> Array:
            square = (2.0 * H) ** 2
            return np.sqrt(square.sum(axis=1) - 0.75 * square.max(axis=1))

        return RayFront(2.0 * self.scale, size)
