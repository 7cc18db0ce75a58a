"""The MaF test problems, many objectives and fronts of many shapes.

Source: Cheng, Li, Tian, Zhang, Yang, Jin, Yao, *A benchmark test suite for evolutionary many-objective
optimization*, Complex Intell. Syst. 3(1), 2017.

Fifteen problems, most of them taken from other suites. Definitions were
checked against the authors' own program, PlatEMO, where the paper leaves a detail open; the docstring says
so. MaF8 and MaF9 are in `emoref.emo.problems.maf_distance`.
"""

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problems.base import Benchmark, whole
from emoref.emo.problems.dtlz import DTLZ2, DTLZ3, DTLZ4, DTLZ5, DTLZ7, DTLZProblem
from emoref.emo.problems.dtlz_variants import convex_powers
from emoref.emo.problems.fronts import Front, PowerFront
from emoref.emo.problems.maf_fronts import LiftedSphereFront, SpherePatchFront
from emoref.emo.problems.wfg import WFG1, WFG2, WFG9, WFGProblem
from emoref.emo.problems.wfg_shapes import linear, products
from emoref.errors import ProblemError

__all__ = [
    "MaF1",
    "MaF2",
    "MaF3",
    "MaF4",
    "MaF5",
    "MaF6",
    "MaF7",
    "MaF10",
    "MaF11",
    "MaF12",
    "MaF13",
    "MaF14",
    "MaF15",
]

Array = NDArray[np.float64]


class _MaF(DTLZProblem):
    """A MaF problem of DTLZ's kind, without its scale.

    Parameters
    ----------
    n_obj
        Number of objectives M, at least 2.
    k
        Number of distance variables, at least 1; None for the published number.
    """

    def __init__(self, n_obj: int = 3, k: int | None = None) -> None:
        super().__init__(n_obj, k)


class MaF1(_MaF):
    """Inverted plane front: (1 + g) (1 - h_i), h as in DTLZ1 without its 1/2, g as in DTLZ2; k = 10."""

    def g(self, X: Array) -> Array:
        """Return the sum of (x - 1/2)**2 for each row of `X`."""
        return ((X - 0.5) ** 2).sum(axis=1)

    def shape(self, X: Array) -> Array:
        """Return 1 - x1 ... x(M-1), 1 - x1 ... x(M-2) (1 - x(M-1)), ..., x1 for each row of `X`."""
        return 1.0 - linear(X)

    def _make_front(self) -> Front:
        return PowerFront(self.scale, 1.0, inverted=True)


class MaF2(_MaF, DTLZ2):
    """Middle part of the sphere, and a distance function for each objective (DTLZ2BZ); k = 10.

    All angles are pi / 2 (x / 2 + 1 / 4), so from pi / 8 to 3 pi / 8. The distance variables are divided
    among the objectives, floor(k / M) for each, and the rest for the last.

    Raises
    ------
    ProblemError
        If k < M: an objective without distance variables. The paper does not treat it.
    """

    def __init__(self, n_obj: int = 3, k: int | None = None) -> None:
        super().__init__(n_obj, max(10, n_obj) if k is None and isinstance(n_obj, int) else k)
        if self.k < self.n_obj:
            raise ProblemError(f"MaF2 has k = {self.k}; with {n_obj} objectives it needs at least {n_obj}")

    def distances(self, X: Array) -> Array:
        """Return g_m = sum of (x / 2 - 1 / 4)**2 over the variables of objective m for `X`, (N, M)."""
        each = self.k // self.n_obj
        starts = each * np.arange(self.n_obj)
        return np.add.reduceat((0.5 * X[:, self.n_obj - 1 :] - 0.25) ** 2, starts, axis=1)

    def _evaluate(self, X: Array) -> Array:
        return (1.0 + self.distances(X)) * self.shape(0.5 * X[:, : self.n_obj - 1] + 0.25)

    def _make_front(self) -> Front:
        return SpherePatchFront(self.n_obj)


class MaF3(_MaF, DTLZ3):
    """Convex front of `ConvexDTLZ2` behind the local fronts of DTLZ3; k = 10."""

    def _objectives(self, position: Array, g: Array) -> Array:
        return convex_powers(super()._objectives(position, g))

    def _make_front(self) -> Front:
        return PowerFront(self.scale, [0.5] * (self.n_obj - 1) + [1.0])


class MaF4(_MaF, DTLZ3):
    """Inverted DTLZ3 with objective i, counted from 1, multiplied by 2**i; k = 10."""

    def _objectives(self, position: Array, g: Array) -> Array:
        return 2.0 * 2.0 ** np.arange(self.n_obj) * (1.0 + g)[:, None] * (1.0 - self.shape(position))

    def _make_front(self) -> Front:
        return PowerFront(2.0 * 2.0 ** np.arange(self.n_obj), 2.0, inverted=True)


class MaF5(_MaF, DTLZ4):
    """DTLZ4 with objective i, counted from 1, multiplied by 2**(M - i + 1); k = 10."""

    def _objectives(self, position: Array, g: Array) -> Array:
        return super()._objectives(position, g) * 2.0 ** np.arange(self.n_obj, 0, -1)

    def _make_front(self) -> Front:
        return PowerFront(2.0 ** np.arange(self.n_obj, 0, -1.0), 2.0)


class MaF6(_MaF, DTLZ5):
    """DTLZ5(I, M) with I = 2: like DTLZ5, but distances grow by 1 + 100 g; k = 10.

    The factor 100 keeps points with g > 0 from being non-dominated, which spoils DTLZ5: the front is the
    curve for any number of objectives.
    """

    def _objectives(self, position: Array, g: Array) -> Array:
        # DTLZ5 draws the variables to the middle with g itself, and multiplies by 1 + g.
        ratio = (1.0 + 100.0 * g) / (1.0 + g)
        return super()._objectives(position, g) * ratio[:, None]


class MaF7(_MaF, DTLZ7):
    """DTLZ7; k = 20."""


class _ShortWFG(WFGProblem):
    """A WFG problem with k = M - 1 and l = 10."""

    def __init__(self, n_obj: int = 3, l: int = 10) -> None:  # noqa: E741
        super().__init__(n_obj, whole(type(self).__name__, "n_obj", n_obj, 2) - 1, l)


class MaF10(_ShortWFG, WFG1):
    """WFG1 with k = M - 1.

    Parameters
    ----------
    n_obj
        Number of objectives M, at least 2.
    l
        Number of distance parameters; published: 10.
    """


class MaF11(_ShortWFG, WFG2):
    """WFG2 with k = M - 1.

    Parameters
    ----------
    n_obj
        Number of objectives M, at least 2.
    l
        Number of distance parameters, even; published: 10.
    """


class MaF12(_ShortWFG, WFG9):
    """WFG9 with k = M - 1.

    Parameters
    ----------
    n_obj
        Number of objectives M, at least 2.
    l
        Number of distance parameters; published: 10.
    """


class MaF13(Benchmark):
    """Three objectives on a sphere with a curved Pareto set, all others equal and made of them.

    With y_j = x_j - 2 x2 sin(2 pi x1 + j pi / n), and means of y_j**2 over j = 4, 7, ...; 5, 8, ...;
    3, 6, ...; and 4, ..., n:

        f1 = sin(pi x1 / 2) + 2 mean,   f2 = cos(pi x1 / 2) sin(pi x2 / 2) + 2 mean,
        f3 = cos(pi x1 / 2) cos(pi x2 / 2) + 2 mean,   f4 = ... = f1**2 + f2**10 + f3**10 + 2 mean.

    Parameters
    ----------
    n_obj
        Number of objectives, at least 3.
    n_var
        Number of variables n, at least 5; published: 5. x1 and x2 are in [0, 1], the others in [-2, 2].
    """

    def __init__(self, n_obj: int = 3, n_var: int = 5) -> None:
        self.n_obj = whole(type(self).__name__, "n_obj", n_obj, 3)
        self.n_var = whole(type(self).__name__, "n_var", n_var, 5)
        self.lower = np.full(n_var, -2.0)
        self.upper = np.full(n_var, 2.0)
        self.lower[:2], self.upper[:2] = 0.0, 1.0

    def pareto_set(self, position: Array) -> Array:
        """Return optimal solutions (N, n_var) for values of x1 and x2, `position` (N, 2)."""
        X = self._centre(position[:, :1], position[:, 1:2])
        X[:, :2] = position
        return X

    def _centre(self, x1: Array, x2: Array) -> Array:
        return 2.0 * x2 * np.sin(2.0 * np.pi * x1 + np.arange(1, self.n_var + 1) * np.pi / self.n_var)

    def _evaluate(self, X: Array) -> Array:
        square = (X - self._centre(X[:, :1], X[:, 1:2])) ** 2
        a, b = 0.5 * np.pi * X[:, 0], 0.5 * np.pi * X[:, 1]
        f1 = np.sin(a) + 2.0 * square[:, 3::3].mean(axis=1)
        f2 = np.cos(a) * np.sin(b) + 2.0 * square[:, 4::3].mean(axis=1)
        f3 = np.cos(a) * np.cos(b) + 2.0 * square[:, 2::3].mean(axis=1)
        f4 = f1**2 + f2**10 + f3**10 + 2.0 * square[:, 3:].mean(axis=1)
        return np.column_stack([f1, f2, f3] + [f4] * (self.n_obj - 3))

    def _make_front(self) -> Front:
        return LiftedSphereFront(self.n_obj)


class _LargeScale(Benchmark):
    """Base of MaF14 and MaF15: many distance variables, in groups of chaotic sizes, linked with x1.

    Parameters
    ----------
    n_obj
        Number of objectives M, at least 2.
    n_var
        Number of variables D; None for 20 M. It must be large enough for two variables in each of the two
        subgroups of every objective.

    Attributes
    ----------
    sizes : numpy.ndarray
        Number of variables in each of the two subgroups of an objective, (n_obj,).

    Notes
    -----
    The sizes are shares c_i of half the D - M + 1 distance variables, rounded down, with c_1 = 3.8 a (1 - a)
    for a = 0.1 and c_(i+1) = 3.8 c_i (1 - c_i); what rounding leaves over has no influence. Links use the
    number of the variable among all D, as PlatEMO does.
    """

    smallest_group = 1

    def __init__(self, n_obj: int = 3, n_var: int | None = None) -> None:
        name = type(self).__name__
        self.n_obj = whole(name, "n_obj", n_obj, 2)
        self.n_var = whole(name, "n_var", 20 * n_obj if n_var is None else n_var, 1)
        shares = [3.8 * 0.1 * (1.0 - 0.1)]
        while len(shares) < n_obj:
            shares.append(3.8 * shares[-1] * (1.0 - shares[-1]))
        share = np.array(shares) / sum(shares)
        needed = int(np.ceil(2 * self.smallest_group / share.min())) + n_obj - 1
        if self.n_var < needed:
            raise ProblemError(
                f"{name} has n_var = {self.n_var}; with {n_obj} objectives it needs at least {needed}, so "
                "that every objective has distance variables"
            )
        self.sizes = np.floor(share * (self.n_var - n_obj + 1) / 2).astype(np.int64)
        self.lower = np.zeros(self.n_var)
        self.upper = np.full(self.n_var, 10.0)
        self.upper[: n_obj - 1] = 1.0

    def link(self) -> Array:
        """Return the factors of the distance variables (D - M + 1,)."""
        raise NotImplementedError

    def distances(self, X: Array) -> Array:
        """Return the mean distance function of each objective (N, M) for candidates `X`."""
        linked = self.link() * X[:, self.n_obj - 1 :] - 10.0 * X[:, :1]
        starts = np.concatenate([[0], np.cumsum(2 * self.sizes)])
        total = np.empty((len(X), self.n_obj))
        for i, size in enumerate(self.sizes):
            halves = (linked[:, starts[i] + j * size : starts[i] + (j + 1) * size] for j in (0, 1))
            function = self._odd if i % 2 == 0 else self._even
            total[:, i] = sum(function(half) for half in halves) / (2 * size)
        return total

    def pareto_set(self, position: Array) -> Array:
        """Return solutions with all distances 0 (N, n_var) for values of the first M - 1 variables.

        A row may lie outside the bounds: see `MaF14`.
        """
        best = np.zeros(self.n_var - self.n_obj + 1)
        starts = np.concatenate([[0], np.cumsum(2 * self.sizes)])
        for i in range(1, self.n_obj, 2):
            best[starts[i] : starts[i + 1]] = self._best_even
        return np.hstack([position, (best + 10.0 * position[:, :1]) / self.link()])

    _best_even = 0.0

    def _places(self) -> Array:
        return np.arange(self.n_obj, self.n_var + 1) / self.n_var

    def _odd(self, Y: Array) -> Array:
        raise NotImplementedError

    def _even(self, Y: Array) -> Array:
        raise NotImplementedError


class MaF14(_LargeScale):
    """LSMOP3: plane front, Rastrigin's and Rosenbrock's functions in turns as distances, linear links.

    Parameters and attributes are those of the base, `n_obj` and `n_var`.

    Notes
    -----
    Where a linked variable must be 1, the variable itself must be (1 + 10 x1) / link. For x1 near 1 and many
    objectives (15, say) that exceeds its bound, 10, by little; such points of the front cannot be reached.
    """

    # Rosenbrock's function compares neighbours.
    smallest_group = 2
    _best_even = 1.0

    def link(self) -> Array:
        """Return 1 + i / D for variables i = M, ..., D."""
        return 1.0 + self._places()

    def _odd(self, Y: Array) -> Array:
        return (Y**2 - 10.0 * np.cos(2.0 * np.pi * Y) + 10.0).sum(axis=1)

    def _even(self, Y: Array) -> Array:
        return (100.0 * (Y[:, :-1] ** 2 - Y[:, 1:]) ** 2 + (Y[:, :-1] - 1.0) ** 2).sum(axis=1)

    def _evaluate(self, X: Array) -> Array:
        return (1.0 + self.distances(X)) * linear(X[:, : self.n_obj - 1])

    def _make_front(self) -> Front:
        return PowerFront(np.ones(self.n_obj), 1.0)


class MaF15(_LargeScale):
    """Inverted LSMOP8: Griewank's function and the sphere in turns as distances, non-linear links.

    Each objective suffers from its own distance and from the next one's. Parameters and attributes are
    those of the base, `n_obj` and `n_var`.
    """

    def link(self) -> Array:
        """Return 1 + cos(pi / 2 i / D) for variables i = M, ..., D."""
        return 1.0 + np.cos(0.5 * np.pi * self._places())

    def _odd(self, Y: Array) -> Array:
        waves = np.cos(Y / np.sqrt(np.arange(1, Y.shape[1] + 1)))
        return (Y**2).sum(axis=1) / 4000.0 - np.prod(waves, axis=1) + 1.0

    def _even(self, Y: Array) -> Array:
        return (Y**2).sum(axis=1)

    def _evaluate(self, X: Array) -> Array:
        G = self.distances(X)
        G[:, :-1] += G[:, 1:].copy()
        angles = 0.5 * np.pi * X[:, : self.n_obj - 1]
        return (1.0 + G) * (1.0 - products(np.cos(angles), np.sin(angles)))

    def _make_front(self) -> Front:
        return PowerFront(np.ones(self.n_obj), 2.0, inverted=True)
