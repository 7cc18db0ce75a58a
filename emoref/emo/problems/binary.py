"""Small problems of bit strings, whose runs can be understood by theory and followed by hand.

All objectives are numbers of bits to be maximised, so they are returned with a minus sign.
"""

import numpy as np
from numpy.typing import NDArray

from emoref.emo.problems.base import Benchmark, whole
from emoref.emo.problems.fronts import Front, PointFront

__all__ = ["COCZ", "LOTZ", "OneMinMax"]

Array = NDArray[np.float64]


class _BitString(Benchmark):
    """Base of these problems.

    Parameters
    ----------
    n_var
        Number of bits n.
    """

    kind = "binary"
    n_obj = 2
    least = 1

    def __init__(self, n_var: int = 20) -> None:
        self.n_var = whole(type(self).__name__, "n_var", n_var, self.least)
        self.lower = np.zeros(n_var)
        self.upper = np.ones(n_var)

    def pareto_set(self) -> NDArray[np.bool_]:
        """Return one solution for each point of the true front."""
        return np.tri(self.n_var + 1, self.n_var, -1, dtype=np.bool_)

    def _make_front(self) -> Front:
        return PointFront(self._evaluate(self.pareto_set()))


class OneMinMax(_BitString):
    """Maximise the number of zeros and the number of ones: every solution is Pareto-optimal.

    Source: Giel and Lehre, Evol. Comput. 18(3), 2010. The front has n + 1 points; one of them, that of all
    ones, has a single solution, the middle one C(n, n / 2): the search is for the ends.
    """

    def _evaluate(self, X: NDArray[np.bool_]) -> Array:
        ones = X.sum(axis=1).astype(np.float64)
        return np.column_stack([ones - self.n_var, -ones])


class LOTZ(_BitString):
    """Maximise the number of leading ones and the number of trailing zeros.

    Source: Laumanns, Thiele, Zitzler, IEEE Trans. Evol. Comput. 8(2), 2004. The Pareto set is 1...10...0, of
    which there are n + 1.
    """

    def _evaluate(self, X: NDArray[np.bool_]) -> Array:
        leading = np.cumprod(X, axis=1, dtype=np.int64).sum(axis=1)
        trailing = np.cumprod(~X[:, ::-1], axis=1, dtype=np.int64).sum(axis=1)
        return np.column_stack([-leading, -trailing]).astype(np.float64)


class COCZ(_BitString):
    """Maximise the ones of all bits, and the ones of the first half plus the zeros of the second.

    Source: Laumanns, Thiele, Zitzler, IEEE Trans. Evol. Comput. 8(2), 2004 (count ones, count zeros). The
    first half has no conflict, the second half is that of `OneMinMax`. The number of bits is even; an odd
    number puts the extra bit into the second half (not published; emoref uses this).
    """

    least = 2

    def pareto_set(self) -> NDArray[np.bool_]:
        """Return one solution for each point of the true front: ones in the first half."""
        half = self.n_var // 2
        second = np.tri(self.n_var - half + 1, self.n_var - half, -1, dtype=np.bool_)
        return np.hstack([np.ones((len(second), half), dtype=np.bool_), second])

    def _evaluate(self, X: NDArray[np.bool_]) -> Array:
        half = self.n_var // 2
        first, second = X[:, :half].sum(axis=1), X[:, half:].sum(axis=1)
        zeros = self.n_var - half - second
        return np.column_stack([-(first + second), -(first + zeros)]).astype(np.float64)
