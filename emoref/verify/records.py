"""What a check reports, and how an error is measured."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["CheckResult", "Finding", "relative_error"]


@dataclass(frozen=True)
class CheckResult:
    """Outcome of one check: one operation, or one recorded training, on one subject.

    Attributes
    ----------
    subject : str
        What was checked, with the precision it computed in, e.g. ``"cpu (float32)"``.
    check : str
        What was compared, e.g. ``"conv2d"``.
    cases : int
        Number of golden cases compared.
    worst_error : float
        Largest error of all arrays of all cases, see :func:`relative_error`.
    tolerance : float
        Largest error allowed.
    worst_case : str
        Where the largest error is: the case in words and the name of the array; empty if nothing differs.
    """

    subject: str
    check: str
    cases: int
    worst_error: float
    tolerance: float
    worst_case: str = ""

    @property
    def passed(self) -> bool:
        """Whether the worst error is within the tolerance."""
        return self.worst_error <= self.tolerance

    @property
    def is_our_failure(self) -> bool:
        """Whether something is wrong with this installation, or with the golden values."""
        return not self.passed


@dataclass(frozen=True)
class Finding:
    """Outcome of one property, checked on one library.

    Attributes
    ----------
    subject : str
        The library with its version, e.g. ``"pymoo 0.6.2"``.
    check : str
        The property in words.
    cases : int
        Number of cases tried, those on the way to the smallest counter-example not counted.
    counter_example : str
        The smallest case found for which the property does not hold, and what happened; empty if it holds.
    ours : bool
        Whether the library is emoref itself, with settings that promise the property.
    """

    subject: str
    check: str
    cases: int
    counter_example: str = ""
    ours: bool = False

    @property
    def passed(self) -> bool:
        """Whether no counter-example was found."""
        return not self.counter_example

    @property
    def is_our_failure(self) -> bool:
        """Whether something is wrong with this installation; not if another library fails."""
        return self.ours and not self.passed


def relative_error(actual: ArrayLike, expected: ArrayLike) -> float:
    """Measure how far an array is from what it should be, relative to the scale of the latter.

    Parameters
    ----------
    actual : array_like
        What was computed.
    expected : array_like
        What is right.

    Returns
    -------
    float
        Largest absolute difference, divided by the largest absolute finite value of `expected` (by nothing
        if that is 0). Infinite if the shapes differ, if `actual` has a NaN or an infinity that `expected`
        has not, or lacks one that `expected` has.

    Examples
    --------
    >>> relative_error([1.0, 99.0], [1.0, 100.0])
    0.01
    >>> relative_error([1.0, np.nan], [1.0, 100.0])
    inf
    """
    found, right = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if found.shape != right.shape:
        return math.inf
    finite = np.isfinite(right)
    if not np.array_equal(found[~finite], right[~finite], equal_nan=True):
        return math.inf
    if not finite.any():
        return 0.0
    if not np.isfinite(found[finite]).all():
        return math.inf
    worst = float(np.abs(found[finite] - right[finite]).max())
    scale = float(np.abs(right[finite]).max())
    return worst / scale if scale else worst
