"""True fronts that only MaF problems have."""
# ruff: noqa: D102 (methods of a front are documented at their base, `Front`)

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problems.fronts import Front, PowerFront, simplex_lattice
from emoref.emo.problems.wfg_shapes import products

__all__ = ["LiftedSphereFront", "PolygonFront", "SpherePatchFront"]

Array = NDArray[np.float64]

_ROUNDING = 1e-12


class SpherePatchFront(Front):
    """The part of the unit sphere with all angles of DTLZ2 from pi / 8 to 3 pi / 8: the front of MaF2.

    The residual is the sum of squares less 1; it does not know the edge of the part.

    Parameters
    ----------
    n_obj
        Number of objectives M, at least 2.
    """

    def __init__(self, n_obj: int) -> None:
        # Objective m > 1 is a product of M - m cosines and a sine, the first one of M - 1 cosines.
        factors = np.append(n_obj - 1, np.arange(n_obj - 1, 0, -1))
        super().__init__(np.cos(3.0 * np.pi / 8.0) ** factors, np.cos(np.pi / 8.0) ** factors)

    def sample(self, count: int) -> Array:
        free = self.n_obj - 1
        each = 2
        while each**free < count:
            each += 1
        grid = np.meshgrid(*[np.linspace(np.pi / 8.0, 3.0 * np.pi / 8.0, each)] * free, indexing="ij")
        angles = np.column_stack([axis.ravel() for axis in grid])
        return products(np.cos(angles), np.sin(angles))

    def on_rays(self, W: Array) -> Array:
        # |ideal + t d| = 1 is a quadratic equation; the ideal point is inside the sphere.
        d = W * (self.nadir - self.ideal)
        a, b, c = (d**2).sum(axis=1), d @ self.ideal, self.ideal @ self.ideal - 1.0
        t = (np.sqrt(b**2 - a * c) - b) / a
        points = self.ideal + t[:, None] * d
        # The tangent of an angle is its objective over the length of all objectives before.
        before = np.sqrt(np.cumsum(points**2, axis=1)[:, :-1])
        tangents = points[:, 1:] / before
        low, high = np.tan(np.pi / 8.0) - _ROUNDING, np.tan(3.0 * np.pi / 8.0) + _ROUNDING
        hit = ((tangents >= low) & (tangents <= high)).all(axis=1)
        return np.where(hit[:, None], points, np.nan)

    def residual(self, F: Array) -> Array:
        return (F**2).sum(axis=1) - 1.0


class LiftedSphereFront(Front):
    """The unit sphere in three objectives; all others are f1**2 + f2**10 + f3**10: the front of MaF13.

    The residual is the largest absolute difference of these equations.

    Parameters
    ----------
    n_obj
        Number of objectives M, at least 3.
    """

    def __init__(self, n_obj: int) -> None:
        # f4 is largest, 1, at all three corners. With s = f1**2 and f2 = f3 it is s + 2 ((1 - s) / 2)**5,
        # which rises with s; so it is smallest at f1 = 0 and f2 = f3.
        rest = n_obj - 3
        self.sphere = PowerFront(np.ones(3), 2.0)
        super().__init__(
            [0.0] * 3 + [2.0 * 0.5**5] * rest,
            [1.0] * n_obj,
            "is a surface in more objectives than it has dimensions" if rest else "",
        )

    def sample(self, count: int) -> Array:
        return self._lifted(self.sphere.sample(count))

    def on_rays(self, W: Array) -> Array:
        return super().on_rays(W) if self.lines_miss else self.sphere.on_rays(W)

    def residual(self, F: Array) -> Array:
        on_sphere = np.abs(self.sphere.residual(F[:, :3]))[:, None]
        return np.hstack([on_sphere, np.abs(F - self._lifted(F[:, :3]))]).max(axis=1)

    def _lifted(self, P: Array) -> Array:
        rest = P[:, 0] ** 2 + P[:, 1] ** 10 + P[:, 2] ** 10
        return np.column_stack([P] + [rest] * (self.n_obj - 3))


class PolygonFront(Front):
    """The image of a polygon: the front of MaF8 and MaF9.

    The residual is the Euclidean distance between a point and the image of the nearest preimage in the
    polygon, as far as that can be found (see `find`).

    Parameters
    ----------
    vertices
        Corners of a convex polygon (n, 2), in order.
    image
        Takes points of the plane (N, 2) and returns objectives (N, M).
    find
        Takes objectives (N, M) and returns the points of the plane (N, 2) that have them, or nearly.
    """

    def __init__(
        self, vertices: Array, image: Callable[[Array], Array], find: Callable[[Array], Array]
    ) -> None:
        self.vertices, self.image, self.find = vertices, image, find
        # Distances to points and lines are convex functions; inside they are largest at a vertex, and
        # smallest, 0, at the vertex or edge itself.
        corners = image(vertices)
        super().__init__(np.zeros(corners.shape[1]), corners.max(axis=0), "is the image of a polygon")

    def sample(self, count: int) -> Array:
        # Triangles from the centre to each edge, each with a lattice.
        centre = self.vertices.mean(axis=0)
        W = simplex_lattice(3, -(-count // len(self.vertices)))
        parts = [
            W @ np.array([centre, a, b])
            for a, b in zip(self.vertices, np.roll(self.vertices, -1, axis=0), strict=True)
        ]
        return self.image(np.unique(np.vstack(parts).round(14), axis=0))

    def residual(self, F: Array) -> Array:
        nearest = self._into_polygon(self.find(F))
        return np.sqrt(((F - self.image(nearest)) ** 2).sum(axis=1))

    def _into_polygon(self, P: Array) -> Array:
        """Return the nearest point of the polygon for each row."""
        best, distance = P.copy(), np.where(inside_polygon(P, self.vertices), 0.0, np.inf)
        for a, b in zip(self.vertices, np.roll(self.vertices, -1, axis=0), strict=True):
            t = np.clip((P - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
            point = a + t[:, None] * (b - a)
            away = ((P - point) ** 2).sum(axis=1)
            nearer = away < distance
            best[nearer], distance[nearer] = point[nearer], away[nearer]
        return best


def inside_polygon(P: Array, vertices: Array) -> NDArray[np.bool_]:
    """Return which points `P` (N, 2) are in a convex polygon or on its edge.

    Parameters
    ----------
    P
        Points of the plane.
    vertices
        Corners (n, 2) in order, in either direction.
    """
    a, b = vertices, np.roll(vertices, -1, axis=0)
    edge, to_point = (b - a)[None], P[:, None] - a[None]
    side = edge[..., 0] * to_point[..., 1] - edge[..., 1] * to_point[..., 0]
    return np.logical_or((side >= -_ROUNDING).all(axis=1), (side <= _ROUNDING).all(axis=1))
