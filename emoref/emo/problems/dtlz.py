"""The DTLZ test problems of any number of objectives: Deb, Thiele, Laumanns, Zitzler, 2002 and 2005.

The first M - 1 variables say where on the front a point lies, the other k how far it is from it: the
distance function g is 0 on the true front.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref.emo.reference_points import check_reference_points, das_dennis
from emoref.errors import ProblemError

__all__ = ["DTLZ1", "DTLZ2", "DTLZ3", "DTLZ4", "DTLZProblem"]


class DTLZProblem:
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
    kind = "real"

    def __init__(self, n_obj: int = 3, k: int | None = None, base: float = 1.0) -> None:
        name = type(self).__name__
        self.n_obj = n_obj
        self.k = self.default_k if k is None else k
        if self.n_obj < 2 or self.k < 1:
            raise ProblemError(f"{name} has {n_obj} objectives and k = {self.k}; it needs at least 2 and 1")
        if not (np.isfinite(base) and base > 0.0):
            raise ProblemError(f"{name} has base {base}; it must be a positive number")
        self.n_var = self.n_obj - 1 + self.k
        self.lower = np.zeros(self.n_var)
        self.upper = np.ones(self.n_var)
        self.scale = float(base) ** np.arange(self.n_obj)

    def g(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance function of the last k variables, `X` (N, k), as (N,)."""
        raise NotImplementedError

    def shape(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the point of the plain front (N, M) that the first M - 1 variables, `X`, stand for."""
        raise NotImplementedError

    def evaluate(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the objective values (N, M) of candidates `X` (N, n_var)."""
        position, distance = X[:, : self.n_obj - 1], X[:, self.n_obj - 1 :]
        return self.shape(position) * (1.0 + self.g(distance))[:, None] * self.scale

    def targets(self, reference_points: Any) -> NDArray[np.float64]:
        """Return where the rays through reference points meet the true front.

        These are the points against which Deb and Jain measure the inverted generational distance. For a
        scaled problem the rays are those of the plain one, that is, of normalised objectives.

        Parameters
        ----------
        reference_points
            Points (H, M); see `emoref.emo.reference_points.das_dennis`.

        Returns
        -------
        numpy.ndarray
            Points of the true front (H, M).

        Raises
        ------
        ShapeError, ProblemError
            If the reference points are none; see `check_reference_points`.
        """
        W = check_reference_points(reference_points, self.n_obj)
        return self._onto_front(W) * self.scale

    def pareto_front(self, divisions: int = 100) -> NDArray[np.float64]:
        """Return points of the true front, on the rays of `das_dennis` with so many `divisions`."""
        return self.targets(das_dennis(self.n_obj, divisions))

    def _onto_front(self, W: NDArray[np.float64]) -> NDArray[np.float64]:
        raise NotImplementedError


class DTLZ1(DTLZProblem):
    """Plane front, sum of objectives 1/2, behind 11**k - 1 local ones; k = 5."""

    default_k = 5

    def g(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return 100 (k + sum of (x - 1/2)**2 - cos(20 pi (x - 1/2))) for each row of `X`."""
        return _rastrigin(X)

    def shape(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return half of: x1 ... x(M-1), x1 ... x(M-2) (1 - x(M-1)), ..., 1 - x1, for each row of `X`."""
        return 0.5 * _products(X, 1.0 - X)

    def _onto_front(self, W: NDArray[np.float64]) -> NDArray[np.float64]:
        return 0.5 * W / W.sum(axis=1, keepdims=True)


class DTLZ2(DTLZProblem):
    """Front on the unit sphere; k = 10."""

    def g(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of (x - 1/2)**2 for each row of `X`."""
        return ((X - 0.5) ** 2).sum(axis=1)

    def shape(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return cos a1 ... cos a(M-1), cos a1 ... sin a(M-1), ..., sin a1 with a = pi x / 2, for `X`."""
        angles = 0.5 * np.pi * X
        return _products(np.cos(angles), np.sin(angles))

    def _onto_front(self, W: NDArray[np.float64]) -> NDArray[np.float64]:
        return W / np.sqrt((W**2).sum(axis=1, keepdims=True))


class DTLZ3(DTLZ2):
    """Front of DTLZ2 behind 3**k - 1 local ones; k = 10."""

    def g(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the distance function of DTLZ1 for each row of `X`."""
        return _rastrigin(X)


class DTLZ4(DTLZ2):
    """DTLZ2 with the position variables taken to the power of 100, so that most points crowd at an edge."""

    alpha = 100.0

    def shape(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the shape of DTLZ2 at `X`**100."""
        return super().shape(X**self.alpha)


def _rastrigin(X: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = X - 0.5
    return 100.0 * (X.shape[1] + (centred**2 - np.cos(20.0 * np.pi * centred)).sum(axis=1))


def _products(along: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (a1 ... an, a1 ... a(n-1) bn, ..., a1 b2, b1) for each row of a = `along`, b = `across`."""
    one = np.ones((len(along), 1))
    leading = np.hstack([one, np.cumprod(along, axis=1)])[:, ::-1]
    return leading * np.hstack([one, across[:, ::-1]])
