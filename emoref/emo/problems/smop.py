"""The SMOP test problems, whose Pareto-optimal solutions are sparse: most variables are 0.

Source: Tian, Zhang, Wang, Jin, *An evolutionary algorithm for large-scale sparse multi-objective
optimization problems*, IEEE Trans. Evol. Comput. 24(2), 2020. Definitions were checked against the authors'
own program, PlatEMO.

Of D variables, the first M - 1 (in [0, 1]) say where on the front a point lies. The other n = D - M + 1 (in
[-1, 2]) make the distance, F = (1 + g / n) h; in a published optimal solution K = ceil(theta n) of them are
not 0.
"""

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problems.base import Benchmark, whole
from emoref.emo.problems.fronts import Front, PowerFront, RayFront
from emoref.emo.problems.wfg_shapes import convex, convex_size, linear, products
from emoref.errors import ProblemError

__all__ = ["SMOP1", "SMOP2", "SMOP3", "SMOP4", "SMOP5", "SMOP6", "SMOP7", "SMOP8", "SMOPProblem"]

Array = NDArray[np.float64]

OPTIMUM = np.pi / 3.0
"""Best value of the variables that are not 0, in SMOP1, 2, 3, 5, 6 and 7."""

_GROUP = 10


class SMOPProblem(Benchmark):
    """Base of the SMOP problems.

    Parameters
    ----------
    n_obj
        Number of objectives M, at least 2; published: 2 (3 in some experiments).
    n_var
        Number of variables D, at least M + 1; published: 100 and more.
    theta
        Sparsity, the share of distance variables that are not 0, in (0, 1]; published: 0.1.

    Attributes
    ----------
    n_nonzero : int
        K, the number of distance variables that are not 0 in an optimal solution.

    Raises
    ------
    ProblemError
        If a number makes no sense.
    """

    def __init__(self, n_obj: int = 2, n_var: int = 100, theta: float = 0.1) -> None:
        name = type(self).__name__
        self.n_obj = whole(name, "n_obj", n_obj, 2)
        self.n_var = whole(name, "n_var", n_var, 1)
        if self.n_var <= n_obj:
            raise ProblemError(
                f"{name} has n_var = {n_var}; with {n_obj} objectives it needs at least {n_obj + 1}"
            )
        if not 0.0 < theta <= 1.0:
            raise ProblemError(f"{name} has theta = {theta}; it must be above 0 and at most 1")
        self.theta = float(theta)
        self.n_distance = self.n_var - n_obj + 1
        # 0.1 * 70 is 7.000000000000001 in floating point; K shall be 7.
        self.n_nonzero = int(np.ceil(round(self.theta * self.n_distance, 9)))
        self.lower = np.full(self.n_var, -1.0)
        self.upper = np.full(self.n_var, 2.0)
        self.lower[: n_obj - 1], self.upper[: n_obj - 1] = 0.0, 1.0

    def g(self, Y: Array) -> Array:
        """Return the distance (N,) of the distance variables `Y` (N, n)."""
        raise NotImplementedError

    def shape(self, X: Array) -> Array:
        """Return the point of the front (N, M) that the first M - 1 variables, `X`, stand for."""
        raise NotImplementedError

    def pareto_set(self, position: Array) -> Array:
        """Return the published, sparse solutions with g = 0 (N, n_var) for `position` (N, M - 1)."""
        return np.hstack([position, np.tile(self._best(), (len(position), 1))])

    def _best(self) -> Array:
        best = np.zeros(self.n_distance)
        best[: self.n_nonzero] = OPTIMUM
        return best

    def _split(self, Y: Array) -> tuple[Array, Array]:
        return Y[:, : self.n_nonzero], Y[:, self.n_nonzero :]

    def _evaluate(self, X: Array) -> Array:
        position, distance = X[:, : self.n_obj - 1], X[:, self.n_obj - 1 :]
        return (1.0 + self.g(distance) / self.n_distance)[:, None] * self.shape(position)


def g1(x: Array, t: Array | float) -> Array:
    """Return (x - t)**2.

    Parameters
    ----------
    x
        Variables, of any shape.
    t
        Where the optimum is.
    """
    return (x - t) ** 2


def g2(x: Array, t: Array | float) -> Array:
    """Return 2 (x - t)**2 + sin(2 pi (x - t))**2: many local optima.

    Parameters
    ----------
    x
        Variables, of any shape.
    t
        Where the optimum is.
    """
    return 2.0 * (x - t) ** 2 + np.sin(2.0 * np.pi * (x - t)) ** 2


def g3(x: Array, t: Array | float) -> Array:
    """Return 4 - (x - t) - 4 exp(-100 (x - t)**2): deceptive.

    Parameters
    ----------
    x
        Variables, of any shape.
    t
        Where the optimum is said to be.

    Notes
    -----
    It is 0 at t, but not smallest there: near t it is 400 d**2 - d with d = x - t, which is -1/1600 at
    d = 1/800. So the published optima of SMOP2, SMOP4 and SMOP8 are dominated, by little, by solutions that
    are not sparse at all; docs/problems.md shows how much.
    """
    return 4.0 - (x - t) - 4.0 * np.exp(-100.0 * (x - t) ** 2)


def g4(x: Array, t: Array | float) -> Array:
    """Return (x - pi / 3)**2 + t sin(6 pi (x - pi / 3))**2.

    Parameters
    ----------
    x
        Variables, of any shape.
    t
        How strong the local optima are.
    """
    return (x - OPTIMUM) ** 2 + t * np.sin(6.0 * np.pi * (x - OPTIMUM)) ** 2


class _LinearFront(SMOPProblem):
    """SMOP1 to SMOP3: the plane sum of f = 1."""

    def shape(self, X: Array) -> Array:
        """Return `linear` of `X`."""
        return linear(X)

    def _make_front(self) -> Front:
        return PowerFront(np.ones(self.n_obj), 1.0)


class _ConvexFront(SMOPProblem):
    """SMOP4 to SMOP6: the convex shape of WFG1 without its waves."""

    def shape(self, X: Array) -> Array:
        """Return `convex` of `X`."""
        return convex(X)

    def _make_front(self) -> Front:
        return RayFront(np.ones(self.n_obj), convex_size)


class _ConcaveFront(SMOPProblem):
    """SMOP7 and SMOP8: the unit sphere."""

    def shape(self, X: Array) -> Array:
        """Return cos a1 ... cos a(M-1), cos a1 ... sin a(M-1), ..., sin a1 with a = pi x / 2, for `X`."""
        angles = 0.5 * np.pi * X
        return products(np.cos(angles), np.sin(angles))

    def _make_front(self) -> Front:
        return PowerFront(np.ones(self.n_obj), 2.0)


class SMOP1(_LinearFront):
    """Plane front; the first K variables are best at pi / 3, the others at 0 with local optima."""

    def g(self, Y: Array) -> Array:
        """Return the sum of `g1` to pi / 3 over the first K, and of `g2` to 0 over the others."""
        first, rest = self._split(Y)
        return g1(first, OPTIMUM).sum(axis=1) + g2(rest, 0.0).sum(axis=1)


class SMOP2(_LinearFront):
    """Plane front; multi-modal and deceptive. See the note of `g3`."""

    def g(self, Y: Array) -> Array:
        """Return the sum of `g2` to pi / 3 over the first K, and of `g3` to 0 over the others."""
        first, rest = self._split(Y)
        return g2(first, OPTIMUM).sum(axis=1) + g3(rest, 0.0).sum(axis=1)


class SMOP3(_LinearFront):
    """Plane front; the others count in groups of ten, better far from 0 but best with all ten at 0."""

    def g(self, Y: Array) -> Array:
        """Return the sum of `g1` to pi / 3 over the first K, and for each group not 0 50 less its squares."""
        first, rest = self._split(Y)
        g = g1(first, OPTIMUM).sum(axis=1)
        for start in range(0, rest.shape[1], _GROUP):
            squares = (rest[:, start : start + _GROUP] ** 2).sum(axis=1)
            g = g + np.where(squares > 0.0, 50.0 - squares, 0.0)
        return g


class SMOP4(_ConvexFront):
    """Convex front; any K variables may be what they like, and do not count. See the note of `g3`."""

    def g(self, Y: Array) -> Array:
        """Return the sum of the n - K smallest `g3` to 0."""
        kept = np.sort(g3(Y, 0.0), axis=1)[:, : self.n_distance - self.n_nonzero]
        return kept.sum(axis=1)


class SMOP5(_ConvexFront):
    """Convex front; each variable is best at 0 and at pi / 3, and K of them must not be 0."""

    def g(self, Y: Array) -> Array:
        """Return the sum of `g1` to pi / 3 times `g2` to 0, plus how many non-zeros there are off K."""
        off = np.abs(self.n_nonzero - (Y != 0.0).sum(axis=1))
        return (g1(Y, OPTIMUM) * g2(Y, 0.0)).sum(axis=1) + off


class SMOP6(_ConvexFront):
    """Convex front; all variables are best at pi / 3, but zeros beyond the best K do not count."""

    def g(self, Y: Array) -> Array:
        """Return the sum of `g4`, without the variables that are 0 and not among the K smallest `g4`."""
        each = g4(Y, np.linspace(0.0, 1.0, self.n_distance))
        order = np.argsort(each, axis=1, kind="stable")
        each = np.take_along_axis(each, order, axis=1)
        zero = np.take_along_axis(Y, order, axis=1) == 0.0
        zero[:, : self.n_nonzero] = False
        return np.where(zero, 0.0, each).sum(axis=1)


class SMOP7(_ConcaveFront):
    """Concave front; each of the others is best at 0.9 times the next of them, in a circle."""

    def g(self, Y: Array) -> Array:
        """Return the sum of `g2` to pi / 3 over the first K, and to 0.9 x_(i+1) over the others."""
        first, rest = self._split(Y)
        return g2(first, OPTIMUM).sum(axis=1) + g2(rest, 0.9 * np.roll(rest, -1, axis=1)).sum(axis=1)


class SMOP8(_ConcaveFront):
    """Concave front; each variable's optimum depends on the next one. See the note of `g3`.

    Raises
    ------
    ProblemError
        If all distance variables would be non-zero: the last of them needs a next one.
    """

    def __init__(self, n_obj: int = 2, n_var: int = 100, theta: float = 0.1) -> None:
        super().__init__(n_obj, n_var, theta)
        if self.n_nonzero == self.n_distance:
            raise ProblemError(
                f"SMOP8 has theta = {theta}, so that all {self.n_distance} distance variables are non-zero; "
                "one at least must be 0, so use a smaller theta or more variables"
            )

    def g(self, Y: Array) -> Array:
        """Return the sum of `g3`, to (x_(i+1) + pi) mod 2 for the first K, then to 0.9 x_(i+1)."""
        this, following = Y[:, :-1], Y[:, 1:]
        optimum = 0.9 * following
        k = self.n_nonzero
        optimum[:, :k] = np.mod(following[:, :k] + np.pi, 2.0)
        return g3(this, optimum).sum(axis=1)

    def _best(self) -> Array:
        best = np.zeros(self.n_distance)
        for i in range(self.n_nonzero - 1, -1, -1):
            best[i] = np.mod(best[i + 1] + np.pi, 2.0)
        return best
