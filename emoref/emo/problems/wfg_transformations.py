"""Transformation functions: they bend, shift and merge parameters in [0, 1].

Source: Huband, Hingston, Barone, While, *A review of multiobjective test problems and a scalable test
problem toolkit*, IEEE Trans. Evol. Comput. 10(5), 2006, table XI. Names are the paper's: b for bias, s for
shift, r for reduction. Every result is in [0, 1].

The published formulas use floor() to tell cases apart, and lose digits where a result should be exactly 0
or 1. That matters: `b_poly` with the exponent 0.02, which WFG1 uses, turns an error of 1e-16 into 0.48. So
here the cases are written out, which is the same function with exact results at the ends and at the optimum.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["b_flat", "b_param", "b_poly", "r_nonsep", "r_sum", "s_decept", "s_linear", "s_multi"]

Array = NDArray[np.float64]


def b_poly(y: Array, alpha: float) -> Array:
    """Return y**alpha: a polynomial bias.

    Parameters
    ----------
    y
        Parameters in [0, 1], of any shape.
    alpha
        Above 1 results are drawn to 0, below 1 to 1.
    """
    return y**alpha


def b_flat(y: Array, a: float, b: float, c: float) -> Array:
    """Return a function that is flat, A, between B and C, and runs straight from 0 to it and from it to 1.

    Parameters
    ----------
    y
        Parameters in [0, 1], of any shape.
    a, b, c
        A, B, C in [0, 1] with B < C; A is 0 if B is 0 (and then C is not 1), and 1 if C is 1.

    Notes
    -----
    Published as A + min(0, floor(y - B)) A (B - y) / B - min(0, floor(C - y)) (1 - A) (y - C) / (1 - C).
    """
    return np.interp(y, [0.0, b, c, 1.0], [0.0, a, a, 1.0])


def b_param(y: Array, u: Array, a: float, b: float, c: float) -> Array:
    """Return y**(B + (C - B) v), where v depends on other parameters: they bias this one.

    Parameters
    ----------
    y
        Parameters in [0, 1], of any shape.
    u
        What the other parameters were merged to, in [0, 1], of the same shape.
    a, b, c
        A in (0, 1) and 0 < B < C; the exponent runs from B at u = 0 over B + (C - B) A to C at u = 1.

    Notes
    -----
    v = A - (1 - 2 u) abs(floor(0.5 - u) + A), which is 2 A u up to u = 1/2, and A + (2 u - 1) (1 - A) beyond.
    """
    v = np.where(u <= 0.5, 2.0 * a * u, a + (2.0 * u - 1.0) * (1.0 - a))
    return y ** (b + (c - b) * v)


def s_linear(y: Array, a: float) -> Array:
    """Return a function that falls straight from 1 to 0 at A and rises straight to 1.

    Parameters
    ----------
    y
        Parameters in [0, 1], of any shape.
    a
        Where the optimum is, in (0, 1).

    Notes
    -----
    Published as abs(y - A) / abs(floor(A - y) + A).
    """
    return np.where(y <= a, (a - y) / a, (y - a) / (1.0 - a))


def s_decept(y: Array, a: float, b: float, c: float) -> Array:
    """Return a function with the optimum in a narrow valley and wide slopes that lead away from it.

    It is 0 at A, 1 at A - B and A + B, and C at 0 and 1, straight in between.

    Parameters
    ----------
    y
        Parameters in [0, 1], of any shape.
    a
        Where the optimum is, in (0, 1).
    b
        Half the width of the valley, positive, with A - B > 0 and A + B < 1.
    c
        Value of the deceptive optima, in (0, 1).

    Notes
    -----
    Published as 1 + (abs(y - A) - B) (floor(y - A + B) (1 - C + (A - B) / B) / (A - B)
    + floor(A + B - y) (1 - C + (1 - A - B) / B) / (1 - A - B) + 1 / B).
    """
    return np.interp(y, [0.0, a - b, a, a + b, 1.0], [c, 1.0, 0.0, 1.0, c])


def s_multi(y: Array, a: int, b: float, c: float) -> Array:
    """Return a function with many local optima and the global one at C.

    Parameters
    ----------
    y
        Parameters in [0, 1], of any shape.
    a
        Number of local optima on each side, A, at least 1.
    b
        How strongly the values rise away from C, B >= 0, with (4 A + 2) pi >= 4 B.
    c
        Where the global optimum is, in (0, 1).

    Notes
    -----
    Published as (1 + cos((4 A + 2) pi (0.5 - t)) + 4 B t**2) / (B + 2), where t, from 0 at C to 1/2 at both
    ends, is abs(y - C) / (2 (floor(C - y) + C)). As A is whole, the cosine is -cos((4 A + 2) pi t).
    """
    t = 0.5 * s_linear(y, c)
    return np.clip((1.0 - np.cos((4 * a + 2) * np.pi * t) + 4.0 * b * t**2) / (b + 2.0), 0.0, 1.0)


def r_sum(y: Array, w: Array | None = None) -> Array:
    """Return the weighted mean of each row.

    Parameters
    ----------
    y
        Parameters (N, n) in [0, 1].
    w
        Weights (n,), positive; None for equal ones.

    Returns
    -------
    numpy.ndarray
        Means (N,), never outside [0, 1].
    """
    mean = y.mean(axis=1) if w is None else (y * w).sum(axis=1) / w.sum()
    return np.clip(mean, 0.0, 1.0)


def r_nonsep(y: Array, a: int) -> Array:
    """Return the mean of each row plus the differences between neighbours, scaled to [0, 1].

    Parameters
    ----------
    y
        Parameters (N, n) in [0, 1].
    a
        Degree of non-separability A, at least 1; n is a multiple of it. Each parameter is compared with
        the A - 1 next ones, in a circle. With A = 1 it is the mean.

    Returns
    -------
    numpy.ndarray
        Results (N,).

    Notes
    -----
    Source: table XI; the divisor is (n / A) ceil(A / 2) (1 + 2 A - 2 ceil(A / 2)).
    """
    n = y.shape[1]
    total = y.sum(axis=1)
    for step in range(1, a):
        total = total + np.abs(y - np.roll(y, -step, axis=1)).sum(axis=1)
    half = (a + 1) // 2
    return np.clip(total / (n / a * half * (1.0 + 2.0 * a - 2.0 * half)), 0.0, 1.0)
