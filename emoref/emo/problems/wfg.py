"""The WFG test problems: Huband, Hingston, Barone, While, IEEE Trans. Evol. Comput. 10(5), 2006, table XIV.

A solution z has k position and l distance parameters, z_i in [0, 2 i]. Divided by 2 i they go through some
transformations (`emoref.emo.problems.wfg_transformations`), of which the last one leaves M numbers t. From
these come x_1, ..., x_(M-1), which say where on the front the point is, and x_M, how far from it:

    f_m = x_M + 2 m h_m(x_1, ..., x_(M-1)),   x_i = max(t_M, A_i) (t_i - 1/2) + 1/2,   x_M = t_M.

The h_m are shape functions (`emoref.emo.problems.wfg_shapes`); A_i is 1, but 0 for i > 1 in WFG3.

Distance parameters are best at z_i = 0.7 i (where nothing biases them), but 0.7 i / (2 i) is not always 0.35
in floating point, and WFG1 turns a difference of 1e-16 into 0.48. Not published; emoref takes a quotient that
differs from 0.35 by at most 4 units of rounding for 0.35, so that the front can be reached.
"""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problems.base import Benchmark, whole
from emoref.emo.problems.curves import record_pieces
from emoref.emo.problems.fronts import Front, PowerFront, SegmentFront
from emoref.emo.problems.wfg_fronts import HeadFront
from emoref.emo.problems.wfg_shapes import concave, convex, disconnected, linear, mixed
from emoref.emo.problems.wfg_transformations import (
    b_flat,
    b_param,
    b_poly,
    r_nonsep,
    r_sum,
    s_decept,
    s_linear,
    s_multi,
)
from emoref.errors import ProblemError

__all__ = ["WFG1", "WFG2", "WFG3", "WFG4", "WFG5", "WFG6", "WFG7", "WFG8", "WFG9", "WFGProblem"]

Array = NDArray[np.float64]

OPTIMUM = 0.35
"""Where distance parameters, divided by 2 i, are best."""

PARAM_BIAS = (0.98 / 49.98, 0.02, 50.0)
"""A, B, C of `b_param` in WFG7, WFG8 and WFG9."""


class WFGProblem(Benchmark):
    """Base of the WFG problems.

    Parameters
    ----------
    n_obj
        Number of objectives M, at least 2.
    k
        Number of position parameters, a positive multiple of M - 1; None for 2 (M - 1), but 4 if M = 2.
    l
        Number of distance parameters, at least 1, and even for WFG2 and WFG3; None for 20.

    Attributes
    ----------
    degenerate : bool
        Whether A_i is 0 for i > 1.

    Raises
    ------
    ProblemError
        If a number breaks these rules.

    Notes
    -----
    The defaults are those of the paper's experiments. pymoo refuses k < 4, which the paper does not.
    """

    degenerate = False
    pairs = False
    """Whether distance parameters are merged two by two."""

    def __init__(self, n_obj: int = 3, k: int | None = None, l: int | None = None) -> None:  # noqa: E741
        name = type(self).__name__
        self.n_obj = whole(name, "n_obj", n_obj, 2)
        self.k = whole(name, "k", (4 if n_obj == 2 else 2 * (n_obj - 1)) if k is None else k, 1)
        self.l = whole(name, "l", 20 if l is None else l, 1)
        each = n_obj - 1
        if self.k % each:
            near = max(self.k // each, 1) * each
            raise ProblemError(
                f"{name} has k = {k} position parameters; with {n_obj} objectives k must be a multiple of "
                f"M - 1 = {each}, for instance {near}"
            )
        if self.pairs and self.l % 2:
            raise ProblemError(
                f"{name} has l = {l} distance parameters; l must be even, for instance {self.l + 1}"
            )
        self.n_var = self.k + self.l
        self.lower = np.zeros(self.n_var)
        self.upper = 2.0 * np.arange(1.0, self.n_var + 1.0)
        self.scale = 2.0 * np.arange(1.0, n_obj + 1.0)

    def transform(self, y: Array) -> Array:
        """Return t (N, M) for parameters in [0, 1], `y` (N, n_var)."""
        raise NotImplementedError

    def shape(self, x: Array) -> Array:
        """Return h (N, M) for position parameters `x` (N, M - 1)."""
        raise NotImplementedError

    def pareto_set(self, position: Array) -> Array:
        """Return optimal solutions (N, n_var) for position parameters in [0, 1], `position` (N, k).

        For WFG2 only some of them are on the front, which has gaps.
        """
        return self._optimal(position) * self.upper

    def _evaluate(self, X: Array) -> Array:
        y = X / self.upper
        y[:, self.k :] = _rounded_to_optimum(y[:, self.k :])
        t = self.transform(y)
        distance = t[:, -1:]
        A = np.ones(self.n_obj - 1)
        if self.degenerate:
            A[1:] = 0.0
        x = np.maximum(distance, A) * (t[:, :-1] - 0.5) + 0.5
        return distance + self.scale * self.shape(x)

    def _optimal(self, position: Array) -> Array:
        return np.hstack([position, np.full((len(position), self.l), OPTIMUM)])

    def _split(self, y: Array) -> tuple[Array, Array]:
        return y[:, : self.k], y[:, self.k :]

    def _groups(self, y: Array) -> list[Array]:
        """Return the M - 1 equal groups of position parameters."""
        return np.split(y[:, : self.k], self.n_obj - 1, axis=1)

    def _shift(self, y: Array) -> Array:
        """Move the optimum of the distance parameters: the first step of WFG1, 2, 3, 6, 7 and 8."""
        position, distance = self._split(y)
        return np.hstack([position, s_linear(distance, OPTIMUM)])

    def _means(self, y: Array) -> Array:
        """Merge each group, and the rest, to its mean: the last step of WFG2, 3, 4, 5, 7 and 8."""
        return np.column_stack([r_sum(group) for group in (*self._groups(y), y[:, self.k :])])

    def _non_separable(self, y: Array) -> Array:
        """Merge each group, and the distance parameters, by `r_nonsep`: the last step of WFG6 and 9."""
        groups = (*self._groups(y), y[:, self.k :])
        return np.column_stack([r_nonsep(group, group.shape[1]) for group in groups])


class WFG1(WFGProblem):
    """Mixed front; flat and strongly biased, so that solutions crowd far from it."""

    def transform(self, y: Array) -> Array:
        """Shift, flatten, bias by the power 0.02, and merge with weights 2 i."""
        position, distance = self._split(self._shift(y))
        y = b_poly(np.hstack([position, b_flat(distance, 0.8, 0.75, 0.85)]), 0.02)
        weights = np.split(self.upper[: self.k], self.n_obj - 1)
        merged = [r_sum(group, w) for group, w in zip(self._groups(y), weights, strict=True)]
        return np.column_stack([*merged, r_sum(y[:, self.k :], self.upper[self.k :])])

    def shape(self, x: Array) -> Array:
        """Return `convex` with `mixed` (A = 5) as its last objective."""
        return np.column_stack([convex(x)[:, :-1], mixed(x[:, 0])])

    def _make_front(self) -> Front:
        return HeadFront(self.scale, mixed, np.array([[0.0, 1.0]]))


class WFG2(WFGProblem):
    """Convex front in pieces; distance parameters are non-separable two by two, and l is even."""

    pairs = True

    def transform(self, y: Array) -> Array:
        """Shift, merge pairs of distance parameters by `r_nonsep`, and take means."""
        position, distance = self._split(self._shift(y))
        merged = [r_nonsep(distance[:, i : i + 2], 2) for i in range(0, self.l, 2)]
        return self._means(np.column_stack([position, *merged]))

    def shape(self, x: Array) -> Array:
        """Return `convex` with `disconnected` (A = 5) as its last objective."""
        return np.column_stack([convex(x)[:, :-1], disconnected(x[:, 0])])

    @cached_property
    def front_pieces(self) -> Array:
        """Intervals of x1 that make up the true front, (n, 2)."""

        def slope(x: Any) -> Any:
            phase = 5.0 * np.pi * x
            return -(np.cos(phase) ** 2) + phase * np.sin(2.0 * phase)

        return record_pieces(disconnected, slope, 0.0, 1.0)

    def _make_front(self) -> Front:
        return HeadFront(self.scale, disconnected, self.front_pieces)


class WFG3(WFG2):
    """WFG2 with a linear shape, meant to have a straight line as its front; l is even.

    Notes
    -----
    The published front is the line, and it is what `front` and `residual` mean. For M = 2 it is the true
    one. From M = 3 on, points with x_M > 0 exist that no point of the line dominates (Ishibuchi, Masuda,
    Nojima, IEEE Trans. Evol. Comput. 20(5), 2016); see docs/problems.md.
    """

    degenerate = True

    def shape(self, x: Array) -> Array:
        """Return `linear`."""
        return linear(x)

    def _make_front(self) -> Front:
        ends = np.full((2, self.n_obj - 1), 0.5)
        ends[:, 0] = 0.0, 1.0
        start, end = self.scale * linear(ends)
        return SegmentFront(start, end)


class WFG4(WFGProblem):
    """Concave front, highly multi-modal: the front of all that follow too."""

    def transform(self, y: Array) -> Array:
        """Shift by `s_multi` (A = 30, B = 10), and take means."""
        return self._means(s_multi(y, 30, 10.0, OPTIMUM))

    def shape(self, x: Array) -> Array:
        """Return `concave`."""
        return concave(x)

    def _make_front(self) -> Front:
        return PowerFront(self.scale, 2.0)


class WFG5(WFG4):
    """Concave front, deceptive."""

    def transform(self, y: Array) -> Array:
        """Shift by `s_decept` (B = 0.001, C = 0.05), and take means."""
        return self._means(s_decept(y, OPTIMUM, 0.001, 0.05))


class WFG6(WFG4):
    """Concave front, non-separable."""

    def transform(self, y: Array) -> Array:
        """Shift, and merge by `r_nonsep`."""
        return self._non_separable(self._shift(y))


class WFG7(WFG4):
    """Concave front; each position parameter is biased by all parameters after it."""

    def transform(self, y: Array) -> Array:
        """Bias position parameters by `b_param`, shift, and take means."""
        position, distance = self._split(y)
        position = b_param(position, _mean_after(y)[:, : self.k], *PARAM_BIAS)
        return self._means(self._shift(np.hstack([position, distance])))


class WFG8(WFG4):
    """Concave front; each distance parameter is biased by all parameters before it."""

    def transform(self, y: Array) -> Array:
        """Bias distance parameters by `b_param`, shift, and take means."""
        position, distance = self._split(y)
        distance = b_param(distance, _mean_before(y)[:, self.k :], *PARAM_BIAS)
        return self._means(self._shift(np.hstack([position, distance])))

    def _optimal(self, position: Array) -> Array:
        y = super()._optimal(position)
        for i in range(self.k, self.n_var):
            y[:, i] = _undo_param(y[:, :i].mean(axis=1))
        return y


class WFG9(WFG4):
    """Concave front, non-separable and deceptive; each parameter is biased by all after it."""

    def transform(self, y: Array) -> Array:
        """Bias all but the last by `b_param`, shift by `s_decept` and `s_multi`, merge by `r_nonsep`."""
        y = np.hstack([b_param(y[:, :-1], _mean_after(y), *PARAM_BIAS), y[:, -1:]])
        position, distance = self._split(y)
        return self._non_separable(
            np.hstack([s_decept(position, OPTIMUM, 0.001, 0.05), s_multi(distance, 30, 95.0, OPTIMUM)])
        )

    def _optimal(self, position: Array) -> Array:
        y = super()._optimal(position)
        for i in range(self.n_var - 2, self.k - 1, -1):
            y[:, i] = _undo_param(y[:, i + 1 :].mean(axis=1))
        return y


def _rounded_to_optimum(y: Array) -> Array:
    """Return the optimum for whatever differs from it by no more than dividing z = 0.7 i by 2 i can do."""
    return np.where(np.abs(y - OPTIMUM) <= 4.0 * np.finfo(np.float64).eps, OPTIMUM, y)


def _mean_after(y: Array) -> Array:
    """Return the mean of all later parameters, for each but the last, (N, n - 1)."""
    n = y.shape[1]
    sums = np.cumsum(y[:, :0:-1], axis=1)[:, ::-1]
    return np.clip(sums / np.arange(n - 1.0, 0.0, -1.0), 0.0, 1.0)


def _mean_before(y: Array) -> Array:
    """Return the mean of all earlier parameters (N, n); for the first, which has none, 0."""
    n = y.shape[1]
    sums = np.hstack([np.zeros((len(y), 1)), np.cumsum(y[:, :-1], axis=1)])
    return np.clip(sums / np.maximum(np.arange(n), 1), 0.0, 1.0)


def _undo_param(u: Array) -> Array:
    """Return the y that `b_param` turns into the optimum when the other parameters merge to `u`."""
    a, b, c = PARAM_BIAS
    exponent = b + (c - b) * np.where(u <= 0.5, 2.0 * a * u, a + (2.0 * u - 1.0) * (1.0 - a))
    return OPTIMUM ** (1.0 / exponent)
