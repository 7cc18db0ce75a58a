"""All test problems by name."""

import inspect
from typing import Any

from emoref.emo.problems import binary, dtlz, dtlz_variants, knapsack, maf, maf_distance, smop, wfg, zdt
from emoref.emo.problems.base import Benchmark
from emoref.errors import ProblemError, suggest

__all__ = ["PROBLEMS", "build", "names"]

_MODULES = (zdt, dtlz, dtlz_variants, wfg, maf, maf_distance, smop, knapsack, binary)

PROBLEMS: dict[str, type[Benchmark]] = {
    name.lower(): getattr(module, name)
    for module in _MODULES
    for name in sorted(module.__all__)
    if name[0].isupper() and not name.endswith("Problem")
}
"""Classes by their names in small letters."""


def names() -> list[str]:
    """Return the names of all test problems, in small letters and alphabetical order.

    Examples
    --------
    >>> names()[:3]
    ['c1dtlz1', 'c1dtlz3', 'c2convexdtlz2']
    """
    return sorted(PROBLEMS)


def build(name: str, **settings: Any) -> Benchmark:
    """Make a test problem by its name.

    Parameters
    ----------
    name
        One of `names`; capitals, hyphens, underscores and spaces do not matter.
    **settings
        Arguments of the problem's class.

    Returns
    -------
    Benchmark
        The problem.

    Raises
    ------
    ProblemError
        If the name or a setting is unknown (the nearest one is suggested), or a setting makes no sense.

    Examples
    --------
    >>> build("C2-DTLZ2", n_obj=5).n_var
    14
    """
    key = "".join(letter for letter in str(name).lower() if letter not in "-_ ")
    if key not in PROBLEMS:
        raise ProblemError(f"no test problem is called {name!r}{suggest(key, names())}")
    problem = PROBLEMS[key]
    known = list(inspect.signature(problem).parameters)
    for setting in settings:
        if setting not in known:
            raise ProblemError(f"{problem.__name__} has no setting {setting!r}{suggest(setting, known)}")
    return problem(**settings)
