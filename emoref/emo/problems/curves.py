"""True fronts that are graphs of a function of one variable, in one piece or several."""
# ruff: noqa: D102 (methods of a front are documented at their base, `Front`)

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problems.fronts import Front, bisect

__all__ = ["CurveFront", "ProductFront", "along", "record_pieces"]

Array = NDArray[np.float64]

_SCAN = 2001


def record_pieces(
    curve: Callable[[Any], Any], slope: Callable[[Any], Any], lower: float, upper: float
) -> Array:
    """Find the intervals in which a curve is below everything to its left.

    Of the points (x, curve(x)), these are the ones that no other dominates. Each interval ends at a local
    minimum (or at the end of the range) and begins where the curve falls below the minimum before it. Where
    the curve rises from the start, the first interval is the single point `lower`.

    Parameters
    ----------
    curve, slope
        The function and its derivative, which take numbers and arrays.
    lower, upper
        The range of x.

    Returns
    -------
    numpy.ndarray
        Beginnings and ends (pieces, 2), in ascending order.

    Examples
    --------
    >>> record_pieces(lambda x: -x, lambda x: -1.0 + 0 * x, 0.0, 2.0)
    array([[0., 2.]])
    """
    # Imported here because it takes longer than the rest of emoref.emo.
    from scipy.optimize import brentq

    # Never at the lower end itself, where a slope may be infinite.
    x = lower + (upper - lower) * (np.arange(_SCAN) + 0.5) / _SCAN
    falls = slope(x) < 0.0
    minima = [
        float(brentq(lambda t: float(slope(t)), x[i], x[i + 1], xtol=1e-15))
        for i in np.flatnonzero(falls[:-1] & ~falls[1:])
    ]
    if falls[-1]:
        minima.append(upper)
    pieces: list[tuple[float, float]] = []
    level = np.inf
    if not falls[0]:
        pieces, level = [(lower, lower)], float(curve(lower))
    for end in minima:
        value = float(curve(end))
        if value < level:
            begin = lower if not pieces else _falls_below(curve, level, pieces[-1][1], end)
            pieces.append((begin, end))
            level = value
    return np.array(pieces)


def _falls_below(curve: Callable[[Any], Any], level: float, left: float, end: float) -> float:
    """Return the last place before the minimum `end` where the curve crosses `level` from above."""
    from scipy.optimize import brentq

    x = np.linspace(left, end, _SCAN)
    above = int(np.flatnonzero((curve(x) > level) & (x < end))[-1])
    return float(brentq(lambda t: float(curve(t)) - level, x[above], x[above + 1], xtol=1e-15))


def along(pieces: Array, count: int) -> Array:
    """Return `count` values evenly spaced along intervals `pieces` (n, 2), the first and last included."""
    lengths = np.diff(pieces, axis=1).ravel()
    starts = np.concatenate([[0.0], np.cumsum(lengths)])
    way = np.linspace(0.0, starts[-1], count)
    piece = np.clip(np.searchsorted(starts, way, side="left") - 1, 0, len(lengths) - 1)
    return np.minimum(pieces[piece, 0] + way - starts[piece], pieces[piece, 1])


class CurveFront(Front):
    """The front f2 = h(f1) of two objectives; the residual is f2 - h(f1).

    The residual does not know gaps between pieces: there it may be 0 for a point that is dominated.

    Parameters
    ----------
    h
        Takes f1, a number or an array; falls within each piece.
    area
        An antiderivative of h.
    pieces
        Intervals of f1, (n, 2); see `record_pieces`.
    """

    def __init__(self, h: Callable[[Any], Any], area: Callable[[Any], Any], pieces: Any) -> None:
        self.h, self.area = h, area
        self.pieces = np.array(pieces, dtype=np.float64)
        first, last = self.pieces[0, 0], self.pieces[-1, 1]
        super().__init__([first, h(last)], [last, h(first)], "is in pieces" if len(self.pieces) > 1 else "")

    def sample(self, count: int) -> Array:
        f1 = along(self.pieces, count)
        return np.column_stack([f1, self.h(f1)])

    def on_rays(self, W: Array) -> Array:
        if self.lines_miss:
            return super().on_rays(W)
        width, height = self.nadir - self.ideal

        def right_of_line(f1: Array) -> Array:
            return (f1 - self.ideal[0]) / width * W[:, 1] - (self.h(f1) - self.ideal[1]) / height * W[:, 0]

        f1 = bisect(right_of_line, np.full(len(W), self.ideal[0]), np.full(len(W), self.nadir[0]))
        return np.column_stack([f1, self.h(f1)])

    def residual(self, F: Array) -> Array:
        return F[:, 1] - self.h(F[:, 0])

    def hypervolume(self, reference: Array) -> float:
        # Under each piece the curve itself, in each gap the height at the end of the piece before.
        begins, ends = self.pieces.T
        below = self.area(ends) - self.area(begins)
        until = np.append(begins[1:], reference[0])
        return float(
            (reference[1] * (ends - begins) - below + (reference[1] - self.h(ends)) * (until - ends)).sum()
        )


class ProductFront(Front):
    """The front f_M = c + sum of h(f_i), where h falls within each piece; the residual is the difference.

    As the sum is separable, a point is non-dominated exactly if each f_i is in a piece. The residual does
    not know the gaps between them.

    Parameters
    ----------
    n_obj
        Number of objectives M, at least 2.
    h
        The function of one objective.
    constant
        c.
    pieces
        Intervals of an f_i, (n, 2); see `record_pieces`.
    """

    def __init__(self, n_obj: int, h: Callable[[Any], Any], constant: float, pieces: Array) -> None:
        self.h, self.constant, self.pieces = h, constant, pieces
        ends = np.array([pieces[0, 0], pieces[-1, 1]])
        last = constant + (n_obj - 1) * h(ends)
        super().__init__(
            [ends[0]] * (n_obj - 1) + [last[1]], [ends[1]] * (n_obj - 1) + [last[0]], "is in pieces"
        )

    def sample(self, count: int) -> Array:
        free = self.n_obj - 1
        each = 2
        while each**free < count:
            each += 1
        grid = np.meshgrid(*[along(self.pieces, each)] * free, indexing="ij")
        first = np.column_stack([axis.ravel() for axis in grid])
        return np.column_stack([first, self._last(first)])

    def residual(self, F: Array) -> Array:
        return F[:, -1] - self._last(F[:, :-1])

    def _last(self, first: Array) -> Array:
        return self.constant + self.h(first).sum(axis=1)
