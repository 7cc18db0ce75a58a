"""True fronts as objects: points on them, where lines meet them, how far a point is from them.

Most fronts of the literature are of few kinds. The largest family is

    sum over i of (f_i / s_i)**p_i = 1,

plane for p = 1, a sphere for p = 2, convex for p = 1/2; or the same upside down.
"""
# ruff: noqa: D102 (methods of a front are documented at their base, `Front`)

from collections.abc import Callable, Sequence
from math import comb, exp, lgamma, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.ranking import hypervolume
from emoref.emo.reference_points import das_dennis
from emoref.errors import ProblemError

__all__ = [
    "ArcFront",
    "FilteredFront",
    "Front",
    "PointFront",
    "PowerFront",
    "RayFront",
    "SegmentFront",
    "bisect",
    "simplex_lattice",
]

Array = NDArray[np.float64]

_HALVINGS = 100


def simplex_lattice(n_obj: int, count: int) -> Array:
    """Return `das_dennis` points of the unit simplex, the fewest that are at least `count`.

    From four objectives on, where one layer would have no point inside the simplex, there are two.
    """
    if n_obj == 1:
        return np.ones((1, 1))
    divisions = 1
    while True:
        layers = 2 if n_obj > 3 and divisions < n_obj else 1
        if layers * comb(n_obj + divisions - 1, divisions) >= count:
            return das_dennis(n_obj, [divisions] * layers)
        divisions += 1


def bisect(function: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Find where an increasing function changes its sign, for many rows at once.

    Parameters
    ----------
    function
        Takes (N,) and returns (N,); at most 0 at `low`, at least 0 at `high`.
    low, high
        Ends of the intervals (N,).
    """
    low, high = np.array(low, dtype=np.float64), np.array(high, dtype=np.float64)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        above = function(middle) > 0.0
        high = np.where(above, middle, high)
        low = np.where(above, low, middle)
    return 0.5 * (low + high)


class Front:
    """Base of the true fronts.

    Parameters
    ----------
    ideal, nadir
        Smallest and largest value of each objective on the front, (M,).
    lines_miss
        Why lines from the ideal point do not meet the front in general; empty if they do.
    """

    def __init__(self, ideal: Any, nadir: Any, lines_miss: str = "") -> None:
        self.ideal: Array = np.array(ideal, dtype=np.float64)
        self.nadir: Array = np.array(nadir, dtype=np.float64)
        self.n_obj = len(self.ideal)
        self.lines_miss = lines_miss

    def sample(self, count: int) -> Array:
        """Return about `count` points of the front, (n, M).

        Curves get exactly so many, evenly spaced in a parameter; others the smallest lattice that has at
        least so many, less the points that are not on the front; sets of single points all they have.
        """
        raise NotImplementedError

    def on_rays(self, W: Array) -> Array:
        """Return the point of the front on each line through `W` (H, M), or NaN where the line misses.

        Lines start at the ideal point; `W`, of sum 1, is in objectives normalised to [0, 1].
        """
        raise ProblemError(f"the true front {self.lines_miss}, so that most lines miss it; use front(count)")

    def residual(self, F: Array) -> Array:
        """Return how far points `F` (N, M) are from the front, (N,)."""
        raise NotImplementedError

    def hypervolume(self, reference: Array) -> float | None:
        """Return the hypervolume for a `reference` (M,) beyond the nadir point, None if not known."""
        return None


class PowerFront(Front):
    """The front sum of (f_i / s_i)**p_i = 1, or, inverted, sum of (1 - f_i / s_i)**p_i = 1.

    The residual is the left side less 1; for an inverted front 1 less the left side, in which negative
    terms are taken as 0.

    Parameters
    ----------
    scale
        s, (M,).
    powers
        p, positive: a number, or one for each objective. An inverted front needs a number.
    inverted
        Whether the front is upside down.

    Notes
    -----
    The hypervolume is not published in this form; emoref uses Dirichlet's integral: the non-negative
    points with sum of x_i**p_i <= 1 have the volume

        V = product of Gamma(1 + 1 / p_i), divided by Gamma(1 + sum of 1 / p_i).

    So it is the product of the reference's coordinates less V times that of the scale. A point is
    dominated by an inverted front if its positive u_i = 1 - f_i / s_i satisfy the inequality; summed over
    the sets of coordinates in which u is positive, with r = reference / scale, this gives the product of
    the scale times the sum over j of V_j e_(M-j)(r - 1), e being the elementary symmetric polynomials.
    """

    def __init__(self, scale: Any, powers: float | Sequence[float] = 1.0, inverted: bool = False) -> None:
        self.scale = np.array(scale, dtype=np.float64)
        super().__init__(np.zeros(len(self.scale)), self.scale)
        self.powers = np.broadcast_to(np.asarray(powers, dtype=np.float64), self.scale.shape)
        self.inverted = inverted

    def sample(self, count: int) -> Array:
        plain = self._plain_rays(simplex_lattice(self.n_obj, count))
        return self.scale * (1.0 - plain if self.inverted else plain)

    def on_rays(self, W: Array) -> Array:
        return self.scale * (self._inverted_rays(W) if self.inverted else self._plain_rays(W))

    def residual(self, F: Array) -> Array:
        if self.inverted:
            return 1.0 - self._sum(np.maximum(1.0 - F / self.scale, 0.0))
        return self._sum(F / self.scale) - 1.0

    def hypervolume(self, reference: Array) -> float:
        if not self.inverted:
            return float(prod(reference) - prod(self.scale) * _orthant_volume(self.powers))
        # np.poly(-a) holds the coefficients of (x + a_1) ... (x + a_M), which are the e of a.
        symmetric = np.poly(-(reference / self.scale - 1.0))
        volumes = [_orthant_volume(self.powers[:j]) for j in range(self.n_obj + 1)]
        return float(prod(self.scale) * (symmetric[::-1] * volumes).sum())

    def _sum(self, U: Array) -> Array:
        return (U**self.powers).sum(axis=1)

    def _plain_rays(self, W: Array) -> Array:
        p = self.powers[0]
        if (self.powers == p).all():
            size = self._sum(W)
            return W / (np.sqrt(size) if p == 2.0 else size ** (1.0 / p))[:, None]
        t = bisect(lambda t: self._sum(t[:, None] * W) - 1.0, np.zeros(len(W)), 1.0 / W.max(axis=1))
        return t[:, None] * W

    def _inverted_rays(self, W: Array) -> Array:
        def inside(t: Array) -> Array:
            return 1.0 - self._sum(np.maximum(1.0 - t[:, None] * W, 0.0))

        # On the front 1 - t w is nowhere negative, so t is at most 1 / max w.
        most = 1.0 / W.max(axis=1)
        t = bisect(inside, np.zeros(len(W)), most)
        hit = inside(most) >= -1e-12
        return np.where(hit[:, None], t[:, None] * W, np.nan)


def _orthant_volume(powers: Any) -> float:
    inverse = 1.0 / np.asarray(powers, dtype=np.float64)
    return exp(sum(lgamma(1.0 + x) for x in inverse) - lgamma(1.0 + float(inverse.sum())))


class RayFront(Front):
    """The front size(f / s) = 1, where size(t f) = t size(f); the residual is the size less 1.

    Parameters
    ----------
    scale
        s, (M,); it is also the nadir point.
    size
        Takes (N, M) and returns (N,); never smaller if an objective grows.
    volume
        Volume of the non-negative points of a size up to 1, None if not known.
    """

    def __init__(self, scale: Any, size: Callable[[Array], Array], volume: float | None = None) -> None:
        self.scale = np.array(scale, dtype=np.float64)
        super().__init__(np.zeros(len(self.scale)), self.scale)
        self.size = size
        self.volume = volume

    def sample(self, count: int) -> Array:
        return self.on_rays(simplex_lattice(self.n_obj, count))

    def on_rays(self, W: Array) -> Array:
        return self.scale * W / self.size(W)[:, None]

    def residual(self, F: Array) -> Array:
        return self.size(F / self.scale) - 1.0

    def hypervolume(self, reference: Array) -> float | None:
        return None if self.volume is None else float(prod(reference) - prod(self.scale) * self.volume)


class FilteredFront(Front):
    """The part of a front on which something holds; its residual is that of the whole.

    Parameters
    ----------
    base
        The whole front. The part must reach the same ideal and nadir point.
    holds
        Takes points (N, M) and returns bool (N,).
    """

    def __init__(self, base: Front, holds: Callable[[Array], NDArray[np.bool_]]) -> None:
        super().__init__(base.ideal, base.nadir)
        self.base = base
        self.holds = holds

    def sample(self, count: int) -> Array:
        # Most points may be cut away; the whole front is made denser until enough are left.
        wanted = count
        while True:
            points = self.base.sample(wanted)
            kept = points[self.holds(points)]
            if len(kept) >= count or wanted >= 100 * count:
                return kept
            wanted *= 2

    def on_rays(self, W: Array) -> Array:
        points = self.base.on_rays(W)
        return np.where(self.holds(points)[:, None], points, np.nan)

    def residual(self, F: Array) -> Array:
        return self.base.residual(F)


class ArcFront(Front):
    """A quarter of a circle, cos(a) u + sin(a) v; the residual is the Euclidean distance.

    Parameters
    ----------
    u, v
        Unit vectors (M,), orthogonal and non-negative.
    """

    def __init__(self, u: Any, v: Any) -> None:
        self.u, self.v = np.array(u, dtype=np.float64), np.array(v, dtype=np.float64)
        super().__init__(np.zeros(len(self.u)), np.maximum(self.u, self.v), "is a curve")

    def sample(self, count: int) -> Array:
        return self._at(np.linspace(0.0, 0.5 * np.pi, count))

    def residual(self, F: Array) -> Array:
        nearest = self._at(np.clip(np.arctan2(F @ self.v, F @ self.u), 0.0, 0.5 * np.pi))
        return np.sqrt(((F - nearest) ** 2).sum(axis=1))

    def _at(self, angles: Array) -> Array:
        return np.cos(angles)[:, None] * self.u + np.sin(angles)[:, None] * self.v


class SegmentFront(Front):
    """A straight line from one point to another; the residual is the Euclidean distance.

    Parameters
    ----------
    start, end
        The points (M,).
    """

    def __init__(self, start: Any, end: Any) -> None:
        self.start, self.end = np.array(start, dtype=np.float64), np.array(end, dtype=np.float64)
        super().__init__(
            np.minimum(self.start, self.end), np.maximum(self.start, self.end), "is a straight line"
        )

    def sample(self, count: int) -> Array:
        return self._at(np.linspace(0.0, 1.0, count))

    def residual(self, F: Array) -> Array:
        way = self.end - self.start
        nearest = self._at(np.clip((F - self.start) @ way / (way @ way), 0.0, 1.0))
        return np.sqrt(((F - nearest) ** 2).sum(axis=1))

    def _at(self, t: Array) -> Array:
        return self.start + t[:, None] * (self.end - self.start)


class PointFront(Front):
    """Single points; the residual is the Euclidean distance to the nearest.

    Parameters
    ----------
    points
        Points (n, M), none dominated by another.
    """

    def __init__(self, points: Any) -> None:
        self.points = np.array(points, dtype=np.float64)
        super().__init__(self.points.min(axis=0), self.points.max(axis=0), "consists of single points")

    def sample(self, count: int) -> Array:
        return self.points.copy()

    def residual(self, F: Array) -> Array:
        nearest = np.full(len(F), np.inf)
        for point in self.points:
            nearest = np.minimum(nearest, ((F - point) ** 2).sum(axis=1))
        return np.sqrt(nearest)

    def hypervolume(self, reference: Array) -> float:
        return float(hypervolume(self.points, reference))
