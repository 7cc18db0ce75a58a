"""Shape functions: they turn M - 1 numbers in [0, 1] into a point of a front.

Source: Huband, Hingston, Barone, While, *A review of multiobjective test problems and a scalable test
problem toolkit*, IEEE Trans. Evol. Comput. 10(5), 2006, table X. `linear`, `convex` and `concave` give all
objectives h_1, ..., h_M at once; `mixed` and `disconnected` give the last one and are used with `convex`.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["concave", "convex", "convex_size", "disconnected", "linear", "mixed", "products"]

Array = NDArray[np.float64]


def products(along: Array, across: Array) -> Array:
    """Return the pattern that all shapes share.

    Parameters
    ----------
    along, across
        a and b, (N, n).

    Returns
    -------
    numpy.ndarray
        (a1 ... an, a1 ... a(n-1) bn, ..., a1 b2, b1) for each row, (N, n + 1).

    Examples
    --------
    >>> products(np.array([[2.0, 3.0]]), np.array([[5.0, 7.0]]))
    array([[ 6., 14.,  5.]])
    """
    n = along.shape[1]
    leading = np.cumprod(along, axis=1)
    result = np.empty((len(along), n + 1))
    result[:, 0] = leading[:, n - 1]
    np.multiply(leading[:, : n - 1][:, ::-1], across[:, 1:][:, ::-1], out=result[:, 1:n])
    result[:, n] = across[:, 0]
    return result


def linear(x: Array) -> Array:
    """Return x1 ... x(M-1), x1 ... x(M-2) (1 - x(M-1)), ..., 1 - x1: the plane sum h = 1.

    Parameters
    ----------
    x
        Position parameters (N, M - 1) in [0, 1].
    """
    return products(x, 1.0 - x)


def convex(x: Array) -> Array:
    """Return the products of 1 - cos(pi x / 2) with a last factor 1 - sin(pi x / 2).

    Parameters
    ----------
    x
        Position parameters (N, M - 1) in [0, 1].
    """
    angles = 0.5 * np.pi * x
    return products(1.0 - np.cos(angles), 1.0 - np.sin(angles))


def concave(x: Array) -> Array:
    """Return the products of sin(pi x / 2) with a last factor cos(pi x / 2): the unit sphere.

    Parameters
    ----------
    x
        Position parameters (N, M - 1) in [0, 1].
    """
    angles = 0.5 * np.pi * x
    return products(np.sin(angles), np.cos(angles))


def mixed(x1: Array, alpha: float = 1.0, periods: int = 5) -> Array:
    """Return (1 - x1 - cos(2 A pi x1 + pi / 2) / (2 A pi))**alpha, in turns convex and concave.

    Parameters
    ----------
    x1
        First position parameter (N,) in [0, 1].
    alpha
        Above 1 the whole is convex, below 1 concave.
    periods
        A, the number of turns.

    Notes
    -----
    As cos(t + pi / 2) = -sin(t), computed as 1 - x1 + sin(2 A pi x1) / (2 A pi); rounding errors below 0
    are set to 0, as in the toolkit.
    """
    wave = 2.0 * periods * np.pi
    return np.clip(1.0 - x1 + np.sin(wave * x1) / wave, 0.0, 1.0) ** alpha


def disconnected(x1: Array, alpha: float = 1.0, beta: float = 1.0, regions: int = 5) -> Array:
    """Return 1 - x1**alpha cos(A pi x1**beta)**2.

    Parameters
    ----------
    x1
        First position parameter (N,) in [0, 1].
    alpha
        Above 1 the whole is concave, below 1 convex.
    beta
        Above 1 the regions are drawn to large values, below 1 to small ones.
    regions
        A, the number of regions.
    """
    return 1.0 - x1**alpha * np.cos(regions * np.pi * x1**beta) ** 2


def convex_size(H: Array) -> Array:
    """Return the number s for which H / s lies on the convex shape, for each row of `H` (N, M).

    Notes
    -----
    Not published; emoref uses this: with one position parameter, (1 - h_1)**2 + (1 - h_2)**2 = 1 on the
    shape, and so s = h_1 + h_2 + sqrt(2 h_1 h_2). As every further parameter repeats the pattern with the
    product so far in the place of h_1, s is found objective by objective.
    """
    size = H[:, 0]
    for h in H.T[1:]:
        size = size + h + np.sqrt(2.0 * size * h)
    return size
