"""MaF8 and MaF9: distances in the plane, so that a population can be seen where it is.

Source: Cheng et al., Complex Intell. Syst. 3(1), 2017. Both have a regular polygon of M corners on the unit
circle. Corner m, counted from 1, is at the angle pi / 2 - 2 pi m / M, as in the authors' program, PlatEMO.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problems.base import Benchmark, whole
from emoref.emo.problems.fronts import Front
from emoref.emo.problems.maf_fronts import PolygonFront, inside_polygon
from emoref.errors import ShapeError

__all__ = ["MaF8", "MaF9"]

Array = NDArray[np.float64]


class _Polygon(Benchmark):
    """Base of the two problems.

    Parameters
    ----------
    n_obj
        Number of objectives M, and of corners; at least 3.

    Attributes
    ----------
    vertices : numpy.ndarray
        Corners (M, 2), clockwise.
    """

    def __init__(self, n_obj: int = 3) -> None:
        self.n_obj = whole(type(self).__name__, "n_obj", n_obj, 3)
        self.n_var = 2
        self.lower = np.full(2, -10_000.0)
        self.upper = np.full(2, 10_000.0)
        angles = 0.5 * np.pi - 2.0 * np.pi * np.arange(1, n_obj + 1) / n_obj
        self.vertices = np.column_stack([np.cos(angles), np.sin(angles)])

    def distances(self, X: Array) -> Array:
        """Return the objectives (N, M) of points of the plane `X` (N, 2)."""
        raise NotImplementedError

    def _find(self, F: Array) -> Array:
        raise NotImplementedError

    def _make_front(self) -> Front:
        return PolygonFront(self.vertices, self.distances, self._find)


class MaF8(_Polygon):
    """Distances to the corners of a polygon (multi-point distances); the Pareto set is the polygon."""

    def distances(self, X: Array) -> Array:
        """Return the Euclidean distance of each point to each corner."""
        return np.sqrt(((X[:, None] - self.vertices) ** 2).sum(axis=2))

    def _evaluate(self, X: Array) -> Array:
        return self.distances(X)

    def _find(self, F: Array) -> Array:
        # |x - v_m|**2 = f_m**2 less the same equation for v_1 is linear in x, and all |v_m| are 1.
        A = 2.0 * (self.vertices[0] - self.vertices[1:])
        b = F[:, 1:] ** 2 - F[:, :1] ** 2
        return np.asarray(np.linalg.lstsq(A, b.T, rcond=None)[0].T, dtype=np.float64)


class MaF9(_Polygon):
    """Distances to the lines through the sides of a polygon; the Pareto set is the polygon.

    From M = 5 on there are places outside the polygon that would be optimal too: near where two sides that
    are not neighbours meet if they are made longer. They are infeasible. The paper replaces candidates
    there by random ones, which is `repair`; in addition `evaluate` returns constraints, which are 1 there
    and -1 elsewhere (not published; emoref uses them because an evaluation must not depend on chance).

    Notes
    -----
    The infeasible areas are those of PlatEMO: for sides (a, a') and (b, b') with one to ceil(M / 2 - 2)
    sides between them, the chain of corners from a' to b, and its mirror image with respect to the point
    where the two lines meet.
    """

    def distances(self, X: Array) -> Array:
        """Return the Euclidean distance of each point to each line."""
        return np.abs(self._signed(X))

    def infeasible(self, X: Array) -> NDArray[np.bool_]:
        """Return which points of the plane `X` (N, 2) are in an infeasible area, (N,)."""
        found = np.zeros(len(X), dtype=np.bool_)
        for area in self.areas:
            found |= _inside_any_polygon(X, area)
        return found & ~inside_polygon(X, self.vertices)

    def repair(self, X: Array, rng: np.random.Generator) -> Array:
        """Replace infeasible candidates by random ones, as the paper does.

        Parameters
        ----------
        X
            Candidates (N, 2).
        rng
            Random generator.

        Returns
        -------
        numpy.ndarray
            A copy of `X` without infeasible rows; pass the method to an algorithm as ``repair``.
        """
        if np.ndim(X) != 2 or np.shape(X)[1] != 2:
            raise ShapeError(f"MaF9.repair: X has shape {np.shape(X)}; it must be (rows, 2)")
        X = np.array(X, dtype=np.float64)
        while (bad := self.infeasible(X)).any():
            X[bad] = rng.uniform(self.lower, self.upper, (int(bad.sum()), 2))
        return X

    @cached_property
    def areas(self) -> list[Array]:
        """Infeasible areas: corners (n, 2) of each, in order."""
        m = self.n_obj
        found = []
        for between in range(1, int(np.ceil(m / 2 - 2)) + 1):
            for first in range(m):
                chain = self.vertices[(first + np.arange(between + 1)) % m]
                before, after = self.vertices[first - 1], self.vertices[(first + between + 1) % m]
                meeting = _intersection(before, chain[0], chain[-1], after)
                found.append(np.vstack([chain, 2.0 * meeting - chain]))
        return found

    def _signed(self, X: Array) -> Array:
        normals, offsets = self._lines
        # Not a matrix product, whose rounding may depend on the number of rows.
        return X[:, :1] * normals[:, 0] + X[:, 1:] * normals[:, 1] + offsets

    @cached_property
    def _lines(self) -> tuple[Array, Array]:
        """Return unit normals that point inwards, (M, 2), and offsets (M,)."""
        # The sides of a regular polygon are as far from the centre as their middles.
        middles = 0.5 * (self.vertices + np.roll(self.vertices, -1, axis=0))
        lengths = np.sqrt((middles**2).sum(axis=1))
        return -middles / lengths[:, None], lengths

    def _evaluate(self, X: Array) -> tuple[Array, Array]:
        return self.distances(X), np.where(self.infeasible(X), 1.0, -1.0)[:, None]

    def _find(self, F: Array) -> Array:
        normals, offsets = self._lines
        return np.asarray(np.linalg.lstsq(normals, (F - offsets).T, rcond=None)[0].T, dtype=np.float64)


def _intersection(a: Array, b: Array, c: Array, d: Array) -> Array:
    """Return where the line through a and b meets that through c and d."""
    t, _ = np.linalg.solve(np.column_stack([b - a, c - d]), c - a)
    return np.asarray(a + t * (b - a), dtype=np.float64)


def _inside_any_polygon(P: Array, vertices: Array) -> NDArray[np.bool_]:
    """Return which points are in a polygon that need not be convex: a ray to the right crosses it oddly."""
    inside = np.zeros(len(P), dtype=np.bool_)
    x, y = P.T
    for (x0, y0), (x1, y1) in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside
